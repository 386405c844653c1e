//! The same configuration in the languages of the three proxies.
//!
//! Every proxy has two workers, a connect timeout of 500 ms, a second for the head of a
//! response, retries of all requests that it can retry safely, and half a second between health
//! checks. nginx has no checks and uses failed requests instead.

use std::net::SocketAddr;
use std::path::Path;

use super::{Kind, LogPlace, Spec};

pub(super) fn render(
    kind: Kind,
    spec: &Spec,
    folder: &Path,
    addr: SocketAddr,
    admin: SocketAddr,
) -> String {
    let bind = if spec.wide {
        SocketAddr::from(([0, 0, 0, 0], addr.port()))
    } else {
        addr
    };
    match kind {
        Kind::Weir => weir(spec, folder, bind, admin),
        Kind::Nginx => nginx(spec, folder, bind),
        Kind::Haproxy => haproxy(spec, bind),
    }
}

/// Groups of targets from files, and rules that name them.
fn file_groups(spec: &Spec, folder: &Path) -> (String, String) {
    let rule = |number: usize| {
        format!(
            "[[listener.rule]]\npriority = {number}\nwhen = {{ path = \"/file/{number}\" }}\n\
             then = {{ forward = \"file{number}\" }}\n"
        )
    };
    let group = |number: usize| {
        format!(
            "[target_group.file{number}]\ntargets = [{{ file = \"{}/targets\" }}]\n",
            folder.display()
        )
    };
    let numbers = || 1..=spec.file_groups;
    let rules: Vec<String> = numbers().map(rule).collect();
    let groups: Vec<String> = numbers().map(group).collect();
    (rules.concat(), groups.concat())
}

fn weir(spec: &Spec, folder: &Path, addr: SocketAddr, admin: SocketAddr) -> String {
    let targets: Vec<String> = match &spec.name {
        Some(name) => vec![format!("\"{}:{}\"", name.host, name.port)],
        None => spec
            .targets
            .iter()
            .map(|addr| format!("\"{addr}\""))
            .collect(),
    };
    let sticky = if spec.sticky {
        "sticky = { type = \"lb_cookie\", duration = \"1h\" }"
    } else {
        ""
    };
    let limit = match spec.limit {
        Some(limit) => format!(
            "max_concurrency = {limit}\nqueue = {{ length = {}, timeout = \"1s\" }}",
            spec.queue
        ),
        None => String::new(),
    };
    let log = match spec.log {
        LogPlace::File => "failures",
        LogPlace::Stalled | LogPlace::Gone | LogPlace::Full => "all",
    };
    let number = spec.group;
    let (rules, groups) = file_groups(spec, folder);
    format!(
        r#"
workers = 2
access_log = "{log}"
cookie_key = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
upgrade_socket = "{}/upgrade.sock"
[shutdown]
lame_duck = "1s"
drain = "5s"
[admin]
bind = "{admin}"
[[listener]]
bind = "{addr}"
forward = "app{number}"
{rules}
[target_group.app{number}]
targets = [{}]
deregistration_delay = "5s"
health = {{ path = "/health", interval = "500ms", timeout = "300ms", healthy = 1, unhealthy = 2 }}
upstream = {{ connect_timeout = "500ms", response_timeout = "1s" }}
retry = {{ status = [502, 503, 504] }}
{sticky}
{limit}
{groups}
"#,
        folder.display(),
        targets.join(", "),
    )
}

/// The group of targets, and the directives that pass requests to it.
fn nginx_upstream(spec: &Spec) -> (String, String) {
    let limit = spec
        .limit
        .map_or(String::new(), |limit| format!(" max_conns={limit}"));
    let servers: Vec<String> = spec
        .targets
        .iter()
        .map(|addr| format!("server {addr}{limit};"))
        .collect();
    match &spec.name {
        // nginx resolves names in variables again, but not those of an `upstream`.
        Some(name) => (
            String::new(),
            format!(
                "resolver {} valid=1s; set $app {}; proxy_pass http://$app:{};",
                name.server, name.host, name.port
            ),
        ),
        None => (
            format!(
                "upstream app {{ zone app 128k; {} {} keepalive 64; }}",
                if spec.sticky {
                    "hash $http_x_client consistent;"
                } else {
                    ""
                },
                servers.join(" ")
            ),
            "proxy_pass http://app;".to_owned(),
        ),
    }
}

fn nginx(spec: &Spec, folder: &Path, addr: SocketAddr) -> String {
    let (upstream, pass) = nginx_upstream(spec);
    format!(
        r#"
daemon on;
worker_processes 2;
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections 4096; }}
http {{
    access_log {};
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {upstream}
    server {{
        listen {addr};
        location / {{
            {pass}
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_connect_timeout 500ms;
            proxy_read_timeout 1s;
            proxy_next_upstream error timeout http_502 http_503 http_504;
        }}
    }}
}}
"#,
        if spec.log == LogPlace::Full {
            "/dev/full"
        } else {
            "off"
        },
        folder = folder.display(),
    )
}

fn haproxy(spec: &Spec, addr: SocketAddr) -> String {
    let sticky = if spec.sticky {
        "cookie SRV insert indirect nocache"
    } else {
        ""
    };
    let log = match spec.log {
        LogPlace::File => "",
        LogPlace::Stalled | LogPlace::Gone | LogPlace::Full => "log global\n    option httplog",
    };
    let level = if log.is_empty() { "notice" } else { "info" };
    let number = spec.group;
    let queue = if spec.limit.is_some() {
        "timeout queue 1s"
    } else {
        ""
    };
    let (resolvers, servers) = haproxy_servers(spec);
    format!(
        "
global
    nbthread 2
    maxconn 4096
    log stdout format raw local0 {level}
{resolvers}
defaults
    mode http
    {log}
    timeout client 60s
    timeout connect 500ms
    timeout server 1s
    timeout http-request 10s
    retries 3
    option redispatch 1
    retry-on conn-failure empty-response response-timeout 502 503 504
frontend web
    bind {addr}
    http-request disable-l7-retry if METH_POST
    default_backend app{number}
backend app{number}
    balance roundrobin
    option httpchk GET /health
    http-reuse safe
    {sticky}
    {queue}
{servers}
",
    )
}

/// The section of resolvers, and the lines of the servers.
fn haproxy_servers(spec: &Spec) -> (String, String) {
    let check = "check inter 500ms fall 2 rise 1";
    if let Some(name) = &spec.name {
        let resolvers = format!(
            "resolvers dns\n    nameserver one {}:53\n    hold valid 1s\n    hold obsolete 1s",
            name.server
        );
        let servers = format!(
            "    server-template app 4 {}:{} resolvers dns init-addr none {check}",
            name.host, name.port
        );
        return (resolvers, servers);
    }
    let limit = spec
        .limit
        .map_or(String::new(), |limit| format!(" maxconn {limit}"));
    let server = |addr: &SocketAddr| {
        let name = format!("s{}", addr.port());
        let cookie = if spec.sticky {
            format!(" cookie {name}")
        } else {
            String::new()
        };
        format!("    server {name} {addr} {check}{limit}{cookie}")
    };
    let servers: Vec<String> = spec.targets.iter().map(server).collect();
    (String::new(), servers.join("\n"))
}
