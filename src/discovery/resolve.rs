//! Asking for the addresses of a host name, and for the service records of a name.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hickory_resolver::config::LookupIpStrategy;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;
use hickory_resolver::{ResolverBuilder, TokioResolver};
use thiserror::Error;
use tracing::warn;

/// How long addresses from the C library are believed, which tells no time to live.
const UNKNOWN_TTL: Duration = Duration::from_secs(30);

/// The addresses of a host name.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// Not empty; in no particular order.
    pub(super) addresses: Vec<IpAddr>,
    /// How long they may be believed.
    pub(super) ttl: Duration,
}

/// The service records of a name.
#[derive(Clone, Debug)]
pub(super) struct Services {
    /// In no particular order; empty where a service is said not to be there.
    pub(super) records: Vec<Service>,
    /// How long they may be believed.
    pub(super) ttl: Duration,
}

/// A service record (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Service {
    /// The lowest there is comes first.
    pub(super) priority: u16,
    /// Of those with one priority.
    pub(super) weight: u16,
    /// Above 0.
    pub(super) port: u16,
    /// A host name, with its final dot.
    pub(super) host: String,
}

/// Why a host name has no addresses now.
#[derive(Debug, Error)]
pub(super) enum ResolveError {
    /// No server knows the name, or none has an address for it.
    #[error("the name has no address")]
    NoAddress,
    /// No server knows the name, or none has a service record for it.
    #[error("the name has no service record")]
    NoService,
    /// The system has no DNS configuration, and its C library knows no service records.
    #[error("the system's DNS configuration cannot be read")]
    NoServer,
    /// The DNS could not be asked.
    #[error("{0}")]
    Dns(NetError),
    /// The C library could not tell.
    #[error("{0}")]
    Library(#[from] io::Error),
    /// There was no answer in time.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// The lookup ended without a result.
    #[error("the lookup panicked")]
    Panicked,
}

impl From<NetError> for ResolveError {
    fn from(error: NetError) -> Self {
        if error.is_no_records_found() || error.is_nx_domain() {
            Self::NoAddress
        } else {
            Self::Dns(error)
        }
    }
}

/// Finds the addresses of a host name.
pub(super) trait Resolve: Clone + Send + Sync + 'static {
    /// Asks anew. The caller sets the deadline.
    fn resolve(&self, name: &str) -> impl Future<Output = Result<Answer, ResolveError>> + Send;

    /// Asks anew for service records. The caller sets the deadline.
    fn services(&self, name: &str) -> impl Future<Output = Result<Services, ResolveError>> + Send;
}

/// Resolves as the system is configured to: `/etc/hosts`, then the servers and search
/// domains of `/etc/resolv.conf`. Where that cannot be read, the C library is asked.
///
/// Both files are read for each lookup, so that a change to them needs no restart; the
/// time to live makes lookups rare. A name with IPv4 addresses has only those as
/// targets: most services listen on one family, and half of the targets would be dead.
#[derive(Clone, Debug, Default)]
pub(super) struct SystemResolver {
    warned: Arc<AtomicBool>,
}

impl Resolve for SystemResolver {
    async fn resolve(&self, name: &str) -> Result<Answer, ResolveError> {
        match TokioResolver::builder_tokio() {
            Ok(builder) => ask_dns(builder, name).await,
            Err(error) => {
                if !self.warned.swap(true, Ordering::Relaxed) {
                    warn!(%error, "cannot read the system's DNS configuration, asking the C library");
                }
                ask_library(name).await
            }
        }
    }

    async fn services(&self, name: &str) -> Result<Services, ResolveError> {
        match TokioResolver::builder_tokio() {
            Ok(builder) => ask_dns_for_services(builder, name).await,
            Err(_) => Err(ResolveError::NoServer),
        }
    }
}

/// Asks the servers that a resolver is configured with, once.
pub(super) async fn ask_dns(
    mut builder: ResolverBuilder<TokioRuntimeProvider>,
    name: &str,
) -> Result<Answer, ResolveError> {
    let options = builder.options_mut();
    options.ip_strategy = LookupIpStrategy::Ipv4thenIpv6;
    // The resolver is used once.
    options.cache_size = 0;
    let lookup = builder.build()?.lookup_ip(name).await?;
    let answer = Answer {
        addresses: lookup.iter().collect(),
        ttl: lookup
            .valid_until()
            .saturating_duration_since(Instant::now()),
    };
    non_empty(answer)
}

/// Asks the servers that a resolver is configured with for service records, once.
pub(super) async fn ask_dns_for_services(
    mut builder: ResolverBuilder<TokioRuntimeProvider>,
    name: &str,
) -> Result<Services, ResolveError> {
    builder.options_mut().cache_size = 0;
    let lookup = match builder.build()?.srv_lookup(name).await {
        Ok(lookup) => lookup,
        Err(error) if error.is_no_records_found() || error.is_nx_domain() => {
            return Err(ResolveError::NoService);
        }
        Err(error) => return Err(ResolveError::Dns(error)),
    };
    let records = lookup
        .answers()
        .iter()
        .filter_map(|record| match &record.data {
            // The root as a host says that there is no such service; port 0 is nowhere.
            RData::SRV(srv) if srv.port > 0 && !srv.target.is_root() => Some(Service {
                priority: srv.priority,
                weight: srv.weight,
                port: srv.port,
                host: srv.target.to_ascii(),
            }),
            _ => None,
        });
    Ok(Services {
        records: records.collect(),
        ttl: lookup
            .valid_until()
            .saturating_duration_since(Instant::now()),
    })
}

async fn ask_library(name: &str) -> Result<Answer, ResolveError> {
    let found = tokio::net::lookup_host((name, 0)).await?;
    let mut addresses: Vec<IpAddr> = found.map(|addr| addr.ip()).collect();
    if addresses.iter().any(IpAddr::is_ipv4) {
        addresses.retain(IpAddr::is_ipv4);
    }
    non_empty(Answer {
        addresses,
        ttl: UNKNOWN_TTL,
    })
}

fn non_empty(answer: Answer) -> Result<Answer, ResolveError> {
    if answer.addresses.is_empty() {
        Err(ResolveError::NoAddress)
    } else {
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_system_knows_localhost_by_either_way() {
        let loopback = [IpAddr::from([127, 0, 0, 1])];
        let answer = ask_library("localhost").await.unwrap();
        assert_eq!(
            (&answer.addresses[..], answer.ttl),
            (&loopback[..], UNKNOWN_TTL)
        );
        let system = SystemResolver::default();
        let answer = system.resolve("localhost").await.unwrap();
        assert_eq!(answer.addresses, loopback);
    }
}
