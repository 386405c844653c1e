//! `weir plot`: draws a record that a running Weir wrote to `autoscaling.record`.

use std::path::PathBuf;
use std::process::ExitCode;

use super::files::{draw, open, read_load};
use crate::tools::simulate::{Selection, recorded};

#[derive(Debug, clap::Args)]
pub(crate) struct PlotArguments {
    /// The file that `autoscaling.record` names
    record: PathBuf,
    /// The SVG file to write
    svg: PathBuf,
    /// The target group; needed if the record is of several
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// The load of the same time: a k6 trace or an access log
    #[arg(long, value_name = "FILE")]
    load: Option<PathBuf>,
    /// The target of a metric, drawn as a line
    #[arg(long, value_name = "METRIC=VALUE", value_parser = target)]
    target: Vec<(String, f64)>,
}

fn target(text: &str) -> Result<(String, f64), String> {
    let wrong = || "write it like cpu=20".to_owned();
    let (metric, value) = text.rsplit_once('=').ok_or_else(wrong)?;
    let value: f64 = value.parse().map_err(|_| wrong())?;
    Ok((metric.to_owned(), value))
}

/// Draws a record: exit code 0, or 2 and the problem on standard error.
#[expect(
    clippy::print_stderr,
    reason = "what was done, or what is wrong, is for the terminal"
)]
pub(crate) fn plot(arguments: &PlotArguments) -> ExitCode {
    match try_plot(arguments) {
        Ok(()) => {
            eprintln!("wrote {}", arguments.svg.display());
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::from(2)
        }
    }
}

fn try_plot(arguments: &PlotArguments) -> Result<(), String> {
    let group = arguments.group.as_deref();
    let load = arguments
        .load
        .as_ref()
        .map(|file| read_load(file, group.unwrap_or_default()))
        .transpose()?;
    let selection = Selection {
        group,
        load: load.as_ref().map(|load| &load.curve),
        targets: &arguments.target,
    };
    let record = &arguments.record;
    let figure = recorded(open(record)?, selection)
        .map_err(|error| format!("{}: {error}", record.display()))?;
    draw(&figure, &arguments.svg)
}
