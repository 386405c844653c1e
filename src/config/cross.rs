//! Checks of the whole file: names that must exist or be unique, and addresses that collide.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::context::{Context, Notes, Reference};
use super::loops;
use super::problem::{Code, Severity};
use super::span::Mark;
use super::suggest::nearest;
use crate::model::{Endpoint, TargetGroupId};

/// Checks the notes of a finished reading.
pub(super) fn check(cx: &Context<'_>) {
    let notes = cx.take_notes();
    unknown_groups(cx, &notes);
    other_protocols(cx, &notes);
    // A broken `forward` has been reported; the group that it means seems unused because of it.
    if !cx.has_listener_errors() {
        unused_groups(cx, &notes);
    }
    listener_names(cx, &notes);
    binds(cx, &notes);
    own_targets(cx, &notes);
    loops::between(cx, &notes);
    written_files(cx, &notes);
    shared_services(cx, &notes);
    unanswered_challenges(cx, &notes);
}

fn report<T>(
    cx: &Context<'_>,
    severity: Severity,
    at: &Mark<T>,
    code: Code,
    message: String,
    help: String,
) {
    cx.report_with((severity, code, Some(at.span)), &at.key, || (message, help));
}

/// Most names that a help lists.
const MAX_NAMES: usize = 10;

fn unknown_groups(cx: &Context<'_>, notes: &Notes) {
    let known: BTreeMap<_, _> = notes
        .groups
        .iter()
        .map(|group| (&*group.value.0, group))
        .collect();
    for reference in &notes.references {
        let name = &*reference.value.group.0;
        if known.contains_key(name) {
            continue;
        }
        let place = (Severity::Error, Code::UnknownGroup, Some(reference.span));
        cx.report_with(place, &reference.key, || {
            let message = format!("there is no target group `{name}`");
            (message, group_meant(cx, name, &known))
        });
    }
}

fn group_meant(
    cx: &Context<'_>,
    name: &str,
    known: &BTreeMap<&str, &Mark<TargetGroupId>>,
) -> String {
    let names = known.keys().copied();
    let parts: Vec<_> = name
        .split([',', ' ', ';', '|'])
        .filter(|part| !part.is_empty())
        .collect();
    if parts.len() > 1 && parts.iter().all(|part| known.contains_key(part)) {
        return format!("write a list: [\"{}\"]", parts.join("\", \""));
    }
    let alone = name.rsplit(['.', '/', ':']).next().unwrap_or(name);
    if alone != name && known.contains_key(alone) {
        return format!("write the name alone: \"{alone}\"");
    }
    if let Some(group) = nearest(name, names.clone()).and_then(|name| known.get(name)) {
        return format!(
            "did you mean `{}`? (line {})",
            group.value,
            cx.line(group.span)
        );
    }
    match (known.len(), known.values().next()) {
        (0, _) => format!("define it: [target_group.{name}]"),
        (1, Some(only)) => format!(
            "the only group is `{}` (line {})",
            only.value,
            cx.line(only.span)
        ),
        (count, _) => {
            let list: Vec<_> = names.take(MAX_NAMES).collect();
            let shown = list.join("`, `");
            match count - list.len() {
                0 => format!("the groups are `{shown}`"),
                more => format!("the groups are `{shown}` and {more} more"),
            }
        }
    }
}

/// A listener of HTTP forwards to groups of any HTTP, one of TCP to groups of TCP.
fn other_protocols(cx: &Context<'_>, notes: &Notes) {
    for reference in &notes.references {
        let Reference { group, protocol } = &reference.value;
        let Some(known) = notes
            .protocols
            .get(group)
            .filter(|known| known.listener() != *protocol)
        else {
            continue;
        };
        let (of_listener, of_group) = (protocol.name(), known.name());
        let instead = known.listener().name();
        let message = format!(
            "a listener of protocol \"{of_listener}\" cannot forward to `{group}`, a group of protocol \"{of_group}\""
        );
        let line = notes.groups.iter().find(|mark| mark.value == *group);
        let line = line.map_or(0, |mark| cx.line(mark.span));
        let help = format!(
            "write protocol = \"{instead}\" in the listener, or protocol = \"{of_listener}\" in the group (line {line})"
        );
        report(
            cx,
            Severity::Error,
            reference,
            Code::Conflict,
            message,
            help,
        );
    }
}

fn unused_groups(cx: &Context<'_>, notes: &Notes) {
    let used: BTreeSet<_> = notes
        .references
        .iter()
        .map(|mark| &mark.value.group)
        .collect();
    for group in notes
        .groups
        .iter()
        .filter(|group| !used.contains(&group.value))
    {
        let message = format!(
            "no listener or rule forwards to target group `{}`",
            group.value
        );
        let help = format!(
            "write forward = \"{}\" somewhere, or take the group out",
            group.value
        );
        report(cx, Severity::Warning, group, Code::Unused, message, help);
    }
}

fn listener_names(cx: &Context<'_>, notes: &Notes) {
    let mut seen = BTreeMap::new();
    for name in &notes.listeners {
        if let Some(line) = seen.get(&name.value) {
            let message = format!("there are two listeners called `{}`", name.value);
            let help =
                format!("the other one is in line {line}; give this one a `name` of its own");
            report(cx, Severity::Error, name, Code::Duplicate, message, help);
        } else {
            seen.insert(&name.value, cx.line(name.span));
        }
    }
}

/// Two listeners on one address would take turns by chance (`SO_REUSEPORT`), one of two on one Unix
/// socket would get nothing, and one on all addresses would silently lose those the other one
/// names: all are refused.
///
/// An IPv6 wildcard takes IPv6 only, so it does not collide with an IPv4 address.
fn binds(cx: &Context<'_>, notes: &Notes) {
    let mut taken = Taken::default();
    for bind in notes.binds.iter().filter(|bind| !bind.value.is_any_port()) {
        let (message, help) = if let Some(other) = taken.by_endpoint.get(&bind.value) {
            let line = cx.line(other.span);
            let what = bind.value.unix().map_or("port", |_| "path");
            (
                format!("`{}` is already taken in line {line}", bind.value),
                format!("give this one another {what}"),
            )
        } else if let Some(other) = taken.overlapping(&bind.value) {
            let line = cx.line(other.span);
            (
                format!("`{}` overlaps `{}` in line {line}", bind.value, other.value),
                "one of them listens on all addresses; give one of them another port".to_owned(),
            )
        } else {
            taken.add(bind);
            continue;
        };
        report(cx, Severity::Error, bind, Code::BindConflict, message, help);
        taken.add(bind);
    }
}

/// The binds of the lines above.
#[derive(Default)]
struct Taken<'n> {
    by_endpoint: BTreeMap<Endpoint, &'n Mark<Endpoint>>,
    /// One for each port of IPv4 and of IPv6.
    by_port: BTreeMap<(bool, u16), &'n Mark<Endpoint>>,
}

impl<'n> Taken<'n> {
    fn add(&mut self, bind: &'n Mark<Endpoint>) {
        self.by_endpoint.entry(bind.value.clone()).or_insert(bind);
        if let Some(address) = bind.value.address() {
            let port = (address.is_ipv4(), address.port());
            self.by_port.entry(port).or_insert(bind);
        }
    }

    /// One on all addresses of the port, or any if the endpoint is on all of them.
    fn overlapping(&self, endpoint: &Endpoint) -> Option<&'n Mark<Endpoint>> {
        let address = endpoint.address()?;
        let narrower = || {
            let port = (address.is_ipv4(), address.port());
            let any = self.by_port.get(&port);
            any.filter(|_| address.ip().is_unspecified())
        };
        let wider = self.by_endpoint.get(&wildcard(address).into());
        wider.or_else(narrower).copied()
    }
}

/// All addresses of the family, with the same port.
fn wildcard(address: SocketAddr) -> SocketAddr {
    let all: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    SocketAddr::new(all, address.port())
}

/// A target that is one of Weir's own listeners would get the same request for ever.
fn own_targets(cx: &Context<'_>, notes: &Notes) {
    let binds: BTreeMap<_, _> = notes.binds.iter().map(|bind| (&bind.value, bind)).collect();
    for target in &notes.targets {
        let to = &target.value;
        let loopback = to.address().filter(|address| address.ip().is_loopback());
        let everywhere = loopback.map(|address| Endpoint::from(wildcard(address)));
        let bind = binds.get(to).or_else(|| binds.get(everywhere.as_ref()?));
        if let Some(bind) = bind {
            let line = cx.line(bind.span);
            let message = format!("target `{to}` is Weir itself: it listens there (line {line})");
            let help =
                "a request would go round in circles; name the service's own address".to_owned();
            report(cx, Severity::Error, target, Code::Loop, message, help);
        }
    }
}

/// Two writers of one file would each destroy what the other wrote.
fn written_files(cx: &Context<'_>, notes: &Notes) {
    let mut seen = BTreeMap::new();
    for file in &notes.written {
        if let Some(line) = seen.get(&file.value) {
            let message = format!("`{}` is written to by two", file.value.display());
            let help = format!("the other one is in line {line}; give this one another file");
            report(cx, Severity::Error, file, Code::Duplicate, message, help);
        } else {
            seen.insert(&file.value, cx.line(file.span));
        }
    }
}

/// The authority asks by plain HTTP, at port 80.
fn unanswered_challenges(cx: &Context<'_>, notes: &Notes) {
    if notes.has_plain_http || cx.has_listener_errors() {
        return;
    }
    for acme in &notes.http_challenges {
        let message =
            "no listener speaks plain HTTP, by which the authority asks for the proof (http-01)";
        let help = "add one on port 80, which may do nothing but redirect = { protocol = \"https\" }; \
                    or write challenge = \"tls-alpn-01\"";
        let (message, help) = (message.to_owned(), help.to_owned());
        report(cx, Severity::Warning, acme, Code::Suspicious, message, help);
    }
}

/// Two groups would set different numbers of replicas for one service.
fn shared_services(cx: &Context<'_>, notes: &Notes) {
    let mut seen = BTreeMap::new();
    for service in &notes.services {
        if let Some(line) = seen.get(&service.value) {
            let message = "two groups say how many replicas this service has".to_owned();
            let help = format!(
                "the other one is in line {line}; with several listeners or rules forward all to one group"
            );
            let code = Code::Duplicate;
            report(cx, Severity::Warning, service, code, message, help);
        } else {
            seen.insert(&service.value, cx.line(service.span));
        }
    }
}
