//! The process that takes over in an upgrade.

use rustix::process::{Pid, Signal, kill_process};

use super::Weir;

/// The process that serves in the place of the one before; killed when dropped.
pub struct Successor(u32);

impl Successor {
    /// Waits until the `n`th one serves, counted from 1.
    pub fn of(weir: &Weir, n: usize) -> Self {
        let line = weir.nth_line(n, &["a new process serves in this one's place"]);
        let (_, pid) = line.rsplit_once("pid=").unwrap();
        Self(pid.trim().parse().unwrap())
    }

    pub fn pid(&self) -> u32 {
        self.0
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.process(), signal).unwrap();
    }

    fn process(&self) -> Pid {
        Pid::from_raw(self.0.cast_signed()).unwrap()
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        // Fails if it has ended already.
        let _ = kill_process(self.process(), Signal::KILL);
    }
}
