//! CPU time and memory of processes, in percent of their allowance.
//!
//! Read from `/proc` (`proc_pid_stat(5)`): a replica is its whole process group, with the
//! children it has waited for. What a replica starts in a group of its own counts only once it
//! has ended.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use crate::replicas::ReplicaId;

/// The shortest time between two readings that are compared: CPU time is counted in hundredths of
/// a second.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

/// Turns the CPU time that replicas have used so far into percent since the reading before.
#[derive(Debug, Default)]
pub(super) struct Meter {
    last: HashMap<ReplicaId, Reading>,
}

#[derive(Clone, Copy, Debug)]
struct Reading {
    run: u64,
    used: Duration,
    at: Instant,
}

impl Meter {
    /// Percent of `cores` that a replica has used since the last reading. `None` for the first
    /// reading of a run; `run` is another number after a restart, when CPU time counts from zero.
    pub(super) fn percent(
        &mut self,
        replica: ReplicaId,
        run: u64,
        used: Duration,
        at: Instant,
        cores: f64,
    ) -> Option<f64> {
        let now = Reading { run, used, at };
        let Some(last) = self.last.get(&replica).filter(|last| last.run == run) else {
            self.last.insert(replica, now);
            return None;
        };
        let elapsed = at.saturating_duration_since(last.at);
        if elapsed < SHORTEST_INTERVAL || cores <= 0.0 {
            return None;
        }
        // A process that was counted may have left the group.
        let used = used.saturating_sub(last.used);
        self.last.insert(replica, now);
        Some(100.0 * used.as_secs_f64() / elapsed.as_secs_f64() / cores)
    }

    /// Forgets all replicas but these.
    pub(super) fn retain(&mut self, exists: impl Fn(ReplicaId) -> bool) {
        self.last.retain(|replica, _| exists(*replica));
    }
}

/// The CPU time and memory of a process group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Used {
    /// CPU time since it began.
    pub(super) cpu: Duration,
    /// Resident bytes; pages that processes share count for each of them.
    pub(super) memory: u64,
}

/// Measures the process groups that these processes lead. Reads the machine's whole process
/// table and blocks. Fails where there is no `/proc`.
pub(super) fn of_groups(leaders: &[u32]) -> io::Result<HashMap<u32, Used>> {
    let units = Units::of(&fs::read("/proc/self/auxv")?);
    let mut groups: HashMap<u32, Used> =
        leaders.iter().map(|pid| (*pid, Used::default())).collect();
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if !name.is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit())) {
            continue;
        }
        // Missing if the process has ended since the directory was read.
        let Ok(stat) = fs::read_to_string(path.join("stat")) else {
            continue;
        };
        let Some(stat) = Stat::parse(&stat) else {
            continue;
        };
        if let Some(group) = groups.get_mut(&stat.group) {
            group.cpu += Duration::from_secs_f64(stat.ticks as f64 / units.ticks as f64);
            group.memory += stat.pages * units.page;
        }
    }
    groups.retain(|_, used| used.memory > 0);
    Ok(groups)
}

/// Fields of `/proc/PID/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    group: u32,
    ticks: u64,
    pages: u64,
}

impl Stat {
    fn parse(line: &str) -> Option<Self> {
        // The name in brackets may hold any character, brackets and spaces too.
        let (_, rest) = line.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().take(22).collect();
        // The first here is the third of the manual.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let [user, system] = [field(14)?, field(15)?];
        let waited_for = field(16)? + field(17)?;
        Some(Self {
            group: u32::try_from(field(5)?).ok()?,
            ticks: user + system + waited_for,
            pages: field(24)?,
        })
    }
}

/// The units of the numbers in `/proc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Units {
    /// Clock ticks per second.
    ticks: u64,
    /// Bytes per page.
    page: u64,
}

impl Units {
    /// Reads them from the auxiliary vector, `getauxval(3)`: pairs of words. The default is what
    /// all supported machines have.
    fn of(auxv: &[u8]) -> Self {
        const AT_PAGESZ: usize = 6;
        const AT_CLKTCK: usize = 17;
        const WORD: usize = size_of::<usize>();
        let mut units = Self {
            ticks: 100,
            page: 4096,
        };
        for pair in auxv.chunks_exact(2 * WORD) {
            let word = |at: usize| {
                let bytes = pair[at..at + WORD].try_into();
                usize::from_ne_bytes(bytes.unwrap_or_default())
            };
            match (word(0), word(WORD) as u64) {
                (_, 0) => {}
                (AT_PAGESZ, value) => units.page = value,
                (AT_CLKTCK, value) => units.ticks = value,
                (_, _) => {}
            }
        }
        units
    }
}

/// What this process and its children may use together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ceiling {
    /// Cores.
    pub(super) cpus: f64,
    /// Bytes; `None` if unknown.
    pub(super) memory: Option<u64>,
}

impl Ceiling {
    /// The limits of the control groups around this process (version 2), or else what the machine
    /// has.
    pub(super) fn read() -> Self {
        // Respects the affinity and whole cores of the quota.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::of(Path::new("/"), cores)
    }

    fn of(root: &Path, cores: usize) -> Self {
        let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
        let group = groups.lines().find_map(|line| line.strip_prefix("0::/"));
        let quota = group.and_then(|group| lowest(root, group, "cpu.max", quota));
        let limit = group.and_then(|group| lowest(root, group, "memory.max", |t| t.parse().ok()));
        let meminfo = fs::read_to_string(root.join("proc/meminfo")).unwrap_or_default();
        let machine = total_memory(&meminfo);
        let cores = cores as f64;
        Self {
            cpus: match quota {
                // Fewer cores than the quota are fewer because of the affinity.
                Some(quota) if cores >= quota.floor().max(1.0) => quota,
                Some(_) | None => cores,
            },
            memory: limit.into_iter().chain(machine).min(),
        }
    }
}

/// The lowest limit of a control group and its ancestors; `max` stands for no limit.
fn lowest<T: PartialOrd>(
    root: &Path,
    group: &str,
    file: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Option<T> {
    let top = root.join("sys/fs/cgroup");
    let path = top.join(group);
    let around = path.ancestors().take_while(|path| path.starts_with(&top));
    around
        .filter_map(|path| parse(fs::read_to_string(path.join(file)).ok()?.trim()))
        .reduce(|a, b| if b < a { b } else { a })
}

/// The cores of `cpu.max`: `150000 100000` is one and a half.
fn quota(text: &str) -> Option<f64> {
    let (quota, period) = text.split_once(' ')?;
    let (quota, period): (f64, f64) = (quota.parse().ok()?, period.parse().ok()?);
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

/// `MemTotal:  123 kB`, see `proc_meminfo(5)`.
fn total_memory(meminfo: &str) -> Option<u64> {
    let mut lines = meminfo.lines();
    let line = lines.find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: ReplicaId = ReplicaId(1);

    #[tokio::test(start_paused = true)]
    async fn cpu_time_becomes_percent_of_the_allowance() {
        let start = Instant::now();
        let mut meter = Meter::default();
        let mut read = |run, used, seconds, cores| {
            let (used, at) = (Duration::from_millis(used), Duration::from_secs(seconds));
            meter.percent(ONE, run, used, start + at, cores)
        };
        assert_eq!(read(7, 5_000, 0, 1.0), None, "the first reading");
        assert_eq!(read(7, 5_250, 1, 1.0), Some(25.0));
        assert_eq!(read(7, 6_250, 3, 0.5), Some(100.0));
        assert_eq!(
            read(7, 6_000, 4, 1.0),
            Some(0.0),
            "a process left the group"
        );
        assert_eq!(read(7, 7_000, 4, 1.0), None, "too close");
        assert_eq!(read(7, 7_000, 5, 2.0), Some(50.0), "nothing is lost");
        assert_eq!(read(8, 10, 6, 1.0), None, "another run");
        assert_eq!(read(8, 510, 7, 1.0), Some(50.0));
    }

    #[test]
    fn a_name_may_hold_anything() {
        let stat = "42 (a) 1 2 (b) S 1 40 40 0 -1 4194304 100 200 0 0 \
                    7 5 30 2 20 0 1 0 9000 1000000 250 18446744073709551615 1 1";
        let expected = Stat {
            group: 40,
            ticks: 44,
            pages: 250,
        };
        assert_eq!(Stat::parse(stat), Some(expected));
        for broken in ["", "42 (a", "42 (a) S 1", "42 (a) S 1 -1 x"] {
            assert_eq!(Stat::parse(broken), None);
        }
    }

    #[test]
    fn units_are_those_of_the_system() {
        let words: [usize; 6] = [6, 16_384, 17, 250, 0, 0];
        let auxv: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let units = |ticks, page| Units { ticks, page };
        assert_eq!(Units::of(&auxv), units(250, 16_384));
        assert_eq!(Units::of(&auxv[..20]), units(100, 16_384));
        assert_eq!(Units::of(&[]), units(100, 4096));
    }

    #[test]
    fn the_lowest_limit_around_holds() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let ceiling = |cores| {
            let Ceiling { cpus, memory } = Ceiling::of(root.path(), cores);
            (cpus, memory)
        };
        assert_eq!(ceiling(8), (8.0, None));
        write("proc/meminfo", "MemTotal:        1000 kB\nMemFree: 1 kB\n");
        assert_eq!(ceiling(8), (8.0, Some(1_024_000)));
        write("proc/self/cgroup", "0::/a/b\n");
        write("sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
        write("sys/fs/cgroup/a/cpu.max", "250000 100000\n");
        write("sys/fs/cgroup/a/b/memory.max", "500000\n");
        write("sys/fs/cgroup/a/memory.max", "max\n");
        assert_eq!(ceiling(2), (2.5, Some(500_000)));
        assert_eq!(ceiling(1), (1.0, Some(500_000)), "bound to one core");
        write("sys/fs/cgroup/a/b/cpu.max", "50000 100000\n");
        assert_eq!(ceiling(1), (0.5, Some(500_000)));
    }
}
