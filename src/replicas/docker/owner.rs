//! Which Weir a container belongs to, and whether that one still lives.
//!
//! Two Weirs share an engine while one takes the other's place in an upgrade, and a Weir that
//! was killed leaves its containers behind. So a container's label names the process that
//! started it.

use std::fmt;
use std::fs;

use rustix::system::uname;

/// A process of a host. A container's host name is its own ID unless it was given one: two
/// Weirs in containers must not be given the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    host: String,
    pid: u32,
    /// When the process started, in the kernel's ticks: ids are used again.
    born: u64,
}

impl Owner {
    /// This Weir.
    pub(super) fn me() -> Self {
        let pid = std::process::id();
        Self {
            host: uname().nodename().to_string_lossy().into_owned(),
            pid,
            born: born(pid).unwrap_or_default(),
        }
    }

    /// The owner that a label names.
    pub(super) fn parse(label: &str) -> Option<Self> {
        let mut parts = label.rsplitn(3, '/');
        let born = parts.next()?.parse().ok()?;
        let pid = parts.next()?.parse().ok()?;
        let host = parts.next()?.to_owned();
        Some(Self { host, pid, born })
    }

    /// Whether it is certain that this Weir has ended. Of one on another host nobody knows.
    pub(super) fn is_gone(&self) -> bool {
        self.host == Self::me().host && born(self.pid) != Some(self.born)
    }

    /// For names of containers: another one for each Weir.
    pub(super) fn short(&self) -> String {
        format!(
            "{:08x}",
            xxhash_rust::xxh3::xxh3_64(self.to_string().as_bytes()) as u32
        )
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.host, self.pid, self.born)
    }
}

/// The 22nd field of `/proc/PID/stat`, see proc(5). The name of the program, which may hold
/// blanks and parentheses, ends with the last parenthesis.
fn born(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_says_who_it_was() {
        let me = Owner::me();
        assert_eq!(Owner::parse(&me.to_string()), Some(me.clone()));
        assert_eq!(Owner::parse("a/b/1/2").unwrap().host, "a/b");
        assert_eq!(Owner::parse("host/1"), None);
        assert_eq!(Owner::parse("host/x/1"), None);
    }

    #[test]
    fn only_a_process_of_this_host_that_has_ended_is_gone() {
        let me = Owner::me();
        assert!(me.born > 0);
        assert!(!me.is_gone());
        let earlier = Owner {
            born: me.born - 1,
            ..me.clone()
        };
        assert!(earlier.is_gone(), "its id was used again");
        let elsewhere = Owner {
            host: format!("{}-other", me.host),
            ..earlier
        };
        assert!(!elsewhere.is_gone());
    }
}
