//! Reads of Weir's admin listener.

use weir::admin::{GroupStatus, Status, TargetStatus};
use weir::model::Endpoint;

use super::Lb;
use super::client::{Connection, Reply};

/// The admin listener for configurations of tests; must stand before any table.
pub const ADMIN: &str = "admin = { bind = \"127.0.0.1:0\" }";

impl Lb {
    /// GET from the admin listener.
    pub async fn admin(&self, path: &str) -> Reply {
        Connection::open(self.admin_addr()).await.get(path).await
    }

    /// The content of `/api/v1/status`.
    pub async fn status(&self) -> Status {
        let reply = self.admin("/api/v1/status").await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        serde_json::from_slice(&reply.body).unwrap()
    }

    /// One group in `/api/v1/status`.
    pub async fn group_status(&self, name: &str) -> GroupStatus {
        let groups = self.status().await.target_groups;
        let found = groups.into_iter().find(|group| group.name == name);
        found.expect("a group of that name")
    }

    /// One target in `/api/v1/status`.
    pub async fn target_status(&self, group: &str, addr: impl Into<Endpoint>) -> TargetStatus {
        let addr = addr.into();
        let targets = self.group_status(group).await.targets;
        let found = targets.into_iter().find(|target| target.address == addr);
        found.expect("a target at that address")
    }

    /// The sum of all series of a metric with all of `labels` among their labels
    /// (`name="value"`); 0 when there is none.
    pub async fn metric(&self, name: &str, labels: &[&str]) -> u64 {
        let page = self.admin("/metrics").await;
        assert_eq!(page.status, 200);
        let values = page.text().lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (found, rest) = series.split_once('{').unwrap_or((series, ""));
            let wanted = found == name && labels.iter().all(|label| rest.contains(label));
            wanted.then(|| value.parse::<f64>().unwrap() as u64)
        });
        values.sum()
    }
}
