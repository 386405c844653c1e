//! The calls of the engine about one container: create, start, list, stop.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bollard::models::{
    ContainerCreateBody, ContainerSummary, ContainerSummaryStateEnum as State, HostConfig,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, ListContainersOptionsBuilder, RemoveContainerOptionsBuilder,
    StopContainerOptionsBuilder,
};
use tokio::time::sleep;

use crate::config::DockerRunner;
use crate::replicas::ProviderError;
use crate::replicas::docker_engine::{
    CALL_TIMEOUT, Engine, MOST_REPLICAS, none_if_missing, nonsense, within,
};

/// Label: the group that a container serves.
const GROUP: &str = "io.weir.group";

/// Label: the process that started it, see [`Owner`](super::owner::Owner).
const OWNER: &str = "io.weir.owner";

/// For an engine under load to create or to start a container.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// What the engine may take longer than a container's own time to stop.
const STOP_MARGIN: Duration = Duration::from_secs(30);

/// Between attempts to stop a container while its engine does not answer.
const STOP_INTERVAL: Duration = Duration::from_secs(2);

/// A container as the engine lists it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ListedContainer {
    pub(super) name: String,
    pub(super) id: String,
    pub(super) owner: String,
    pub(super) is_alive: bool,
    /// Such as "Exited (1) 2 seconds ago".
    pub(super) status: String,
    pub(super) address: Option<SocketAddr>,
}

/// A container to be started: its name and labels.
#[derive(Clone, Debug)]
pub(super) struct NewContainer {
    pub(super) name: String,
    pub(super) group: String,
    pub(super) owner: String,
}

/// All containers of a group, whichever process started them, also those that have exited.
pub(super) async fn list(
    engine: &Engine,
    group: &str,
    runner: &DockerRunner,
) -> Result<Vec<ListedContainer>, ProviderError> {
    let filters = HashMap::from([("label".to_owned(), vec![format!("{GROUP}={group}")])]);
    let options = ListContainersOptionsBuilder::new()
        .all(true)
        .filters(&filters);
    let list = engine.docker().list_containers(Some(options.build()));
    let list = within(CALL_TIMEOUT, list).await?;
    if list.len() > MOST_REPLICAS {
        return Err(nonsense(format!("{} containers", list.len())));
    }
    Ok(list
        .into_iter()
        .filter_map(|container| listed(container, runner))
        .collect())
}

fn listed(container: ContainerSummary, runner: &DockerRunner) -> Option<ListedContainer> {
    let address = address(&container, runner);
    let labels = container.labels.unwrap_or_default();
    let name = container.names?.into_iter().next()?;
    Some(ListedContainer {
        name: name.trim_start_matches('/').to_owned(),
        id: container.id?,
        owner: labels.get(OWNER).cloned().unwrap_or_default(),
        is_alive: matches!(
            container.state,
            Some(State::RUNNING | State::PAUSED | State::RESTARTING | State::STOPPING)
        ),
        status: container.status.unwrap_or_default(),
        address,
    })
}

fn address(container: &ContainerSummary, runner: &DockerRunner) -> Option<SocketAddr> {
    let networks = container.network_settings.as_ref()?.networks.as_ref()?;
    let (_, endpoint) = networks.iter().find(|(name, endpoint)| {
        let id = endpoint.network_id.as_deref();
        [Some(name.as_str()), id].contains(&Some(runner.network.as_str()))
    })?;
    let ip: IpAddr = [&endpoint.ip_address, &endpoint.global_ipv6_address]
        .into_iter()
        .flatten()
        .find_map(|ip| ip.parse().ok())?;
    Some(SocketAddr::new(ip, runner.port))
}

/// Fails unless the image and the network that the containers need exist.
pub(super) async fn check(engine: &Engine, runner: &DockerRunner) -> Result<(), ProviderError> {
    let (image, network) = (&runner.image, &runner.network);
    let found = async { none_if_missing(engine.docker().inspect_image(image).await) };
    if within(CALL_TIMEOUT, found).await?.is_none() {
        let text = format!("there is no image `{image}`, and Weir does not pull any");
        return Err(ProviderError::Refused(text));
    }
    let found = async { none_if_missing(engine.docker().inspect_network(network, None).await) };
    if within(CALL_TIMEOUT, found).await?.is_none() {
        let text = format!("there is no network `{network}`");
        return Err(ProviderError::Refused(text));
    }
    Ok(())
}

/// Creates and starts a container. One of the same name that has exited is removed before.
pub(super) async fn start(
    engine: &Engine,
    container: &NewContainer,
    runner: &DockerRunner,
) -> Result<(), ProviderError> {
    remove(engine, &container.name).await?;
    let options = CreateContainerOptionsBuilder::new().name(&container.name);
    let body = body(container, runner);
    let docker = engine.docker().clone().with_timeout(START_TIMEOUT);
    within(
        START_TIMEOUT,
        docker.create_container(Some(options.build()), body),
    )
    .await?;
    let started = within(START_TIMEOUT, docker.start_container(&container.name, None)).await;
    if started.is_err() {
        // If this fails as well, the next start removes it.
        let _ = remove(engine, &container.name).await;
    }
    started
}

fn body(container: &NewContainer, runner: &DockerRunner) -> ContainerCreateBody {
    let labels = [(GROUP, &container.group), (OWNER, &container.owner)];
    let env = runner
        .env
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    ContainerCreateBody {
        image: Some(runner.image.clone()),
        cmd: (!runner.command.is_empty()).then(|| runner.command.clone()),
        env: Some(env.collect()),
        labels: Some(
            labels
                .map(|(key, value)| (key.to_owned(), value.clone()))
                .into(),
        ),
        stop_timeout: Some(seconds(runner).into()),
        host_config: Some(HostConfig {
            binds: Some(runner.volumes.clone()),
            network_mode: Some(runner.network.clone()),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}

/// Stops and removes a container, however long it takes: SIGTERM, and SIGKILL when `stop_timeout`
/// has passed. Returns when it is removed.
pub(super) async fn stop(engine: &Engine, name: &str, runner: &DockerRunner) {
    while let Err(error) = try_stop(engine, name, runner).await {
        tracing::warn!(container = name, %error, "cannot stop a container, trying again in {STOP_INTERVAL:?}");
        sleep(STOP_INTERVAL).await;
    }
}

async fn try_stop(engine: &Engine, name: &str, runner: &DockerRunner) -> Result<(), ProviderError> {
    let options = StopContainerOptionsBuilder::new()
        .t(seconds(runner))
        .build();
    let limit = runner.stop_timeout + STOP_MARGIN;
    let docker = engine.docker().clone().with_timeout(limit);
    let stopped = async { none_if_missing(docker.stop_container(name, Some(options)).await) };
    within(limit, stopped).await?;
    remove(engine, name).await
}

/// Removes a container, if it exists, and its anonymous volumes.
async fn remove(engine: &Engine, name: &str) -> Result<(), ProviderError> {
    let options = RemoveContainerOptionsBuilder::new()
        .force(true)
        .v(true)
        .build();
    let docker = engine.docker().clone().with_timeout(STOP_MARGIN);
    let removed = async { none_if_missing(docker.remove_container(name, Some(options)).await) };
    within(STOP_MARGIN, removed).await?;
    Ok(())
}

/// `stop_timeout` in whole seconds, which is what the engine counts in, rounded up.
fn seconds(runner: &DockerRunner) -> i32 {
    runner.stop_timeout.as_secs_f64().ceil() as i32
}
