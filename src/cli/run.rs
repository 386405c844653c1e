//! `weir run`.

use std::io::{IsTerminal, stdout};
use std::path::Path;
use std::process::{Command, ExitCode};

use tracing::{error, warn};
use tracing_subscriber::EnvFilter;

use super::{LogFormat, RunArguments, guardian};
use weir::config::{self, Config, LoadError};
use weir::server::{self, Outcome, Program};

/// What is logged unless `RUST_LOG` says otherwise. The Kubernetes client logs each call that
/// fails as an error, although Weir tells once what has become of it.
const LEVELS: &str = "info,kube_client=off";

/// Runs until a signal: exit code 0 when every request was finished, 1 when some were
/// dropped, 2 when Weir could not start.
pub(super) fn run(arguments: &RunArguments, tidy: fn()) -> ExitCode {
    start_log(arguments.log_format);
    let file = &arguments.config;
    let Some(config) = load(file) else {
        return ExitCode::from(2);
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            error!("cannot start: {error}");
            return ExitCode::from(2);
        }
    };
    let program = Program {
        file,
        load: || load(file),
        tidy,
        upgrade: arguments.upgrade,
        successor,
        guardian: guardian::command,
    };
    match runtime.block_on(server::run(config, program)) {
        Ok(Outcome::Graceful) => ExitCode::SUCCESS,
        Ok(Outcome::Forced) => ExitCode::FAILURE,
        Err(error) => {
            error!("cannot start: {error}");
            ExitCode::from(2)
        }
    }
}

/// This program with the same arguments, to take its own place. The file may be another one
/// by now: that is what an upgrade is for.
fn successor() -> Command {
    let mut arguments = std::env::args_os();
    let program = arguments.next().unwrap_or_else(|| "weir".into());
    let mut command = Command::new(program);
    command.args(arguments.filter(|argument| argument != UPGRADE));
    command.arg(UPGRADE);
    command
}

/// See [`RunArguments::upgrade`].
const UPGRADE: &str = "--upgrade";

/// The file's configuration, or `None` after its problems were printed.
#[expect(clippy::print_stderr, reason = "problems are drawn over several lines")]
fn load(file: &Path) -> Option<Config> {
    match config::load(file) {
        Ok(parsed) => {
            if !parsed.warnings.is_empty() {
                eprintln!("{}", parsed.warnings);
                warn!("the configuration has warnings");
            }
            Some(parsed.config)
        }
        Err(LoadError::Invalid(problems)) => {
            eprintln!("{problems}");
            None
        }
        Err(error) => {
            error!("{error}");
            None
        }
    }
}

fn start_log(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LEVELS));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(stdout().is_terminal());
    match format {
        LogFormat::Pretty => log.with_target(false).init(),
        // Without the module an event comes from, which would be a second `target`
        // beside the one that a request went to.
        LogFormat::Json => log.json().flatten_event(true).with_target(false).init(),
    }
}
