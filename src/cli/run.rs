//! `weir run`: runs the load balancer.

use std::io;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::thread;
use std::time::Duration;

use clap::ValueEnum;
use rustix::process::Signal;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, warn};
use tracing_subscriber::filter::{LevelFilter, Targets};

use super::guardian;
use super::without_file::WithoutFile;
use crate::config::{self, Config, LoadError, Loaded, Loader, Parsed, Problems, Report, Severity};
use crate::net::descriptors;
use crate::observe::{Log, LogFormat};
use crate::server::{self, Exit, Program};

#[derive(Debug, clap::Args)]
pub(super) struct RunArguments {
    /// The configuration file
    #[arg(
        long,
        short,
        env = "WEIR_CONFIG",
        default_value = "/etc/weir/weir.toml"
    )]
    config: PathBuf,
    #[command(flatten)]
    without_file: WithoutFile,
    /// Format of the log
    #[arg(long, value_enum, default_value_t = LogFormatArgument::Pretty)]
    log_format: LogFormatArgument,
    /// Replace the Weir that listens at the configuration's `upgrade_socket`
    #[arg(long)]
    upgrade: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormatArgument {
    /// For people
    Pretty,
    /// One JSON object a line
    Json,
}

impl From<LogFormatArgument> for LogFormat {
    fn from(format: LogFormatArgument) -> Self {
        match format {
            LogFormatArgument::Pretty => Self::Pretty,
            LogFormatArgument::Json => Self::Json,
        }
    }
}

impl RunArguments {
    /// Reads the configuration: the file, or what the command line says instead.
    fn source(&self) -> impl Fn() -> Loaded + Send + Sync + use<> {
        let text = self.without_file.configuration();
        let file = Loader::new(self.config.clone());
        move || match &text {
            Some(text) => Loaded {
                result: config::load_from("the command line", text.as_bytes()),
                renewed: None,
                files: Vec::new(),
            },
            None => file.load(),
        }
    }
}

/// The log levels unless `RUST_LOG` sets others. The Kubernetes client logs each failed call as an
/// error; Weir logs a failure once.
fn levels() -> Targets {
    Targets::new()
        .with_default(LevelFilter::INFO)
        .with_target("kube_client", LevelFilter::OFF)
}

/// Runs until a signal: exit code 0 if every request was finished, 1 if some were dropped, 2 if
/// Weir could not start.
pub(super) fn run(arguments: &RunArguments, housekeeping: fn()) -> ExitCode {
    let given = std::env::var("RUST_LOG").ok();
    let given = given.and_then(|levels| levels.parse::<Targets>().ok());
    let filter = given.unwrap_or_else(levels);
    // Closed last, so that it contains the reason why Weir has ended.
    let log = match Log::start(arguments.log_format.into(), filter) {
        Ok(log) => log,
        Err(error) => return cannot_log(&error),
    };
    arguments.without_file.announce();
    if let Err(error) = descriptors::raise() {
        warn!(%error, "cannot raise the limit of open files");
    }
    let load = arguments.source();
    let first = load();
    let Some(config) = accept(first.result, &log) else {
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
        load,
        files: first.files,
        take: |read| accept(read, &log),
        housekeeping,
        upgrade: arguments.upgrade,
        successor,
        guardian: guardian::command,
    };
    let ended = runtime.block_on(async {
        let _ignored = ignore_file_size_limit();
        server::run(config, program).await
    });
    // Dropping it would wait for a disk that hangs.
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

/// Time that a blocking thread waits for work: practically without end.
const THREAD_LIFETIME: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The runtime of the control thread, with one blocking thread that stays. If the system refuses
/// further threads, tokio uses those it has, and panics only without any.
fn runtime() -> io::Result<Runtime> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .thread_keep_alive(THREAD_LIFETIME)
        .build()?;
    let spare = thread::Builder::new().spawn(|| ())?;
    // The thread cannot panic.
    let _ = spare.join();
    runtime.spawn_blocking(|| ());
    Ok(runtime)
}

/// The command of the successor: this program with the same arguments. After an upgrade its file
/// is another one.
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

/// Ignores `SIGXFSZ`, so that a file at its size limit fails a write, as a full disk does, and does
/// not end the process. Holds from the first call on.
fn ignore_file_size_limit() -> io::Result<tokio::signal::unix::Signal> {
    signal(SignalKind::from_raw(Signal::XFSZ.as_raw()))
}

/// The configuration; `None` after its problems were logged.
fn accept(read: Result<Parsed, LoadError>, log: &Log) -> Option<Config> {
    // Also if the file cannot be used: a signal may ask for this alone.
    log.reopen();
    match read {
        Ok(parsed) => {
            log.set_sink(&parsed.config.log.sink);
            if !parsed.warnings.is_empty() {
                log_problems(&parsed.warnings, log);
                warn!("the configuration has warnings");
            }
            Some(parsed.config)
        }
        Err(LoadError::Invalid(problems)) => {
            log_problems(&problems, log);
            None
        }
        Err(error) => {
            error!("{error}");
            None
        }
    }
}

/// Logs problems: as text with their source, or in JSON as one event each.
fn log_problems(problems: &Problems, log: &Log) {
    match log.format() {
        LogFormat::Pretty => log.print_error(&problems.to_string()),
        LogFormat::Json => {
            for report in problems.reports() {
                log_problem(&report);
            }
        }
    }
}

fn log_problem(report: &Report<'_>) {
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
