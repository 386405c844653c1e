//! What runs the replicas of a group: exactly one of `command` and the tables beside it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::command::{command, env, look_for, words};
use super::group_port::GroupPort;
use super::{engine, secrets};
use crate::config::keys::{self, OutputKind};
use crate::config::node::Node;
use crate::config::problem::Code;
use crate::config::section::{Section, exclude_each_other};
use crate::config::types::{
    EcsRunner, ExecRunner, KubernetesRunner, ProcessRunner, ReplicaOutput, Runner, WebhookRunner,
};

/// The keys of which one is there.
const RUNNERS: [&str; 7] = [
    "command",
    "docker",
    "swarm",
    "kubernetes",
    "ecs",
    "exec",
    "webhook",
];

/// The keys that belong to `command` alone.
const OF_COMMAND: [&str; 5] = ["env", "directory", "stop_timeout", "output", "output_dir"];

/// Reads every provider that is there, so that each is checked.
pub(super) fn read(section: &Section<'_>, port: GroupPort) -> Option<Runner> {
    let mut given = section.given(&RUNNERS);
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
    let Some(first) = given.first() else {
        miss_runner(section);
        return None;
    };
    exclude_each_other(
        &given,
        "one alone runs the replicas of a group; take the other out",
    );
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

/// The identity of the service of an engine: two groups with the same one share its replicas.
fn service(runner: &Runner) -> Option<String> {
    match runner {
        Runner::Swarm(swarm) => Some(format!("swarm {} {}", swarm.host, swarm.service)),
        Runner::Kubernetes(KubernetesRunner {
            api,
            namespace,
            deployment,
            ..
        }) => Some(format!("kubernetes {api:?} {namespace:?} {deployment}")),
        Runner::Ecs(EcsRunner {
            endpoint,
            region,
            cluster,
            service,
            ..
        }) => Some(format!("ecs {endpoint:?} {region:?} {cluster} {service}")),
        Runner::Webhook(webhook) => Some(format!("webhook {}", webhook.url)),
        Runner::Process(_) | Runner::Docker(_) | Runner::Exec(_) => None,
    }
}

/// Reports an engine that this build lacks.
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
    let message = format!("{} does not say what runs the replicas", section.heading());
    let help = format!(
        "write command = [\"path/to/program\", \"--port\", \"{{port}}\"], or one of {}",
        RUNNERS[1..].join(", ")
    );
    section.error(Code::MissingKey, "command", message, &help);
}

fn refuse_keys_of_command(section: &Section<'_>, runner: &str) {
    for node in section.given(&OF_COMMAND) {
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
    let env = section.optional("env", env);
    let directory = section.optional("directory", Node::text);
    let stop_timeout = section.duration("stop_timeout");
    let output = output(section);
    let runner = ProcessRunner {
        command: command?,
        env: env?.unwrap_or_default(),
        // Known when the whole file is read.
        secrets: BTreeSet::new(),
        directory: directory?.map(PathBuf::from),
        stop_timeout,
        output: output?,
    };
    let path = runner.env.iter().find(|(name, _)| name == "PATH");
    let path = path.map(|(_, path)| path.as_str());
    look_for(node, &runner.command, runner.directory.as_deref(), path);
    Some(runner)
}

fn output(section: &Section<'_>) -> Option<ReplicaOutput> {
    let kind = section.word("output");
    let folder = section.optional("output_dir", Node::text)?;
    match (kind, folder) {
        (OutputKind::Log, None) => Some(ReplicaOutput::Log),
        (OutputKind::Off, None) => Some(ReplicaOutput::Off),
        (OutputKind::File, Some(folder)) => Some(ReplicaOutput::File(folder.into())),
        (OutputKind::File, None) => {
            let message = "`output = \"file\"` does not say in which folder".to_owned();
            let help = "write output_dir = \"/var/log/weir\"";
            section.error(Code::MissingKey, "output_dir", message, help);
            None
        }
        (OutputKind::Log | OutputKind::Off, Some(_)) => {
            let message = "`output_dir` is for `output = \"file\"`".to_owned();
            section.error(Code::Conflict, "output_dir", message, "take it out");
            None
        }
    }
}

fn exec(node: &Node<'_>) -> Option<ExecRunner> {
    let section = node.section(&keys::EXEC)?;
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
    let interval = section.duration("interval");
    let timeout = section.duration("timeout");
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
    let section = node.section(&keys::WEBHOOK)?;
    let url = section
        .require("url", "write url = \"http://10.0.0.9:8000/replicas\"")
        .and_then(|node| engine::url(&node, &["http"]));
    let token = secrets::other_token(&section);
    let interval = section.duration("interval");
    let timeout = section.duration("timeout");
    Some(WebhookRunner {
        url: url?,
        token,
        interval,
        timeout,
    })
}
