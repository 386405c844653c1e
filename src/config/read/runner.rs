//! Who runs the replicas of a group: exactly one of `command` and the tables beside it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::command::{command, env, look_for, words};
use super::{engine, secrets};
use crate::config::node::Node;
use crate::config::problem::Code;
use crate::config::schema::Place;
use crate::config::section::Section;
use crate::config::types::{
    EcsRunner, ExecRunner, KubernetesRunner, ProcessRunner, Runner, WebhookRunner,
};
use crate::config::{bounds, defaults};

/// The port of the group: absent, there and wrong, or right.
pub(super) type GroupPort = Option<Option<u16>>;

/// The keys that say who.
const RUNNERS: [&str; 7] = [
    "command",
    "docker",
    "swarm",
    "kubernetes",
    "ecs",
    "exec",
    "webhook",
];

/// What belongs to `command` alone.
const OF_COMMAND: [&str; 3] = ["env", "directory", "stop_timeout"];

/// Reads all that are there, so that each is checked.
pub(super) fn read(section: &Section<'_>, port: GroupPort) -> Option<Runner> {
    let mut given: Vec<_> = RUNNERS.iter().filter_map(|key| section.get(key)).collect();
    given.sort_by_key(|node| node.span);
    for node in &given {
        refuse_unless_built_in(node);
    }
    let mut runners: Vec<_> = given
        .iter()
        .map(|node| match node.name() {
            "docker" => engine::docker(node, port).map(Runner::Docker),
            "swarm" => engine::swarm(node, port).map(Runner::Swarm),
            "kubernetes" => engine::kubernetes(node, port).map(Runner::Kubernetes),
            "ecs" => engine::ecs(node, port).map(Runner::Ecs),
            "exec" => exec(node).map(Runner::Exec),
            "webhook" => webhook(node).map(Runner::Webhook),
            _ => process(section, node).map(Runner::Process),
        })
        .collect();
    let Some((first, others)) = given.split_first() else {
        miss_runner(section);
        return None;
    };
    for other in others {
        let (one, two) = (first.name(), other.name());
        let message = format!("`{one}` and `{two}` exclude each other");
        let help = "one alone runs the replicas of a group; take the other out";
        other.error(Code::Conflict, message, help);
    }
    if given.iter().all(|node| node.name() != "command") {
        refuse_keys_of_command(section, first.name());
    }
    let runner = runners.swap_remove(0)?;
    if let Some(service) = service(&runner) {
        section
            .cx
            .note(|notes| notes.services.push(first.mark(service)));
    }
    Some(runner)
}

/// What an engine calls the service that it runs: the same one has the same replicas.
fn service(runner: &Runner) -> Option<String> {
    match runner {
        Runner::Swarm(swarm) => Some(format!("swarm {} {}", swarm.host, swarm.service)),
        Runner::Kubernetes(kubernetes) => {
            let KubernetesRunner {
                api,
                namespace,
                deployment,
                ..
            } = kubernetes;
            Some(format!("kubernetes {api:?} {namespace:?} {deployment}"))
        }
        Runner::Ecs(ecs) => {
            let EcsRunner {
                endpoint,
                region,
                cluster,
                service,
                ..
            } = ecs;
            Some(format!("ecs {endpoint:?} {region:?} {cluster} {service}"))
        }
        Runner::Webhook(webhook) => Some(format!("webhook {}", webhook.url)),
        Runner::Process(_) | Runner::Docker(_) | Runner::Exec(_) => None,
    }
}

/// The engines that need a cargo feature.
fn refuse_unless_built_in(node: &Node<'_>) {
    let feature = match node.name() {
        "docker" | "swarm" => "docker",
        "kubernetes" => "kubernetes",
        "ecs" => "ecs",
        _ => return,
    };
    if !(node.cx.around.has_feature)(feature) {
        let message = format!("this Weir was built without what `{}` needs", node.name());
        let help =
            format!("build it with --features {feature}; the container image has all engines");
        node.error(Code::NotBuiltIn, message, help);
    }
}

fn miss_runner(section: &Section<'_>) {
    if RUNNERS.iter().any(|key| section.is_meant(key)) {
        return;
    }
    let message = format!("{} does not say who runs the replicas", section.heading());
    let help = format!(
        "write command = [\"path/to/program\", \"--port\", \"{{port}}\"], or one of {}",
        RUNNERS[1..].join(", ")
    );
    section.error(Code::MissingKey, "command", message, &help);
}

fn refuse_keys_of_command(section: &Section<'_>, runner: &str) {
    for node in OF_COMMAND.iter().filter_map(|key| section.get(key)) {
        let name = node.name();
        let message = format!("`{name}` is for processes, and `{runner}` runs these replicas");
        let help = match (runner, name) {
            ("docker", "env" | "stop_timeout") => {
                format!("write it inside: docker = {{ {name} = ... }}")
            }
            _ => format!("take it out; `{runner}` knows it from elsewhere"),
        };
        node.error(Code::Conflict, message, help);
    }
}

fn process(section: &Section<'_>, node: &Node<'_>) -> Option<ProcessRunner> {
    let command = command(node, "port", "no replica could learn its port");
    let env = section.get("env").map(|node| env(&node));
    let directory = section.get("directory").map(|node| node.text());
    let stop_timeout = section.duration(
        "stop_timeout",
        &bounds::PHASE,
        defaults::REPLICAS_STOP_TIMEOUT,
    );
    let runner = ProcessRunner {
        command: command?,
        env: env.unwrap_or(Some(Vec::new()))?,
        // Known when the whole file is read.
        secrets: BTreeSet::new(),
        directory: match directory {
            Some(directory) => Some(PathBuf::from(directory?)),
            None => None,
        },
        stop_timeout,
    };
    let path = runner.env.iter().find(|(name, _)| name == "PATH");
    let path = path.map(|(_, path)| path.as_str());
    look_for(node, &runner.command, runner.directory.as_deref(), path);
    Some(runner)
}

fn exec(node: &Node<'_>) -> Option<ExecRunner> {
    let section = node.section(Place::Exec)?;
    let list = section
        .require(
            "list",
            "write list = [\"path/to/program\"], which prints them",
        )
        .and_then(|node| {
            let list = words(&node)?;
            look_for(&node, &list, None, None);
            Some(list)
        });
    let scale = section
        .require(
            "scale",
            "write scale = [\"path/to/program\", \"{count}\"], which makes it so many",
        )
        .and_then(|node| {
            let scale = command(&node, "count", "it could not know how many")?;
            look_for(&node, &scale, None, None);
            Some(scale)
        });
    let interval = section.duration("interval", &bounds::LIST_INTERVAL, defaults::LIST_INTERVAL);
    let timeout = section.duration("timeout", &bounds::TIMEOUT, defaults::LIST_TIMEOUT);
    Some(ExecRunner {
        list: list?,
        scale: scale?,
        interval,
        timeout,
        // Known when the whole file is read.
        secrets: BTreeSet::new(),
    })
}

fn webhook(node: &Node<'_>) -> Option<WebhookRunner> {
    let section = node.section(Place::Webhook)?;
    let url = section
        .require("url", "write url = \"http://10.0.0.9:8000/replicas\"")
        .and_then(|node| engine::url(&node, &["http"]));
    let token = secrets::others_token(&section);
    let interval = section.duration("interval", &bounds::LIST_INTERVAL, defaults::LIST_INTERVAL);
    let timeout = section.duration("timeout", &bounds::TIMEOUT, defaults::LIST_TIMEOUT);
    Some(WebhookRunner {
        url: url?,
        token,
        interval,
        timeout,
    })
}
