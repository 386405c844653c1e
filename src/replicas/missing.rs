//! The provider of an engine that this Weir cannot speak to.

use async_trait::async_trait;

use super::{Fleet, Provider, ProviderError, ReplicaId};
use crate::config::Replicas;

/// Stands for an engine whose feature was left out of the build: every call says so, and the
/// group goes on with the targets it has.
#[derive(Clone, Copy, Debug)]
pub struct Missing(
    /// The cargo feature.
    pub &'static str,
);

#[async_trait]
impl Provider for Missing {
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

    async fn release(&mut self, _: ReplicaId) -> Result<(), ProviderError> {
        Err(ProviderError::NotBuilt(self.0))
    }
}
