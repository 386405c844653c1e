//! The right to scale a service: a label of a Swarm config, changed by compare-and-swap.
//!
//! A config of its own and not a label of the service: renewing that every few seconds would
//! replace the specification that `docker service rollback` returns to, and would make
//! every `docker service update` of the operator's lose its race. Swarm lets only the labels
//! of a config change, and only by somebody who names its newest version.
//!
//! Whoever waits measures with a clock of its own how long the lease has not been renewed, as
//! the Kubernetes clients do: the clocks of the managers need not agree.

use std::collections::HashMap;
use std::time::Duration;

use bollard::models::{Config, ConfigSpec};
use bollard::query_parameters::UpdateConfigOptionsBuilder;
use tokio::time::Instant;

use super::task::{STACK, Service};
use crate::replicas::ProviderError;
use crate::replicas::docker_engine::{
    Engine, LIMIT, explain, is_conflict, is_missing, nonsense, within,
};

/// Without a renewal for so long anybody may take the lease.
pub(super) const TERM: Duration = Duration::from_secs(10);

/// Its holder renews it this often. Two may fail.
const RENEW: Duration = Duration::from_secs(3);

/// Who has the lease.
pub(super) const HOLDER: &str = "io.weir.scaler";

/// Counts renewals, so that each is a change.
const RENEWAL: &str = "io.weir.renewal";

/// For people who find it in `docker config ls`.
const SERVICE: &str = "io.weir.service";

/// A config must have content.
const CONTENT: &str = "d2Vpcg==";

/// One Weir's view of one service's lease.
#[derive(Debug)]
pub(super) struct Lease {
    holder: String,
    /// The config's version when it was seen to change last, and when that was.
    seen: Option<(u64, Instant)>,
    /// When it was last made ours for another term.
    held: Option<Instant>,
}

impl Lease {
    /// `holder` is no other Weir's name.
    pub(super) fn new(holder: String) -> Self {
        Self {
            holder,
            seen: None,
            held: None,
        }
    }

    /// The lease is another one from now on, or the same as another engine shows it.
    pub(super) fn forget(&mut self) {
        (self.seen, self.held) = (None, None);
    }

    /// Whether the lease is ours now; takes it when it is free, renews it when it is time.
    pub(super) async fn hold(
        &mut self,
        engine: &Engine,
        service: &Service,
        name: &str,
    ) -> Result<bool, ProviderError> {
        let asked = Instant::now();
        if self.is_fresh(asked) {
            return Ok(true);
        }
        let config = format!("weir.scaler.{}", service.id);
        let is_ours = match find(engine, &config).await? {
            None => create(engine, spec(config, self.labels(service, name, 0))).await?,
            Some((version, spec)) if self.may_take(asked, version, holder(&spec)) => {
                let labels = self.labels(service, name, renewal(&spec).wrapping_add(1));
                let spec = ConfigSpec {
                    labels: Some(labels),
                    ..spec
                };
                update(engine, &config, version, spec).await?
            }
            Some(_) => false,
        };
        // From before the question: the others' term began no earlier.
        self.held = is_ours.then_some(asked);
        Ok(is_ours)
    }

    fn is_fresh(&self, now: Instant) -> bool {
        self.held.is_some_and(|held| now - held < RENEW)
    }

    /// Whether the lease is ours to renew, or nobody's any more.
    fn may_take(&mut self, now: Instant, version: u64, holder: Option<&str>) -> bool {
        let since = match self.seen {
            Some((seen, since)) if seen == version => since,
            Some(_) | None => now,
        };
        self.seen = Some((version, since));
        let is_others = holder.is_some_and(|holder| holder != self.holder);
        !is_others || now - since >= TERM
    }

    fn labels(&self, service: &Service, name: &str, renewal: u64) -> HashMap<String, String> {
        let stack = service.stack.clone().map(|stack| (STACK, stack));
        let labels = [
            (HOLDER, self.holder.clone()),
            (RENEWAL, renewal.to_string()),
            (SERVICE, name.to_owned()),
        ];
        let labels = labels.into_iter().chain(stack);
        labels.map(|(key, value)| (key.to_owned(), value)).collect()
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
    label(spec, HOLDER).filter(|holder| !holder.is_empty())
}

fn renewal(spec: &ConfigSpec) -> u64 {
    label(spec, RENEWAL)
        .and_then(|n| n.parse().ok())
        .unwrap_or(0)
}

async fn find(engine: &Engine, config: &str) -> Result<Option<(u64, ConfigSpec)>, ProviderError> {
    let call = async {
        match engine.docker().inspect_config(config).await {
            Err(error) if is_missing(&error) => Ok(None),
            other => other.map(Some),
        }
    };
    let Some(Config { version, spec, .. }) = within(LIMIT, call).await? else {
        return Ok(None);
    };
    let version = version.and_then(|version| version.index);
    let both = version.zip(spec);
    both.map(Some)
        .ok_or_else(|| nonsense("a config without version or content"))
}

/// Whether nobody was faster.
async fn create(engine: &Engine, spec: ConfigSpec) -> Result<bool, ProviderError> {
    won(within(LIMIT, engine.docker().create_config(spec))
        .await
        .map(drop))
}

/// Whether nobody was faster.
async fn update(
    engine: &Engine,
    config: &str,
    version: u64,
    spec: ConfigSpec,
) -> Result<bool, ProviderError> {
    let version = i64::try_from(version).map_err(nonsense)?;
    let options = UpdateConfigOptionsBuilder::new().version(version).build();
    let call = async {
        match engine.docker().update_config(config, spec, options).await {
            // Removed by an operator in between.
            Err(error) if is_missing(&error) => Ok(Err(explain(error))),
            other => other.map(Ok),
        }
    };
    match within(LIMIT, call).await {
        Ok(Err(_missing)) => Ok(false),
        Ok(Ok(())) => Ok(true),
        Err(error) => won(Err(error)),
    }
}

fn won(result: Result<(), ProviderError>) -> Result<bool, ProviderError> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if is_conflict(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_taken_when_its_version_stands_still_for_a_term() {
        let mut lease = Lease::new("me".to_owned());
        let start = Instant::now();
        let mut may_take =
            |after, version, holder| lease.may_take(start + seconds(after), version, holder);
        assert!(!may_take(0, 7, Some("you")));
        assert!(!may_take(9, 7, Some("you")));
        // Renewed: the term begins anew.
        assert!(!may_take(10, 8, Some("you")));
        assert!(!may_take(19, 8, Some("you")));
        assert!(may_take(20, 8, Some("you")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_without_holder_or_of_our_own_is_taken_at_once() {
        let mut lease = Lease::new("me".to_owned());
        assert!(lease.may_take(Instant::now(), 1, None));
        assert!(lease.may_take(Instant::now(), 1, Some("me")));
    }
}
