//! The log of Weir's control plane while a test runs.

use std::io;
use std::sync::{Arc, Mutex};

use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

/// The log of this thread, on which the control plane of a test's Weir runs. It has no lines of
/// workers, which have threads of their own.
pub struct Logs {
    lines: Buffer,
    _installed: DefaultGuard,
}

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Logs {
    /// Captures lines from now on until dropped.
    pub fn capture() -> Self {
        // With a single subscriber `tracing` asks only the thread that reaches a line first
        // whether it is captured, and the thread of another test captures none.
        super::keep_access_log();
        let lines = Buffer::default();
        let log = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::INFO)
            .with_ansi(false)
            .with_writer(lines.clone())
            .finish();
        Self {
            lines,
            _installed: tracing::subscriber::set_default(log),
        }
    }

    /// Every line that contains all of `parts`.
    pub fn lines_with(&self, parts: &[&str]) -> Vec<String> {
        let text = String::from_utf8(self.lines.0.lock().unwrap().clone()).unwrap();
        let wanted = |line: &&str| parts.iter().all(|part| line.contains(part));
        text.lines().filter(wanted).map(ToOwned::to_owned).collect()
    }
}

impl io::Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Buffer {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
