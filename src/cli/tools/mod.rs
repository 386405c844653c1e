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
    /// Translate the configuration of another system
    #[command(subcommand, after_help = EXIT_CODES)]
    Import(import::ImportCommand),
    /// Simulate the autoscaling of a group under a load
    #[command(after_help = format!("{}\n\n{EXIT_CODES}", report::COLUMNS))]
    Simulate(simulate::SimulateArguments),
    /// Draw the recorded autoscaling of a group
    #[command(after_help = EXIT_CODES)]
    Plot(plot::PlotArguments),
}

impl ToolCommand {
    /// Runs the command.
    pub(super) fn run(&self) -> ExitCode {
        match self {
            Self::Import(command) => import::import(command),
            Self::Simulate(arguments) => simulate::simulate(arguments),
            Self::Plot(arguments) => plot::plot(arguments),
        }
    }
}
