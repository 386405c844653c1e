//! Shared by the tests of this module.

use std::net::SocketAddr;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;

use super::resolve::{
    HostAddresses, Resolve, ResolveError, Services, ask_dns, ask_dns_for_services, build,
};
use crate::state::Reader;

/// Asks one DNS server over UDP and no other.
#[derive(Clone)]
pub(super) struct OneServer(pub(super) SocketAddr);

impl OneServer {
    fn resolver(&self) -> Result<TokioResolver, ResolveError> {
        let mut server = NameServerConfig::udp(self.0.ip());
        server.connections[0].port = self.0.port();
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
        let provider = TokioRuntimeProvider::default();
        let mut builder = TokioResolver::builder_with_config(config, provider);
        builder.options_mut().use_hosts_file = ResolveHosts::Never;
        Ok(build(builder)?)
    }
}

impl Resolve for OneServer {
    async fn resolve(&self, name: &str) -> Result<HostAddresses, ResolveError> {
        ask_dns(&self.resolver()?, name).await
    }

    async fn services(&self, name: &str) -> Result<Services, ResolveError> {
        ask_dns_for_services(&self.resolver()?, name).await
    }
}

/// Addresses and weights of the first group.
pub(super) fn members(reader: &Reader) -> Vec<(String, u16)> {
    reader.load_full().groups()[0]
        .targets
        .iter()
        .map(|member| (member.target.id.addr.to_string(), member.weight))
        .collect()
}

/// An element of [`members`].
pub(super) fn member(addr: &str, weight: u16) -> (String, u16) {
    (addr.to_owned(), weight)
}
