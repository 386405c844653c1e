//! What a replica prints: each line to the log, the last ones kept for its obituary.
//!
//! Lines go out at debug level: four replicas that are well have nothing to say to
//! somebody who reads Weir's log. When one dies its last lines say why, and those are
//! shown.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Child;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::debug;

use crate::model::TargetGroupId;

/// Most bytes of a line that are kept; the rest of a longer one is dropped.
const LINE_LIMIT: usize = 2048;

/// Lines kept for the obituary: a panic message or the head of a stack trace.
const KEPT: usize = 10;

/// How long the last lines may take after the process has ended. Pipes that a
/// grandchild holds open would never end.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Reads what a process prints; dropping it stops reading.
#[derive(Debug)]
pub(super) struct Output {
    readers: JoinSet<()>,
    last: LastLines,
}

#[derive(Clone, Debug, Default)]
struct LastLines(Arc<Mutex<VecDeque<String>>>);

impl Output {
    /// Takes over the pipes of a child.
    pub(super) fn follow(group: &TargetGroupId, child: &mut Child) -> Self {
        let pid = child.id();
        let last = LastLines::default();
        let mut readers = JoinSet::new();
        let says = |stream: &'static str| {
            let (group, last) = (group.clone(), last.clone());
            move |line: String| {
                debug!(%group, replica = pid, stream, "{line}");
                last.push(line);
            }
        };
        if let Some(stdout) = child.stdout.take() {
            readers.spawn(read_lines(stdout, says("stdout")));
        }
        if let Some(stderr) = child.stderr.take() {
            readers.spawn(read_lines(stderr, says("stderr")));
        }
        Self { readers, last }
    }

    /// The last lines of a process that has ended.
    pub(super) async fn last_words(mut self) -> Vec<String> {
        let read_all = async { while self.readers.join_next().await.is_some() {} };
        // What is not there by then belongs to somebody who lives on.
        let _ = timeout(LAST_WORDS, read_all).await;
        self.last.lines().iter().cloned().collect()
    }
}

impl LastLines {
    fn push(&self, line: String) {
        let mut lines = self.lines();
        if lines.len() == KEPT {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    fn lines(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hands on every line until the pipe ends or breaks, which is the same to a reader.
async fn read_lines(mut pipe: impl AsyncRead + Unpin, mut take: impl FnMut(String)) {
    let mut splitter = Splitter::default();
    let mut chunk = vec![0; 4096];
    while let Ok(length @ 1..) = pipe.read(&mut chunk).await {
        splitter.feed(&chunk[..length], &mut take);
    }
    splitter.end(&mut take);
}

/// Cuts a stream into lines of bounded length.
#[derive(Debug, Default)]
struct Splitter {
    line: Vec<u8>,
    cut: bool,
}

impl Splitter {
    fn feed(&mut self, chunk: &[u8], take: &mut impl FnMut(String)) {
        let mut parts = chunk.split(|&byte| byte == b'\n');
        self.extend(parts.next().unwrap_or_default());
        for part in parts {
            self.end(take);
            self.extend(part);
        }
    }

    /// Hands on the line so far; empty ones say nothing.
    fn end(&mut self, take: &mut impl FnMut(String)) {
        let line = String::from_utf8_lossy(&self.line);
        let line = line.trim_end();
        if !line.is_empty() {
            take(format!("{line}{}", if self.cut { "…" } else { "" }));
        }
        self.line.clear();
        self.cut = false;
    }

    fn extend(&mut self, part: &[u8]) {
        let room = LINE_LIMIT - self.line.len();
        self.cut |= part.len() > room;
        self.line.extend_from_slice(&part[..part.len().min(room)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(chunks: &[&[u8]]) -> Vec<String> {
        let mut lines = Vec::new();
        let mut splitter = Splitter::default();
        for chunk in chunks {
            splitter.feed(chunk, &mut |line| lines.push(line));
        }
        splitter.end(&mut |line| lines.push(line));
        lines
    }

    #[test]
    fn lines_are_found_wherever_the_chunks_end() {
        let whole = lines(&[b"one\r\ntwo\n\nthree"]);
        assert_eq!(whole, ["one", "two", "three"]);
        let bytes: Vec<&[u8]> = b"one\r\ntwo\n\nthree".chunks(1).collect();
        assert_eq!(lines(&bytes), whole);
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let long = vec![b'a'; 1 << 20];
        let found = lines(&[&long, b"a\nnext\n"]);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].chars().count(), LINE_LIMIT + 1);
        assert_eq!(found[1], "next");
    }
}
