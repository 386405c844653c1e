//! `hash`: which part of a request `consistent_hash` looks at.

use toml::de::DeValue;

use super::condition::header_name;
use super::sticky::cookie_name;
use crate::config::keys;
use crate::config::node::Node;
use crate::config::problem::Code;
use crate::config::section::{Section, exclude_each_other};
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
    let section = node.section(&keys::HASH)?;
    let key = key(&section);
    let load_factor = section.optional("load_factor", load_factor);
    Some(HashPolicy {
        key: key?,
        load_factor: load_factor?,
    })
}

fn key(section: &Section<'_>) -> Option<HashKey> {
    let given = section.given(&KEYS);
    let Some(node) = given.first() else {
        return Some(HashPolicy::default().key);
    };
    exclude_each_other(
        &given,
        "one part of the request is hashed; take the other out",
    );
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
    node.refuse(
        Code::InvalidValue,
        message,
        "name the part of the request that counts instead",
    )
}

/// `true` for the whole payload, or a table.
fn body(node: &Node<'_>) -> Option<HashKey> {
    if matches!(node.value, DeValue::Boolean(_)) {
        let limit = keys::HASH_BODY.size("limit") as usize;
        return switched_on(node, HashKey::Body { limit, field: None });
    }
    let section = node.section(&keys::HASH_BODY)?;
    let limit = section.size("limit");
    let field = section.optional("field", Node::text)?;
    Some(HashKey::Body { limit, field })
}

fn load_factor(node: &Node<'_>) -> Option<f64> {
    let factor = node.float()?;
    if factor.is_finite() && factor > 1.0 {
        return Some(factor);
    }
    let message = "`load_factor` must be above 1";
    let help = "1.25 lets a target take a quarter more than its fair share; without the key load is unbounded";
    node.refuse(Code::OutOfRange, message, help)
}
