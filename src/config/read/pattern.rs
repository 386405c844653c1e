//! Patterns of paths, and why some of them never match: a path is matched in one spelling, so that
//! a pattern in another one would be a rule that is never taken.

use percent_encoding::{CONTROLS, utf8_percent_encode};
use regex_syntax::hir::{Hir, HirKind};

use crate::config::node::Node;
use crate::config::problem::Code;
use crate::model::{
    EncodedSlashes, HttpPolicy, NormalizePath, Pattern, PatternError, normalize_path,
};

const WILDCARDS: [char; 2] = ['*', '?'];

/// In which spelling a listener matches paths.
#[derive(Clone, Copy)]
pub(super) struct Spelling {
    is_normal: bool,
    has_encoded_slashes: bool,
}

/// Why no path has a text in it, and what to do about it.
type Flaw = (String, String);

/// A glob over paths in this spelling.
pub(super) fn path(node: &Node<'_>, spelling: Spelling) -> Option<Pattern> {
    let text = node.text()?;
    if let Some(help) = location(&text) {
        let message = format!("no path matches `{text}`: it is how nginx writes a location");
        return node.refuse(Code::NeverMatches, message, help);
    }
    if !text.starts_with(['/', '*', '?']) {
        let message = format!("no path matches `{text}`: paths start with `/`");
        let start = text
            .split_once("://")
            .map_or(text.as_str(), |(_, rest)| rest);
        let start = match start.split_once('/') {
            Some((_, path)) if text.contains("://") => path,
            _ => start,
        };
        return node.refuse(Code::NeverMatches, message, format!("write \"/{start}\""));
    }
    if let Some(c) = text
        .chars()
        .find(|c| matches!(c, '#') || c.is_whitespace() || c.is_control())
    {
        let message = format!(
            "no path matches `{text}`: `{}` cannot be in one",
            c.escape_default()
        );
        return node.refuse(
            Code::NeverMatches,
            message,
            "write it percent-encoded, as clients send it",
        );
    }
    if let Some((reason, help)) = spelling.flaw_of_glob(&text) {
        let message = format!("no path matches `{text}`: {reason}");
        return node.refuse(Code::NeverMatches, message, help);
    }
    if let Some((before, query)) = text.split_once('?')
        && query.contains('=')
    {
        let message = "`?` stands for one character in a path, and a path has no query string";
        let help = format!("write path = \"{before}\", query = \"{query}\"");
        node.warn(Code::Suspicious, message, help);
    }
    if let Some(part) = text.split('/').find(|part| is_parameter(part)) {
        let message = format!("`{part}` stands for itself: a path has no parameters");
        let help = format!(
            "write \"{}\": `*` is any number of characters",
            text.replace(part, "*")
        );
        node.warn(Code::Suspicious, message, help);
    }
    compiled(node, Pattern::glob(&text))
}

/// What to write for `= /a`, `^~ /a` and `~ ^/a`.
fn location(text: &str) -> Option<String> {
    let (sign, path) = text.split_once(' ')?;
    let path = path.trim();
    match sign {
        "=" => Some(format!("write path = \"{path}\"")),
        "^~" => Some(format!("write path = \"{path}*\"")),
        "~" => Some(format!("write path_regex = '{path}'")),
        "~*" => Some(format!("write path_regex = '(?i){path}'")),
        _ => None,
    }
}

/// `:id`, `{id}` and `<id>` of a router.
fn is_parameter(part: &str) -> bool {
    let inside = |open, close| {
        part.strip_prefix(open)
            .is_some_and(|part: &str| part.ends_with(close))
    };
    let named = part.strip_prefix(':').is_some_and(|name| !name.is_empty());
    named || inside('{', '}') || inside('<', '>')
}

/// A regular expression over paths in this spelling.
pub(super) fn path_regex(node: &Node<'_>, spelling: Spelling) -> Option<Pattern> {
    let text = node.text()?;
    let first = text.strip_prefix('^').and_then(|rest| rest.chars().next());
    if let Some(first) = first.filter(char::is_ascii_alphanumeric) {
        let message = format!("no path begins with `{first}`: paths start with `/`");
        let help = format!("write '^/{}'", &text[1..]);
        return node.refuse(Code::NeverMatches, message, help);
    }
    let parsed = regex_syntax::parse(&text).ok();
    if let Some((reason, help)) = parsed.and_then(|hir| spelling.flaw_of_regex(&hir)) {
        let message = format!("no path matches `{text}`: {reason}");
        return node.refuse(Code::NeverMatches, message, help);
    }
    compiled(node, Pattern::regex(&text))
}

/// The pattern, or why it is none.
pub(super) fn compiled(node: &Node<'_>, pattern: Result<Pattern, PatternError>) -> Option<Pattern> {
    let error = match pattern {
        Ok(pattern) => return Some(pattern),
        Err(error) => error,
    };
    let message = match &error {
        PatternError::Regex(error) => {
            // The crate shows the expression over several lines; the last one is the reason.
            let text = error.to_string();
            let reason = text.lines().last().unwrap_or_default();
            let reason = reason.trim_start_matches("error: ");
            format!("not a regular expression: {reason}")
        }
        PatternError::Empty | PatternError::NotAHost(_) => error.to_string(),
    };
    let help = "the syntax is that of the Rust crate `regex`: no look-around, no back-references";
    node.refuse(Code::InvalidValue, message, help)
}

impl Spelling {
    /// That of a listener.
    pub(super) fn of(http: &HttpPolicy) -> Self {
        Self {
            is_normal: match http.normalize_path {
                NormalizePath::Match | NormalizePath::Forward => true,
                NormalizePath::Off => false,
            },
            has_encoded_slashes: http.encoded_slashes == EncodedSlashes::Pass,
        }
    }

    /// Why no path matches a glob. Each text between its wildcards is in every path that does.
    pub(super) fn flaw_of_glob(self, glob: &str) -> Option<Flaw> {
        let (reason, help) = self.flaw_between_wildcards(glob)?;
        match self.respelt(glob) {
            Some(glob) => Some((reason, format!("write \"{glob}\""))),
            None => Some((reason, help)),
        }
    }

    fn flaw_between_wildcards(self, glob: &str) -> Option<Flaw> {
        let mut texts = glob.split(WILDCARDS).peekable();
        while let Some(text) = texts.next() {
            let flaw = self.flaw(text, texts.peek().is_none());
            if flaw.is_some() {
                return flaw;
            }
        }
        None
    }

    /// The glob in this spelling, where that is certain.
    fn respelt(self, glob: &str) -> Option<String> {
        let encoded = utf8_percent_encode(glob, CONTROLS).to_string();
        let has_wildcards = glob.contains(WILDCARDS);
        // What `..` takes out is unknown then, and what a cut encoding goes on with.
        if has_wildcards && (encoded.contains("..") || has_cut_encoding(glob)) {
            return None;
        }
        let respelt = if !self.is_normal {
            encoded
        } else if encoded.starts_with('/') {
            normalize_path(&encoded).into_owned()
        } else {
            normalize_path(&format!("/{encoded}"))[1..].to_owned()
        };
        let is_right = self.flaw_between_wildcards(&respelt).is_none();
        (respelt != glob && is_right).then_some(respelt)
    }

    /// Why no path matches a regular expression: a text that every match has is in none.
    fn flaw_of_regex(self, expression: &Hir) -> Option<Flaw> {
        match expression.kind() {
            HirKind::Literal(literal) => self.flaw(str::from_utf8(&literal.0).ok()?, false),
            HirKind::Capture(capture) => self.flaw_of_regex(&capture.sub),
            HirKind::Repetition(repetition) if repetition.min > 0 => {
                self.flaw_of_regex(&repetition.sub)
            }
            HirKind::Concat(parts) => parts.iter().find_map(|part| self.flaw_of_regex(part)),
            HirKind::Alternation(parts) => {
                let flaws = parts.iter().map(|part| self.flaw_of_regex(part));
                flaws.collect::<Option<Vec<_>>>()?.into_iter().next()
            }
            HirKind::Empty | HirKind::Look(_) | HirKind::Class(_) | HirKind::Repetition(_) => None,
        }
    }

    /// Why no path has this text in it, or ends in it.
    fn flaw(self, text: &str, is_end: bool) -> Option<Flaw> {
        if let Some(c) = text.chars().find(|c| !c.is_ascii()) {
            let encoded = utf8_percent_encode(c.encode_utf8(&mut [0; 4]), CONTROLS).to_string();
            let reason = format!("clients send `{c}` percent-encoded");
            return Some((reason, format!("write it as `{encoded}`")));
        }
        if !self.has_encoded_slashes && text.to_ascii_lowercase().contains("%2f") {
            let reason = "such requests are answered with 400";
            let help = "take it out, or write encoded_slashes = \"pass\" in [[listener]]";
            return Some((reason.to_owned(), help.to_owned()));
        }
        if !self.is_normal {
            return None;
        }
        if let Some(flaw) = flaw_of_encodings(text, is_end) {
            return Some(flaw);
        }
        let (reason, help) = if text.contains("//") {
            ("slashes in a row are matched as one", "write one slash")
        } else if has_dot_segment(text, is_end) {
            let reason = "dot segments are resolved before a path is matched";
            (reason, "take `.` and `..` out")
        } else {
            return None;
        };
        Some((reason.to_owned(), help.to_owned()))
    }
}

/// Whether a wildcard stands for digits of a percent-encoding.
fn has_cut_encoding(glob: &str) -> bool {
    let mut parts = glob.split('%').skip(1);
    parts.any(|digits| digits.chars().take(2).any(|c| WILDCARDS.contains(&c)))
}

/// What is wrong with percent-encodings: a path that is matched has one spelling of each byte.
fn flaw_of_encodings(text: &str, is_end: bool) -> Option<Flaw> {
    for (at, _) in text.match_indices('%') {
        let digits: Vec<char> = text[at + 1..].chars().take(2).collect();
        let is_cut = digits.len() < 2 && !is_end;
        if !digits.iter().all(char::is_ascii_hexdigit) || (digits.len() < 2 && !is_cut) {
            let reason = "a `%` stands before two hexadecimal digits";
            return Some((
                reason.to_owned(),
                "write a percent sign as `%25`".to_owned(),
            ));
        }
        if is_cut {
            continue;
        }
        let written = &text[at..at + 3];
        let path = format!("/{written}");
        let matched = &normalize_path(&path)[1..];
        // Of `%2E` alone nothing is left.
        let matched = if matched.is_empty() { "." } else { matched };
        if matched != written {
            let reason = format!("`{written}` is matched as `{matched}`");
            return Some((reason, format!("write `{matched}`")));
        }
    }
    None
}

fn has_dot_segment(text: &str, is_end: bool) -> bool {
    let ends_so = is_end && (text.ends_with("/.") || text.ends_with("/.."));
    ends_so || text.contains("/./") || text.contains("/../")
}
