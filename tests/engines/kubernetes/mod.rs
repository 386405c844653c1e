//! The Kubernetes provider against an API server that checks requests by the published schema.

mod published;
mod role;
mod schema;
mod server;

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;
use weir::config::{Allowance, KubernetesRunner, Replicas, Runner, Scaler};
use weir::replicas::kubernetes::Kubernetes;
use weir::replicas::{Fleet, Provider, ProviderError, ReplicaId, ReplicaState};

use server::{DEPLOYMENT, Fault, NAMESPACE, SERVICE, Server, lease_of};

/// Deadline of every wait: only a broken test takes this long.
const LONG: Duration = Duration::from_secs(30);

const SCALE_PATH: &str = "/apis/apps/v1/namespaces/shop/deployments/taskoverflow/scale";
const POD_PATH: &str = "/api/v1/namespaces/shop/pods";

fn settings(address: SocketAddr) -> Replicas {
    Replicas {
        runner: Runner::Kubernetes(KubernetesRunner {
            api: Some(format!("http://{address}")),
            namespace: Some(NAMESPACE.to_owned()),
            deployment: DEPLOYMENT.to_owned(),
            service: SERVICE.to_owned(),
            port: 6400,
        }),
        count: None,
        allowance: Allowance::default(),
        warm_up: None,
        scaler: Scaler::Lease,
    }
}

async fn provider(server: &Server) -> Kubernetes {
    let mut provider = Kubernetes::new("todo".into());
    provider.configure(&settings(server.address)).await.unwrap();
    provider
}

/// Name, state and address of each, in the order of their numbers.
fn listed(fleet: &Fleet) -> Vec<(&str, ReplicaState, String)> {
    assert!(fleet.replicas.is_sorted_by_key(|replica| replica.id));
    let replicas = fleet.replicas.iter();
    replicas
        .map(|replica| {
            let address = replica.address.map(|address| address.to_string());
            (
                replica.name.as_deref().unwrap(),
                replica.state,
                address.unwrap_or_default(),
            )
        })
        .collect()
}

fn ready() -> Value {
    json!({"ready": true, "serving": true, "terminating": false})
}

fn pod(name: &str, limit: &str) -> Value {
    let resources = json!({"limits": {"cpu": limit, "memory": "128Mi"}});
    let container = json!({"name": "app", "image": "app:1", "resources": resources});
    json!({"metadata": {"name": name}, "spec": {"containers": [container]}})
}

fn measured(name: &str, cpu: &str) -> Value {
    let usage = json!({"cpu": cpu, "memory": "32Mi"});
    json!({
        "metadata": {"name": name},
        "timestamp": "2026-01-01T00:00:00Z",
        "window": "15s",
        "containers": [{"name": "app", "usage": usage}],
    })
}

#[tokio::test]
async fn pods_are_listed_and_their_number_is_set() {
    use ReplicaState::{Draining, Running, Starting};
    let server = Server::start().await;
    let mut provider = provider(&server).await;
    server.set_endpoints(&[("a", "10.1.0.1", ready())]);
    let fleet = provider.fleet().await.unwrap();
    assert_eq!(fleet.desired, 1);
    assert_eq!(listed(&fleet), [("a", Running, "10.1.0.1:6400".to_owned())]);

    provider.set_count(3, &[]).await.unwrap();
    assert_eq!(server.cluster().replicas, 3);
    let starting = json!({"ready": false, "serving": false, "terminating": false});
    let endpoints = [
        ("c", "10.1.0.3", starting),
        ("a", "10.1.0.1", ready()),
        ("b", "10.1.0.2", ready()),
    ];
    server.set_endpoints(&endpoints);
    let fleet = provider.fleet().await.unwrap();
    assert_eq!(fleet.desired, 3);
    let expected = [
        ("a", Running, "10.1.0.1:6400".to_owned()),
        ("b", Running, "10.1.0.2:6400".to_owned()),
        ("c", Starting, "10.1.0.3:6400".to_owned()),
    ];
    assert_eq!(listed(&fleet), expected);

    provider.set_count(1, &[]).await.unwrap();
    let leaving = json!({"ready": false, "serving": true, "terminating": true});
    server.set_endpoints(&[("a", "10.1.0.1", ready()), ("b", "10.1.0.2", leaving)]);
    let fleet = provider.fleet().await.unwrap();
    let states: Vec<_> = listed(&fleet).iter().map(|(_, state, _)| *state).collect();
    assert_eq!((fleet.desired, states), (1, vec![Running, Draining]));

    // To zero; the same count again sends no request.
    provider.set_count(0, &[]).await.unwrap();
    provider.set_count(0, &[]).await.unwrap();
    let written = server.sent(&format!("PUT {SCALE_PATH}"));
    let counts: Vec<_> = written
        .iter()
        .map(|scale| &scale["spec"]["replicas"])
        .collect();
    assert_eq!(counts, [3, 1, 0]);
    assert_eq!(provider.fleet().await.unwrap().desired, 0);
    server.assert_as_published();
}

#[tokio::test]
async fn slices_come_in_pages() {
    let server = Server::start().await;
    let mut provider = provider(&server).await;
    let names: Vec<String> = (0..7).map(|n| format!("pod-{n}")).collect();
    let addresses: Vec<String> = (0..7).map(|n| format!("10.1.0.{n}")).collect();
    let endpoints = names.iter().zip(&addresses);
    let endpoints: Vec<_> = endpoints
        .map(|(name, address)| (name.as_str(), address.as_str(), ready()))
        .collect();
    server.set_endpoints(&endpoints);
    server.cluster().page = 3;
    let fleet = provider.fleet().await.unwrap();
    assert_eq!(fleet.replicas.len(), 7);
    server.assert_as_published();
}

#[tokio::test]
async fn a_count_is_written_again_when_other_clients_write_too() {
    let server = Server::start().await;
    let mut provider = provider(&server).await;
    server.cluster().rivals = 3;
    provider.set_count(4, &[]).await.unwrap();
    assert_eq!(server.cluster().replicas, 4);
    assert_eq!(server.sent(&format!("PUT {SCALE_PATH}")).len(), 4);

    server.cluster().rivals = u32::MAX;
    let error = provider.set_count(5, &[]).await.unwrap_err();
    assert!(matches!(error, ProviderError::Refused(_)), "{error}");
    assert!(error.to_string().contains("409"), "{error}");
    assert_eq!(server.cluster().replicas, 4);
    server.assert_as_published();
}

#[tokio::test]
async fn victims_are_marked_and_unmarked() {
    let server = Server::start().await;
    let mut provider = provider(&server).await;
    server.cluster().replicas = 4;
    server.set_endpoints(&[
        ("a", "10.1.0.1", ready()),
        ("b", "10.1.0.2", ready()),
        ("c", "10.1.0.3", ready()),
        ("d", "10.1.0.4", ready()),
    ]);
    let fleet = provider.fleet().await.unwrap();
    let id = |name: &str| -> ReplicaId {
        let named = |replica: &&weir::replicas::Replica| replica.name.as_deref() == Some(name);
        fleet.replicas.iter().find(named).unwrap().id
    };
    let cost = |pod: &str| -> Vec<Value> {
        let sent = server.sent(&format!("PATCH {POD_PATH}/{pod}")).into_iter();
        let key = "controller.kubernetes.io/pod-deletion-cost";
        sent.map(|patch| patch["metadata"]["annotations"][key].clone())
            .collect()
    };
    provider
        .set_count(2, &[id("c"), id("a"), id("b")])
        .await
        .unwrap();
    assert_eq!(cost("c"), ["-2"]);
    assert_eq!(cost("a"), ["-1"]);
    assert!(cost("b").is_empty(), "it stays");

    // Neither has gone yet, and now another pod is the victim.
    provider.set_count(4, &[]).await.unwrap();
    provider.set_count(3, &[id("d")]).await.unwrap();
    assert_eq!(cost("d"), ["-1"]);
    assert_eq!(cost("c"), [json!("-2"), Value::Null]);
    assert_eq!(cost("a"), [json!("-1"), Value::Null]);

    // The count is set although the marks fail.
    server.fail("/pods", Fault::Answer(500, "no"));
    provider.set_count(1, &[id("a"), id("b")]).await.unwrap();
    assert_eq!(server.cluster().replicas, 1);
    server.assert_as_published();
}

#[tokio::test]
async fn of_two_instances_one_scales_and_the_other_when_its_lease_has_expired() {
    let server = Server::start().await;
    let (mut first, mut second) = (provider(&server).await, provider(&server).await);
    assert!(first.may_scale().await.unwrap());
    assert!(!second.may_scale().await.unwrap());
    assert!(first.may_scale().await.unwrap());
    let created = server.cluster().leases["weir-todo"].clone();
    assert_eq!(created["spec"]["leaseDurationSeconds"], 15);

    // The lease of an instance that does not renew it any more.
    let (name, lease) = lease_of("gone", 1, 77);
    server.cluster().leases.insert(name.clone(), lease);
    assert!(
        !second.may_scale().await.unwrap(),
        "it may still be renewed"
    );
    timeout(LONG, async {
        while !second.may_scale().await.unwrap() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("a lease without renewals expires");
    let taken = server.cluster().leases[&name].clone();
    assert_eq!(taken["spec"]["leaseTransitions"], 5);
    assert_ne!(taken["spec"]["holderIdentity"], "gone");
    server.assert_as_published();
}

#[tokio::test]
async fn an_instance_that_writes_a_lease_second_does_not_scale() {
    let server = Server::start().await;
    let mut provider = provider(&server).await;
    server.cluster().rivals = 1;
    assert!(
        !provider.may_scale().await.unwrap(),
        "it was created just before"
    );
    assert!(!provider.may_scale().await.unwrap());

    let (name, free) = lease_of("", 15, 88);
    server.cluster().leases.insert(name, free);
    server.cluster().rivals = 1;
    assert!(
        !provider.may_scale().await.unwrap(),
        "it was taken just before"
    );
    assert_eq!(
        server.cluster().leases["weir-todo"]["spec"]["holderIdentity"],
        "rival"
    );
    server.assert_as_published();
}

#[tokio::test]
async fn usage_is_a_percentage_of_the_limits() {
    let server = Server::start().await;
    let mut provider = provider(&server).await;
    server.set_endpoints(&[("a", "10.1.0.1", ready()), ("b", "10.1.0.2", ready())]);
    let fleet = provider.fleet().await.unwrap();
    {
        let mut cluster = server.cluster();
        cluster.pods = vec![pod("a", "500m"), pod("b", "1")];
        // One more pod is not in the slices any more.
        let pods = [("a", "100m"), ("b", "900000000n"), ("c", "1")];
        cluster.metrics = Some(pods.map(|(name, cpu)| measured(name, cpu)).to_vec());
    }
    let usage = provider.usage().await.unwrap();
    let ids: Vec<_> = usage.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, [fleet.replicas[0].id, fleet.replicas[1].id]);
    let cpu: Vec<_> = usage
        .iter()
        .map(|(_, usage)| usage.cpu.unwrap().round())
        .collect();
    assert_eq!(cpu, [20.0, 90.0]);
    assert_eq!(usage[0].1.memory, Some(25.0));
    server.assert_as_published();
}

#[tokio::test]
async fn without_a_metrics_server_nothing_is_measured() {
    let server = Server::start().await;
    let mut provider = provider(&server).await;
    server.set_endpoints(&[("a", "10.1.0.1", ready())]);
    provider.fleet().await.unwrap();
    assert!(provider.usage().await.unwrap().is_empty());
    // A metrics server is installed, and does not answer yet.
    server.fail("/metrics.k8s.io", Fault::Answer(503, "no endpoints"));
    provider.configure(&settings(server.address)).await.unwrap();
    assert!(provider.usage().await.unwrap().is_empty());
    server.assert_as_published();
}

#[tokio::test]
async fn a_watch_is_opened_where_the_list_ended_and_again_when_it_has_ended() {
    let server = Server::start().await;
    let mut provider = provider(&server).await;
    for round in 1..=2 {
        timeout(LONG, async {
            while server.cluster().watches < round {
                provider.fleet().await.unwrap();
                // An event or the time of the next poll, whichever is first.
                provider.changed().await;
            }
        })
        .await
        .expect("a watch is opened");
        server.set_endpoints(&[("a", "10.1.0.1", ready())]);
        timeout(LONG, provider.changed()).await.expect("a change");
        assert_eq!(provider.fleet().await.unwrap().replicas.len(), 1);
        server.end_watches();
    }
    server.assert_as_published();
}

type Kind = fn(&ProviderError) -> bool;

/// A fault, the kind of the error, and words of its message.
fn faults() -> Vec<(Fault, Kind, &'static str)> {
    let nonsense: Kind = |error| matches!(error, ProviderError::Nonsense(_));
    let refused: Kind = |error| matches!(error, ProviderError::Refused(_));
    let unreachable: Kind = |error| matches!(error, ProviderError::Unreachable(_));
    vec![
        (Fault::Answer(200, "<html>"), nonsense, "deployments/scale"),
        (
            Fault::Answer(200, "{\"spec\": 3}"),
            nonsense,
            "deployments/scale",
        ),
        (
            Fault::Answer(200, "\u{fffd}"),
            nonsense,
            "deployments/scale",
        ),
        (
            Fault::Answer(200, r#"{"metadata": {}, "spec": {"replicas": -1}}"#),
            nonsense,
            "-1",
        ),
        (Fault::Flood, nonsense, "bytes"),
        (Fault::Answer(401, "unknown"), refused, "credentials"),
        (Fault::Answer(403, "no"), refused, "verbs: [\"get\"]"),
        (
            Fault::Answer(404, "no"),
            refused,
            "no `taskoverflow` in namespace `shop`",
        ),
        (Fault::Answer(429, "slowly"), unreachable, "429"),
        (Fault::Answer(500, "etcd"), unreachable, "500"),
        (Fault::Answer(503, ""), unreachable, "503"),
        (Fault::Hang, unreachable, "no answer within"),
    ]
}

#[tokio::test]
async fn a_fault_is_an_error_that_names_it() {
    let server = Server::start().await;
    let mut provider = provider(&server).await;
    let cases = faults();
    for (fault, kind, words) in cases {
        let name = format!("{fault:?}");
        server.fail("/deployments", fault);
        let error = timeout(LONG, provider.fleet()).await.expect("an end");
        let error = error.expect_err(&name);
        assert!(kind(&error), "{name}: {error:?}");
        assert!(error.to_string().contains(words), "{name}: {error}");
    }
    // The server answers again.
    server.cluster().fault = None;
    provider.fleet().await.unwrap();
    server.assert_as_published();
}

#[tokio::test]
async fn a_missing_api_server_is_unreachable() {
    let server = Server::start().await;
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = free.local_addr().unwrap();
    drop(free);
    let mut provider = provider(&server).await;
    provider.configure(&settings(closed)).await.unwrap();
    let errors = [
        provider.fleet().await.unwrap_err(),
        provider.set_count(1, &[]).await.unwrap_err(),
        provider.may_scale().await.unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, ProviderError::Unreachable(_)), "{error:?}");
        assert!(error.to_string().contains("refused"), "{error}");
    }
    provider.configure(&settings(server.address)).await.unwrap();
    provider.fleet().await.unwrap();
}

#[tokio::test]
async fn a_server_without_tls_is_an_error() {
    let server = Server::start().await;
    let mut provider = Kubernetes::new("todo".into());
    let mut settings = settings(server.address);
    let Runner::Kubernetes(runner) = &mut settings.runner else {
        unreachable!("made above");
    };
    runner.api = Some(format!("https://{}", server.address));
    // Without trusted certificates the machine cannot even make a client.
    let error = match provider.configure(&settings).await {
        Ok(()) => provider.fleet().await.unwrap_err(),
        Err(error) => error,
    };
    assert!(
        matches!(
            error,
            ProviderError::Unreachable(_) | ProviderError::Refused(_)
        ),
        "{error:?}"
    );
    assert!(
        server.cluster().requests.is_empty(),
        "nothing is sent in clear"
    );
}

#[tokio::test]
async fn settings_of_another_runner_are_refused_and_without_settings_no_call_is_made() {
    let mut provider = Kubernetes::new("todo".into());
    assert!(provider.fleet().await.is_err());
    assert!(provider.set_count(1, &[]).await.is_err());
    assert!(provider.may_scale().await.is_err());
    assert!(provider.usage().await.is_err());
    let mut other = settings(([127, 0, 0, 1], 1).into());
    other.runner = Runner::Ecs(weir::config::EcsRunner {
        endpoint: None,
        region: None,
        cluster: "c".to_owned(),
        service: "s".to_owned(),
        port: 1,
    });
    let error = provider.configure(&other).await.unwrap_err();
    assert!(matches!(error, ProviderError::OtherRunner));
    let mut odd = settings(([127, 0, 0, 1], 1).into());
    let Runner::Kubernetes(runner) = &mut odd.runner else {
        unreachable!("made above");
    };
    runner.api = Some("http://[".to_owned());
    let error = provider.configure(&odd).await.unwrap_err();
    assert!(error.to_string().contains("no URL"), "{error}");
}

#[tokio::test]
async fn the_role_that_ships_allows_what_is_done_and_no_more() {
    let server = Server::start().await;
    let mut provider = provider(&server).await;
    server.cluster().replicas = 2;
    server.set_endpoints(&[("a", "10.1.0.1", ready()), ("b", "10.1.0.2", ready())]);
    server.cluster().metrics = Some(vec![measured("a", "1m")]);
    let fleet = provider.fleet().await.unwrap();
    timeout(LONG, async {
        while server.cluster().watches == 0 {
            provider.changed().await;
        }
    })
    .await
    .expect("a watch is opened");
    assert!(provider.may_scale().await.unwrap());
    let (name, lease) = lease_of("", 15, 99);
    server.cluster().leases.insert(name, lease);
    let mut another = Kubernetes::new("todo".into());
    another.configure(&settings(server.address)).await.unwrap();
    assert!(another.may_scale().await.unwrap());
    provider
        .set_count(1, &[fleet.replicas[1].id])
        .await
        .unwrap();
    provider.usage().await.unwrap();
    server.assert_as_published();

    let cluster = server.cluster();
    for rule in &cluster.rules {
        for (group, resource, verb) in rule.words() {
            let words = (group.to_owned(), resource.to_owned(), verb.to_owned());
            assert!(cluster.used.contains(&words), "{words:?} is not used");
        }
    }
}

#[tokio::test]
async fn a_missing_permission_is_named() {
    let server = Server::start().await;
    let mut provider = provider(&server).await;
    server.set_endpoints(&[("a", "10.1.0.1", ready())]);
    provider.fleet().await.unwrap();
    server.cluster().rules.clear();
    server.cluster().metrics = Some(Vec::new());
    let errors = [
        (
            provider.fleet().await.unwrap_err(),
            "apps",
            "deployments/scale",
            "get",
        ),
        (
            provider.may_scale().await.unwrap_err(),
            "coordination.k8s.io",
            "leases",
            "get",
        ),
        (
            provider.usage().await.unwrap_err(),
            "metrics.k8s.io",
            "pods",
            "list",
        ),
    ];
    for (error, group, resource, verb) in errors {
        let rule =
            format!("apiGroups: [\"{group}\"], resources: [\"{resource}\"], verbs: [\"{verb}\"]");
        assert!(matches!(error, ProviderError::Refused(_)), "{error:?}");
        assert!(error.to_string().contains(&rule), "{error}");
        assert!(error.to_string().contains("is forbidden"), "{error}");
    }
}
