//! Whether a request of the access log would come out the same.
//!
//! A record has the client, the method, the host, the path and the query, as rules compare them; not
//! the header fields. Where a rule looks at one, several rules may be the one, and the record's has to
//! be among them.

use serde::{Deserialize, Serialize};

use super::question::peer;
use super::words;
use crate::message::RequestHead;
use crate::model::{
    Action, Condition, GroupIndex, NormalizePath, Priority, Protocol, TargetGroupId,
};
use crate::router::{Candidate, RequestView, connection_head};
use crate::state::{CompiledListener, Snapshot};

/// A line of the access log, of what [`compare`] needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Logged {
    /// The client, as trusted proxies report it.
    pub client: Option<String>,
    /// The method; `None` of a connection that is no exchange of HTTP.
    pub method: Option<String>,
    /// The host that was asked for.
    pub host: Option<String>,
    /// The target without its query.
    pub path: Option<String>,
    /// The query.
    pub query: Option<String>,
    /// The listener.
    pub listener: Option<String>,
    /// The rule; `None` is the listener's own action.
    pub rule: Option<u32>,
    /// The group; `None` if no target was to get it.
    pub group: Option<String>,
    /// Why it failed.
    pub reason: Option<String>,
}

/// The answer about a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// Whether the record agrees.
    pub verdict: Verdict,
    /// The listener.
    pub listener: Option<String>,
    /// The rule that decides, or of several that may the one of the record.
    pub rule: Option<u32>,
    /// The groups that this rule forwards to.
    pub groups: Vec<String>,
    /// What the record would have to tell for another answer: `header x-beta`.
    pub unknown: Vec<String>,
    /// What is different, or why nothing can be said.
    pub because: Option<String>,
}

/// Whether a record agrees with the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Listener, rule and group are the same.
    Equal,
    /// They may be the same: it depends on what is not in a record.
    Possible,
    /// They are not the same.
    Different,
    /// The request was refused before its rule was looked for.
    NotRouted,
}

impl Logged {
    /// Whether the line is a record of a request or of a connection.
    pub fn is_record(&self) -> bool {
        self.listener.is_some() && self.client.is_some()
    }
}

/// Asks the rules about a record.
pub fn compare(snapshot: &Snapshot, logged: &Logged) -> Comparison {
    let name = logged.listener.as_deref().unwrap_or_default();
    let mut listeners = snapshot.listeners();
    let Some(listener) = listeners.find(|one| &*one.id.0 == name) else {
        return different(None, format!("there is no listener `{name}`"));
    };
    if logged.reason.is_some() && logged.rule.is_none() && logged.group.is_none() {
        let reason = logged.reason.as_deref().unwrap_or_default();
        return Comparison {
            verdict: Verdict::NotRouted,
            because: Some(format!("it ended before its rule was looked for: {reason}")),
            ..different(Some(listener), String::new())
        };
    }
    let client = match peer(logged.client.as_deref()) {
        Ok(peer) => peer.client(),
        Err(error) => return different(Some(listener), error.to_string()),
    };
    let Some(head) = head(listener, logged) else {
        let because = "its method, path or host is none that a request may have".to_owned();
        return different(Some(listener), because);
    };
    let spelling = match listener.protocol {
        Protocol::Tcp => NormalizePath::Off,
        Protocol::Http1 | Protocol::Http2 => listener.http.normalize_path,
    };
    let has_host = logged.host.is_some() || listener.protocol == Protocol::Tcp;
    let is_known = |condition: &Condition| match condition {
        Condition::Header { .. } => false,
        // A request of HTTP/1.0 without one has the listener's address, which is not logged.
        Condition::Host(_) => has_host,
        Condition::Path(_)
        | Condition::Method(_)
        | Condition::Query(_)
        | Condition::SourceIp(_) => true,
    };
    let view = RequestView::new(&head, client, spelling);
    let candidates = listener.rules.candidates(&view, is_known);
    decide(snapshot, listener, &candidates, logged)
}

/// The head that a record tells of.
fn head(listener: &CompiledListener, logged: &Logged) -> Option<RequestHead> {
    if listener.protocol == Protocol::Tcp {
        return Some(connection_head(logged.host.as_deref()));
    }
    let mut head = RequestHead::new();
    head.set_method(logged.method.as_deref()?.as_bytes()).ok()?;
    let path = logged.path.as_deref()?;
    let target = match &logged.query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    head.set_target(target.as_bytes()).ok()?;
    if let Some(host) = &logged.host {
        head.set_host(host.as_bytes()).ok()?;
    }
    Some(head)
}

fn decide(
    snapshot: &Snapshot,
    listener: &CompiledListener,
    candidates: &[Candidate<'_>],
    logged: &Logged,
) -> Comparison {
    let rule = logged.rule.map(Priority);
    let mut unknown: Vec<String> = Vec::new();
    for condition in candidates.iter().flat_map(|one| &one.unknown) {
        let subject = words::subject(condition);
        if !unknown.contains(&subject) {
            unknown.push(subject);
        }
    }
    let Some(found) = candidates.iter().find(|one| one.rule == rule) else {
        let expected: Vec<String> = candidates.iter().map(|one| rule_name(one.rule)).collect();
        let because = format!("{} decides, not {}", expected.join(" or "), rule_name(rule));
        return Comparison {
            rule: candidates
                .first()
                .and_then(|one| one.rule)
                .map(|rule| rule.0),
            unknown,
            ..different(Some(listener), because)
        };
    };
    let groups = groups(snapshot, found);
    let is_group = match &logged.group {
        Some(group) => groups.contains(group),
        None => groups.is_empty(),
    };
    let because = (!is_group).then(|| {
        let group = logged.group.as_deref().unwrap_or("none");
        let groups = groups.join(" or ");
        let expected = if groups.is_empty() {
            "no group"
        } else {
            &groups
        };
        format!("{} leads to {expected}, not to {group}", rule_name(rule))
    });
    Comparison {
        verdict: match (is_group, candidates.len()) {
            (false, _) => Verdict::Different,
            (true, 1) => Verdict::Equal,
            (true, _) => Verdict::Possible,
        },
        listener: Some(listener.id.to_string()),
        rule: logged.rule,
        groups,
        unknown,
        because,
    }
}

/// The groups that an action may choose.
fn groups(snapshot: &Snapshot, candidate: &Candidate<'_>) -> Vec<String> {
    let id = |index: &GroupIndex| -> Option<&TargetGroupId> {
        Some(&snapshot.groups().get(index.0)?.id)
    };
    match candidate.action {
        Action::Forward(forward) => forward
            .groups
            .iter()
            .filter(|(_, weight)| *weight > 0)
            .filter_map(|(index, _)| Some(id(index)?.to_string()))
            .collect(),
        Action::Redirect(_) | Action::FixedResponse(_) => Vec::new(),
    }
}

fn rule_name(rule: Option<Priority>) -> String {
    match rule {
        Some(Priority(rule)) => format!("rule {rule}"),
        None => "the listener's own action".to_owned(),
    }
}

fn different(listener: Option<&CompiledListener>, because: String) -> Comparison {
    Comparison {
        verdict: Verdict::Different,
        listener: listener.map(|listener| listener.id.to_string()),
        rule: None,
        groups: Vec::new(),
        unknown: Vec::new(),
        because: Some(because),
    }
}
