//! The provider against a fake ECS.

use std::collections::{BTreeSet, VecDeque};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use aws_sdk_ecs::config::Credentials;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::*;

/// For whatever is waited for: only a broken test takes this long.
const LONG: Duration = Duration::from_secs(30);

/// The state of the fake ECS.
#[derive(Clone, Default)]
struct Cluster {
    desired: i64,
    /// Name, last status, desired status.
    tasks: Vec<(String, &'static str, &'static str)>,
    tag: Option<String>,
    /// The value that another instance writes right after the next write.
    rival: Option<String>,
    /// Faults of the next calls of these actions, in this order.
    faults: VecDeque<(&'static str, Fault)>,
    /// Action and body of each request.
    requests: Vec<(String, Value)>,
}

/// What happens instead of an answer.
#[derive(Clone, Debug)]
enum Fault {
    Answer(u16, &'static str),
    Hang,
}

struct Fake {
    address: SocketAddr,
    cluster: Arc<Mutex<Cluster>>,
    _tasks: JoinSet<()>,
}

impl Fake {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let cluster = Arc::new(Mutex::new(Cluster::default()));
        let mut tasks = JoinSet::new();
        let served = cluster.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let cluster = served.clone();
                connections.spawn(async move {
                    let service = service_fn(move |request| {
                        let cluster = cluster.clone();
                        async move { Ok::<_, Infallible>(answer(&cluster, request).await) }
                    });
                    let http = hyper::server::conn::http1::Builder::new();
                    // Fails if the client closes early, which the test sees.
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self {
            address,
            cluster,
            _tasks: tasks,
        }
    }

    async fn provider(&self) -> Ecs {
        let settings = settings(self.address);
        let credentials = Credentials::new("id", "secret", None, None, "test");
        let loader = api::loader(&settings).credentials_provider(credentials);
        let config = loader.load().await;
        let mut provider = Ecs::new("todo".into());
        provider.connect(&config, &settings).unwrap();
        provider
    }

    fn set_tasks(&self, tasks: &[(&str, &'static str, &'static str)]) {
        let tasks = tasks.iter();
        self.cluster.lock().unwrap().tasks = tasks
            .map(|(name, last, desired)| ((*name).to_owned(), *last, *desired))
            .collect();
    }

    fn fail(&self, action: &'static str, fault: Fault) {
        let mut cluster = self.cluster.lock().unwrap();
        cluster.faults.push_back((action, fault));
    }

    /// The bodies of the requests with this action.
    fn sent(&self, action: &str) -> Vec<Value> {
        let cluster = self.cluster.lock().unwrap();
        let requests = cluster.requests.iter();
        requests
            .filter(|(asked, _)| asked == action)
            .map(|(_, body)| body.clone())
            .collect()
    }
}

fn settings(address: SocketAddr) -> EcsRunner {
    EcsRunner {
        endpoint: Some(format!("http://{address}")),
        region: Some("eu-central-1".to_owned()),
        cluster: "shop".to_owned(),
        service: "web".to_owned(),
        port: 6400,
    }
}

async fn answer(cluster: &Mutex<Cluster>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let target = request.headers()["x-amz-target"].to_str().unwrap();
    let action = target.rsplit('.').next().unwrap().to_owned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let sent: Value = serde_json::from_slice(&body).unwrap();
    let fault = {
        let mut cluster = cluster.lock().unwrap();
        cluster.requests.push((action.clone(), sent.clone()));
        let found = cluster.faults.iter().position(|(of, _)| *of == action);
        found.and_then(|index| cluster.faults.remove(index))
    };
    match fault {
        Some((_, Fault::Answer(status, text))) => reply(status, text.to_owned()),
        Some((_, Fault::Hang)) => std::future::pending().await,
        None => {
            let mut cluster = cluster.lock().unwrap();
            let answer = cluster.act(&action, &sent);
            reply(200, answer.to_string())
        }
    }
}

fn reply(status: u16, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    let json = http::HeaderValue::from_static("application/x-amz-json-1.1");
    response.headers_mut().insert("content-type", json);
    response
}

impl Cluster {
    fn act(&mut self, action: &str, sent: &Value) -> Value {
        match action {
            "DescribeServices" => {
                let tags = self.tag.iter();
                let tags: Vec<Value> = tags
                    .map(|value| json!({"key": "weir:scaler", "value": value}))
                    .collect();
                json!({"services": [{
                    "serviceArn": "arn:aws:ecs:eu-central-1:1:service/shop/web",
                    "status": "ACTIVE",
                    "desiredCount": self.desired,
                    "tags": tags,
                }]})
            }
            "ListTasks" => {
                assert_eq!(sent["serviceName"], "web");
                assert_eq!(sent["desiredStatus"], "RUNNING");
                let wanted = self.tasks.iter().filter(|task| task.2 == "RUNNING");
                let names: Vec<&String> = wanted.map(|(name, ..)| name).collect();
                let from: usize = sent["nextToken"].as_str().map_or(0, |t| t.parse().unwrap());
                let to = names.len().min(from + 100);
                let more = (to < names.len()).then(|| to.to_string());
                json!({"taskArns": names[from..to], "nextToken": more})
            }
            "DescribeTasks" => {
                let names = sent["tasks"].as_array().unwrap();
                assert!((1..=100).contains(&names.len()), "the API's own limits");
                let known = self
                    .tasks
                    .iter()
                    .filter(|(name, ..)| names.contains(&json!(name)));
                let tasks: Vec<Value> = known.map(described).collect();
                json!({"tasks": tasks, "failures": []})
            }
            "UpdateService" => {
                self.desired = sent["desiredCount"].as_i64().unwrap();
                json!({"service": {}})
            }
            "UpdateTaskProtection" => {
                assert!(sent["tasks"].as_array().unwrap().len() <= 10);
                json!({"protectedTasks": [], "failures": []})
            }
            "TagResource" => {
                assert_eq!(
                    sent["resourceArn"],
                    "arn:aws:ecs:eu-central-1:1:service/shop/web"
                );
                let value = sent["tags"][0]["value"].as_str().unwrap().to_owned();
                self.tag = Some(self.rival.take().unwrap_or(value));
                json!({})
            }
            other => panic!("unexpected action {other}"),
        }
    }
}

fn described((name, last, desired): &(String, &'static str, &'static str)) -> Value {
    let number: u32 = name.trim_start_matches("task-").parse().unwrap();
    let address = format!("10.2.{}.{}", number / 250, number % 250);
    json!({
        "taskArn": name,
        "lastStatus": last,
        "desiredStatus": desired,
        "createdAt": 1_700_000_000 + number,
        "attachments": [{"type": "ElasticNetworkInterface", "details": [
            {"name": "privateIPv4Address", "value": address},
        ]}],
    })
}

fn states(fleet: &Fleet) -> Vec<(&str, ReplicaState)> {
    let replicas = fleet.replicas.iter();
    replicas
        .map(|replica| (replica.name.as_deref().unwrap(), replica.state))
        .collect()
}

#[tokio::test]
async fn tasks_come_in_pages() {
    let fake = Fake::start().await;
    let mut provider = fake.provider().await;
    {
        let mut cluster = fake.cluster.lock().unwrap();
        cluster.desired = 230;
        let tasks = (0..230).map(|n| (format!("task-{n}"), "RUNNING", "RUNNING"));
        cluster.tasks = tasks.collect();
    }
    let fleet = provider.fleet().await.unwrap();
    assert_eq!(fleet.desired, 230);
    assert_eq!(fleet.replicas.len(), 230);
    assert!(fleet.replicas.is_sorted_by_key(|replica| replica.address));
    assert_eq!(fake.sent("ListTasks").len(), 3);
    assert_eq!(fake.sent("DescribeTasks").len(), 3);
}

#[tokio::test]
async fn a_task_that_is_not_wanted_any_more_is_listed_until_it_has_stopped() {
    use ReplicaState::{Draining, Running, Stopping};
    let fake = Fake::start().await;
    let mut provider = fake.provider().await;
    let other = ("task-2", "RUNNING", "RUNNING");
    fake.set_tasks(&[("task-1", "RUNNING", "RUNNING"), other]);
    let fleet = provider.fleet().await.unwrap();
    assert_eq!(states(&fleet), [("task-1", Running), ("task-2", Running)]);
    let steps = [
        ("RUNNING", Some(Draining)),
        ("STOPPING", Some(Stopping)),
        ("STOPPED", None),
    ];
    for (last, expected) in steps {
        fake.set_tasks(&[("task-1", last, "STOPPED"), other]);
        let fleet = provider.fleet().await.unwrap();
        let found = states(&fleet)
            .into_iter()
            .find(|(name, _)| *name == "task-1");
        assert_eq!(found.map(|(_, state)| state), expected, "{last}");
    }
    // Without a name the tasks are not described.
    fake.set_tasks(&[]);
    provider.fleet().await.unwrap();
    assert!(provider.fleet().await.unwrap().replicas.is_empty());
}

#[tokio::test]
async fn all_but_the_victims_are_protected_before_the_count_goes_down() {
    let fake = Fake::start().await;
    let mut provider = fake.provider().await;
    let names: Vec<String> = (0..15).map(|n| format!("task-{n}")).collect();
    let mut tasks: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), "RUNNING", "RUNNING"))
        .collect();
    fake.set_tasks(&tasks);
    provider.fleet().await.unwrap();
    // The last one stops already.
    tasks[14].2 = "STOPPED";
    fake.set_tasks(&tasks);
    fake.cluster.lock().unwrap().desired = 14;
    let fleet = provider.fleet().await.unwrap();
    let ids: Vec<ReplicaId> = fleet.replicas.iter().map(|replica| replica.id).collect();

    provider
        .set_count(12, &[ids[14], ids[3], ids[5], ids[7]])
        .await
        .unwrap();
    let sent = fake.sent("UpdateTaskProtection");
    assert_eq!(sent.len(), 3, "two free, ten and two kept");
    assert_eq!(sent[0]["protectionEnabled"], false);
    assert_eq!(sent[0]["tasks"], json!(["task-3", "task-5"]));
    let kept = sent[1..].iter().flat_map(|sent| {
        assert_eq!(sent["protectionEnabled"], true);
        assert_eq!(sent["expiresInMinutes"], 5);
        sent["tasks"].as_array().unwrap()
    });
    assert_eq!(kept.count(), 12);
    assert_eq!(fake.cluster.lock().unwrap().desired, 12);

    // More, or no victims, or the same count: no task is protected.
    provider.set_count(14, &ids).await.unwrap();
    provider.set_count(13, &[]).await.unwrap();
    provider.set_count(13, &ids).await.unwrap();
    assert_eq!(fake.sent("UpdateTaskProtection").len(), 3);
    assert_eq!(fake.sent("UpdateService").len(), 3);

    // The count is set although the protection fails.
    let denied = Fault::Answer(400, r#"{"__type": "AccessDeniedException"}"#);
    fake.fail("UpdateTaskProtection", denied);
    provider.set_count(2, &[ids[1]]).await.unwrap();
    assert_eq!(fake.cluster.lock().unwrap().desired, 2);
}

#[tokio::test]
async fn the_tag_decides_which_instance_scales() {
    let fake = Fake::start().await;
    let (mut first, mut second) = (fake.provider().await, fake.provider().await);
    assert!(first.may_scale().await.unwrap());
    assert!(!second.may_scale().await.unwrap());
    assert!(first.may_scale().await.unwrap());
    assert_eq!(
        fake.sent("TagResource").len(),
        1,
        "the lease lasts long enough"
    );

    // The holder has ended, and another instance writes after this one.
    let gone = "gone_1_0/1700000000".to_owned();
    let rival = Tag::new("rival_1_0", SystemTime::now()).value();
    {
        let mut cluster = fake.cluster.lock().unwrap();
        cluster.tag = Some(gone.clone());
        cluster.rival = Some(rival);
    }
    assert!(!second.may_scale().await.unwrap());
    assert!(!second.may_scale().await.unwrap());
    fake.cluster.lock().unwrap().tag = Some(gone);
    assert!(second.may_scale().await.unwrap());
    assert!(!first.may_scale().await.unwrap());

    // A value that Weir has not written is not a lease.
    fake.cluster.lock().unwrap().tag = Some("hello".to_owned());
    assert!(first.may_scale().await.unwrap());
}

type Kind = fn(&ProviderError) -> bool;

/// A fault, the kind of the error, and words of its message.
fn faults() -> Vec<(Fault, Kind, &'static str)> {
    let nonsense: Kind = |error| matches!(error, ProviderError::Nonsense(_));
    let refused: Kind = |error| matches!(error, ProviderError::Refused(_));
    let unreachable: Kind = |error| matches!(error, ProviderError::Unreachable(_));
    vec![
        (Fault::Answer(200, "<html>"), nonsense, "DescribeServices"),
        (
            Fault::Answer(200, r#"{"services": 3}"#),
            nonsense,
            "DescribeServices",
        ),
        (
            Fault::Answer(200, r#"{"services": []}"#),
            refused,
            "no service `web` in cluster `shop`",
        ),
        (
            Fault::Answer(200, r#"{"services": [{"status": "INACTIVE"}]}"#),
            refused,
            "no service `web`",
        ),
        (
            Fault::Answer(
                400,
                r#"{"__type": "com.amazonaws.ecs#ClusterNotFoundException"}"#,
            ),
            refused,
            "no cluster `shop`",
        ),
        (
            Fault::Answer(
                400,
                r#"{"__type": "AccessDeniedException", "Message": "user weir may not"}"#,
            ),
            refused,
            "`ecs:DescribeServices` (user weir may not)",
        ),
        (
            Fault::Answer(
                400,
                r#"{"__type": "UnrecognizedClientException", "message": "unknown"}"#,
            ),
            refused,
            "unknown",
        ),
        (
            Fault::Answer(500, r#"{"__type": "ServerException", "message": "sorry"}"#),
            unreachable,
            "sorry",
        ),
        (Fault::Answer(502, "<html>"), unreachable, "502"),
        (Fault::Hang, unreachable, "no answer within"),
    ]
}

#[tokio::test]
async fn a_fault_is_an_error_that_names_it() {
    let cases = faults();
    let fake = Fake::start().await;
    let mut provider = fake.provider().await;
    for (fault, kind, words) in cases {
        let name = format!("{fault:?}");
        fake.fail("DescribeServices", fault);
        let error = timeout(LONG, provider.fleet()).await.expect("an end");
        let error = error.expect_err(&name);
        assert!(kind(&error), "{name}: {error:?}");
        assert!(error.to_string().contains(words), "{name}: {error}");
    }
    provider.fleet().await.unwrap();
    drop(fake);
    let error = provider.fleet().await.unwrap_err();
    assert!(matches!(error, ProviderError::Unreachable(_)), "{error:?}");
}

#[tokio::test]
async fn a_throttled_provider_polls_less_often() {
    let fake = Fake::start().await;
    let mut provider = fake.provider().await;
    let throttled = Fault::Answer(
        400,
        r#"{"__type": "ThrottlingException", "message": "Rate exceeded"}"#,
    );
    let mut longest = provider.timer.interval();
    for _ in 0..8 {
        fake.fail("ListTasks", throttled.clone());
        let error = provider.fleet().await.unwrap_err();
        assert!(matches!(error, ProviderError::Unreachable(_)), "{error:?}");
        assert!(error.to_string().contains("Rate exceeded"), "{error}");
        let interval = provider.timer.interval();
        assert!(interval > longest || interval == THROTTLED_INTERVAL.1);
        longest = interval;
        assert!(provider.timer.next_poll() >= Instant::now() + interval / 2);
    }
    assert_eq!(longest, THROTTLED_INTERVAL.1);
    provider.fleet().await.unwrap();
    assert_eq!(provider.timer.interval(), POLL_INTERVAL);
}

#[tokio::test]
async fn without_a_region_or_settings_no_call_is_made() {
    let mut provider = Ecs::new("todo".into());
    assert!(provider.fleet().await.is_err());
    assert!(provider.set_count(1, &[]).await.is_err());
    assert!(provider.may_scale().await.is_err());
    let config = SdkConfig::builder().build();
    let closed = settings(([127, 0, 0, 1], 1).into());
    let error = provider.connect(&config, &closed).unwrap_err();
    assert!(error.to_string().contains("AWS_REGION"), "{error}");
    let processes = crate::replicas::fixture::processes(1, &["replica"]);
    let error = provider.configure(&processes).await.unwrap_err();
    assert!(matches!(error, ProviderError::OtherRunner));
}

#[tokio::test]
async fn the_policy_that_ships_names_every_action_and_no_other() {
    let fake = Fake::start().await;
    let mut provider = fake.provider().await;
    fake.set_tasks(&[
        ("task-1", "RUNNING", "RUNNING"),
        ("task-2", "RUNNING", "RUNNING"),
    ]);
    fake.cluster.lock().unwrap().desired = 2;
    let fleet = provider.fleet().await.unwrap();
    assert!(provider.may_scale().await.unwrap());
    provider
        .set_count(1, &[fleet.replicas[0].id])
        .await
        .unwrap();
    let cluster = fake.cluster.lock().unwrap();
    let called: BTreeSet<String> = cluster
        .requests
        .iter()
        .map(|(action, _)| format!("ecs:{action}"))
        .collect();

    let policy = include_str!("../../../examples/deploy/ecs/task-role.json");
    let policy: Value = serde_json::from_str(policy).unwrap();
    let statements = policy["Statement"].as_array().unwrap().iter();
    let actions = statements.flat_map(|each| each["Action"].as_array().unwrap());
    let allowed: BTreeSet<String> = actions
        .map(|action| action.as_str().unwrap().to_owned())
        .collect();
    assert_eq!(called, allowed);
}

#[tokio::test(start_paused = true)]
async fn without_a_poll_it_is_due_once_in_an_interval() {
    let mut provider = Ecs::new("todo".into());
    provider.changed().await;
    let start = Instant::now();
    provider.changed().await;
    assert_eq!(start.elapsed(), POLL_INTERVAL, "although there was no poll");
}
