//! `hash`: which part of a request `consistent_hash` looks at.

use toml::de::DeValue;

use super::condition::header_name;
use super::sticky::cookie_name;
use crate::config::node::Node;
use crate::config::problem::Code;
use crate::config::schema::Place;
use crate::config::section::Section;
use crate::config::{bounds, defaults};
use crate::model::{Algorithm, HashKey, HashPolicy};

const KEYS: [&str; 6] = ["header", "cookie", "query", "path", "client_ip", "body"];

pub(super) fn read(group: &Section<'_>, algorithm: Algorithm) -> Option<HashPolicy> {
    let Some(node) = group.get("hash") else {
        return Some(HashPolicy::default());
    };
    match algorithm {
        Algorithm::ConsistentHash => {}
        Algorithm::RoundRobin
        | Algorithm::LeastConnections
        | Algorithm::WeightedLeastConnections
        | Algorithm::Random
        | Algorithm::WeightedRandom
        | Algorithm::PowerOfTwoChoices
        | Algorithm::PeakEwma
        | Algorithm::LeastTime
        | Algorithm::First => {
            let message = format!(
                "`hash` does nothing with algorithm \"{}\"",
                algorithm.name()
            );
            let help = "write algorithm = \"consistent_hash\", or take `hash` out";
            node.warn(Code::NoEffect, message, help);
        }
    }
    let section = node.section(Place::Hash)?;
    let key = key(&section);
    let load_factor = section.get("load_factor").map(|node| load_factor(&node));
    Some(HashPolicy {
        key: key?,
        load_factor: match load_factor {
            Some(factor) => Some(factor?),
            None => None,
        },
    })
}

fn key(section: &Section<'_>) -> Option<HashKey> {
    let given: Vec<_> = KEYS.iter().filter_map(|key| section.get(key)).collect();
    let [node, others @ ..] = given.as_slice() else {
        return Some(HashPolicy::default().key);
    };
    for other in others {
        let message = format!(
            "`{}` and `{}` exclude each other",
            node.name(),
            other.name()
        );
        other.error(
            Code::Conflict,
            message,
            "one part of the request is hashed; take the other out",
        );
    }
    match node.name() {
        "header" => header_name(&node.text()?, node).map(HashKey::Header),
        "cookie" => cookie_name(node).map(HashKey::Cookie),
        "query" => node.text().map(HashKey::Query),
        "path" => switched_on(node, HashKey::Path),
        "client_ip" => switched_on(node, HashKey::ClientIp),
        _ => body(node),
    }
}

fn switched_on(node: &Node<'_>, key: HashKey) -> Option<HashKey> {
    if node.boolean()? {
        return Some(key);
    }
    let message = format!("`{} = false` names nothing to hash", node.name());
    node.error(
        Code::InvalidValue,
        message,
        "name the part of the request that counts instead",
    );
    None
}

/// `true` for the whole payload, or a table.
fn body(node: &Node<'_>) -> Option<HashKey> {
    let (limit, field) = if matches!(node.value, DeValue::Boolean(_)) {
        switched_on(node, HashKey::Path)?;
        (defaults::HASH_BODY_LIMIT, None)
    } else {
        let section = node.section(Place::HashBody)?;
        let limit = section.size("limit", &bounds::HASHED_BODY, defaults::HASH_BODY_LIMIT);
        let field = section.get("field").map(|node| node.text());
        match field {
            Some(field) => (limit, Some(field?)),
            None => (limit, None),
        }
    };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    Some(HashKey::Body { limit, field })
}

fn load_factor(node: &Node<'_>) -> Option<f64> {
    let factor = node.float()?;
    if factor.is_finite() && factor > 1.0 {
        return Some(factor);
    }
    let message = "`load_factor` must be above 1";
    let help = "1.25 lets a target take a quarter more than its fair share; without the key load is unbounded";
    node.error(Code::OutOfRange, message, help);
    None
}
