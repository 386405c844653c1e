//! `rewrite`, `request_headers` and `response_headers`: what a forward changes in messages.

use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderName;
use http::uri::Authority;
use toml::de::DeValue;

use super::field;
use super::pattern::{self, Spelling};
use super::replacement::{self, PATH};
use super::template::{self, Piece};
use crate::config::keys;
use crate::config::node::Node;
use crate::config::problem::Code;
use crate::config::section::{Section, exclude_each_other};
use crate::model::{
    FieldEdit, Filters, PathRewrite, Pattern, Placeholder, Rewrite, Template, TemplatePart,
};

const KEYS: [&str; 3] = ["rewrite", "request_headers", "response_headers"];

/// Placeholders of a host.
const HOST: [(&str, Placeholder); 3] = [
    (Placeholder::Host.name(), Placeholder::Host),
    (Placeholder::Port.name(), Placeholder::Port),
    (Placeholder::Target.name(), Placeholder::Target),
];

/// Placeholders of a field's value: all of them.
const VALUE: [(&str, Placeholder); Placeholder::ALL.len()] = {
    let mut all = [("", Placeholder::Host); Placeholder::ALL.len()];
    let mut n = 0;
    while n < all.len() {
        all[n] = (Placeholder::ALL[n].name(), Placeholder::ALL[n]);
        n += 1;
    }
    all
};

/// The filters of a forward. `spelling` is that of the paths which are rewritten. Returns `None` if
/// there are none, or what is there is wrong.
pub(super) fn read(section: &Section<'_>, spelling: Spelling) -> Option<Arc<Filters>> {
    let get = |key| section.get(key);
    let rewrite = get("rewrite").and_then(|node| rewrite(&node, spelling));
    let request = get("request_headers").and_then(|node| field_edits(&node));
    let response = get("response_headers").and_then(|node| field_edits(&node));
    let filters = Filters {
        rewrite: rewrite.unwrap_or_default(),
        request: request.unwrap_or_default(),
        response: response.unwrap_or_default(),
    };
    (!filters.is_empty()).then(|| Arc::new(filters))
}

/// Reports the filters of an action that forwards nothing.
pub(super) fn refuse(section: &Section<'_>) {
    for node in section.given(&KEYS) {
        let name = node.name();
        let message = format!("`{name}` belongs to `forward`: nothing else goes to a target");
        node.error(Code::Conflict, message, "take it out");
    }
}

fn rewrite(node: &Node<'_>, spelling: Spelling) -> Option<Rewrite> {
    let section = node.section(&keys::REWRITE)?;
    let ways = section.given(&["path", "prefix", "regex"]);
    exclude_each_other(&ways, "a path is rewritten in one way; take the other out");
    let host_node = section.get("host");
    if ways.is_empty() && host_node.is_none() && section.unknown_keys().next().is_none() {
        let message = "`rewrite` says nothing to rewrite";
        let help = "write rewrite = { prefix = { from = \"/api\", to = \"/\" } }, or name path, regex or host";
        return node.refuse(Code::MissingKey, message, help);
    }
    let path = ways.first().and_then(|node| match node.name() {
        "path" => path(node).map(PathRewrite::Replace),
        "prefix" => prefix(node, spelling),
        _ => regex(node, spelling),
    });
    let host = host_node.and_then(|node| host(&node));
    Some(Rewrite { path, host })
}

/// A whole path with placeholders.
fn path(node: &Node<'_>) -> Option<Template> {
    let text = absolute(node)?;
    let pieces = template::pieces(node, &text, &PATH)?;
    for piece in &pieces {
        if let Piece::Literal(text) = piece {
            replacement::check_literal(node, text)?;
        }
    }
    Some(Template::new(pieces.iter().map(part).collect()))
}

/// A text that begins with a slash.
fn absolute(node: &Node<'_>) -> Option<String> {
    let text = node.text()?;
    if text.starts_with('/') {
        return Some(text);
    }
    let message = format!("`{}` starts with `/`", node.name());
    node.refuse(Code::InvalidValue, message, format!("write \"/{text}\""))
}

fn prefix(node: &Node<'_>, spelling: Spelling) -> Option<PathRewrite> {
    let section = node.section(&keys::REWRITE_PREFIX)?;
    let from = section
        .require("from", "write { from = \"/api\", to = \"/\" }")
        .and_then(|node| segments(&node, spelling));
    let to = section.optional("to", |node| segments(node, spelling));
    let (from, to) = (from?, to?.unwrap_or_default());
    if from == to {
        let message = "this rewrite changes nothing: `from` and `to` are the same";
        node.warn(Code::NoEffect, message, "take it out");
    }
    Some(PathRewrite::Prefix { from, to })
}

/// Whole segments, without a slash at the end; empty for the root.
fn segments(node: &Node<'_>, spelling: Spelling) -> Option<String> {
    let text = absolute(node)?;
    let plain = text.trim_end_matches(['*', '/']);
    if let Some(c) = plain.chars().find(|c| matches!(c, '*' | '?' | '#')) {
        let message = format!("`{c}` cannot be in a prefix: it is whole segments, to the letter");
        let help = "for more than that write regex = { pattern = '...', replacement = \"...\" }";
        return node.refuse(Code::InvalidValue, message, help);
    }
    if text.ends_with('*') {
        let message = "a prefix needs no `*`: whatever follows it stays";
        let plain = if plain.is_empty() { "/" } else { plain };
        return node.refuse(Code::InvalidValue, message, format!("write \"{plain}\""));
    }
    replacement::check_literal(node, plain)?;
    if let Some((reason, help)) = spelling.flaw_of_glob(&text) {
        let message = format!("no path has `{text}` in it: {reason}");
        return node.refuse(Code::NeverMatches, message, help);
    }
    Some(plain.to_owned())
}

fn regex(node: &Node<'_>, spelling: Spelling) -> Option<PathRewrite> {
    let section = node.section(&keys::REWRITE_REGEX)?;
    let example = "write { pattern = '^/users/([0-9]+)$', replacement = \"/u/$1\" }";
    let pattern = section
        .require("pattern", example)
        .and_then(|node| pattern::path_regex(&node, spelling));
    let replacement = section.require("replacement", example);
    let Pattern::Regex(pattern) = pattern? else {
        unreachable!("an expression is read as one");
    };
    let replacement = replacement::read(&replacement?, &pattern)?;
    Some(PathRewrite::Regex {
        pattern,
        replacement,
    })
}

/// A host, perhaps with a port and with placeholders.
fn host(node: &Node<'_>) -> Option<Template> {
    let text = node.text()?;
    let pieces = template::pieces(node, &text, &HOST)?;
    let template = Template::new(pieces.iter().map(part).collect());
    let mut example = String::new();
    // A digit can stand in a name and be a port.
    template.render(&mut example, |_, text| text.push('1'));
    let is_host = example.parse::<Authority>().is_ok() && !example.contains('@');
    if is_host {
        return Some(template);
    }
    let message = format!("`{text}` is not a host");
    let help = "write a name like \"app.internal\", perhaps with a port, or \"#{target}\"";
    node.refuse(Code::InvalidValue, message, help)
}

fn part(piece: &Piece<'_, Placeholder>) -> TemplatePart {
    match *piece {
        Piece::Literal(text) => TemplatePart::Literal(text.to_owned()),
        Piece::Placeholder(placeholder) => TemplatePart::Placeholder(placeholder),
    }
}

/// Removals first, so that what is put in stays.
fn field_edits(node: &Node<'_>) -> Option<Vec<FieldEdit>> {
    let section = node.section(&keys::FIELD_EDITS)?;
    let is_empty = section.given(&["remove", "set", "add"]).is_empty();
    if is_empty && section.unknown_keys().next().is_none() {
        let message = format!("`{}` changes no field", node.name());
        let help = "write { set = { \"X-Name\" = \"value\" } }, or name add or remove";
        return node.refuse(Code::MissingKey, message, help);
    }
    let removed = section.optional("remove", |node| {
        node.items_of(|node| Some((editable(node)?, node.clone())))
    });
    let set = section.optional("set", |node| named_values(node, false));
    let added = section.optional("add", |node| named_values(node, true));
    let removed = removed?.unwrap_or_default();
    let (set, added) = (set?.unwrap_or_default(), added?.unwrap_or_default());
    for (name, at) in &removed {
        if set.iter().any(|(set, _)| set == name) {
            let message = format!("`{name}` is in `set` too, which replaces it anyway");
            at.error(Code::Conflict, message, "take it out of one of them");
        }
    }
    let removed = removed.into_iter().map(|(name, _)| FieldEdit::Remove(name));
    let set = set
        .into_iter()
        .map(|(name, value)| FieldEdit::Set(name, value));
    let added = added
        .into_iter()
        .map(|(name, value)| FieldEdit::Add(name, value));
    Some(removed.chain(set).chain(added).collect())
}

/// Names and their values; lists of values only if there may be `several`.
fn named_values(node: &Node<'_>, several: bool) -> Option<Vec<(HeaderName, Template)>> {
    let example = format!("write {} = {{ \"X-Name\" = \"value\" }}", node.name());
    if !matches!(node.value, DeValue::Table(_)) {
        return node.refuse_type("a table of names and values", example);
    }
    let entries = Section::names(node);
    if entries.is_empty() {
        let message = format!("`{}` names no field", node.name());
        return node.refuse(Code::InvalidValue, message, example);
    }
    let mut seen: HashMap<HeaderName, String> = HashMap::new();
    let mut read = Vec::new();
    for (written, span, values) in entries {
        let at = Node {
            span,
            ..values.clone()
        };
        let name = editable_name(&written, &at);
        if let Some(before) = name
            .clone()
            .and_then(|name| seen.insert(name, written.clone()))
        {
            let message = format!("`{before}` and `{written}` are one field");
            let help =
                "names are the same in any case; write it once, or a list of values in `add`";
            at.error(Code::Duplicate, message, help);
        }
        let values = match values.value {
            _ if several => values.items_of(value),
            DeValue::Array(_) => values.refuse_type("a string", "a list of values is for `add`"),
            _ => value(&values).map(|value| vec![value]),
        };
        read.push(name.zip(values));
    }
    let read: Option<Vec<_>> = read.into_iter().collect();
    let pairs = read?.into_iter().flat_map(|(name, values)| {
        let pair = move |value| (name.clone(), value);
        values.into_iter().map(pair)
    });
    Some(pairs.collect())
}

fn editable(node: &Node<'_>) -> Option<HeaderName> {
    editable_name(&node.text()?, node)
}

/// The name of a field that is the file's to change.
fn editable_name(written: &str, at: &Node<'_>) -> Option<HeaderName> {
    let name = field::name(written, at)?;
    match field::why_fixed(&name) {
        None => Some(name),
        Some((reason, help)) => {
            let message = format!("`{written}` cannot be changed here: {reason}");
            at.refuse(Code::InvalidValue, message, help)
        }
    }
}

/// The value of a field (RFC 9110 section 5.5), with placeholders.
fn value(node: &Node<'_>) -> Option<Template> {
    let text = node.string()?;
    let trimmed = text.trim_matches([' ', '\t']);
    if trimmed != text {
        let message = "spaces around the value of a field are not part of it";
        return node.refuse(Code::InvalidValue, message, format!("write \"{trimmed}\""));
    }
    let is_legal = |c: &char| c.is_ascii_graphic() || matches!(c, ' ' | '\t');
    if let Some(c) = text.chars().find(|c| !is_legal(c)) {
        let c = c.escape_default();
        let message = format!("`{c}` cannot be in the value of a field");
        let help = "a value is visible ASCII and spaces; encode what is not";
        return node.refuse(Code::InvalidValue, message, help);
    }
    let pieces = template::pieces(node, &text, &VALUE)?;
    Some(Template::new(pieces.iter().map(part).collect()))
}
