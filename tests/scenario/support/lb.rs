//! Weir itself, started from the text of a configuration.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use weir::config::{Config, load, parse};
use weir::model::{Endpoint, Health};
use weir::server::{ApplyError, Server};
use weir::state::{Diff, Snapshot};
use weir::target::Target;

use super::client::{Connection, Reply};
use super::{eventually, soon};

/// A Weir in this process. Give listeners port 0.
pub struct Lb {
    server: Server,
}

impl Lb {
    /// Starts on a configuration; panics with its problems if it has any.
    pub async fn start(config: &str) -> Self {
        Self::try_start(config).await.unwrap()
    }

    /// Starts on a configuration that is changed after it was parsed.
    pub async fn start_with(config: &str, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = checked(config);
        change(&mut config);
        let server = soon("the start", Server::start(config)).await.unwrap();
        Self { server }
    }

    pub async fn try_start(config: &str) -> Result<Self, ApplyError> {
        let started = soon("the start", Server::start(checked(config))).await;
        Ok(Self { server: started? })
    }

    /// Starts on a file, and on those that it names.
    pub async fn start_file(path: &Path) -> Self {
        let config = load(path).unwrap().config;
        let server = soon("the start", Server::start(config)).await.unwrap();
        Self { server }
    }

    /// Reads a file again, and those that it names.
    pub async fn reload_file(&mut self, path: &Path) -> Diff {
        let config = load(path).unwrap().config;
        self.server.reload(config).await.unwrap()
    }

    /// The address of the only listener, or of the first by name.
    pub fn addr(&self) -> SocketAddr {
        let endpoint = self.server.addresses().next().expect("a listener").1;
        endpoint.address().expect("a listener with an address")
    }

    /// The address of a listener by its name.
    pub fn addr_of(&self, name: &str) -> SocketAddr {
        let mut all = self.server.addresses();
        let found = all.find(|(id, _)| &*id.0 == name);
        let endpoint = found.expect("a listener of that name").1;
        endpoint.address().expect("a listener with an address")
    }

    pub fn admin_addr(&self) -> SocketAddr {
        self.server.admin_address().expect("an admin listener")
    }

    /// GET on a connection of its own.
    pub async fn get(&self, path: &str) -> Reply {
        self.connect().await.get(path).await
    }

    /// A kept-alive connection to the first listener.
    pub async fn connect(&self) -> Connection {
        Connection::open(self.addr()).await
    }

    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.server.reader().load_full()
    }

    /// The live state of a target.
    pub fn target(&self, group: &str, addr: impl Into<Endpoint>) -> Option<Arc<Target>> {
        let addr = addr.into();
        let snapshot = self.snapshot();
        let group = snapshot.group_named(&group.into())?;
        group
            .targets
            .iter()
            .find(|registered| registered.target.id.addr == addr)
            .map(|registered| Arc::clone(&registered.target))
    }

    /// Waits until a target has this health, and the roster has it too.
    pub async fn until_health(&self, group: &str, addr: impl Into<Endpoint>, health: Health) {
        let addr = addr.into();
        eventually(&format!("{group}/{addr} {health:?}"), || async {
            let now = self
                .target(group, addr.clone())
                .map(|target| target.health().now());
            // The record of the target changes before the roster does.
            let picked = self.snapshot();
            let eligible = picked.group_named(&group.into()).is_some_and(|group| {
                group.selection.as_ref().is_some_and(|selection| {
                    let mut members = selection.roster.members().iter();
                    members.any(|member| member.target.id.addr == addr)
                })
            });
            let settled = match health {
                Health::Healthy => eligible,
                Health::Initial => true,
                Health::Unhealthy => {
                    !eligible
                        || picked
                            .group_named(&group.into())
                            .is_some_and(|g| g.failing_open)
                }
            };
            (now == Some(health) && settled)
                .then_some(())
                .ok_or_else(|| format!("{now:?}, eligible: {eligible}"))
        })
        .await;
    }

    pub async fn reload(&mut self, config: &str) -> Result<Diff, ApplyError> {
        self.server.reload(checked(config)).await
    }

    /// Client connections now open.
    pub fn connections(&self) -> usize {
        self.server.connections()
    }

    /// Shuts down; returns whether it was graceful.
    pub async fn shutdown(self) -> bool {
        soon("the shutdown", self.server.shutdown(std::future::pending())).await
    }

    /// Shuts down, with a second signal when `abort` resolves.
    pub async fn shutdown_unless(self, abort: impl Future<Output = ()>) -> bool {
        soon("the shutdown", self.server.shutdown(abort)).await
    }
}

/// The text as a checked configuration.
fn checked(text: &str) -> Config {
    let parsed = parse("test.toml", text, &|_| None);
    match parsed {
        Ok(parsed) => parsed.config,
        Err(problems) => panic!("the test's configuration is wrong:\n{problems}"),
    }
}
