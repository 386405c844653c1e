//! Makes a figure of what a running Weir wrote to `autoscaling.record`.

use std::collections::BTreeSet;
use std::io::BufRead;

use jiff::Timestamp;

use super::figure::load_series;
use super::read::lines::Lines;
use super::{LoadCurve, MAX_SECONDS, ReadError};
use crate::tools::plot::{Axis, Figure, Panel, Series, Style};

/// The beginning of a header line.
const HEADER: &str = "time,";

/// Most evaluations of a record: those of the longest load.
const MAX_ROWS: usize = MAX_SECONDS;

/// Most metrics of a figure.
const MAX_METRICS: usize = 12;

/// The part of a record to draw.
#[derive(Clone, Copy, Debug, Default)]
pub struct Selection<'a> {
    /// The target group; `None` if the record has only one.
    pub group: Option<&'a str>,
    /// The load of the same time, from another file.
    pub load: Option<&'a LoadCurve>,
    /// Targets of metrics, by the names of the metrics.
    pub targets: &'a [(String, f64)],
}

/// Makes a figure of a record.
pub fn recorded(input: impl BufRead, selection: Selection<'_>) -> Result<Figure, ReadError> {
    let mut record = Record::default();
    let mut lines = Lines::new(input);
    while let Some(line) = lines.next()? {
        let result = record.line(&line.text, selection.group);
        // The process that writes the record may be in the middle of a line.
        if let Err(problem) = result
            && !line.cut
        {
            return Err(ReadError::Line {
                line: line.number,
                problem,
            });
        }
    }
    record.figure(selection).map_err(ReadError::Empty)
}

#[derive(Debug, Default)]
struct Record {
    /// The columns of the last header line.
    columns: Vec<String>,
    groups: BTreeSet<String>,
    rows: Vec<Row>,
    /// The metrics with their values.
    metrics: Vec<MetricValues>,
}

#[derive(Debug)]
struct MetricValues {
    name: String,
    /// Values with the index of their row.
    values: Vec<(usize, f64)>,
}

#[derive(Debug)]
struct Row {
    at: Timestamp,
    desired: u32,
    running: u32,
    min: u32,
    max: u32,
}

/// The columns before those of metrics.
const COLUMNS: [&str; 11] = [
    "time",
    "target_group",
    "before",
    "desired",
    "running",
    "warming",
    "min",
    "max",
    "outcome",
    "reason",
    "formula",
];

impl Record {
    fn line(&mut self, line: &str, group: Option<&str>) -> Result<(), String> {
        if line.trim().is_empty() {
            return Ok(());
        }
        let cells = cells(line);
        if line.starts_with(HEADER) {
            let missing = COLUMNS
                .iter()
                .find(|name| !cells.iter().any(|cell| cell == *name));
            if let Some(name) = missing {
                return Err(format!("no column is named `{name}`"));
            }
            self.columns = cells;
            return Ok(());
        }
        if self.columns.is_empty() {
            return Err(
                "not a record of `autoscaling.record`: it begins with the names of \
                its columns, `time,target_group,…`"
                    .to_owned(),
            );
        }
        if cells.len() != self.columns.len() {
            let (found, wanted) = (cells.len(), self.columns.len());
            return Err(format!("{found} values for {wanted} columns"));
        }
        self.row(&cells, group)
    }

    fn row(&mut self, cells: &[String], group: Option<&str>) -> Result<(), String> {
        let cell = |name: &str| {
            let index = self.columns.iter().position(|column| column == name);
            index.map_or("", |index| &cells[index])
        };
        let row_group = cell("target_group");
        if group.is_some_and(|group| group != row_group) {
            return Ok(());
        }
        let count = |name: &str| {
            let text = cell(name);
            text.parse::<u32>()
                .map_err(|_| format!("`{text}` is no number of replicas ({name})"))
        };
        let time = cell("time");
        let at: Timestamp = time
            .parse()
            .map_err(|error| format!("`{time}` is no time: {error}"))?;
        let row = Row {
            at,
            desired: count("desired")?,
            running: count("running")?,
            min: count("min")?,
            max: count("max")?,
        };
        if self.rows.last().is_some_and(|before| before.at > at) {
            return Err(format!("{at} is before the line before"));
        }
        if self.rows.len() == MAX_ROWS {
            return Err(format!("more than {MAX_ROWS} evaluations"));
        }
        self.groups.insert(row_group.to_owned());
        if self.groups.len() > 1 {
            let names: Vec<String> = self.groups.iter().map(|name| format!("`{name}`")).collect();
            return Err(format!(
                "it is of several groups, {}: choose one",
                names.join(" and ")
            ));
        }
        self.rows.push(row);
        self.values(cells)
    }

    fn values(&mut self, cells: &[String]) -> Result<(), String> {
        let row = self.rows.len() - 1;
        for (name, cell) in self.columns.iter().zip(cells) {
            if COLUMNS.contains(&name.as_str()) || cell.is_empty() {
                continue;
            }
            let value: f64 = cell
                .parse()
                .map_err(|_| format!("`{cell}` is no value of {name}"))?;
            if let Some(metric) = self.metrics.iter_mut().find(|metric| metric.name == *name) {
                metric.values.push((row, value));
            } else if self.metrics.len() < MAX_METRICS {
                self.metrics.push(MetricValues {
                    name: name.clone(),
                    values: vec![(row, value)],
                });
            }
        }
        Ok(())
    }

    fn figure(&self, selection: Selection<'_>) -> Result<Figure, String> {
        let (Some(first), Some(last)) = (self.rows.first(), self.rows.last()) else {
            return Err(match selection.group {
                Some(group) => format!("no evaluation of group `{group}` is in it"),
                None => "no evaluation is in it".to_owned(),
            });
        };
        let second = |at: Timestamp| at.duration_since(first.at).as_secs_f64();
        let group = self.groups.first().map_or("", String::as_str);
        let mut panels = Vec::new();
        if let Some(load) = selection.load {
            let from = load.start().map_or(0.0, second);
            panels.push(load_panel(load, from, second(last.at)));
        }
        let mut metrics = self.metrics.iter().map(|metric| {
            let points = metric
                .values
                .iter()
                .map(|(row, value)| (second(self.rows[*row].at), *value));
            axis(&metric.name, points.collect(), selection.targets)
        });
        panels.push(Panel {
            title: "Replicas".to_owned(),
            note: String::new(),
            left: self.replicas(second),
            right: metrics.next(),
        });
        panels.extend(metrics.map(|left| Panel {
            title: left.label.clone(),
            note: String::new(),
            left,
            right: None,
        }));
        Ok(Figure {
            title: format!("Autoscaling of {group}"),
            subtitle: format!("from {:.0} to {:.0}", first.at, last.at),
            seconds: second(last.at),
            panels,
        })
    }

    fn replicas(&self, second: impl Fn(Timestamp) -> f64) -> Axis {
        let series = |name: &str, style, value: fn(&Row) -> u32| Series {
            name: name.to_owned(),
            style,
            points: self
                .rows
                .iter()
                .map(|row| (second(row.at), f64::from(value(row))))
                .collect(),
        };
        Axis {
            label: "replicas".to_owned(),
            series: vec![
                series("running", Style::Running, |row| row.running),
                series("min, max", Style::Bound, |row| row.min),
                series("min, max", Style::Bound, |row| row.max),
                series("desired", Style::Desired, |row| row.desired),
            ],
        }
    }
}

/// The part of a load within the time of the record.
fn load_panel(load: &LoadCurve, from: f64, end: f64) -> Panel {
    let mut series = load_series(load);
    for point in &mut series.points {
        point.0 += from;
    }
    series.points.retain(|point| (0.0..=end).contains(&point.0));
    Panel {
        title: "Load".to_owned(),
        note: String::new(),
        left: Axis {
            label: "requests/s".to_owned(),
            series: vec![series],
        },
        right: None,
    }
}

/// A metric, and its target if it has one.
fn axis(name: &str, points: Vec<(f64, f64)>, targets: &[(String, f64)]) -> Axis {
    let mut series = vec![Series {
        name: name.to_owned(),
        style: Style::Metric,
        points,
    }];
    if let Some((_, target)) = targets.iter().find(|(metric, _)| metric == name) {
        series.push(Series {
            name: format!("target {target}"),
            style: Style::Target,
            points: vec![(0.0, *target)],
        });
    }
    Axis {
        label: super::figure::with_unit(name),
        series,
    }
}

/// The cells of a line of CSV (RFC 4180); none of them has a line break.
fn cells(line: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut is_quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if is_quoted && chars.peek() == Some(&'"') => {
                chars.next();
                push(&mut cells, '"');
            }
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => cells.push(String::new()),
            _ => push(&mut cells, c),
        }
    }
    cells
}

fn push(cells: &mut [String], c: char) {
    if let Some(cell) = cells.last_mut() {
        cell.push(c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &str = "time,target_group,before,desired,running,warming,min,max,outcome,reason,formula,cpu,\"up{a=\"\"b\"\",c=\"\"d\"\"}\"\n";

    fn record() -> String {
        let row = |second: u32, group: &str, desired: u32, cpu: &str| {
            format!(
                "2026-11-22T11:40:{second:02}.5Z,{group},1,{desired},1,0,1,4,hold,in_range,\"ceil(1, 2)\",{cpu},7\n"
            )
        };
        let rows = [
            row(0, "todo", 1, "10.5"),
            row(1, "todo", 1, ""),
            row(2, "todo", 4, "65"),
        ];
        format!("{NAMES}{}", rows.concat())
    }

    fn figure(text: &str, selection: Selection<'_>) -> Result<Figure, String> {
        recorded(text.as_bytes(), selection).map_err(|error| error.to_string())
    }

    #[test]
    fn a_record_becomes_replicas_metrics_and_the_load_of_its_time() {
        let start = "2026-11-22T11:39:59.5Z".parse().unwrap();
        let load = LoadCurve::new(Some(start), vec![1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        let targets = [("cpu".to_owned(), 20.0)];
        let selection = Selection {
            group: None,
            load: Some(&load),
            targets: &targets,
        };
        let figure = figure(&record(), selection).unwrap();
        assert_eq!(figure.title, "Autoscaling of todo");
        assert!((figure.seconds - 2.0).abs() < 1e-9);
        let titles: Vec<_> = figure
            .panels
            .iter()
            .map(|panel| panel.title.as_str())
            .collect();
        assert_eq!(titles, ["Load", "Replicas", "up{a=\"b\",c=\"d\"}"]);
        let points = |axis: &Axis, name: &str| {
            let found = axis.series.iter().find(|series| series.name == name);
            found.unwrap().points.clone()
        };
        let replicas = &figure.panels[1];
        assert_eq!(
            points(&replicas.left, "desired"),
            [(0.0, 1.0), (1.0, 1.0), (2.0, 4.0)]
        );
        let right = replicas.right.as_ref().unwrap();
        assert_eq!(right.label, "cpu (%)");
        assert_eq!(points(right, "cpu"), [(0.0, 10.5), (2.0, 65.0)]);
        assert_eq!(points(right, "target 20"), [(0.0, 20.0)]);
        let load = &figure.panels[0].left;
        let wanted = [(0.0, 2.0), (1.0, 3.0), (2.0, 4.0)];
        assert_eq!(points(load, "requests per second"), wanted);
    }

    #[test]
    fn a_header_may_come_again_and_the_last_line_may_be_cut_off() {
        let text = record();
        let (more, second) = (
            text.replace("11:40", "11:41")
                .replace(",cpu,", ",latency_p95,"),
            "2026",
        );
        let figure = figure(&format!("{text}{more}{second}"), Selection::default()).unwrap();
        assert!((figure.seconds - 62.0).abs() < 1e-9);
        assert_eq!(figure.panels.len(), 3);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let good = record();
        let row = |change: (&str, &str)| good.replacen(change.0, change.1, 1);
        let second = good.replace(",todo,", ",other,").replace("11:40", "11:41");
        let several = format!("{good}{}", second.split_once('\n').unwrap().1);
        for (text, says) in [
            (
                "hello\n".to_owned(),
                "line 1: not a record of `autoscaling.record`",
            ),
            (
                "time,a\n".to_owned(),
                "line 1: no column is named `target_group`",
            ),
            (NAMES.to_owned(), "no evaluation is in it"),
            (String::new(), "no evaluation is in it"),
            (format!("{good}1,2\n"), "line 5: 2 values for 13 columns"),
            (
                row(("2026-11", "2026-13")),
                "line 2: `2026-13-22T11:40:00.5Z` is no time",
            ),
            (
                row(("11:40:02", "11:39:02")),
                "line 4: 2026-11-22T11:39:02.5Z is before the line before",
            ),
            (
                row((",4,1,0", ",x,1,0")),
                "line 4: `x` is no number of replicas (desired)",
            ),
            (row(("10.5", "ten")), "line 2: `ten` is no value of cpu"),
            (
                several.clone(),
                "line 5: it is of several groups, `other` and `todo`",
            ),
        ] {
            let problem = figure(&text, Selection::default()).unwrap_err();
            assert!(problem.starts_with(says), "{says}: {problem}");
        }
        let of = |group| Selection {
            group: Some(group),
            ..Selection::default()
        };
        assert_eq!(
            figure(&several, of("other")).unwrap().title,
            "Autoscaling of other"
        );
        assert_eq!(
            figure(&good, of("x")).unwrap_err(),
            "no evaluation of group `x` is in it"
        );
    }
}
