//! Arguments and commands; nothing decides anything here.

mod check;
mod fetch;
mod health;
mod run;
mod status;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

/// An HTTP load balancer: one binary, one TOML file.
#[derive(Debug, Parser)]
#[command(name = "weir", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the load balancer until a signal ends it
    Run(RunArguments),
    /// Say what is wrong with a configuration file
    Check {
        /// The file
        file: PathBuf,
        /// How to write the answer
        #[arg(long, value_enum, default_value_t)]
        format: check::Format,
    },
    /// Show what a running Weir knows about its targets
    Status(status::StatusArguments),
    /// Exit 0 if a running Weir is alive; for container health checks
    Health(health::HealthArguments),
}

#[derive(Debug, clap::Args)]
struct RunArguments {
    /// The configuration file
    #[arg(
        long,
        short,
        env = "WEIR_CONFIG",
        default_value = "/etc/weir/weir.toml"
    )]
    config: PathBuf,
    /// How log lines look
    #[arg(long, value_enum, default_value_t = LogFormat::Pretty)]
    log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    /// For people
    Pretty,
    /// One JSON object a line
    Json,
}

/// Carries out the command line. `tidy` is what every thread of a running Weir calls
/// about once a second.
pub(crate) fn main(tidy: fn()) -> ExitCode {
    match Arguments::parse().command {
        Command::Run(arguments) => run::run(&arguments, tidy),
        Command::Check { file, format } => check::check(&file, format),
        Command::Status(arguments) => status::status(&arguments),
        Command::Health(arguments) => health::health(&arguments),
    }
}
