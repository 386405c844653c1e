use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bollard::models::ServiceSpec;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::{Duration, advance, pause, resume};

use super::*;
use crate::replicas::Replica;
use crate::replicas::docker_engine::fake::{Fake, Received};
use crate::replicas::docker_engine::real;
use crate::replicas::fixture::processes;

fn settings(host: String, service: &str, network: &str, port: u16) -> Replicas {
    Replicas {
        runner: Runner::Swarm(SwarmRunner {
            host,
            service: service.to_owned(),
            network: network.to_owned(),
            port,
        }),
        ..processes(0, &[])
    }
}

/// A port on which no process listens.
const CLOSED_PORT: u16 = 1;

/// The state of the fake engine.
#[derive(Debug)]
struct Cluster {
    service: Value,
    tasks: Vec<Value>,
    /// Updates to refuse as outdated.
    conflicts: u32,
    config: Option<Value>,
    /// Status and message of each response, if set.
    fault: Option<(u16, &'static str)>,
}

type Shared = Arc<Mutex<Cluster>>;

fn service(replicas: u32) -> Value {
    json!({
        "ID": "s1",
        "Version": {"Index": 7},
        "Spec": {
            "Name": "todo",
            "Mode": {"Replicated": {"Replicas": replicas}},
            "TaskTemplate": {"Unheard": {"Of": [1.5, null]}},
        },
    })
}

fn task(id: &str, created: &str, state: &str, desired: &str, address: &str) -> Value {
    json!({
        "ID": id, "CreatedAt": created, "Slot": 1, "NodeID": "n1", "DesiredState": desired,
        "Status": {"State": state, "Timestamp": created},
        "NetworksAttachments": [
            {"Network": {"ID": "other", "Spec": {"Name": "ingress"}}, "Addresses": ["10.9.9.9/24"]},
            {"Network": {"ID": "n7", "Spec": {"Name": "todos"}}, "Addresses": [address]},
        ],
    })
}

fn error(message: &str) -> String {
    json!({ "message": message }).to_string()
}

fn answer(cluster: &mut Cluster, request: &Received) -> (u16, String) {
    if request.path() == "/version" {
        return (200, json!({"ApiVersion": "1.41"}).to_string());
    }
    if let Some((status, message)) = cluster.fault {
        return (status, error(message));
    }
    match request.call().as_str() {
        "GET /services/todo" => (200, cluster.service.to_string()),
        "GET /tasks" => (200, json!(cluster.tasks).to_string()),
        "POST /services/s1/update" if cluster.conflicts > 0 => {
            cluster.conflicts -= 1;
            (
                500,
                error("rpc error: code = Unknown desc = update out of sequence"),
            )
        }
        "POST /services/s1/update" => {
            cluster.service["Spec"] = request.body().clone();
            (200, "{}".to_owned())
        }
        "GET /configs/weir.scaler.s1" => match &cluster.config {
            Some(config) => (200, config.to_string()),
            None => (404, error("config not found")),
        },
        "POST /configs/create" if cluster.config.is_none() => {
            cluster.config =
                Some(json!({"ID": "c", "Version": {"Index": 1}, "Spec": request.body()}));
            (201, json!({"ID": "c"}).to_string())
        }
        "POST /configs/create" => (
            409,
            error("name conflicts with an existing object: already exists"),
        ),
        "POST /configs/weir.scaler.s1/update" => replace(cluster.config.as_mut().unwrap(), request),
        other => (404, error(other)),
    }
}

fn replace(config: &mut Value, request: &Received) -> (u16, String) {
    let version = config["Version"]["Index"].as_u64().unwrap();
    if request.query() != format!("version={version}") {
        return (500, error("update out of sequence"));
    }
    config["Version"]["Index"] = json!(version + 1);
    config["Spec"] = request.body().clone();
    (200, String::new())
}

struct Rig {
    cluster: Shared,
    fake: Fake,
    swarm: Swarm,
}

impl Rig {
    async fn start(tasks: Vec<Value>) -> Self {
        let cluster = Arc::new(Mutex::new(Cluster {
            service: service(2),
            tasks,
            conflicts: 0,
            config: None,
            fault: None,
        }));
        let fake = Fake::start({
            let cluster = cluster.clone();
            move |request| answer(&mut cluster.lock().unwrap(), request)
        });
        let swarm = swarm(&fake).await;
        Self {
            cluster,
            fake,
            swarm,
        }
    }

    fn set(&self, change: impl FnOnce(&mut Cluster)) {
        change(&mut self.cluster.lock().unwrap());
    }

    async fn fault(&mut self) -> String {
        self.swarm.fleet().await.unwrap_err().to_string()
    }
}

async fn swarm(fake: &Fake) -> Swarm {
    swarm_at(fake, CLOSED_PORT).await
}

async fn swarm_at(fake: &Fake, port: u16) -> Swarm {
    let mut swarm = Swarm::new("todo".into());
    let settings = settings(fake.host(), "todo", "todos", port);
    swarm.configure(&settings).await.unwrap();
    swarm
}

fn names(fleet: &Fleet) -> Vec<(u64, &str)> {
    let replicas = fleet.replicas.iter();
    replicas
        .map(|r| (r.id.0, r.name.as_deref().unwrap()))
        .collect()
}

#[tokio::test]
async fn tasks_that_should_run_are_replicas_from_the_oldest_on() {
    let mut rig = Rig::start(vec![
        task(
            "b",
            "2026-01-02T00:00:00Z",
            "running",
            "running",
            "127.0.0.2/24",
        ),
        task(
            "gone",
            "2026-01-01T00:00:00Z",
            "running",
            "shutdown",
            "127.0.0.9/24",
        ),
        task(
            "failed",
            "2026-01-01T00:00:00Z",
            "failed",
            "running",
            "127.0.0.8/24",
        ),
        task(
            "a",
            "2026-01-01T00:00:00Z",
            "preparing",
            "running",
            "127.0.0.1/24",
        ),
    ])
    .await;
    let fleet = rig.swarm.fleet().await.unwrap();
    assert_eq!(fleet.desired, 2);
    assert_eq!(names(&fleet), [(0, "todo.1.a"), (1, "todo.1.b")]);
    let address = |n: usize| fleet.replicas[n].address.unwrap().to_string();
    assert_eq!(
        (address(0), address(1)),
        ("127.0.0.1:1".into(), "127.0.0.2:1".into())
    );
    let filter = rig.fake.received().last().unwrap().query().to_owned();
    assert!(
        filter.contains("s1") && filter.contains("running"),
        "{filter}"
    );
    // A task keeps its number, and a number is not used again.
    rig.set(|cluster| {
        cluster.tasks[3] = task(
            "c",
            "2026-01-03T00:00:00Z",
            "running",
            "running",
            "127.0.0.1/24",
        );
    });
    let fleet = rig.swarm.fleet().await.unwrap();
    assert_eq!(names(&fleet), [(1, "todo.1.b"), (2, "todo.1.c")]);
}

#[tokio::test]
async fn a_running_task_is_a_target_once_it_accepts_connections() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let time = "2026-01-01T00:00:00Z";
    let rig = Rig::start(vec![
        task("a", time, "running", "running", "127.0.0.1/8"),
        task("b", time, "starting", "running", "127.0.0.1/8"),
    ])
    .await;
    let mut swarm = swarm_at(&rig.fake, port).await;
    let is_running = |replica: &Replica| replica.state == ReplicaState::Running;
    let fleet = real::eventually(&mut swarm, |fleet| is_running(&fleet.replicas[0])).await;
    assert!(
        !is_running(&fleet.replicas[1]),
        "its container does not run yet"
    );
    let here: SocketAddr = ([127, 0, 0, 1], port).into();
    assert_eq!(fleet.replicas[0].address, Some(here));
}

#[tokio::test]
async fn an_engine_that_fails_is_a_fault_and_its_tasks_are_known_again_after() {
    let time = "2026-01-01T00:00:00Z";
    let mut rig = Rig::start(vec![task("a", time, "running", "running", "127.0.0.1/24")]).await;
    let before = rig.swarm.fleet().await.unwrap();
    rig.set(|cluster| cluster.fault = Some((500, "no leader")));
    assert_eq!(rig.fault().await, "the engine refused: no leader");
    rig.set(|cluster| cluster.fault = None);
    rig.set(|cluster| cluster.tasks = vec![json!({"Slot": 1})]);
    let fault = rig.fault().await;
    assert!(
        fault.starts_with("the engine answered nonsense: missing field `ID`"),
        "{fault}"
    );
    rig.set(|cluster| cluster.tasks = vec![task("a", time, "running", "running", "127.0.0.1/24")]);
    assert_eq!(rig.swarm.fleet().await.unwrap(), before);
}

#[tokio::test]
async fn an_engine_that_does_not_answer_is_a_fault_after_a_while() {
    let mut rig = Rig::start(Vec::new()).await;
    rig.swarm.fleet().await.unwrap();
    rig.set(|cluster| cluster.fault = Some((0, "")));
    pause();
    assert_eq!(
        rig.fault().await,
        "the engine does not answer: no answer within 5s"
    );
}

#[tokio::test]
async fn a_service_that_weir_cannot_scale_is_named() {
    let mut rig = Rig::start(Vec::new()).await;
    rig.set(|cluster| cluster.service["Spec"]["Mode"] = json!({"Global": {}}));
    assert_eq!(
        rig.fault().await,
        "the engine refused: the service `todo` is not replicated"
    );
    let other = settings(rig.fake.host(), "tudu", "todos", CLOSED_PORT);
    rig.swarm.configure(&other).await.unwrap();
    assert_eq!(
        rig.fault().await,
        "the engine refused: there is no service `tudu`"
    );
}

#[tokio::test]
async fn tasks_on_another_network_are_a_fault() {
    let time = "2026-01-01T00:00:00Z";
    let mut rig = Rig::start(vec![task("a", time, "running", "running", "127.0.0.1/24")]).await;
    let other = settings(rig.fake.host(), "todo", "elsewhere", CLOSED_PORT);
    rig.swarm.configure(&other).await.unwrap();
    let text = "the engine refused: none of 1 tasks of `todo` is on the network `elsewhere`";
    assert_eq!(rig.fault().await, text);
}

#[tokio::test]
async fn scaling_changes_the_number_and_nothing_else_and_tries_again_when_outdated() {
    let mut rig = Rig::start(Vec::new()).await;
    rig.set(|cluster| cluster.conflicts = 2);
    rig.swarm.set_count(4, &[]).await.unwrap();
    let after = rig.cluster.lock().unwrap().service.clone();
    assert_eq!(after, service(4));
    let updates: Vec<String> = rig
        .fake
        .received()
        .into_iter()
        .filter(|request| request.call().starts_with("POST"))
        .map(|request| request.query().to_owned())
        .collect();
    assert_eq!(updates, ["version=7"; 3]);
    rig.swarm.set_count(4, &[]).await.unwrap();
    assert_eq!(
        rig.fake.received().last().unwrap().call(),
        "GET /services/todo"
    );
    rig.set(|cluster| cluster.conflicts = 100);
    let error = rig.swarm.set_count(1, &[]).await.unwrap_err().to_string();
    assert_eq!(
        error,
        "the engine refused: the service `todo` changes all the time"
    );
}

#[tokio::test]
async fn one_of_two_weirs_has_the_lease_until_it_stops_renewing() {
    let mut rig = Rig::start(Vec::new()).await;
    let mut other = swarm(&rig.fake).await;
    assert!(rig.swarm.may_scale().await.unwrap());
    assert!(!other.may_scale().await.unwrap());
    let term = lease::TERM;
    // Renewed in the middle of the term.
    for _ in 0..4 {
        skip(term / 2).await;
        assert!(rig.swarm.may_scale().await.unwrap());
        assert!(!other.may_scale().await.unwrap());
    }
    skip(term).await;
    assert!(other.may_scale().await.unwrap());
    assert!(!rig.swarm.may_scale().await.unwrap());
}

#[tokio::test]
async fn the_first_to_create_or_renew_the_lease_has_it() {
    let mut rig = Rig::start(Vec::new()).await;
    let mut other = swarm(&rig.fake).await;
    // Both at once, again and again: exactly one holds it each time.
    for _ in 0..10 {
        let (one, two) = tokio::join!(rig.swarm.may_scale(), other.may_scale());
        assert_eq!(
            [one.unwrap(), two.unwrap()]
                .iter()
                .filter(|held| **held)
                .count(),
            1
        );
        skip(lease::TERM / 2).await;
    }
}

#[tokio::test]
async fn an_instance_with_other_settings_keeps_the_lease() {
    let mut rig = Rig::start(Vec::new()).await;
    assert!(rig.swarm.may_scale().await.unwrap());
    let other = settings(rig.fake.host(), "todo", "todos", CLOSED_PORT + 1);
    rig.swarm.configure(&other).await.unwrap();
    assert!(rig.swarm.may_scale().await.unwrap());
}

#[tokio::test]
async fn the_lease_belongs_to_the_stack_of_the_service() {
    let mut rig = Rig::start(Vec::new()).await;
    let label = "com.docker.stack.namespace";
    rig.set(|cluster| cluster.service["Spec"]["Labels"] = json!({ label: "shop" }));
    assert!(rig.swarm.may_scale().await.unwrap());
    skip(lease::TERM / 2).await;
    assert!(rig.swarm.may_scale().await.unwrap());
    let config = rig.cluster.lock().unwrap().config.clone().unwrap();
    assert_eq!(config["Spec"]["Labels"][label], "shop");
    assert_eq!(config["Spec"]["Labels"]["io.weir.service"], "todo");
    assert_eq!(config["Version"]["Index"], 2, "renewed");
}

#[tokio::test]
async fn a_lease_that_cannot_be_read_is_not_held() {
    let mut rig = Rig::start(Vec::new()).await;
    assert!(rig.swarm.may_scale().await.unwrap());
    rig.set(|cluster| cluster.config = Some(json!({"ID": "c"})));
    skip(lease::TERM).await;
    let error = rig.swarm.may_scale().await.unwrap_err();
    assert!(matches!(error, ProviderError::Nonsense(_)), "{error}");
}

async fn skip(time: Duration) {
    pause();
    advance(time).await;
    resume();
}

// ---- With a real engine ------------------------------------------------------------

const NAME: &str = "weir-test-todo";

/// As many kinds of settings as a service may have without a registry or other machines.
fn rich() -> ServiceSpec {
    let spec = json!({
        "Name": NAME,
        "Labels": {"kept": "as it is"},
        "TaskTemplate": {
            "ContainerSpec": {
                "Image": real::IMAGE, "Env": ["A=B"], "StopGracePeriod": 7_000_000_000_i64,
                "Labels": {"container": "label"}, "Init": true, "Hostname": "todo-{{.Task.Slot}}",
                "CapabilityDrop": ["CAP_NET_RAW"],
                "Mounts": [{"Type": "tmpfs", "Target": "/tmp"}],
                "Ulimits": [{"Name": "nofile", "Soft": 1000, "Hard": 1000}],
            },
            "Resources": {"Limits": {"NanoCPUs": 500_000_000}},
            "RestartPolicy": {"Condition": "any", "Delay": 100_000_000},
            "LogDriver": {"Name": "json-file", "Options": {"max-size": "1m"}},
            "Networks": [{"Target": real::NETWORK}],
        },
        "Mode": {"Replicated": {"Replicas": 1}},
        "UpdateConfig": {"Parallelism": 2, "Order": "start-first"},
        "EndpointSpec": {"Mode": "dnsrr"},
    });
    serde_json::from_value(spec).unwrap()
}

fn running(count: usize) -> impl Fn(&Fleet) -> bool {
    move |fleet| {
        let is_running = |replica: &Replica| replica.state == ReplicaState::Running;
        fleet.replicas.len() == count && fleet.replicas.iter().all(is_running)
    }
}

async fn spec(engine: &Engine) -> Value {
    let service: Value = engine
        .get(&format!("/services/{NAME}"))
        .await
        .unwrap()
        .unwrap();
    service["Spec"].clone()
}

#[tokio::test]
async fn a_real_service_is_followed_and_scaled_and_its_tasks_stay() {
    let Some(host) = real::host() else {
        return;
    };
    let engine = Engine::connect(&host).await.unwrap();
    let service = engine.docker().create_service(rich(), None).await.unwrap();
    let settings = settings(host, NAME, real::NETWORK, real::PORT);
    let (mut one, mut two) = (Swarm::new("todo".into()), Swarm::new("todo".into()));
    one.configure(&settings).await.unwrap();
    two.configure(&settings).await.unwrap();
    let first = real::eventually(&mut one, running(1)).await;
    let before = spec(&engine).await;

    assert!(one.may_scale().await.unwrap());
    assert!(!two.may_scale().await.unwrap());
    skip(lease::TERM / 2).await;
    assert!(one.may_scale().await.unwrap(), "renewed");
    assert_eq!(
        spec(&engine).await,
        before,
        "the lease leaves the service alone"
    );

    one.set_count(3, &[]).await.unwrap();
    let three = real::eventually(&mut one, running(3)).await;
    assert_eq!(three.desired, 3);
    assert_eq!(three.replicas[0], first.replicas[0], "not restarted");
    let mut expected = before;
    expected["Mode"]["Replicated"]["Replicas"] = json!(3);
    assert_eq!(spec(&engine).await, expected);
    let followed = real::eventually(&mut two, running(3)).await;
    let addresses = |fleet: &Fleet| fleet.replicas.iter().map(|r| r.address).collect::<Vec<_>>();
    assert_eq!(addresses(&followed), addresses(&three));

    one.usage().await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let usage = one.usage().await.unwrap();
    assert_eq!(usage.len(), 3);
    let is_known = |usage: &Usage| usage.cpu.is_some() && usage.memory.is_some_and(|m| m > 0.0);
    assert!(usage.iter().all(|(_, usage)| is_known(usage)), "{usage:?}");

    one.set_count(1, &[]).await.unwrap();
    real::eventually(&mut one, |fleet| fleet.replicas.len() == 1).await;
    let docker = engine.docker();
    docker.delete_service(NAME).await.unwrap();
    let lease = format!("weir.scaler.{}", service.id.unwrap());
    docker.delete_config(&lease).await.unwrap();
}
