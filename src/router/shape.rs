//! What all texts have in common that a pattern matches: what an index can look up.

use regex_syntax::hir::literal::{ExtractKind, Extractor};
use regex_syntax::hir::{Hir, Look};

use crate::model::Pattern;

/// What a text must be like for a pattern to match. A necessary condition, not a sufficient
/// one: the pattern itself decides.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Shape {
    /// It equals this.
    Exact(String),
    /// It begins with this.
    Starts(String),
    /// It ends with this.
    Ends(String),
    /// This regular expression matches somewhere in it.
    Contains(String),
    /// Any text.
    Anything,
}

/// Most literals that one regular expression is filed under: `^/(a|b|c)/` has three.
const MOST_LITERALS: usize = 16;

/// The shapes of which every text that `pattern` matches has at least one.
pub(super) fn shapes(pattern: &Pattern) -> Vec<Shape> {
    match pattern {
        Pattern::Exact(text) => vec![Shape::Exact(text.clone())],
        Pattern::Glob(glob) => vec![glob_shape(glob)],
        Pattern::Regex(regex) => regex_shapes(regex.as_str()),
    }
}

fn glob_shape(glob: &str) -> Shape {
    let wildcard = ['*', '?'];
    let start = glob.split(wildcard).next().unwrap_or_default();
    let end = glob.rsplit(wildcard).next().unwrap_or_default();
    if glob.bytes().all(|byte| byte == b'*') {
        Shape::Anything
    } else if start.is_empty() && end.is_empty() {
        Shape::Contains(longest_literal(glob))
    } else if start.len() >= end.len() {
        Shape::Starts(start.to_owned())
    } else {
        Shape::Ends(end.to_owned())
    }
}

/// The longest run without a wildcard, for a glob with none at either end. Globs of hosts,
/// headers and queries are lower-case and match any case.
fn longest_literal(glob: &str) -> String {
    let longest = glob
        .split(['*', '?'])
        .max_by_key(|literal| literal.len())
        .unwrap_or_default();
    format!("(?i){}", regex_syntax::escape(longest))
}

fn regex_shapes(source: &str) -> Vec<Shape> {
    let parsed = regex_syntax::parse(source).ok();
    match parsed.and_then(|hir| required_starts(&hir)) {
        Some(starts) => starts.into_iter().map(Shape::Starts).collect(),
        None => vec![Shape::Contains(source.to_owned())],
    }
}

/// The literals with one of which every match begins, at the start of the text; `None` if
/// a match may begin anywhere or with too many things.
fn required_starts(hir: &Hir) -> Option<Vec<String>> {
    if !hir.properties().look_set_prefix().contains(Look::Start) {
        return None;
    }
    // Two letters of a class are one letter in both cases.
    let literals = Extractor::new()
        .kind(ExtractKind::Prefix)
        .limit_class(2)
        .extract(hir);
    let of_all = |bytes: &[u8]| vec![valid_start(bytes)];
    let starts = match literals.literals() {
        Some(some) if some.len() <= MOST_LITERALS => some
            .iter()
            .map(|literal| valid_start(literal.as_bytes()))
            .collect(),
        Some(_) | None => literals.longest_common_prefix().map(of_all)?,
    };
    (!starts.is_empty() && starts.iter().all(|start| !start.is_empty())).then_some(starts)
}

/// A literal may end within a character.
fn valid_start(bytes: &[u8]) -> String {
    bytes
        .utf8_chunks()
        .next()
        .map_or_else(String::new, |chunk| chunk.valid().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starts(texts: &[&str]) -> Vec<Shape> {
        texts
            .iter()
            .map(|text| Shape::Starts((*text).to_owned()))
            .collect()
    }

    #[test]
    fn globs_are_filed_under_their_longer_end() {
        let shape = |glob: &str| shapes(&Pattern::glob(glob).unwrap()).remove(0);
        assert_eq!(shape("/a"), Shape::Exact("/a".to_owned()));
        assert_eq!(shape("/api/*.js"), Shape::Starts("/api/".to_owned()));
        assert_eq!(shape("/*.css"), Shape::Ends(".css".to_owned()));
        assert_eq!(shape("?bc"), Shape::Ends("bc".to_owned()));
        assert_eq!(shape("*a.b*c*"), Shape::Contains(r"(?i)a\.b".to_owned()));
        assert_eq!(shape("**"), Shape::Anything);
        assert_eq!(shape("?"), Shape::Contains("(?i)".to_owned()));
    }

    #[test]
    fn anchored_expressions_are_filed_under_what_they_begin_with() {
        let shape = |text: &str| shapes(&Pattern::regex(text).unwrap());
        assert_eq!(shape("^/user/[0-9]+$"), starts(&["/user/"]));
        assert_eq!(shape("^/(a|b)/x"), starts(&["/a/x", "/b/x"]));
        assert_eq!(shape("^/(?:v1|v2)/.*"), starts(&["/v1/", "/v2/"]));
        assert_eq!(shape("^(?i)gold$").len(), 16);
        for anywhere in ["/user/[0-9]+", "^", "^.*x", "(?m)^/a", "^a?b|c", "^(a|)"] {
            let expected = Shape::Contains(anywhere.to_owned());
            assert_eq!(shape(anywhere), [expected], "{anywhere}");
        }
    }
}
