//! Replicas that programs of the operator run: one lists them, one sets how many there are.
//!
//! A program has a deadline, prints at most a mebibyte, and ends with all that it has started:
//! when it takes longer, when the call is given up, and when Weir is killed. Once it has ended,
//! what it leaves running in its process group is killed too, with one exception: replicas that
//! a successful `scale` has started go on, as those of an engine do.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{sleep, timeout};

use crate::config::{ExecRunner, Replicas, Runner};
use crate::replicas::child::{self, ChildProcess, Guardian};
use crate::replicas::excerpt::excerpt;
use crate::replicas::polled_list::{LIST_LIMIT, PolledList};
use crate::replicas::{Fleet, Provider, ProviderError, ReplicaId};

/// Stands for the number of replicas in a command.
const COUNT: &str = "{count}";

/// How long the last output may take after a program has ended.
const LAST_OUTPUT_TIMEOUT: Duration = Duration::from_millis(200);

/// Most bytes kept of what a program writes to its standard error.
const STDERR_LIMIT: usize = 4096;

/// Runs the programs. Each call fails before it is configured.
#[derive(Debug, Default)]
pub struct Exec {
    settings: Option<ExecRunner>,
    guardian: Guardian,
    list: PolledList,
}

/// What happens to the processes that a successful program leaves running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Descendants {
    Killed,
    GoOn,
}

/// What a program wrote until it ended.
#[derive(Default)]
struct Output {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Exec {
    /// `guardian` ends the programs when Weir is killed.
    pub fn new(guardian: Guardian) -> Self {
        Self {
            guardian,
            ..Self::default()
        }
    }

    fn settings(&self) -> Result<ExecRunner, ProviderError> {
        self.settings.clone().ok_or(ProviderError::OtherRunner)
    }

    /// Runs a program to its end and returns what it prints.
    async fn run(
        &self,
        command: &[String],
        settings: &ExecRunner,
        descendants: Descendants,
    ) -> Result<Vec<u8>, ProviderError> {
        let program = command.first().map_or("", String::as_str);
        let mut process = self.start(command, settings).map_err(|error| {
            ProviderError::Unreachable(format!("cannot start `{program}`: {error}"))
        })?;
        let mut output = Output::default();
        let limit = settings.timeout;
        // All that it has started ends with `process` if this fails.
        let status = timeout(limit, wait(&mut process, &mut output))
            .await
            .map_err(|_| {
                ProviderError::Unreachable(format!("`{program}` takes more than {limit:?}"))
            })?
            .map_err(|error| ProviderError::Unreachable(error.to_string()))?
            .ok_or_else(|| {
                ProviderError::Nonsense(format!("`{program}` prints more than {LIST_LIMIT} bytes"))
            })?;
        if !status.success() {
            let message = format!(
                "`{program}` ended with {status}: {}",
                excerpt(output.stderr)
            );
            return Err(ProviderError::Refused(message));
        }
        if descendants == Descendants::GoOn {
            process.detach();
        }
        Ok(output.stdout)
    }

    fn start(&self, command: &[String], settings: &ExecRunner) -> io::Result<ChildProcess> {
        let mut words = command.iter();
        let program = words.next().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = child::command(program, &settings.secrets);
        command
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        ChildProcess::start(&mut command, &self.guardian)
    }
}

#[async_trait]
impl Provider for Exec {
    async fn configure(&mut self, replicas: &Replicas) -> Result<(), ProviderError> {
        let Runner::Exec(settings) = &replicas.runner else {
            return Err(ProviderError::OtherRunner);
        };
        self.settings = Some(settings.clone());
        self.list.expire();
        Ok(())
    }

    async fn set_count(&mut self, count: u32, _: &[ReplicaId]) -> Result<(), ProviderError> {
        let settings = self.settings()?;
        let count = count.to_string();
        let scale = settings.scale.iter();
        let command: Vec<String> = scale.map(|word| word.replace(COUNT, &count)).collect();
        self.list.expire();
        self.run(&command, &settings, Descendants::GoOn).await?;
        Ok(())
    }

    async fn fleet(&mut self) -> Result<Fleet, ProviderError> {
        if let Some(fleet) = self.list.current() {
            return Ok(fleet.clone());
        }
        let settings = self.settings()?;
        let printed = self
            .run(&settings.list, &settings, Descendants::Killed)
            .await?;
        self.list.update(&printed)
    }

    fn timeout(&self) -> Option<Duration> {
        self.settings.as_ref().map(|settings| settings.timeout)
    }

    async fn changed(&mut self) {
        match &self.settings {
            Some(settings) => self.list.expired(settings.interval).await,
            None => std::future::pending().await,
        }
    }
}

/// Reads what a program writes until it has ended; `None` if it prints too much.
async fn wait(process: &mut ChildProcess, output: &mut Output) -> io::Result<Option<ExitStatus>> {
    let stdout = process.child.stdout.take();
    let stderr = process.child.stderr.take();
    let read = async {
        tokio::join!(
            read(stdout, LIST_LIMIT + 1, &mut output.stdout),
            read(stderr, STDERR_LIMIT, &mut output.stderr)
        )
    };
    let ended = async {
        // Waited for again below: its status stays.
        let _ = process.child.wait().await;
        sleep(LAST_OUTPUT_TIMEOUT).await;
    };
    tokio::select! {
        _ = read => {}
        // What it has left running holds its pipes.
        () = ended => {}
    }
    if output.stdout.len() > LIST_LIMIT {
        return Ok(None);
    }
    process.child.wait().await.map(Some)
}

/// Keeps the first bytes of a pipe. Reads on to its end, so that a program which writes more is
/// not blocked, unless it is much more.
async fn read(pipe: Option<impl AsyncRead + Unpin>, limit: usize, kept: &mut Vec<u8>) {
    let Some(pipe) = pipe else {
        return;
    };
    let mut pipe = pipe.take(2 * LIST_LIMIT as u64);
    let mut chunk = vec![0; 8192];
    // A pipe that breaks ends.
    while let Ok(length @ 1..) = pipe.read(&mut chunk).await {
        let space = limit - kept.len();
        kept.extend_from_slice(&chunk[..length.min(space)]);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    use tokio::net::unix::pipe;

    use super::*;
    use crate::replicas::fixture::processes;

    /// For whatever is waited for: only a broken test takes this long.
    const LONG: Duration = Duration::from_secs(20);

    async fn exec(list: &str, scale: &str, timeout: Duration) -> Exec {
        let script = |text: &str, last: &str| {
            let words = ["sh", "-c", text, "sh", last];
            words.map(str::to_owned).to_vec()
        };
        let mut exec = Exec::default();
        let settings = Replicas {
            runner: Runner::Exec(ExecRunner {
                list: script(list, "list"),
                scale: script(scale, "count={count}"),
                interval: Duration::from_secs(60),
                timeout,
                secrets: BTreeSet::new(),
            }),
            ..processes(1, &[])
        };
        exec.configure(&settings).await.unwrap();
        exec
    }

    fn fifo(folder: &Path) -> PathBuf {
        let fifo = folder.join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&fifo).status();
        assert!(made.unwrap().success());
        fifo
    }

    /// Waits until nothing holds it open any more.
    async fn until_closed(fifo: &Path) {
        let closed = async {
            let mut tick = tokio::time::interval(Duration::from_millis(5));
            while pipe::OpenOptions::new().open_sender(fifo).is_ok() {
                tick.tick().await;
            }
        };
        timeout(LONG, closed).await.unwrap();
    }

    async fn error(list: &str) -> String {
        let mut exec = exec(list, "", LONG).await;
        exec.fleet().await.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn one_program_lists_and_one_scales() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("count");
        std::fs::write(&file, "1").unwrap();
        let file = file.display();
        let list = format!(
            r#"n=$(cat {file}); echo "{{\"desired\": $n, \"replicas\": [
            {{\"id\": \"a\", \"address\": \"10.0.0.1:6400\"}}]}}""#
        );
        let scale = format!(r#"echo "${{1#count=}}" > {file}; seq 20000"#);
        let mut exec = exec(&list, &scale, LONG).await;
        let fleet = exec.fleet().await.unwrap();
        assert_eq!((fleet.desired, fleet.replicas.len()), (1, 1));
        assert_eq!(fleet.replicas[0].name.as_deref(), Some("a"));
        exec.set_count(3, &[]).await.unwrap();
        assert_eq!(exec.fleet().await.unwrap().desired, 3);
    }

    #[tokio::test]
    async fn a_list_is_read_once_in_an_interval() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("asked");
        let list = format!(
            r#"echo again >> {}; echo '{{"desired": 0, "replicas": []}}'"#,
            file.display()
        );
        let mut exec = exec(&list, "", LONG).await;
        exec.fleet().await.unwrap();
        exec.fleet().await.unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "again\n");
        exec.set_count(1, &[]).await.unwrap();
        exec.fleet().await.unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "again\nagain\n");
    }

    #[tokio::test]
    async fn failures_are_reported_in_the_program_s_own_words() {
        let refused = "the engine refused: `sh` ended with exit status: 3: no quota";
        assert_eq!(error("echo no quota >&2; exit 3").await, refused);
        let nonsense = error("echo hello").await;
        assert!(nonsense.starts_with("the engine answered nonsense: expected value"));
        assert!(nonsense.ends_with(": \"hello\""), "{nonsense}");
        let nothing = error("true").await;
        assert!(nothing.starts_with("the engine answered nonsense: EOF"));
        let mut missing = Exec::default();
        assert!(missing.fleet().await.is_err());
        let mut exec = exec("", "", LONG).await;
        exec.settings.as_mut().unwrap().list = vec!["/no/such".to_owned()];
        let none = exec.fleet().await.unwrap_err().to_string();
        assert!(
            none.contains("cannot start `/no/such`: No such file"),
            "{none}"
        );
    }

    #[tokio::test]
    async fn a_program_that_prints_without_end_is_killed() {
        let huge = "the engine answered nonsense: `sh` prints more than 1048576 bytes";
        assert_eq!(error("exec yes").await, huge);
        assert_eq!(error("yes | head -c 1048577").await, huge);
    }

    #[tokio::test]
    async fn what_a_program_leaves_running_goes_on_and_delays_no_call() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = fifo(folder.path());
        let path = fifo.display();
        // It holds both pipes until the test writes to the fifo, and answers then.
        let scale = format!("{{ read line < {path}; echo \"$line\" > {path}; }} & echo begun >&2");
        let mut exec = exec("", &scale, LONG).await;
        exec.set_count(1, &[]).await.unwrap();
        let answered = tokio::task::spawn_blocking(move || {
            std::fs::write(&fifo, "alive\n").unwrap();
            std::fs::read_to_string(&fifo).unwrap()
        });
        let answered = timeout(LONG, answered).await.unwrap().unwrap();
        assert_eq!(answered, "alive\n");
    }

    #[tokio::test]
    async fn what_a_list_leaves_running_is_killed_when_it_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = fifo(folder.path());
        // The process that is left holds the fifo open for as long as it lives.
        let list = format!(
            "exec 3<> {}; sleep 1000 >/dev/null 2>&1 & echo '{{\"desired\": 0, \"replicas\": []}}'",
            fifo.display()
        );
        let mut exec = exec(&list, "", LONG).await;
        exec.fleet().await.unwrap();
        until_closed(&fifo).await;
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_killed_with_all_it_has_started() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = fifo(folder.path());
        // Both hold the fifo open for as long as they live.
        let list = format!(
            "exec 3<> {}; sleep 1000 & echo started >&3; wait",
            fifo.display()
        );
        let limit = Duration::from_millis(300);
        let mut exec = exec(&list, "", limit).await;
        let late = exec.fleet().await.unwrap_err().to_string();
        let expected = "the engine does not answer: `sh` takes more than 300ms";
        assert_eq!(late, expected);
        until_closed(&fifo).await;
    }
}
