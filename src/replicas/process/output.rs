//! What a replica prints becomes part of Weir's log: an event for each line, at the level info
//! and with the target `replica`, so that `RUST_LOG=info,replica=off` leaves it out. Or it goes into a
//! file; then the log has none of it.
//!
//! A replica that floods its output costs little. Of its lines [`BURST`] are logged at once and
//! [`LINES_PER_SECOND`] after that; the others are left out, and their number is logged. Reading
//! goes on meanwhile, so that a service which logs much is not slowed down, up to
//! [`BYTES_PER_TICK`]: a process that writes more waits for its own full pipe.
//!
//! The last lines, logged or not, are kept for the report of the replica's exit. Reading ends a
//! moment after the process, not with its pipes: what it leaves running may hold them open.

use std::collections::VecDeque;
use std::fmt::Write;
use std::io;
use std::pin::pin;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Child;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::files::ReplicaFile;
use crate::config::ReplicaOutput;
use crate::model::TargetGroupId;
use crate::observe::replica_lines;
use crate::replicas::ReplicaId;

/// Lines logged at once, for example all of a start or a stack trace.
const BURST: u32 = 1000;

/// Lines logged in each second after that, the replica's two pipes together.
const LINES_PER_SECOND: u32 = 100;

/// Between two reports of how many lines were left out.
const SUMMARY_INTERVAL: Duration = Duration::from_secs(10);

/// Most bytes of a line that are logged; of a longer one the number of the other bytes follows.
const LINE_LIMIT: usize = 2048;

/// Lines kept for the report of the exit: a panic message or the head of a stack trace.
const TAIL_LINES: usize = 10;

/// Most bytes read in a [`TICK`], the replica's two pipes together: 2.5 MiB per second, which
/// is two hundred times as much as is logged.
const BYTES_PER_TICK: usize = 256 * 1024;
const TICK: Duration = Duration::from_millis(100);

/// Bytes read at once from a pipe.
const CHUNK: usize = 16 * 1024;

/// How long the last lines may take after the process has ended.
const LAST_LINES_TIMEOUT: Duration = Duration::from_millis(200);

/// Reads what a process prints; dropping it stops reading.
#[derive(Debug)]
pub(super) struct Output {
    reader: JoinSet<VecDeque<String>>,
    /// Dropped when the process has ended.
    ended: oneshot::Sender<()>,
}

impl Output {
    /// Takes over the pipes of a child.
    pub(super) fn follow(
        group: &TargetGroupId,
        replica: ReplicaId,
        to: &ReplicaOutput,
        child: &mut Child,
    ) -> Self {
        let (group, pid) = (group.clone(), child.id());
        let mut file = match to {
            ReplicaOutput::File(folder) => Some(ReplicaFile::new(folder, &group, replica)),
            ReplicaOutput::Log | ReplicaOutput::Off => None,
        };
        let take = move |event: Event<'_>| match (event, &mut file) {
            (Event::Read(line), Some(file)) => file.add(line),
            (Event::Pause, Some(file)) => file.send(),
            (Event::Read(_) | Event::Pause, None) => {}
            (Event::Line(stream, line), file) => {
                replica_lines().add(&group.0, replica.0, stream, line);
                if file.is_none() {
                    info!(target: "replica", %group, replica = replica.0, pid, stream, "{line}");
                }
            }
            (Event::LeftOut(lines), file) => {
                let text = format!("{lines} lines left out");
                replica_lines().add(&group.0, replica.0, "weir", &text);
                if file.is_none() {
                    warn!(
                        target: "replica",
                        %group,
                        replica = replica.0,
                        pid,
                        lines,
                        "lines left out, as the replica prints more than {LINES_PER_SECOND} in a second"
                    );
                }
            }
        };
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (ended, end) = oneshot::channel();
        let mut reader = JoinSet::new();
        reader.spawn(read(stdout, stderr, end, LineFilter::new(take)));
        Self { reader, ended }
    }

    /// Logs the rest of what a process printed that has ended. Returns its last lines.
    pub(super) async fn finish(mut self) -> VecDeque<String> {
        drop(self.ended);
        let last = self.reader.join_next().await;
        last.and_then(Result::ok).unwrap_or_default()
    }
}

/// What is logged, or written to a file.
enum Event<'a> {
    /// Any line.
    Read(&'a str),
    /// So many lines were read as there are now.
    Pause,
    /// A line, and the pipe that it came from.
    Line(&'static str, &'a str),
    /// So many lines were left out.
    LeftOut(u64),
}

/// Reads both pipes until they end or break, which is the same to a reader, or until a moment
/// after the sender of `ended` is dropped. Returns the last lines.
async fn read(
    mut stdout: Option<impl AsyncRead + Unpin>,
    mut stderr: Option<impl AsyncRead + Unpin>,
    ended: oneshot::Receiver<()>,
    mut lines: LineFilter<impl FnMut(Event<'_>)>,
) -> VecDeque<String> {
    let mut chunks = [vec![0; CHUNK], vec![0; CHUNK]];
    let [out_chunk, err_chunk] = &mut chunks;
    let (mut out_lines, mut err_lines) = (Splitter::new("stdout"), Splitter::new("stderr"));
    let mut budget = Budget::new();
    let deadline = async {
        // An error in any case, as nothing is sent.
        let _ = ended.await;
        sleep_until(Instant::now() + LAST_LINES_TIMEOUT).await;
    };
    let mut deadline = pin!(deadline);
    while stdout.is_some() || stderr.is_some() {
        // Every arm is cancel-safe: a read that does not finish has taken nothing.
        tokio::select! {
            length = next(&mut stdout, out_chunk) => {
                out_lines.feed(&out_chunk[..length], &mut lines);
                lines.pause();
                budget.spend(length);
            }
            length = next(&mut stderr, err_chunk) => {
                err_lines.feed(&err_chunk[..length], &mut lines);
                lines.pause();
                budget.spend(length);
            }
            () = sleep_until(lines.report_at), if lines.left_out > 0 => {
                lines.report(Instant::now());
            }
            () = &mut deadline => break,
        }
        if let Some(refilled) = budget.refilled_at() {
            tokio::select! {
                () = sleep_until(refilled) => {}
                () = &mut deadline => break,
            }
        }
    }
    out_lines.end(&mut lines);
    err_lines.end(&mut lines);
    lines.pause();
    lines.report(Instant::now());
    lines.tail
}

/// Reads the next chunk of a pipe and returns its length. A pipe that has ended becomes `None`,
/// for which the future never completes.
async fn next(pipe: &mut Option<impl AsyncRead + Unpin>, chunk: &mut [u8]) -> usize {
    let Some(open) = pipe else {
        return std::future::pending().await;
    };
    match open.read(chunk).await {
        Ok(length @ 1..) => length,
        Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
        Ok(_) | Err(_) => {
            *pipe = None;
            0
        }
    }
}

/// How many bytes may still be read in this tick.
struct Budget {
    left: usize,
    tick: Instant,
}

impl Budget {
    fn new() -> Self {
        Self {
            left: BYTES_PER_TICK,
            tick: Instant::now(),
        }
    }

    fn spend(&mut self, bytes: usize) {
        let now = Instant::now();
        if now >= self.tick + TICK {
            self.tick = now;
            self.left = BYTES_PER_TICK;
        }
        self.left = self.left.saturating_sub(bytes);
    }

    /// When reading may go on; `None` if it may now.
    fn refilled_at(&self) -> Option<Instant> {
        (self.left == 0).then(|| self.tick + TICK)
    }
}

/// Decides which lines are logged.
struct LineFilter<L> {
    log: L,
    /// Lines that may be logged now, and when the last ones were added.
    allowed: u32,
    added: Instant,
    left_out: u64,
    report_at: Instant,
    tail: VecDeque<String>,
}

impl<L: FnMut(Event<'_>)> LineFilter<L> {
    fn new(log: L) -> Self {
        let now = Instant::now();
        Self {
            log,
            allowed: BURST,
            added: now,
            left_out: 0,
            report_at: now,
            tail: VecDeque::with_capacity(TAIL_LINES),
        }
    }

    fn take(&mut self, stream: &'static str, bytes: &[u8], cut: usize) {
        let now = Instant::now();
        let mut line = if self.tail.len() == TAIL_LINES {
            self.tail.pop_front().unwrap_or_default()
        } else {
            String::new()
        };
        write_line(&mut line, bytes, cut);
        (self.log)(Event::Read(&line));
        if self.allows(now) {
            (self.log)(Event::Line(stream, &line));
        } else {
            if self.left_out == 0 {
                self.report_at = now + SUMMARY_INTERVAL;
            }
            self.left_out += 1;
        }
        self.tail.push_back(line);
    }

    fn allows(&mut self, now: Instant) -> bool {
        let seconds = now.duration_since(self.added).as_secs_f64();
        let more = (seconds * f64::from(LINES_PER_SECOND)) as u32;
        if more > 0 {
            self.allowed = self.allowed.saturating_add(more).min(BURST);
            self.added = now;
        }
        let is_allowed = self.allowed > 0;
        self.allowed = self.allowed.saturating_sub(1);
        is_allowed
    }

    /// Says that no line follows for now.
    fn pause(&mut self) {
        (self.log)(Event::Pause);
    }

    fn report(&mut self, now: Instant) {
        let lines = std::mem::take(&mut self.left_out);
        if lines > 0 {
            (self.log)(Event::LeftOut(lines));
            self.report_at = now + SUMMARY_INTERVAL;
        }
    }
}

/// Replaces `line` by a line that lost its last `cut` bytes. Bytes that are not UTF-8 become
/// replacement characters; a character that was cut through is left out.
fn write_line(line: &mut String, mut bytes: &[u8], cut: usize) {
    line.clear();
    if cut == 0 {
        bytes = bytes.trim_ascii_end();
    } else if let Some(last) = bytes.utf8_chunks().last() {
        bytes = &bytes[..bytes.len() - last.invalid().len()];
    }
    line.push_str(&String::from_utf8_lossy(bytes));
    if cut > 0 {
        // Writing into a String does not fail.
        let _ = write!(line, "… ({cut} bytes more)");
    }
}

/// Cuts a stream into lines of bounded length.
#[derive(Debug)]
struct Splitter {
    stream: &'static str,
    line: Vec<u8>,
    /// Bytes of the line that did not fit.
    cut: usize,
}

impl Splitter {
    fn new(stream: &'static str) -> Self {
        Self {
            stream,
            line: Vec::new(),
            cut: 0,
        }
    }

    fn feed(&mut self, chunk: &[u8], lines: &mut LineFilter<impl FnMut(Event<'_>)>) {
        let mut parts = chunk.split(|&byte| byte == b'\n');
        self.extend(parts.next().unwrap_or_default());
        for part in parts {
            self.end(lines);
            self.extend(part);
        }
    }

    /// Passes on the line so far, unless it is empty.
    fn end(&mut self, lines: &mut LineFilter<impl FnMut(Event<'_>)>) {
        if !self.line.trim_ascii_end().is_empty() {
            lines.take(self.stream, &self.line, self.cut);
        }
        self.line.clear();
        self.cut = 0;
    }

    fn extend(&mut self, part: &[u8]) {
        let fits = part.len().min(LINE_LIMIT - self.line.len());
        self.line.extend_from_slice(&part[..fits]);
        self.cut += part.len() - fits;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::io::AsyncWriteExt;

    use super::*;

    type NoPipe = Option<tokio::io::Empty>;

    /// What was logged.
    #[derive(Clone, Default)]
    struct Logged(Arc<Mutex<Vec<String>>>);

    impl Logged {
        fn filter(&self) -> LineFilter<impl FnMut(Event<'_>) + use<>> {
            let logged = Arc::clone(&self.0);
            LineFilter::new(move |event: Event<'_>| {
                logged.lock().unwrap().extend(match event {
                    Event::Line(_, line) => Some(line.to_owned()),
                    Event::LeftOut(lines) => Some(format!("left out: {lines}")),
                    Event::Read(_) | Event::Pause => None,
                });
            })
        }

        fn lines(&self) -> Vec<String> {
            self.0.lock().unwrap().clone()
        }
    }

    fn lines(chunks: &[&[u8]]) -> Vec<String> {
        let logged = Logged::default();
        let mut filter = logged.filter();
        let mut splitter = Splitter::new("stdout");
        for chunk in chunks {
            splitter.feed(chunk, &mut filter);
        }
        splitter.end(&mut filter);
        logged.lines()
    }

    /// Reads all of these bytes from a pipe that ends.
    async fn read_all(bytes: Vec<u8>) -> (Vec<String>, VecDeque<String>) {
        let logged = Logged::default();
        let (_alive, ended) = oneshot::channel();
        let pipe = Some(io::Cursor::new(bytes));
        let last = read(pipe, NoPipe::None, ended, logged.filter()).await;
        (logged.lines(), last)
    }

    #[tokio::test(start_paused = true)]
    async fn lines_are_found_wherever_the_chunks_end() {
        let whole = lines(&[b"one\r\ntwo\n\nthree"]);
        assert_eq!(whole, ["one", "two", "three"]);
        let bytes: Vec<&[u8]> = b"one\r\ntwo\n\nthree".chunks(1).collect();
        assert_eq!(lines(&bytes), whole);
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_line_is_cut_between_characters_and_the_rest_is_counted() {
        let long = "é".repeat(1 << 20);
        let found = lines(&[b"a", long.as_bytes(), b"\nnext\n"]);
        assert_eq!(found.len(), 2);
        let expected = format!("a{}… (2095105 bytes more)", "é".repeat(1023));
        assert_eq!(found[0], expected);
        assert_eq!(found[1], "next");
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_that_are_not_utf8_are_replaced() {
        assert_eq!(lines(&[b"a\xff\xfeb\n"]), ["a\u{fffd}\u{fffd}b"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_logged_up_to_the_burst_and_counted() {
        let count = BURST as usize + 7000;
        let lines: Vec<String> = (0..count).map(|n| n.to_string()).collect();
        let text = lines.join("\n") + "\n";
        let (shown, last) = read_all(text.into_bytes()).await;
        assert_eq!(shown.len(), BURST as usize + 1);
        assert_eq!(shown.last().unwrap(), "left out: 7000");
        let kept: Vec<String> = (count - TAIL_LINES..count).map(|n| n.to_string()).collect();
        assert!(last.iter().eq(&kept), "{last:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn lines_are_logged_again_at_the_rate() {
        let logged = Logged::default();
        let mut filter = logged.filter();
        for _ in 0..=BURST {
            filter.take("stdout", b"line", 0);
        }
        tokio::time::advance(Duration::from_secs(2)).await;
        for _ in 0..1000 {
            filter.take("stdout", b"line", 0);
        }
        assert_eq!(logged.lines().len() as u32, BURST + 2 * LINES_PER_SECOND);
        assert_eq!(filter.left_out, 1 + 1000 - 200);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_without_end_is_read_at_the_rate_and_reported_now_and_then() {
        let logged = Logged::default();
        let (alive, ended) = oneshot::channel();
        let seconds = 25;
        let read_bytes = Arc::new(Mutex::new(0));
        let flood = Counted(Arc::clone(&read_bytes));
        let reading = tokio::spawn(read(Some(flood), NoPipe::None, ended, logged.filter()));
        sleep_until(Instant::now() + Duration::from_secs(seconds)).await;
        drop(alive);
        reading.await.unwrap();
        let ticks = (seconds as usize + 1) * 10;
        let most = ticks * (BYTES_PER_TICK + CHUNK);
        let read_bytes = *read_bytes.lock().unwrap();
        assert!((most / 2..=most).contains(&read_bytes), "{read_bytes}");
        let shown = logged.lines();
        let reports = shown.iter().filter(|line| line.starts_with("left out"));
        assert_eq!(reports.count(), 3, "two on the way and one at the end");
        let allowed = BURST as usize + (seconds as usize + 1) * LINES_PER_SECOND as usize;
        assert!(shown.len() <= allowed + 3, "{}", shown.len());
    }

    #[tokio::test(start_paused = true)]
    async fn an_unfinished_last_line_is_logged_although_the_pipe_stays_open() {
        let logged = Logged::default();
        let (alive, ended) = oneshot::channel();
        let (mut writer, pipe) = tokio::io::duplex(64);
        let reading = tokio::spawn(read(Some(pipe), NoPipe::None, ended, logged.filter()));
        writer.write_all(b"whole\nunfinished").await.unwrap();
        drop(alive);
        let last = reading.await.unwrap();
        assert_eq!(logged.lines(), ["whole", "unfinished"]);
        assert_eq!(last, ["whole", "unfinished"]);
        assert!(writer.write_all(b"more").await.is_err(), "not held open");
    }

    /// Lines without end; counts the bytes that are taken.
    struct Counted(Arc<Mutex<usize>>);

    impl AsyncRead for Counted {
        fn poll_read(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            buffer: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<io::Result<()>> {
            let line = b"no space left on device\n";
            while buffer.remaining() >= line.len() {
                buffer.put_slice(line);
            }
            *self.0.lock().unwrap() += buffer.filled().len();
            std::task::Poll::Ready(Ok(()))
        }
    }
}
