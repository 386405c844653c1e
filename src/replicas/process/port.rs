//! Free ports for replicas.
//!
//! A port is found by binding port 0 and closing it again, so another program can take it
//! before the replica does. The replica then exits at once, and is started again with another
//! port. Two replicas of this process never get the same one.

use std::collections::HashSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The ports that replicas of this process have. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Ports(Arc<Mutex<HashSet<u16>>>);

/// A port that no other replica gets until this value is dropped.
#[derive(Debug)]
pub(super) struct Port {
    number: u16,
    ports: Ports,
}

/// The kernel hands out ports at random among some 28 thousand: so many that are taken in a row
/// mean that it has no others.
const ATTEMPTS: usize = 100;

impl Ports {
    /// Reserves a free port of the loopback interface. Fails if there is none.
    pub(super) fn reserve(&self) -> io::Result<Port> {
        for _ in 0..ATTEMPTS {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let number = listener.local_addr()?.port();
            if self.taken().insert(number) {
                return Ok(Port {
                    number,
                    ports: self.clone(),
                });
            }
        }
        Err(io::ErrorKind::AddrInUse.into())
    }

    fn taken(&self) -> MutexGuard<'_, HashSet<u16>> {
        // A set of numbers is valid after a panic at any point.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Port {
    pub(super) fn number(&self) -> u16 {
        self.number
    }

    /// Where the replica is to listen.
    pub(super) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.number).into()
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.ports.taken().remove(&self.number);
    }
}
