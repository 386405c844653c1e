//! Reads `aws_lb_target_group` and its attachments.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use serde_json::Value;

use super::files::{Files, Resource};
use super::plan::{Group, Health, Sticky};
use super::section::Section;
use super::value::{self, plain, reference_in};

/// Defaults without a `health_check` block: those of AWS (elbv2 `CreateTargetGroup`).
const AWS_HEALTH: Defaults = Defaults {
    healthy: 5,
    unhealthy: 2,
    timeout: 5,
};

/// Defaults of a `health_check` block: those of the provider's `aws_lb_target_group`.
const PROVIDER_HEALTH: Defaults = Defaults {
    healthy: 3,
    unhealthy: 3,
    timeout: 6,
};

/// What ALB calls in a group of gRPC without a path, and the status that passes then: targets do not
/// implement it (elbv2 `CreateTargetGroup`).
const GRPC_PATH: &str = "/AWS.ALB/healthcheck";
const GRPC_MATCHER: &str = "12";

/// What passes a check by HTTP of a network load balancer (elbv2 `Matcher`).
const NLB_MATCHER: &str = "200-399";

/// What is said of a group that stands for one of other files.
const NOT_HERE: &str = "which is not in these files";

/// The protocol of a group whose bytes are not looked at.
const TCP: &str = "tcp";

/// Default time between checks, seconds.
const INTERVAL: u32 = 30;

/// Port of targets if none is known.
pub(super) const PORT: u16 = 80;

/// Default of elbv2 `deregistration_delay.timeout_seconds`, seconds.
const DEREGISTRATION_DELAY: u32 = 300;

/// Default of the provider's `cookie_duration`, seconds.
const COOKIE_DURATION: u32 = 86_400;

struct Defaults {
    healthy: u32,
    unhealthy: u32,
    timeout: u32,
}

/// All target groups.
pub(super) fn read(files: &Files<'_>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for found in files.all("aws_lb_target_group") {
        groups.extend(group(found));
    }
    for found in files.all("aws_lb_target_group_attachment") {
        attachment(&found.section, &mut groups);
        found.section.finish(&["availability_zone"]);
    }
    for found in files.all("aws_autoscaling_group") {
        for key in ["target_group_arns", "load_balancers"] {
            instances(&found.section, &found.address, key, &mut groups);
        }
        let message = "its instances are no replicas of Weir's";
        found.section.not_needed(message);
    }
    for found in files.all("aws_autoscaling_attachment") {
        let scaled = found.section.value("autoscaling_group_name");
        let name = scaled.as_ref().map_or_else(String::new, plain);
        for key in ["lb_target_group_arn", "alb_target_group_arn"] {
            instances(&found.section, &name, key, &mut groups);
        }
        found.section.finish(&["elb"]);
    }
    groups
}

/// The group of a reference to other files; it has defaults.
pub(super) fn unknown<'g>(
    groups: &'g mut Vec<Group>,
    value: &Value,
    port: Option<u16>,
) -> &'g mut Group {
    let written = plain(value);
    let at = groups.iter().position(|group| group.address == written);
    let at = at.unwrap_or_else(|| {
        let name = short_name(&written);
        let numbered = (1..).map(|n| {
            if n == 1 {
                name.clone()
            } else {
                format!("{name}_{n}")
            }
        });
        let mut free = numbered.filter(|name| groups.iter().all(|group| group.name != *name));
        let name = free.next().unwrap_or_default();
        groups.push(Group {
            origin: format!("{written}, {NOT_HERE}"),
            address: written,
            name,
            port,
            protocol: None,
            is_encrypted: false,
            has_proxy_header: false,
            algorithm: "round_robin",
            health: Some(Health::of(&AWS_HEALTH)),
            deregistration_delay: DEREGISTRATION_DELAY,
            slow_start: 0,
            min_healthy: None,
            sticky: None,
            targets: Vec::new(),
            placeholders: Vec::new(),
            idle_timeout: None,
            service: None,
        });
        groups.len() - 1
    });
    &mut groups[at]
}

/// Makes groups of other files, of which nothing is known, those of a listener of TCP. Returns whether
/// all with these names are for TCP.
pub(super) fn speak_tcp(groups: &mut [Group], names: &[(String, u32)]) -> bool {
    let is_named = |group: &&mut Group| names.iter().any(|(name, _)| *name == group.name);
    let mut is_tcp = true;
    for group in groups.iter_mut().filter(is_named) {
        if group.origin.ends_with(NOT_HERE) {
            group.protocol = Some(TCP);
            group.health = Some(Health::of_tcp(&AWS_HEALTH));
        }
        is_tcp &= group.protocol == Some(TCP);
    }
    is_tcp
}

/// The last meaningful part of a reference: `web` of `data.aws_lb_listener.web.arn`.
pub(super) fn short_name(written: &str) -> String {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let parts = written.split(|c| !legal(c)).filter(|part| !part.is_empty());
    let is_meaningful =
        |part: &&str| !matches!(*part, "arn" | "id" | "name" | "this" | "main" | "0");
    let last = parts
        .clone()
        .rfind(is_meaningful)
        .or_else(|| parts.clone().next_back());
    last.unwrap_or("other").chars().take(56).collect()
}

fn group(found: Resource<'_>) -> Option<Group> {
    let (origin, address, name, section) =
        (found.origin(), found.address, found.name, found.section);
    let (is_tcp, is_encrypted) = match transport(&section) {
        Ok(transport) => transport,
        Err(reason) => {
            section.drop_whole(reason);
            return None;
        }
    };
    let protocol = match section.text("protocol_version").as_deref() {
        _ if is_tcp => Some(TCP),
        Some("HTTP2") => Some("http2"),
        Some("GRPC") => Some("grpc"),
        _ => None,
    };
    let port = section.port("port");
    let group = Group {
        origin,
        address,
        name,
        port,
        protocol,
        is_encrypted,
        has_proxy_header: is_tcp && section.boolean("proxy_protocol_v2") == Some(true),
        algorithm: algorithm(&section, is_tcp),
        health: health(&section, port, protocol, is_encrypted),
        deregistration_delay: section
            .bounded("deregistration_delay", 0, 3600)
            .unwrap_or(DEREGISTRATION_DELAY),
        slow_start: match section.count("slow_start") {
            None | Some(0) => 0,
            Some(_) => section.bounded("slow_start", 30, 900).unwrap_or_default(),
        },
        min_healthy: min_healthy(&section),
        sticky: if is_tcp { None } else { sticky(&section) },
        targets: Vec::new(),
        placeholders: Vec::new(),
        idle_timeout: None,
        service: None,
    };
    if is_tcp && section.boolean("preserve_client_ip") == Some(true) {
        let message =
            "targets see the address of Weir: proxy_protocol = \"v2\" tells them the client's";
        section.not_mapped("preserve_client_ip", message);
    }
    section.finish(&[
        "connection_termination",
        "ip_address_type",
        "lambda_multi_value_headers_enabled",
        "load_balancer_arns",
        "load_balancing_anomaly_mitigation",
        "load_balancing_cross_zone_enabled",
        "preserve_client_ip",
        "proxy_protocol_v2",
        "target_failover",
        "target_health_state",
    ]);
    Some(group)
}

/// Whether a group is for TCP, and its targets are spoken to in TLS; else why it is not taken over.
fn transport(section: &Section<'_>) -> Result<(bool, bool), String> {
    let protocol = section
        .text("protocol")
        .unwrap_or_else(|| "HTTP".to_owned());
    let is_tcp = matches!(protocol.as_str(), "TCP" | "TLS" | "TCP_UDP");
    if !is_tcp && !matches!(protocol.as_str(), "HTTP" | "HTTPS") {
        return Err(format!(
            "a group for {protocol}: Weir forwards HTTP and TCP"
        ));
    }
    if protocol == "TCP_UDP" {
        section.not_mapped("protocol", "TCP_UDP: Weir forwards no UDP, TCP alone");
    }
    if let Some("lambda" | "alb") = section.text("target_type").as_deref() {
        return Err("its targets have no addresses that Weir could reach".to_owned());
    }
    let is_encrypted = matches!(protocol.as_str(), "HTTPS" | "TLS");
    if is_encrypted {
        let balancer = if is_tcp { "NLB" } else { "ALB" };
        let message = format!(
            "{protocol}: {balancer} takes any certificate of a target, so `insecure = true`; name \
             the authority in `ca` instead, and the name in `server_name`"
        );
        section.not_mapped("protocol", message);
    }
    Ok((is_tcp, is_encrypted))
}

fn algorithm(section: &Section<'_>, is_tcp: bool) -> &'static str {
    if is_tcp && has_source_stickiness(section) {
        return "consistent_hash";
    }
    let key = "load_balancing_algorithm_type";
    match section.text(key).as_deref() {
        None | Some("round_robin") => "round_robin",
        Some("least_outstanding_requests") => "least_connections",
        Some("weighted_random") => "weighted_random",
        Some(other) => {
            section.not_mapped(key, format!("no algorithm `{other}`, round_robin instead"));
            "round_robin"
        }
    }
}

/// Whether clients stay with their targets by their addresses.
fn has_source_stickiness(section: &Section<'_>) -> bool {
    let Some(block) = section.block("stickiness") else {
        return false;
    };
    let is_enabled = block.boolean("enabled").unwrap_or(true);
    let kind = block.text("type");
    let is_known = kind.as_deref() == Some("source_ip");
    if is_enabled && !is_known {
        block.not_mapped("type", "only source_ip of TCP");
    }
    block.finish(&["cookie_duration"]);
    is_enabled && is_known
}

/// The health check; `port` is that of the group, and the others say what it speaks.
fn health(
    section: &Section<'_>,
    port: Option<u16>,
    protocol: Option<&'static str>,
    is_encrypted: bool,
) -> Option<Health> {
    let (is_grpc, is_tcp) = (protocol == Some("grpc"), protocol == Some(TCP));
    let block = section.block("health_check");
    let default = if block.is_some() {
        PROVIDER_HEALTH
    } else {
        AWS_HEALTH
    };
    let mut health = Health::of(&default);
    if is_grpc {
        GRPC_PATH.clone_into(&mut health.path);
        GRPC_MATCHER.clone_into(&mut health.matcher);
    }
    let Some(block) = block else {
        health.tcp = is_tcp;
        return Some(health);
    };
    if is_tcp {
        NLB_MATCHER.clone_into(&mut health.matcher);
    }
    let enabled = block.boolean("enabled").unwrap_or(true);
    match block.text("protocol").as_deref() {
        None => {}
        Some("HTTPS") if is_encrypted => {}
        Some("HTTP") if !is_encrypted => {}
        Some("TCP") => health.tcp = true,
        Some(other) => {
            let own = if is_encrypted { "HTTPS" } else { "HTTP" };
            block.not_mapped("protocol", format!("a check with {other}, {own} instead"));
        }
    }
    health.port = check_port(&block, port);
    if let Some(path) = block.text("path") {
        // AWS requires the slash too, but reports it only when the files are applied.
        let slash = if path.starts_with('/') { "" } else { "/" };
        health.path = format!("{slash}{path}");
    }
    let statuses = if is_grpc { 0..=99 } else { 200..=499 };
    health.matcher = matcher(&block, statuses, &health.matcher).unwrap_or(health.matcher);
    for (key, field, most) in [
        ("interval", &mut health.interval, 3600),
        ("timeout", &mut health.timeout, 3600),
        ("healthy_threshold", &mut health.healthy, 100),
        ("unhealthy_threshold", &mut health.unhealthy, 100),
    ] {
        *field = block.bounded(key, 1, most).unwrap_or(*field);
    }
    if health.timeout >= health.interval {
        let below = health.interval.saturating_sub(1).max(1);
        let message = format!(
            "a timeout of {} s is not below the interval, {below} s instead",
            health.timeout
        );
        block.not_mapped("timeout", message);
        health.timeout = below;
    }
    block.finish(&[]);
    enabled.then_some(health)
}

/// The port of a check, unless it is that of the targets.
fn check_port(block: &Section<'_>, port: Option<u16>) -> Option<u16> {
    let own = block.text("port")?;
    if own == "traffic-port" {
        return None;
    }
    // The group's port stands for that of each target, which may differ here.
    block.port("port").filter(|own| Some(*own) != port)
}

impl Health {
    fn of_tcp(default: &Defaults) -> Self {
        Self {
            tcp: true,
            ..Self::of(default)
        }
    }

    fn of(default: &Defaults) -> Self {
        Self {
            tcp: false,
            path: "/".to_owned(),
            port: None,
            interval: INTERVAL,
            timeout: default.timeout,
            healthy: default.healthy,
            unhealthy: default.unhealthy,
            matcher: "200".to_owned(),
        }
    }
}

/// Statuses as `200`, `200-299` or `200,204`, of HTTP or of gRPC.
fn matcher(block: &Section<'_>, statuses: RangeInclusive<u16>, default: &str) -> Option<String> {
    let text = block.text("matcher")?;
    let is_status = |text: &str| {
        let status = text.trim().parse::<u16>();
        status.is_ok_and(|status| statuses.contains(&status))
    };
    let is_range = |part: &str| match part.split_once('-') {
        Some((low, high)) => is_status(low) && is_status(high) && low.trim() <= high.trim(),
        None => is_status(part),
    };
    if text.split(',').all(is_range) {
        return Some(text);
    }
    block.not_mapped(
        "matcher",
        format!(
            "`{text}` are no statuses from {} to {}, {default} instead",
            statuses.start(),
            statuses.end()
        ),
    );
    None
}

fn sticky(section: &Section<'_>) -> Option<Sticky> {
    let block = section.block("stickiness")?;
    let enabled = block.boolean("enabled").unwrap_or(true);
    let kind = block.text("type");
    let name = block.text("cookie_name");
    let duration = block
        .count("cookie_duration")
        .filter(|seconds| *seconds > 0)
        .unwrap_or(COOKIE_DURATION);
    let cookie = match kind.as_deref() {
        Some("lb_cookie") => Some(None),
        Some("app_cookie") if name.is_some() => Some(name),
        _ => None,
    };
    if cookie.is_none() && enabled {
        block.not_mapped(
            "type",
            "only lb_cookie, and app_cookie with its cookie_name",
        );
    }
    block.finish(&[]);
    let cookie = cookie.filter(|_| enabled)?;
    Some(Sticky { cookie, duration })
}

fn min_healthy(section: &Section<'_>) -> Option<String> {
    let health = section.block("target_group_health")?;
    let routing = health.block("unhealthy_state_routing");
    let least = routing.and_then(|routing| {
        let count = routing.text("minimum_healthy_targets_count");
        let percent = routing.text("minimum_healthy_targets_percentage");
        routing.finish(&[]);
        let is_on = |text: &String| text != "off";
        match (count.filter(is_on), percent.filter(is_on)) {
            (_, Some(percent)) => Some(format!("{percent}%")),
            (count, None) => count,
        }
    });
    health.finish(&["dns_failover"]);
    least
}

fn attachment(section: &Section<'_>, groups: &mut [Group]) {
    let Some(name) = section.reference("target_group_arn", "aws_lb_target_group") else {
        return;
    };
    let port = section.port("port");
    let target = section.value("target_id").unwrap_or_default();
    let Some(group) = groups.iter_mut().find(|group| group.address == name) else {
        section.not_mapped("target_group_arn", "its target group is not taken over");
        return;
    };
    match value::text(&target).parse::<IpAddr>() {
        Ok(ip) => {
            let port = port.or(group.port).unwrap_or(PORT);
            let address = SocketAddr::new(ip, port).to_string();
            if !group.targets.contains(&address) {
                group.targets.push(address);
            }
        }
        Err(_) => placeholder(section, "target_id", &plain(&target), group),
    }
}

/// Adds placeholders for the instances of an Auto Scaling group.
fn instances(section: &Section<'_>, owner: &str, key: &str, groups: &mut [Group]) {
    for item in section.items(key) {
        let address = section.address_of(&item, "aws_lb_target_group");
        let group = groups
            .iter_mut()
            .find(|group| Some(&group.address) == address.as_ref());
        match group {
            Some(group) => placeholder(section, key, owner, group),
            None if reference_in(&item).is_some() => {
                let message = format!("`{}` is no target group that is taken over", plain(&item));
                section.not_mapped(key, message);
            }
            None => {}
        }
    }
}

fn placeholder(section: &Section<'_>, key: &str, owner: &str, group: &mut Group) {
    let name = short_name(owner);
    let message = format!(
        "the addresses of `{owner}` are not known here: a placeholder stands for them in the group `{}`",
        group.name
    );
    section.not_mapped(key, message);
    if !group.placeholders.contains(&name) {
        group.placeholders.push(name);
    }
}
