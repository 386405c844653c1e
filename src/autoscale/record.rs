//! Records every evaluation of a group as a line of CSV (RFC 4180), for plots and spreadsheets.
//!
//! A task of its own writes, so that a slow disk never delays the autoscaler. Lines that it cannot
//! accept are dropped and counted: the log tells when this begins, and how many were dropped when
//! it ends. The file is only appended to. A header line names the columns; it is written again
//! when they change.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use jiff::Unit;
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::decision::Decision;
use super::sample::Reading;
use crate::config::Metric;
use crate::model::Escaped;

/// Lines that may wait to be written.
const QUEUE: usize = 256;

/// Longest header line, bytes.
const MAX_HEADER: u64 = 64 * 1024;

/// Columns before those of the metrics.
const COLUMNS: &str =
    "time,target_group,before,desired,running,warming,min,max,outcome,reason,formula";

/// Counts the lines of a group that were not written to its file.
#[derive(Debug, Default)]
pub(super) struct LostLines {
    lines: AtomicU64,
    /// Whether lines are being lost, which the log has reported.
    is_losing: AtomicBool,
}

impl LostLines {
    /// Lines lost since the start.
    pub(super) fn lines(&self) -> u64 {
        self.lines.load(Ordering::Relaxed)
    }

    /// Counts a line. Returns whether it is the first of a series.
    fn count(&self) -> bool {
        self.lines.fetch_add(1, Ordering::Relaxed);
        !self.is_losing.swap(true, Ordering::Relaxed)
    }

    /// Ends a series. Returns whether there was one.
    fn end(&self) -> bool {
        self.is_losing.swap(false, Ordering::Relaxed)
    }
}

/// Sends lines to the task that writes them; the task ends after this is dropped.
#[derive(Debug)]
pub(super) struct Recorder {
    path: PathBuf,
    header: String,
    lost: Arc<LostLines>,
    commands: mpsc::Sender<Command>,
}

#[derive(Debug)]
enum Command {
    Append(String),
    /// Open the file again: it may have been moved.
    Reopen,
}

impl Recorder {
    /// A recorder with a column for each metric, and the task that must be spawned for it.
    pub(super) fn new(
        path: PathBuf,
        metrics: &[Metric],
        lost: Arc<LostLines>,
    ) -> (Self, impl Future<Output = ()> + use<>) {
        let (commands, receiver) = mpsc::channel(QUEUE);
        let header = header(metrics);
        let writer = Writer {
            path: path.clone(),
            header: header.clone(),
            file: None,
            reported: lost.lines(),
            lost: Arc::clone(&lost),
        };
        let recorder = Self {
            path,
            header,
            lost,
            commands,
        };
        (recorder, writer.run(receiver))
    }

    /// Whether it writes a column for each of these metrics to this file.
    pub(super) fn is_for(&self, path: &PathBuf, metrics: &[Metric]) -> bool {
        self.path == *path && self.header == header(metrics)
    }

    /// Opens the file again before the next line.
    pub(super) fn reopen(&self) {
        // If the queue is full, the file cannot be written and will be opened again anyway.
        let _ = self.commands.try_send(Command::Reopen);
    }

    /// Appends an evaluation. `readings` are in the order of the columns.
    pub(super) fn write(&self, decision: &Decision, readings: &[(Metric, Reading)]) {
        let append = Command::Append(line(decision, readings));
        if self.commands.try_send(append).is_err() && self.lost.count() {
            let path = self.path.display();
            warn!(%path, "evaluation not recorded: the disk is too slow; dropping lines");
        }
    }
}

struct Writer {
    path: PathBuf,
    header: String,
    file: Option<File>,
    lost: Arc<LostLines>,
    /// Lost lines that the log has reported.
    reported: u64,
}

impl Writer {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        while let Some(command) = commands.recv().await {
            match command {
                Command::Reopen => self.file = None,
                Command::Append(line) => self.write(&line).await,
            }
        }
    }

    async fn write(&mut self, line: &str) {
        let path = self.path.display().to_string();
        match self.try_write(line).await {
            Ok(()) if self.lost.end() => {
                let lines = self.lost.lines();
                let lost = lines - std::mem::replace(&mut self.reported, lines);
                info!(%path, lost, "evaluations are recorded again");
            }
            Ok(()) => {}
            Err(error) => {
                // Opened again for the next line.
                self.file = None;
                if self.lost.count() {
                    warn!(%path, %error, "cannot record evaluations; trying again with each");
                }
            }
        }
    }

    async fn try_write(&mut self, line: &str) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(open(&self.path, &self.header).await?),
        };
        file.write_all(line.as_bytes()).await?;
        file.flush().await
    }
}

/// Opens a file to append to, and writes the header unless it has that.
async fn open(path: &PathBuf, header: &str) -> io::Result<File> {
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .read(true)
        .open(path)
        .await?;
    let mut first = String::new();
    let mut start = BufReader::new((&mut file).take(MAX_HEADER));
    // A file that is not text does not have the header either.
    let read = start.read_line(&mut first).await;
    if read.is_err() || first != header {
        file.write_all(header.as_bytes()).await?;
    }
    Ok(file)
}

fn header(metrics: &[Metric]) -> String {
    let mut header = COLUMNS.to_owned();
    for metric in metrics {
        header.push(',');
        header.push_str(&field(&label(metric)));
    }
    header.push('\n');
    header
}

/// The name of a metric, with the labels of a custom one.
pub(super) fn label(metric: &Metric) -> String {
    match metric {
        Metric::Custom(custom) if !custom.labels.is_empty() => {
            let labels: Vec<String> = custom
                .labels
                .iter()
                .map(|(name, value)| format!("{name}={value:?}"))
                .collect();
            format!("{}{{{}}}", custom.name, labels.join(","))
        }
        _ => metric.name().to_owned(),
    }
}

fn line(decision: &Decision, readings: &[(Metric, Reading)]) -> String {
    let at = decision.at.round(Unit::Millisecond).unwrap_or(decision.at);
    let (outcome, reason) = decision.outcome.names();
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

/// A field of CSV, quoted if necessary; control characters are escaped.
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

    use super::super::decision::{Reason, ScalingOutcome};
    use super::super::sample::Capacity;
    use super::*;
    use crate::config::CustomMetric;

    /// Deadline of every wait: only a broken test takes this long.
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
            results: Vec::new(),
            desired: 2,
            outcome: ScalingOutcome::Hold(Reason::Cooldown),
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

    const HEADER: &str = "time,target_group,before,desired,running,warming,min,max,outcome,reason,\
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
    async fn each_evaluation_is_a_line_under_one_header() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("record.csv");
        for _ in 0..2 {
            let writer = start(&path);
            writer.0.write(&decision(), &readings());
            writer.0.write(&decision(), &readings());
            end(writer).await;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("{HEADER}{}", LINE.repeat(4)));
    }

    #[tokio::test]
    async fn a_file_that_was_moved_is_created_again_after_a_reload() {
        let folder = TempDir::new().unwrap();
        let (path, moved) = (folder.path().join("a"), folder.path().join("b"));
        let writer = start(&path);
        writer.0.write(&decision(), &readings());
        let written = async {
            let mut tick = tokio::time::interval(Duration::from_millis(2));
            while std::fs::read_to_string(&path).unwrap_or_default().len() < HEADER.len() + 1 {
                tick.tick().await;
            }
        };
        timeout(LONG, written).await.unwrap();
        std::fs::rename(&path, &moved).unwrap();
        writer.0.reopen();
        writer.0.write(&decision(), &readings());
        end(writer).await;
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("{HEADER}{LINE}"));
    }

    #[tokio::test]
    async fn what_cannot_be_written_now_is_written_when_it_can() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("later").join("record.csv");
        let mut writer = Writer {
            path: path.clone(),
            header: HEADER.to_owned(),
            file: None,
            lost: Arc::default(),
            reported: 0,
        };
        writer.write(LINE).await;
        writer.write(LINE).await;
        assert_eq!(writer.lost.lines(), 2, "each is counted");
        assert!(!path.exists());
        std::fs::create_dir(folder.path().join("later")).unwrap();
        writer.write(LINE).await;
        assert_eq!((writer.reported, writer.lost.end()), (2, false));
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("{HEADER}{LINE}"));
    }

    #[tokio::test]
    async fn lines_that_a_hanging_disk_does_not_take_are_counted() {
        let folder = TempDir::new().unwrap();
        // A pipe: it opens at once, and a reader of its header waits.
        let path = folder.path().join("hanging");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        let hung = std::fs::File::options().read(true).write(true).open(&path);
        let mut hung = hung.unwrap();
        let writer = start(&path);
        let lost = Arc::clone(&writer.0.lost);
        let sent = 2 * QUEUE as u64;
        for _ in 0..sent {
            writer.0.write(&decision(), &readings());
        }
        assert!(lost.is_losing.load(Ordering::Relaxed));
        // The disk is back.
        hung.write_all(b"another head\n").unwrap();
        end(writer).await;
        assert!(
            !lost.is_losing.load(Ordering::Relaxed),
            "the end was reported"
        );
        assert!((1..sent).contains(&lost.lines()), "{lost:?} of {sent}");
        let written = LINE.repeat((sent - lost.lines()) as usize);
        let mut text = vec![0; HEADER.len() + written.len()];
        hung.read_exact(&mut text).unwrap();
        let written = format!("{HEADER}{written}");
        assert_eq!(String::from_utf8(text).unwrap(), written);
    }

    #[tokio::test]
    async fn other_columns_get_another_header() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("record.csv");
        std::fs::write(&path, [0xff, b'\n']).unwrap();
        let writer = start(&path);
        assert!(!writer.0.is_for(&path, &[Metric::Cpu]));
        writer.0.write(&decision(), &readings());
        end(writer).await;
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes[2..], *format!("{HEADER}{LINE}").as_bytes());
    }
}
