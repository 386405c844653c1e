//! Writes a plan as the text of a `weir.toml`.

use ipnet::IpNet;

use super::group::PORT;
use super::input::{Options, SourceFile};
use super::plan::{Access, Action, Conditions, Group, Listener, Plan, Query, Tls};
use super::replicas;
use super::toml::{Text, key, list, quote, variable};
use crate::tools::import::note::{Note, NoteKind};

/// Ports below this one need a capability.
const FIRST_FREE_PORT: u16 = 1024;

/// Default of ALB's idle timeout and of Weir's timeouts, seconds.
const IDLE_TIMEOUT: u32 = 60;

/// The whole file.
pub(super) fn write(
    files: &[SourceFile],
    plan: &Plan,
    notes: &[Note],
    options: &Options,
) -> String {
    let mut out = Text::default();
    out.comment("Made by `weir import terraform` of");
    for file in files {
        out.comment(&format!("  {}", file.name));
    }
    if notes.iter().any(|note| note.kind == NoteKind::NotMapped) {
        out.comment("What is not taken over is listed at the end.");
    }
    out.blank();
    out.comment("Status, metrics and what scales:");
    out.line("# admin = { bind = \"127.0.0.1:9090\" }");
    for listener in &plan.listeners {
        write_listener(&mut out, listener, &plan.listeners);
    }
    for group in &plan.groups {
        write_group(&mut out, group, options);
    }
    for (kind, heading) in [
        (NoteKind::NotMapped, "Not taken over:"),
        (NoteKind::NotNeeded, "Not needed here:"),
    ] {
        let of_kind: Vec<_> = notes.iter().filter(|note| note.kind == kind).collect();
        if of_kind.is_empty() {
            continue;
        }
        out.blank();
        out.comment(heading);
        for note in of_kind {
            out.comment(&format!("  {note}"));
        }
    }
    out.into_string()
}

fn write_listener(out: &mut Text, listener: &Listener, all: &[Listener]) {
    out.blank();
    out.comment(&listener.origin);
    out.line("[[listener]]");
    out.entry("name", &quote(&listener.name));
    let host = match listener.access {
        Access::Unknown => "127.0.0.1",
        ref access if access.is_v6() => "[::]",
        Access::All | Access::AllIpv6 | Access::Only(_) => "0.0.0.0",
    };
    let port = listener.own_port();
    if port < FIRST_FREE_PORT {
        out.comment(&format!("Port {port} needs root or CAP_NET_BIND_SERVICE."));
    }
    let variable = bind_variable(listener, all);
    out.entry("bind", &format!("\"${{{variable}:-{host}:{port}}}\""));
    if listener.is_tcp {
        out.entry("protocol", "\"tcp\"");
    }
    if let Some(tls) = &listener.tls {
        write_tls(out, tls, listener.is_tcp);
    }
    write_action(out, &listener.default);
    if let Some(idle) = listener.idle_timeout.filter(|_| listener.is_tcp) {
        out.entry("client", &format!("{{ idle_timeout = \"{idle}s\" }}"));
    } else if let Some(idle) = listener.idle_timeout.filter(|idle| *idle != IDLE_TIMEOUT) {
        out.entry(
            "client",
            &format!("{{ idle_timeout = \"{idle}s\", body_timeout = \"{idle}s\" }}"),
        );
    }
    if let Access::Only(_) = listener.access {
        out.blank();
        out.comment("Its security groups allow some networks: the rules below hold for them,");
        out.comment("and all other clients get 403.");
    }
    for rule in &listener.rules {
        out.blank();
        out.comment(&rule.origin);
        out.line("[[listener.rule]]");
        out.entry("priority", &rule.priority.to_string());
        out.line("[listener.rule.when]");
        write_conditions(out, &rule.when);
        out.line("[listener.rule.then]");
        write_action(out, &rule.action);
    }
}

/// As a comment, because the files are not there.
fn write_tls(out: &mut Text, tls: &Tls, is_tcp: bool) {
    let pair = |name: &String| format!("{{ cert = \"{name}.crt\", key = \"{name}.key\" }}");
    let certificates: Vec<_> = tls.certificates.iter().map(pair).collect();
    let certificates = certificates.join(", ");
    let version = tls
        .min_version
        .map(|version| format!(", min_version = \"{version}\""));
    let version = version.unwrap_or_default();
    let name = if is_tcp { "TLS" } else { "HTTPS" };
    out.comment(&format!(
        "{name} once certificates and keys are beside this file and the next line is no comment:"
    ));
    out.comment(&format!(
        "tls = {{ certificates = [{certificates}]{version} }}"
    ));
    if tls.without_http2 {
        out.entry("http2", "false");
    }
}

/// The variable of a listener's address: by its port, or by its name if others have that port.
fn bind_variable(listener: &Listener, all: &[Listener]) -> String {
    let same = all.iter().filter(|other| other.port == listener.port);
    match (all.len(), same.count()) {
        (1, _) => "WEIR_BIND".to_owned(),
        (_, 1) => format!("WEIR_BIND_{}", listener.port),
        _ => format!("WEIR_BIND_{}", variable(&listener.name)),
    }
}

fn write_conditions(out: &mut Text, when: &Conditions) {
    for (key, values) in [
        ("host", &when.host),
        ("path", &when.path),
        ("method", &when.method),
    ] {
        if !values.is_empty() {
            out.entry(key, &list(values));
        }
    }
    if !when.headers.is_empty() {
        out.entry("header", &table(&when.headers));
    }
    match &when.query {
        Query::Any => {}
        Query::OneOf(values) => out.entry("query", &list(values)),
        Query::All(pairs) => out.entry("query", &table(pairs)),
    }
    if !when.source_ip.is_empty() {
        let networks: Vec<_> = when.source_ip.iter().map(IpNet::to_string).collect();
        out.entry("source_ip", &list(&networks));
    }
}

fn write_action(out: &mut Text, action: &Action) {
    match action {
        Action::Forward { groups, sticky } => {
            match groups.as_slice() {
                [(name, 1..)] => out.entry("forward", &quote(name)),
                groups => {
                    let groups: Vec<_> = groups
                        .iter()
                        .map(|(name, weight)| {
                            format!("{{ group = {}, weight = {weight} }}", quote(name))
                        })
                        .collect();
                    out.entry("forward", &format!("[{}]", groups.join(", ")));
                }
            }
            if let Some(seconds) = sticky {
                out.entry("group_sticky", &format!("\"{seconds}s\""));
            }
        }
        Action::Redirect(parts) => {
            let number = |key: &str, value: &str| {
                matches!(key, "status" | "port") && value.bytes().all(|byte| byte.is_ascii_digit())
            };
            let parts: Vec<_> = parts
                .iter()
                .map(|(key, value)| {
                    if number(key, value) {
                        format!("{key} = {value}")
                    } else {
                        format!("{key} = {}", quote(value))
                    }
                })
                .collect();
            out.entry("redirect", &format!("{{ {} }}", parts.join(", ")));
        }
        Action::FixedResponse {
            status,
            content_type,
            body,
        } => {
            let mut parts = vec![format!("status = {status}")];
            let texts = [("content_type", content_type), ("body", body)];
            for (key, text) in texts {
                parts.extend(text.iter().map(|text| format!("{key} = {}", quote(text))));
            }
            out.entry("fixed_response", &format!("{{ {} }}", parts.join(", ")));
        }
    }
}

fn write_group(out: &mut Text, group: &Group, options: &Options) {
    out.blank();
    out.comment(&group.origin);
    let heading = format!("target_group.{}", key(&group.name));
    out.line(&format!("[{heading}]"));
    if let Some(port) = group.port {
        out.entry("port", &port.to_string());
    }
    let targets = if options.targets.is_empty() {
        &group.targets
    } else {
        &options.targets
    };
    let mut targets: Vec<String> = targets.iter().map(|target| quote(target)).collect();
    if !replicas::are_run(group, options) {
        if targets.is_empty() && !group.placeholders.is_empty() {
            out.comment(
                "Set the variable to the addresses, separated by commas, or write them here.",
            );
        }
        if options.targets.is_empty() {
            targets.extend(
                group
                    .placeholders
                    .iter()
                    .map(|name| placeholder(name, group.port)),
            );
        }
    }
    if !targets.is_empty() || !replicas::are_run(group, options) {
        out.entry("targets", &format!("[{}]", targets.join(", ")));
    }
    write_protocol(out, group);
    out.entry("algorithm", &quote(group.algorithm));
    if let Some(least) = &group.min_healthy {
        let share = least.ends_with('%');
        out.entry(
            "min_healthy",
            &if share { quote(least) } else { least.clone() },
        );
    }
    if group.slow_start > 0 {
        out.entry("slow_start", &format!("\"{}s\"", group.slow_start));
    }
    out.entry(
        "deregistration_delay",
        &format!("\"{}s\"", group.deregistration_delay),
    );
    if let Some(idle) = group.idle_timeout.filter(|idle| *idle != IDLE_TIMEOUT) {
        let value = format!("{{ response_timeout = \"{idle}s\", body_timeout = \"{idle}s\" }}");
        out.entry("upstream", &value);
    }
    write_sticky(out, group);
    write_health(out, group, &heading);
    if let Some(service) = &group.service {
        replicas::write(out, service, &heading, options);
    }
}

fn write_protocol(out: &mut Text, group: &Group) {
    if let Some(protocol) = group.protocol {
        out.entry("protocol", &quote(protocol));
    }
    if group.is_encrypted {
        out.entry("tls", "{ insecure = true }");
    }
    if group.has_proxy_header {
        out.entry("proxy_protocol", "\"v2\"");
    }
}

/// A target that does not exist (RFC 6761), unless a variable names others.
fn placeholder(name: &str, port: Option<u16>) -> String {
    let host: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '-'
            }
        })
        .collect();
    let host = match host.trim_matches('-') {
        "" => "targets",
        host => host,
    };
    let port = port.unwrap_or(PORT);
    format!("\"${{{}_TARGETS:-{host}.invalid:{port}}}\"", variable(name))
}

fn write_sticky(out: &mut Text, group: &Group) {
    let Some(sticky) = &group.sticky else { return };
    let duration = sticky.duration;
    let value = match &sticky.cookie {
        None => format!("{{ type = \"lb_cookie\", duration = \"{duration}s\" }}"),
        Some(name) => format!(
            "{{ type = \"app_cookie\", name = {}, duration = \"{duration}s\" }}",
            quote(name)
        ),
    };
    out.entry("sticky", &value);
}

fn write_health(out: &mut Text, group: &Group, heading: &str) {
    let Some(health) = &group.health else {
        out.entry("health", "false");
        return;
    };
    out.blank();
    out.line(&format!("[{heading}.health]"));
    if health.tcp {
        out.entry("type", "\"tcp\"");
    } else {
        out.entry("path", &quote(&health.path));
    }
    if let Some(port) = health.port {
        out.entry("port", &port.to_string());
    }
    out.entry("interval", &format!("\"{}s\"", health.interval));
    out.entry("timeout", &format!("\"{}s\"", health.timeout));
    out.entry("healthy", &health.healthy.to_string());
    out.entry("unhealthy", &health.unhealthy.to_string());
    if !health.tcp {
        out.entry("matcher", &quote(&health.matcher));
    }
}

fn table(pairs: &[(String, Vec<String>)]) -> String {
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(name, values)| format!("{} = {}", key(name), list(values)))
        .collect();
    format!("{{ {} }}", pairs.join(", "))
}
