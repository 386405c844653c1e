//! The offline commands: they work on files and need no running Weir.

mod files;
mod import;
mod plot;
mod report;
mod simulate;

use std::process::ExitCode;

use clap::Subcommand;

use super::format::EXIT_CODES;

#[derive(Debug, Subcommand)]
pub(super) enum ToolCommand {
    /// Make a configuration file of what deploys a service elsewhere
    #[command(subcommand, after_help = EXIT_CODES)]
    Import(import::ImportCommand),
    /// Say what the autoscaling of a group would make of a load
    #[command(after_help = format!("{}\n\n{EXIT_CODES}", report::COLUMNS))]
    Simulate(simulate::SimulateArguments),
    /// Draw what the autoscaling of a group did
    #[command(after_help = EXIT_CODES)]
    Plot(plot::PlotArguments),
}

impl ToolCommand {
    /// Carries out the command.
    pub(super) fn run(&self) -> ExitCode {
        match self {
            Self::Import(command) => import::import(command),
            Self::Simulate(arguments) => simulate::simulate(arguments),
            Self::Plot(arguments) => plot::plot(arguments),
        }
    }
}
