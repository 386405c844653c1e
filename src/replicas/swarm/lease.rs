//! The right to scale a service: a label of a Swarm config, changed by compare-and-swap.
//!
//! A config of its own and not a label of the service: renewing that every few seconds would
//! replace the specification that `docker service rollback` returns to, and would make each
//! `docker service update` of the operator lose its race. Swarm lets only the labels of a
//! config change, and only by a client that names its newest version.

use std::collections::HashMap;
use std::time::Duration;

use bollard::models::{Config, ConfigSpec};
use bollard::query_parameters::UpdateConfigOptionsBuilder;
use tokio::time::Instant;

use super::task::{STACK, Service};
use crate::replicas::ProviderError;
use crate::replicas::docker_engine::{
    CALL_TIMEOUT, Engine, is_conflict, none_if_missing, nonsense, within,
};
use crate::replicas::scaler_lease::{RENEW_INTERVAL, ScalerLease};

/// How long a lease lasts without a renewal.
pub(super) const TERM: Duration = Duration::from_secs(10);

const _: () = assert!(3 * RENEW_INTERVAL.as_secs() < TERM.as_secs());

/// Label: the identity of the instance that holds the lease.
pub(super) const HOLDER: &str = "io.weir.scaler";

/// Label: counts renewals, so that each is a change.
const RENEWAL: &str = "io.weir.renewal";

/// Label: the service's name, for readers of `docker config ls`.
const SERVICE: &str = "io.weir.service";

/// A config must have content.
const CONTENT: &str = "d2Vpcg==";

/// The lease of one service, which a Swarm config with a version stands for.
#[derive(Debug)]
pub(super) struct Lease(ScalerLease<u64>);

impl Lease {
    /// No other instance has the same `identity`.
    pub(super) fn new(identity: String) -> Self {
        Self(ScalerLease::new(identity))
    }

    /// The lease is that of another service from now on.
    pub(super) fn reset(&mut self) {
        self.0.reset();
    }

    /// Whether this instance holds the lease. Takes it if it is free, renews it if it is time.
    pub(super) async fn hold(
        &mut self,
        engine: &Engine,
        service: &Service,
        name: &str,
    ) -> Result<bool, ProviderError> {
        let asked = Instant::now();
        if self.0.is_fresh(asked) {
            return Ok(true);
        }
        let config = format!("weir.scaler.{}", service.id);
        let is_held = match find(engine, &config).await? {
            None => create(engine, spec(config, self.labels(service, name, 0))).await?,
            Some((version, spec)) if self.0.may_take(version, holder(&spec), TERM, asked) => {
                let labels = self.labels(service, name, renewal(&spec).wrapping_add(1));
                let spec = ConfigSpec {
                    labels: Some(labels),
                    ..spec
                };
                update(engine, &config, version, spec).await?
            }
            Some(_) => false,
        };
        if is_held {
            self.0.hold(asked);
        } else {
            self.0.lose();
        }
        Ok(is_held)
    }

    fn labels(&self, service: &Service, name: &str, renewal: u64) -> HashMap<String, String> {
        let labels = [
            (HOLDER, self.0.identity().to_owned()),
            (RENEWAL, renewal.to_string()),
            (SERVICE, name.to_owned()),
        ];
        let stack = service.stack.clone().map(|stack| (STACK, stack));
        labels
            .into_iter()
            .chain(stack)
            .map(|(key, value)| (key.to_owned(), value))
            .collect()
    }
}

fn spec(name: String, labels: HashMap<String, String>) -> ConfigSpec {
    ConfigSpec {
        name: Some(name),
        labels: Some(labels),
        data: Some(CONTENT.to_owned()),
        templating: None,
    }
}

fn label<'a>(spec: &'a ConfigSpec, name: &str) -> Option<&'a str> {
    Some(spec.labels.as_ref()?.get(name)?.as_str())
}

fn holder(spec: &ConfigSpec) -> Option<&str> {
    label(spec, HOLDER)
}

fn renewal(spec: &ConfigSpec) -> u64 {
    label(spec, RENEWAL)
        .and_then(|n| n.parse().ok())
        .unwrap_or(0)
}

async fn find(engine: &Engine, config: &str) -> Result<Option<(u64, ConfigSpec)>, ProviderError> {
    let call = async { none_if_missing(engine.docker().inspect_config(config).await) };
    let Some(Config { version, spec, .. }) = within(CALL_TIMEOUT, call).await? else {
        return Ok(None);
    };
    let version = version.and_then(|version| version.index);
    version
        .zip(spec)
        .map(Some)
        .ok_or_else(|| nonsense("a config without version or content"))
}

/// Returns `false` if another instance has created it before.
async fn create(engine: &Engine, spec: ConfigSpec) -> Result<bool, ProviderError> {
    match within(CALL_TIMEOUT, engine.docker().create_config(spec)).await {
        Ok(_) => Ok(true),
        Err(error) if is_conflict(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns `false` if the config has another version by now, or was removed.
async fn update(
    engine: &Engine,
    config: &str,
    version: u64,
    spec: ConfigSpec,
) -> Result<bool, ProviderError> {
    let version = i64::try_from(version).map_err(nonsense)?;
    let options = UpdateConfigOptionsBuilder::new().version(version).build();
    let call =
        async { none_if_missing(engine.docker().update_config(config, spec, options).await) };
    match within(CALL_TIMEOUT, call).await {
        Ok(updated) => Ok(updated.is_some()),
        Err(error) if is_conflict(&error) => Ok(false),
        Err(error) => Err(error),
    }
}
