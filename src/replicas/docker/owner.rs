//! Which process a container belongs to, and whether that process has ended.
//!
//! Two processes of Weir share an engine while one takes the other's place in an upgrade, and one
//! that was killed leaves its containers behind. So a container's label names the process that
//! started it.

use std::fmt;
use std::fs;

use rustix::system::uname;

/// A process of a host. A container's host name is its own ID unless another was configured: two
/// instances in containers must not have the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    host: String,
    pid: u32,
    /// When the process started, in the kernel's ticks: process IDs are used again.
    started: u64,
}

impl Owner {
    pub(super) fn this_process() -> Self {
        let pid = std::process::id();
        Self {
            host: uname().nodename().to_string_lossy().into_owned(),
            pid,
            started: start_time(pid).unwrap_or_default(),
        }
    }

    /// The owner that a label names; `None` if Weir has not written the label.
    pub(super) fn parse(label: &str) -> Option<Self> {
        let mut parts = label.rsplitn(3, '/');
        let started = parts.next()?.parse().ok()?;
        let pid = parts.next()?.parse().ok()?;
        let host = parts.next()?.to_owned();
        Some(Self { host, pid, started })
    }

    /// Whether the process has certainly ended. Of one on another host that is not known.
    pub(super) fn has_ended(&self) -> bool {
        self.host == Self::this_process().host && start_time(self.pid) != Some(self.started)
    }

    /// For names of containers: differs between processes.
    pub(super) fn hash(&self) -> String {
        format!(
            "{:08x}",
            xxhash_rust::xxh3::xxh3_64(self.to_string().as_bytes()) as u32
        )
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.host, self.pid, self.started)
    }
}

/// The 22nd field of `/proc/PID/stat`, see `proc_pid_stat(5)`. The name of the program, which may
/// hold blanks and parentheses, ends with the last parenthesis.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_names_its_process() {
        let own = Owner::this_process();
        assert_eq!(Owner::parse(&own.to_string()), Some(own.clone()));
        assert_eq!(Owner::parse("a/b/1/2").unwrap().host, "a/b");
        assert_eq!(Owner::parse("host/1"), None);
        assert_eq!(Owner::parse("host/x/1"), None);
    }

    #[test]
    fn only_a_process_of_this_host_is_known_to_have_ended() {
        let own = Owner::this_process();
        assert!(own.started > 0);
        assert!(!own.has_ended());
        let earlier = Owner {
            started: own.started - 1,
            ..own.clone()
        };
        assert!(earlier.has_ended(), "its id was used again");
        let elsewhere = Owner {
            host: format!("{}-other", own.host),
            ..earlier
        };
        assert!(!elsewhere.has_ended());
    }
}
