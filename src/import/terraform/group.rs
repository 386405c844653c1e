//! `aws_lb_target_group` and what is attached to it.

use super::files::Files;
use super::plan::{Group, Health, Sticky};
use super::section::Section;

/// Of a group whose health check the files leave to AWS (elbv2 `CreateTargetGroup`).
const AWS_HEALTH: Defaults = Defaults {
    healthy: 5,
    unhealthy: 2,
    timeout: 5,
};

/// Of a `health_check` block that leaves something out (the provider's `aws_lb_target_group`).
const PROVIDER_HEALTH: Defaults = Defaults {
    healthy: 3,
    unhealthy: 3,
    timeout: 6,
};

/// Seconds between checks, of both.
const INTERVAL: u32 = 30;

/// Seconds, elbv2 `deregistration_delay.timeout_seconds`.
const DEREGISTRATION_DELAY: u32 = 300;

/// Seconds, the provider's `cookie_duration`.
const COOKIE_DURATION: u32 = 86_400;

struct Defaults {
    healthy: u32,
    unhealthy: u32,
    timeout: u32,
}

/// All target groups that HTTP requests can be sent to.
pub(super) fn read(files: &Files<'_>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for found in files.all("aws_lb_target_group") {
        groups.extend(group(found.origin(), found.name.to_owned(), found.section));
    }
    for found in files.all("aws_lb_target_group_attachment") {
        attachment(&found.section, &mut groups);
        found.section.finish(&["availability_zone"]);
    }
    groups
}

fn group(origin: String, name: String, section: Section<'_>) -> Option<Group> {
    let protocol = section
        .text("protocol")
        .unwrap_or_else(|| "HTTP".to_owned());
    let kind = section.text("target_type");
    match protocol.as_str() {
        "HTTP" => {}
        "HTTPS" => section.not_mapped("protocol", "Weir speaks HTTP without TLS to its targets"),
        other => {
            let message = format!("a group for {other}: Weir forwards HTTP alone");
            section.drop_whole(message);
            return None;
        }
    }
    if let Some("lambda" | "alb") = kind.as_deref() {
        section.drop_whole("its targets have no addresses that Weir could reach");
        return None;
    }
    if let Some(version @ ("HTTP2" | "GRPC")) = section.text("protocol_version").as_deref() {
        let message = format!("{version} to targets; Weir speaks HTTP/1.1 to them");
        section.not_mapped("protocol_version", message);
    }
    let port = section.port("port");
    let group = Group {
        origin,
        name,
        port,
        algorithm: algorithm(&section),
        health: health(&section, port),
        deregistration_delay: section
            .count("deregistration_delay")
            .unwrap_or(DEREGISTRATION_DELAY),
        slow_start: section.count("slow_start").unwrap_or_default(),
        min_healthy: min_healthy(&section),
        sticky: sticky(&section),
        targets: Vec::new(),
        idle_timeout: None,
        service: None,
    };
    section.finish(&["vpc_id", "ip_address_type"]);
    Some(group)
}

fn algorithm(section: &Section<'_>) -> &'static str {
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

/// `port` is the group's.
fn health(section: &Section<'_>, port: Option<u16>) -> Option<Health> {
    let block = section.block("health_check");
    let default = if block.is_some() {
        PROVIDER_HEALTH
    } else {
        AWS_HEALTH
    };
    let mut health = Health {
        tcp: false,
        path: "/".to_owned(),
        port: None,
        interval: INTERVAL,
        timeout: default.timeout,
        healthy: default.healthy,
        unhealthy: default.unhealthy,
        matcher: "200".to_owned(),
    };
    let Some(block) = block else {
        return Some(health);
    };
    let enabled = block.boolean("enabled").unwrap_or(true);
    match block.text("protocol").as_deref() {
        None | Some("HTTP") => {}
        Some("TCP") => health.tcp = true,
        Some(other) => block.not_mapped("protocol", format!("a check with {other}, HTTP instead")),
    }
    if block
        .text("port")
        .is_some_and(|port| port != "traffic-port")
    {
        // The group's own port is the targets' own, wherever they listen here.
        health.port = block.port("port").filter(|own| Some(*own) != port);
    }
    health.path = block.text("path").unwrap_or(health.path);
    health.matcher = block.text("matcher").unwrap_or(health.matcher);
    for (key, field) in [
        ("interval", &mut health.interval),
        ("timeout", &mut health.timeout),
        ("healthy_threshold", &mut health.healthy),
        ("unhealthy_threshold", &mut health.unhealthy),
    ] {
        *field = block.count(key).unwrap_or(*field);
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

fn sticky(section: &Section<'_>) -> Option<Sticky> {
    let block = section.block("stickiness")?;
    let enabled = block.boolean("enabled").unwrap_or(true);
    let kind = block.text("type");
    let name = block.text("cookie_name");
    let duration = block.count("cookie_duration").unwrap_or(COOKIE_DURATION);
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
        let percent = percent.filter(|percent| percent != "off");
        match (count.filter(|count| count != "off"), percent) {
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
    let Some(target) = section.text("target_id") else {
        return;
    };
    let Ok(ip) = target.parse::<std::net::IpAddr>() else {
        section.not_mapped("target_id", format!("`{target}` is no IP address"));
        return;
    };
    if let Some(group) = groups.iter_mut().find(|group| group.name == name) {
        group.targets.push(match port {
            Some(port) => std::net::SocketAddr::new(ip, port).to_string(),
            None => ip.to_string(),
        });
    }
}
