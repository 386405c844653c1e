//! Keys of other products that Weir has no key for, each with a sentence about how Weir does it, or
//! that it does not.

use super::keys::{self, snake_case};

/// Words, separated by spaces, and the sentence for them; one that ends in `*` is the beginning
/// of others.
type Remarks = [(&'static str, &'static str)];

const TLS: &str = "TLS with clients is a table of the listener: tls = { certificates = [{ cert = \"site.crt\", \
                   key = \"site.key\" }] }";
const LOG: &str = "requests are logged by access_log = \"failures\" or \"all\", at the top of the file; the rest by the \
     variable RUST_LOG and `weir run --log-format`";
const HOSTS: &str =
    "hosts are a condition of a rule: [[listener.rule]] with when = { host = \"example.com\" }";
const ROUTES: &str = "write [[listener.rule]] with priority = 10, when = { path = \"/api/*\" } and then = { forward = \"NAME\" }";
const LEAST: &str = "write algorithm = \"least_connections\"";
const IP_HASH: &str = "write algorithm = \"consistent_hash\"; its key is the client's address unless `hash` names another";
const ROUND_ROBIN: &str = "write algorithm = \"round_robin\", or leave it out: it is the default";

/// Words that no table of Weir has.
#[rustfmt::skip] // a table reads by rows
const EVERYWHERE: &Remarks = &[
    ("ssl https acme letsencrypt lets_encrypt auto_https cert certs certificate certificates certificate_arn \
      cert_file certfile key_file keyfile crt pem private_key ca ca_file sni alpn mtls ciphers cipher_suites hsts \
      verify insecure_skip_verify transport_socket cert_resolver certificates_resolvers force_https redirect_http \
      tls_* ssl_* acme_* cert_* certificate_*", TLS),
    ("h2 h2c http3 quic grpc http_version protocol_version enable_http2 http2_protocol_options \
      proxy_http_version",
        "clients may speak HTTP/2 to a listener (`http2`), and targets speak it in a group of protocol = \"http2\" or \"grpc\"; HTTP/3 is not there yet"),
    ("tcp udp stream tcp_listener", "TCP is balanced by a listener and a group of protocol = \"tcp\"; UDP is not there yet"),
    ("allow deny allowlist allow_list denylist whitelist blacklist ip_allow_list ip_white_list ingress \
      security_groups cidr_blocks acl firewall",
        "a listener accepts every address; to answer others with 403 write\n    fixed_response = { status = 403 \
         }\nand for those that may a rule: when = { source_ip = [\"10.0.0.0/8\"] }, then = { forward = \"NAME\" }"),
    ("rewrites url_rewrite path_rewrite prefix_rewrite strip_prefix strip_path replace_path rewrite_target add_prefix \
      regex_rewrite host_rewrite",
        "write rewrite = { prefix = { from = \"/api\", to = \"/\" } } beside `forward`; `path`, `regex` and `host` are other ways"),
    ("add_header proxy_set_header set_header http_request http_response custom_request_headers custom_response_headers \
      header_up header_down request_headers_to_add response_headers_to_add expires proxy_hide_header server_tokens \
      middlewares filters plugins headers",
        "write request_headers or response_headers = { set = { \"X-Name\" = \"value\" }, remove = [\"X-Other\"] } beside `forward`"),
    ("gzip compress compression brotli zstd encode deflate",
        "Weir does not compress; responses pass as the targets send them"),
    ("cache proxy_cache proxy_cache_path caching", "Weir does not cache; responses come from the targets each time"),
    ("root index try_files file_server autoindex alias document_root static_files",
        "Weir serves no files; forward to a server that does, or answer with\n    fixed_response = { status = 200, \
         body = \"...\" }"),
    ("auth_basic basic_auth auth_request forward_auth jwt oidc authenticate_oidc authenticate_cognito digest_auth",
        "Weir does not authenticate clients yet; let the targets do it"),
    ("cors", "Weir adds no CORS headers; let the targets do it"),
    ("mirror mirrors request_mirror_policies",
        "Weir does not mirror requests; a share of them goes elsewhere by weights: forward = [{ group = \"NAME\", \
         weight = 9 }, { group = \"OTHER\", weight = 1 }]"),
    ("websocket websockets upgrade_configs",
        "WebSocket and other upgrades work without a setting; `tunnel_timeout` of [target_group.NAME.upstream] limits \
         how long they are silent"),
    ("proxy_buffering buffering proxy_request_buffering buffers flush_interval",
        "bodies are always streamed; take it out"),
    ("resolver resolvers dns dns_servers nameservers",
        "names are looked up with the system's resolver, and again when their answer expires"),
    ("error_page errorfile error_pages errors",
        "errors are answered with a plain text of Weir's own; a fixed answer is fixed_response = { status = 503, body \
         = \"...\" }"),
    ("vpc_id arn subnets subnet_ids target_type target_group_arn tags load_balancer_arn load_balancer_type \
      name_prefix internal ip_address_type enable_deletion_protection lifecycle cross_zone availability_zones \
      launch_type task_definition ingress_class_name annotations",
        "it has a meaning for the cloud's own balancer only; take it out"),
];

/// Words at the top of the file.
#[rustfmt::skip] // a table reads by rows
const OF_THE_PROCESS: &Remarks = &[
    ("log_level loglevel log_file error_log log_format verbosity debug syslog", LOG),
    ("metrics stats prometheus status dashboard api ping monitoring telemetry",
        "metrics, status and dashboard are on the admin listener: admin = { bind = \"127.0.0.1:9090\" }, at the top \
         of the file"),
    ("user group pid pidfile pid_file daemon chroot daemonize uid gid ulimit_n worker_rlimit_nofile",
        "Weir stays in the foreground, as the user that starts it; systemd or the container decides the rest"),
    ("include includes import conf_d",
        "a configuration is one file; a list of targets can be a file of its own: targets = { file = \"targets.txt\" }"),
    ("global defaults default settings options events main version",
        "Weir has no such table: `workers`, `access_log` and the like stand at the top of the file"),
    ("http", "Weir has no such table: write [[listener]] and [target_group.NAME]"),
    ("port bind host address",
        "it belongs to a listener:\n    [[listener]]\n    bind = \"0.0.0.0:8080\"\n    forward = \"NAME\""),
    ("targets forward_to hosts nodes endpoints",
        "targets belong to a group:\n    [target_group.web]\n    targets = [\"10.0.0.1:6400\"]"),
    ("location locations route routes router routers rules path paths vhost virtual_hosts", ROUTES),
    ("worker_connections maxconn", "each listener has its own: max_connections = 10000 in [[listener]]"),
    ("timeout timeouts", "a client's are in [listener.client], a target's in [target_group.NAME.upstream]"),
    ("grace_period graceful_timeout hard_stop_after shutdown_timeout drain_timeout terminate_timeout",
        "write shutdown = { lame_duck = \"5s\", drain = \"25s\" }"),
];

/// Words in a listener and its rules.
#[rustfmt::skip] // a table reads by rows
const OF_A_LISTENER: &Remarks = &[
    ("server_name server_names hostname hostnames domain domains hosts host host_header", HOSTS),
    ("location locations route routes router routers path paths path_pattern handle handle_path use_backend \
      virtual_hosts path_prefix", ROUTES),
    ("scheme", "a listener speaks HTTP/1.1 without TLS, or looks at no byte: protocol = \"tcp\""),
    ("default_action default_actions fallback else",
        "the listener's own action is what other rules leave: forward = \"NAME\", redirect = { ... } or \
         fixed_response = { ... }, beside `bind`"),
    ("targets servers",
        "targets belong to a group: [target_group.NAME] with targets = [...], and forward = \"NAME\" here"),
    ("reuse_port reuseport backlog so_reuseport", "Weir does that by itself; take it out"),
    ("log log_level error_log log_format", LOG),
    ("client_max_body_size max_body_size body_limit max_request_size",
        "write [listener.client] with max_body = \"10MiB\""),
    ("timeout timeouts client_header_timeout read_timeout read_header_timeout timeout_http_request",
        "a client's are in [listener.client]: head_timeout, idle_timeout and body_timeout"),
    ("keepalive_timeout timeout_client timeout_http_keep_alive keep_alive",
        "write [listener.client] with idle_timeout = \"60s\""),
    ("client_body_timeout write_timeout", "write [listener.client] with body_timeout = \"60s\""),
    ("real_ip_header set_real_ip_from forwardfor use_remote_address real_ip forwarded_headers xff_num_trusted_hops \
      option_forwardfor",
        "write [listener.forwarded] with trusted_proxies = [\"10.0.0.0/8\"]"),
    ("max_conn maxconn limit_conn connection_limit worker_connections", "write max_connections = 10000"),
    ("return respond direct_response deny_status",
        "write fixed_response = { status = 404 } or redirect = { protocol = \"https\" }"),
    ("weight",
        "a weight stands beside its group: forward = [{ group = \"NAME\", weight = 9 }, { group = \"OTHER\", weight = \
         1 }]"),
];

/// Words in a target group.
#[rustfmt::skip] // a table reads by rows
const OF_A_GROUP: &Remarks = &[
    ("least_conn leastconn least_connections least_request", LEAST),
    ("ip_hash source hash_policy consistent_hash ring_hash maglev", IP_HASH),
    ("roundrobin round_robin wrr", ROUND_ROBIN),
    ("random", "write algorithm = \"random\""),
    ("backup fallback failover standby priority",
        "no target is kept as a backup yet; algorithm = \"first\" fills the targets in their order"),
    ("max_fails fail_timeout fall rise on_error observe circuit_breaker circuit_breakers",
        "what takes a failing target out for a while is [target_group.NAME.outlier], for all targets of a group"),
    ("down disabled", "write weight = 0: such a target gets no new requests"),
    ("scheme", "targets are spoken to in HTTP/1.1 without TLS, or get bytes as they are: protocol = \"tcp\""),
    ("weight", "a weight belongs to a target: { address = \"10.0.0.1:6400\", weight = 2 }"),
    ("health_check_path healthcheck_path health_path", "write health = { path = \"/health\" }"),
    ("health_check_interval inter check_interval", "write health = { interval = \"5s\" }"),
    ("health_check_timeout", "write health = { timeout = \"2s\" }"),
    ("health_check_matcher http_check httpchk option_httpchk",
        "write health = { path = \"/health\", matcher = \"200\" }"),
    ("check healthchecks health_checks healthcheck active_health_check",
        "write health = { path = \"/health\", interval = \"5s\" }, or health = false to check nothing"),
    ("health_check_grace_period health_check_grace_period_seconds",
        "a new replica gets its first request when it is healthy, however long that takes; take it out"),
    ("timeout timeouts",
        "write [target_group.NAME.upstream] with connect_timeout, response_timeout and body_timeout"),
    ("proxy_read_timeout timeout_server read_timeout proxy_send_timeout",
        "write [target_group.NAME.upstream] with response_timeout = \"60s\""),
    ("proxy_connect_timeout timeout_connect dial_timeout",
        "write [target_group.NAME.upstream] with connect_timeout = \"10s\""),
    ("keepalive max_idle_conns_per_host pool_size keep_alive",
        "write [target_group.NAME.upstream] with max_idle = 128"),
    ("pass_host_header host_header preserve_host",
        "the Host header is always passed on as the client sent it; take it out"),
    ("name id", "take it out: a target is called by its address"),
    ("desired_count desired_capacity scale", "write count = 2 in [target_group.NAME.replicas]"),
    ("min_capacity max_capacity min_size max_size min_replicas max_replicas",
        "write min = 1 and max = 4 in [target_group.NAME.autoscaling]"),
    ("discovery service_discovery consul etcd zookeeper",
        "targets are found by a name of DNS, by { srv = \"...\" } or in { file = \"...\" }, all under `targets`"),
    ("rules routes paths hosts", ROUTES),
    ("listen bind",
        "a listener listens, not a group: [[listener]] with bind = \"0.0.0.0:8080\" and forward = \"NAME\""),
];

/// Some of these words in other tables.
#[rustfmt::skip] // a table reads by rows
const ELSEWHERE: &Remarks = &[
    ("log_level log_format error_log", LOG),
    ("ip_hash", IP_HASH),
    ("least_conn leastconn", LEAST),
    ("roundrobin", ROUND_ROBIN),
    ("server_name", HOSTS),
    ("location", ROUTES),
];

/// What is said about a key of a certain table, whatever it resembles.
pub(super) fn sentence(path: &str, word: &str) -> Option<&'static str> {
    let is_in = |table: &keys::Table| path == table.path;
    let in_autoscaling = is_in(&keys::AUTOSCALING);
    let in_tracking = is_in(&keys::TARGET_TRACKING);
    match word {
        "name" if is_in(&keys::TARGET_GROUP) => {
            Some("a group has its name in its header: [target_group.NAME]")
        }
        "cooldown" | "scale_in_cooldown" | "scale_out_cooldown" if in_tracking => Some(
            "all target tracking of a group has one: `out_cooldown` and `in_cooldown` one level up",
        ),
        "cooldown" if in_autoscaling => Some("did you mean `out_cooldown` or `in_cooldown`?"),
        "path" if is_in(&keys::LISTENER) => Some(ROUTES),
        "disable_scale_in" | "DisableScaleIn" if in_autoscaling || in_tracking => {
            Some("write scale_in = false")
        }
        _ => None,
    }
}

/// The sentence for a key that another product has; `path` is that of the table.
pub(super) fn remark(path: &str, word: &str) -> Option<&'static str> {
    let of_the_table: &Remarks = match path {
        "" => OF_THE_PROCESS,
        "listener" | "listener.rule" | "listener.rule.when" | "listener.rule.then" => OF_A_LISTENER,
        "target_group.*" | "target_group.*.targets" | "target_group.*.upstream" => OF_A_GROUP,
        _ => &[],
    };
    let word = snake_case(word);
    let is_meant = |known: &str| match known.strip_suffix('*') {
        Some(start) => word.starts_with(start),
        None => known == word,
    };
    let mut all = [of_the_table, EVERYWHERE, ELSEWHERE].into_iter().flatten();
    let found = all.find(|(words, _)| words.split_whitespace().any(is_meant));
    found.map(|(_, sentence)| *sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_known_in_any_spelling() {
        for word in [
            "ssl",
            "SSL",
            "ssl_certificate",
            "sslCertificate",
            "tls-cert",
        ] {
            assert_eq!(remark("listener", word), Some(TLS), "{word}");
        }
        assert_eq!(remark("target_group.*", "leastconn"), Some(LEAST));
        assert_eq!(remark("listener", "colour"), None);
    }

    #[test]
    fn no_key_has_a_remark_in_its_own_table() {
        for table in [&keys::FILE, &keys::LISTENER, &keys::TARGET_GROUP] {
            for key in table.names() {
                assert_eq!(remark(table.path, key), None, "{} {key}", table.path);
            }
        }
    }
}
