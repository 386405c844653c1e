//! What only the whole file can tell: names that must exist or be unique, and
//! addresses that collide.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use super::context::{Context, Notes};
use super::problem::{Code, Problem, Severity};
use super::span::Mark;
use super::suggest::nearest;

/// Reports what the notes of a finished reading show.
pub(super) fn check(cx: &Context<'_>) {
    let notes = cx.take_notes();
    unknown_groups(cx, &notes);
    // A broken forward is named already; the group it means is not to blame.
    let broken = |problem: &Problem| {
        problem.severity == Severity::Error && problem.key.starts_with("listener")
    };
    if !cx.has_problem(broken) {
        unused_groups(cx, &notes);
    }
    listener_names(cx, &notes);
    binds(cx, &notes);
    own_targets(cx, &notes);
    written_files(cx, &notes);
    shared_services(cx, &notes);
}

fn report<T>(
    cx: &Context<'_>,
    severity: Severity,
    at: &Mark<T>,
    code: Code,
    message: String,
    help: String,
) {
    cx.report(Problem {
        severity,
        code,
        key: at.key.clone(),
        message,
        help: Some(help),
        span: Some(at.span),
    });
}

fn unknown_groups(cx: &Context<'_>, notes: &Notes) {
    let known: BTreeMap<_, _> = notes
        .groups
        .iter()
        .map(|group| (&*group.value.0, group))
        .collect();
    for reference in &notes.references {
        let name = &*reference.value.0;
        if known.contains_key(name) {
            continue;
        }
        let similar = nearest(name, known.keys().copied()).and_then(|name| known.get(name));
        let help = match (similar, notes.groups.as_slice()) {
            (Some(group), _) => {
                format!(
                    "did you mean `{}`? (line {})",
                    group.value,
                    cx.line(group.span)
                )
            }
            (None, [only]) => {
                format!(
                    "the only group is `{}` (line {})",
                    only.value,
                    cx.line(only.span)
                )
            }
            (None, []) => format!("define it: [target_group.{name}]"),
            (None, _) => {
                let names: Vec<_> = known.keys().map(|name| format!("`{name}`")).collect();
                format!("the groups are {}", names.join(", "))
            }
        };
        let message = format!("there is no target group `{name}`");
        report(
            cx,
            Severity::Error,
            reference,
            Code::UnknownGroup,
            message,
            help,
        );
    }
}

fn unused_groups(cx: &Context<'_>, notes: &Notes) {
    let used: BTreeSet<_> = notes.references.iter().map(|mark| &mark.value).collect();
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

/// Two listeners on one address would take turns by chance (`SO_REUSEPORT`), and one
/// on all addresses would silently lose those the other one names: both are refused.
///
/// An IPv6 wildcard takes IPv6 only, so it does not collide with an IPv4 address.
fn binds(cx: &Context<'_>, notes: &Notes) {
    let mut by_port: BTreeMap<u16, Vec<&Mark<SocketAddr>>> = BTreeMap::new();
    let named = |bind: &&Mark<SocketAddr>| bind.value.port() != 0;
    for bind in notes.binds.iter().filter(named) {
        let earlier = by_port.entry(bind.value.port()).or_default();
        if let Some(other) = earlier
            .iter()
            .find(|other| overlap(bind.value, other.value))
        {
            let (address, line) = (bind.value, cx.line(other.span));
            let (message, help) = if address.ip() == other.value.ip() {
                (
                    format!("`{address}` is already taken in line {line}"),
                    "give this one another port".to_owned(),
                )
            } else {
                (
                    format!("`{address}` overlaps `{}` in line {line}", other.value),
                    "one of them listens on all addresses; give one of them another port"
                        .to_owned(),
                )
            };
            report(cx, Severity::Error, bind, Code::BindConflict, message, help);
        }
        earlier.push(bind);
    }
}

fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let wildcard = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.is_ipv4() == b.is_ipv4() && (a.ip() == b.ip() || wildcard)
}

/// A target that is one of our own listeners would send a request round and round.
fn own_targets(cx: &Context<'_>, notes: &Notes) {
    for target in &notes.targets {
        let reaches = |bind: &&Mark<SocketAddr>| {
            let (to, at) = (target.value, bind.value);
            let local = at.ip() == to.ip() || (at.ip().is_unspecified() && is_loopback(to.ip()));
            to.port() == at.port() && local && to.is_ipv4() == at.is_ipv4()
        };
        if let Some(bind) = notes.binds.iter().find(reaches) {
            let line = cx.line(bind.span);
            let message = format!(
                "target `{}` is Weir itself: it listens there (line {line})",
                target.value
            );
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

/// Each group would set another number.
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

fn is_loopback(ip: IpAddr) -> bool {
    ip.is_loopback()
}
