//! The report of a simulation: a table, JSON, CSV and a figure.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

use serde_json::{Value, json};

use super::files::{cannot_write, draw};
use crate::cli::table::Table;
use crate::config;
use crate::tools::plot::{Figure, Panel};
use crate::tools::simulate::{
    LoadCurve, LoadFormat, Run, Setting, Summary, load_panel, run_panel, summary,
};

/// The columns of the table, for `--help`.
pub(super) const COLUMNS: &str = "\
PEAK           largest desired count
CHANGES        changes of the desired count
REACTION       from a load a tenth above the target until more replicas are desired, the
               longest time
ENOUGH         from there until enough of them serve
REPLICA-HOURS  desired replicas, integrated over time
P95            response time that 95 of 100 requests do not exceed, estimated: replicas are a
               queue with as many servers as cores, and requests arrive at random
OVERLOADED     seconds in which more requests arrived, or waited, than could be served
LOST           requests that would have waited for more than a minute";

/// Where a report goes besides standard output, and its form there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outputs<'a> {
    /// The file for every second of every run.
    pub(super) csv: Option<&'a Path>,
    /// The file for the picture.
    pub(super) svg: Option<&'a Path>,
    pub(super) is_json: bool,
}

/// Collects the results of the runs one by one and drops the runs themselves, which may be large.
pub(super) struct Report<'a> {
    outputs: Outputs<'a>,
    table: Table<9>,
    runs: Vec<Value>,
    panels: Vec<Panel>,
    csv: Option<(&'a Path, BufWriter<File>)>,
}

impl<'a> Report<'a> {
    pub(super) fn new(setting: &Setting<'_>, outputs: Outputs<'a>) -> Result<Self, String> {
        let mut report = Self {
            outputs,
            table: Table::new([
                "PROFILE",
                "PEAK",
                "CHANGES",
                "REACTION",
                "ENOUGH",
                "REPLICA-HOURS",
                "P95",
                "OVERLOADED",
                "LOST",
            ]),
            runs: Vec::new(),
            panels: vec![load_panel(setting.curve)],
            csv: None,
        };
        if let Some(file) = outputs.csv {
            let (_, csv) = report.csv.insert((file, create(file)?));
            let head = "profile,second,requests_per_second,desired,running,warming,cpu_percent,\
                in_flight,waiting,p95_ms,lost";
            writeln!(csv, "{head}").map_err(|error| cannot_write(file, &error))?;
        }
        Ok(report)
    }

    /// Adds the results of a run.
    pub(super) fn add(&mut self, setting: &Setting<'_>, run: &Run) -> Result<(), String> {
        let numbers = summary(run);
        self.table.row(cells(run, &numbers));
        self.runs.push(object(run, &numbers));
        let panel = run_panel(run, setting.policy, brief(&numbers));
        self.panels.push(panel);
        if let Some((file, csv)) = &mut self.csv {
            write_csv(csv, run).map_err(|error| cannot_write(file, &error))?;
        }
        Ok(())
    }

    /// Writes the files, and returns the text for standard output.
    pub(super) fn finish(
        mut self,
        setting: &Setting<'_>,
        format: LoadFormat,
        notes: &[String],
    ) -> Result<String, String> {
        if let Some((file, csv)) = &mut self.csv {
            csv.flush().map_err(|error| cannot_write(file, &error))?;
        }
        let replica = replica_line(setting);
        if let Some(file) = self.outputs.svg {
            let figure = Figure {
                title: format!("{} under simulation", setting.group),
                subtitle: replica.clone(),
                seconds: setting.curve.seconds() as f64,
                panels: self.panels,
            };
            draw(&figure, file)?;
        }
        if self.outputs.is_json {
            return Ok(format!("{:#}\n", json_report(setting, notes, &self.runs)));
        }
        let mut text = format!(
            "{}: {}\n{replica}\n",
            setting.group,
            load_line(setting.curve, format)
        );
        for note in notes {
            let _ = writeln!(text, "note: {note}");
        }
        text.push('\n');
        Ok(text + &self.table.render(""))
    }
}

/// The report as JSON.
fn json_report(setting: &Setting<'_>, notes: &[String], runs: &[Value]) -> Value {
    json!({
        "group": setting.group,
        "load": {
            "seconds": setting.curve.seconds(),
            "requests": setting.curve.total(),
            "peak": setting.curve.peak(),
        },
        "replica": {
            "capacity": setting.service.capacity(),
            "start": setting.service.start.as_secs_f64(),
        },
        "min": setting.policy.min,
        "max": setting.policy.max,
        "notes": notes,
        "runs": runs,
    })
}

/// "a load curve of 660 s, 1234567 requests, 1871/s on average, 5000/s at the peak".
fn load_line(curve: &LoadCurve, format: LoadFormat) -> String {
    let (seconds, total) = (curve.seconds(), curve.total());
    format!(
        "{} of {seconds} s, {total:.0} requests, {:.1}/s on average, {:.1}/s at the peak",
        format.name(),
        total / seconds as f64,
        curve.peak(),
    )
}

/// "a replica serves 500 requests/s and starts in 2 s; 1 to 4 of them, cpu at 20".
fn replica_line(setting: &Setting<'_>) -> String {
    let (policy, service) = (setting.policy, &setting.service);
    let mut line = format!(
        "a replica serves {:.1} requests/s and starts in {}; {} to {} of them",
        service.capacity(),
        config::display_duration(service.start),
        policy.min,
        policy.max,
    );
    for tracking in &policy.target_tracking {
        let _ = write!(line, ", {} at {}", tracking.metric.name(), tracking.target);
    }
    line
}

fn seconds(seconds: Option<u64>) -> String {
    seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds} s"))
}

fn milliseconds(value: f64) -> String {
    match value {
        1000.0.. => format!("{:.1} s", value / 1000.0),
        10.0.. => format!("{value:.0} ms"),
        _ => format!("{value:.1} ms"),
    }
}

fn cells(run: &Run, summary: &Summary) -> [String; 9] {
    [
        run.rules.name().to_owned(),
        summary.peak_desired.to_string(),
        summary.changes.to_string(),
        seconds(summary.reaction),
        seconds(summary.enough),
        format!("{:.2}", summary.replica_hours),
        milliseconds(summary.p95),
        format!("{} s", summary.overloaded),
        format!("{:.0}", summary.lost),
    ]
}

/// The note of a panel.
fn brief(summary: &Summary) -> String {
    let mut text = format!(
        "{:.2} replica-hours \u{b7} p95 {}",
        summary.replica_hours,
        milliseconds(summary.p95)
    );
    if let Some(reaction) = summary.reaction {
        let _ = write!(text, " \u{b7} reacts in {reaction} s");
    }
    if summary.overloaded > 0 {
        let _ = write!(text, " \u{b7} {} s overloaded", summary.overloaded);
    }
    text
}

fn object(run: &Run, summary: &Summary) -> Value {
    let changes = run.changes.iter().map(|change| {
        json!({
            "second": change.second,
            "from": change.from,
            "to": change.to,
            "why": change.why,
        })
    });
    json!({
        "profile": run.rules.name(),
        "peak_desired": summary.peak_desired,
        "reaction_seconds": summary.reaction,
        "enough_seconds": summary.enough,
        "replica_hours": summary.replica_hours,
        "p95_ms": summary.p95,
        "overloaded_seconds": summary.overloaded,
        "lost_requests": summary.lost,
        "changes": changes.collect::<Vec<Value>>(),
    })
}

fn write_csv(csv: &mut impl io::Write, run: &Run) -> io::Result<()> {
    let name = run.rules.name();
    for (second, row) in run.rows.iter().enumerate() {
        let served = &row.served;
        let cpu = served
            .utilisation
            .map_or_else(String::new, |part| format!("{:.2}", part * 100.0));
        writeln!(
            csv,
            "{name},{second},{:.3},{},{},{},{cpu},{:.3},{:.3},{:.3},{:.3}",
            row.load,
            row.desired,
            row.running,
            row.warming,
            served.in_flight,
            served.waiting,
            served.response.quantile(0.95) * 1000.0,
            served.lost,
        )?;
    }
    Ok(())
}

fn create(file: &Path) -> Result<BufWriter<File>, String> {
    File::create(file)
        .map(BufWriter::new)
        .map_err(|error| cannot_write(file, &error))
}
