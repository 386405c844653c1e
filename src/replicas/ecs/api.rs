//! The calls to the ECS API, each with a deadline and an error that says what to do about it.

use std::time::Duration;

use aws_config::{BehaviorVersion, ConfigLoader, Region, SdkConfig};
use aws_sdk_ecs::Client;
use aws_sdk_ecs::config::retry::RetryConfig;
use aws_sdk_ecs::config::timeout::TimeoutConfig;
use aws_sdk_ecs::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_ecs::types::{DesiredStatus, Service, ServiceField, Tag, Task};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;

use super::lease;
use crate::config::EcsRunner;
use crate::replicas::ProviderError;

/// For one answer.
const DEADLINE: Duration = Duration::from_secs(5);

/// For a connection.
const CONNECT: Duration = Duration::from_secs(3);

/// Tasks in one answer, by the API's limits; and answers to one question.
const PAGE: (i32, usize) = (100, 50);

/// Tasks that can be protected with one call.
const PROTECTED: usize = 10;

/// Minutes that a task stays protected: long enough for ECS to choose others, and short
/// enough not to be in a deployment's way.
const PROTECTION: i32 = 5;

/// One service of one cluster.
pub(super) struct Api {
    client: Client,
    cluster: String,
    service: String,
}

/// Why a call failed.
#[derive(Debug)]
pub(super) struct Failure {
    /// We ask too often.
    pub(super) is_throttled: bool,
    error: ProviderError,
}

impl Api {
    /// Asks whom the configuration says, as whom it says.
    pub(super) fn new(config: &SdkConfig, settings: &EcsRunner) -> Result<Self, ProviderError> {
        if config.region().is_none() {
            let none = "no region: neither `region` in the configuration nor AWS_REGION";
            return Err(ProviderError::Refused(none.to_owned()));
        }
        Ok(Self {
            client: Client::new(config),
            cluster: settings.cluster.clone(),
            service: settings.service.clone(),
        })
    }

    /// The service with its tags.
    pub(super) async fn service(&self) -> Result<Service, Failure> {
        let answer = self
            .client
            .describe_services()
            .cluster(&self.cluster)
            .services(&self.service)
            .include(ServiceField::Tags)
            .send()
            .await
            .map_err(|error| self.explain("ecs:DescribeServices", &error))?;
        let mut services = answer.services.unwrap_or_default().into_iter();
        let is_there = |service: &Service| service.status() != Some("INACTIVE");
        services.find(is_there).ok_or_else(|| {
            let Self {
                cluster, service, ..
            } = self;
            refused(format!("no service `{service}` in cluster `{cluster}`"))
        })
    }

    /// Asks for so many tasks.
    pub(super) async fn set_desired(&self, count: i32) -> Result<(), Failure> {
        let request = self.client.update_service().cluster(&self.cluster);
        let request = request.service(&self.service).desired_count(count);
        let answer = request.send().await;
        answer.map_err(|error| self.explain("ecs:UpdateService", &error))?;
        Ok(())
    }

    /// The names of all tasks that should run.
    pub(super) async fn wanted_tasks(&self) -> Result<Vec<String>, Failure> {
        let mut names = Vec::new();
        let mut token = None;
        for _ in 0..PAGE.1 {
            let request = self.client.list_tasks().cluster(&self.cluster);
            let request = request.service_name(&self.service).max_results(PAGE.0);
            let request = request
                .desired_status(DesiredStatus::Running)
                .set_next_token(token);
            let answer = request.send().await;
            let answer = answer.map_err(|error| self.explain("ecs:ListTasks", &error))?;
            names.extend(answer.task_arns.unwrap_or_default());
            token = answer.next_token.filter(|token| !token.is_empty());
            if token.is_none() {
                return Ok(names);
            }
        }
        let many = format!("more than {} tasks", names.len());
        Err(ProviderError::Nonsense(many).into())
    }

    /// Those of the named tasks that ECS still knows.
    pub(super) async fn tasks(&self, names: &[String]) -> Result<Vec<Task>, Failure> {
        let mut tasks = Vec::new();
        for page in names.chunks(PAGE.0 as usize) {
            let request = self.client.describe_tasks().cluster(&self.cluster);
            let answer = request.set_tasks(Some(page.to_vec())).send().await;
            let answer = answer.map_err(|error| self.explain("ecs:DescribeTasks", &error))?;
            tasks.extend(answer.tasks.unwrap_or_default());
        }
        Ok(tasks)
    }

    /// Keeps ECS from choosing these when it scales in, for a few minutes, or lets it again.
    pub(super) async fn protect(&self, names: &[String], is_kept: bool) -> Result<(), Failure> {
        for some in names.chunks(PROTECTED) {
            let request = self.client.update_task_protection().cluster(&self.cluster);
            let request = request.set_tasks(Some(some.to_vec()));
            let request = request
                .protection_enabled(is_kept)
                .set_expires_in_minutes(is_kept.then_some(PROTECTION));
            let answer = request.send().await;
            answer.map_err(|error| self.explain("ecs:UpdateTaskProtection", &error))?;
        }
        Ok(())
    }

    /// Writes the tag that says who scales.
    pub(super) async fn write_lease(&self, arn: &str, tag: &lease::Tag) -> Result<(), Failure> {
        let tag = Tag::builder().key(lease::KEY).value(tag.value()).build();
        let request = self.client.tag_resource().resource_arn(arn).tags(tag);
        let answer = request.send().await;
        answer.map_err(|error| self.explain("ecs:TagResource", &error))?;
        Ok(())
    }

    fn explain<E>(&self, action: &str, error: &SdkError<E>) -> Failure
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
    {
        let Self {
            cluster, service, ..
        } = self;
        let context = || cut(&DisplayErrorContext(error).to_string());
        let error = match error {
            SdkError::TimeoutError(_) => {
                ProviderError::Unreachable(format!("{action}: no answer within {DEADLINE:?}"))
            }
            SdkError::DispatchFailure(failure) if failure.is_other() => {
                // Nobody was asked: there are no credentials.
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
                let said = cut(answer.err().message().unwrap_or_default());
                return match code {
                    "ClusterNotFoundException" => refused(format!("no cluster `{cluster}`")),
                    "ServiceNotFoundException" | "ServiceNotActiveException" => {
                        refused(format!("no service `{service}` in cluster `{cluster}`"))
                    }
                    "AccessDeniedException" => refused(format!(
                        "not allowed: the role that Weir runs with needs the action `{action}` \
                         ({said})"
                    )),
                    _ if is_throttling(code, status) => Failure {
                        is_throttled: true,
                        error: ProviderError::Unreachable(format!("{action}: {code}: {said}")),
                    },
                    _ if status >= 500 => ProviderError::Unreachable(format!(
                        "{action}: status {status}: {code}: {said}"
                    ))
                    .into(),
                    "" => ProviderError::Nonsense(format!("{action}: status {status}")).into(),
                    _ => refused(format!("{action}: {code}: {said}")),
                };
            }
            _ => ProviderError::Nonsense(format!("{action}: {}", context())),
        };
        error.into()
    }
}

/// Whom to ask, of the settings; as whom, of the environment. Trusts the certificates that the
/// machine trusts (`SSL_CERT_FILE`, `/etc/ssl/certs`): an image of one file has none.
pub(super) fn loader(settings: &EcsRunner) -> ConfigLoader {
    let is_plain = |endpoint: &String| endpoint.starts_with("http://");
    let client = if settings.endpoint.as_ref().is_some_and(is_plain) {
        // Nobody's certificate is looked at, so the machine need not have any to trust.
        Builder::new().build_http()
    } else {
        Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .build_https()
    };
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .operation_attempt_timeout(DEADLINE)
        .operation_timeout(DEADLINE);
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(client)
        .timeout_config(timeouts.build())
        // Who calls asks again, and less and less often.
        .retry_config(RetryConfig::disabled());
    if let Some(region) = &settings.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(endpoint) = &settings.endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    loader
}

/// AWS's own list of what asks for patience.
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

/// What others write is not repeated at any length.
fn cut(text: &str) -> String {
    text.chars().take(300).collect()
}

fn refused(message: String) -> Failure {
    ProviderError::Refused(message).into()
}

impl Failure {
    /// What to do about it.
    pub(super) fn into_error(self) -> ProviderError {
        self.error
    }
}

impl From<ProviderError> for Failure {
    fn from(error: ProviderError) -> Self {
        Self {
            is_throttled: false,
            error,
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.fmt(f)
    }
}
