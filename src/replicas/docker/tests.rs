use std::time::Duration;

use bollard::query_parameters::KillContainerOptions;
use serde_json::json;
use tokio::time::pause;

use super::*;
use crate::replicas::ReplicaState;
use crate::replicas::docker_engine::fake::Fake;
use crate::replicas::docker_engine::real;
use crate::replicas::fixture::processes;

fn settings(host: String, image: &str) -> Replicas {
    Replicas {
        runner: Runner::Docker(DockerRunner {
            host,
            image: image.to_owned(),
            command: Vec::new(),
            env: vec![("COLOUR".to_owned(), "red".to_owned())],
            network: real::NETWORK.to_owned(),
            port: real::PORT,
            volumes: Vec::new(),
            stop_timeout: Duration::from_millis(4500),
        }),
        ..processes(0, &[])
    }
}

fn runner(settings: &mut Replicas) -> &mut DockerRunner {
    match &mut settings.runner {
        Runner::Docker(runner) => runner,
        other => panic!("no containers: {other:?}"),
    }
}

/// An engine on which each container that is started runs, without an open port.
fn engine() -> Fake {
    let mut containers = Vec::new();
    Fake::start(move |request| match request.call().as_str() {
        "GET /version" => (200, json!({"ApiVersion": "1.41"}).to_string()),
        "GET /images/taskoverflow/json" | "GET /networks/weir-test" => (200, "{}".to_owned()),
        "GET /containers/json" => (200, json!(containers).to_string()),
        "POST /containers/create" => {
            let query = request.query().trim_start_matches("name=");
            let name = query.split('&').next().unwrap().to_owned();
            let labels = &request.body()["Labels"];
            let container = json!({
                "Id": name, "Names": [format!("/{name}")], "State": "running", "Labels": labels,
                "NetworkSettings": {"Networks": {"weir-test": {"IPAddress": "127.0.0.1"}}},
            });
            containers.push(container);
            (201, json!({"Id": name, "Warnings": []}).to_string())
        }
        call if call.starts_with("POST") => (204, String::new()),
        call if call.starts_with("DELETE") => {
            let name = call.rsplit('/').next().unwrap();
            containers.retain(|container| container["Id"] != name);
            (204, String::new())
        }
        call => (404, json!({"message": format!("no {call}")}).to_string()),
    })
}

async fn docker(fake: &Fake, count: u32) -> Docker {
    let mut docker = Docker::new("to do".into());
    let settings = settings(fake.host(), real::IMAGE);
    docker.configure(&settings).await.unwrap();
    docker.set_count(count, &[]).await.unwrap();
    docker
}

fn all(fleet: &Fleet, state: ReplicaState) -> bool {
    fleet.replicas.iter().all(|replica| replica.state == state)
}

#[tokio::test]
async fn containers_are_made_as_configured_and_labelled() {
    let fake = engine();
    let mut docker = docker(&fake, 2).await;
    real::eventually(&mut docker, |fleet| {
        fleet
            .replicas
            .iter()
            .filter(|r| r.address.is_some())
            .count()
            == 2
    })
    .await;
    let requests = fake.received();
    let created: Vec<_> = requests
        .iter()
        .filter(|request| request.path().ends_with("/create"))
        .collect();
    assert_eq!(created.len(), 2);
    let body = created[0].body();
    assert_eq!(body["Env"], json!(["COLOUR=red"]));
    assert_eq!(body["StopTimeout"], 5, "rounded up");
    assert_eq!(body["HostConfig"]["NetworkMode"], "weir-test");
    assert_eq!(body["Labels"]["io.weir.group"], "to do");
    assert_eq!(
        body["Labels"]["io.weir.owner"],
        Owner::this_process().to_string()
    );
    assert!(
        created[0].query().starts_with("name=weir-to-do-"),
        "{created:?}"
    );
}

#[tokio::test]
async fn a_missing_image_is_an_error_and_changes_nothing() {
    let fake = engine();
    let mut docker = docker(&fake, 1).await;
    docker.fleet().await.unwrap();
    let other = settings(fake.host(), "another");
    let error = docker.configure(&other).await.unwrap_err().to_string();
    assert!(error.contains("there is no image `another`"), "{error}");
    let fleet = docker.fleet().await.unwrap();
    assert_eq!((fleet.replicas.len(), fleet.desired), (1, 1));
}

#[tokio::test]
async fn an_engine_that_is_down_is_a_fault_and_nothing_is_forgotten() {
    let fake = engine();
    let mut docker = docker(&fake, 1).await;
    let up = |fleet: &Fleet| fleet.replicas.iter().any(|r| r.address.is_some());
    let before = real::eventually(&mut docker, up).await;
    let host = fake.host();
    drop(fake);
    let error = docker.fleet().await.unwrap_err();
    assert!(
        matches!(error, ProviderError::Unreachable(_)),
        "{error} {host}"
    );
    assert_eq!(docker.replicas.len(), before.replicas.len());
}

#[tokio::test]
async fn an_engine_that_does_not_answer_is_a_fault_after_a_while() {
    let fake = Fake::start(|request| match request.path() {
        "/version" => (200, json!({"ApiVersion": "1.41"}).to_string()),
        _ => (0, String::new()),
    });
    let mut docker = Docker::new("todo".into());
    pause();
    let error = docker
        .configure(&settings(fake.host(), real::IMAGE))
        .await
        .unwrap_err();
    assert!(matches!(error, ProviderError::Unreachable(_)), "{error}");
}

#[tokio::test]
async fn containers_of_a_running_weir_are_left_alone_and_those_of_an_ended_one_replaced() {
    let own = Owner::this_process().to_string();
    let (base, started) = own.rsplit_once('/').unwrap();
    let ended = format!("{base}/{}", started.parse::<u64>().unwrap() - 1);
    let list = json!([
        {"Id": "1", "Names": ["/old"], "State": "running", "Labels": {"io.weir.owner": ended}},
        {"Id": "2", "Names": ["/other"], "State": "running", "Labels": {"io.weir.owner": "elsewhere/1/2"}},
        {"Id": "3", "Names": ["/odd"], "State": "running", "Labels": {}},
    ]);
    let fake = Fake::start(move |request| match request.call().as_str() {
        "GET /version" => (200, json!({"ApiVersion": "1.41"}).to_string()),
        "GET /containers/json" => (200, list.to_string()),
        _ => (200, "{}".to_owned()),
    });
    let mut docker = docker(&fake, 0).await;
    docker.fleet().await.unwrap();
    let names: Vec<&str> = docker.replicas.values().map(|r| r.name.as_str()).collect();
    assert_eq!(names, ["old"]);
}

// ---- With a real engine ------------------------------------------------------------

fn running(count: usize) -> impl Fn(&Fleet) -> bool {
    move |fleet| fleet.replicas.len() == count && all(fleet, ReplicaState::Running)
}

async fn real_docker(group: &str) -> Option<(Docker, Replicas, Engine)> {
    let host = real::host()?;
    let engine = Engine::connect(&host).await.unwrap();
    let settings = settings(host, real::IMAGE);
    let mut docker = Docker::new(group.into());
    docker.configure(&settings).await.unwrap();
    Some((docker, settings, engine))
}

/// Releases what drains until no replica is left.
async fn end(mut docker: Docker) {
    docker.set_count(0, &[]).await.unwrap();
    let draining = real::eventually(&mut docker, |f| {
        !f.replicas.iter().any(|r| r.state == ReplicaState::Running)
    })
    .await;
    for replica in draining.replicas {
        docker.release(replica.id).await.unwrap();
    }
    real::eventually(&mut docker, |fleet| fleet.replicas.is_empty()).await;
}

#[tokio::test]
async fn real_containers_come_and_go_as_wanted() {
    let Some((mut docker, mut settings, engine)) = real_docker("weir-test-own").await else {
        return;
    };
    docker.set_count(2, &[]).await.unwrap();
    let two = real::eventually(&mut docker, running(2)).await;

    let killed = two.replicas[0].name.clone().unwrap();
    let kill = engine
        .docker()
        .kill_container(&killed, None::<KillContainerOptions>);
    kill.await.unwrap();
    let again = |fleet: &Fleet| running(2)(fleet) && fleet.replicas[0].restarts == 1;
    real::eventually(&mut docker, again).await;

    docker.usage().await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let usage = docker.usage().await.unwrap();
    assert!(
        usage.len() == 2 && usage.iter().all(|(_, u)| u.cpu.is_some()),
        "{usage:?}"
    );

    let oldest = two.replicas[0].id;
    docker.set_count(1, &[oldest]).await.unwrap();
    let drains = |fleet: &Fleet| fleet.replicas[0].state == ReplicaState::Draining;
    real::eventually(&mut docker, drains).await;
    docker.release(oldest).await.unwrap();
    let left = real::eventually(&mut docker, running(1)).await;
    assert_eq!(left.replicas[0].id, two.replicas[1].id);

    runner(&mut settings).env.clear();
    docker.configure(&settings).await.unwrap();
    let beside = |fleet: &Fleet| {
        fleet.replicas.len() == 2 && fleet.replicas[0].state == ReplicaState::Draining
    };
    let rolled = real::eventually(&mut docker, beside).await;
    assert_eq!(rolled.replicas[1].state, ReplicaState::Running);
    docker.release(rolled.replicas[0].id).await.unwrap();
    real::eventually(&mut docker, running(1)).await;

    end(docker).await;
    let left = container::list(&engine, "weir-test-own", runner(&mut settings)).await;
    assert_eq!(left.unwrap(), []);
}

#[tokio::test]
async fn what_a_killed_weir_left_behind_serves_until_it_is_replaced() {
    let Some((mut killed, mut settings, engine)) = real_docker("weir-test-left").await else {
        return;
    };
    // Its process has ended: the id is this one's, the time of its start is not.
    let owner = Owner::this_process().to_string();
    let (base, _) = owner.rsplit_once('/').unwrap();
    killed.owner = Owner::parse(&format!("{base}/1")).unwrap();
    killed.set_count(1, &[]).await.unwrap();
    real::eventually(&mut killed, running(1)).await;
    drop(killed);

    let mut docker = Docker::new("weir-test-left".into());
    docker.configure(&settings).await.unwrap();
    docker.set_count(1, &[]).await.unwrap();
    // It drains, so it served; and it did not before another one did.
    let replaced = |fleet: &Fleet| {
        fleet.replicas.len() == 2 && fleet.replicas[0].state == ReplicaState::Draining
    };
    let both = real::eventually(&mut docker, replaced).await;
    assert_eq!(both.replicas[1].state, ReplicaState::Running);
    docker.release(both.replicas[0].id).await.unwrap();
    real::eventually(&mut docker, running(1)).await;
    end(docker).await;
    let left = container::list(&engine, "weir-test-left", runner(&mut settings)).await;
    assert_eq!(left.unwrap(), []);
}
