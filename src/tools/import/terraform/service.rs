//! Reads `aws_ecs_service`, the services behind target groups.

use std::collections::BTreeMap;

use serde_json::Value;

use super::container::{Task, container, named, task};
use super::files::{Files, Resource};
use super::group;
use super::plan::{Group, Service};
use super::section::Section;
use super::value::{self, plain, reference_in};

/// Keys about the placement and replacement of tasks, which Weir does in its own way.
const USELESS: &[&str] = &[
    "availability_zone_rebalancing",
    "alarms",
    "capacity_provider_strategy",
    "cluster_arn",
    "deployment_circuit_breaker",
    "deployment_configuration",
    "deployment_controller",
    "deployment_maximum_percent",
    "deployment_minimum_healthy_percent",
    "enable_ecs_managed_tags",
    "enable_execute_command",
    "force_delete",
    "force_new_deployment",
    "health_check_grace_period_seconds",
    "iam_role",
    "launch_type",
    "network_configuration",
    "placement_constraints",
    "platform_version",
    "ordered_placement_strategy",
    "propagate_tags",
    "scheduling_strategy",
    "service_registries",
    "sigint_rollback",
    "task_definition_arn",
    "triggers",
    "wait_for_steady_state",
];

/// The resources that services refer to, by address.
struct Referenced<'a> {
    tasks: BTreeMap<String, Task<'a>>,
    /// Names.
    clusters: BTreeMap<String, String>,
}

/// Adds the services of the groups.
pub(super) fn read(files: &Files<'_>, groups: &mut Vec<Group>) {
    let referenced = Referenced {
        tasks: files
            .all("aws_ecs_task_definition")
            .into_iter()
            .map(|found| (found.address, task(found.section)))
            .collect(),
        clusters: clusters(files),
    };
    let mut unbalanced = Vec::new();
    for found in files.all("aws_ecs_service") {
        let mut balancers = found.section.blocks("load_balancer").into_iter();
        let first = balancers.next();
        for more in balancers {
            more.drop_whole("a service has one target group: its first");
        }
        match first {
            Some(balancer) => service(found, balancer, groups, &referenced),
            None => unbalanced.push(found),
        }
    }
    // Beside services with a load balancer, these are internal ones.
    let has_groups = !groups.is_empty();
    for found in unbalanced {
        if has_groups {
            found
                .section
                .drop_whole("a service without a load balancer");
        } else {
            alone(found, groups, &referenced);
        }
    }
    for task in referenced.tasks.into_values() {
        task.section.finish(&[
            "arn_without_revision",
            "enable_fault_injection",
            "ephemeral_storage",
            "execution_role_arn",
            "network_mode",
            "placement_constraints",
            "requires_compatibilities",
            "revision",
            "runtime_platform",
            "skip_destroy",
            "task_role_arn",
            "track_latest",
        ]);
    }
}

/// Adds a service to the group of its load balancer.
fn service(
    found: Resource<'_>,
    balancer: Section<'_>,
    groups: &mut Vec<Group>,
    referenced: &Referenced<'_>,
) {
    let port = balancer.port("container_port");
    let container = balancer.value("container_name");
    let group = group_of(&balancer, groups, port);
    balancer.finish(&["elb_name", "advanced_configuration"]);
    match group {
        None => found
            .section
            .drop_whole("its target group is not taken over"),
        Some(group) if group.service.is_some() => {
            let message = format!("a second service of the target group `{}`", group.name);
            found.section.drop_whole(message);
        }
        Some(group) => attach(found, group, container.as_ref(), port, referenced),
    }
}

/// Adds a group for a service without a load balancer, which clients reach at the port of its
/// tasks.
fn alone(found: Resource<'_>, groups: &mut Vec<Group>, referenced: &Referenced<'_>) {
    let task = referenced.task_of(&found.section, &found.address);
    let container = task.and_then(|task| task.containers.first());
    let mapped = container.map(|container| {
        let port = &container["portMappings"][0]["containerPort"];
        value::number(port).filter(|port| (1.0..65536.0).contains(port))
    });
    let port = match mapped {
        Some(Some(port)) => Some(port as u16),
        Some(None) => {
            found
                .section
                .drop_whole("a service without a load balancer and without a port");
            return;
        }
        // The container is unknown.
        None => Some(group::PORT),
    };
    let group = group::unknown(groups, &Value::from(found.name.as_str()), port);
    group.origin = format!("{}, which has no load balancer", found.origin());
    let message = format!(
        "a service without a load balancer: the group `{}` is made for it",
        group.name
    );
    found.section.not_mapped("name", message);
    attach(found, group, None, port, referenced);
}

fn attach(
    found: Resource<'_>,
    group: &mut Group,
    container_name: Option<&Value>,
    port: Option<u16>,
    referenced: &Referenced<'_>,
) {
    let (origin, address, label, section) =
        (found.origin(), found.address, found.name, found.section);
    let task = referenced.task_of(&section, &address);
    let mut container = task
        .map(|task| container(task, container_name))
        .unwrap_or_default();
    if container.name.is_empty() {
        container.name = container_name.map(named).unwrap_or_default();
    }
    let written = section.value("name").map(|name| value::text(&name));
    group.service = Some(Service {
        origin,
        address,
        name: section.text("name").unwrap_or_else(|| label.clone()),
        written: written.unwrap_or_else(|| label.clone()),
        label,
        cluster: cluster(&section, &referenced.clusters),
        count: section.count("desired_count"),
        port: port.or(group.port).or(Some(group::PORT)),
        container,
        scaling: None,
    });
    // In Weir a new target may start for any time before its first passed check.
    section.value("health_check_grace_period_seconds");
    section.finish(USELESS);
}

/// The group of a service; for a group of other files a placeholder is made.
fn group_of<'g>(
    balancer: &Section<'_>,
    groups: &'g mut Vec<Group>,
    port: Option<u16>,
) -> Option<&'g mut Group> {
    let value = balancer.value("target_group_arn")?;
    let address = balancer.address_of(&value, "aws_lb_target_group");
    if let Some(address) = address {
        return groups.iter_mut().find(|group| group.address == address);
    }
    let group = group::unknown(groups, &value, port);
    let message = format!(
        "`target_group_arn` is `{}`, which is not in these files: the group `{}` stands for it",
        plain(&value),
        group.name
    );
    balancer.not_mapped("target_group_arn", message);
    Some(group)
}

fn cluster(section: &Section<'_>, clusters: &BTreeMap<String, String>) -> Option<String> {
    let value = section.value("cluster")?;
    if let Some(address) = section.address_of(&value, "aws_ecs_cluster") {
        return clusters.get(&address).cloned();
    }
    if reference_in(&value).is_none() {
        return Some(value::text(&value));
    }
    let written = plain(&value);
    let message = format!("`cluster` is `{written}`, which is not known here: `default` instead");
    section.not_mapped("cluster", message);
    None
}

impl<'a> Referenced<'a> {
    fn task_of(&self, section: &Section<'_>, address: &str) -> Option<&Task<'a>> {
        let definition = section.value("task_definition")?;
        if let Some(address) = section.address_of(&definition, "aws_ecs_task_definition") {
            return self.tasks.get(&address);
        }
        // A revision may follow the family.
        let text = value::text(&definition);
        let is_named = |task: &&Task<'_>| {
            let rest = task
                .family
                .as_deref()
                .and_then(|family| text.strip_prefix(family));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
        };
        if let Some(task) = self.tasks.values().find(is_named) {
            return Some(task);
        }
        let module = |address: &str| {
            address
                .rsplit_once("aws_")
                .map_or(0, |(prefix, _)| prefix.len())
        };
        let prefix = &address[..module(address)];
        let mut beside = self
            .tasks
            .iter()
            .filter(|(own, _)| own[..module(own)] == *prefix);
        let (first, more) = (beside.next(), beside.next());
        let written = plain(&definition);
        let (message, task) = match (first, more) {
            (Some((own, task)), None) => (
                format!(
                    "`task_definition` is `{written}`, which is not known here: taken for {own}"
                ),
                Some(task),
            ),
            _ => (
                format!("its task definition `{written}` is not in these files"),
                None,
            ),
        };
        section.not_mapped("task_definition", message);
        task
    }
}

/// The names of the clusters by address.
fn clusters(files: &Files<'_>) -> BTreeMap<String, String> {
    let mut clusters = BTreeMap::new();
    for found in files.all("aws_ecs_cluster") {
        let name = found.section.text("name");
        clusters.insert(found.address, name.unwrap_or(found.name));
        found.section.not_needed("only AWS needs it");
    }
    clusters
}
