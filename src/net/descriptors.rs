//! Open files: how many the process may have, and how they are shared.
//!
//! A client connection needs one descriptor and its target another. Each kind has its share of
//! what a reserve leaves, so that whatever clients do, there is always one for a health check, for
//! the admin listener and for a file: without a reserve, a process that is short of descriptors
//! would fail its health checks too, and take healthy targets out.

use std::io;
use std::process::Command;
use std::sync::{Arc, OnceLock};

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The limit with which this process was started, once [`raise`] was called.
static ORIGINAL: OnceLock<Rlimit> = OnceLock::new();

/// The part of the limit (1/8) that is left for everything but clients and targets.
const RESERVE_DIVISOR: usize = 8;
/// The smallest reserve.
const MIN_RESERVE: usize = 8;
/// The largest reserve.
const MAX_RESERVE: usize = 1024;

/// Raises the limit of open files as far as this process may.
pub fn raise() -> io::Result<()> {
    let original = *ORIGINAL.get_or_init(|| getrlimit(Resource::Nofile));
    let raised = Rlimit {
        current: original.maximum,
        maximum: original.maximum,
    };
    Ok(setrlimit(Resource::Nofile, raised)?)
}

/// How many files the process may have open now.
pub fn limit() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    limit.map_or(usize::MAX, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    })
}

/// How many files it has open; `None` if the system does not tell.
pub fn open() -> Option<usize> {
    let entries = std::fs::read_dir("/proc/self/fd").ok()?;
    // One of them is the folder which is being read.
    entries.count().checked_sub(1)
}

/// Starts a command with the limit with which this process was started: a program which uses
/// `select` breaks with a larger one than it was built for.
pub fn restore_limit(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    let Some(original) = ORIGINAL.get().copied() else {
        return;
    };
    let in_child = move || Ok(setrlimit(Resource::Nofile, original)?);
    // SAFETY: the closure runs between fork and exec, where only async-signal-safe calls are
    // allowed. It makes one system call, takes no lock and allocates nothing.
    #[allow(
        unsafe_code,
        reason = "the only way to make a system call between fork and exec"
    )]
    unsafe {
        command.pre_exec(in_child);
    }
}

/// Whether an error means that this process or its host has run out of descriptors or memory:
/// never a fault of the peer.
pub fn is_shortage(error: &io::Error) -> bool {
    let shortages = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|errno| shortages.contains(&errno))
}

/// The descriptors that a configuration can need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// Open at the start: listening sockets, the log, the runtime.
    pub fixed: usize,
    /// Most client connections, over all listeners.
    pub clients: usize,
    /// Health checks that may run at a time, and pipes of replicas.
    pub control: usize,
}

/// How a limit is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Connections of clients.
    pub clients: usize,
    /// Connections to targets.
    pub targets: usize,
    /// All that the configuration can need.
    pub needed: usize,
    /// Whether clients get clearly fewer than the configuration allows.
    pub is_short: bool,
}

impl Needs {
    /// Divides `limit`. Each kind gets at least one.
    pub fn share(self, limit: usize) -> Shares {
        let reserve = (limit / RESERVE_DIVISOR)
            .clamp(MIN_RESERVE, MAX_RESERVE)
            .max(self.control.min(limit / 4));
        let left = limit.saturating_sub(self.fixed + reserve);
        let clients = self.clients.min(left / 2).max(1);
        let targets = left.saturating_sub(clients).max(1);
        let needed = [
            self.fixed,
            reserve,
            self.control,
            self.clients,
            self.clients,
        ];
        Shares {
            clients: clients.min(Semaphore::MAX_PERMITS),
            targets: targets.min(Semaphore::MAX_PERMITS),
            needed: needed.into_iter().fold(0, usize::saturating_add),
            // A tenth less deserves no warning.
            is_short: clients < self.clients - self.clients / 10,
        }
    }
}

/// The descriptors of one kind, over all workers. Clones share them.
#[derive(Clone, Debug)]
pub struct DescriptorPool(Arc<Semaphore>);

/// One descriptor of a pool. Dropping it gives it back.
#[derive(Debug)]
pub struct DescriptorPermit(#[allow(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl DescriptorPool {
    /// A pool of `count` descriptors.
    pub fn new(count: usize) -> Self {
        Self(Arc::new(Semaphore::new(count)))
    }

    /// A pool without a limit.
    pub fn unlimited() -> Self {
        Self::new(Semaphore::MAX_PERMITS)
    }

    /// Takes one; `None` if none is left.
    pub fn try_take(&self) -> Option<DescriptorPermit> {
        Arc::clone(&self.0)
            .try_acquire_owned()
            .ok()
            .map(DescriptorPermit)
    }

    /// Waits for one. Cancel-safe.
    pub async fn take(&self) -> DescriptorPermit {
        match Arc::clone(&self.0).acquire_owned().await {
            Ok(permit) => DescriptorPermit(permit),
            // Does not happen: the semaphore is never closed.
            Err(_) => std::future::pending().await,
        }
    }

    /// Whether none is left.
    pub fn is_used_up(&self) -> bool {
        self.0.available_permits() == 0
    }

    /// Adds to the pool. What was given out is never taken back.
    pub fn grow(&self, count: usize) {
        let most = Semaphore::MAX_PERMITS - self.0.available_permits();
        self.0.add_permits(count.min(most));
    }

    /// Removes up to `count` descriptors that are free.
    pub fn shrink(&self, count: usize) {
        self.0.forget_permits(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDS: Needs = Needs {
        fixed: 30,
        clients: 10_000,
        control: 10,
    };

    #[test]
    fn all_shares_and_a_reserve_fit_into_any_limit() {
        for limit in [64, 256, 1024, 4096, 65_536, 1 << 20] {
            let shares = NEEDS.share(limit);
            let used = NEEDS.fixed + shares.clients + shares.targets;
            assert!(used + MIN_RESERVE <= limit, "{limit}: {shares:?}");
            assert!(shares.targets >= shares.clients, "{limit}: {shares:?}");
            assert_eq!(shares.is_short, limit < 18_000, "{limit}: {shares:?}");
        }
        assert_eq!(NEEDS.share(1 << 20).clients, 10_000);
    }

    #[test]
    fn a_limit_that_is_far_too_small_leaves_one_of_each() {
        let shares = NEEDS.share(16);
        assert_eq!((shares.clients, shares.targets), (1, 1));
        let unlimited = NEEDS.share(usize::MAX);
        assert_eq!(unlimited.clients, 10_000);
    }

    #[test]
    fn a_descriptor_goes_back_to_its_pool() {
        let pool = DescriptorPool::new(1);
        let taken = pool.try_take();
        assert!(taken.is_some() && pool.is_used_up() && pool.try_take().is_none());
        drop(taken);
        assert!(pool.try_take().is_some());
    }

    #[test]
    fn shortages_are_told_from_faults_of_the_peer() {
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM] {
            assert!(is_shortage(&errno.into()));
        }
        for errno in [Errno::CONNREFUSED, Errno::HOSTUNREACH, Errno::TIMEDOUT] {
            assert!(!is_shortage(&errno.into()));
        }
    }
}
