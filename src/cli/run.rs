//! `weir run`.

use std::io;
use std::path::Path;
use std::process::{Command, ExitCode};

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, warn};
use tracing_subscriber::EnvFilter;

use super::{RunArguments, guardian};
use weir::config::{self, Config, LoadError, Problem, Problems, Severity};
use weir::observe::{Log, LogFormat};
use weir::server::{self, Outcome, Program};

/// What is logged unless `RUST_LOG` says otherwise. The Kubernetes client logs each call that
/// fails as an error, although Weir tells once what has become of it.
const LEVELS: &str = "info,kube_client=off";

/// Runs until a signal: exit code 0 when every request was finished, 1 when some were
/// dropped, 2 when Weir could not start.
pub(super) fn run(arguments: &RunArguments, tidy: fn()) -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LEVELS));
    // Closed last, so that it holds why Weir has ended.
    let log = match Log::start(arguments.log_format.into(), filter) {
        Ok(log) => log,
        Err(error) => return cannot_log(&error),
    };
    let file = &arguments.config;
    let Some(config) = load(file, &log) else {
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
        load: || load(file, &log),
        tidy,
        upgrade: arguments.upgrade,
        successor,
        guardian: guardian::command,
    };
    let ended = runtime.block_on(async {
        let _ignored = ignore_file_size_limit();
        server::run(config, program).await
    });
    // Not dropped, which would wait for a disk that hangs.
    runtime.shutdown_background();
    match ended {
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

#[expect(clippy::print_stderr, reason = "there is no log to write it to")]
fn cannot_log(error: &io::Error) -> ExitCode {
    eprintln!("weir run: cannot start the log: {error}");
    ExitCode::from(2)
}

/// A file that may not grow is an error of the write, as a full disk is, and not the end of
/// the process. Holds from the first call on.
fn ignore_file_size_limit() -> io::Result<tokio::signal::unix::Signal> {
    signal(SignalKind::from_raw(Signal::XFSZ.as_raw()))
}

/// The file's configuration, or `None` after its problems were logged.
fn load(file: &Path, log: &Log) -> Option<Config> {
    match config::load(file) {
        Ok(parsed) => {
            if !parsed.warnings.is_empty() {
                tell(&parsed.warnings, log);
                warn!("the configuration has warnings");
            }
            Some(parsed.config)
        }
        Err(LoadError::Invalid(problems)) => {
            tell(&problems, log);
            None
        }
        Err(error) => {
            error!("{error}");
            None
        }
    }
}

/// Draws the problems for people; for programs each is an event.
fn tell(problems: &Problems, log: &Log) {
    match log.format() {
        LogFormat::Pretty => log.print_error(&problems.to_string()),
        LogFormat::Json => {
            for problem in problems.iter() {
                tell_one(problem, problems);
            }
        }
    }
}

fn tell_one(problem: &Problem, problems: &Problems) {
    let location = problems.location(problem);
    // The level of an event is a constant.
    macro_rules! log {
        ($level:ident) => {
            $level!(
                code = problem.code.name(),
                file = problems.file(),
                line = location.map(|at| at.line),
                column = location.map(|at| at.column),
                key = Some(problem.key.as_str()).filter(|key| !key.is_empty()),
                help = problem.help.as_deref(),
                "{}",
                problem.message
            )
        };
    }
    match problem.severity {
        Severity::Error => log!(error),
        Severity::Warning => log!(warn),
    }
}
