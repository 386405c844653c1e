//! Where lines end up: standard output or standard error, which may stall, fail and recover.

use std::fmt;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, write};

/// Most bytes of one write. A pipe that is ready takes so many without blocking, and does not
/// mix them with what another process writes (`PIPE_BUF`).
const WRITE_BYTES: usize = 4096;

/// A buffer that has grown larger in a burst is given back after it.
const KEPT_BYTES: usize = 64 * 1024;

/// After the first failure in a row; doubled with each.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How far an output has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// All is written.
    Done,
    /// It takes nothing at present: its reader is slow.
    Stalled,
    /// Writing failed; to be tried again at this time.
    Failing(Instant),
}

/// A descriptor and what is still to be written to it. Nothing that was taken is given up:
/// the same bytes are tried again until they can be written.
pub(super) struct Output {
    file: Box<dyn AsFd + Send>,
    pending: Vec<u8>,
    written: usize,
    /// After a failure: when to try again, and how long that pause is.
    retry: Option<(Instant, Duration)>,
}

impl Output {
    pub(super) fn new(file: impl AsFd + Send + 'static) -> Self {
        Self {
            file: Box::new(file),
            pending: Vec::new(),
            written: 0,
            retry: None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Appends whole lines, and empties their buffer.
    pub(super) fn take(&mut self, lines: &mut Vec<u8>) {
        if self.pending.is_empty() {
            std::mem::swap(&mut self.pending, lines);
        } else {
            self.pending.append(lines);
        }
        shrink(lines);
    }

    /// Writes what the descriptor takes without blocking, as far as that can be known. After
    /// a failure not before its pause is over, unless it `is_urgent`.
    pub(super) fn write(&mut self, is_urgent: bool) -> Progress {
        if let Some((at, _)) = self.retry
            && Instant::now() < at
            && !is_urgent
        {
            return Progress::Failing(at);
        }
        while self.written < self.pending.len() {
            if !is_ready(&mut [self.poll_fd()], Duration::ZERO) {
                return Progress::Stalled;
            }
            match write(&self.file, chunk(&self.pending[self.written..])) {
                Err(Errno::INTR) => {}
                // Readiness was a lie (`AGAIN`), the reader is gone, the disk is full or broken:
                // whatever it is may pass, and must not be asked without a pause.
                Ok(0) | Err(_) => return self.fail(),
                Ok(count) => {
                    self.written += count;
                    self.retry = None;
                }
            }
        }
        self.written = 0;
        self.pending.clear();
        shrink(&mut self.pending);
        Progress::Done
    }

    /// To wait until it takes more.
    pub(super) fn poll_fd(&self) -> PollFd<'_> {
        PollFd::new(&self.file, PollFlags::OUT)
    }

    fn fail(&mut self) -> Progress {
        let pause = self
            .retry
            .map_or(FIRST_PAUSE, |(_, pause)| LONGEST_PAUSE.min(pause * 2));
        let at = Instant::now() + pause;
        self.retry = Some((at, pause));
        Progress::Failing(at)
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output")
            .field("pending", &self.pending.len())
            .field("written", &self.written)
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}

/// Waits until one of them takes something or has failed, which a write will tell.
pub(super) fn is_ready(outputs: &mut [PollFd<'_>], wait: Duration) -> bool {
    let wait = Timespec {
        tv_sec: wait.as_secs().cast_signed(),
        tv_nsec: wait.subsec_nanos().into(),
    };
    match poll(outputs, Some(&wait)) {
        Ok(count) => count > 0,
        Err(Errno::INTR) => false,
        // Then a write has to find out.
        Err(_) => true,
    }
}

/// What to write first: whole lines, as many as go into one write. A longer one in pieces.
fn chunk(bytes: &[u8]) -> &[u8] {
    let most = &bytes[..bytes.len().min(WRITE_BYTES)];
    match most.iter().rposition(|byte| *byte == b'\n') {
        Some(end) => &most[..=end],
        None => most,
    }
}

fn shrink(buffer: &mut Vec<u8>) {
    if buffer.capacity() > KEPT_BYTES {
        *buffer = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::{Read, pipe};

    use super::*;

    fn output(file: impl AsFd + Send + 'static, lines: &[u8]) -> Output {
        let mut output = Output::new(file);
        output.take(&mut lines.to_vec());
        output
    }

    #[test]
    fn whole_lines_are_written_together() {
        let line = [b"x".repeat(1500), b"\n".to_vec()].concat();
        let lines = line.repeat(4);
        assert_eq!(chunk(&lines).len(), 2 * line.len());
        assert_eq!(chunk(&b"y".repeat(5000)).len(), WRITE_BYTES);
        assert_eq!(chunk(b"end"), b"end");
    }

    #[test]
    fn a_reader_that_stalls_gets_everything_later() {
        let (mut reader, writer) = pipe().unwrap();
        let lines = b"0123456789abcde\n".repeat(64 * 1024);
        let mut output = output(writer, &lines);
        assert_eq!(output.write(false), Progress::Stalled);
        let mut read = Vec::new();
        let mut buffer = vec![0; 64 * 1024];
        while read.len() < lines.len() {
            let count = reader.read(&mut buffer).unwrap();
            read.extend_from_slice(&buffer[..count]);
            output.write(false);
        }
        assert_eq!(read, lines);
        assert_eq!(output.write(false), Progress::Done);
        assert!(output.is_empty() && output.pending.capacity() <= KEPT_BYTES);
    }

    #[test]
    fn a_failure_is_tried_again_after_a_pause_that_grows() {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut output = output(full, b"line\n");
        let Progress::Failing(first) = output.write(false) else {
            panic!("/dev/full takes nothing");
        };
        assert_eq!(
            output.write(false),
            Progress::Failing(first),
            "not before its time"
        );
        for _ in 0..9 {
            output.retry = output.retry.map(|(_, pause)| (Instant::now(), pause));
            assert!(matches!(output.write(false), Progress::Failing(_)));
        }
        assert_eq!(output.retry.map(|(_, pause)| pause), Some(LONGEST_PAUSE));
        assert!(!output.is_empty(), "nothing is given up");
    }

    #[test]
    fn a_reader_that_is_gone_is_a_failure() {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let mut output = output(writer, b"line\n");
        assert!(matches!(output.write(false), Progress::Failing(_)));
    }
}
