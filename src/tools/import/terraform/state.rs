//! Reads plans and states: the output of `terraform show -json` and `terraform state pull`.
//!
//! Their values are evaluated. A plan lacks those that AWS has not returned yet; the configuration
//! in it has the references of the attributes.

use std::rc::Rc;

use serde_json::Value;

use super::files::{Body, Found};
use super::node::Node;
use super::section::canonical;
use super::translation::ModuleCall;
use super::value::unresolved;
use crate::tools::import::note::Location;

/// Most modules through which a reference is followed.
const MAX_HOPS: u32 = 20;

/// The resources of a plan or state; `None` if the value is neither.
pub(super) fn read<'a>(value: &Value, location: &Location) -> Option<Vec<Found<'a>>> {
    if value.get("format_version").is_some() {
        // A configuration that was not applied yet has no values.
        let root = ["planned_values", "values"]
            .iter()
            .find_map(|key| value.get(key))
            .unwrap_or(&Value::Null);
        let mut listed = Vec::new();
        modules(&root["root_module"], "", &mut listed);
        if let Some(configuration) = value.get("configuration") {
            let plan = Plan::new(configuration, &value["resource_changes"], &listed);
            let completed: Vec<_> = listed.iter().map(|one| plan.completed(one)).collect();
            for (one, values) in listed.iter_mut().zip(completed) {
                one.values = values;
            }
        }
        return Some(listed.into_iter().map(|one| one.found(location)).collect());
    }
    let resources = value.get("resources")?.as_array()?;
    value.get("version")?;
    Some(pulled(resources, location))
}

/// One resource of a plan or state.
struct Listed {
    /// `module.web.`; empty for the root.
    prefix: String,
    kind: String,
    label: String,
    index: Option<Value>,
    values: Value,
}

impl Listed {
    fn base(&self) -> String {
        format!("{}{}.{}", self.prefix, self.kind, self.label)
    }

    fn address(&self) -> String {
        match &self.index {
            Some(index) => format!("{}[{index}]", self.base()),
            None => self.base(),
        }
    }

    fn found<'a>(self, location: &Location) -> Found<'a> {
        let id = |key: &str| self.values.get(key)?.as_str().map(str::to_owned);
        let ids = ["arn", "id"].into_iter().filter_map(id);
        Found {
            kind: canonical(&self.kind),
            address: self.address(),
            calls: calls(&self.prefix),
            key: self.index.as_ref().map(super::value::text),
            location: location.clone(),
            ids: ids.filter(|id| !id.is_empty()).collect(),
            body: Body::Values(Rc::new(Node::of_json(&self.values, location))),
            label: self.label,
            assumed: None,
        }
    }
}

// serde_json limits the depth to 128.
fn modules(module: &Value, prefix: &str, listed: &mut Vec<Listed>) {
    for resource in module["resources"].as_array().into_iter().flatten() {
        if resource["mode"].as_str() != Some("data") {
            listed.push(Listed {
                prefix: prefix.to_owned(),
                kind: string(&resource["type"]),
                label: string(&resource["name"]),
                index: resource
                    .get("index")
                    .filter(|index| !index.is_null())
                    .cloned(),
                values: resource["values"].clone(),
            });
        }
    }
    for child in module["child_modules"].as_array().into_iter().flatten() {
        modules(child, &format!("{}.", string(&child["address"])), listed);
    }
}

/// Reads a state file of version 4.
fn pulled<'a>(resources: &[Value], location: &Location) -> Vec<Found<'a>> {
    let mut found = Vec::new();
    for resource in resources
        .iter()
        .filter(|one| one["mode"].as_str() != Some("data"))
    {
        let module = resource["module"].as_str();
        for instance in resource["instances"].as_array().into_iter().flatten() {
            let listed = Listed {
                prefix: module.map_or_else(String::new, |module| format!("{module}.")),
                kind: string(&resource["type"]),
                label: string(&resource["name"]),
                index: instance
                    .get("index_key")
                    .filter(|index| !index.is_null())
                    .cloned(),
                values: instance["attributes"].clone(),
            };
            found.push(listed.found(location));
        }
    }
    found
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The calls in the address of a module: `module.a["x"].module.b.`.
fn calls(prefix: &str) -> Vec<ModuleCall> {
    let mut calls = Vec::new();
    let mut rest = prefix;
    while let Some(after) = rest.strip_prefix("module.") {
        let end = after.find(['.', '[']).unwrap_or(after.len());
        let (name, tail) = after.split_at(end);
        let (key, tail) = match tail.strip_prefix('[') {
            Some(inner) => {
                let quoted = inner.strip_prefix('"');
                let close = if quoted.is_some() { "\"]" } else { "]" };
                let (key, tail) = quoted
                    .unwrap_or(inner)
                    .split_once(close)
                    .unwrap_or((inner, ""));
                (Some(key.to_owned()), tail)
            }
            None => (None, tail),
        };
        calls.push(ModuleCall {
            name: name.to_owned(),
            key,
        });
        rest = tail.strip_prefix('.').unwrap_or(tail);
    }
    calls
}

/// The configuration and changes of a plan.
struct Plan<'p> {
    root: &'p Value,
    changes: &'p Value,
    listed: &'p [Listed],
}

impl<'p> Plan<'p> {
    fn new(configuration: &'p Value, changes: &'p Value, listed: &'p [Listed]) -> Self {
        Self {
            root: &configuration["root_module"],
            changes,
            listed,
        }
    }

    /// The configuration of a module, by its calls.
    fn module(&self, calls: &[ModuleCall]) -> &'p Value {
        calls.iter().fold(self.root, |module, call| {
            &module["module_calls"][&call.name]["module"]
        })
    }

    /// The values, with marks for those that AWS has not returned yet.
    fn completed(&self, one: &Listed) -> Value {
        let mut values = one.values.clone();
        let module = self.module(&calls(&one.prefix));
        let address = format!("{}.{}", one.kind, one.label);
        let resources = module["resources"].as_array();
        let configured = resources
            .into_iter()
            .flatten()
            .find(|resource| resource["address"].as_str() == Some(&address));
        if let Some(configured) = configured {
            let changes = self.changes.as_array().into_iter().flatten();
            let whole = one.address();
            let change = changes
                .into_iter()
                .find(|c| c["address"].as_str() == Some(&whole));
            let unknown = change.map_or(&Value::Null, |change| &change["change"]["after_unknown"]);
            self.complete(&mut values, &configured["expressions"], unknown, one);
        }
        values
    }

    fn complete(&self, values: &mut Value, written: &Value, unknown: &Value, one: &Listed) {
        match (values, written) {
            (Value::Object(values), Value::Object(written)) => {
                for (key, expression) in written {
                    let Some(references) = expression.get("references") else {
                        if let Some(inner) = values.get_mut(key) {
                            self.complete(inner, expression, &unknown[key], one);
                        }
                        continue;
                    };
                    if values.get(key).is_some_and(|value| !value.is_null()) {
                        continue;
                    }
                    let mut names = references
                        .as_array()
                        .into_iter()
                        .flatten()
                        .filter_map(Value::as_str);
                    let first = names.clone().next().unwrap_or_default();
                    let resource = names.find_map(|name| self.named(name, one, &one.prefix, 0));
                    let is_unknown = unknown[key].as_bool() == Some(true);
                    let mark = resource.or_else(|| is_unknown.then(|| first.to_owned()));
                    values.extend(mark.map(|mark| (key.clone(), unresolved(&mark))));
                }
            }
            (Value::Array(values), Value::Array(written)) => {
                for (n, (value, expression)) in values.iter_mut().zip(written).enumerate() {
                    self.complete(value, expression, &unknown[n], one);
                }
            }
            _ => {}
        }
    }

    /// The address of the resource that a reference in a module names, with its attribute.
    fn named(&self, reference: &str, one: &Listed, prefix: &str, hops: u32) -> Option<String> {
        if hops > MAX_HOPS {
            return None;
        }
        let calls = calls(prefix);
        let follow = |expression: &Value, prefix: &str| {
            let references = expression["references"].as_array()?;
            let mut names = references.iter().filter_map(Value::as_str);
            names.find_map(|name| self.named(name, one, prefix, hops + 1))
        };
        if let Some(name) = reference.strip_prefix("var.") {
            let (call, parents) = calls.split_last()?;
            let name = name.split(['.', '[']).next()?;
            let expression = &self.module(parents)["module_calls"][&call.name]["expressions"][name];
            return follow(expression, &address_of(parents));
        }
        if let Some(rest) = reference.strip_prefix("module.") {
            let (call, output) = rest.split_once('.')?;
            let (call, key) = call
                .split_once('[')
                .map_or((call, None), |(call, key)| (call, Some(key)));
            let base = format!("{prefix}module.{call}");
            let wanted = key.map(|key| format!("{base}[{key}."));
            let inner = self.listed.iter().find_map(|other| {
                let rest = other.prefix.strip_prefix(&base)?;
                let end = rest.find("].").map_or(1, |at| at + 2);
                let inner = format!("{base}{}", rest.get(..end)?);
                (rest.starts_with(['.', '[']) && wanted.as_ref().is_none_or(|w| *w == inner))
                    .then_some(inner)
            })?;
            let output = output.split(['.', '[']).next()?;
            let module = &self.module(&calls)["module_calls"][call]["module"];
            return follow(&module["outputs"][output]["expression"], &inner);
        }
        let mut parts = reference.splitn(3, '.');
        let (kind, label) = (parts.next()?, parts.next()?);
        let label = label.split('[').next()?;
        let base = format!("{prefix}{kind}.{label}");
        let mut named = self.listed.iter().filter(|other| other.base() == base);
        let first = named.clone().next()?;
        let same_key = named
            .find(|other| other.index == one.index)
            .unwrap_or(first);
        let keyed = self.listed.iter().find(|other| {
            let own = other.address();
            other.base() == base
                && format!("{prefix}{reference}").starts_with(&own)
                && own.ends_with(']')
        });
        Some(format!("{}.arn", keyed.unwrap_or(same_key).address()))
    }
}

fn address_of(calls: &[ModuleCall]) -> String {
    calls
        .iter()
        .map(|ModuleCall { name, key }| match key {
            Some(key) if key.parse::<u32>().is_ok() => format!("module.{name}[{key}]."),
            Some(key) => format!("module.{name}[\"{key}\"]."),
            None => format!("module.{name}."),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_modules_are_their_calls() {
        let read = calls("module.a[\"x.y\"].module.b[0].module.c.");
        let call = |name: &str, key: Option<&str>| ModuleCall {
            name: name.to_owned(),
            key: key.map(str::to_owned),
        };
        assert_eq!(
            read,
            [
                call("a", Some("x.y")),
                call("b", Some("0")),
                call("c", None)
            ]
        );
        assert_eq!(address_of(&read), "module.a[\"x.y\"].module.b[0].module.c.");
        assert!(calls("").is_empty() && calls("module.a[").len() == 1);
    }
}
