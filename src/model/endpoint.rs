//! Where a socket listens or a target answers: an IP address and port, or a Unix socket.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// What a Unix socket's path begins with where an address could stand too.
const UNIX: &str = "unix:";

/// Most bytes of the path of a Unix socket: `sun_path` has 108, with a zero at the end.
const MAX_PATH: usize = 107;

/// The address of a listener or a target. As text `127.0.0.1:6400` or `unix:/run/app.sock`.
///
/// Addresses come before Unix sockets in its order.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Endpoint {
    /// TCP: an IP address and a port.
    Address(SocketAddr),
    /// A Unix domain socket.
    Unix(UnixPath),
}

/// The path of a Unix socket: absolute, as long as the system allows, and without control
/// characters, so that it can stand in a line of a log. Cheap to clone.
///
/// Holds the text of its endpoint, with `unix:` before the path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UnixPath(Arc<str>);

/// Why a text is no [`Endpoint`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Neither `IP:PORT` nor `unix:PATH`.
    #[error("neither an IP address with a port nor unix:/path")]
    NoAddress,
    /// The path does not begin with a slash.
    #[error("the path of a Unix socket must be absolute")]
    Relative,
    /// The path begins as a URL's or another product's would.
    #[error("the path of a Unix socket begins with one slash")]
    TwoSlashes,
    /// The path ends with a slash, or has nothing but it.
    #[error("the path of a Unix socket must name a file")]
    NoFile,
    /// The system has no room for a longer path.
    #[error("the path of a Unix socket has at most 107 bytes")]
    TooLong,
    /// The path has control characters.
    #[error("the path of a Unix socket must not have control characters")]
    Control,
}

impl Endpoint {
    /// The IP address and port; `None` for a Unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Address(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// The path of a Unix socket.
    pub fn unix(&self) -> Option<&UnixPath> {
        match self {
            Self::Address(_) => None,
            Self::Unix(path) => Some(path),
        }
    }

    /// Whether it is a port that is not chosen yet: the system takes a free one.
    pub fn is_any_port(&self) -> bool {
        self.address().is_some_and(|address| address.port() == 0)
    }

    /// Whether a text is meant to be a Unix socket, whether or not its path is one.
    pub fn is_unix(text: &str) -> bool {
        text.starts_with(UNIX)
    }
}

impl UnixPath {
    /// Reads a path, without `unix:`.
    pub fn new(path: &str) -> Result<Self, EndpointError> {
        if !path.starts_with('/') {
            Err(EndpointError::Relative)
        } else if path.starts_with("//") {
            Err(EndpointError::TwoSlashes)
        } else if path.ends_with('/') {
            Err(EndpointError::NoFile)
        } else if path.len() > MAX_PATH {
            Err(EndpointError::TooLong)
        } else if path.chars().any(char::is_control) {
            Err(EndpointError::Control)
        } else {
            Ok(Self(format!("{UNIX}{path}").into()))
        }
    }

    /// The endpoint as text: `unix:`, then the path.
    pub fn as_text(&self) -> &str {
        &self.0
    }

    /// The path for the system.
    pub fn as_path(&self) -> &Path {
        Path::new(&self.0[UNIX.len()..])
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Unix(path) => f.pad(path.as_text()),
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        match text.strip_prefix(UNIX) {
            Some(path) => UnixPath::new(path).map(Self::Unix),
            None => text
                .parse()
                .map(Self::Address)
                .map_err(|_| EndpointError::NoAddress),
        }
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self::Address(address)
    }
}

impl<I: Into<IpAddr>> From<(I, u16)> for Endpoint {
    fn from(address: (I, u16)) -> Self {
        Self::Address(address.into())
    }
}

impl Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_an_address_or_a_unix_socket() {
        for text in ["127.0.0.1:6400", "[fd00::1]:80", "unix:/run/app.sock"] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), text);
            assert_eq!(endpoint.address().is_none(), Endpoint::is_unix(text));
            let json = serde_json::to_string(&endpoint).unwrap();
            assert_eq!(serde_json::from_str::<Endpoint>(&json).unwrap(), endpoint);
        }
        assert_eq!(
            format!("{:20}|", "unix:/run/a".parse::<Endpoint>().unwrap()),
            "unix:/run/a         |"
        );
    }

    #[test]
    fn a_path_that_the_system_cannot_bind_is_refused() {
        let error = |text: &str| text.parse::<Endpoint>().unwrap_err();
        assert_eq!(error("app:6400"), EndpointError::NoAddress);
        assert_eq!(error("/run/app.sock"), EndpointError::NoAddress);
        assert_eq!(error("unix:run/app.sock"), EndpointError::Relative);
        assert_eq!(error("unix:"), EndpointError::Relative);
        assert_eq!(error("unix:///run/app.sock"), EndpointError::TwoSlashes);
        assert_eq!(error("unix:/run/"), EndpointError::NoFile);
        assert_eq!(error("unix:/run/\0"), EndpointError::Control);
        assert_eq!(error("unix:/run/a\n"), EndpointError::Control);
        let path = |length: usize| format!("unix:/{}", "x".repeat(length - 1));
        assert!(path(MAX_PATH).parse::<Endpoint>().is_ok());
        assert_eq!(error(&path(MAX_PATH + 1)), EndpointError::TooLong);
    }
}
