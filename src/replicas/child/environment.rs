//! Which of Weir's environment variables the programs that it starts inherit.
//!
//! All of them, as from a shell: a service finds its PATH, its proxy and its database. Except
//! what is meant for Weir alone: `WEIR_*`, what a service manager sets for the process that it
//! watches, and every variable that the configuration takes a secret from. A program that needs
//! one of these is given it by name: `env = { KEY = "${KEY}" }`.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use tokio::process::Command;

/// Begins the name of each variable that configures Weir.
const WEIR: &[u8] = b"WEIR_";

/// Set by systemd, see `systemd.exec(5)`, `sd_notify(3)` and `sd_listen_fds(3)`. A child that uses
/// them would notify in Weir's name or take descriptors that it does not have.
const SERVICE_MANAGER: [&str; 12] = [
    "CREDENTIALS_DIRECTORY",
    "FDSTORE",
    "JOURNAL_STREAM",
    "LISTEN_FDNAMES",
    "LISTEN_FDS",
    "LISTEN_PID",
    "MAINPID",
    "MEMORY_PRESSURE_WATCH",
    "MEMORY_PRESSURE_WRITE",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
];

/// A command with the variables that its program may have.
pub(crate) fn command(program: &str, secrets: &BTreeSet<String>) -> Command {
    let mut command = Command::new(program);
    for name in std::env::vars_os().map(|(name, _)| name) {
        if is_withheld(&name, secrets) {
            command.env_remove(name);
        }
    }
    command
}

fn is_withheld(name: &OsStr, secrets: &BTreeSet<String>) -> bool {
    name.as_bytes().starts_with(WEIR)
        || SERVICE_MANAGER.iter().any(|other| name == *other)
        || name.to_str().is_some_and(|name| secrets.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_meant_for_weir_alone_is_withheld() {
        let secrets = BTreeSet::from(["SESSION_KEY".to_owned()]);
        let withheld = |name: &str| is_withheld(OsStr::new(name), &secrets);
        for name in [
            "WEIR_COOKIE_KEY",
            "WEIR_CONFIG",
            "NOTIFY_SOCKET",
            "LISTEN_FDS",
            "SESSION_KEY",
        ] {
            assert!(withheld(name), "{name}");
        }
        for name in ["PATH", "HOME", "DATABASE_URL", "AWEIR_X", "session_key", ""] {
            assert!(!withheld(name), "{name}");
        }
    }
}
