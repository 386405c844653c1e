//! The calls of the ECS API, each with a deadline and an error that names what to change.

use std::time::Duration;

use aws_config::{BehaviorVersion, ConfigLoader, Region, SdkConfig};
use aws_sdk_ecs::Client;
use aws_sdk_ecs::config::retry::RetryConfig;
use aws_sdk_ecs::config::timeout::TimeoutConfig;
use aws_sdk_ecs::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_ecs::types::{DesiredStatus, Service, ServiceField, Tag, Task};

use super::client::AwsClient;
use super::lease;
use crate::config::EcsRunner;
use crate::replicas::ProviderError;
use crate::replicas::excerpt::excerpt;

/// For one call.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// For a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Tasks in one page, which is the API's limit.
const PAGE_SIZE: i32 = 100;

/// Most pages of one list.
const MOST_PAGES: usize = 50;

/// Tasks that one call can protect, which is the API's limit.
const PROTECTED_PER_CALL: usize = 10;

/// Minutes that a task stays protected: long enough for ECS to choose other tasks, and short
/// enough not to delay a deployment.
const PROTECTION_MINUTES: i32 = 5;

/// The ECS API, for one service of one cluster.
pub(super) struct Api {
    client: Client,
    cluster: String,
    service: String,
}

/// Why a call failed.
#[derive(Debug)]
pub(super) struct ApiError {
    /// ECS refused because it is called too often.
    pub(super) is_throttled: bool,
    error: ProviderError,
}

impl Api {
    /// Makes a client with the region and credentials of `config`. Fails without a region.
    pub(super) fn new(config: &SdkConfig, settings: &EcsRunner) -> Result<Self, ProviderError> {
        if config.region().is_none() {
            let text = "no region: neither `region` in the configuration nor AWS_REGION";
            return Err(ProviderError::Refused(text.to_owned()));
        }
        Ok(Self {
            client: Client::new(config),
            cluster: settings.cluster.clone(),
            service: settings.service.clone(),
        })
    }

    /// The service with its tags.
    pub(super) async fn service(&self) -> Result<Service, ApiError> {
        let answer = self
            .client
            .describe_services()
            .cluster(&self.cluster)
            .services(&self.service)
            .include(ServiceField::Tags)
            .send()
            .await
            .map_err(|error| self.explain("ecs:DescribeServices", &error))?;
        answer
            .services
            .unwrap_or_default()
            .into_iter()
            .find(|service| service.status() != Some("INACTIVE"))
            .ok_or_else(|| self.no_service())
    }

    /// Sets the desired count.
    pub(super) async fn set_desired(&self, count: i32) -> Result<(), ApiError> {
        self.client
            .update_service()
            .cluster(&self.cluster)
            .service(&self.service)
            .desired_count(count)
            .send()
            .await
            .map_err(|error| self.explain("ecs:UpdateService", &error))?;
        Ok(())
    }

    /// The names of all tasks that should run.
    pub(super) async fn wanted_tasks(&self) -> Result<Vec<String>, ApiError> {
        let mut names = Vec::new();
        let mut token = None;
        for _ in 0..MOST_PAGES {
            let answer = self
                .client
                .list_tasks()
                .cluster(&self.cluster)
                .service_name(&self.service)
                .max_results(PAGE_SIZE)
                .desired_status(DesiredStatus::Running)
                .set_next_token(token)
                .send()
                .await
                .map_err(|error| self.explain("ecs:ListTasks", &error))?;
            names.extend(answer.task_arns.unwrap_or_default());
            token = answer.next_token.filter(|token| !token.is_empty());
            if token.is_none() {
                return Ok(names);
            }
        }
        Err(ProviderError::Nonsense(format!("more than {} tasks", names.len())).into())
    }

    /// Describes the named tasks, as far as ECS still knows them.
    pub(super) async fn tasks(&self, names: &[String]) -> Result<Vec<Task>, ApiError> {
        let mut tasks = Vec::new();
        for page in names.chunks(PAGE_SIZE as usize) {
            let answer = self
                .client
                .describe_tasks()
                .cluster(&self.cluster)
                .set_tasks(Some(page.to_vec()))
                .send()
                .await
                .map_err(|error| self.explain("ecs:DescribeTasks", &error))?;
            tasks.extend(answer.tasks.unwrap_or_default());
        }
        Ok(tasks)
    }

    /// Protects these tasks from a scale-in for a few minutes, or ends their protection.
    pub(super) async fn protect(&self, names: &[String], is_kept: bool) -> Result<(), ApiError> {
        for chunk in names.chunks(PROTECTED_PER_CALL) {
            self.client
                .update_task_protection()
                .cluster(&self.cluster)
                .set_tasks(Some(chunk.to_vec()))
                .protection_enabled(is_kept)
                .set_expires_in_minutes(is_kept.then_some(PROTECTION_MINUTES))
                .send()
                .await
                .map_err(|error| self.explain("ecs:UpdateTaskProtection", &error))?;
        }
        Ok(())
    }

    /// Writes the tag that names the instance which scales.
    pub(super) async fn write_lease(&self, arn: &str, tag: &lease::Tag) -> Result<(), ApiError> {
        let tag = Tag::builder().key(lease::KEY).value(tag.value()).build();
        self.client
            .tag_resource()
            .resource_arn(arn)
            .tags(tag)
            .send()
            .await
            .map_err(|error| self.explain("ecs:TagResource", &error))?;
        Ok(())
    }

    fn no_service(&self) -> ApiError {
        let (service, cluster) = (&self.service, &self.cluster);
        refused(format!("no service `{service}` in cluster `{cluster}`"))
    }

    fn explain<E>(&self, action: &str, error: &SdkError<E>) -> ApiError
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
    {
        let context = || excerpt(DisplayErrorContext(error).to_string());
        let error = match error {
            SdkError::TimeoutError(_) => {
                ProviderError::Unreachable(format!("{action}: no answer within {CALL_TIMEOUT:?}"))
            }
            SdkError::DispatchFailure(failure) if failure.is_other() => {
                // No request was sent: there are no credentials.
                return refused(format!("{action}: {}", context()));
            }
            SdkError::DispatchFailure(_) => {
                ProviderError::Unreachable(format!("{action}: {}", context()))
            }
            SdkError::ConstructionFailure(_) => return refused(format!("{action}: {}", context())),
            SdkError::ResponseError(_) => {
                ProviderError::Nonsense(format!("{action}: {}", context()))
            }
            SdkError::ServiceError(answer) => {
                let status = answer.raw().status().as_u16();
                let code = answer.err().code().unwrap_or_default();
                let message = excerpt(answer.err().message().unwrap_or_default());
                return match code {
                    "ClusterNotFoundException" => refused(format!("no cluster `{}`", self.cluster)),
                    "ServiceNotFoundException" | "ServiceNotActiveException" => self.no_service(),
                    "AccessDeniedException" => refused(format!(
                        "not allowed: the role that Weir runs with needs the action `{action}` \
                         ({message})"
                    )),
                    _ if is_throttling(code, status) => ApiError {
                        is_throttled: true,
                        error: ProviderError::Unreachable(format!("{action}: {code}: {message}")),
                    },
                    _ if status >= 500 => ProviderError::Unreachable(format!(
                        "{action}: status {status}: {code}: {message}"
                    ))
                    .into(),
                    "" => ProviderError::Nonsense(format!("{action}: status {status}")).into(),
                    _ => refused(format!("{action}: {code}: {message}")),
                };
            }
            _ => ProviderError::Nonsense(format!("{action}: {}", context())),
        };
        error.into()
    }
}

/// Reads the region and endpoint from the settings, and what they leave out and the credentials
/// from the environment.
pub(super) fn loader(settings: &EcsRunner) -> ConfigLoader {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(CALL_TIMEOUT)
        .operation_timeout(CALL_TIMEOUT);
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(AwsClient::default())
        .timeout_config(timeouts.build())
        // The caller calls again, less and less often.
        .retry_config(RetryConfig::disabled());
    if let Some(region) = &settings.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(endpoint) = &settings.endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    loader
}

/// Whether an error means that ECS is called too often, by AWS's own list.
/// <https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html>
fn is_throttling(code: &str, status: u16) -> bool {
    let codes = [
        "ThrottlingException",
        "Throttling",
        "ThrottledException",
        "RequestThrottledException",
        "RequestThrottled",
        "TooManyRequestsException",
        "RequestLimitExceeded",
        "BandwidthLimitExceeded",
        "LimitExceededException",
        "SlowDown",
        "PriorRequestNotComplete",
    ];
    status == 429 || codes.contains(&code)
}

fn refused(message: String) -> ApiError {
    ProviderError::Refused(message).into()
}

impl From<ApiError> for ProviderError {
    fn from(error: ApiError) -> Self {
        error.error
    }
}

impl From<ProviderError> for ApiError {
    fn from(error: ProviderError) -> Self {
        Self {
            is_throttled: false,
            error,
        }
    }
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.fmt(f)
    }
}
