//! Which rules may hold for a request.
//!
//! Each rule is filed under one of its conditions: the one that the fewest rules share. A
//! request is looked up by each of its parts (host, path, method, headers, query parameters,
//! client), which finds the rules filed under any of these: a superset of the rules that
//! hold, small as long as rules differ in something. The table then tries their conditions
//! in order.

use std::collections::HashMap;

use http::{HeaderName, Method};
use ipnet::IpNet;

use super::condition::{decoded, parameters};
use super::positions::Positions;
use super::request::RequestView;
use super::shape::{Shape, shapes};
use super::text_map::{Case, TextMap};
use super::values::Values;
use crate::message::{FieldName, Fields};
use crate::model::{ClientAddress, Condition, GroupIndex, Rule};

/// Rules by the condition they are filed under.
#[derive(Debug)]
pub(super) struct Index {
    hosts: Option<Values>,
    paths: Option<Values>,
    methods: TextMap<Positions>,
    fields: FieldValues,
    /// By name, in any case.
    parameters: TextMap<Values>,
    any_parameter: Option<Values>,
    clients: Clients,
    /// Rules without a condition that tells requests apart.
    always: Positions,
}

/// A text that a request may have, or has several of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Part {
    Host,
    Path,
    Header(HeaderName),
    /// `None` is a parameter of any name.
    Parameter(Option<String>),
}

/// What a rule is filed under: a property that a request may have.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Text(Part, Shape),
    Method(Method),
    Client(IpNet),
}

impl Index {
    /// Files rules in order of priority.
    pub(super) fn new(rules: &[Rule<GroupIndex>]) -> Self {
        let mut counts: HashMap<Key, usize> = HashMap::new();
        for condition in rules.iter().flat_map(|rule| &rule.conditions) {
            for key in keys(condition) {
                *counts.entry(counted_under(key)).or_default() += 1;
            }
        }
        let mut filed: HashMap<Key, Positions> = HashMap::new();
        let mut always = Positions::new();
        for (rule, position) in rules.iter().zip(0..) {
            match best_keys(rule, &counts) {
                None => always.push(position),
                Some(keys) => {
                    for key in keys {
                        let positions = filed.entry(key).or_default();
                        // A value may stand in one condition twice.
                        if positions.last() != Some(&position) {
                            positions.push(position);
                        }
                    }
                }
            }
        }
        Self::of(filed, always)
    }

    fn of(filed: HashMap<Key, Positions>, always: Positions) -> Self {
        let mut texts: HashMap<Part, Vec<(Shape, Positions)>> = HashMap::new();
        let mut methods = TextMap::new(Case::Sensitive);
        let mut clients = Clients::default();
        for (key, positions) in filed {
            match key {
                Key::Text(part, shape) => {
                    texts.entry(part).or_default().push((shape, positions));
                }
                Key::Method(method) => {
                    methods.get_or_insert_with(method.as_str(), || positions);
                }
                Key::Client(network) => clients.insert(network, positions),
            }
        }
        let mut index = Self {
            hosts: None,
            paths: None,
            methods,
            fields: FieldValues::default(),
            parameters: TextMap::new(Case::Folded),
            any_parameter: None,
            clients,
            always,
        };
        for (part, shapes) in texts {
            match part {
                // A host comes in lower case already.
                Part::Host => index.hosts = Some(Values::new(Case::Sensitive, shapes)),
                Part::Path => index.paths = Some(Values::new(Case::Sensitive, shapes)),
                Part::Header(name) => {
                    let values = Values::new(Case::Folded, shapes);
                    index.fields.insert(&name, values);
                }
                Part::Parameter(name) => {
                    let values = Values::new(Case::Folded, shapes);
                    match name {
                        None => index.any_parameter = Some(values),
                        Some(name) => {
                            index.parameters.get_or_insert_with(&name, || values);
                        }
                    }
                }
            }
        }
        index
    }

    /// Calls `visit` with lists of rules that together hold every rule which may hold for the
    /// request, some perhaps twice; each list is in order.
    pub(super) fn visit(&self, request: &RequestView<'_>, mut visit: impl FnMut(&[u32])) {
        if let Some(hosts) = &self.hosts {
            hosts.visit(request.host(), &mut visit);
        }
        if let Some(paths) = &self.paths {
            paths.visit(request.path(), &mut visit);
        }
        self.fields.visit(request.fields(), &mut visit);
        if self.any_parameter.is_some() || !self.parameters.is_empty() {
            for (name, value) in parameters(request.query()) {
                let value = decoded(value);
                if let Some(values) = self.parameters.get(decoded(name).as_ref()) {
                    values.visit(&value, &mut visit);
                }
                if let Some(values) = &self.any_parameter {
                    values.visit(&value, &mut visit);
                }
            }
        }
        self.clients.visit(request.client(), &mut visit);
        if !self.methods.is_empty()
            && let Some(positions) = self.methods.get(request.method())
        {
            visit(positions);
        }
        visit(&self.always);
    }
}

/// Rules by the values of fields.
#[derive(Debug)]
struct FieldValues {
    /// Of names that a head finds by their id.
    known: Vec<(FieldName, Values)>,
    /// Of other names, in any case.
    others: TextMap<Values>,
}

impl Default for FieldValues {
    fn default() -> Self {
        Self {
            known: Vec::new(),
            others: TextMap::new(Case::Folded),
        }
    }
}

impl FieldValues {
    /// Names come once each.
    fn insert(&mut self, name: &HeaderName, values: Values) {
        match FieldName::from_bytes(name.as_str().as_bytes()) {
            FieldName::Other => {
                self.others.get_or_insert_with(name.as_str(), || values);
            }
            known => self.known.push((known, values)),
        }
    }

    fn visit(&self, fields: &Fields, visit: &mut impl FnMut(&[u32])) {
        for (name, values) in &self.known {
            for value in fields.get_all(*name) {
                values.visit(&String::from_utf8_lossy(value), visit);
            }
        }
        if self.others.is_empty() {
            return;
        }
        for field in fields.iter().filter(|field| field.id == FieldName::Other) {
            if let Some(values) = self.others.get(field.name) {
                values.visit(&String::from_utf8_lossy(field.value), visit);
            }
        }
    }
}

/// Rules by the network of the client.
#[derive(Debug, Default)]
struct Clients {
    networks: HashMap<IpNet, Positions>,
    /// The lengths of these networks' prefixes, of IPv4 and of IPv6.
    lengths: [Vec<u8>; 2],
}

impl Clients {
    fn insert(&mut self, network: IpNet, positions: Positions) {
        let lengths = &mut self.lengths[usize::from(network.addr().is_ipv6())];
        if !lengths.contains(&network.prefix_len()) {
            lengths.push(network.prefix_len());
        }
        self.networks.insert(network, positions);
    }

    fn visit(&self, client: ClientAddress, visit: &mut impl FnMut(&[u32])) {
        if self.networks.is_empty() {
            return;
        }
        let Some(client) = client.canonical_ip() else {
            return;
        };
        for length in &self.lengths[usize::from(client.is_ipv6())] {
            let network = IpNet::new(client, *length).ok();
            let positions = network.and_then(|network| self.networks.get(&network.trunc()));
            if let Some(positions) = positions {
                visit(positions);
            }
        }
    }
}

/// The keys of `condition`: a request for which it holds has one of them.
fn keys(condition: &Condition) -> Vec<Key> {
    let text = |part: Part, shapes: Vec<Shape>| {
        shapes
            .into_iter()
            .map(move |shape| Key::Text(part.clone(), shape))
    };
    match condition {
        Condition::Host(hosts) => hosts
            .iter()
            .flat_map(|host| text(Part::Host, shapes(host.pattern())))
            .collect(),
        Condition::Path(paths) => paths
            .iter()
            .flat_map(|path| text(Part::Path, shapes(path)))
            .collect(),
        Condition::Method(methods) => methods.iter().cloned().map(Key::Method).collect(),
        Condition::Header { name, values } => values
            .iter()
            .flat_map(|value| text(Part::Header(name.clone()), shapes(value)))
            .collect(),
        Condition::Query(accepted) => accepted
            .iter()
            .flat_map(|one| text(Part::Parameter(one.key.clone()), shapes(&one.value)))
            .collect(),
        Condition::SourceIp(networks) => networks
            .iter()
            .map(|network| Key::Client(network.trunc()))
            .collect(),
    }
}

/// The key under which rules are counted that are tried together with those of `key`:
/// expressions are searched for together.
fn counted_under(key: Key) -> Key {
    match key {
        Key::Text(part, Shape::Contains(_)) => Key::Text(part, Shape::Contains(String::new())),
        key => key,
    }
}

/// The keys to file a rule under, so that the fewest others are tried with it. Returns
/// `None` if no condition tells requests apart.
fn best_keys(rule: &Rule<GroupIndex>, counts: &HashMap<Key, usize>) -> Option<Vec<Key>> {
    let shared_by = |keys: &Vec<Key>| -> usize {
        let one = |key: &Key| match key {
            // Every request has them.
            Key::Text(Part::Host | Part::Path, Shape::Anything) => usize::MAX,
            key => counts
                .get(&counted_under(key.clone()))
                .copied()
                .unwrap_or(1),
        };
        keys.iter().map(one).fold(0, usize::saturating_add)
    };
    let best = rule.conditions.iter().map(keys).min_by_key(shared_by)?;
    (shared_by(&best) < usize::MAX).then_some(best)
}
