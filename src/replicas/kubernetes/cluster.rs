//! The calls of the API server, each with a deadline, a bounded answer and an error that names
//! what to change.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use futures_util::Stream;
use http::{Response, Uri};
use http_body_util::Limited;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta;
use kube::api::{GetParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::client::ClientBuilder;
use kube::core::{Request, Resource, request};
use kube::{Client, Config};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::timeout;
use tower::util::MapResponseLayer;

use super::error::{ANSWER_LIMIT, Access, ApiError, explain, failed, refused};
use super::usage::{PodMetricsList, PodResources};
use crate::config::KubernetesRunner;
use crate::replicas::ProviderError;

/// For one answer. An API server that takes longer is overloaded.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Objects in one page of a list.
const PAGE_SIZE: u32 = 500;

/// Most pages of one list.
const MOST_PAGES: usize = 20;

/// The name that objects record for changes by Weir.
const FIELD_MANAGER: &str = "weir";

/// Annotation: a deployment removes the pods with the smallest number first.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The API server, seen from one namespace.
pub(super) struct Cluster {
    client: Client,
    namespace: String,
}

/// The objects of a list, and the version to watch it from.
pub(super) struct Listed<K> {
    pub(super) items: Vec<K>,
    pub(super) version: Option<String>,
}

/// One page of a list.
#[derive(Deserialize)]
struct Page<T> {
    #[serde(default)]
    metadata: ListMeta,
    items: Vec<T>,
}

/// The events of a watch: that something has changed, whatever it was.
pub(super) type Events = Pin<Box<dyn Stream<Item = kube::Result<WatchEvent<IgnoredAny>>> + Send>>;

type Built = Result<http::Request<Vec<u8>>, request::Error>;

impl Cluster {
    /// Finds the server and the credentials. Makes no call yet.
    pub(super) async fn new(settings: &KubernetesRunner) -> Result<Self, ProviderError> {
        let mut config = config(settings).await?;
        config.connect_timeout = Some(CALL_TIMEOUT);
        // The caller calls again, less and less often.
        config.default_retry = false;
        let namespace = settings.namespace.as_ref();
        let namespace = namespace.unwrap_or(&config.default_namespace).clone();
        let bounded = MapResponseLayer::new(|response: Response<_>| {
            response.map(|body| Limited::new(body, ANSWER_LIMIT))
        });
        let builder = ClientBuilder::try_from(config)
            .map_err(|error| refused(format!("no client for the API server: {error}")))?;
        Ok(Self {
            client: builder.with_layer(&bounded).build(),
            namespace,
        })
    }

    pub(super) async fn scale(&self, deployment: &str) -> Result<Scale, ApiError> {
        let access = Access::new("get", "deployments/scale", "apps");
        let request = self.of::<Deployment>().get_subresource("scale", deployment);
        self.call(access, deployment, request).await
    }

    /// Fails with a conflict if another client has changed it since it was read.
    pub(super) async fn replace_scale(
        &self,
        deployment: &str,
        scale: &Scale,
    ) -> Result<Scale, ApiError> {
        let access = Access::new("update", "deployments/scale", "apps");
        let body = bytes(access, scale)?;
        let request =
            self.of::<Deployment>()
                .replace_subresource("scale", deployment, &post(), body);
        self.call(access, deployment, request).await
    }

    /// The slices of a service.
    pub(super) async fn slices(&self, service: &str) -> Result<Listed<EndpointSlice>, ApiError> {
        let access = Access::new("list", "endpointslices", "discovery.k8s.io");
        self.list::<EndpointSlice, _>(access, service, &of_service(service))
            .await
    }

    /// Watches the slices of a service from a version on. The stream ends after `duration`.
    pub(super) async fn watch(
        &self,
        service: &str,
        version: &str,
        duration: Duration,
    ) -> Result<Events, ApiError> {
        let access = Access::new("watch", "endpointslices", "discovery.k8s.io");
        let params = WatchParams::default()
            .labels(&of_service(service))
            .timeout(duration.as_secs() as u32);
        let request = self
            .of::<EndpointSlice>()
            .watch(&params, version)
            .map_err(|error| failed(access, service, error))?;
        let opened = self.client.request_events::<IgnoredAny>(request);
        let events = self.within_timeout(access, service, opened).await?;
        Ok(Box::pin(events))
    }

    /// Sets or removes the number that decides which pod goes first.
    pub(super) async fn deletion_cost(&self, pod: &str, cost: Option<i32>) -> Result<(), ApiError> {
        let access = Access::new("patch", "pods", "");
        let cost = cost.map(|cost| cost.to_string());
        let patch = json!({"metadata": {"annotations": {DELETION_COST: cost}}});
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let request = self.of::<Pod>().patch(pod, &params, &Patch::Merge(patch));
        self.call::<IgnoredAny>(access, pod, request).await?;
        Ok(())
    }

    pub(super) async fn pods(&self, selector: &str) -> Result<Vec<PodResources>, ApiError> {
        let access = Access::new("list", "pods", "");
        let pods = self.list::<Pod, _>(access, selector, selector).await?;
        Ok(pods.items)
    }

    /// `None` where no metrics server runs.
    pub(super) async fn metrics(&self, selector: &str) -> Result<Option<PodMetricsList>, ApiError> {
        let access = Access::new("list", "pods", "metrics.k8s.io");
        let path = format!(
            "/apis/metrics.k8s.io/v1beta1/namespaces/{}/pods",
            self.namespace
        );
        let request = Request::new(path).list(&ListParams::default().labels(selector));
        match self.call(access, selector, request).await {
            Ok(list) => Ok(Some(list)),
            Err(error) if error.is_unserved() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// `None` if there is no such lease.
    pub(super) async fn lease(&self, name: &str) -> Result<Option<Lease>, ApiError> {
        let access = Access::new("get", "leases", "coordination.k8s.io");
        let request = self.of::<Lease>().get(name, &GetParams::default());
        match self.call(access, name, request).await {
            Ok(lease) => Ok(Some(lease)),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Fails with a conflict if another client has created it.
    pub(super) async fn create_lease(&self, name: &str, lease: &Lease) -> Result<Lease, ApiError> {
        let access = Access::new("create", "leases", "coordination.k8s.io");
        let body = bytes(access, lease)?;
        let request = self.of::<Lease>().create(&post(), body);
        self.call(access, name, request).await
    }

    /// Fails with a conflict if another client has changed it since it was read.
    pub(super) async fn replace_lease(&self, name: &str, lease: &Lease) -> Result<Lease, ApiError> {
        let access = Access::new("update", "leases", "coordination.k8s.io");
        let body = bytes(access, lease)?;
        let request = self.of::<Lease>().replace(name, &post(), body);
        self.call(access, name, request).await
    }

    /// All pages of a list of the kind `K`, with the version of the last one. What is read of each
    /// is `T`.
    async fn list<K, T>(
        &self,
        access: Access,
        what: &str,
        labels: &str,
    ) -> Result<Listed<T>, ApiError>
    where
        K: Resource<DynamicType = ()>,
        T: DeserializeOwned,
    {
        let mut params = ListParams::default().labels(labels).limit(PAGE_SIZE);
        let mut items = Vec::new();
        for _ in 0..MOST_PAGES {
            let request = self.of::<K>().list(&params);
            let page: Page<T> = self.call(access, what, request).await?;
            items.extend(page.items);
            let next = page.metadata.continue_.filter(|token| !token.is_empty());
            let Some(next) = next else {
                return Ok(Listed {
                    items,
                    version: page.metadata.resource_version,
                });
            };
            params = params.continue_token(&next);
        }
        let many = format!("{access} `{what}`: more than {} of them", items.len());
        Err(ProviderError::Nonsense(many).into())
    }

    fn of<K: Resource<DynamicType = ()>>(&self) -> Request {
        Request::new(K::url_path(&(), Some(&self.namespace)))
    }

    async fn call<T: DeserializeOwned>(
        &self,
        access: Access,
        what: &str,
        request: Built,
    ) -> Result<T, ApiError> {
        let request = request.map_err(|error| failed(access, what, error))?;
        let text = self.client.request_text(request);
        let text = self.within_timeout(access, what, text).await?;
        serde_json::from_str(&text).map_err(|error| {
            let nonsense = format!("{access} `{what}`: {error}");
            ProviderError::Nonsense(nonsense).into()
        })
    }

    async fn within_timeout<T>(
        &self,
        access: Access,
        what: &str,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, ApiError> {
        match timeout(CALL_TIMEOUT, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(explain(access, what, &self.namespace, error)),
            Err(_) => {
                let late = format!("{access} `{what}`: no answer within {CALL_TIMEOUT:?}");
                Err(ProviderError::Unreachable(late).into())
            }
        }
    }
}

/// The configured server. The credentials of the environment are used only with TLS: a token is
/// never sent in clear.
async fn config(settings: &KubernetesRunner) -> Result<Config, ProviderError> {
    let Some(api) = &settings.api else {
        return Config::infer().await.map_err(|error| {
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

fn bytes(access: Access, object: &impl Serialize) -> Result<Vec<u8>, ApiError> {
    serde_json::to_vec(object).map_err(|error| refused(format!("{access}: {error}")).into())
}
