//! Reads `aws_ecs_task_definition`, the containers of a service.

use serde_json::Value;

use super::plan::Container;
use super::section::Section;
use super::value::{self, plain, reference_in, whole_reference};

/// ECS counts a core as 1024 units.
const UNITS_PER_CORE: f64 = 1024.0;

/// A task definition.
pub(super) struct Task<'a> {
    pub(super) family: Option<String>,
    pub(super) containers: Vec<Value>,
    cpus: Option<f64>,
    memory: Option<u32>,
    pub(super) section: Section<'a>,
}

pub(super) fn task(section: Section<'_>) -> Task<'_> {
    let containers = match section.value("container_definitions") {
        None => Vec::new(),
        Some(Value::Array(containers)) => containers,
        Some(written) => match parsed(&written) {
            Some(Value::Array(containers)) => containers,
            Some(container @ Value::Object(_)) => vec![container],
            Some(_) => no_containers(&section, "it is not a list of containers"),
            None => match reference_in(&written) {
                Some(reference) => {
                    no_containers(&section, &format!("`{reference}` is not known here"))
                }
                None => no_containers(&section, "it is not JSON"),
            },
        },
    };
    Task {
        family: section.value("family").map(|family| value::text(&family)),
        containers,
        cpus: section.text("cpu").and_then(|text| cores(&text)),
        memory: section.text("memory").and_then(|text| mebibytes(&text)),
        section,
    }
}

/// Parses JSON that may contain marks; a mark alone is not JSON.
fn parsed(written: &Value) -> Option<Value> {
    if whole_reference(written).is_some() {
        return None;
    }
    let text = written.as_str()?;
    let whole: Option<Value> = serde_json::from_str(text).ok();
    let whole = whole.or_else(|| serde_json::from_str(&value::json_with_marks(text)).ok());
    match whole? {
        // Modules that take a text encode it twice.
        Value::String(inner) => serde_json::from_str(&inner).ok(),
        whole => Some(whole),
    }
}

fn no_containers(section: &Section<'_>, reason: &str) -> Vec<Value> {
    section.not_mapped("container_definitions", reason);
    Vec::new()
}

pub(super) fn container(task: &Task<'_>, name: Option<&Value>) -> Container {
    let key = "container_definitions";
    let found = task
        .containers
        .iter()
        .find(|container| name.is_none_or(|name| container["name"] == *name));
    // An unknown name is assumed to be that of the only container.
    let only = task
        .containers
        .first()
        .filter(|_| task.containers.len() == 1);
    let is_unknown = name.is_some_and(|name| reference_in(name).is_some());
    let Some(found) = found.or(only.filter(|_| is_unknown)) else {
        if !task.containers.is_empty() {
            task.section
                .not_mapped(key, "none of its containers is the service's");
        }
        return Container {
            cpus: task.cpus,
            memory: task.memory,
            ..Container::default()
        };
    };
    for other in task.containers.iter().filter(|other| *other != found) {
        let name = plain(&other["name"]);
        task.section
            .not_mapped(key, format!("the container `{name}` beside the service's"));
    }
    Container {
        name: named(&found["name"]),
        image: known(task, found, "image"),
        command: command(task, found),
        env: env(task, found),
        cpus: task.cpus.or_else(|| cores(&known(task, found, "cpu")?)),
        memory: task
            .memory
            .or_else(|| mebibytes(&known(task, found, "memory")?)),
    }
    .listing_others(task, found)
}

/// A name; empty if it is unknown.
pub(super) fn named(value: &Value) -> String {
    if reference_in(value).is_some() {
        return String::new();
    }
    value::text(value)
}

impl Container {
    /// Adds notes about the keys that are not read.
    fn listing_others(self, task: &Task<'_>, found: &Value) -> Self {
        const READ: &[&str] = &["command", "cpu", "environment", "image", "memory", "name"];
        const USELESS: &[&str] = &[
            "cpuArchitecture",
            "enableExecuteCommand",
            "essential",
            "linuxParameters",
            "logConfiguration",
            "memoryReservation",
            "mountPoints",
            "networkMode",
            "portMappings",
            "readonlyRootFilesystem",
            "startTimeout",
            "stopTimeout",
            "systemControls",
            "volumesFrom",
        ];
        let empty = |value: &Value| {
            let is_off = value.is_null() || value.as_bool() == Some(false);
            is_off || value.as_array().is_some_and(Vec::is_empty)
        };
        let entries = found.as_object().into_iter().flatten();
        for (key, value) in entries.filter(|(_, value)| !empty(value)) {
            if READ.contains(&key.as_str()) {
                continue;
            }
            let subject = "container_definitions";
            if USELESS.contains(&key.as_str()) {
                task.section
                    .useless(subject, format!("no use for `{key}` of a container"));
            } else {
                let short: String = plain(value).chars().take(60).collect();
                let message = format!("`{key}` of a container has no counterpart: {short}");
                task.section.not_mapped(subject, message);
            }
        }
        self
    }
}

/// A text of a container; `None`, with a note, if it is unknown.
fn known(task: &Task<'_>, container: &Value, key: &str) -> Option<String> {
    let value = container.get(key)?;
    if let Some(reference) = reference_in(value) {
        let message = format!("`{key}` has `{reference}`, which is not known here");
        task.section.not_mapped("container_definitions", message);
        return None;
    }
    Some(plain(value))
}

/// The items of a list of a container; an unknown list becomes a note.
fn items<'v>(task: &Task<'_>, container: &'v Value, key: &str) -> &'v [Value] {
    match container.get(key) {
        None | Some(Value::Null) => &[],
        Some(Value::Array(items)) => items,
        Some(other) => {
            let written = reference_in(other).map_or_else(|| plain(other), str::to_owned);
            let message = format!("`{key}` is `{written}`, which is not known here");
            task.section.not_mapped("container_definitions", message);
            &[]
        }
    }
}

fn command(task: &Task<'_>, container: &Value) -> Vec<String> {
    let arguments = items(task, container, "command");
    if arguments.is_empty() || known(task, container, "command").is_none() {
        return Vec::new();
    }
    arguments.iter().map(plain).collect()
}

fn env(task: &Task<'_>, container: &Value) -> Vec<(String, String)> {
    let mut env = Vec::new();
    for entry in items(task, container, "environment") {
        let name = plain(&entry["name"]);
        if let Some(reference) = reference_in(entry) {
            let message = format!("the variable {name} has `{reference}`, which is not known here");
            task.section.not_mapped("container_definitions", message);
        } else {
            env.push((name, plain(&entry["value"])));
        }
    }
    env
}

/// Parses `256` or `.25 vCPU`.
fn cores(text: &str) -> Option<f64> {
    let lower = text.to_ascii_lowercase();
    let (number, unit) = match lower.strip_suffix("vcpu") {
        Some(number) => (number, 1.0),
        None => (lower.as_str(), UNITS_PER_CORE),
    };
    let number: f64 = number.trim().parse().ok()?;
    Some(number / unit).filter(|cores| *cores > 0.0 && cores.is_finite())
}

/// Parses `512` or `0.5 GB`.
fn mebibytes(text: &str) -> Option<u32> {
    let lower = text.to_ascii_lowercase();
    let (number, unit) = match lower.strip_suffix("gb") {
        Some(number) => (number, 1024.0),
        None => (lower.as_str(), 1.0),
    };
    let number = number.trim().parse::<f64>().ok()? * unit;
    (1.0..1e9).contains(&number).then_some(number as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_tasks_are_units_or_words() {
        assert_eq!(cores("256"), Some(0.25));
        assert_eq!(cores(".5 vCPU"), Some(0.5));
        assert_eq!(cores("0"), None);
        assert_eq!(mebibytes("512"), Some(512));
        assert_eq!(mebibytes("0.5 GB"), Some(512));
        assert_eq!(mebibytes("much"), None);
    }
}
