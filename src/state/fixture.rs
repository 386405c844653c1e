//! Small configurations for the tests of those who change the picture.

use std::time::Duration;

use tokio::task::JoinHandle;

use super::{Publisher, Reader};
use crate::config::{Config, FailOpen, MinHealthy, TargetGroup};
use crate::model::{Algorithm, HashPolicy, Upstream};

/// A group named `todo` with nothing in it.
pub(crate) fn empty_group() -> TargetGroup {
    let second = Duration::from_secs(1);
    TargetGroup {
        id: "todo".into(),
        port: None,
        targets: Vec::new(),
        algorithm: Algorithm::RoundRobin,
        hash: HashPolicy::default(),
        health: None,
        fail_open: FailOpen {
            min_healthy: MinHealthy::Count(1),
            enabled: true,
        },
        upstream: Upstream {
            connect_timeout: second,
            response_timeout: second,
            body_timeout: second,
            request_timeout: None,
            idle_timeout: second,
            max_idle: 0,
        },
        replicas: None,
    }
}

/// A configuration with these groups and no listener.
pub(crate) fn config(target_groups: Vec<TargetGroup>) -> Config {
    Config {
        target_groups,
        ..Config::empty()
    }
}

/// A publisher that has published these groups. Its task ends with the test's runtime.
pub(crate) async fn publish(groups: Vec<TargetGroup>) -> (Publisher, Reader) {
    let (publisher, task, mut reader) = Publisher::new(0);
    let _ends_with_the_publisher: JoinHandle<()> = tokio::spawn(task.run());
    publisher.configure(config(groups)).await.unwrap();
    reader.changed().await;
    (publisher, reader)
}
