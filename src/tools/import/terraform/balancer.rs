//! Reads `aws_lb`, its listeners and their rules.

use std::collections::HashMap;

use super::action;
use super::condition;
use super::files::{Files, Resource};
use super::group;
use super::ingress::Ingress;
use super::plan::{Access, Action, Conditions, Group, Listener, Rule, Tls};
use super::section::Section;
use super::value::plain;

/// The largest priority of ALB and Weir.
const LAST_PRIORITY: u32 = 50_000;

/// Default of a network load balancer's `tcp_idle_timeout_seconds`.
const TCP_IDLE_TIMEOUT: u32 = 350;

/// The settings of a load balancer that its listeners need.
#[derive(Default)]
struct Balancer {
    security_groups: Vec<String>,
    /// Seconds.
    idle_timeout: Option<u32>,
    /// Whether it is a network load balancer.
    is_network: bool,
    /// Whether it is neither for HTTP nor for TCP.
    other: bool,
}

/// All listeners with their rules. Groups get the idle timeouts of their listeners.
pub(super) fn read(files: &Files<'_>, groups: &mut Vec<Group>) -> Vec<Listener> {
    let balancers = balancers(files);
    let security_groups = balancers
        .values()
        .flat_map(|balancer| &balancer.security_groups);
    let ingress = Ingress::read(files, &security_groups.map(String::as_str).collect());
    let mut listeners: Vec<Listener> = Vec::new();
    for found in files.all("aws_lb_listener") {
        listeners.extend(listener(found, &balancers, &ingress, groups));
    }
    let mut unnumbered = Vec::new();
    for found in files.all("aws_lb_listener_rule") {
        unnumbered.extend(rule(found, &mut listeners, groups));
    }
    for (address, rule) in unnumbered {
        number(&address, rule, &mut listeners);
    }
    for found in files.all("aws_lb_listener_certificate") {
        certificate(found, &mut listeners);
    }
    for listener in &mut listeners {
        listener.rules.sort_by_key(|rule| rule.priority);
        hand_down_timeouts(listener, groups);
        restrict(listener);
    }
    listeners
}

fn balancers(files: &Files<'_>) -> HashMap<String, Balancer> {
    let mut balancers = HashMap::new();
    for found in files.all("aws_lb") {
        let section = found.section;
        let kind = section.text("load_balancer_type");
        let is_network = kind.as_deref() == Some("network");
        let is_known = |kind: &str| matches!(kind, "application" | "network");
        let other = !kind.as_deref().is_none_or(is_known);
        let balancer = Balancer {
            security_groups: section.references("security_groups", "aws_security_group"),
            idle_timeout: section.bounded("idle_timeout", 1, 4000),
            is_network,
            other,
        };
        balancers.insert(found.address, balancer);
        if other {
            section.drop_whole("neither an application nor a network load balancer");
            continue;
        }
        if section.boolean("internal") == Some(true) {
            let message =
                "`internal`: bind its listeners to an address that only this network reaches";
            section.not_mapped("internal", message);
        }
        section.finish(&[
            "access_logs",
            "client_keep_alive",
            "connection_logs",
            "customer_owned_ipv4_pool",
            "desync_mitigation_mode",
            "dns_record_client_routing_policy",
            "drop_invalid_header_fields",
            "enable_cross_zone_load_balancing",
            "enable_deletion_protection",
            "enable_http2",
            "enable_waf_fail_open",
            "enable_xff_client_port",
            "enforce_security_group_inbound_rules_on_private_link_traffic",
            "enable_zonal_shift",
            "ip_address_type",
            "subnet_mapping",
            "subnets",
            "xff_header_processing_mode",
        ]);
    }
    balancers
}

fn listener(
    found: Resource<'_>,
    balancers: &HashMap<String, Balancer>,
    ingress: &Ingress,
    groups: &mut Vec<Group>,
) -> Option<Listener> {
    let (origin, address, name) = (found.origin(), found.address, found.name);
    let section = found.section;
    let balancer = section
        .reference("load_balancer_arn", "aws_lb")
        .and_then(|name| balancers.get(&name));
    let protocol = match protocol(&section, balancer) {
        Ok(protocol) => protocol,
        Err(protocol) => {
            section.drop_whole(format!("{protocol}: Weir forwards HTTP and TCP"));
            return None;
        }
    };
    let is_tcp = matches!(protocol.as_str(), "TCP" | "TLS" | "TCP_UDP");
    let has_tls = matches!(protocol.as_str(), "HTTPS" | "TLS");
    let tls = has_tls.then(|| tls(&section, &name, &protocol));
    let port = section.port("port").unwrap_or_else(|| {
        let port = if has_tls { 443 } else { 80 };
        section.not_mapped(
            "port",
            format!("a listener without a port that is known: {port}"),
        );
        port
    });
    let default = match default_action(&section, is_tcp, groups) {
        Ok(default) => default,
        Err(reason) => {
            section.drop_whole(reason);
            return None;
        }
    };
    let none = Balancer::default();
    let balancer = balancer.unwrap_or(&none);
    let (access, v6) = access(&section, balancer, ingress, (port, is_tcp));
    list_unreached(&section, port, &access, v6);
    let idle_timeout = idle_timeout(&section, balancer, is_tcp);
    section.finish(&["certificate_arn", "tcp_idle_timeout_seconds"]);
    Some(Listener {
        origin,
        address,
        name,
        port,
        other_port: None,
        access,
        is_tcp,
        tls,
        idle_timeout,
        default,
        rules: Vec::new(),
    })
}

/// What clients of a listener speak; an error if it is nothing that Weir forwards.
fn protocol(section: &Section<'_>, balancer: Option<&Balancer>) -> Result<String, String> {
    let protocol = section.text("protocol").unwrap_or_else(|| {
        let is_network = balancer.is_some_and(|balancer| balancer.is_network);
        if is_network { "TCP" } else { "HTTP" }.to_owned()
    });
    match protocol.as_str() {
        _ if balancer.is_some_and(|balancer| balancer.other) => Err(protocol),
        "HTTP" | "HTTPS" | "TCP" | "TLS" => Ok(protocol),
        "TCP_UDP" => {
            section.not_mapped("protocol", "TCP_UDP: Weir forwards no UDP, TCP alone");
            Ok(protocol)
        }
        _ => Err(protocol),
    }
}

/// What becomes of what no rule takes; else why the listener is not taken over.
fn default_action(
    section: &Section<'_>,
    is_tcp: bool,
    groups: &mut Vec<Group>,
) -> Result<Action, &'static str> {
    match action::read(section, "default_action", groups) {
        Some(Action::Forward { groups: names, .. })
            if is_tcp && !group::speak_tcp(groups, &names) =>
        {
            Err("TCP in front of a group for HTTP")
        }
        Some(action @ Action::Forward { .. }) => Ok(action),
        _ if is_tcp => Err("TCP, and it forwards to no target group that is taken over"),
        Some(action) => Ok(action),
        None => {
            let message =
                "its default action is not taken over; what no rule takes is answered with 503";
            section.not_mapped("default_action", message);
            Ok(Action::refuse(503))
        }
    }
}

/// Seconds.
fn idle_timeout(section: &Section<'_>, balancer: &Balancer, is_tcp: bool) -> Option<u32> {
    if !is_tcp {
        return balancer.idle_timeout;
    }
    let timeout = section.bounded("tcp_idle_timeout_seconds", 60, 6000);
    timeout.or(Some(TCP_IDLE_TIMEOUT))
}

/// The TLS of a listener. Its certificates stay with AWS, which gives out no key.
fn tls(section: &Section<'_>, name: &str, protocol: &str) -> Tls {
    let plain = if protocol == "TLS" { "TCP" } else { "HTTP" };
    let message = format!(
        "{protocol}: AWS gives out no key of a certificate, so it speaks {plain} until there are \
         others: see the comment at the listener"
    );
    section.not_mapped("protocol", message);
    let policy = section.text("ssl_policy").unwrap_or_default();
    // ELBSecurityPolicy-TLS13-1-3-2021-06 and those made of it.
    let min_version = policy.contains("TLS13-1-3").then_some("1.3");
    let is_old = [
        "TLS13-1-0",
        "TLS13-1-1",
        "2015-05",
        "2016-08",
        "TLS-1-0",
        "TLS-1-1",
        "FS-2018",
    ];
    if is_old.iter().any(|old| policy.contains(old)) && !policy.contains("TLS13-1-2") {
        let message = format!("`{policy}` allows TLS 1.0 or 1.1: Weir speaks 1.2 and 1.3");
        section.not_mapped("ssl_policy", message);
    }
    if let Some(mutual) = section.block("mutual_authentication") {
        let is_off = mutual.text("mode").is_none_or(|mode| mode == "off");
        let message = "certificates of clients: name their authorities in `client_auth` of `tls`";
        if is_off {
            mutual.not_needed("off");
        } else {
            mutual.drop_whole(message);
        }
    }
    Tls {
        certificates: vec![name.to_owned()],
        min_version,
        without_http2: alpn(section, protocol),
    }
}

/// Whether clients are offered HTTP/1.1 alone.
fn alpn(section: &Section<'_>, protocol: &str) -> bool {
    let policy = section.text("alpn_policy");
    let policy = policy.as_deref().filter(|policy| *policy != "None");
    if let Some(policy) = policy.filter(|_| protocol == "TLS") {
        let message = format!("`{policy}`: a listener of TCP offers no protocol within its TLS");
        section.not_mapped("alpn_policy", message);
        return false;
    }
    policy == Some("HTTP1Only")
}

/// The clients of a port, and whether there are some of IPv6 as well. A network load balancer without
/// security groups lets all in.
fn access(
    section: &Section<'_>,
    balancer: &Balancer,
    ingress: &Ingress,
    (port, is_tcp): (u16, bool),
) -> (Access, bool) {
    if balancer.is_network && balancer.security_groups.is_empty() {
        return (Access::All, false);
    }
    let (access, v6) = ingress.access(&balancer.security_groups, port);
    if is_tcp && matches!(access, Access::Only(_)) {
        let message = "its security groups allow some networks, and a listener of TCP takes every \
                       client: let a firewall do it, and bind it to another address then";
        section.not_mapped("port", message);
        return (Access::Unknown, false);
    }
    (access, v6)
}

/// Adds a further certificate to its listener.
fn certificate(found: Resource<'_>, listeners: &mut [Listener]) {
    let name = found.name;
    let section = found.section;
    let address = section
        .value("listener_arn")
        .and_then(|value| section.address_of(&value, "aws_lb_listener"));
    let mut listeners = listeners.iter_mut();
    let listener = listeners.find(|listener| Some(&listener.address) == address.as_ref());
    match listener.and_then(|listener| listener.tls.as_mut()) {
        Some(tls) => {
            tls.certificates.push(name);
            section.finish(&["certificate_arn"]);
        }
        None => section.drop_whole("a certificate of a listener that is not taken over"),
    }
}

/// Adds notes about clients that a listener does not serve.
fn list_unreached(section: &Section<'_>, port: u16, access: &Access, v6: bool) {
    if *access == Access::Unknown {
        let message =
            format!("these files allow no clients of port {port}: it listens on 127.0.0.1");
        section.not_mapped("port", message);
    }
    if v6 && !access.is_v6() {
        let message = "a listener is for IPv4 or for IPv6: add one on [::] for clients of IPv6";
        section.not_mapped("load_balancer_arn", message);
    }
}

/// Adds a rule to its listener. A rule without a free priority is returned with the listener's
/// address.
fn rule(
    found: Resource<'_>,
    listeners: &mut Vec<Listener>,
    groups: &mut Vec<Group>,
) -> Option<(String, Rule)> {
    let origin = found.origin();
    let section = found.section;
    let Some(address) = listener_of(&section, listeners) else {
        section.drop_whole("a rule of a listener that is not taken over");
        return None;
    };
    let is_numbered = section.value("priority").is_some();
    let priority = section.count("priority");
    let (when, action) = (
        conditions(&section),
        action::read(&section, "action", groups),
    );
    let Some(when) = when else {
        // With only some of its conditions the rule would match other requests.
        section.drop_whole("a rule that is only partly understood is left out");
        return None;
    };
    // Without this rule others would match its requests, perhaps without the login that it
    // requires.
    let action = action.unwrap_or_else(|| {
        let message = "its action is not taken over: its requests are answered with 503";
        section.not_mapped("action", message);
        Action::refuse(503)
    });
    let listener = listeners
        .iter_mut()
        .find(|listener| listener.address == address)?;
    let is_free = |priority: &u32| {
        (1..=LAST_PRIORITY).contains(priority)
            && listener.rules.iter().all(|rule| rule.priority != *priority)
    };
    let priority = priority.filter(is_free);
    if priority.is_none() && is_numbered {
        let message = "its priority is not from 1 to 50000 or not free: it comes after the others";
        section.not_mapped("priority", message);
    }
    section.finish(&["listener_arn"]);
    let rule = Rule {
        origin,
        priority: priority.unwrap_or_default(),
        when,
        action,
    };
    if priority.is_none() {
        return Some((address, rule));
    }
    listener.rules.push(rule);
    None
}

/// The address of a rule's listener; for a listener of other files a closed one is made.
fn listener_of(section: &Section<'_>, listeners: &mut Vec<Listener>) -> Option<String> {
    let value = section.value("listener_arn")?;
    let address = section.address_of(&value, "aws_lb_listener");
    let written = address.clone().unwrap_or_else(|| plain(&value));
    if listeners.iter().any(|listener| listener.address == written) {
        return Some(written);
    }
    if address.is_some() || written.is_empty() {
        return None;
    }
    let message = format!(
        "`listener_arn` is `{written}`, which is not in these files: a listener on 127.0.0.1:80 stands for it"
    );
    section.not_mapped("listener_arn", message);
    let name = group::short_name(&written);
    let name = if listeners.iter().any(|listener| listener.name == name) {
        format!("{name}_{}", listeners.len())
    } else {
        name
    };
    listeners.push(Listener::closed(&written, name, 80));
    Some(written)
}

/// Adds a rule after all others, as AWS does.
fn number(address: &str, mut rule: Rule, listeners: &mut [Listener]) {
    let Some(listener) = listeners
        .iter_mut()
        .find(|listener| listener.address == address)
    else {
        return;
    };
    let last = listener.rules.iter().map(|rule| rule.priority).max();
    let next = last.unwrap_or_default() + 1;
    let free = (next..LAST_PRIORITY)
        .chain((1..next).rev())
        .find(|number| listener.rules.iter().all(|rule| rule.priority != *number));
    rule.priority = free.unwrap_or(LAST_PRIORITY);
    listener.rules.push(rule);
}

fn conditions(section: &Section<'_>) -> Option<Conditions> {
    let mut when = Conditions::default();
    let mut complete = true;
    let blocks = section.blocks("condition");
    if blocks.is_empty() {
        section.not_mapped("condition", "a rule without a condition");
        return None;
    }
    for block in blocks {
        complete &= condition::read(&block, &mut when);
        complete &= block.finish(&[]);
    }
    (complete && condition::can_match(section, &when)).then_some(when)
}

/// Applies the idle timeout to the groups as well: that of ALB holds on both sides.
fn hand_down_timeouts(listener: &Listener, groups: &mut [Group]) {
    if listener.is_tcp {
        return;
    }
    let rules = listener.rules.iter().map(|rule| &rule.action);
    for action in rules.chain([&listener.default]) {
        let Action::Forward { groups: names, .. } = action else {
            continue;
        };
        for group in groups.iter_mut() {
            if names.iter().any(|(name, _)| *name == group.name) {
                group.idle_timeout = group.idle_timeout.max(listener.idle_timeout);
            }
        }
    }
}

/// Restricts the rules to the allowed networks, and answers 403 to all other clients by default:
/// Weir has no list of clients that may connect.
fn restrict(listener: &mut Listener) {
    let Access::Only(networks) = &listener.access else {
        return;
    };
    listener.rules.retain_mut(|rule| {
        rule.when.source_ip = match rule.when.source_ip.as_slice() {
            [] => networks.clone(),
            own => condition::common(own, networks),
        };
        // A rule without networks is for clients that cannot connect.
        !rule.when.source_ip.is_empty()
    });
    let last = (1..=LAST_PRIORITY)
        .rev()
        .find(|number| listener.rules.iter().all(|rule| rule.priority != *number));
    let rule = Rule {
        origin: format!("{}: its default action", listener.origin),
        priority: last.unwrap_or(LAST_PRIORITY),
        when: Conditions {
            source_ip: networks.clone(),
            ..Conditions::default()
        },
        action: std::mem::replace(&mut listener.default, Action::refuse(403)),
    };
    listener.rules.push(rule);
}
