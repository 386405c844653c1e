//! Where the lines of the access log go.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Where the lines of the access log go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LogSink {
    /// Into the log of the process.
    #[default]
    Stdout,
    /// To the end of a file.
    File(LogFile),
    /// To a server of syslog, as RFC 5424 has it.
    Syslog(SyslogAddress),
    /// To the socket of systemd's journal.
    Journald(PathBuf),
}

/// A file of lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFile {
    /// Its path.
    pub path: PathBuf,
    /// The bytes at which it is renamed and another begun; `None` for never.
    pub max_size: Option<u64>,
    /// How many renamed files are kept.
    pub keep: u32,
}

/// Where a server of syslog listens for datagrams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyslogAddress {
    /// At a socket of this host.
    Unix(PathBuf),
    /// At an address.
    Udp(SocketAddr),
}

impl fmt::Display for LogSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("stdout"),
            Self::File(file) => write!(f, "{}", file.path.display()),
            Self::Syslog(SyslogAddress::Unix(path)) => write!(f, "syslog:{}", path.display()),
            Self::Syslog(SyslogAddress::Udp(address)) => write!(f, "syslog:{address}"),
            Self::Journald(path) => write!(f, "journald:{}", path.display()),
        }
    }
}
