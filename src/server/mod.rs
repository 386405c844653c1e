//! Assembles the parts of Weir and runs them: start, reload, upgrade, shutdown.
//!
//! A start is a reload from the empty configuration: everything that can fail (sockets) is
//! done before anything changes; then the configuration is published, new listeners are
//! opened and removed ones drained. At the start each listener opens by itself, when the
//! groups it names are ready or their time is over; until then its clients wait in the
//! kernel's queue. A reload waits for its groups before it switches: see `pending_reload`.
//!
//! | looking for                                      | see                                     |
//! |--------------------------------------------------|-----------------------------------------|
//! | the daemon: signals, events, the end             | `run`, `signals`, `config_source`       |
//! | a running server and its events                  | `running`                               |
//! | start, reload, opening of listeners, shutdown    | `start`, `reload`, `opening`, `shutdown`|
//! | which groups are waited for, and how long        | `pending_reload`, `ready`               |
//! | what is published beside the configuration       | `published`                             |
//! | listening sockets, and which are kept            | `listeners`, `sockets`, `socket_plan`   |
//! | what a reload would do to sockets                | `socket_effects`                        |
//! | worker threads                                   | `worker`                                |
//! | tasks of the control plane                       | `control`, `housekeeping`, `notices`    |
//! | panics                                           | `supervision`                           |
//! | a new process takes the place of a running one   | `upgrade`, `handover`                   |
//! | the limit of open files                          | `descriptors`                           |
//! | systemd                                          | `service_manager`                       |
//!
//! Nothing here blocks the event loop of the control thread, which polls `Server::next`.

mod config_source;
mod control;
mod descriptors;
mod error;
mod handover;
mod housekeeping;
mod listeners;
mod notices;
mod opening;
mod pending_reload;
mod published;
mod ready;
mod reload;
mod run;
mod running;
mod service_manager;
mod shutdown;
mod signals;
mod socket_effects;
mod socket_plan;
mod sockets;
mod start;
mod supervision;
mod upgrade;
mod worker;

pub use error::ApplyError;
pub use run::{Exit, Program, StartError, run};
pub use running::Server;
pub use socket_effects::socket_effects;
pub use upgrade::{Inherited, TakeOverError};

#[cfg(test)]
mod tests;
