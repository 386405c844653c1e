//! Every evaluation of a group as a line of CSV (RFC 4180), for plots and spreadsheets.
//!
//! A task of its own writes, so that a slow disk never holds the autoscaler up; lines that it
//! cannot take are lost, which is said once. The file is only ever appended to. Columns are
//! named by a head line, which is written again when they have changed.

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;

use jiff::Unit;
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::{Decision, Reading};
use crate::config::Metric;

/// Lines that may wait for the disk.
const QUEUE: usize = 256;

/// No head line is longer.
const HEAD: u64 = 64 * 1024;

/// Columns before those of the metrics.
const COLUMNS: &str =
    "time,target_group,before,desired,running,warming,min,max,outcome,reason,formula";

/// Hands lines to the task that writes them; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Recorder {
    path: PathBuf,
    head: String,
    orders: mpsc::Sender<Order>,
}

#[derive(Debug)]
enum Order {
    Line(String),
    /// Somebody may have moved the file.
    Reopen,
}

impl Recorder {
    /// A recorder with a column for each metric, and the task that writes for it.
    pub(super) fn new(
        path: PathBuf,
        metrics: &[Metric],
    ) -> (Self, impl Future<Output = ()> + use<>) {
        let (orders, receiver) = mpsc::channel(QUEUE);
        let head = head(metrics);
        let writer = Writer {
            path: path.clone(),
            head: head.clone(),
            file: None,
            is_failing: false,
        };
        let recorder = Self { path, head, orders };
        (recorder, writer.run(receiver))
    }

    /// Whether it writes these columns to this file.
    pub(super) fn is_for(&self, path: &PathBuf, metrics: &[Metric]) -> bool {
        self.path == *path && self.head == head(metrics)
    }

    /// Opens the file again before the next line.
    pub(super) fn reopen(&self) {
        // A writer that is so far behind has a file that it cannot write to.
        let _ = self.orders.try_send(Order::Reopen);
    }

    /// Appends an evaluation. `readings` are in the order of the columns.
    pub(super) fn write(&self, decision: &Decision, readings: &[(Metric, Reading)]) {
        // As above; the writer has said so.
        let _ = self.orders.try_send(Order::Line(line(decision, readings)));
    }
}

struct Writer {
    path: PathBuf,
    head: String,
    file: Option<File>,
    is_failing: bool,
}

impl Writer {
    async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        while let Some(order) = orders.recv().await {
            match order {
                Order::Reopen => self.file = None,
                Order::Line(line) => self.write(&line).await,
            }
        }
    }

    async fn write(&mut self, line: &str) {
        let path = self.path.display().to_string();
        match self.try_write(line).await {
            Ok(()) if self.is_failing => {
                self.is_failing = false;
                info!(%path, "evaluations are recorded again");
            }
            Ok(()) => {}
            Err(error) => {
                // Opened again for the next line.
                self.file = None;
                if !std::mem::replace(&mut self.is_failing, true) {
                    warn!(%path, %error, "cannot record evaluations; trying again with each");
                }
            }
        }
    }

    async fn try_write(&mut self, line: &str) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(open(&self.path, &self.head).await?),
        };
        file.write_all(line.as_bytes()).await?;
        file.flush().await
    }
}

/// Opens a file to append to, with a head.
async fn open(path: &PathBuf, head: &str) -> io::Result<File> {
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .read(true)
        .open(path)
        .await?;
    let mut first = String::new();
    let mut start = BufReader::new((&mut file).take(HEAD));
    // What is not text is no head of ours.
    let read = start.read_line(&mut first).await;
    if read.is_err() || first != head {
        file.write_all(head.as_bytes()).await?;
    }
    Ok(file)
}

fn head(metrics: &[Metric]) -> String {
    let mut head = COLUMNS.to_owned();
    for metric in metrics {
        head.push(',');
        head.push_str(&field(&label(metric)));
    }
    head.push('\n');
    head
}

/// The name of a metric, with the labels of a custom one.
pub(super) fn label(metric: &Metric) -> String {
    match metric {
        Metric::Custom(custom) if !custom.labels.is_empty() => {
            let labels = custom.labels.iter();
            let labels: Vec<String> = labels.map(|(k, v)| format!("{k}={v:?}")).collect();
            format!("{}{{{}}}", custom.name, labels.join(","))
        }
        _ => metric.name().to_owned(),
    }
}

fn line(decision: &Decision, readings: &[(Metric, Reading)]) -> String {
    let at = decision.at.round(Unit::Millisecond).unwrap_or(decision.at);
    let (outcome, reason) = decision.outcome.words();
    let mut fields = vec![
        at.to_string(),
        decision.group.clone(),
        decision.before.to_string(),
        decision.desired.to_string(),
        decision.capacity.running.to_string(),
        decision.capacity.warming.to_string(),
        decision.min.to_string(),
        decision.max.to_string(),
        outcome.to_owned(),
        reason.map_or(String::new(), |reason| reason.name().to_owned()),
        decision.formula(),
    ];
    fields.extend(readings.iter().map(|(_, reading)| match reading {
        Reading::Value(value) => value.to_string(),
        Reading::Missing(_) => String::new(),
    }));
    let fields: Vec<Cow<'_, str>> = fields.iter().map(|text| field(text)).collect();
    fields.join(",") + "\n"
}

/// In quotes if it must be.
fn field(text: &str) -> Cow<'_, str> {
    if text.contains(['"', ',', '\n', '\r']) {
        Cow::Owned(format!("\"{}\"", text.replace('"', "\"\"")))
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use jiff::Timestamp;
    use tempfile::TempDir;
    use tokio::task::JoinHandle;
    use tokio::time::timeout;

    use super::super::{Capacity, Outcome, Reason};
    use super::*;
    use crate::config::CustomMetric;

    /// For whatever is waited for: only a broken test takes this long.
    const LONG: Duration = Duration::from_secs(20);

    fn decision() -> Decision {
        Decision {
            at: Timestamp::from_millisecond(1_500).unwrap(),
            group: "to,do".to_owned(),
            capacity: Capacity {
                desired: 2,
                running: 2,
                warming: 1,
            },
            before: 2,
            min: 1,
            max: 4,
            opinions: Vec::new(),
            desired: 2,
            outcome: Outcome::Hold(Reason::Cooldown),
            out_cooldown: None,
            in_cooldown: None,
        }
    }

    fn readings() -> Vec<(Metric, Reading)> {
        let custom = CustomMetric {
            name: "jobs".to_owned(),
            labels: vec![("queue".to_owned(), "a".to_owned())],
            path: "/metrics".to_owned(),
            port: None,
            rate: false,
        };
        vec![
            (Metric::Cpu, Reading::Value(12.5)),
            (Metric::Custom(custom), Reading::Missing("no".to_owned())),
        ]
    }

    const HEAD: &str = "time,target_group,before,desired,running,warming,min,max,outcome,reason,\
        formula,cpu,\"jobs{queue=\"\"a\"\"}\"\n";
    const LINE: &str = "1970-01-01T00:00:01.5Z,\"to,do\",2,2,2,1,1,4,hold,cooldown,,12.5,\n";

    fn start(path: &Path) -> (Recorder, JoinHandle<()>) {
        let metrics: Vec<Metric> = readings().into_iter().map(|(metric, _)| metric).collect();
        let (recorder, task) = Recorder::new(path.to_owned(), &metrics);
        (recorder, tokio::spawn(task))
    }

    async fn end((recorder, task): (Recorder, JoinHandle<()>)) {
        drop(recorder);
        timeout(LONG, task).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn each_evaluation_is_a_line_under_one_head() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("record.csv");
        for _ in 0..2 {
            let writer = start(&path);
            writer.0.write(&decision(), &readings());
            writer.0.write(&decision(), &readings());
            end(writer).await;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("{HEAD}{}", LINE.repeat(4)));
    }

    #[tokio::test]
    async fn a_file_that_was_moved_is_begun_anew_after_a_reload() {
        let folder = TempDir::new().unwrap();
        let (path, moved) = (folder.path().join("a"), folder.path().join("b"));
        let writer = start(&path);
        writer.0.write(&decision(), &readings());
        let written = async {
            let mut tick = tokio::time::interval(Duration::from_millis(2));
            while std::fs::read_to_string(&path).unwrap_or_default().len() < HEAD.len() + 1 {
                tick.tick().await;
            }
        };
        timeout(LONG, written).await.unwrap();
        std::fs::rename(&path, &moved).unwrap();
        writer.0.reopen();
        writer.0.write(&decision(), &readings());
        end(writer).await;
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("{HEAD}{LINE}"));
    }

    #[tokio::test]
    async fn what_cannot_be_written_now_is_written_when_it_can() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("later").join("record.csv");
        let mut writer = Writer {
            path: path.clone(),
            head: HEAD.to_owned(),
            file: None,
            is_failing: false,
        };
        writer.write(LINE).await;
        assert!(writer.is_failing && !path.exists());
        std::fs::create_dir(folder.path().join("later")).unwrap();
        writer.write(LINE).await;
        assert!(!writer.is_failing);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("{HEAD}{LINE}"));
    }

    #[tokio::test]
    async fn other_columns_get_another_head() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("record.csv");
        std::fs::write(&path, [0xff, b'\n']).unwrap();
        let writer = start(&path);
        assert!(!writer.0.is_for(&path, &[Metric::Cpu]));
        writer.0.write(&decision(), &readings());
        end(writer).await;
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes[2..], *format!("{HEAD}{LINE}").as_bytes());
    }
}
