//! Every evaluation of a group as a line of CSV (RFC 4180), for plots and spreadsheets.
//!
//! A task of its own writes, so that a slow disk never holds the autoscaler up. Lines that it
//! cannot take are lost and counted: the log says so when it begins, and how many there were
//! once it is over. The file is only ever appended to. Columns are named by a head line, which
//! is written again when they have changed.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use jiff::Unit;
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::{Decision, Reading};
use crate::config::Metric;
use crate::model::Escaped;

/// Lines that may wait for the disk.
const QUEUE: usize = 256;

/// No head line is longer.
const HEAD: u64 = 64 * 1024;

/// Columns before those of the metrics.
const COLUMNS: &str =
    "time,target_group,before,desired,running,warming,min,max,outcome,reason,formula";

/// Lines of a group that did not reach its file.
#[derive(Debug, Default)]
pub(super) struct Loss {
    lines: AtomicU64,
    /// Whether lines are being lost, and the log has said so.
    goes_on: AtomicBool,
}

impl Loss {
    /// Lines since the start.
    pub(super) fn lines(&self) -> u64 {
        self.lines.load(Ordering::Relaxed)
    }

    /// Counts a line. Returns whether it is the first one since all was well.
    fn count(&self) -> bool {
        self.lines.fetch_add(1, Ordering::Relaxed);
        !self.goes_on.swap(true, Ordering::Relaxed)
    }

    /// Returns whether lines were being lost until now.
    fn ends(&self) -> bool {
        self.goes_on.swap(false, Ordering::Relaxed)
    }
}

/// Hands lines to the task that writes them; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Recorder {
    path: PathBuf,
    head: String,
    loss: Arc<Loss>,
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
        loss: Arc<Loss>,
    ) -> (Self, impl Future<Output = ()> + use<>) {
        let (orders, receiver) = mpsc::channel(QUEUE);
        let head = head(metrics);
        let writer = Writer {
            path: path.clone(),
            head: head.clone(),
            file: None,
            told: loss.lines(),
            loss: Arc::clone(&loss),
        };
        let recorder = Self {
            path,
            head,
            loss,
            orders,
        };
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
        let line = Order::Line(line(decision, readings));
        if self.orders.try_send(line).is_err() && self.loss.count() {
            let path = self.path.display();
            warn!(%path, "evaluations are not recorded: the disk takes none");
        }
    }
}

struct Writer {
    path: PathBuf,
    head: String,
    file: Option<File>,
    loss: Arc<Loss>,
    /// How many lost lines the log has told of.
    told: u64,
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
            Ok(()) if self.loss.ends() => {
                let lines = self.loss.lines();
                let lost = lines - std::mem::replace(&mut self.told, lines);
                info!(%path, lost, "evaluations are recorded again");
            }
            Ok(()) => {}
            Err(error) => {
                // Opened again for the next line.
                self.file = None;
                if self.loss.count() {
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
    let fields: Vec<String> = fields.iter().map(|text| field(text)).collect();
    fields.join(",") + "\n"
}

/// In quotes if it must be. A field is one line, whatever it is made of.
fn field(text: &str) -> String {
    let text = Escaped(text).to_string();
    if text.contains(['"', ',']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
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
        let (recorder, task) = Recorder::new(path.to_owned(), &metrics, Arc::default());
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
            loss: Arc::default(),
            told: 0,
        };
        writer.write(LINE).await;
        writer.write(LINE).await;
        assert_eq!(writer.loss.lines(), 2, "each is counted");
        assert!(!path.exists());
        std::fs::create_dir(folder.path().join("later")).unwrap();
        writer.write(LINE).await;
        assert_eq!((writer.told, writer.loss.ends()), (2, false));
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("{HEAD}{LINE}"));
    }

    #[tokio::test]
    async fn lines_that_a_hanging_disk_does_not_take_are_counted() {
        let folder = TempDir::new().unwrap();
        // Opens at once, and lets clients that read its head wait.
        let path = folder.path().join("hanging");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        let hung = std::fs::File::options().read(true).write(true).open(&path);
        let mut hung = hung.unwrap();
        let writer = start(&path);
        let loss = Arc::clone(&writer.0.loss);
        let sent = 2 * QUEUE as u64;
        for _ in 0..sent {
            writer.0.write(&decision(), &readings());
        }
        assert!(loss.goes_on.load(Ordering::Relaxed));
        // The disk is back.
        hung.write_all(b"another head\n").unwrap();
        end(writer).await;
        assert!(!loss.goes_on.load(Ordering::Relaxed), "it was said");
        assert!((1..sent).contains(&loss.lines()), "{loss:?} of {sent}");
        let written = LINE.repeat((sent - loss.lines()) as usize);
        let mut text = vec![0; HEAD.len() + written.len()];
        hung.read_exact(&mut text).unwrap();
        let written = format!("{HEAD}{written}");
        assert_eq!(String::from_utf8(text).unwrap(), written);
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
