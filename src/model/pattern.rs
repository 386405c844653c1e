//! Patterns of rule conditions: globs and regular expressions.
//!
//! ALB's glob: `*` matches any run of characters (also none), `?` exactly one,
//! everything else itself. Matching is linear in pattern times text and never
//! backtracks over more than the last `*`, so a hostile text costs no more than others.

use std::fmt;
use std::sync::{Arc, OnceLock};

/// What a value must match.
#[derive(Clone, Debug)]
pub enum Pattern {
    /// The whole value, to the letter.
    Exact(String),
    /// With `*` and `?`; at least one of them.
    Glob(String),
    /// Anywhere in the value unless the expression is anchored.
    Regex(Regex),
}

/// Why a pattern cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PatternError {
    /// The regular expression does not parse, or is too large when compiled.
    #[error("{0}")]
    Regex(#[from] Box<regex::Error>),
    /// A pattern that would match nothing.
    #[error("the pattern is empty")]
    Empty,
    /// A host name with a port, a scheme, a path or white space in it.
    #[error("`{0}` is not a host name")]
    NotAHost(String),
}

impl Pattern {
    /// A case-sensitive glob; without `*` and `?` it is an exact value.
    pub fn glob(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        Ok(if text.contains(['*', '?']) {
            Self::Glob(text.to_owned())
        } else {
            Self::Exact(text.to_owned())
        })
    }

    /// A regular expression (the `regex` crate's syntax: linear time, no look-around).
    pub fn regex(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        Ok(Self::Regex(Regex::new(text)?))
    }

    /// The same pattern for values compared without regard to ASCII case. Give
    /// [`Pattern::matches`] lower-case text then.
    #[must_use]
    pub fn lowercase(self) -> Self {
        match self {
            Self::Exact(text) => Self::Exact(text.to_ascii_lowercase()),
            Self::Glob(text) => Self::Glob(text.to_ascii_lowercase()),
            Self::Regex(regex) => Self::Regex(regex),
        }
    }

    /// Whether `text` matches.
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == text,
            Self::Glob(glob) => glob_matches(glob.as_bytes(), text.as_bytes(), |byte| byte),
            Self::Regex(regex) => regex.is_match(text),
        }
    }
}

impl Pattern {
    /// Whether `text` matches, letters of ASCII compared without regard to case. The pattern
    /// must be [`Pattern::lowercase`]; a regular expression decides by its own flags.
    pub fn matches_ignoring_case(&self, text: &str) -> bool {
        match self {
            Self::Exact(exact) => exact.eq_ignore_ascii_case(text),
            Self::Glob(glob) => glob_matches(glob.as_bytes(), text.as_bytes(), |byte| {
                byte.to_ascii_lowercase()
            }),
            Self::Regex(regex) => regex.is_match(text),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(text) | Self::Glob(text) => f.write_str(text),
            Self::Regex(regex) => write!(f, "/{}/", regex.as_str()),
        }
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(a), Self::Exact(b)) | (Self::Glob(a), Self::Glob(b)) => a == b,
            (Self::Regex(a), Self::Regex(b)) => a == b,
            (Self::Exact(_) | Self::Glob(_) | Self::Regex(_), _) => false,
        }
    }
}

/// A regular expression that is known to be valid, and compiled when it is first needed:
/// tens of thousands of rules cost the memory of their text, not of their compiled forms.
/// Clones share the compiled form.
#[derive(Clone)]
pub struct Regex(Arc<Expression>);

struct Expression {
    source: Box<str>,
    compiled: OnceLock<regex::Regex>,
}

impl Regex {
    fn new(source: &str) -> Result<Self, PatternError> {
        regex::Regex::new(source).map_err(Box::new)?;
        Ok(Self(Arc::new(Expression {
            source: source.into(),
            compiled: OnceLock::new(),
        })))
    }

    /// The source of the expression.
    pub fn as_str(&self) -> &str {
        &self.0.source
    }

    /// Whether it matches anywhere in `text`.
    pub fn is_match(&self, text: &str) -> bool {
        self.compiled().is_match(text)
    }

    /// How many groups it has, without the whole match.
    pub fn groups(&self) -> usize {
        self.compiled().captures_len() - 1
    }

    /// The number of the group of that name.
    pub fn group_named(&self, name: &str) -> Option<usize> {
        let mut names = self.compiled().capture_names();
        names.position(|known| known == Some(name))
    }

    /// The text with each match replaced by what `replace` appends for it; `None` without a match.
    pub(super) fn replace_all(
        &self,
        text: &str,
        mut replace: impl FnMut(&regex::Captures<'_>, &mut String),
    ) -> Option<String> {
        let mut replaced = String::new();
        let mut end = None;
        for captures in self.compiled().captures_iter(text) {
            let found = captures.get_match();
            replaced.push_str(&text[end.unwrap_or(0)..found.start()]);
            replace(&captures, &mut replaced);
            end = Some(found.end());
        }
        replaced.push_str(&text[end?..]);
        Some(replaced)
    }

    /// Compiles it now rather than when it is first needed.
    pub fn compile(&self) {
        self.compiled();
    }

    fn compiled(&self) -> &regex::Regex {
        self.0.compiled.get_or_init(|| {
            regex::Regex::new(&self.0.source).expect("it compiled when it was read")
        })
    }
}

/// Two are equal if their sources are.
impl PartialEq for Regex {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Regex {}

impl fmt::Debug for Regex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Regex").field(&self.as_str()).finish()
    }
}

/// A host of a rule: lower-case, without a port; `*.example.com` does not match
/// `example.com` (ALB user guide, "Host conditions").
#[derive(Clone, Debug, PartialEq)]
pub struct HostPattern(Pattern);

impl HostPattern {
    /// A host name, or a glob over one.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        let bad = |c: char| c.is_whitespace() || matches!(c, '/' | '@' | '#' | '%');
        // A colon is legal only in an IPv6 literal; elsewhere it is a port, which a rule never sees.
        let port = text.contains(':') && !text.starts_with('[');
        if text.contains(bad) || port {
            return Err(PatternError::NotAHost(text.to_owned()));
        }
        Ok(Self(Pattern::glob(text)?.lowercase()))
    }

    /// The name, if this host has no `*` or `?` in it.
    pub fn exact(&self) -> Option<&str> {
        match &self.0 {
            Pattern::Exact(name) => Some(name),
            Pattern::Glob(_) | Pattern::Regex(_) => None,
        }
    }

    /// The pattern, for lower-case hosts.
    pub fn pattern(&self) -> &Pattern {
        &self.0
    }

    /// Whether a lower-case host without its port matches.
    pub fn matches(&self, host: &str) -> bool {
        self.0.matches(host)
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Glob matching with one remembered star. `?` stands for one byte of ASCII or one
/// whole UTF-8 character; bytes of the text are compared as `fold` gives them.
fn glob_matches(glob: &[u8], text: &[u8], fold: impl Fn(u8) -> u8) -> bool {
    // Most texts that do not match end differently (`*.example.com`): look there first.
    for (&byte, &end) in glob.iter().rev().zip(text.iter().rev()) {
        match byte {
            b'*' | b'?' => break,
            _ if byte == fold(end) => {}
            _ => return false,
        }
    }
    let (mut g, mut t) = (0, 0);
    // Where to resume when a literal fails: after the last star, one character later.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match glob.get(g) {
            Some(b'*') => {
                star = Some((g + 1, t));
                g += 1;
            }
            Some(b'?') => {
                g += 1;
                t += char_len(text, t);
            }
            Some(&byte) if byte == fold(text[t]) => {
                g += 1;
                t += 1;
            }
            _ => {
                let Some((after, from)) = star else {
                    return false;
                };
                let next = from + char_len(text, from);
                star = Some((after, next));
                (g, t) = (after, next);
            }
        }
    }
    glob[g..].iter().all(|&byte| byte == b'*')
}

/// Bytes of the character at `at`.
fn char_len(text: &[u8], at: usize) -> usize {
    let continuation = |byte: &&u8| (**byte & 0xC0) == 0x80;
    1 + text[at + 1..].iter().take_while(continuation).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_as_the_alb_guide_says() {
        let cases = [
            ("/api/*", "/api/", true),
            ("/api/*", "/api/v1/todos", true),
            ("/api/*", "/API/v1", false),
            ("/api/*", "/api", false),
            ("*", "", true),
            ("/img/?.png", "/img/a.png", true),
            ("/img/?.png", "/img/ä.png", true),
            ("/img/?.png", "/img/.png", false),
            ("*/static/*.css", "/a/static/b/static/c.css", true),
            ("a*b*c", "aXbXbXc", true),
            ("a*b*c", "aXbX", false),
            ("*abc", "bc", false),
            ("?bc", "bc", false),
            ("a?", "ä", false),
        ];
        for (glob, text, expected) in cases {
            let pattern = Pattern::glob(glob).unwrap();
            assert_eq!(pattern.matches(text), expected, "{glob} on {text}");
        }
    }

    #[test]
    fn a_wildcard_host_does_not_match_the_apex() {
        let wildcard = HostPattern::new("*.Example.com").unwrap();
        assert!(wildcard.matches("a.example.com"));
        assert!(wildcard.matches("a.b.example.com"));
        assert!(!wildcard.matches("example.com"));
    }

    #[test]
    fn a_host_with_a_port_or_a_scheme_is_refused() {
        for text in ["example.com:80", "http://example.com", "a b", "", "x/y"] {
            assert!(HostPattern::new(text).is_err(), "{text}");
        }
        assert!(HostPattern::new("[::1]").is_ok());
    }

    #[test]
    fn a_hostile_text_does_not_explode() {
        let pattern = Pattern::glob("*a*a*a*a*a*a*a*a*b").unwrap();
        assert!(!pattern.matches(&"a".repeat(20_000)));
    }
}
