//! One container: what it is made from, how it is started and how it is stopped.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bollard::errors::Error;
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
use crate::replicas::docker_engine::{Engine, LIMIT, MOST_REPLICAS, is_missing, nonsense, within};

/// The group that a container serves.
const GROUP: &str = "io.weir.group";

/// The Weir that started it.
const OWNER: &str = "io.weir.owner";

/// For an engine under load to make and start a container.
const START: Duration = Duration::from_secs(60);

/// What the engine may take longer than a container's own time to stop.
const STOP: Duration = Duration::from_secs(30);

/// Between attempts to stop a container whose engine does not answer.
const AGAIN: Duration = Duration::from_secs(2);

/// A container as the engine lists it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seen {
    pub(super) name: String,
    pub(super) id: String,
    pub(super) owner: String,
    pub(super) is_alive: bool,
    /// Such as "Exited (1) 2 seconds ago".
    pub(super) status: String,
    pub(super) address: Option<SocketAddr>,
}

/// A container to be started.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) name: String,
    pub(super) group: String,
    pub(super) owner: String,
}

/// All containers of a group, of any Weir, also those that have ended.
pub(super) async fn list(
    engine: &Engine,
    group: &str,
    runner: &DockerRunner,
) -> Result<Vec<Seen>, ProviderError> {
    let filters = HashMap::from([("label", vec![format!("{GROUP}={group}")])]);
    let filters: HashMap<String, Vec<String>> = filters
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
    let options = ListContainersOptionsBuilder::new()
        .all(true)
        .filters(&filters);
    let list = engine.docker().list_containers(Some(options.build()));
    let list = within(LIMIT, list).await?;
    if list.len() > MOST_REPLICAS {
        return Err(nonsense(format!("{} containers", list.len())));
    }
    Ok(list.into_iter().filter_map(|c| seen(c, runner)).collect())
}

fn seen(container: ContainerSummary, runner: &DockerRunner) -> Option<Seen> {
    let address = address(&container, runner);
    let labels = container.labels.unwrap_or_default();
    let name = container.names?.into_iter().next()?;
    Some(Seen {
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
    let mut ours = networks.iter().filter(|(name, endpoint)| {
        let id = endpoint.network_id.as_deref();
        [Some(name.as_str()), id].contains(&Some(runner.network.as_str()))
    });
    let (_, endpoint) = ours.next()?;
    let addresses = [&endpoint.ip_address, &endpoint.global_ipv6_address];
    let mut ips = addresses
        .into_iter()
        .flatten()
        .filter_map(|ip| ip.parse().ok());
    ips.next()
        .map(|ip: IpAddr| SocketAddr::new(ip, runner.port))
}

/// Whether there are the image and the network that the containers need.
pub(super) async fn check(engine: &Engine, runner: &DockerRunner) -> Result<(), ProviderError> {
    let (image, network) = (&runner.image, &runner.network);
    if !exists(engine.docker().inspect_image(image)).await? {
        let text = format!("there is no image `{image}`, and Weir does not pull any");
        return Err(ProviderError::Refused(text));
    }
    if !exists(engine.docker().inspect_network(network, None)).await? {
        let text = format!("there is no network `{network}`");
        return Err(ProviderError::Refused(text));
    }
    Ok(())
}

fn exists<'a, T: 'a>(
    call: impl Future<Output = Result<T, Error>> + Send + 'a,
) -> impl Future<Output = Result<bool, ProviderError>> + Send + 'a {
    within(LIMIT, async {
        match call.await {
            Ok(_) => Ok(true),
            Err(error) => none_is(error, false),
        }
    })
}

/// Makes and starts a container. One of the same name that has ended makes room.
pub(super) async fn start(
    engine: &Engine,
    order: &Order,
    runner: &DockerRunner,
) -> Result<(), ProviderError> {
    remove(engine, &order.name).await?;
    let options = CreateContainerOptionsBuilder::new().name(&order.name);
    let body = body(order, runner);
    let docker = engine.docker().clone().with_timeout(START);
    within(START, docker.create_container(Some(options.build()), body)).await?;
    let started = within(START, docker.start_container(&order.name, None)).await;
    if started.is_err() {
        // Nobody needs it. If this fails as well, the next start tries again.
        let _ = remove(engine, &order.name).await;
    }
    started
}

fn body(order: &Order, runner: &DockerRunner) -> ContainerCreateBody {
    let labels = [(GROUP, &order.group), (OWNER, &order.owner)];
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

/// Stops and removes a container, however long it takes: SIGTERM, and SIGKILL when its time
/// is over. Ends when it is gone.
pub(super) async fn stop(engine: &Engine, name: &str, runner: &DockerRunner) {
    while let Err(error) = try_stop(engine, name, runner).await {
        tracing::warn!(container = name, %error, "cannot stop a container, trying again");
        sleep(AGAIN).await;
    }
}

async fn try_stop(engine: &Engine, name: &str, runner: &DockerRunner) -> Result<(), ProviderError> {
    let options = StopContainerOptionsBuilder::new()
        .t(seconds(runner))
        .build();
    let limit = runner.stop_timeout + STOP;
    let docker = engine.docker().clone().with_timeout(limit);
    let stopped = async {
        match docker.stop_container(name, Some(options)).await {
            Ok(()) => Ok(()),
            Err(error) => none_is(error, ()),
        }
    };
    within(limit, stopped).await?;
    remove(engine, name).await
}

/// Removes a container and the volumes without name that it had.
async fn remove(engine: &Engine, name: &str) -> Result<(), ProviderError> {
    let options = RemoveContainerOptionsBuilder::new()
        .force(true)
        .v(true)
        .build();
    let docker = engine.docker().clone().with_timeout(STOP);
    let removed = async {
        match docker.remove_container(name, Some(options)).await {
            Ok(()) => Ok(()),
            Err(error) => none_is(error, ()),
        }
    };
    within(STOP, removed).await
}

fn none_is<T>(error: Error, value: T) -> Result<T, Error> {
    if is_missing(&error) {
        Ok(value)
    } else {
        Err(error)
    }
}

/// The engine counts in whole seconds; a container has not less than it was promised.
fn seconds(runner: &DockerRunner) -> i32 {
    let seconds = runner.stop_timeout.as_secs_f64().ceil();
    seconds as i32
}
