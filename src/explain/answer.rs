//! The answer to a question, as data: the text for people and the API show the same.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::listener;
use super::question::{Question, QuestionError};
use super::targets::{TargetAnswer, found_at_run_time, targets};
use super::words;
use crate::config;
use crate::message::{Fields, RequestHead};
use crate::model::{HashKey, NormalizePath, Protocol};
use crate::proxy::{self, Forwarded, GroupOption, KeyFound, Outcome, Preview, Supposed};
use crate::router::{PassedOver, RequestView};
use crate::state::{CompiledListener, DataPlaneSnapshot, Snapshot};

/// What becomes of a request, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Explanation {
    /// The listener that gets it.
    pub listener: String,
    /// The address of that listener.
    pub bind: String,
    /// Why it is this listener.
    pub listener_because: String,
    /// The client, as trusted proxies report it.
    pub client: String,
    /// Whether the peer is a trusted proxy.
    pub trusted_proxy: bool,
    /// The request as rules see it: without what no target would get.
    pub request: Message,
    /// The rules that were tried before, in order.
    pub passed_over: Vec<Skipped>,
    /// The priority of the rule that decides; `null` is the listener's own action.
    pub rule: Option<u32>,
    /// What happens.
    pub action: Action,
}

impl Explanation {
    /// Whether Weir refuses the request, whatever rules say.
    pub fn is_refused(&self) -> bool {
        match self.action {
            Action::Refuse { .. } => true,
            Action::Forward(_) | Action::Respond(_) => false,
        }
    }
}

/// A rule that does not hold, by the first of its conditions that does not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Skipped {
    /// Its priority.
    pub rule: u32,
    /// What the condition looks at: `path`, `header x-beta`.
    pub condition: String,
    /// What it accepts.
    pub wanted: Vec<String>,
    /// What the request has there; nothing if it has none.
    pub seen: Vec<String>,
}

/// What happens to a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Action {
    /// A target of a group gets it.
    Forward(ForwardAction),
    /// Weir answers it, because the rule says so.
    Respond(Response),
    /// Weir refuses it, whatever rules say.
    Refuse {
        /// The status of the response.
        status: u16,
        /// The reason in the access log.
        reason: String,
        /// The reason in words.
        explanation: String,
    },
}

/// A response of Weir's own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Response {
    /// Its status.
    pub status: u16,
    /// Its fields, without those that all responses have.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: String,
}

/// A head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Message {
    /// The method.
    pub method: String,
    /// The request target: path and query.
    pub target: String,
    /// The header fields.
    pub headers: Vec<(String, String)>,
}

/// How a request is forwarded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ForwardAction {
    /// What filters change in the request.
    pub request_filters: Vec<String>,
    /// What filters change in the response.
    pub response_filters: Vec<String>,
    /// The request before the filters.
    pub before_filters: Message,
    /// The request as a target gets it. `TARGET` stands for its address.
    pub sent: Message,
    /// The groups of the action.
    pub groups: Vec<GroupAnswer>,
}

/// A group that a request may go to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct GroupAnswer {
    /// Its name.
    pub name: String,
    /// Its weight in the action.
    pub weight: u16,
    /// The chance of this group in percent; 100 if it is certain, by cookie or as the only one.
    pub chance: f64,
    /// How a target is picked.
    pub algorithm: String,
    /// The cookie that keeps a client on a target, if the group is sticky.
    pub sticky_cookie: Option<String>,
    /// The target that the client's session is on.
    pub session: Option<String>,
    /// What the algorithm hashes, if it does: `header x-user`.
    pub hash_key: Option<String>,
    /// The target that the key leads to.
    pub hash_target: Option<String>,
    /// Whether it is in maintenance: its requests are answered with 503.
    #[serde(default)]
    pub maintenance: bool,
    /// Whether requests go to targets that fail their checks, because too few pass.
    pub failing_open: bool,
    /// Its targets.
    pub targets: Vec<TargetAnswer>,
    /// Where further targets come from that only a running Weir knows.
    pub found_at_run_time: Vec<String>,
}

/// Says what becomes of a request. `is_live` if the snapshot is that of a running Weir.
pub fn explain(
    snapshot: &Arc<Snapshot>,
    question: &Question,
    is_live: bool,
) -> Result<Explanation, QuestionError> {
    let asked = question.parse()?;
    let found = listener::find(snapshot, question.listener.as_deref(), asked.url.as_ref())?;
    let data_plane = DataPlaneSnapshot::of(Arc::clone(snapshot));
    let supposed = Supposed {
        listener: found.listener,
        peer: asked.peer,
        local: found.config.bind.address(),
        head: asked.head,
    };
    let preview = proxy::preview(&data_plane, supposed);
    Ok(Explanation {
        listener: found.listener.id.to_string(),
        bind: found.config.bind.to_string(),
        listener_because: found.why,
        client: preview.client.to_string(),
        trusted_proxy: preview.trusted,
        request: message(&preview.admitted),
        passed_over: passed_over(found.listener, &preview),
        rule: preview.rule.map(|rule| rule.0),
        action: action(snapshot, preview, is_live),
    })
}

/// None, if the request was refused before a rule was looked for.
fn passed_over(listener: &CompiledListener, preview: &Preview) -> Vec<Skipped> {
    if preview.outcome.is_err() {
        return Vec::new();
    }
    let spelling = match listener.protocol {
        Protocol::Tcp => NormalizePath::Off,
        Protocol::Http1 | Protocol::Http2 => listener.http.normalize_path,
    };
    let view = RequestView::new(&preview.admitted, preview.client, spelling);
    let skipped = |passed: PassedOver<'_>| Skipped {
        rule: passed.rule.0,
        condition: words::subject(passed.condition),
        wanted: words::wanted(passed.condition),
        seen: words::seen(passed.condition, &view),
    };
    let passed = listener.rules.passed_over(&view, preview.rule);
    passed.into_iter().map(skipped).collect()
}

fn action(snapshot: &Snapshot, preview: Preview, is_live: bool) -> Action {
    match preview.outcome {
        Ok(Outcome::Forward(forwarded)) => Action::Forward(forward(snapshot, &forwarded, is_live)),
        Ok(Outcome::Respond(head, body)) => Action::Respond(Response {
            status: head.status(),
            headers: headers(&head.fields),
            body: String::from_utf8_lossy(&body).into_owned(),
        }),
        Err(failure) => Action::Refuse {
            status: failure.status().as_u16(),
            reason: failure.code().to_owned(),
            explanation: failure.explanation().to_owned(),
        },
    }
}

fn forward(snapshot: &Snapshot, forwarded: &Forwarded, is_live: bool) -> ForwardAction {
    let filters = forwarded.filters.as_deref();
    let total: u32 = forwarded
        .groups
        .iter()
        .map(|one| u32::from(one.weight))
        .sum();
    let certain = forwarded.groups.iter().any(|one| one.is_certain);
    let chance = |one: &GroupOption| match (certain, one.is_certain) {
        (true, true) => 100.0,
        (true, false) => 0.0,
        (false, _) => 100.0 * f64::from(one.weight) / f64::from(total.max(1)),
    };
    ForwardAction {
        request_filters: filters.map(words::request_filters).unwrap_or_default(),
        response_filters: filters.map(words::response_filters).unwrap_or_default(),
        before_filters: message(&forwarded.described),
        sent: message(&forwarded.sent),
        groups: forwarded
            .groups
            .iter()
            .map(|one| group(snapshot, one, chance(one), is_live))
            .collect(),
    }
}

fn group(snapshot: &Snapshot, option: &GroupOption, chance: f64, is_live: bool) -> GroupAnswer {
    let group = &option.group;
    let config = snapshot.group_config(&group.id);
    let (hash_key, hash_target) = match (&option.key, config) {
        (Some(key), Some(config)) => hashed(key, config),
        (None, _) | (_, None) => (None, None),
    };
    GroupAnswer {
        name: group.id.to_string(),
        weight: option.weight,
        chance,
        algorithm: config
            .map(|config| config.algorithm.name().to_owned())
            .unwrap_or_default(),
        sticky_cookie: config
            .and_then(|config| config.sticky.as_ref())
            .map(|sticky| sticky.cookie.clone()),
        session: option.session.as_ref().map(ToString::to_string),
        hash_key,
        hash_target,
        maintenance: group.live.maintenance.is_some(),
        failing_open: group.failing_open,
        targets: targets(
            group,
            config.is_some_and(|config| config.health.is_some()),
            is_live,
        ),
        found_at_run_time: config
            .filter(|_| !is_live)
            .map(found_at_run_time)
            .unwrap_or_default(),
    }
}

/// What is hashed, and the target that it leads to.
fn hashed(key: &KeyFound, config: &config::TargetGroup) -> (Option<String>, Option<String>) {
    let source = match &config.hash.key {
        HashKey::Header(name) => format!("header {name}"),
        HashKey::Cookie(name) => format!("cookie {name}"),
        HashKey::Query(name) => format!("query {name}"),
        HashKey::Path => "path".to_owned(),
        HashKey::ClientIp => "client_ip".to_owned(),
        HashKey::Body { .. } => "body".to_owned(),
    };
    match key {
        KeyFound::InBody => (Some(source), None),
        KeyFound::Known { is_client, target } => {
            let is_fallback = *is_client && config.hash.key != HashKey::ClientIp;
            let source = if is_fallback {
                format!("client_ip, because the request has no {source}")
            } else {
                source
            };
            (Some(source), target.as_ref().map(ToString::to_string))
        }
    }
}

fn message(head: &RequestHead) -> Message {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Message {
        method: text(head.method_name()),
        target: text(head.target()),
        headers: headers(&head.fields),
    }
}

fn headers(fields: &Fields) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    fields
        .iter()
        .map(|field| (text(field.name), text(field.value)))
        .collect()
}
