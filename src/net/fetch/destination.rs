//! Where a request goes, and the stream that leads there.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use http::Uri;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream, lookup_host};

use super::error::FetchError;
use crate::model::Endpoint;
use crate::net;
use crate::net::dial::{Prelude, connect_with};
use crate::tls::{self, Trust};

/// What a request can be sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A TCP port.
    Address(SocketAddr),
    /// `host:port`. Resolved for each connection; the first of its addresses which accepts is
    /// used.
    Name(String),
    /// The same, in TLS.
    Secure {
        /// `host:port`.
        name: String,
        /// The handshake.
        tls: tls::Client,
    },
    /// A Unix socket.
    Unix(PathBuf),
    /// A target with something before the first byte of HTTP.
    Target {
        /// Where it answers.
        endpoint: Endpoint,
        /// A header of the PROXY protocol, or nothing.
        header: Vec<u8>,
        /// The handshake.
        tls: Option<tls::Client>,
    },
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(addr) => addr.fmt(f),
            Self::Name(name) | Self::Secure { name, .. } => name.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
            Self::Target { endpoint, .. } => endpoint.fmt(f),
        }
    }
}

impl From<&Endpoint> for Destination {
    fn from(endpoint: &Endpoint) -> Self {
        match endpoint {
            Endpoint::Address(address) => Self::Address(*address),
            Endpoint::Unix(path) => Self::Unix(path.as_path().to_owned()),
        }
    }
}

impl Destination {
    /// Where an `https://` URL leads, whose server is known by `trust`; `None` if it is no such URL.
    pub fn secure(uri: &Uri, trust: Trust) -> Option<Self> {
        let authority = uri
            .authority()
            .filter(|_| uri.scheme_str() == Some("https"))?;
        let host = authority.host();
        let unbracketed = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(unbracketed.to_owned()).ok()?;
        Some(Self::Secure {
            name: format!("{host}:{}", authority.port_u16().unwrap_or(443)),
            tls: tls::Client::new(trust, Some(name), None, &[]),
        })
    }

    /// A target, and what comes before the first byte of HTTP.
    pub fn target(endpoint: &Endpoint, header: &[u8], tls: Option<&tls::Client>) -> Self {
        if header.is_empty() && tls.is_none() {
            return endpoint.into();
        }
        Self::Target {
            endpoint: endpoint.clone(),
            header: header.to_vec(),
            tls: tls.cloned(),
        }
    }

    /// `https` if it is spoken to in TLS, else `http`.
    pub(super) fn scheme(&self) -> &'static str {
        match self {
            Self::Secure { .. } | Self::Target { tls: Some(_), .. } => "https",
            Self::Target { .. } | Self::Address(_) | Self::Name(_) | Self::Unix(_) => "http",
        }
    }
}

/// What carries the bytes of a connection.
pub(super) trait Stream: AsyncRead + AsyncWrite + fmt::Debug + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + fmt::Debug + Send + Unpin> Stream for S {}

/// An open stream.
#[derive(Debug)]
pub(super) struct Connected {
    pub(super) stream: Box<dyn Stream>,
    /// The other end, unless the stream is a Unix socket.
    pub(super) peer: Option<SocketAddr>,
}

impl Destination {
    /// Opens a stream. A kind of transport is added here and nowhere else.
    pub(super) async fn connect(&self) -> Result<Connected, FetchError> {
        let failed = |source: io::Error| FetchError::Connect {
            destination: self.to_string(),
            source,
        };
        match self {
            Self::Address(addr) => {
                let stream = TcpStream::connect(addr).await.map_err(failed)?;
                Ok(Connected {
                    stream: Box::new(stream),
                    peer: Some(*addr),
                })
            }
            Self::Name(name) => {
                let addrs = resolve(name).await?;
                let stream = TcpStream::connect(&addrs[..]).await.map_err(failed)?;
                Ok(Connected {
                    peer: Some(stream.peer_addr().map_err(failed)?),
                    stream: Box::new(stream),
                })
            }
            Self::Secure { name, tls } => {
                let addrs = resolve(name).await?;
                let (stream, peer) = connect_any(&addrs, tls).await.map_err(failed)?;
                Ok(Connected {
                    stream: Box::new(stream),
                    peer,
                })
            }
            Self::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(failed)?;
                Ok(Connected {
                    stream: Box::new(stream),
                    peer: None,
                })
            }
            Self::Target {
                endpoint,
                header,
                tls,
            } => {
                let tls = tls.as_ref();
                let connecting = connect_with(endpoint, Prelude { header, tls });
                let stream = connecting.await.map_err(failed)?;
                Ok(Connected {
                    stream: Box::new(stream),
                    peer: endpoint.address(),
                })
            }
        }
    }
}

/// Connects to the first of some addresses that accepts and makes a handshake.
async fn connect_any(
    addrs: &[SocketAddr],
    tls: &tls::Client,
) -> io::Result<(net::Stream, Option<SocketAddr>)> {
    let mut last = io::ErrorKind::AddrNotAvailable.into();
    for addr in addrs {
        let prelude = Prelude {
            header: &[],
            tls: Some(tls),
        };
        match connect_with(&Endpoint::Address(*addr), prelude).await {
            Ok(stream) => return Ok((stream, Some(*addr))),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn resolve(name: &str) -> Result<Vec<SocketAddr>, FetchError> {
    match lookup_host(name).await {
        Ok(addrs) => Ok(addrs.collect()),
        Err(source) => Err(FetchError::Resolve {
            name: name.to_owned(),
            source,
        }),
    }
}
