//! What a match of `rewrite.regex` becomes: a text with groups and placeholders.

use super::template::{self, Piece};
use crate::config::node::Node;
use crate::config::problem::Code;
use crate::model::{Placeholder, Regex, ReplacementPart};

/// Placeholders of a path. The query is no part of it, and the target is chosen later.
pub(super) const PATH: [(&str, Placeholder); 5] = [
    (Placeholder::Protocol.name(), Placeholder::Protocol),
    (Placeholder::Host.name(), Placeholder::Host),
    (Placeholder::Port.name(), Placeholder::Port),
    (Placeholder::Path.name(), Placeholder::Path),
    (Placeholder::ClientIp.name(), Placeholder::ClientIp),
];

/// The parts of a replacement; every group in it is one of the expression.
pub(super) fn read(node: &Node<'_>, expression: &Regex) -> Option<Vec<ReplacementPart>> {
    let text = node.string()?;
    let mut parts = Vec::new();
    for piece in template::pieces(node, &text, &PATH)? {
        match piece {
            Piece::Literal(text) => push_groups(node, text, expression, &mut parts)?,
            Piece::Placeholder(placeholder) => {
                parts.push(ReplacementPart::Placeholder(placeholder));
            }
        }
    }
    Some(parts)
}

/// Text that is copied into a path.
pub(super) fn check_literal(node: &Node<'_>, text: &str) -> Option<()> {
    let is_legal = |c: &char| c.is_ascii_graphic() && !matches!(c, '?' | '#');
    let Some(c) = text.chars().find(|c| !is_legal(c)) else {
        return Some(());
    };
    let message = format!("`{}` cannot be in a path", c.escape_default());
    let help = if c == '?' {
        "the query stays as it is; a question mark in a path is %3F"
    } else {
        "write it percent-encoded, like %20"
    };
    node.refuse(Code::InvalidValue, message, help)
}

/// Text with `$1`, `${name}` and `$$` in it.
fn push_groups(
    node: &Node<'_>,
    text: &str,
    expression: &Regex,
    parts: &mut Vec<ReplacementPart>,
) -> Option<()> {
    if let Some(at) = text.find('\\') {
        let digit = text[at + 1..].chars().next().filter(char::is_ascii_digit);
        if let Some(digit) = digit {
            let message = format!("a group is written `${digit}`, not `\\{digit}`");
            let help = format!("write \"{}\"", text.replace('\\', "$"));
            return node.refuse(Code::InvalidValue, message, help);
        }
    }
    let mut rest = text;
    let mut literal = String::new();
    while let Some((before, after)) = rest.split_once('$') {
        literal.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            literal.push('$');
            rest = after;
            continue;
        }
        push_literal(node, std::mem::take(&mut literal), parts)?;
        let (name, after) = group_name(node, after)?;
        parts.push(ReplacementPart::Group(group(node, name, expression)?));
        rest = after;
    }
    literal.push_str(rest);
    push_literal(node, literal, parts)
}

fn push_literal(node: &Node<'_>, text: String, parts: &mut Vec<ReplacementPart>) -> Option<()> {
    check_literal(node, &text)?;
    if !text.is_empty() {
        parts.push(ReplacementPart::Literal(text));
    }
    Some(())
}

/// What stands after a `$`: digits, or a name in braces; and the rest.
fn group_name<'t>(node: &Node<'_>, after: &'t str) -> Option<(&'t str, &'t str)> {
    if let Some(named) = after.strip_prefix('{')
        && let Some(found) = named.split_once('}')
    {
        return Some(found);
    }
    let end = after.find(|c: char| !c.is_ascii_digit());
    let (digits, rest) = after.split_at(end.unwrap_or(after.len()));
    if !digits.is_empty() {
        return Some((digits, rest));
    }
    let message = "a `$` stands before the number of a group";
    let help = "write $1 for the first group, and $$ for a dollar sign";
    node.refuse(Code::InvalidValue, message, help)
}

/// The number of a group that the expression has.
fn group(node: &Node<'_>, name: &str, expression: &Regex) -> Option<usize> {
    let count = expression.groups();
    let number = match name.parse::<usize>() {
        Ok(number) => Some(number).filter(|number| *number <= count),
        Err(_) => expression.group_named(name),
    };
    if number.is_none() {
        let message = format!("the expression has no group `{name}`");
        let help = match count {
            0 => "it has none; put parentheses around what is to be kept".to_owned(),
            1 => "it has one: `$1`".to_owned(),
            _ => format!("it has {count}: `$1` to `${count}`"),
        };
        node.error(Code::InvalidValue, message, help);
    }
    number
}
