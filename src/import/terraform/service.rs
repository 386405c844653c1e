//! `aws_ecs_service` and `aws_ecs_task_definition`: what runs behind a target group.

use std::collections::HashMap;

use serde_json::Value;

use super::files::{Files, Resource};
use super::plan::{Container, Group, Service};
use super::scope::{self, reference_in};
use super::section::{Section, resource};

/// ECS counts a core as 1024 units.
const UNITS_PER_CORE: f64 = 1024.0;

/// Where tasks run and how they are replaced, which Weir does in its own way.
const USELESS: [&str; 21] = [
    "availability_zone_rebalancing",
    "capacity_provider_strategy",
    "deployment_circuit_breaker",
    "deployment_configuration",
    "deployment_controller",
    "deployment_maximum_percent",
    "deployment_minimum_healthy_percent",
    "enable_ecs_managed_tags",
    "enable_execute_command",
    "force_delete",
    "force_new_deployment",
    "iam_role",
    "launch_type",
    "network_configuration",
    "ordered_placement_strategy",
    "placement_constraints",
    "platform_version",
    "propagate_tags",
    "scheduling_strategy",
    "triggers",
    "wait_for_steady_state",
];

/// A task definition.
struct Task<'a> {
    family: Option<String>,
    containers: Vec<Value>,
    cpus: Option<f64>,
    memory: Option<u32>,
    section: Section<'a>,
}

/// Finds the services of the groups.
pub(super) fn read(files: &Files<'_>, groups: &mut [Group]) {
    let clusters = clusters(files);
    let mut tasks: HashMap<&str, Task<'_>> = HashMap::new();
    for found in files.all("aws_ecs_task_definition") {
        tasks.insert(found.name, task(found.section));
    }
    for found in files.all("aws_ecs_service") {
        service(found, groups, &tasks, &clusters);
    }
    for task in tasks.into_values() {
        task.section.finish(&[
            "execution_role_arn",
            "network_mode",
            "requires_compatibilities",
            "runtime_platform",
            "skip_destroy",
            "task_role_arn",
            "track_latest",
        ]);
    }
}

/// Gives a service to its group.
fn service(
    found: Resource<'_>,
    groups: &mut [Group],
    tasks: &HashMap<&str, Task<'_>>,
    clusters: &HashMap<String, String>,
) {
    let (origin, section) = (found.origin(), found.section);
    let Some(balancer) = section.block("load_balancer") else {
        section.drop_whole("a service without a load balancer");
        return;
    };
    let group = balancer.reference("target_group_arn", "aws_lb_target_group");
    let Some(group) = group.and_then(|name| groups.iter_mut().find(|g| g.name == name)) else {
        section.drop_whole("its target group is not taken over");
        return;
    };
    if group.service.is_some() {
        let message = format!("a second service of the target group `{}`", group.name);
        section.drop_whole(message);
        return;
    }
    let cluster = section
        .value("cluster")
        .map(|value| match resource(&value) {
            Some((_, name)) => clusters.get(&name).cloned().unwrap_or(name),
            None => scope::text(&value),
        });
    let definition = section.value("task_definition");
    let task = definition
        .as_ref()
        .and_then(|value| find_task(value, tasks));
    if definition.is_some() && task.is_none() {
        let message = "its task definition is not in these files";
        section.not_mapped("task_definition", message);
    }
    let label = found.name.to_owned();
    let container_name = balancer.text("container_name");
    let container = task.map(|task| container(task, container_name.as_deref()));
    group.service = Some(Service {
        origin,
        name: section.text("name").unwrap_or_else(|| label.clone()),
        label,
        cluster,
        count: section.count("desired_count"),
        port: balancer.port("container_port"),
        container: container.unwrap_or_default(),
        scaling: None,
    });
    balancer.finish(&[]);
    // A new target is healthy with its first passed check here, however long that takes.
    section.value("health_check_grace_period_seconds");
    section.finish(&USELESS);
}

/// Names by labels.
fn clusters(files: &Files<'_>) -> HashMap<String, String> {
    let mut clusters = HashMap::new();
    for found in files.all("aws_ecs_cluster") {
        let name = found.section.text("name");
        clusters.insert(
            found.name.to_owned(),
            name.unwrap_or_else(|| found.name.to_owned()),
        );
        found.section.not_needed("only AWS needs it");
    }
    clusters
}

fn task(section: Section<'_>) -> Task<'_> {
    let containers = match section.value("container_definitions") {
        Some(Value::Array(containers)) => containers,
        Some(Value::String(text)) => match serde_json::from_str(&text) {
            Ok(Value::Array(containers)) => containers,
            Ok(_) => no_containers(&section, "it is not a list of containers"),
            Err(_) => match reference_in(&Value::String(text)) {
                Some(reference) => {
                    no_containers(&section, &format!("`{reference}` is not known here"))
                }
                None => no_containers(&section, "it is not JSON"),
            },
        },
        _ => Vec::new(),
    };
    Task {
        family: section.text("family"),
        containers,
        cpus: section.text("cpu").and_then(|text| cores(&text)),
        memory: section.text("memory").and_then(|text| mebibytes(&text)),
        section,
    }
}

fn no_containers(section: &Section<'_>, reason: &str) -> Vec<Value> {
    section.not_mapped("container_definitions", reason);
    Vec::new()
}

fn find_task<'t, 'a>(value: &Value, tasks: &'t HashMap<&str, Task<'a>>) -> Option<&'t Task<'a>> {
    if let Some((_, name)) = resource(value) {
        let by_name = tasks.get(name.as_str());
        if by_name.is_some() {
            return by_name;
        }
    }
    // A family may be followed by its revision.
    let text = scope::text(value);
    let family = text.split(':').next()?;
    tasks
        .values()
        .find(|task| task.family.as_deref() == Some(family))
}

fn container(task: &Task<'_>, name: Option<&str>) -> Container {
    let key = "container_definitions";
    let is_named = |container: &&Value| container["name"].as_str() == name || name.is_none();
    let Some(found) = task.containers.iter().find(is_named) else {
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
        let name = scope::text(&other["name"]);
        task.section
            .not_mapped(key, format!("the container `{name}` beside the service's"));
    }
    Container {
        name: scope::text(&found["name"]),
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

impl Container {
    /// Lists the keys that nothing here looks at.
    fn listing_others(self, task: &Task<'_>, found: &Value) -> Self {
        const READ: [&str; 6] = ["command", "cpu", "environment", "image", "memory", "name"];
        const USELESS: [&str; 7] = [
            "essential",
            "logConfiguration",
            "memoryReservation",
            "mountPoints",
            "networkMode",
            "portMappings",
            "volumesFrom",
        ];
        let empty = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
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
                let short: String = scope::text(value).chars().take(60).collect();
                let message = format!("`{key}` of a container has no counterpart: {short}");
                task.section.not_mapped(subject, message);
            }
        }
        self
    }
}

/// A text of a container, unless something in it is not known.
fn known(task: &Task<'_>, container: &Value, key: &str) -> Option<String> {
    let value = container.get(key)?;
    if let Some(reference) = reference_in(value) {
        let message = format!("`{key}` has `{reference}`, which is not known here");
        task.section.not_mapped("container_definitions", message);
        return None;
    }
    Some(scope::text(value))
}

/// The items of a list of a container; one that is not known here is listed.
fn items<'v>(task: &Task<'_>, container: &'v Value, key: &str) -> &'v [Value] {
    match container.get(key) {
        None | Some(Value::Null) => &[],
        Some(Value::Array(items)) => items,
        Some(other) => {
            let written = reference_in(other).map_or_else(|| scope::text(other), str::to_owned);
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
    arguments.iter().map(scope::text).collect()
}

fn env(task: &Task<'_>, container: &Value) -> Vec<(String, String)> {
    let mut env = Vec::new();
    for entry in items(task, container, "environment") {
        let name = scope::text(&entry["name"]);
        if let Some(reference) = reference_in(entry) {
            let message = format!("the variable {name} has `{reference}`, which is not known here");
            task.section.not_mapped("container_definitions", message);
        } else {
            env.push((name, scope::text(&entry["value"])));
        }
    }
    env
}

/// `256`, or `.25 vCPU`.
fn cores(text: &str) -> Option<f64> {
    let lower = text.to_ascii_lowercase();
    let (number, unit) = match lower.strip_suffix("vcpu") {
        Some(number) => (number, 1.0),
        None => (lower.as_str(), UNITS_PER_CORE),
    };
    let number: f64 = number.trim().parse().ok()?;
    Some(number / unit).filter(|cores| *cores > 0.0 && cores.is_finite())
}

/// `512`, or `0.5 GB`.
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
