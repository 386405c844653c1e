//! Stands for a provider that is not part of this build.

use async_trait::async_trait;

use super::{Fleet, Provider, ProviderError, ReplicaId};
use crate::config::Replicas;

/// The provider of an engine that is not in the build: each call fails with
/// [`ProviderError::NotBuilt`], and the group keeps the targets it has.
#[derive(Clone, Copy, Debug)]
pub struct NotBuilt(
    /// The cargo feature.
    pub &'static str,
);

#[async_trait]
impl Provider for NotBuilt {
    async fn configure(&mut self, _: &Replicas) -> Result<(), ProviderError> {
        Err(ProviderError::NotBuilt(self.0))
    }

    async fn set_count(&mut self, _: u32, _: &[ReplicaId]) -> Result<(), ProviderError> {
        Err(ProviderError::NotBuilt(self.0))
    }

    async fn fleet(&mut self) -> Result<Fleet, ProviderError> {
        Err(ProviderError::NotBuilt(self.0))
    }

    async fn changed(&mut self) {
        std::future::pending::<()>().await;
    }
}
