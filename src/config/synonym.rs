//! The words of other proxies and autoscalers, and what Weir calls the same thing.

use std::borrow::Cow;

use super::schema::Place;

/// Tables, the words of others for a key of theirs, and the key.
type Synonyms = [(&'static [Place], &'static str, &'static str)];

const SYNONYMS: &Synonyms = &[
    (
        &[Place::File],
        "server servers frontend frontends entrypoint listen entry_point",
        "listener",
    ),
    (
        &[Place::File],
        "backend backends cluster clusters service services pool upstream upstreams \
         pools tg group groups",
        "target_group",
    ),
    (
        &[Place::File],
        "threads worker_processes nbthread concurrency num_workers",
        "workers",
    ),
    (&[Place::File], "access_logs accesslog", "access_log"),
    (
        &[Place::File],
        "cookie_secret session_key secret_key",
        "cookie_key",
    ),
    (&[Place::File], "upgrade handover_socket", "upgrade_socket"),
    (&[Place::Admin], "password secret bearer auth", "token"),
    (
        &[Place::Listener, Place::Admin],
        "listen address addr port",
        "bind",
    ),
    (
        &[Place::Listener],
        "proxy_pass default backend target_group default_backend upstream pool service \
         reverse_proxy default_target_group target to",
        "forward",
    ),
    (
        &[Place::Then],
        "proxy_pass backend target_group upstream use_backend",
        "forward",
    ),
    (
        &[Place::Listener],
        "limit_req ratelimit throttle",
        "rate_limit",
    ),
    (
        &[Place::Listener, Place::Then],
        "stickiness session",
        "group_sticky",
    ),
    (
        &[Place::Client],
        "keepalive_requests max_keepalive_requests",
        "max_requests",
    ),
    (&[Place::RateLimit], "rate limit average", "requests"),
    (&[Place::RateLimit], "period interval window", "per"),
    (&[Place::RateLimit], "by source", "key"),
    (&[Place::Rule], "match condition conditions if", "when"),
    (&[Place::Rule], "action actions do", "then"),
    (
        &[Place::WeightedGroup],
        "name target_group backend target",
        "group",
    ),
    (&[Place::When], "headers", "header"),
    (&[Place::When], "ip remote_ip client_ip", "source_ip"),
    (
        &[Place::When],
        "path_prefix uri url path_pattern location",
        "path",
    ),
    (
        &[Place::When],
        "host_header hosts server_name domain hostname",
        "host",
    ),
    (&[Place::When], "http_header match_headers", "header"),
    (&[Place::When], "methods http_request_method", "method"),
    (&[Place::When], "query_string query_params args", "query"),
    (
        &[Place::Redirect, Place::FixedResponse],
        "code status_code",
        "status",
    ),
    (&[Place::Redirect], "scheme", "protocol"),
    (&[Place::FixedResponse], "message_body message", "body"),
    (
        &[Place::TargetGroup],
        "server servers members endpoints backends hosts nodes addresses upstreams urls",
        "targets",
    ),
    (
        &[Place::TargetGroup],
        "policy lb_policy balance strategy lb_algorithm load_balancing \
         load_balancing_algorithm_type lb_method method balancer load_balancing_policy",
        "algorithm",
    ),
    (
        &[Place::TargetGroup],
        "retries retry_policy redispatch proxy_next_upstream",
        "retry",
    ),
    (
        &[Place::TargetGroup],
        "outlier_detection passive passive_health",
        "outlier",
    ),
    (
        &[Place::TargetGroup],
        "maxconn max_conns max_connections max_requests",
        "max_concurrency",
    ),
    (
        &[Place::TargetGroup],
        "backlog max_pending_requests maxqueue",
        "queue",
    ),
    (
        &[Place::TargetGroup],
        "slowstart warmup ramp_up",
        "slow_start",
    ),
    (
        &[Place::TargetGroup],
        "drain drain_timeout drain_delay deregistration_timeout \
         deregistration_delay_timeout_seconds",
        "deregistration_delay",
    ),
    (
        &[Place::TargetGroup],
        "stickiness session sessions affinity cookie session_affinity sticky_sessions \
         session_persistence",
        "sticky",
    ),
    (
        &[Place::Target],
        "url host addr ip server target",
        "address",
    ),
    (&[Place::Health], "uri url", "path"),
    (&[Place::Health], "protocol", "type"),
    (&[Place::Health], "fall fails failures", "unhealthy"),
    (&[Place::Health], "rise passes", "healthy"),
    (
        &[Place::Health],
        "status codes expect success_codes",
        "matcher",
    ),
    (
        &[Place::Retry],
        "tries max_attempts num_retries max_retries count",
        "attempts",
    ),
    (&[Place::Retry], "on retry_on statuses codes", "status"),
    (&[Place::Outlier], "consecutive_5xx", "consecutive_errors"),
    (
        &[Place::Outlier],
        "base_ejection_time ejection_time",
        "ejection",
    ),
    (&[Place::Outlier], "max_ejection_percent", "max_ejected"),
    (&[Place::Queue], "size max depth", "length"),
    (&[Place::Queue], "max_wait wait", "timeout"),
    (&[Place::Sticky], "ttl max_age lifetime timeout", "duration"),
    (
        &[Place::TargetGroup],
        "autoscale autoscaler scaling hpa",
        "autoscaling",
    ),
    (&[Place::TargetGroup], "processes instances", "replicas"),
    (
        &[Place::Replicas],
        "number replicas desired desired_count instances",
        "count",
    ),
    (&[Place::Replicas, Place::Docker], "cmd args", "command"),
    (
        &[Place::Replicas],
        "cwd workdir working_directory",
        "directory",
    ),
    (&[Place::Replicas], "cpu cpu_limit cores", "cpus"),
    (&[Place::Replicas], "mem mem_limit memory_limit", "memory"),
    (&[Place::Replicas], "warmup", "warm_up"),
    (&[Place::Replicas], "leader is_scaler", "scaler"),
    (&[Place::Replicas], "k8s", "kubernetes"),
    (
        &[Place::Docker, Place::Swarm],
        "socket endpoint engine",
        "host",
    ),
    (&[Place::Docker, Place::Swarm], "networks", "network"),
    (&[Place::Docker], "volume mounts binds", "volumes"),
    (&[Place::Docker], "environment", "env"),
    (&[Place::Swarm, Place::Ecs], "service_name name", "service"),
    (&[Place::Kubernetes], "name", "deployment"),
    (&[Place::Kubernetes], "server host url", "api"),
    (&[Place::Ecs], "cluster_name", "cluster"),
    (&[Place::Ecs], "endpoint_url url", "endpoint"),
    (&[Place::Webhook], "endpoint address", "url"),
    (&[Place::WarmUp], "count number", "requests"),
    (&[Place::WarmUp, Place::CustomMetric], "url uri", "path"),
    (
        &[Place::Autoscaling, Place::Scheduled],
        "minimum min_capacity min_replicas min_size",
        "min",
    ),
    (
        &[Place::Autoscaling, Place::Scheduled],
        "maximum max_capacity max_replicas max_size",
        "max",
    ),
    (&[Place::Autoscaling], "preset mode", "profile"),
    (&[Place::Autoscaling], "interval resolution", "period"),
    (
        &[Place::Autoscaling],
        "scale_out_cooldown cooldown_out",
        "out_cooldown",
    ),
    (
        &[Place::Autoscaling],
        "scale_in_cooldown cooldown_in",
        "in_cooldown",
    ),
    (
        &[Place::Autoscaling],
        "warmup estimated_instance_warmup",
        "warm_up",
    ),
    (
        &[Place::Autoscaling],
        "tracking targets metrics",
        "target_tracking",
    ),
    (&[Place::Autoscaling], "steps step", "step_scaling"),
    (
        &[Place::Autoscaling],
        "scheduled schedules scheduled_actions",
        "schedule",
    ),
    (
        &[Place::Autoscaling],
        "predictive_scaling forecast",
        "predictive",
    ),
    (&[Place::Autoscaling], "csv log", "record"),
    (
        &[Place::TargetTracking, Place::Predictive],
        "target_value value",
        "target",
    ),
    (
        &[Place::TargetTracking, Place::StepScaling],
        "type metric_type predefined_metric_type metric_name",
        "metric",
    ),
    (
        &[Place::StepScaling],
        "operator comparison_operator",
        "comparison",
    ),
    (&[Place::StepScaling], "adjustment_type", "adjustment"),
    (&[Place::StepScaling], "evaluation_periods", "periods"),
    (
        &[Place::StepScaling],
        "min_adjustment_magnitude",
        "min_magnitude",
    ),
    (&[Place::StepScaling], "step_adjustments step", "steps"),
    (
        &[Place::Step],
        "scaling_adjustment adjustment change add",
        "by",
    ),
    (&[Place::Step], "metric_interval_lower_bound from", "lower"),
    (&[Place::Step], "metric_interval_upper_bound to", "upper"),
    (&[Place::Scheduled], "time date start_time", "at"),
    (&[Place::Scheduled], "tz zone time_zone", "timezone"),
    (&[Place::Scheduled], "every interval", "rate"),
    (&[Place::CustomMetric], "metric series", "name"),
    (&[Place::CustomMetric], "label", "labels"),
    (&[Place::Predictive], "scheduling_buffer_time", "buffer"),
    (&[Place::Predictive], "file store", "history"),
];

impl Place {
    /// The key that people who know another proxy or autoscaler look for under this name.
    pub(super) fn synonym(self, word: &str) -> Option<&'static str> {
        let word = snake_case(word);
        let is_meant = |(places, words, _): &&(&[Self], &str, &str)| {
            places.contains(&self) && words.split_whitespace().any(|known| known == word)
        };
        SYNONYMS.iter().find(is_meant).map(|(_, _, key)| *key)
    }
}

/// `MinCapacity`, as AWS's API has it, and `min-capacity` as `min_capacity`.
pub(super) fn snake_case(word: &str) -> Cow<'_, str> {
    if !word.contains(|c: char| c.is_ascii_uppercase() || "-. ".contains(c)) {
        return Cow::Borrowed(word);
    }
    let mut snake = String::new();
    let mut after_lower = false;
    for c in word.chars() {
        if c.is_ascii_uppercase() && after_lower {
            snake.push('_');
        }
        let c = if "-. ".contains(c) { '_' } else { c };
        after_lower = !c.is_ascii_uppercase() && c != '_';
        snake.push(c.to_ascii_lowercase());
    }
    Cow::Owned(snake)
}
