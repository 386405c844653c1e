//! The ECS provider against moto, a server that simulates AWS.
//!
//! Runs if `WEIR_TEST_MOTO` is `host:port` of moto, as in `.ci/moto`. moto does not start the
//! tasks of a service, and lists all tasks of a cluster for it: the tests start them.

use std::time::Duration;

use aws_config::{BehaviorVersion, Region};
use aws_sdk_ecs::Client;
use aws_sdk_ecs::types::{
    AwsVpcConfiguration, Compatibility, ContainerDefinition, LaunchType, NetworkConfiguration,
    NetworkMode, Service, ServiceField, Tag,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use weir::config::{Allowance, EcsRunner, Replicas, Runner, Scaler};
use weir::replicas::ecs::Ecs;
use weir::replicas::{Provider, ProviderError, ReplicaState};

const REGION: &str = "eu-central-1";

/// Deadline of every wait: only a broken test takes this long.
const LONG: Duration = Duration::from_secs(60);

/// A cluster of its own, with the service `web`.
struct Moto {
    address: String,
    client: Client,
    cluster: String,
    network: NetworkConfiguration,
}

impl Moto {
    /// `None` if there is no moto.
    #[expect(
        clippy::print_stderr,
        reason = "tells why a test passes without a check"
    )]
    async fn start(cluster: &str) -> Option<Self> {
        let Ok(address) = std::env::var("WEIR_TEST_MOTO") else {
            eprintln!("skipped: WEIR_TEST_MOTO is not set (see .ci/moto)");
            return None;
        };
        let http = aws_smithy_http_client::Builder::new().build_http();
        let config = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http)
            .region(Region::new(REGION))
            .endpoint_url(format!("http://{address}"));
        let client = Client::new(&config.load().await);
        // Otherwise each call that lists a task moves it one step towards its end.
        let slowly = r#"{"model_name": "ecs::task", "transition": {"progression": "manual", "times": 1000}}"#;
        post(
            &address,
            "/moto-api/state-manager/set-transition",
            None,
            slowly,
        )
        .await;
        let describe = async |action: &str, tag: &str| {
            let body = format!("Action={action}&Version=2016-11-15");
            let found = post(&address, "/", Some("ec2"), &body).await;
            between(&found, &format!("<{tag}>"), &format!("</{tag}>"))
        };
        let subnet = describe("DescribeSubnets", "subnetId").await;
        let security_group = describe("DescribeSecurityGroups", "groupId").await;
        let vpc = AwsVpcConfiguration::builder()
            .subnets(subnet)
            .security_groups(security_group)
            .build()
            .unwrap();
        let network = NetworkConfiguration::builder()
            .awsvpc_configuration(vpc)
            .build();
        let moto = Self {
            address,
            client,
            cluster: cluster.to_owned(),
            network,
        };
        moto.create().await;
        Some(moto)
    }

    async fn create(&self) {
        let client = &self.client;
        let cluster = client.create_cluster().cluster_name(&self.cluster);
        cluster.send().await.unwrap();
        let container = ContainerDefinition::builder()
            .name("app")
            .image("app:1")
            .memory(512);
        client
            .register_task_definition()
            .family(&self.cluster)
            .network_mode(NetworkMode::Awsvpc)
            .requires_compatibilities(Compatibility::Fargate)
            .cpu("256")
            .memory("512")
            .container_definitions(container.build())
            .send()
            .await
            .unwrap();
        client
            .create_service()
            .cluster(&self.cluster)
            .service_name("web")
            .task_definition(&self.cluster)
            .launch_type(LaunchType::Fargate)
            .network_configuration(self.network.clone())
            .desired_count(1)
            .send()
            .await
            .unwrap();
    }

    async fn run_tasks(&self, count: i32) {
        self.client
            .run_task()
            .cluster(&self.cluster)
            .task_definition(&self.cluster)
            .launch_type(LaunchType::Fargate)
            .network_configuration(self.network.clone())
            .count(count)
            .send()
            .await
            .unwrap();
    }

    async fn service(&self) -> Service {
        self.client
            .describe_services()
            .cluster(&self.cluster)
            .services("web")
            .include(ServiceField::Tags)
            .send()
            .await
            .unwrap()
            .services()[0]
            .clone()
    }

    async fn desired(&self) -> i32 {
        self.service().await.desired_count()
    }

    async fn write_tag(&self, value: &str) {
        let service = self.service().await;
        self.client
            .tag_resource()
            .resource_arn(service.service_arn().unwrap())
            .tags(Tag::builder().key("weir:scaler").value(value).build())
            .send()
            .await
            .unwrap();
    }

    fn settings(&self) -> EcsRunner {
        EcsRunner {
            endpoint: Some(format!("http://{}", self.address)),
            region: Some(REGION.to_owned()),
            cluster: self.cluster.clone(),
            service: "web".to_owned(),
            port: 6400,
        }
    }
}

async fn provider(runner: EcsRunner) -> Ecs {
    let mut provider = Ecs::new("todo".into());
    let settings = Replicas {
        runner: Runner::Ecs(runner),
        count: None,
        allowance: Allowance::default(),
        warm_up: None,
        scaler: Scaler::Lease,
    };
    provider.configure(&settings).await.unwrap();
    provider
}

/// Sends a request for which there is no client here, and returns the body of the response.
async fn post(address: &str, path: &str, service: Option<&str>, body: &str) -> String {
    let authorization = service.map_or(String::new(), |service| {
        format!(
            "Authorization: AWS4-HMAC-SHA256 Credential=testing/20260101/{REGION}/{service}/aws4_request, \
             SignedHeaders=host, Signature=0\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        )
    });
    let request = format!(
        "POST {path} HTTP/1.0\r\nHost: {address}\r\n{authorization}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    };
    let answer = timeout(LONG, exchange).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(" 20"), "{answer}");
    body.to_owned()
}

fn between(text: &str, before: &str, after: &str) -> String {
    let (_, rest) = text.split_once(before).unwrap();
    rest.split_once(after).unwrap().0.to_owned()
}

#[tokio::test]
async fn a_service_is_scaled_and_its_tasks_are_found() {
    let Some(moto) = Moto::start("scaling").await else {
        return;
    };
    let mut provider = provider(moto.settings()).await;
    moto.run_tasks(1).await;
    let fleet = provider.fleet().await.unwrap();
    assert_eq!((fleet.desired, fleet.replicas.len()), (1, 1));
    let first = fleet.replicas[0].clone();
    assert_eq!(first.state, ReplicaState::Running);
    let address = first.address.expect("the address of its interface");
    assert!(
        address.ip().is_ipv4() && address.port() == 6400,
        "{address}"
    );

    provider.set_count(3, &[]).await.unwrap();
    assert_eq!(moto.desired().await, 3);
    moto.run_tasks(2).await;
    let fleet = provider.fleet().await.unwrap();
    assert_eq!((fleet.desired, fleet.replicas.len()), (3, 3));
    assert_eq!(fleet.replicas[0], first, "the oldest, as it was");
    let mut addresses: Vec<_> = fleet.replicas.iter().map(|each| each.address).collect();
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), 3);

    // moto has no task protection: the count is set without it.
    let victims = [fleet.replicas[2].id, fleet.replicas[1].id];
    provider.set_count(1, &victims).await.unwrap();
    assert_eq!(moto.desired().await, 1);
    let leaving = fleet.replicas[2].name.clone().unwrap();
    let stop = moto.client.stop_task().cluster(&moto.cluster);
    stop.task(leaving).send().await.unwrap();
    let fleet = provider.fleet().await.unwrap();
    assert_eq!((fleet.desired, fleet.replicas.len()), (1, 2));

    provider.set_count(0, &[]).await.unwrap();
    assert_eq!(moto.desired().await, 0);
    assert_eq!(provider.fleet().await.unwrap().desired, 0);
}

#[tokio::test]
async fn of_two_instances_the_one_in_the_tag_scales() {
    let Some(moto) = Moto::start("leases").await else {
        return;
    };
    let mut first = provider(moto.settings()).await;
    let mut second = provider(moto.settings()).await;
    assert!(first.may_scale().await.unwrap());
    assert!(!second.may_scale().await.unwrap());
    let tags = moto.service().await.tags().to_vec();
    assert_eq!(tags.len(), 1);
    assert_eq!(tags[0].key(), Some("weir:scaler"));
    moto.write_tag("gone_1_0/1700000000").await;
    assert!(second.may_scale().await.unwrap(), "that was in 2023");
    assert!(!first.may_scale().await.unwrap());
    assert_eq!(moto.service().await.tags().to_vec().len(), 1);
}

#[tokio::test]
async fn what_does_not_exist_is_named() {
    let Some(moto) = Moto::start("missing").await else {
        return;
    };
    let service = EcsRunner {
        service: "nothing".to_owned(),
        ..moto.settings()
    };
    let cluster = EcsRunner {
        cluster: "nowhere".to_owned(),
        ..moto.settings()
    };
    let cases = [
        (service, "no service `nothing` in cluster `missing`"),
        (cluster, "no cluster `nowhere`"),
    ];
    for (settings, words) in cases {
        let mut provider = provider(settings).await;
        let errors = [
            provider.fleet().await.unwrap_err(),
            provider.set_count(2, &[]).await.unwrap_err(),
            provider.may_scale().await.unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(error, ProviderError::Refused(_)), "{error:?}");
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}
