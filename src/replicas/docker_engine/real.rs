//! A real engine, for the tests that need one.
//!
//! They run if `WEIR_TEST_DOCKER_HOST` names an engine that is a Swarm manager, with an image
//! `taskoverflow` and an attachable network `weir-test` that the tests can reach: `.ci/swarm`
//! runs them in the network namespace of one of its containers.

use std::time::Duration;

use tokio::time::timeout;

use crate::replicas::{Fleet, Provider};

/// Only a broken test takes this long: the engine starts a container in a second.
const LONG: Duration = Duration::from_secs(60);

pub(crate) const IMAGE: &str = "taskoverflow";
pub(crate) const NETWORK: &str = "weir-test";
pub(crate) const PORT: u16 = 6400;

/// The address of the engine, if there is one.
pub(crate) fn host() -> Option<String> {
    std::env::var("WEIR_TEST_DOCKER_HOST").ok()
}

/// Polls until the fleet is as wanted, and returns it.
pub(crate) async fn eventually(
    provider: &mut dyn Provider,
    wanted: impl Fn(&Fleet) -> bool,
) -> Fleet {
    let mut last = None;
    let poll = async {
        loop {
            let fleet = provider.fleet().await.unwrap();
            if wanted(&fleet) {
                return fleet;
            }
            last = Some(fleet);
            provider.changed().await;
        }
    };
    let found = timeout(LONG, poll).await;
    found.unwrap_or_else(|_| panic!("the fleet stays at {last:#?}"))
}
