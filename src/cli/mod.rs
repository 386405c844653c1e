//! The command line: arguments, commands and what they print. Decisions are made elsewhere.

mod admin;
mod ask;
mod check;
mod diff;
mod events;
mod explain;
mod fetch;
#[cfg(test)]
mod fixture;
mod format;
#[cfg(feature = "tools")]
mod generate;
mod guardian;
mod health;
mod init;
mod logs;
mod run;
mod schema;
mod screen;
mod since;
mod status;
mod stream;
mod table;
mod target;
#[cfg(feature = "tools")]
mod tools;
mod top;
mod version;
mod without_file;

use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser, Subcommand};

use format::EXIT_CODES;

/// An HTTP load balancer: one binary, one TOML file.
#[derive(Debug, Parser)]
#[command(name = "weir", version, long_version = version::long(), about, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the load balancer until a signal ends it
    #[command(after_help = EXIT_CODES)]
    Run(run::RunArguments),
    /// Write a configuration file to begin with
    #[command(after_help = EXIT_CODES)]
    Init(init::InitArguments),
    /// Find the problems of configuration files
    #[command(after_help = EXIT_CODES)]
    Check(check::CheckArguments),
    /// Say what a reload would change
    #[command(after_help = EXIT_CODES)]
    Diff(diff::DiffArguments),
    /// Say why a request goes where it goes
    #[command(after_help = EXIT_CODES)]
    Explain(explain::ExplainArguments),
    /// Show what is wrong with a running Weir, and its listeners, targets and replicas
    #[command(after_help = status::EXIT_CODES)]
    Status(status::StatusArguments),
    /// Show a running Weir on the whole terminal, always new
    #[command(after_help = EXIT_CODES)]
    Top(top::TopArguments),
    /// Show what has happened in a running Weir
    #[command(after_help = EXIT_CODES)]
    Events(events::EventsArguments),
    /// Show what the replicas of a running Weir print
    #[command(after_help = EXIT_CODES)]
    Logs(logs::LogsArguments),
    /// Register, deregister or drain a target of a running Weir, or set its weight
    #[command(after_help = EXIT_CODES)]
    Target(target::TargetArguments),
    #[cfg(feature = "tools")]
    #[command(flatten)]
    Tool(tools::ToolCommand),
    /// Exit 0 if a running Weir is alive; for container health checks
    #[command(after_help = EXIT_CODES)]
    Health(health::HealthArguments),
    /// Print the JSON Schema of configuration files, for editors
    Schema,
    /// Print a script that completes Weir's commands in a shell
    #[cfg(feature = "tools")]
    Completions(generate::CompletionsArguments),
    /// Print the manual page, or write those of all commands into a folder
    #[cfg(feature = "tools")]
    Man(generate::ManArguments),
    /// Started by a running Weir: ends the processes of its replicas after it
    #[command(hide = true)]
    Guardian,
}

/// Runs the command of the command line. Every thread of a running Weir calls `housekeeping` about
/// once a second.
pub fn main(housekeeping: fn()) -> ExitCode {
    let arguments = Arguments::try_parse().unwrap_or_else(|error| name_feature(error).exit());
    match arguments.command {
        Command::Run(arguments) => run::run(&arguments, housekeeping),
        Command::Init(arguments) => init::init(&arguments),
        Command::Check(arguments) => check::check(&arguments),
        Command::Diff(arguments) => diff::diff(&arguments),
        Command::Explain(arguments) => explain::explain(&arguments),
        Command::Status(arguments) => status::status(&arguments),
        Command::Top(arguments) => top::top(&arguments),
        Command::Events(arguments) => events::events(&arguments),
        Command::Logs(arguments) => logs::logs(&arguments),
        Command::Target(arguments) => target::target(&arguments),
        #[cfg(feature = "tools")]
        Command::Tool(command) => command.run(),
        Command::Health(arguments) => health::health(&arguments),
        Command::Schema => schema::schema(),
        #[cfg(feature = "tools")]
        Command::Completions(arguments) => {
            generate::completions(&arguments, &mut Arguments::command())
        }
        #[cfg(feature = "tools")]
        Command::Man(arguments) => generate::man(&arguments, Arguments::command()),
        Command::Guardian => guardian::guardian(),
    }
}

/// The commands of the feature `tools`. With it they are never unknown.
const TOOLS: [&str; 5] = ["completions", "import", "man", "plot", "simulate"];

/// Instead of a guess at a misspelling, says which feature a command needs.
fn name_feature(error: clap::Error) -> clap::Error {
    match error.get(ContextKind::InvalidSubcommand) {
        Some(ContextValue::String(name)) if TOOLS.contains(&name.as_str()) => {
            let message = format!(
                "`weir {name}` is missing: this weir was built without the feature `tools`"
            );
            Arguments::command().error(ErrorKind::InvalidSubcommand, message)
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_was_left_out_names_the_feature_it_needs() {
        let without_tools = clap::Command::new("weir").subcommand(clap::Command::new("run"));
        let said = |arguments: &[&str]| {
            let line = ["weir"].iter().chain(arguments);
            let error = without_tools.clone().try_get_matches_from(line);
            name_feature(error.unwrap_err()).to_string()
        };
        for arguments in [
            &["simulate", "--help"][..],
            &["import", "terraform", "-"],
            &["plot"],
        ] {
            let text = said(arguments);
            assert!(text.contains("without the feature `tools`"), "{text}");
        }
        let text = said(&["rum"]);
        assert!(text.contains("'run'") && !text.contains("tools"), "{text}");
    }
}
