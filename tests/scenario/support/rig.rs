//! A Weir of one worker, one listener and one group, with access to its log, counters and
//! leases.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Connection, Lb, LogEntry, Wire, eventually, keep_access_log, until_logged};

/// A Weir in front of a few targets, with its log.
pub struct Rig {
    pub lb: Lb,
    listener: String,
    targets: Vec<SocketAddr>,
}

const NO_CHECKS: &str = "health = false";

impl Rig {
    /// Forwards all requests to the targets, without health checks.
    pub async fn forward(targets: &[SocketAddr]) -> Self {
        Self::with(targets, "", "").await
    }

    /// The same with further keys for the listener and for the group.
    pub async fn with(targets: &[SocketAddr], listener: &str, group: &str) -> Self {
        Self::started(targets, listener, group, NO_CHECKS).await
    }

    async fn started(targets: &[SocketAddr], listener: &str, group: &str, checks: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        keep_access_log();
        let name = format!("rig-{}", COUNT.fetch_add(1, Ordering::SeqCst));
        let lb = Lb::start(&Self::config(
            &name,
            targets,
            listener,
            &format!("{checks}\n{group}"),
        ))
        .await;
        Self {
            lb,
            listener: name,
            targets: targets.to_vec(),
        }
    }

    /// With health checks as the keys for the group say.
    pub async fn with_checks(targets: &[SocketAddr], group: &str) -> Self {
        Self::started(targets, "", group, "").await
    }

    /// The configuration, for a reload with other targets or keys.
    pub fn changed(&self, targets: &[SocketAddr], listener: &str, group: &str) -> String {
        Self::config(
            &self.listener,
            targets,
            listener,
            &format!("{NO_CHECKS}\n{group}"),
        )
    }

    fn config(name: &str, targets: &[SocketAddr], listener: &str, group: &str) -> String {
        let targets: Vec<String> = targets.iter().map(|t| format!("\"{t}\"")).collect();
        format!(
            r#"
            workers = 1
            access_log = "all"
            [shutdown]
            lame_duck = "0s"
            drain = "5s"
            [admin]
            bind = "127.0.0.1:0"
            [[listener]]
            name = "{name}"
            bind = "127.0.0.1:0"
            forward = "app"
            {listener}
            [target_group.app]
            targets = [{}]
            {group}
            "#,
            targets.join(", ")
        )
    }

    pub fn addr(&self) -> SocketAddr {
        self.lb.addr()
    }

    /// A connection on which bytes were sent already.
    pub async fn wire(&self, bytes: impl AsRef<[u8]>) -> Wire {
        Wire::send_to(self.addr(), bytes).await
    }

    pub async fn connect(&self) -> Connection {
        self.lb.connect().await
    }

    /// Waits for `count` log entries, and fails if there are more.
    pub async fn logged(&self, count: usize) -> Vec<LogEntry> {
        until_logged(&self.listener, count).await
    }

    /// Requests in flight, over all targets.
    pub fn in_flight(&self) -> u32 {
        self.targets
            .iter()
            .filter_map(|addr| self.lb.target("app", *addr))
            .map(|target| target.load().in_flight())
            .sum()
    }

    /// Waits until no connection, permit or lease is left.
    pub async fn quiet(&self) {
        eventually("nothing is left behind", || async {
            let left = (self.lb.connections(), self.in_flight());
            (left == (0, 0))
                .then_some(())
                .ok_or_else(|| format!("(connections, in flight) = {left:?}"))
        })
        .await;
    }

    /// The value of the failure counter for a reason, over all groups.
    pub async fn failures(&self, reason: &str) -> u64 {
        let page = Connection::open(self.lb.admin_addr())
            .await
            .get("/metrics")
            .await;
        let label = format!("reason=\"{reason}\"");
        let text = page.text();
        let lines = text.lines().filter(|line| {
            line.starts_with("weir_request_failures_total") && line.contains(&label)
        });
        let values = lines.filter_map(|line| line.rsplit(' ').next());
        values.map(|value| value.parse::<u64>().unwrap()).sum()
    }
}
