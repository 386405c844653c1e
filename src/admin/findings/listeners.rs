//! What is wrong with a listener.

use std::time::Duration;

use jiff::Timestamp;

use super::super::finding::Finding;
use super::super::status::{AcmeStatus, CertificateStatus, ListenerStatus, Status};
use super::super::time::{age, between};
use super::words::plural;

/// Connections, in percent of the limit, that are nearly too many.
const MANY_CONNECTIONS_PERCENT: usize = 90;

/// How long it is told that the limit was reached.
const LIMIT_REMEMBERED: Duration = Duration::from_secs(300);

/// A certificate that is not renewed by then is not renewed in time.
const LAST_DAYS: Duration = Duration::from_secs(7 * 86_400);
/// The same of one that is ordered by ACME, which may be short-lived.
const LAST_DAY: Duration = Duration::from_secs(86_400);

/// A rule that has never matched is of interest after so long, and so many requests.
const RULE_AGE: Duration = Duration::from_secs(60);
const RULE_REQUESTS: u64 = 100;

pub(super) fn find(listener: &ListenerStatus, status: &Status) -> Vec<Finding> {
    let now = status.now;
    let mut found = Vec::new();
    found.extend(connections(listener, now));
    let least = if listener.acme.is_empty() {
        LAST_DAYS
    } else {
        LAST_DAY
    };
    let certificates = listener.certificates.iter();
    found.extend(certificates.filter_map(|one| certificate(one, now, least)));
    found.extend(listener.acme.iter().filter_map(|one| acme(one, now)));
    if status.uptime >= RULE_AGE {
        found.extend(rules(listener));
    }
    let name = &listener.name;
    found.into_iter().map(|one| one.of_listener(name)).collect()
}

fn connections(listener: &ListenerStatus, now: Timestamp) -> Option<Finding> {
    let (open, most, waiting) = (
        listener.connections,
        listener.max_connections,
        listener.waiting,
    );
    let clients = plural(waiting, "client");
    let kind = "connection_limit";
    let hint = "raise `max_connections`, or find out which clients hold connections open";
    if waiting > 0 && open < most {
        let text = format!("{clients} wait, although {open} of {most} connections are open");
        let hint = "open files are short: raise LimitNOFILE of systemd, or `ulimit -n`";
        return Some(Finding::error(kind, text).hint(hint));
    }
    if open >= most {
        let text = format!("all of its {most} connections are open; {clients} wait");
        return Some(Finding::error(kind, text).hint(hint));
    }
    let ago = listener.limit_reached.map(|at| between(at, now));
    if let Some(ago) = ago.filter(|ago| *ago < LIMIT_REMEMBERED) {
        let text = format!(
            "clients had to wait for a connection {} ago; {open} of {most} are open",
            age(ago)
        );
        return Some(Finding::warning(kind, text).hint(hint));
    }
    let is_near = open.saturating_mul(100) >= most.saturating_mul(MANY_CONNECTIONS_PERCENT);
    is_near.then(|| {
        let text = format!("{open} of {most} connections are open");
        Finding::warning(kind, text).hint(hint)
    })
}

fn certificate(one: &CertificateStatus, now: Timestamp, least: Duration) -> Option<Finding> {
    let (file, names) = (&one.file, one.names.join(", "));
    if one.expires <= now {
        let ago = age(between(one.expires, now));
        let text = format!("the certificate {file} for {names} has expired {ago} ago");
        let hint = "replace the file: it is read again when it changes";
        return Some(Finding::error("certificate_expired", text).hint(hint));
    }
    let left = between(now, one.expires);
    (left < least).then(|| {
        let left = age(left);
        let text = format!("the certificate {file} for {names} expires in {left}");
        Finding::warning("certificate_expiring", text)
    })
}

fn acme(one: &AcmeStatus, now: Timestamp) -> Option<Finding> {
    if one.failures == 0 {
        return None;
    }
    let (times, next) = (
        plural(one.failures as usize, "time"),
        age(between(now, one.next_try)),
    );
    let error = one.last_error.as_deref().unwrap_or("no reason is known");
    let text = format!(
        "the certificate for {} could not be ordered, {times}: {error}; the next try is in {next}",
        one.domain
    );
    Some(Finding::warning("certificate_order", text))
}

fn rules(listener: &ListenerStatus) -> Vec<Finding> {
    let all: u64 = listener.rule_hits.iter().map(|rule| rule.hits).sum();
    if all < RULE_REQUESTS {
        return Vec::new();
    }
    let unused = listener
        .rule_hits
        .iter()
        .filter_map(|rule| Some((rule.priority?, rule)))
        .filter(|(_, rule)| rule.hits == 0);
    let found = unused.map(|(priority, rule)| {
        let conditions = match rule.conditions.as_slice() {
            [] => String::new(),
            conditions => format!(" ({})", conditions.join(", and ")),
        };
        let text = format!("rule {priority}{conditions} has matched none of {all} requests");
        Finding::info("rule_never_matched", text)
            .hint("`weir explain` says which condition a request does not meet")
    });
    found.collect()
}
