//! A new process takes the place of a running one, and no client notices.
//!
//! The running process listens at the `upgrade_socket`. A new one connects and asks, is given
//! copies of every listening socket, starts on them, and reports when it serves. Both accept
//! from the same queues then. The old process watches the new one for a few seconds, and only
//! then confirms it and shuts down in the usual phases. Until that moment the old process has
//! given nothing up: it accepts, checks, scales and runs its replicas, so that a new process
//! which fails, hangs or dies leaves everything as it was.
//!
//! Each process runs the replicas of its own `command` groups. The old process scales until it
//! has confirmed the new one, which keeps the counts that were handed over until then.
//! Each process reports its requests in flight to the other, where they count on their targets,
//! so that `max_concurrency` holds over both.
//!
//! Every step has a deadline on both sides, and nothing here blocks: a peer that is silent or
//! slow delays no other peer, nor the end of the process.
//!
//! In a container the end of the first process is the end of the container. When the rest of
//! it has shut down, it stays as the init process: it sends its signals on, and ends with
//! the last of its successors, each of which gets the connection to it from the one before.
//!
//! | file             | process | has                                                          |
//! |------------------|---------|--------------------------------------------------------------|
//! | `upgrades`       | both    | the daemon's view: what to do next, and the events           |
//! | `request_socket` | old     | the Unix socket at which new processes ask                   |
//! | `hand_over`      | old     | gives the sockets, watches the new process, confirms it      |
//! | `take_over`      | new     | takes the sockets, answers checks until it is confirmed      |
//! | `child`          | old     | the process that SIGUSR2 starts                              |
//! | `in_flight`      | both    | the counts of requests in flight of the other process        |
//! | `message`        | both    | the messages and how they are sent                           |
//! | `notice`         | both    | what the tasks of an upgrade report to `upgrades`            |
//! | `state`          | old     | the sockets, counts and live state that are handed over      |
//! | `timing`         | both    | deadlines and intervals                                      |

mod child;
mod hand_over;
mod in_flight;
mod message;
mod notice;
mod request_socket;
mod state;
mod take_over;
mod timing;
mod upgrades;

pub(super) use state::{AdminSocket, HandoverState, ListenerSockets};
pub(super) use take_over::ServingProof;
pub use take_over::{Inherited, TakeOverError};
pub(super) use upgrades::{UpgradeEvent, Upgrades};
