//! `weir run`.

use std::io;
use std::process::{Command, ExitCode};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, warn};
use tracing_subscriber::EnvFilter;

use super::{RunArguments, guardian};
use crate::config::{self, Config, LoadError, Parsed, Problems, Report, Severity};
use crate::net::descriptors;
use crate::observe::{Log, LogFormat};
use crate::server::{self, Exit, Program};

/// What is logged unless `RUST_LOG` says otherwise. The Kubernetes client logs each call that
/// fails as an error, although Weir tells once what has become of it.
const LEVELS: &str = "info,kube_client=off";

/// Runs until a signal: exit code 0 when every request was finished, 1 when some were
/// dropped, 2 when Weir could not start.
pub(super) fn run(arguments: &RunArguments, housekeeping: fn()) -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LEVELS));
    // Closed last, so that it holds why Weir has ended.
    let log = match Log::start(arguments.log_format.into(), filter) {
        Ok(log) => log,
        Err(error) => return cannot_log(&error),
    };
    if let Err(error) = descriptors::raise() {
        warn!(%error, "cannot raise the limit of open files");
    }
    let first = config::load_watched(&arguments.config);
    let Some(config) = take(first.result, &log) else {
        return ExitCode::from(2);
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            error!("cannot start: {error}");
            return ExitCode::from(2);
        }
    };
    let program = Program {
        file: arguments.config.clone(),
        files: first.files,
        take: |read| take(read, &log),
        housekeeping,
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
        Ok(Exit::Graceful) => ExitCode::SUCCESS,
        Ok(Exit::Forced) => ExitCode::FAILURE,
        Err(error) => {
            error!("cannot start: {error}");
            ExitCode::from(2)
        }
    }
}

/// How long a blocking thread waits for work: practically for ever.
const THREAD_LIFETIME: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The runtime of the control thread, with a blocking thread that stays. Where the system gives
/// no more threads, tokio makes do with those it has, and panics if there is none.
fn runtime() -> io::Result<Runtime> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .thread_keep_alive(THREAD_LIFETIME)
        .build()?;
    let spare = thread::Builder::new().spawn(|| ())?;
    // It does nothing that could fail.
    let _ = spare.join();
    runtime.spawn_blocking(|| ());
    Ok(runtime)
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

/// The configuration that was read, or `None` after its problems were logged.
fn take(read: Result<Parsed, LoadError>, log: &Log) -> Option<Config> {
    match read {
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
            for report in problems.reports() {
                tell_one(&report);
            }
        }
    }
}

fn tell_one(report: &Report<'_>) {
    // The level of an event is a constant.
    macro_rules! log {
        ($level:ident) => {
            $level!(
                code = report.code.name(),
                file = report.file,
                line = report.line,
                column = report.column,
                key = report.key,
                help = report.help,
                "{}",
                report.message
            )
        };
    }
    match report.severity {
        Severity::Error => log!(error),
        Severity::Warning => log!(warn),
    }
}
