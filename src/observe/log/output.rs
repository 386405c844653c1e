//! Standard output and standard error, which may stall, fail and recover.

use std::fmt;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, write};

/// Most bytes of one write. A pipe that is ready takes so many without blocking, and does not
/// mix them with what another process writes (`PIPE_BUF`).
const WRITE_BYTES: usize = 4096;

/// A buffer which has grown larger than this in a burst is freed after it.
const KEPT_BYTES: usize = 64 * 1024;

/// After the first of several failures in a row; doubled with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The state of an output after a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OutputState {
    /// All is written.
    Done,
    /// It takes nothing now: its reader is slow.
    Stalled,
    /// A write failed; the next attempt is at this time.
    Failing(Instant),
}

/// A descriptor and what is still to be written to it. No bytes are given up: the same ones are
/// tried again until they can be written.
pub(super) struct Output {
    file: Box<dyn AsFd + Send>,
    pending: Vec<u8>,
    written: usize,
    /// After a failure: when the next attempt is, and how long the pause before it was.
    retry: Option<(Instant, Duration)>,
    /// Why the last write failed.
    error: Option<Errno>,
}

impl Output {
    pub(super) fn new(file: impl AsFd + Send + 'static) -> Self {
        Self {
            file: Box::new(file),
            pending: Vec::new(),
            written: 0,
            retry: None,
            error: None,
        }
    }

    /// Why it takes nothing; `None` while it takes something.
    pub(super) fn error(&self) -> Option<Errno> {
        self.error
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

    /// Writes what the descriptor takes without blocking, as far as that can be known. After a
    /// failure nothing is written until the pause is over, unless it `is_urgent`.
    pub(super) fn write(&mut self, is_urgent: bool) -> OutputState {
        if let Some((at, _)) = self.retry
            && Instant::now() < at
            && !is_urgent
        {
            return OutputState::Failing(at);
        }
        while self.written < self.pending.len() {
            if !is_ready(&mut [self.poll_fd()], Duration::ZERO) {
                return OutputState::Stalled;
            }
            match write(&self.file, chunk(&self.pending[self.written..])) {
                Err(Errno::INTR) => {}
                // Not ready after all (`AGAIN`), the reader is gone, the disk is full or broken:
                // each may pass, and must not be retried without a pause.
                Ok(0) => return self.fail(Errno::NOSPC),
                Err(error) => return self.fail(error),
                Ok(count) => {
                    self.written += count;
                    (self.retry, self.error) = (None, None);
                }
            }
        }
        self.written = 0;
        self.pending.clear();
        shrink(&mut self.pending);
        OutputState::Done
    }

    /// To wait until the descriptor takes more.
    pub(super) fn poll_fd(&self) -> PollFd<'_> {
        PollFd::new(&self.file, PollFlags::OUT)
    }

    fn fail(&mut self, error: Errno) -> OutputState {
        self.error = Some(error);
        let pause = self
            .retry
            .map_or(FIRST_PAUSE, |(_, pause)| LONGEST_PAUSE.min(pause * 2));
        let at = Instant::now() + pause;
        self.retry = Some((at, pause));
        OutputState::Failing(at)
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

/// Waits until one of them takes something or has failed; a write then tells which.
pub(super) fn is_ready(outputs: &mut [PollFd<'_>], wait: Duration) -> bool {
    let wait = Timespec {
        tv_sec: wait.as_secs().cast_signed(),
        tv_nsec: wait.subsec_nanos().into(),
    };
    match poll(outputs, Some(&wait)) {
        Ok(count) => count > 0,
        Err(Errno::INTR) => false,
        // A write finds out.
        Err(_) => true,
    }
}

/// The bytes of the next write: as many whole lines as fit, or a part of a longer one.
fn chunk(bytes: &[u8]) -> &[u8] {
    let most = &bytes[..bytes.len().min(WRITE_BYTES)];
    match most.iter().rposition(|byte| *byte == b'\n') {
        Some(end) => &most[..=end],
        None => most,
    }
}

pub(super) fn shrink(buffer: &mut Vec<u8>) {
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
        assert_eq!(output.write(false), OutputState::Stalled);
        let mut read = Vec::new();
        let mut buffer = vec![0; 64 * 1024];
        while read.len() < lines.len() {
            let count = reader.read(&mut buffer).unwrap();
            read.extend_from_slice(&buffer[..count]);
            output.write(false);
        }
        assert_eq!(read, lines);
        assert_eq!(output.write(false), OutputState::Done);
        assert!(output.is_empty() && output.pending.capacity() <= KEPT_BYTES);
    }

    #[test]
    fn a_failure_is_tried_again_after_a_pause_that_grows() {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut output = output(full, b"line\n");
        let OutputState::Failing(first) = output.write(false) else {
            panic!("/dev/full takes nothing");
        };
        assert_eq!(
            output.write(false),
            OutputState::Failing(first),
            "not before its time"
        );
        for _ in 0..9 {
            output.retry = output.retry.map(|(_, pause)| (Instant::now(), pause));
            assert!(matches!(output.write(false), OutputState::Failing(_)));
        }
        assert_eq!(output.retry.map(|(_, pause)| pause), Some(LONGEST_PAUSE));
        assert!(!output.is_empty(), "nothing is given up");
    }

    #[test]
    fn a_reader_that_is_gone_is_a_failure() {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let mut output = output(writer, b"line\n");
        assert!(matches!(output.write(false), OutputState::Failing(_)));
    }
}
