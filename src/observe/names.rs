//! All metric names: `weir_<what>[_<unit>]`; the encoder adds `_total` to counters. `process_*`
//! are the names which every Prometheus client uses.

/// A name and its help text.
pub(crate) type Name = (&'static str, &'static str);

/// Requests, by listener, group, target and class of the status the client got.
pub(crate) const REQUESTS: Name = (
    "weir_requests",
    "Requests answered, by listener, target group, target and class of the status sent",
);
/// From the request head to the last byte of the response.
pub(crate) const DURATION: Name = (
    "weir_request_duration_seconds",
    "Time from the request head to the last byte of the response",
);
/// ALB's `TargetResponseTime`, from the request head on.
pub(crate) const FIRST_BYTE: Name = (
    "weir_first_byte_seconds",
    "Time from the request head to the head of the target's response",
);
/// ALB's `RequestCountPerTarget` is by group; this is by rule.
pub(crate) const RULE_REQUESTS: Name = (
    "weir_rule_requests",
    "Requests by listener and the priority of the rule that matched; default is the default action",
);
/// New connections to targets, and failed attempts at one (ALB's `TargetConnectionErrorCount`).
pub(crate) const CONNECT_TIME: Name = (
    "weir_target_connect_seconds",
    "Time to open a connection to a target, with TLS and a PROXY header, by target group and result",
);
/// Requests that needed no new connection.
pub(crate) const REUSED: Name = (
    "weir_target_connection_reuses",
    "Requests answered over a connection to the target that was there already",
);
/// The time of TLS handshakes with clients.
pub(crate) const TLS_HANDSHAKE_TIME: Name = (
    "weir_tls_handshake_seconds",
    "Time of TLS handshakes with clients that have succeeded, from the accept on",
);
/// Requests that Weir answered itself because something failed, by group and reason.
pub(crate) const FAILURES: Name = (
    "weir_request_failures",
    "Requests that no target answered to the end, by target group and reason",
);
/// Connections of listeners of protocol `tcp` that have ended.
pub(crate) const TCP_CONNECTIONS: Name = (
    "weir_tcp_connections",
    "TCP connections that have ended, by listener, target group and target",
);
/// NLB's `ActiveFlowCount`.
pub(crate) const TCP_OPEN: Name = (
    "weir_tcp_connections_open",
    "TCP connections that have a target and are open now",
);
/// From the accept to the end.
pub(crate) const TCP_DURATION: Name = (
    "weir_tcp_connection_duration_seconds",
    "Time that TCP connections were open",
);
/// Why TCP connections have ended, by group and reason.
pub(crate) const TCP_ENDS: Name = (
    "weir_tcp_connection_ends",
    "TCP connections that have ended, by target group and reason: the side that ended them, or what failed",
);
/// Bytes from clients.
pub(crate) const TCP_RECEIVED: Name = (
    "weir_tcp_received_bytes",
    "Bytes of TCP connections received from clients and passed on",
);
/// Bytes to clients.
pub(crate) const TCP_SENT: Name = (
    "weir_tcp_sent_bytes",
    "Bytes of TCP connections sent to clients",
);
/// ALB's `DesyncMitigationMode_NonCompliant_Request_Count`, by class and reason.
pub(crate) const DESYNC: Name = (
    "weir_desync",
    "Requests that recipients could understand in two ways, by class (acceptable, ambiguous or severe) and reason",
);
/// Requests sent to another target, by group and by the reason which the attempt before gave; and
/// retries that were not made because the budget was spent.
pub(crate) const RETRIES: Name = (
    "weir_retries",
    "Retries by target group and reason; reason budget_exhausted counts those not made",
);
/// Calls of gRPC, by group and status.
pub(crate) const GRPC_CALLS: Name = (
    "weir_grpc_calls",
    "Calls of gRPC that have ended with a status, by target group and grpc-status",
);
/// Body bytes from clients.
pub(crate) const RECEIVED: Name = (
    "weir_request_body_bytes",
    "Bytes of request bodies received from clients",
);
/// Body bytes to clients.
pub(crate) const SENT: Name = (
    "weir_response_body_bytes",
    "Bytes of response bodies sent to clients",
);
/// Times at which a target sent bytes that could be taken for the response to the next request.
pub(crate) const UNSOLICITED: Name = (
    "weir_unsolicited_responses",
    "Times that a target sent bytes that no request asked for; its idle connections are closed then",
);
/// ALB's `UnhealthyRoutingRequestCount`.
pub(crate) const FAIL_OPEN: Name = (
    "weir_fail_open_requests",
    "Requests and TCP connections routed while their target group was failing open",
);
/// Requests in the queue of a target group.
pub(crate) const QUEUE_WAITING: Name = (
    "weir_queue_waiting",
    "Requests, or TCP connections, that wait for a place on a target of the target group",
);
/// Requests that have left the queue of a target group.
pub(crate) const QUEUED: Name = (
    "weir_queued_requests",
    "Requests, or TCP connections, that have waited for a place on a target of the target group",
);
/// The time of requests in a queue, served or not.
pub(crate) const QUEUE_WAIT: Name = (
    "weir_queue_wait_seconds",
    "Time that requests, or TCP connections, have waited for a place, whether they got one or not",
);
/// The places in the queue of a target group.
pub(crate) const QUEUE_LIMIT: Name = (
    "weir_queue_limit",
    "Most requests, or TCP connections, that may wait for a place on a target of the target group",
);
/// ALB's `ActiveConnectionCount`, of the clients.
pub(crate) const LISTENER_CONNECTIONS: Name = (
    "weir_listener_connections",
    "Client connections of a listener that are open",
);
/// The limit of it.
pub(crate) const LISTENER_MAX_CONNECTIONS: Name = (
    "weir_listener_max_connections",
    "Most client connections of a listener at a time",
);
/// Client connections accepted.
pub(crate) const CONNECTIONS: Name = ("weir_connections", "Client connections accepted");
/// TLS handshakes with clients.
pub(crate) const TLS_HANDSHAKES: Name = (
    "weir_tls_handshakes",
    "TLS handshakes with clients, by listener and result: full, resumed, or why it failed",
);
/// When certificates end.
pub(crate) const TLS_EXPIRY: Name = (
    "weir_tls_certificate_expiry_seconds",
    "When a certificate of a listener ends, in seconds since 1970",
);
/// Orders of certificates that fail.
pub(crate) const ACME_FAILURES: Name = (
    "weir_acme_failures",
    "Orders of a certificate for a domain by ACME that have failed in a row",
);
/// When another order is made.
pub(crate) const ACME_NEXT_TRY: Name = (
    "weir_acme_next_try_seconds",
    "When the certificate of a domain is ordered, or the authority asked whether to, in seconds since 1970",
);
/// Open tunnels, most of them `WebSocket` connections.
pub(crate) const TUNNELS: Name = (
    "weir_upgraded_connections",
    "Client connections that have switched to another protocol and are open now",
);
/// Reloads, by outcome.
pub(crate) const RELOADS: Name = ("weir_reloads", "Configurations loaded, by outcome");
/// Whether the last reload was accepted.
pub(crate) const RELOAD_SUCCESSFUL: Name = (
    "weir_last_reload_successful",
    "Whether the last configuration that was read is the one in use: 1 or 0",
);
/// When the configuration in use was loaded.
pub(crate) const RELOAD_TIME: Name = (
    "weir_last_reload_success_timestamp_seconds",
    "When the configuration in use was loaded, in seconds since 1970",
);
/// Panics, by the part of Weir that panicked.
pub(crate) const PANICS: Name = (
    "weir_panics",
    "Panics that were caught, by the part of Weir they came from: each is a defect, and in the log",
);
/// Requests in flight on a target.
pub(crate) const IN_FLIGHT: Name = (
    "weir_target_in_flight",
    "Requests on a target that are not answered to the last byte yet, or open TCP connections",
);
/// Connections of the workers' pools, and those in use.
pub(crate) const TARGET_CONNECTIONS: Name = (
    "weir_target_connections",
    "Connections to a target, with requests or without, as counted about once a second",
);
/// Connections of the workers' pools.
pub(crate) const TARGET_IDLE: Name = (
    "weir_target_connections_idle",
    "Connections to a target that have no request, as counted about once a second",
);
/// The result of the checks of a target.
pub(crate) const HEALTH: Name = (
    "weir_target_health",
    "Whether the checks of a target say that it serves: 1 or 0",
);
/// Whether outlier detection has ejected a target, whatever its checks say.
pub(crate) const EJECTED: Name = (
    "weir_target_ejected",
    "Whether a target is out for a while because of the requests it failed: 1 or 0",
);
/// Ejections, by target and reason.
pub(crate) const EJECTIONS: Name = (
    "weir_ejections",
    "Ejections of targets, by target and reason: consecutive_errors, consecutive_gateway_errors or error_ratio",
);
/// Ejections that did not happen, by target and reason.
pub(crate) const EJECTIONS_WITHHELD: Name = (
    "weir_ejections_withheld",
    "Targets that were to be ejected and were not because max_ejected or min_healthy allowed no more, by target and reason",
);
/// ALB's `AnomalousHostCount`, by target.
pub(crate) const ANOMALOUS: Name = (
    "weir_target_anomalous",
    "Whether a target fails more of its requests than its peers: 1 or 0",
);
/// ALB's `MitigatedHostCount`, by target and in numbers.
pub(crate) const SHARE: Name = (
    "weir_target_share",
    "How many of the requests it is picked for a target gets, 0 to 1: less than 1 in slow start and while anomalies are mitigated",
);
/// Finished health checks.
pub(crate) const CHECKS: Name = (
    "weir_health_checks",
    "Health checks finished, by target and outcome: passed or failed",
);
/// ALB's `HealthyHostCount` and `UnHealthyHostCount`.
pub(crate) const TARGETS: Name = (
    "weir_targets",
    "Targets of a target group, by state: initial, healthy, unhealthy or draining",
);
/// Whether a group fails open.
pub(crate) const FAILING_OPEN: Name = (
    "weir_target_group_failing_open",
    "Whether requests go to all targets because too few are healthy: 1 or 0",
);
/// The last answer for a name, or the last valid version of a file.
pub(crate) const DISCOVERY_SUCCESS: Name = (
    "weir_discovery_last_success_timestamp_seconds",
    "When a name of a target group was last resolved, or its file of targets read, in seconds since 1970",
);
/// The next lookup of a name.
pub(crate) const DISCOVERY_NEXT: Name = (
    "weir_discovery_next_lookup_timestamp_seconds",
    "When a name of a target group is resolved again, in seconds since 1970",
);
/// What they list.
pub(crate) const DISCOVERY_TARGETS: Name = (
    "weir_discovery_targets",
    "Targets that the last answer for a name, or the last valid version of a file, has",
);
/// Lookups and reads that have failed.
pub(crate) const DISCOVERY_FAILURES: Name = (
    "weir_discovery_failures",
    "Lookups of a name, or reads of a file of targets, that have failed; the last targets stay",
);
/// Whether a group is in maintenance.
pub(crate) const MAINTENANCE: Name = (
    "weir_target_group_maintenance",
    "Whether the requests of a target group are answered with 503 because it is in maintenance: 1 or 0",
);
/// How many replicas a group that scales should have.
pub(crate) const SCALING_DESIRED: Name = (
    "weir_autoscaling_desired",
    "Replicas that a target group should have, by its last evaluation",
);
/// How many of them are in service.
pub(crate) const SCALING_RUNNING: Name = (
    "weir_autoscaling_running",
    "Replicas of a target group that are in service",
);
/// The lower bound that holds now.
pub(crate) const SCALING_MIN: Name = (
    "weir_autoscaling_min",
    "Fewest replicas a target group may have, after scheduled actions",
);
/// The upper bound that holds now.
pub(crate) const SCALING_MAX: Name = (
    "weir_autoscaling_max",
    "Most replicas a target group may have, after scheduled actions",
);
/// What a policy goes by.
pub(crate) const SCALING_METRIC: Name = (
    "weir_autoscaling_metric",
    "Value of the metric of a policy at its last evaluation, in the metric's unit",
);
/// What it is to be.
pub(crate) const SCALING_TARGET: Name = (
    "weir_autoscaling_target",
    "Target of a policy, or the threshold of a step policy, in the metric's unit",
);
/// `CloudWatch`'s alarm states.
pub(crate) const SCALING_ALARM: Name = (
    "weir_autoscaling_alarm",
    "Whether the alarm of a policy is in a state: ok, high, low or insufficient_data; 1 or 0",
);
/// Evaluations, by outcome.
pub(crate) const SCALING_DECISIONS: Name = (
    "weir_autoscaling_decisions",
    "Evaluations of a target group by outcome (scale_out, scale_in or hold) and the reason to hold",
);
/// Lines that could not be written to the file of `record`.
pub(crate) const SCALING_UNRECORDED: Name = (
    "weir_autoscaling_unrecorded",
    "Evaluations of a target group that the file of record misses because its disk was slow or failing",
);
/// Whether the provider of a group's replicas fails.
pub(crate) const REPLICAS_FAULT: Name = (
    "weir_replicas_fault",
    "Whether the provider of a target group's replicas fails at present: 1 or 0",
);
/// How many replicas a provider is to run.
pub(crate) const REPLICAS_DESIRED: Name = (
    "weir_replicas_desired",
    "Replicas that a target group should have, as their provider has it",
);
/// How many there are.
pub(crate) const REPLICAS: Name = (
    "weir_replicas",
    "Replicas of a target group, by state: starting, running, draining or stopping",
);
/// A replica that is started again keeps its name.
pub(crate) const REPLICA_RESTARTS: Name = (
    "weir_replica_restarts",
    "How many times a replica was started again",
);
/// Those that have ended, and why.
pub(crate) const REPLICA_STOPS: Name = (
    "weir_replica_stops",
    "Replicas that have stopped, by target group and reason: exited, scale_in, replaced, restart, removed, shutdown or engine",
);
/// As the provider measures it.
pub(crate) const REPLICA_CPU: Name = (
    "weir_replica_cpu_percent",
    "CPU time that a replica uses, in percent of what it may",
);
/// As the provider measures it.
pub(crate) const REPLICA_MEMORY: Name = (
    "weir_replica_memory_percent",
    "Memory that a replica uses, in percent of what it may",
);
/// Log lines that were dropped because the output of the log stalled or failed.
pub(crate) const LOG_DROPPED: Name = (
    "weir_log_lines_dropped",
    "Log lines dropped because the output of the log stalled or failed, by kind: access or event",
);
/// What a collector has taken.
pub(crate) const SPANS_EXPORTED: Name = (
    "weir_spans_exported",
    "Spans of requests that the collector has taken",
);
/// The queue was full, or the collector did not take them.
pub(crate) const SPANS_DROPPED: Name = (
    "weir_spans_dropped",
    "Spans of requests that are lost, because the collector did not take them in time",
);
/// Version of the snapshot.
pub(crate) const SNAPSHOT: Name = (
    "weir_snapshot_version",
    "Counts up with each publication: a reload, a member or a change of health",
);
/// Same as `/readyz`.
pub(crate) const READY: Name = ("weir_ready", "Whether requests are wanted: 1 or 0");
/// A gauge, because the `info` type is unknown to the older text format.
pub(crate) const BUILD: Name = ("weir_build_info", "The version that runs, as a label");
/// Seconds since 1970.
pub(crate) const PROCESS_START: Name = (
    "process_start_time_seconds",
    "When the process started, in seconds since 1970",
);
/// Resident set size.
pub(crate) const PROCESS_MEMORY: Name = (
    "process_resident_memory_bytes",
    "Physical memory of the process",
);
/// Address space.
pub(crate) const PROCESS_VIRTUAL: Name = (
    "process_virtual_memory_bytes",
    "Address space of the process",
);
/// User and system time of all threads.
pub(crate) const PROCESS_CPU: Name = (
    "process_cpu_seconds",
    "CPU time of the process, of user and system together",
);
/// Sockets, mostly.
pub(crate) const PROCESS_FDS: Name = ("process_open_fds", "Open file descriptors");
/// The soft limit, which Weir raises to the hard one.
pub(crate) const PROCESS_MAX_FDS: Name = ("process_max_fds", "Most open file descriptors");
