//! Swarm's services and tasks, as far as Weir reads them. Pure.

use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::config::SwarmRunner;
use crate::replicas::ProviderError;
use crate::replicas::docker_engine::{Limits, nonsense};

/// A service as the engine answered.
#[derive(Clone, Debug)]
pub(super) struct Service {
    pub(super) id: String,
    /// What an update must name.
    pub(super) version: u64,
    /// All of it, also what Weir knows nothing of: it goes back as it came. Another task
    /// template would restart every task.
    spec: Value,
    /// How many tasks there should be.
    pub(super) replicas: u32,
    /// The stack that it was deployed with.
    pub(super) stack: Option<String>,
}

/// What `docker stack` puts on all that belongs to a stack, and removes with it.
pub(super) const STACK: &str = "com.docker.stack.namespace";

/// A task that is meant to run.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Task {
    pub(super) id: String,
    /// As `docker ps` shows its container.
    pub(super) name: String,
    /// In the form of RFC 3339, which sorts by time.
    pub(super) created: String,
    pub(super) node: String,
    pub(super) container: Option<String>,
    pub(super) limits: Limits,
    pub(super) address: Option<SocketAddr>,
    /// Whether its container runs and passes the image's health check, if there is one.
    pub(super) is_running: bool,
    /// When it got into this state.
    pub(super) since: SystemTime,
}

impl Service {
    /// Reads what `GET /services/NAME` answers.
    pub(super) fn read(mut value: Value, name: &str) -> Result<Self, ProviderError> {
        let read = || {
            let id = value["ID"].as_str()?.to_owned();
            Some((id, value["Version"]["Index"].as_u64()?))
        };
        let (id, version) = read().ok_or_else(|| nonsense("a service without ID or version"))?;
        let spec = value.get_mut("Spec").map(Value::take).unwrap_or_default();
        // An object: another number is put into it.
        let Some(mode) = spec["Mode"]["Replicated"].as_object() else {
            let text = format!("the service `{name}` is not replicated");
            return Err(ProviderError::Refused(text));
        };
        // Without a number there is one.
        let replicas = mode.get("Replicas").and_then(Value::as_u64).unwrap_or(1);
        Ok(Self {
            id,
            version,
            replicas: u32::try_from(replicas).map_err(nonsense)?,
            stack: spec["Labels"][STACK].as_str().map(str::to_owned),
            spec,
        })
    }

    /// The specification with another number of tasks, and nothing else changed.
    pub(super) fn with_replicas(&self, count: u32) -> Value {
        let mut spec = self.spec.clone();
        spec["Mode"]["Replicated"]["Replicas"] = count.into();
        spec
    }
}

impl Task {
    /// Those of `GET /tasks` that are meant to run and have not ended, oldest first.
    pub(super) fn read(
        tasks: Vec<Raw>,
        settings: &SwarmRunner,
    ) -> Result<Vec<Self>, ProviderError> {
        let all = tasks.len();
        let alive: Vec<Raw> = tasks.into_iter().filter(Raw::is_meant_to_run).collect();
        let mut read: Vec<Self> = alive
            .into_iter()
            .map(|task| task.understand(settings))
            .collect();
        read.sort_by(|a, b| (&a.created, &a.id).cmp(&(&b.created, &b.id)));
        let is_astray = |task: &&Self| task.is_running && task.address.is_none();
        let astray = read.iter().filter(is_astray).count();
        let is_lost = astray > 0 && read.iter().all(|task| task.address.is_none());
        if is_lost {
            return Err(ProviderError::Refused(format!(
                "none of {all} tasks of `{}` is on the network `{}`",
                settings.service, settings.network
            )));
        }
        Ok(read)
    }
}

/// A task in the engine's words. Everything but the ID may be missing in some state.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Raw {
    #[serde(rename = "ID")]
    id: String,
    #[serde(default)]
    created_at: String,
    #[serde(default)]
    slot: u64,
    #[serde(rename = "NodeID", default)]
    node_id: String,
    #[serde(default)]
    status: Status,
    #[serde(default)]
    desired_state: String,
    networks_attachments: Option<Vec<Attachment>>,
    #[serde(default)]
    spec: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Status {
    timestamp: String,
    state: String,
    #[serde(rename = "ContainerStatus")]
    container: Option<Container>,
}

#[derive(Debug, Deserialize)]
struct Container {
    #[serde(rename = "ContainerID", default)]
    id: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Attachment {
    #[serde(default)]
    network: Value,
    addresses: Option<Vec<String>>,
}

impl Raw {
    fn is_meant_to_run(&self) -> bool {
        let is_over = matches!(
            self.status.state.as_str(),
            "complete" | "shutdown" | "failed" | "rejected" | "remove" | "orphaned"
        );
        self.desired_state == "running" && !is_over
    }

    fn understand(self, settings: &SwarmRunner) -> Task {
        let address = self.address(settings);
        let limits = &self.spec["Resources"]["Limits"];
        let is_limit = |number: &u64| *number > 0;
        let container = self.status.container.map(|container| container.id);
        Task {
            name: format!("{}.{}.{}", settings.service, self.slot, self.id),
            created: self.created_at,
            node: self.node_id,
            container: container.filter(|id| !id.is_empty()),
            limits: Limits {
                cpus: limits["NanoCPUs"]
                    .as_u64()
                    .filter(is_limit)
                    .map(|n| n as f64 / 1e9),
                memory: limits["MemoryBytes"].as_u64().filter(is_limit),
            },
            address,
            is_running: self.status.state == "running",
            since: time(&self.status.timestamp),
            id: self.id,
        }
    }

    /// Its address on the network that Weir shares with it.
    fn address(&self, settings: &SwarmRunner) -> Option<SocketAddr> {
        let is_ours = |network: &Value| {
            let name = network["Spec"]["Name"].as_str();
            let id = network["ID"].as_str();
            [name, id].contains(&Some(settings.network.as_str()))
        };
        let attachments = self.networks_attachments.iter().flatten();
        let ours = attachments.filter(|attachment| is_ours(&attachment.network));
        let addresses = ours.filter_map(|attachment| attachment.addresses.as_ref());
        let ips = addresses.flatten().filter_map(|text| ip(text));
        ips.map(|ip| SocketAddr::new(ip, settings.port)).next()
    }
}

/// `10.0.1.5/24`.
fn ip(text: &str) -> Option<IpAddr> {
    text.split('/').next()?.parse().ok()
}

fn time(text: &str) -> SystemTime {
    let time: Option<Timestamp> = text.parse().ok();
    time.map_or(SystemTime::UNIX_EPOCH, SystemTime::from)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Result<Service, String> {
        Service::read(value, "todo").map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_no_service_is_refused() {
        let of_mode =
            |mode: Value| json!({"ID": "s", "Version": {"Index": 1}, "Spec": {"Mode": mode}});
        for odd in [json!([]), json!("todo"), json!(7), json!(null), json!({})] {
            let error = read(odd).unwrap_err();
            assert!(error.contains("a service without ID or version"), "{error}");
        }
        for mode in [
            json!(null),
            json!([]),
            json!({"Replicated": [1]}),
            json!({"Replicated": "3"}),
            json!({"Global": {}}),
        ] {
            let error = read(of_mode(mode)).unwrap_err();
            assert!(error.ends_with("`todo` is not replicated"), "{error}");
        }
        let bare = read(of_mode(json!({"Replicated": {}}))).unwrap();
        assert_eq!(bare.replicas, 1);
        let wanted = bare.with_replicas(3);
        assert_eq!(wanted, json!({"Mode": {"Replicated": {"Replicas": 3}}}));
    }
}
