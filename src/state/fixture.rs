//! Small configurations and a running publisher, for tests.

use tokio::task::JoinHandle;

use super::{Publisher, Reader};
use crate::config::{Config, TargetGroup};

/// A group named `todo` with nothing in it.
pub(crate) fn empty_group() -> TargetGroup {
    TargetGroup::new("todo".into())
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
