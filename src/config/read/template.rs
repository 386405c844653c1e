//! Texts with placeholders in them: `#{host}` and the like, as in ALB's redirects.

use crate::config::node::Node;
use crate::config::problem::Code;
use crate::config::suggest::nearest;

/// A piece of such a text.
pub(super) enum Piece<'t, P> {
    /// As it stands there.
    Literal(&'t str),
    /// What `#{…}` stands for.
    Placeholder(P),
}

/// The pieces of a text; empty literals are left out. Names that are not in `known` are reported.
pub(super) fn pieces<'t, P: Clone>(
    node: &Node<'_>,
    text: &'t str,
    known: &[(&'static str, P)],
) -> Option<Vec<Piece<'t, P>>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((literal, after)) = rest.split_once("#{") {
        pieces.push(Piece::Literal(literal));
        let Some((name, after)) = after.split_once('}') else {
            return node.refuse(Code::InvalidValue, "a `#{` without its `}`", "");
        };
        let Some((_, placeholder)) = known.iter().find(|(known, _)| *known == name) else {
            unknown(node, name, known);
            return None;
        };
        pieces.push(Piece::Placeholder(placeholder.clone()));
        rest = after;
    }
    pieces.push(Piece::Literal(rest));
    pieces.retain(|piece| !matches!(piece, Piece::Literal("")));
    Some(pieces)
}

fn unknown<P>(node: &Node<'_>, name: &str, known: &[(&'static str, P)]) {
    let names = || known.iter().map(|(name, _)| *name);
    let list: Vec<_> = names().map(|name| format!("#{{{name}}}")).collect();
    let help = match nearest(name, names()) {
        Some(known) => format!("did you mean `#{{{known}}}`?"),
        None => format!("known are {}", list.join(", ")),
    };
    let message = format!("unknown placeholder `#{{{name}}}`");
    node.error(Code::InvalidValue, message, help);
}
