//! Resolves a host name to addresses, and a service name to its records.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::config::LookupIpStrategy;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;
use hickory_resolver::{ResolverBuilder, TokioResolver};
use thiserror::Error;
use tokio::sync::Mutex;
use tracing::warn;

use crate::files::{Blocking, Stamp};

/// The time to live of addresses from the C library, which does not tell any.
const UNKNOWN_TTL: Duration = Duration::from_secs(30);

/// The addresses of a host name.
#[derive(Clone, Debug)]
pub(super) struct HostAddresses {
    /// Not empty; in no particular order.
    pub(super) addresses: Vec<IpAddr>,
    /// How long they are valid.
    pub(super) ttl: Duration,
}

/// The service records of a name.
#[derive(Clone, Debug)]
pub(super) struct Services {
    /// In no particular order; empty if the answer says that the service does not exist.
    pub(super) records: Vec<Service>,
    /// How long they are valid.
    pub(super) ttl: Duration,
}

/// A service record (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Service {
    /// The lowest comes first.
    pub(super) priority: u16,
    /// Compared with the other records of one priority.
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
    /// The servers did not answer the question.
    #[error("{0}")]
    Dns(NetError),
    /// The C library did not resolve it.
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

/// Resolves names.
pub(super) trait Resolve: Clone + Send + Sync + 'static {
    /// Resolves a host name without a cache. The caller sets the deadline.
    fn resolve(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<HostAddresses, ResolveError>> + Send;

    /// Looks service records up without a cache. The caller sets the deadline.
    fn services(&self, name: &str) -> impl Future<Output = Result<Services, ResolveError>> + Send;
}

/// The configuration of the system's resolver.
const SYSTEM_FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

/// How long the files are taken to be unchanged.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// How long a file system that does not answer is waited for.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// Resolves as the system is configured to: `/etc/hosts`, then the servers and search domains of
/// `/etc/resolv.conf`. If that cannot be read, the C library is asked.
///
/// Both files are read again when they have changed, so that a change needs no restart. A name
/// with IPv4 addresses has only those as targets: most services listen on one family, and half
/// of the targets would be dead.
#[derive(Clone, Debug, Default)]
pub(super) struct SystemResolver(Arc<Mutex<System>>);

#[derive(Debug, Default)]
struct System {
    /// `None` before the first check of the files.
    current: Option<Current>,
    checked: Option<Instant>,
    reading: Blocking<Option<Current>>,
    warned: bool,
}

/// A configuration and the versions of the files that it was read from.
#[derive(Debug)]
struct Current {
    seen: [Stamp; SYSTEM_FILES.len()],
    resolver: Result<TokioResolver, NetError>,
}

impl Resolve for SystemResolver {
    async fn resolve(&self, name: &str) -> Result<HostAddresses, ResolveError> {
        match self.current().await {
            Some(resolver) => ask_dns(&resolver, name).await,
            None => ask_library(name).await,
        }
    }

    async fn services(&self, name: &str) -> Result<Services, ResolveError> {
        let resolver = self.current().await.ok_or(ResolveError::NoServer)?;
        ask_dns_for_services(&resolver, name).await
    }
}

impl SystemResolver {
    /// The resolver of the present configuration; `None` if that cannot be read.
    async fn current(&self) -> Option<TokioResolver> {
        let mut system = self.0.lock().await;
        system.refresh().await;
        let error = match &system.current.as_ref()?.resolver {
            Ok(resolver) => return Some(resolver.clone()),
            Err(error) => error.to_string(),
        };
        if !std::mem::replace(&mut system.warned, true) {
            warn!(%error, "cannot read the system's DNS configuration; asking the C library");
        }
        None
    }
}

impl System {
    /// Reads the configuration if it has changed. Keeps the last one if the file system does not
    /// answer.
    async fn refresh(&mut self) {
        if self
            .checked
            .is_some_and(|checked| checked.elapsed() < CHECK_INTERVAL)
        {
            return;
        }
        let known = self.current.as_ref().map(|current| current.seen);
        let read = self
            .reading
            .run(READ_TIMEOUT, move || Current::unless(known));
        if let Ok(Some(changed)) = read.await {
            self.current = Some(changed);
        }
        self.checked = Some(Instant::now());
    }
}

impl Current {
    /// Reads the configuration; `None` if the files are still those of `known`. Blocks.
    fn unless(known: Option<[Stamp; SYSTEM_FILES.len()]>) -> Option<Self> {
        let seen = SYSTEM_FILES.map(|file| Stamp::of(Path::new(file)));
        (known != Some(seen)).then(|| Self {
            seen,
            resolver: TokioResolver::builder_tokio().and_then(build),
        })
    }
}

/// Blocks: reads the system's host names, unless that is switched off.
pub(super) fn build(
    mut builder: ResolverBuilder<TokioRuntimeProvider>,
) -> Result<TokioResolver, NetError> {
    let options = builder.options_mut();
    options.ip_strategy = LookupIpStrategy::Ipv4thenIpv6;
    // No cache: a name is resolved again only when its time to live is over.
    options.cache_size = 0;
    builder.build()
}

/// Asks the servers of a resolver for addresses.
pub(super) async fn ask_dns(
    resolver: &TokioResolver,
    name: &str,
) -> Result<HostAddresses, ResolveError> {
    let lookup = resolver.lookup_ip(name).await?;
    let answer = HostAddresses {
        addresses: lookup.iter().collect(),
        ttl: lookup
            .valid_until()
            .saturating_duration_since(Instant::now()),
    };
    non_empty(answer)
}

/// Asks the servers of a resolver for service records.
pub(super) async fn ask_dns_for_services(
    resolver: &TokioResolver,
    name: &str,
) -> Result<Services, ResolveError> {
    let lookup = match resolver.srv_lookup(name).await {
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
            // The root as a host means that there is no such service (RFC 2782); port 0 cannot be
            // connected to.
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

async fn ask_library(name: &str) -> Result<HostAddresses, ResolveError> {
    let found = tokio::net::lookup_host((name, 0)).await?;
    let mut addresses: Vec<IpAddr> = found.map(|addr| addr.ip()).collect();
    if addresses.iter().any(IpAddr::is_ipv4) {
        addresses.retain(IpAddr::is_ipv4);
    }
    non_empty(HostAddresses {
        addresses,
        ttl: UNKNOWN_TTL,
    })
}

fn non_empty(answer: HostAddresses) -> Result<HostAddresses, ResolveError> {
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
    async fn localhost_is_resolved_by_the_servers_and_by_the_library() {
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

    #[test]
    fn the_systems_files_are_read_again_only_when_they_have_changed() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let _context = runtime.enter();
        let first = Current::unless(None).expect("no files are known");
        assert!(Current::unless(Some(first.seen)).is_none());
        let others = [Stamp::default(); SYSTEM_FILES.len()];
        assert!(Current::unless(Some(others)).is_some());
    }
}
