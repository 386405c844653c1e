//! `replicas`: processes that Weir runs.

use std::path::PathBuf;

use toml::de::DeValue;

use crate::config::node::Node;
use crate::config::problem::Code;
use crate::config::schema::Place;
use crate::config::section::Section;
use crate::config::suggest::nearest;
use crate::config::types::{Allowance, ProcessRunner, Replicas, Runner, Scaler};
use crate::config::{bounds, defaults};

/// Stands for the port of a replica.
const PORT: &str = "{port}";

pub(super) fn read(node: &Node<'_>) -> Option<Replicas> {
    let section = node.section(Place::Replicas)?;
    let env = section.get("env").map(|node| env(&node));
    let command = section
        .require(
            "command",
            "write command = [\"path/to/program\", \"--port\", \"{port}\"]",
        )
        .and_then(|node| command(&node));
    let count = section
        .get("count")
        .map(|node| node.integer(bounds::REPLICAS));
    let directory = section.get("directory").map(|node| node.text());
    let stop_timeout = section.duration(
        "stop_timeout",
        &bounds::PHASE,
        defaults::REPLICAS_STOP_TIMEOUT,
    );
    let runner = ProcessRunner {
        command: command?,
        env: env.unwrap_or(Some(Vec::new()))?,
        directory: match directory {
            Some(directory) => Some(PathBuf::from(directory?)),
            None => None,
        },
        stop_timeout,
    };
    Some(Replicas {
        runner: Runner::Process(runner),
        count: match count {
            Some(count) => Some(count?),
            None => None,
        },
        allowance: Allowance::default(),
        warm_up: None,
        scaler: Scaler::Lease,
    })
}

fn command(node: &Node<'_>) -> Option<Vec<String>> {
    if let DeValue::String(_) = node.value {
        let text = node.text()?;
        let words = text.split_whitespace().map(|word| format!("\"{word}\""));
        let list = words.collect::<Vec<_>>().join(", ");
        let message = "`command` must be a list: no shell takes it apart";
        node.error(
            Code::WrongType,
            message,
            format!("write command = [{list}]"),
        );
        return None;
    }
    // An argument may be empty, the program may not.
    let command = node.items_of(Node::string)?;
    if command[0].is_empty() {
        node.error(Code::InvalidValue, "the name of the program is empty", "");
        return None;
    }
    if let Some(argument) = command.iter().find(|argument| argument.contains('\0')) {
        let message = format!("`{}` cannot be an argument", argument.escape_default());
        node.error(Code::InvalidValue, message, "");
        return None;
    }
    if !command.iter().any(|argument| argument.contains(PORT)) {
        let message = "`command` does not say where `{port}` goes: no replica could learn its port";
        let braced = command
            .iter()
            .flat_map(|argument| argument.split(['{', '}']).skip(1).step_by(2));
        let help = match braced
            .filter(|word| nearest(word, ["port"]).is_some())
            .last()
        {
            Some(word) => format!("did you mean `{{port}}` instead of `{{{word}}}`?"),
            None => "add the program's option for it: \"--port\", \"{port}\"".to_owned(),
        };
        node.error(Code::InvalidValue, message, help);
        return None;
    }
    Some(command)
}

fn env(node: &Node<'_>) -> Option<Vec<(String, String)>> {
    if !matches!(node.value, DeValue::Table(_)) {
        let message = "`env` must be a table of names and values";
        node.error(
            Code::WrongType,
            message,
            "write env = { RUST_LOG = \"info\" }",
        );
        return None;
    }
    let read = |(name, span, value): (String, _, Node<'_>)| {
        if name.is_empty() || name.contains(['=', '\0']) {
            let at = Node {
                span,
                ..value.clone()
            };
            let message = format!(
                "no environment variable is called `{}`",
                name.escape_default()
            );
            at.error(Code::InvalidValue, message, "");
            return None;
        }
        let text = value.string()?;
        if text.contains('\0') {
            value.error(Code::InvalidValue, "a variable cannot hold a zero byte", "");
            return None;
        }
        Some((name, text))
    };
    let read: Vec<_> = Section::names(node).into_iter().map(read).collect();
    read.into_iter().collect()
}
