//! The engines that run replicas: Docker, Swarm, Kubernetes and ECS.

use http::Uri;
use toml::de::DeValue;

use super::command::{env, words};
use super::group_port::GroupPort;
use crate::config::address;
use crate::config::keys;
use crate::config::node::Node;
use crate::config::problem::Code;
use crate::config::section::Section;
use crate::config::types::{DockerRunner, EcsRunner, KubernetesRunner, SwarmRunner};

pub(super) fn docker(node: &Node<'_>, group: GroupPort) -> Option<DockerRunner> {
    let section = node.section(&keys::DOCKER)?;
    let host = section.text("host", host);
    let image = section
        .require("image", "write image = \"taskoverflow\"")
        .and_then(|node| name(&node, &[]));
    let command = section.optional("command", |node| unless_empty(node, words));
    let env = section.optional("env", env);
    let network = section.text("network", |node| name(node, &[]));
    let port = port(&section, group);
    let volumes = section.optional("volumes", |node| {
        unless_empty(node, |node| node.items_of(volume))
    });
    let stop_timeout = section.duration("stop_timeout");
    Some(DockerRunner {
        host: host?,
        image: image?,
        command: command?.unwrap_or_default(),
        env: env?.unwrap_or_default(),
        network: network?,
        port: port?,
        volumes: volumes?.unwrap_or_default(),
        stop_timeout,
    })
}

pub(super) fn swarm(node: &Node<'_>, group: GroupPort) -> Option<SwarmRunner> {
    let section = node.section(&keys::SWARM)?;
    let host = section.text("host", host);
    let service = section
        .require("service", "write the name that `docker service ls` shows")
        .and_then(|node| name(&node, &[]));
    let network = section
        .require(
            "network",
            "write the network that Weir shares with the service's tasks",
        )
        .and_then(|node| name(&node, &[]));
    let port = port(&section, group);
    Some(SwarmRunner {
        host: host?,
        service: service?,
        network: network?,
        port: port?,
    })
}

pub(super) fn kubernetes(node: &Node<'_>, group: GroupPort) -> Option<KubernetesRunner> {
    let section = node.section(&keys::KUBERNETES)?;
    let api = section.optional("api", |node| url(node, &["https", "http"]));
    let namespace = section.optional("namespace", object);
    let deployment = section
        .require(
            "deployment",
            "write the name that `kubectl get deployments` shows",
        )
        .and_then(|node| object(&node));
    let service = section
        .require(
            "service",
            "write the name that `kubectl get services` shows",
        )
        .and_then(|node| object(&node));
    let port = port(&section, group);
    Some(KubernetesRunner {
        api: api?,
        namespace: namespace?,
        deployment: deployment?,
        service: service?,
        port: port?,
    })
}

pub(super) fn ecs(node: &Node<'_>, group: GroupPort) -> Option<EcsRunner> {
    let section = node.section(&keys::ECS)?;
    let endpoint = section.optional("endpoint", |node| url(node, &["https", "http"]));
    let region = section.optional("region", |node| name(node, &['/', ':']));
    let cluster = section.text("cluster", |node| name(node, &[]));
    let service = section
        .require("service", "write the name or the ARN of the service")
        .and_then(|node| name(&node, &[]));
    let port = port(&section, group);
    Some(EcsRunner {
        endpoint: endpoint?,
        region: region?,
        cluster: cluster?,
        service: service?,
        port: port?,
    })
}

/// A list that may be empty.
fn unless_empty<'a>(
    node: &Node<'a>,
    read: impl FnOnce(&Node<'a>) -> Option<Vec<String>>,
) -> Option<Vec<String>> {
    match node.value {
        DeValue::Array(items) if items.is_empty() => Some(Vec::new()),
        _ => read(node),
    }
}

/// The replicas' port, or else the group's.
fn port(section: &Section<'_>, group: GroupPort) -> Option<u16> {
    if let Some(node) = section.get("port") {
        return node.count();
    }
    if group.is_none() && !section.is_meant("port") {
        let message = format!(
            "{} has no port, and neither has its group",
            section.heading()
        );
        let help = "write port = 6400, where the replicas listen";
        section.error(Code::MissingKey, "port", message, help);
    }
    group.flatten()
}

/// A name that another program gave. That program decides what it looks like, but it goes into
/// paths of its API.
fn name(node: &Node<'_>, without: &[char]) -> Option<String> {
    let text = node.text()?;
    if let Some(c) = text
        .chars()
        .find(|c| !c.is_ascii_graphic() || "?#%\\\"".contains(*c) || without.contains(c))
    {
        let message = format!(
            "`{}` is not a name: `{}` cannot be in it",
            text.escape_default(),
            c.escape_default()
        );
        return node.refuse(Code::InvalidValue, message, "write the name alone");
    }
    Some(text)
}

/// The name of an object of Kubernetes: a DNS subdomain (RFC 1123).
fn object(node: &Node<'_>) -> Option<String> {
    let text = node.text()?;
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    let ends = |c: char| c.is_ascii_alphanumeric();
    if text.len() > 253
        || !text.chars().all(legal)
        || !text.starts_with(ends)
        || !text.ends_with(ends)
    {
        let message = format!(
            "nothing in Kubernetes is called `{}`",
            text.escape_default()
        );
        let help =
            "names are lower-case letters, digits, `-` and `.`, without the kind before them";
        return node.refuse(Code::InvalidValue, message, help);
    }
    Some(text)
}

/// The address of a Docker Engine.
fn host(node: &Node<'_>) -> Option<String> {
    let text = node.text()?;
    let message = format!(
        "`{}` is not where a Docker Engine listens",
        text.escape_default()
    );
    let help = match text.split_once("://") {
        Some(("unix", path)) if path.starts_with('/') && !path.contains('\0') => return Some(text),
        Some(("tcp", rest)) => match address::target(rest) {
            Ok(address) if address.port.is_some() => return Some(text),
            Ok(_) => format!("add its port: \"tcp://{rest}:2375\""),
            Err(_) => "write \"tcp://HOST:PORT\", without a path".to_owned(),
        },
        Some(("unix", path)) => format!("a path has three slashes before it: \"unix:///{path}\""),
        Some(("http", rest)) => format!("write \"tcp://{}\"", rest.trim_end_matches('/')),
        None if text.starts_with('/') => format!("write \"unix://{text}\""),
        Some(_) | None => "write \"unix:///var/run/docker.sock\" or \"tcp://HOST:PORT\"".to_owned(),
    };
    node.refuse(Code::InvalidValue, message, help)
}

/// `NAME:/path` or `/host/path:/path`, perhaps with `:ro` or `:rw`.
fn volume(node: &Node<'_>) -> Option<String> {
    let text = node.text()?;
    let parts: Vec<_> = text.split(':').collect();
    let (source, inside, mode) = match parts.as_slice() {
        [source, inside] => (*source, *inside, "rw"),
        [source, inside, mode] => (*source, *inside, *mode),
        _ => ("", "", ""),
    };
    let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let absolute = source.starts_with('/');
    let is_source = absolute || (!source.is_empty() && source.chars().all(named));
    if is_source && inside.starts_with('/') && matches!(mode, "ro" | "rw") && !text.contains('\0') {
        return Some(text);
    }
    let message = format!("`{}` is not a volume", text.escape_default());
    let help = if source.starts_with('.') {
        "the engine knows no current folder; write the whole path: \"/srv/data:/data\""
    } else {
        "write \"NAME:/path/in/the/container\" or \"/host/path:/path/in/the/container:ro\""
    };
    node.refuse(Code::InvalidValue, message, help)
}

/// An absolute URL of one of these schemes, without user and fragment.
pub(super) fn url(node: &Node<'_>, schemes: &[&str]) -> Option<String> {
    let text = node.text()?;
    let example = match schemes {
        ["http"] => "write \"http://10.0.0.9:8000/replicas\"",
        _ => "write \"https://HOST:PORT\"",
    };
    let shown = text.escape_default().to_string();
    let Some(uri) = text
        .parse::<Uri>()
        .ok()
        .filter(|uri| uri.authority().is_some())
    else {
        let message = format!("`{shown}` is not a URL");
        return node.refuse(Code::InvalidValue, message, example);
    };
    let scheme = uri.scheme_str().unwrap_or_default();
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    if !schemes.contains(&scheme) {
        let message = match (schemes, scheme) {
            (["http"], "https") => format!("`{shown}` needs TLS, which Weir does not speak here"),
            _ => format!("`{shown}` is not a URL that Weir can ask"),
        };
        return node.refuse(Code::InvalidValue, message, example);
    }
    if authority.contains('@') || text.contains('#') || authority.starts_with(':') {
        let message = "a URL here has neither a user nor a fragment";
        return node.refuse(Code::InvalidValue, message, example);
    }
    Some(text)
}
