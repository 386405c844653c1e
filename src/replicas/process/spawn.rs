//! Starts the process of a replica as it is configured.

use std::io;
use std::process::Stdio;

use thiserror::Error;

use crate::config::{ProcessRunner, ReplicaOutput};
use crate::replicas::child::{self, ChildProcess, Guardian};

/// Stands for the replica's port in its command.
const PORT: &str = "{port}";

/// Why a replica could not be started.
#[derive(Debug, PartialEq, Eq, Error)]
pub(super) enum SpawnError {
    #[error("the command is empty")]
    NoCommand,
    #[error("command `{0}` not found")]
    NotFound(String),
    #[error("command `{0}` is not executable: permission denied")]
    NotExecutable(String),
    #[error("directory `{0}` not found")]
    NoDirectory(String),
    /// Any other error of the system: the program, and the system's words.
    #[error("cannot start `{0}`: {1}")]
    Other(String, String),
}

/// Starts a replica that is to listen on `port`.
pub(super) fn spawn(
    settings: &ProcessRunner,
    port: u16,
    guardian: &Guardian,
) -> Result<ChildProcess, SpawnError> {
    let port = port.to_string();
    let mut words = settings
        .command
        .iter()
        .map(|word| word.replace(PORT, &port));
    let program = words.next().ok_or(SpawnError::NoCommand)?;
    let mut command = child::command(&program, &settings.secrets);
    command
        .args(words)
        .envs(settings.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(output(&settings.output))
        .stderr(output(&settings.output));
    if let Some(directory) = &settings.directory {
        command.current_dir(directory);
    }
    ChildProcess::start(&mut command, guardian).map_err(|error| explain(settings, program, &error))
}

/// A pipe, unless it would not be read.
fn output(output: &ReplicaOutput) -> Stdio {
    match output {
        ReplicaOutput::Log | ReplicaOutput::File(_) => Stdio::piped(),
        ReplicaOutput::Off => Stdio::null(),
    }
}

fn explain(settings: &ProcessRunner, program: String, error: &io::Error) -> SpawnError {
    if let Some(directory) = &settings.directory
        && !directory.is_dir()
    {
        return SpawnError::NoDirectory(directory.display().to_string());
    }
    match error.kind() {
        io::ErrorKind::NotFound => SpawnError::NotFound(program),
        io::ErrorKind::PermissionDenied => SpawnError::NotExecutable(program),
        _ => SpawnError::Other(program, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;

    fn settings(command: &[&str]) -> ProcessRunner {
        ProcessRunner {
            command: command.iter().map(|&part| part.to_owned()).collect(),
            env: vec![("NAME".to_owned(), "from the file".to_owned())],
            directory: Some("/".into()),
            secrets: BTreeSet::new(),
            stop_timeout: Duration::from_secs(1),
            output: ReplicaOutput::Log,
        }
    }

    #[tokio::test]
    async fn a_replica_gets_port_environment_and_directory() {
        let script = r#"test "$1 $2 $NAME $PWD" = "--port=4711 4711 from the file /""#;
        let settings = settings(&["sh", "-c", script, "sh", "--port={port}", "{port}"]);
        let mut process = spawn(&settings, 4711, &Guardian::default()).unwrap();
        assert!(process.child.wait().await.unwrap().success());
    }

    #[tokio::test]
    async fn what_cannot_be_started_is_named() {
        let error = |settings: &ProcessRunner| {
            spawn(settings, 1, &Guardian::default())
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            error(&settings(&["/no/such"])),
            "command `/no/such` not found"
        );
        let denied = "command `/etc/passwd` is not executable: permission denied";
        assert_eq!(error(&settings(&["/etc/passwd"])), denied);
        assert_eq!(error(&settings(&[])), "the command is empty");
        let mut nowhere = settings(&["true"]);
        nowhere.directory = Some("/no/such".into());
        assert_eq!(error(&nowhere), "directory `/no/such` not found");
    }
}
