//! The services and tasks of Swarm, as far as Weir reads them. Pure.

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
    /// The version that an update must name.
    pub(super) version: u64,
    /// The whole specification, also the fields that Weir does not know: it goes back as it came.
    /// Another task template would restart every task.
    spec: Value,
    /// The desired number of tasks.
    pub(super) replicas: u32,
    /// The stack that the service was deployed with.
    pub(super) stack: Option<String>,
}

/// The label that `docker stack` puts on all that belongs to a stack, and removes with it.
pub(super) const STACK: &str = "com.docker.stack.namespace";

/// A task that should run.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Task {
    pub(super) id: String,
    /// As `docker ps` shows its container.
    pub(super) name: String,
    /// A time as in RFC 3339, which sorts by time.
    pub(super) created: String,
    pub(super) node: String,
    pub(super) container: Option<String>,
    pub(super) limits: Limits,
    pub(super) address: Option<SocketAddr>,
    /// Whether its container runs and passes the image's health check, if there is one.
    pub(super) is_running: bool,
    /// When it entered this state.
    pub(super) since: SystemTime,
}

impl Service {
    /// Reads the answer of `GET /services/NAME`.
    pub(super) fn read(mut value: Value, name: &str) -> Result<Self, ProviderError> {
        let id = value["ID"].as_str().map(str::to_owned);
        let version = value["Version"]["Index"].as_u64();
        let (id, version) = id
            .zip(version)
            .ok_or_else(|| nonsense("a service without ID or version"))?;
        let spec = value.get_mut("Spec").map(Value::take).unwrap_or_default();
        // An object, since another number is to be put into it.
        let Some(mode) = spec["Mode"]["Replicated"].as_object() else {
            let text = format!("the service `{name}` is not replicated");
            return Err(ProviderError::Refused(text));
        };
        // The API's default is one replica.
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
    /// The tasks of `GET /tasks` that should run and have not ended, oldest first.
    pub(super) fn read(
        tasks: Vec<RawTask>,
        settings: &SwarmRunner,
    ) -> Result<Vec<Self>, ProviderError> {
        let all = tasks.len();
        let mut read: Vec<Self> = tasks
            .into_iter()
            .filter(RawTask::should_run)
            .map(|task| task.into_task(settings))
            .collect();
        read.sort_by(|a, b| (&a.created, &a.id).cmp(&(&b.created, &b.id)));
        let has_running = read.iter().any(|task| task.is_running);
        if has_running && read.iter().all(|task| task.address.is_none()) {
            return Err(ProviderError::Refused(format!(
                "none of {all} tasks of `{}` is on the network `{}`",
                settings.service, settings.network
            )));
        }
        Ok(read)
    }
}

/// A task as the engine lists it. Each field but the ID may be missing in some state.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct RawTask {
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

impl RawTask {
    fn should_run(&self) -> bool {
        let has_ended = matches!(
            self.status.state.as_str(),
            "complete" | "shutdown" | "failed" | "rejected" | "remove" | "orphaned"
        );
        self.desired_state == "running" && !has_ended
    }

    fn into_task(self, settings: &SwarmRunner) -> Task {
        let address = self.address(settings);
        let limits = &self.spec["Resources"]["Limits"];
        let limit = |name: &str| limits[name].as_u64().filter(|limit| *limit > 0);
        Task {
            name: format!("{}.{}.{}", settings.service, self.slot, self.id),
            created: self.created_at,
            node: self.node_id,
            container: self
                .status
                .container
                .map(|container| container.id)
                .filter(|id| !id.is_empty()),
            limits: Limits {
                cpus: limit("NanoCPUs").map(|cpus| cpus as f64 / 1e9),
                memory: limit("MemoryBytes"),
            },
            address,
            is_running: self.status.state == "running",
            since: time(&self.status.timestamp),
            id: self.id,
        }
    }

    /// The task's address on the network that Weir shares with it.
    fn address(&self, settings: &SwarmRunner) -> Option<SocketAddr> {
        let is_shared = |network: &Value| {
            let name = network["Spec"]["Name"].as_str();
            let id = network["ID"].as_str();
            [name, id].contains(&Some(settings.network.as_str()))
        };
        self.networks_attachments
            .iter()
            .flatten()
            .filter(|attachment| is_shared(&attachment.network))
            .filter_map(|attachment| attachment.addresses.as_ref())
            .flatten()
            .find_map(|text| ip(text))
            .map(|ip| SocketAddr::new(ip, settings.port))
    }
}

/// The address of `10.0.1.5/24`.
fn ip(text: &str) -> Option<IpAddr> {
    text.split('/').next()?.parse().ok()
}

fn time(text: &str) -> SystemTime {
    text.parse()
        .map_or(SystemTime::UNIX_EPOCH, |time: Timestamp| time.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Result<Service, String> {
        Service::read(value, "todo").map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_not_a_service_is_refused() {
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
