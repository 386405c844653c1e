//! The tree of the file as a [`Config`], one section per function.
//!
//! Readers return `None` where something is missing or broken, always after
//! reporting it, and go on with the rest. Names are resolved by [`super::cross`].

mod action;
mod autoscaling;
mod command;
mod condition;
mod discovered;
mod engine;
mod hash;
mod health;
mod listener;
mod metric;
mod overload;
mod redirect;
mod replicas;
mod retry;
mod runner;
mod scaling;
mod schedule;
mod secrets;
mod step_scaling;
mod steps;
mod sticky;
mod target_group;

use std::num::NonZeroUsize;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use toml::de::DeValue;

use super::address;
use super::node::Node;
use super::problem::Code;
use super::schema::Place;
use super::section::Section;
use super::span::Span;
pub(super) use listener::Placed;

use super::types::{AccessLog, Admin, Config, Shutdown};
use super::{bounds, defaults};
use crate::model::TargetGroupId;

const ACCESS_LOG: [(&str, AccessLog); 3] = [
    ("off", AccessLog::Off),
    ("failures", AccessLog::Failures),
    ("all", AccessLog::All),
];

/// Reads the whole file.
pub(super) fn file(root: &Section<'_>) -> Option<Config> {
    let workers = root.get("workers").and_then(|node| workers(&node));
    let access_log = root
        .get("access_log")
        .and_then(|node| node.word(&ACCESS_LOG));
    let shutdown = root
        .get("shutdown")
        .and_then(|node| node.section(Place::Shutdown));
    let admin = root.get("admin").map(|node| admin(&node));
    let cookie_key = secrets::cookie_key(root);
    let upgrade_socket = root
        .get("upgrade_socket")
        .and_then(|node| socket_path(&node));
    let target_groups = target_groups(root);
    let listeners = listeners(root);
    Some(Config {
        workers: workers.and_then(NonZeroUsize::new),
        access_log: access_log.unwrap_or(defaults::ACCESS_LOG),
        shutdown: shutdown.map_or(defaults::SHUTDOWN, |section| Shutdown {
            lame_duck: section.duration("lame_duck", &bounds::PHASE, defaults::SHUTDOWN.lame_duck),
            drain: section.duration("drain", &bounds::PHASE, defaults::SHUTDOWN.drain),
        }),
        admin: match admin {
            Some(admin) => Some(admin?),
            None => None,
        },
        cookie_key,
        upgrade_socket,
        listeners: listeners?,
        target_groups: target_groups?,
    })
}

fn workers(node: &Node<'_>) -> Option<usize> {
    match node.value {
        DeValue::Integer(number) if number.as_str() == "0" => {
            let message = "`workers` must be at least 1";
            node.error(Code::OutOfRange, message, "leave it out for one per core");
            None
        }
        DeValue::String(text) if text == "auto" => {
            let message = "`workers` must be a whole number, not a string";
            node.error(Code::WrongType, message, "leave it out for one per core");
            None
        }
        _ => node.integer(bounds::WORKERS),
    }
}

fn admin(node: &Node<'_>) -> Option<Admin> {
    let section = node.section(Place::Admin)?;
    let token = secrets::token(&section);
    let (bind, at) = match section.get("bind") {
        Some(at) => (bind(&at)?, at),
        None => (defaults::ADMIN_BIND, node.clone()),
    };
    node.cx.note(|notes| notes.binds.push(at.mark(bind)));
    Some(Admin { bind, token })
}

/// Whether there is something that a socket cannot take the place of.
fn is_other_file(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|metadata| !metadata.file_type().is_socket())
}

/// Where a socket is made: the same place for every process, wherever it was started.
fn socket_path(node: &Node<'_>) -> Option<PathBuf> {
    let text = node.text()?;
    let (message, help) = if !text.starts_with('/') {
        let message = format!("`{text}` is not an absolute path");
        (message, "write the whole path: \"/run/weir/upgrade.sock\"")
    } else if text.ends_with('/') || text.contains('\0') {
        let message = format!("`{}` is not the path of a file", text.escape_default());
        (message, "write the whole path: \"/run/weir/upgrade.sock\"")
    } else if text.len() > bounds::SOCKET_PATH {
        let (length, most) = (text.len(), bounds::SOCKET_PATH);
        let message = format!("the path of a socket has at most {most} bytes, not {length}");
        (message, "choose a folder with a shorter path")
    } else if is_other_file(Path::new(&text)) {
        let message = format!("`{text}` is there already and no socket; it would not be replaced");
        (message, "choose another path, or remove it")
    } else {
        return Some(PathBuf::from(text));
    };
    node.error(Code::InvalidValue, message, help);
    None
}

/// An address to listen on.
fn bind(node: &Node<'_>) -> Option<std::net::SocketAddr> {
    if let DeValue::Integer(port) = node.value {
        let help = address::bind(port.as_str()).err().map(|error| error.help);
        let message = format!("`{}` is an address, not only a port", node.name());
        node.error(Code::WrongType, message, help.unwrap_or_default());
        return None;
    }
    match address::bind(&node.text()?) {
        Ok(address) => Some(address),
        Err(error) => {
            node.error(Code::InvalidValue, error.message, error.help);
            None
        }
    }
}

fn listeners(root: &Section<'_>) -> Option<Vec<super::Listener>> {
    const EXAMPLE: &str =
        "write\n    [[listener]]\n    bind = \"0.0.0.0:8080\"\n    forward = \"NAME\"";
    // Under a name that is not quite right they are read as well.
    let meant = root.meant("listener");
    let misnamed = meant.as_ref().map(|node| {
        for node in node.items().iter().filter(|node| node.is_table()) {
            let _ = listener::read(node);
        }
    });
    let Some(node) = root.get("listener") else {
        if misnamed.is_some() {
            return None;
        }
        let message = "there is no [[listener]]: Weir would have nothing to do".to_owned();
        root.error(Code::MissingKey, "listener", message, EXAMPLE);
        return None;
    };
    let DeValue::Array(_) = node.value else {
        let message = "a listener is an entry of a list";
        node.error(
            Code::WrongType,
            message,
            "write [[listener]] with two brackets",
        );
        // What is inside is checked all the same.
        if matches!(node.value, DeValue::Table(_)) {
            let _ = listener::read(&node);
        }
        return None;
    };
    let items = node.items();
    if items.is_empty() {
        node.error(
            Code::MissingKey,
            "there is no listener in this list",
            EXAMPLE,
        );
        return None;
    }
    let listeners: Vec<_> = items.iter().map(listener::read).collect();
    listeners.into_iter().collect()
}

fn target_groups(root: &Section<'_>) -> Option<Vec<super::TargetGroup>> {
    // Under a name that is not quite right they are read as well.
    if let Some(misnamed) = root.meant("target_group") {
        let named = Section::names(&misnamed);
        let tables = named.into_iter().filter(|(_, _, node)| node.is_table());
        for (name, span, group) in tables {
            read_group(&name, span, &group);
        }
    }
    let Some(node) = root.get("target_group") else {
        return Some(Vec::new());
    };
    let DeValue::Table(_) = node.value else {
        let message = "target groups have names";
        node.error(
            Code::WrongType,
            message,
            "write [target_group.NAME] with one bracket",
        );
        return None;
    };
    let entries = Section::names(&node);
    let groups: Vec<_> = entries
        .into_iter()
        .map(|(name, span, group)| read_group(&name, span, &group))
        .collect();
    groups.into_iter().collect()
}

fn read_group(name: &str, span: Span, group: &Node<'_>) -> Option<super::TargetGroup> {
    let named = Node {
        span,
        ..group.clone()
    };
    if Place::TargetGroup.keys().contains(&name) && !group.is_table() {
        let message = format!("`{name}` stands where the name of a target group belongs");
        let help = "write [target_group.NAME] above it";
        named.error(Code::UnknownKey, message, help);
        return None;
    }
    let known = named.mark(TargetGroupId::from(name));
    group.cx.note(|notes| notes.groups.push(known));
    check_name(name, &named);
    target_group::read(name, group)
}

/// Names appear in paths, metric labels and logs.
fn check_name(name: &str, node: &Node<'_>) {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > 64 || !name.chars().all(legal) {
        let message = format!("`{name}` is not a name");
        let help = "names are 1 to 64 letters, digits, `-`, `_` and `.`";
        node.error(Code::InvalidValue, message, help);
    }
}
