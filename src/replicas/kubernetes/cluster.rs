//! The calls to the API server, each with a deadline, a bounded answer and an error that says
//! what to do about it.

use std::future::Future;
use std::time::Duration;

use http::{Response, Uri};
use http_body_util::Limited;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{GetParams, ListParams, Patch, PatchParams, PostParams, WatchParams};
use kube::client::ClientBuilder;
use kube::core::{ObjectList, Request, Resource, request};
use kube::{Client, Config};
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::json;
use tokio::time::timeout;
use tower::util::MapResponseLayer;

use super::failure::{Access, Failure, explain, failed, refused};
use super::usage::PodMetricsList;
use super::watch::Events;
use crate::config::KubernetesRunner;
use crate::replicas::ProviderError;

/// For one answer. An API server that takes longer is in trouble.
const DEADLINE: Duration = Duration::from_secs(5);

/// For one answer, which holds hundreds of pods in it; and for all that one watch says.
pub(super) const LONGEST_ANSWER: usize = 16 << 20;

/// Objects in one answer, and answers to one question.
const PAGE: (u32, usize) = (500, 20);

/// How the objects name who changed them.
const FIELD_MANAGER: &str = "weir";

/// Which of two pods a deployment removes first: the one with the smaller number.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The API server, seen from one namespace.
pub(super) struct Cluster {
    client: Client,
    namespace: String,
}

type Built = Result<http::Request<Vec<u8>>, request::Error>;

impl Cluster {
    /// Reads who to ask and as whom. Asks nobody yet.
    pub(super) async fn new(settings: &KubernetesRunner) -> Result<Self, ProviderError> {
        let mut config = config(settings).await?;
        config.connect_timeout = Some(DEADLINE);
        // Who calls asks again, and less and less often.
        config.default_retry = false;
        let namespace = settings.namespace.clone();
        let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
        let bounded = MapResponseLayer::new(|response: Response<_>| {
            response.map(|body| Limited::new(body, LONGEST_ANSWER))
        });
        let builder = ClientBuilder::try_from(config)
            .map_err(|error| refused(format!("no way to talk to the API server: {error}")))?;
        Ok(Self {
            client: builder.with_layer(&bounded).build(),
            namespace,
        })
    }

    pub(super) async fn scale(&self, deployment: &str) -> Result<Scale, Failure> {
        let access = Access::new("get", "deployments/scale", "apps");
        let request = self.of::<Deployment>().get_subresource("scale", deployment);
        self.ask(access, deployment, request).await
    }

    /// Fails with a conflict when somebody has changed it since it was read.
    pub(super) async fn replace_scale(
        &self,
        deployment: &str,
        scale: &Scale,
    ) -> Result<Scale, Failure> {
        let access = Access::new("update", "deployments/scale", "apps");
        let request = self.of::<Deployment>();
        let request =
            request.replace_subresource("scale", deployment, &post(), bytes(access, scale)?);
        self.ask(access, deployment, request).await
    }

    /// The slices of a service, and the version of the list to watch it from.
    pub(super) async fn slices(
        &self,
        service: &str,
    ) -> Result<(Vec<EndpointSlice>, Option<String>), Failure> {
        let access = Access::new("list", "endpointslices", "discovery.k8s.io");
        self.list(access, service, &of_service(service)).await
    }

    /// News of the slices of a service since that version, until the stream ends.
    pub(super) async fn watch(
        &self,
        service: &str,
        version: &str,
        duration: Duration,
    ) -> Result<Events, Failure> {
        let access = Access::new("watch", "endpointslices", "discovery.k8s.io");
        let params = WatchParams::default()
            .labels(&of_service(service))
            .timeout(duration.as_secs() as u32);
        let request = self.of::<EndpointSlice>().watch(&params, version);
        let request = request.map_err(|error| failed(access, service, error))?;
        let opened = self.client.request_events::<IgnoredAny>(request);
        let events = self.in_time(access, service, opened).await?;
        Ok(Box::pin(events))
    }

    /// Sets or takes away which pod goes first.
    pub(super) async fn deletion_cost(&self, pod: &str, cost: Option<i32>) -> Result<(), Failure> {
        let access = Access::new("patch", "pods", "");
        let cost = cost.map(|cost| cost.to_string());
        let patch = json!({"metadata": {"annotations": {DELETION_COST: cost}}});
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let request = self.of::<Pod>().patch(pod, &params, &Patch::Merge(patch));
        self.ask::<IgnoredAny>(access, pod, request).await?;
        Ok(())
    }

    pub(super) async fn pods(&self, selector: &str) -> Result<Vec<Pod>, Failure> {
        let access = Access::new("list", "pods", "");
        let (pods, _) = self.list(access, selector, selector).await?;
        Ok(pods)
    }

    /// `None` where no metrics server runs.
    pub(super) async fn metrics(&self, selector: &str) -> Result<Option<PodMetricsList>, Failure> {
        let access = Access::new("list", "pods", "metrics.k8s.io");
        let path = format!(
            "/apis/metrics.k8s.io/v1beta1/namespaces/{}/pods",
            self.namespace
        );
        let request = Request::new(path).list(&ListParams::default().labels(selector));
        match self.ask(access, selector, request).await {
            Ok(list) => Ok(Some(list)),
            Err(failure) if failure.is_unserved() => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// `None` if there is no such lease.
    pub(super) async fn lease(&self, name: &str) -> Result<Option<Lease>, Failure> {
        let access = Access::new("get", "leases", "coordination.k8s.io");
        let request = self.of::<Lease>().get(name, &GetParams::default());
        match self.ask(access, name, request).await {
            Ok(lease) => Ok(Some(lease)),
            Err(failure) if failure.is_missing() => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Fails with a conflict when somebody else has created it.
    pub(super) async fn create_lease(&self, name: &str, lease: &Lease) -> Result<Lease, Failure> {
        let access = Access::new("create", "leases", "coordination.k8s.io");
        let request = self.of::<Lease>();
        let request = request.create(&post(), bytes(access, lease)?);
        self.ask(access, name, request).await
    }

    /// Fails with a conflict when somebody has changed it since it was read.
    pub(super) async fn replace_lease(&self, name: &str, lease: &Lease) -> Result<Lease, Failure> {
        let access = Access::new("update", "leases", "coordination.k8s.io");
        let request = self.of::<Lease>();
        let request = request.replace(name, &post(), bytes(access, lease)?);
        self.ask(access, name, request).await
    }

    /// All pages of a list, and the version of the last.
    async fn list<K>(
        &self,
        access: Access,
        what: &str,
        labels: &str,
    ) -> Result<(Vec<K>, Option<String>), Failure>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned,
    {
        let mut params = ListParams::default().labels(labels).limit(PAGE.0);
        let mut items = Vec::new();
        for _ in 0..PAGE.1 {
            let request = self.of::<K>().list(&params);
            let page: ObjectList<K> = self.ask(access, what, request).await?;
            items.extend(page.items);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok((items, page.metadata.resource_version)),
            }
        }
        let many = format!("{access} `{what}`: more than {} of them", items.len());
        Err(ProviderError::Nonsense(many).into())
    }

    fn of<K: Resource<DynamicType = ()>>(&self) -> Request {
        Request::new(K::url_path(&(), Some(&self.namespace)))
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        access: Access,
        what: &str,
        request: Built,
    ) -> Result<T, Failure> {
        let request = request.map_err(|error| failed(access, what, error))?;
        let text = self.client.request_text(request);
        let text = self.in_time(access, what, text).await?;
        serde_json::from_str(&text).map_err(|error| {
            let nonsense = format!("{access} `{what}`: {error}");
            ProviderError::Nonsense(nonsense).into()
        })
    }

    async fn in_time<T>(
        &self,
        access: Access,
        what: &str,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, Failure> {
        match timeout(DEADLINE, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(explain(access, what, &self.namespace, error)),
            Err(_) => {
                let late = format!("{access} `{what}`: no answer within {DEADLINE:?}");
                Err(ProviderError::Unreachable(late).into())
            }
        }
    }
}

/// The configured server, with the credentials of the environment if it is their server's kind
/// of thing: a token is never sent without TLS.
async fn config(settings: &KubernetesRunner) -> Result<Config, ProviderError> {
    let Some(api) = &settings.api else {
        let found = Config::infer().await;
        return found.map_err(|error| {
            refused(format!(
                "neither a kubeconfig nor a pod's service account: {error}"
            ))
        });
    };
    let url: Uri = api
        .parse()
        .map_err(|error| refused(format!("`{api}` is no URL: {error}")))?;
    if url.scheme_str() == Some("https")
        && let Ok(mut config) = Config::infer().await
    {
        config.cluster_url = url;
        return Ok(config);
    }
    Ok(Config::new(url))
}

fn of_service(service: &str) -> String {
    format!("kubernetes.io/service-name={service}")
}

fn post() -> PostParams {
    PostParams {
        dry_run: false,
        field_manager: Some(FIELD_MANAGER.to_owned()),
    }
}

fn bytes(access: Access, object: &impl Serialize) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(object).map_err(|error| refused(format!("{access}: {error}")).into())
}
