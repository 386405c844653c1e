//! The words of other proxies and autoscalers, and what Weir calls the same thing.

use std::borrow::Cow;

use super::schema::Place;

impl Place {
    /// The key that people who know another proxy look for under this name.
    pub(super) fn synonym(self, word: &str) -> Option<&'static str> {
        let word = &*snake_case(word);
        let key = match (self, word) {
            (Self::File, "server" | "servers" | "frontend" | "entrypoint" | "listen") => "listener",
            (
                Self::File,
                "backend" | "backends" | "cluster" | "clusters" | "service" | "services" | "pool"
                | "upstream" | "upstreams",
            ) => "target_group",
            (Self::File, "threads") => "workers",
            (Self::File, "cookie_secret" | "session_key" | "secret_key") => "cookie_key",
            (Self::File, "upgrade" | "handover_socket") => "upgrade_socket",
            (Self::Admin, "password" | "secret" | "bearer" | "auth") => "token",
            (Self::Listener | Self::Admin, "listen" | "address" | "addr" | "port") => "bind",
            (Self::Listener, "proxy_pass" | "default" | "backend" | "target_group") => "forward",
            (Self::Listener, "limit_req" | "ratelimit" | "throttle") => "rate_limit",
            (Self::Listener | Self::Then, "stickiness" | "session") => "group_sticky",
            (Self::Client, "keepalive_requests" | "max_keepalive_requests") => "max_requests",
            (Self::RateLimit, "rate" | "limit" | "average") => "requests",
            (Self::RateLimit, "period" | "interval" | "window") => "per",
            (Self::RateLimit, "by" | "source") => "key",
            (Self::Rule, "match" | "condition" | "conditions" | "if") => "when",
            (Self::Rule, "action" | "actions" | "do") => "then",
            (Self::WeightedGroup, "name" | "target_group") => "group",
            (Self::When, "headers") => "header",
            (Self::When, "ip" | "remote_ip" | "client_ip") => "source_ip",
            (Self::When, "path_prefix" | "uri" | "url") => "path",
            (Self::Redirect | Self::FixedResponse, "code" | "status_code") => "status",
            (Self::Redirect, "scheme") => "protocol",
            (Self::FixedResponse, "message_body" | "message") => "body",
            _ => return self.synonym_in_group(word),
        };
        Some(key)
    }

    /// The same for the tables of a target group.
    fn synonym_in_group(self, word: &str) -> Option<&'static str> {
        let key = match (self, word) {
            (Self::TargetGroup, "servers" | "members" | "endpoints" | "backends" | "hosts") => {
                "targets"
            }
            (Self::TargetGroup, "policy" | "lb_policy" | "balance" | "strategy") => "algorithm",
            (Self::TargetGroup, "retries" | "retry_policy" | "redispatch") => "retry",
            (Self::TargetGroup, "outlier_detection" | "passive" | "passive_health") => "outlier",
            (Self::TargetGroup, "maxconn" | "max_conns" | "max_connections" | "max_requests") => {
                "max_concurrency"
            }
            (Self::TargetGroup, "backlog" | "max_pending_requests" | "maxqueue") => "queue",
            (Self::TargetGroup, "slowstart" | "warmup" | "ramp_up") => "slow_start",
            (Self::TargetGroup, "drain" | "drain_timeout" | "drain_delay") => {
                "deregistration_delay"
            }
            (Self::TargetGroup, "stickiness" | "session" | "sessions" | "affinity") => "sticky",
            (Self::Target, "url" | "host" | "addr" | "ip") => "address",
            (Self::Health, "uri" | "url") => "path",
            (Self::Health, "protocol") => "type",
            (Self::Health, "fall" | "fails" | "failures") => "unhealthy",
            (Self::Health, "rise" | "passes") => "healthy",
            (Self::Health, "status" | "codes" | "expect" | "success_codes") => "matcher",
            (Self::Retry, "tries" | "max_attempts") => "attempts",
            (Self::Retry, "on" | "retry_on" | "statuses" | "codes") => "status",
            (Self::Outlier, "consecutive_5xx") => "consecutive_errors",
            (Self::Outlier, "base_ejection_time" | "ejection_time") => "ejection",
            (Self::Outlier, "max_ejection_percent") => "max_ejected",
            (Self::Queue, "size" | "max" | "depth") => "length",
            (Self::Queue, "max_wait" | "wait") => "timeout",
            (Self::Sticky, "ttl" | "max_age" | "lifetime" | "timeout") => "duration",
            (Self::TargetGroup, "autoscale" | "autoscaler" | "scaling" | "hpa") => "autoscaling",
            (Self::TargetGroup, "processes" | "instances") => "replicas",
            _ => {
                return self
                    .synonym_of_runners(word)
                    .or_else(|| self.synonym_of_scaling(word));
            }
        };
        Some(key)
    }

    /// The same for who runs replicas.
    fn synonym_of_runners(self, word: &str) -> Option<&'static str> {
        let key = match (self, word) {
            (Self::Replicas, "number" | "replicas" | "desired" | "desired_count" | "instances") => {
                "count"
            }
            (Self::Replicas | Self::Docker, "cmd" | "args") => "command",
            (Self::Replicas, "cwd" | "workdir" | "working_directory") => "directory",
            (Self::Replicas, "cpu" | "cpu_limit" | "cores") => "cpus",
            (Self::Replicas, "mem" | "mem_limit" | "memory_limit") => "memory",
            (Self::Replicas, "warmup") => "warm_up",
            (Self::Replicas, "leader" | "is_scaler") => "scaler",
            (Self::Replicas, "k8s") => "kubernetes",
            (Self::Docker | Self::Swarm, "socket" | "endpoint" | "engine") => "host",
            (Self::Docker | Self::Swarm, "networks") => "network",
            (Self::Docker, "volume" | "mounts" | "binds") => "volumes",
            (Self::Docker, "environment") => "env",
            (Self::Swarm | Self::Ecs, "service_name" | "name") => "service",
            (Self::Kubernetes, "name") => "deployment",
            (Self::Kubernetes, "server" | "host" | "url") => "api",
            (Self::Ecs, "cluster_name") => "cluster",
            (Self::Ecs, "endpoint_url" | "url") => "endpoint",
            (Self::Webhook, "endpoint" | "address") => "url",
            (Self::WarmUp, "count" | "number") => "requests",
            (Self::WarmUp | Self::CustomMetric, "url" | "uri") => "path",
            _ => return None,
        };
        Some(key)
    }

    /// The same for how many there are.
    fn synonym_of_scaling(self, word: &str) -> Option<&'static str> {
        let bounds = matches!(self, Self::Autoscaling | Self::Scheduled);
        let key = match (self, word) {
            (_, "minimum" | "min_capacity" | "min_replicas" | "min_size") if bounds => "min",
            (_, "maximum" | "max_capacity" | "max_replicas" | "max_size") if bounds => "max",
            (Self::Autoscaling, "preset" | "mode") => "profile",
            (Self::Autoscaling, "interval" | "resolution") => "period",
            (Self::Autoscaling, "scale_out_cooldown" | "cooldown_out") => "out_cooldown",
            (Self::Autoscaling, "scale_in_cooldown" | "cooldown_in") => "in_cooldown",
            (Self::Autoscaling, "warmup" | "estimated_instance_warmup") => "warm_up",
            (Self::Autoscaling, "tracking" | "targets" | "metrics") => "target_tracking",
            (Self::Autoscaling, "steps" | "step") => "step_scaling",
            (Self::Autoscaling, "scheduled" | "schedules" | "scheduled_actions") => "schedule",
            (Self::Autoscaling, "predictive_scaling" | "forecast") => "predictive",
            (Self::Autoscaling, "csv" | "log") => "record",
            (Self::TargetTracking | Self::Predictive, "target_value" | "value") => "target",
            (Self::TargetTracking | Self::StepScaling, "type" | "metric_type") => "metric",
            (Self::StepScaling, "operator" | "comparison_operator") => "comparison",
            (Self::StepScaling, "adjustment_type") => "adjustment",
            (Self::StepScaling, "evaluation_periods") => "periods",
            (Self::StepScaling, "min_adjustment_magnitude") => "min_magnitude",
            (Self::StepScaling, "step_adjustments" | "step") => "steps",
            (Self::Step, "scaling_adjustment" | "adjustment" | "change" | "add") => "by",
            (Self::Step, "metric_interval_lower_bound" | "from") => "lower",
            (Self::Step, "metric_interval_upper_bound" | "to") => "upper",
            (Self::Scheduled, "time" | "date" | "start_time") => "at",
            (Self::Scheduled, "tz" | "zone" | "time_zone") => "timezone",
            (Self::Scheduled, "every" | "interval") => "rate",
            (Self::CustomMetric, "metric" | "series") => "name",
            (Self::CustomMetric, "label") => "labels",
            (Self::Predictive, "scheduling_buffer_time") => "buffer",
            (Self::Predictive, "file" | "store") => "history",
            _ => return None,
        };
        Some(key)
    }
}

/// `MinCapacity`, as AWS's API has it, as `min_capacity`.
fn snake_case(word: &str) -> Cow<'_, str> {
    if !word.contains(|c: char| c.is_ascii_uppercase()) {
        return Cow::Borrowed(word);
    }
    let mut snake = String::new();
    let mut after_lower = false;
    for c in word.chars() {
        if c.is_ascii_uppercase() && after_lower {
            snake.push('_');
        }
        after_lower = !c.is_ascii_uppercase() && c != '_';
        snake.push(c.to_ascii_lowercase());
    }
    Cow::Owned(snake)
}
