//! Programs, their arguments and their environment.

use toml::de::DeValue;

use crate::config::node::Node;
use crate::config::problem::Code;
use crate::config::section::Section;
use crate::config::suggest::nearest;

/// A program and its arguments, some of which may hold what `{placeholder}` stands for. With
/// `why`, one of them must: it says what went wrong without.
pub(super) fn command(
    node: &Node<'_>,
    placeholder: &str,
    why: Option<&str>,
) -> Option<Vec<String>> {
    let command = words(node)?;
    let braces = format!("{{{placeholder}}}");
    let Some(why) = why.filter(|_| !command.iter().any(|word| word.contains(&braces))) else {
        return Some(command);
    };
    let message = format!(
        "`{}` does not say where `{braces}` goes: {why}",
        node.name()
    );
    let braced = command
        .iter()
        .flat_map(|argument| argument.split(['{', '}']).skip(1).step_by(2));
    let slip = braced.filter(|word| nearest(word, [placeholder]).is_some());
    let help = match slip.last() {
        Some(word) => format!("did you mean `{braces}` instead of `{{{word}}}`?"),
        None if placeholder == "port" => {
            format!("add the program's option for it: \"--port\", \"{braces}\"")
        }
        None => format!("add it as an argument: \"{braces}\""),
    };
    node.error(Code::InvalidValue, message, help);
    None
}

/// A program and its arguments: a list, because no shell takes a string apart.
pub(super) fn words(node: &Node<'_>) -> Option<Vec<String>> {
    if let DeValue::String(_) = node.value {
        let text = node.text()?;
        let words = text.split_whitespace().map(|word| format!("\"{word}\""));
        let list = words.collect::<Vec<_>>().join(", ");
        let name = node.name();
        let message = format!("`{name}` must be a list: no shell takes it apart");
        node.error(Code::WrongType, message, format!("write {name} = [{list}]"));
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
    Some(command)
}

/// Variables of an environment.
pub(super) fn env(node: &Node<'_>) -> Option<Vec<(String, String)>> {
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
