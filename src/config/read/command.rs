//! Programs, their arguments and their environment.

use std::path::Path;

use toml::de::DeValue;

use crate::config::node::Node;
use crate::config::problem::Code;
use crate::config::section::Section;
use crate::config::suggest::nearest;

/// A program and its arguments, one of which must have the placeholder; `why` is the consequence
/// otherwise.
pub(super) fn command(node: &Node<'_>, placeholder: &str, why: &str) -> Option<Vec<String>> {
    let command = words(node)?;
    let wanted = format!("{{{placeholder}}}");
    if command.iter().any(|word| word.contains(&wanted)) {
        return Some(command);
    }
    let message = format!(
        "`{}` does not say where `{wanted}` goes: {why}",
        node.name()
    );
    let words = command
        .iter()
        .flat_map(|argument| argument.split(['{', '}']).skip(1).step_by(2));
    let slip = words.filter(|word| nearest(word, [placeholder]).is_some());
    let help = match slip.last() {
        Some(word) => format!("did you mean `{wanted}` instead of `{{{word}}}`?"),
        None if placeholder == "port" => {
            format!("add the program's option for it: \"--port\", \"{wanted}\"")
        }
        None => format!("add it as an argument: \"{wanted}\""),
    };
    node.refuse(Code::InvalidValue, message, help)
}

/// A program and its arguments: a list, because no shell takes a string apart.
pub(super) fn words(node: &Node<'_>) -> Option<Vec<String>> {
    if let DeValue::String(_) = node.value {
        let text = node.text()?;
        let words = text.split_whitespace().map(|word| format!("\"{word}\""));
        let list = words.collect::<Vec<_>>().join(", ");
        let name = node.name();
        let message = format!("`{name}` must be a list: no shell takes it apart");
        return node.refuse(Code::WrongType, message, format!("write {name} = [{list}]"));
    }
    // An argument may be empty, the program may not.
    let command = node.items_of(Node::string)?;
    if command[0].is_empty() {
        return node.refuse(Code::InvalidValue, "the name of the program is empty", "");
    }
    if let Some(argument) = command.iter().find(|argument| argument.contains('\0')) {
        let message = format!("`{}` cannot be an argument", argument.escape_default());
        return node.refuse(Code::InvalidValue, message, "");
    }
    Some(command)
}

/// Warns about a program that is not where the system will look for it: `directory` is the working
/// directory of the program, and `path` the PATH. It is no error, because the program may be
/// installed before Weir starts.
pub(super) fn look_for(
    node: &Node<'_>,
    words: &[String],
    directory: Option<&Path>,
    path: Option<&str>,
) {
    let is_program = node.cx.around.is_program;
    let (Some(program), Some(at)) = (words.first(), node.items().into_iter().next()) else {
        return;
    };
    let from = directory.unwrap_or(Path::new(""));
    if program.contains('/') {
        let place = from.join(program);
        if !is_program(&place) {
            let message = format!("there is no program `{}`", place.display());
            let help = "it must be there and executable when Weir starts; a relative path counts from `directory`, or else from the folder Weir is started in";
            at.warn(Code::MissingProgram, message, help);
        }
        return;
    }
    let path = path
        .map(str::to_owned)
        .or_else(|| (node.cx.around.env)("PATH"))
        // The folders that execvp(3) takes without a PATH.
        .unwrap_or_else(|| "/bin:/usr/bin".to_owned());
    let mut folders = path.split(':').map(|folder| from.join(folder));
    if !folders.any(|folder| is_program(&folder.join(program))) {
        let message = format!("no folder of PATH holds a program `{program}`");
        at.warn(
            Code::MissingProgram,
            message,
            "install it, or write its whole path",
        );
    }
}

/// Variables of an environment.
pub(super) fn env(node: &Node<'_>) -> Option<Vec<(String, String)>> {
    if !matches!(node.value, DeValue::Table(_)) {
        let message = "`env` must be a table of names and values";
        return node.refuse(
            Code::WrongType,
            message,
            "write env = { RUST_LOG = \"info\" }",
        );
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
            return at.refuse(Code::InvalidValue, message, "");
        }
        let text = value.string()?;
        if text.contains('\0') {
            return value.refuse(Code::InvalidValue, "a variable cannot hold a zero byte", "");
        }
        Some((name, text))
    };
    let read: Vec<_> = Section::names(node).into_iter().map(read).collect();
    read.into_iter().collect()
}
