//! The tree of the file as a [`Config`], one section per function.
//!
//! Readers report what is missing or wrong, return `None` for it, and go on with the rest. Names
//! are resolved by [`super::cross`].

mod acme;
mod action;
mod address;
mod autoscaling;
mod command;
mod condition;
mod discovered;
mod engine;
mod field;
mod filters;
mod group_port;
mod hash;
mod health;
mod listener;
mod log;
mod metric;
mod name;
mod named_file;
mod overload;
mod pattern;
mod redirect;
mod replacement;
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
mod tcp;
mod template;
mod timing;
mod tls;
mod tracing;

use std::num::NonZeroUsize;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use toml::de::DeValue;

use super::defaults;
use super::keys;
use super::node::Node;
use super::problem::Code;
use super::section::Section;
use super::span::Span;
use super::types::{Admin, Config, Listener, Shutdown, TargetGroup};
use crate::model::TargetGroupId;

/// Longest path of a socket, bytes: `sun_path` holds 108, a zero at the end.
const MAX_SOCKET_PATH: usize = 107;

/// Reads the whole file.
pub(super) fn file(root: &Section<'_>) -> Option<Config> {
    let workers = root.get("workers").and_then(|node| workers(&node));
    let access_log = root.word("access_log");
    let log = root.get("log").and_then(|node| node.section(&keys::LOG));
    let tracing = root
        .get("tracing")
        .and_then(|node| node.section(&keys::TRACING))
        .map(|section| tracing::read(&section));
    let shutdown = root
        .get("shutdown")
        .and_then(|node| node.section(&keys::SHUTDOWN));
    let admin = root.optional("admin", admin);
    let cookie_key = secrets::cookie_key(root);
    let upgrade_socket = root
        .get("upgrade_socket")
        .and_then(|node| socket_path(&node));
    let (tracing, span_export) = tracing.unwrap_or_else(|| Some(Default::default()))?;
    let target_groups = target_groups(root);
    let listeners = listeners(root);
    Some(Config {
        workers: workers.and_then(NonZeroUsize::new),
        access_log,
        tracing,
        span_export,
        log: log
            .map(|section| Box::new(log::read(&section)))
            .unwrap_or_default(),
        shutdown: shutdown.map_or(defaults::SHUTDOWN, |section| Shutdown {
            lame_duck: section.duration("lame_duck"),
            drain: section.duration("drain"),
        }),
        admin: admin?,
        cookie_key,
        upgrade_socket,
        listeners: listeners?,
        target_groups: target_groups?,
    })
}

fn workers(node: &Node<'_>) -> Option<usize> {
    let (code, message) = match node.value {
        DeValue::Integer(number) if number.as_str() == "0" => {
            (Code::OutOfRange, "`workers` must be at least 1")
        }
        DeValue::String(text) if text == "auto" => (
            Code::WrongType,
            "`workers` must be a whole number, not a string",
        ),
        _ => return node.count(),
    };
    node.refuse(code, message, "leave it out for one per core")
}

fn admin(node: &Node<'_>) -> Option<Admin> {
    let section = node.section(&keys::ADMIN)?;
    let token = secrets::token(&section);
    let (bind, at) = match section.get("bind") {
        Some(at) => (address::bind(&at)?, at),
        None => (defaults::ADMIN_BIND, node.clone()),
    };
    node.cx.note(|notes| notes.binds.push(at.mark(bind.into())));
    Some(Admin { bind, token })
}

/// Whether there is a file that a socket would not replace.
fn is_other_file(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|metadata| !metadata.file_type().is_socket())
}

/// The path of a socket: absolute, so that it is the same in every working directory.
fn socket_path(node: &Node<'_>) -> Option<PathBuf> {
    let text = node.text()?;
    let (message, help) = if !text.starts_with('/') {
        let message = format!("`{text}` is not an absolute path");
        (message, "write the whole path: \"/run/weir/upgrade.sock\"")
    } else if text.ends_with('/') || text.contains('\0') {
        let message = format!("`{}` is not the path of a file", text.escape_default());
        (message, "write the whole path: \"/run/weir/upgrade.sock\"")
    } else if text.len() > MAX_SOCKET_PATH {
        let (length, most) = (text.len(), MAX_SOCKET_PATH);
        let message = format!("the path of a socket has at most {most} bytes, not {length}");
        (message, "choose a folder with a shorter path")
    } else if is_other_file(Path::new(&text)) {
        let message = format!("`{text}` is there already and no socket; it would not be replaced");
        (message, "choose another path, or remove it")
    } else {
        return Some(PathBuf::from(text));
    };
    node.refuse(Code::InvalidValue, message, help)
}

fn listeners(root: &Section<'_>) -> Option<Vec<Listener>> {
    const EXAMPLE: &str =
        "write\n    [[listener]]\n    bind = \"0.0.0.0:8080\"\n    forward = \"NAME\"";
    // A list under a misspelt name is checked too.
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
        // Its content is checked all the same.
        if matches!(node.value, DeValue::Table(_)) {
            let _ = listener::read(&node);
        }
        return None;
    };
    let items = node.items();
    if items.is_empty() {
        return node.refuse(
            Code::MissingKey,
            "there is no listener in this list",
            EXAMPLE,
        );
    }
    let listeners: Vec<_> = items.iter().map(listener::read).collect();
    listeners.into_iter().collect()
}

fn target_groups(root: &Section<'_>) -> Option<Vec<TargetGroup>> {
    // Groups under a misspelt name are checked too.
    if let Some(misnamed) = root.meant("target_group") {
        for (name, span, group) in Section::names(&misnamed) {
            if group.is_table() {
                read_group(&name, span, &group);
            }
        }
    }
    let Some(node) = root.get("target_group") else {
        return Some(Vec::new());
    };
    let DeValue::Table(_) = node.value else {
        let message = "target groups have names";
        return node.refuse(
            Code::WrongType,
            message,
            "write [target_group.NAME] with one bracket",
        );
    };
    let groups: Vec<_> = Section::names(&node)
        .into_iter()
        .map(|(name, span, group)| read_group(&name, span, &group))
        .collect();
    groups.into_iter().collect()
}

fn read_group(name: &str, span: Span, group: &Node<'_>) -> Option<TargetGroup> {
    let named = Node {
        span,
        ..group.clone()
    };
    if keys::TARGET_GROUP.key(name).is_some() && !group.is_table() {
        let message = format!("`{name}` stands where the name of a target group belongs");
        let help = "write [target_group.NAME] above it";
        return named.refuse(Code::UnknownKey, message, help);
    }
    let known = named.mark(TargetGroupId::from(name));
    group.cx.note(|notes| notes.groups.push(known));
    name::check(name, &named);
    target_group::read(name, group)
}
