//! Limits: `max_concurrency` and `queue` of a group, `rate_limit` of a listener.

use std::num::NonZeroU32;

use toml::de::DeValue;

use super::condition::header_name;
use crate::config::node::Node;
use crate::config::problem::Code;
use crate::config::section::Section;
use crate::config::{defaults, keys};
use crate::model::{Algorithm, Overload, RateKey, RateLimit};

/// `waits_for_first`: the group may have no replicas, and requests wait for the first one.
pub(super) fn read(group: &Section<'_>, algorithm: Algorithm, waits_for_first: bool) -> Overload {
    let default = if waits_for_first {
        Overload {
            queue_length: keys::ZERO_QUEUE_LENGTH,
            queue_timeout: keys::ZERO_QUEUE_TIMEOUT,
            ..defaults::OVERLOAD
        }
    } else {
        defaults::OVERLOAD
    };
    let limit = group.get("max_concurrency");
    let queue = group.get("queue");
    if let (None, Some(node)) = (&limit, &queue)
        && !group.is_meant("max_concurrency")
        && !waits_for_first
    {
        let message = "a `queue` without `max_concurrency`: no request ever waits";
        let help = "write max_concurrency = 100, the requests each target takes at a time";
        node.error(Code::MissingKey, message, help);
    }
    if algorithm == Algorithm::First
        && limit.is_none()
        && !group.is_meant("max_concurrency")
        && let Some(node) = group.get("algorithm")
    {
        let message = "`first` without `max_concurrency` would send everything to one target";
        let help = "write max_concurrency = 10, the requests that fill a target";
        node.error(Code::MissingKey, message, help);
    }
    let max_concurrency = limit
        .and_then(|node| node.count())
        .and_then(NonZeroU32::new);
    let Some(section) = queue.and_then(|node| node.section(&keys::QUEUE)) else {
        return Overload {
            max_concurrency,
            ..default
        };
    };
    let length = section
        .require("length", "write { length = 100, timeout = \"5s\" }")
        .and_then(|node| node.count());
    if let (Some(0), true, Some(node)) = (length, waits_for_first, section.get("length")) {
        let message = "with no replica running no request waits for the first";
        let help = "the number of replicas may become 0; write length = 1000";
        node.warn(Code::Suspicious, message, help);
    }
    Overload {
        max_concurrency,
        queue_length: length.unwrap_or(default.queue_length),
        queue_timeout: section.duration_or("timeout", default.queue_timeout),
    }
}

/// Returns `None` if there is no limit or it is wrong.
pub(super) fn rate_limit(listener: &Section<'_>) -> Option<RateLimit> {
    let section = listener.get("rate_limit")?.section(&keys::RATE_LIMIT)?;
    let key = match section.get("key") {
        Some(node) => rate_key(&node),
        None => Some(RateKey::ClientIp),
    };
    let requests = section
        .require("requests", "write { requests = 100, per = \"1s\" }")
        .and_then(|node| node.count());
    let per = section.duration("per");
    let burst = section.optional("burst", Node::count);
    let requests = NonZeroU32::new(requests?)?;
    Some(RateLimit {
        key: key?,
        requests,
        per,
        burst: burst?.and_then(NonZeroU32::new).unwrap_or(requests),
    })
}

/// `"client_ip"`, or a table that names a header.
fn rate_key(node: &Node<'_>) -> Option<RateKey> {
    const HELP: &str = "write \"client_ip\" or { header = \"X-Api-Key\" }";
    if let DeValue::Table(_) = node.value {
        let section = node.section(&keys::RATE_KEY)?;
        let header = section.require("header", "write { header = \"X-Api-Key\" }")?;
        return header_name(&header.text()?, &header).map(RateKey::Header);
    }
    if !matches!(node.value, DeValue::String(_)) {
        return node.refuse_type("a string or a table", HELP);
    }
    let text = node.text()?;
    if text == "client_ip" {
        return Some(RateKey::ClientIp);
    }
    let message = format!("`{text}` is not what clients can be told apart by");
    node.refuse(Code::InvalidValue, message, HELP)
}
