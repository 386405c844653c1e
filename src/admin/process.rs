//! Facts about this process, from `/proc` where it exists.

use std::fs;

/// Memory in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) resident: u64,
    /// Address space.
    pub(super) reserved: u64,
}

/// The memory of this process.
pub(super) fn memory() -> Option<Memory> {
    memory_in(&fs::read_to_string("/proc/self/status").ok()?)
}

/// CPU time of all threads in seconds, of user and system together.
pub(super) fn cpu_seconds() -> Option<f64> {
    let ticks = cpu_ticks(&fs::read_to_string("/proc/self/stat").ok()?)?;
    Some(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// `VmRSS: 12345 kB`, see `proc_pid_status(5)`.
fn memory_in(status: &str) -> Option<Memory> {
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        kibibytes.checked_mul(1024)
    };
    Some(Memory {
        resident: bytes("VmRSS:")?,
        reserved: bytes("VmSize:")?,
    })
}

/// The fields 14 and 15 of `proc_pid_stat(5)`. The second one, a name in parentheses, may have spaces
/// and parentheses in it.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    ticks()?.checked_add(ticks()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_bytes() {
        let status =
            "VmPeak:\t   3000 kB\nVmSize:\t   2500 kB\nVmHWM:\t   2000 kB\nVmRSS:\t   1000 kB\n";
        let memory = Memory {
            resident: 1_024_000,
            reserved: 2_560_000,
        };
        assert_eq!(memory_in(status), Some(memory));
        assert_eq!(memory_in("VmSize:\t 1 kB\nVmRSS:\t many kB\n"), None);
        assert_eq!(memory_in(""), None);
    }

    #[test]
    fn cpu_time_is_user_and_system_together() {
        let stat = "7 (we) ir) S 1 7 7 0 -1 4194560 9 8 7 6 120 34 5 6 20 0 5 0 100 1 2";
        assert_eq!(cpu_ticks(stat), Some(154));
        assert_eq!(cpu_ticks("7 (weir) S 1 7"), None);
        assert_eq!(cpu_ticks(""), None);
    }
}
