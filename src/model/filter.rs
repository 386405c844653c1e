//! Filters: what a forward changes in messages on their way, as data.

use std::fmt::Write;

use http::HeaderName;

use super::pattern::Regex;
use super::template::{Placeholder, Template};

/// What a forward changes in a request on its way to a target, and in the response on its way
/// back.
///
/// They have the last word: fields that Weir writes itself, such as `X-Forwarded-For`, are there
/// when they are applied. Fields that frame a message or belong to one connection are in none of
/// them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters {
    /// What the target is asked for instead of what the client asked for.
    pub rewrite: Rewrite,
    /// Applied to the request in this order.
    pub request: Vec<FieldEdit>,
    /// Applied in this order to the final response of a target. Weir's own responses stay as they
    /// are.
    pub response: Vec<FieldEdit>,
}

impl Filters {
    /// Whether they change nothing.
    pub fn is_empty(&self) -> bool {
        let Self {
            rewrite: Rewrite { path, host },
            request,
            response,
        } = self;
        path.is_none() && host.is_none() && request.is_empty() && response.is_empty()
    }
}

/// A change of one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldEdit {
    /// All fields of this name are taken out.
    Remove(HeaderName),
    /// All fields of this name are taken out, and this one is put in.
    Set(HeaderName, Template),
    /// One more field; those of the same name stay.
    Add(HeaderName, Template),
}

impl FieldEdit {
    /// The name of the field.
    pub fn name(&self) -> &HeaderName {
        match self {
            Self::Remove(name) | Self::Set(name, _) | Self::Add(name, _) => name,
        }
    }

    /// The value that it writes; `None` if it only removes.
    pub fn value(&self) -> Option<&Template> {
        match self {
            Self::Remove(_) => None,
            Self::Set(_, value) | Self::Add(_, value) => Some(value),
        }
    }
}

/// What a target is asked for instead of what the client asked for (ALB's transforms
/// `url-rewrite` and `host-header-rewrite`). The query stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewrite {
    /// The path; `None` keeps it.
    pub path: Option<PathRewrite>,
    /// `Host`; `None` keeps it.
    pub host: Option<Template>,
}

/// How a path becomes another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathRewrite {
    /// Another path instead of it, which begins with a slash.
    Replace(Template),
    /// Whole segments at its start become other ones (Gateway API's `ReplacePrefixMatch`).
    Prefix {
        /// Begins with a slash and does not end in one; empty for the root, with which every path
        /// begins.
        from: String,
        /// As `from`.
        to: String,
    },
    /// Each match of an expression in it becomes another text.
    Regex {
        /// Matches anywhere in the path unless it is anchored.
        pattern: Regex,
        /// What each match becomes.
        replacement: Vec<ReplacementPart>,
    },
}

/// A piece of what a match becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplacementPart {
    /// Copied as it is.
    Literal(String),
    /// What the group of this number has matched: `$1`; `$0` is the whole match.
    Group(usize),
    /// A value of the request.
    Placeholder(Placeholder),
}

impl PathRewrite {
    /// The path that the target is asked for; `None` if `path` does not match, so that it stays.
    /// `fill` appends the value of a placeholder.
    ///
    /// `path` has the spelling that rules match, so that a rewrite finds what a rule found. The
    /// result is a path whatever was captured or filled in: it begins with a slash, and what cannot
    /// be in a path is percent-encoded.
    pub fn apply(
        &self,
        path: &str,
        mut fill: impl FnMut(Placeholder, &mut String),
    ) -> Option<String> {
        let mut rewritten = String::new();
        match self {
            Self::Replace(template) => template.render(&mut rewritten, fill),
            Self::Prefix { from, to } => {
                let rest = path.strip_prefix(from.as_str())?;
                if !rest.is_empty() && !rest.starts_with('/') {
                    return None;
                }
                rewritten.push_str(to);
                rewritten.push_str(rest);
            }
            Self::Regex {
                pattern,
                replacement,
            } => {
                let replaced = pattern.replace_all(path, |captures, text| {
                    for part in replacement {
                        match part {
                            ReplacementPart::Literal(literal) => text.push_str(literal),
                            ReplacementPart::Group(group) => {
                                text.push_str(captures.get(*group).map_or("", |m| m.as_str()));
                            }
                            ReplacementPart::Placeholder(placeholder) => fill(*placeholder, text),
                        }
                    }
                });
                rewritten = replaced?;
            }
        }
        Some(as_path(rewritten))
    }
}

/// The text as a path: with a slash first, and nothing in it that would end it or split the
/// request line.
fn as_path(text: String) -> String {
    let is_legal = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#');
    if text.starts_with('/') && text.bytes().all(is_legal) {
        return text;
    }
    let mut path = String::with_capacity(text.len() + 1);
    if !text.starts_with('/') {
        path.push('/');
    }
    for byte in text.bytes() {
        if is_legal(byte) {
            path.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(path, "%{byte:02X}");
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Pattern, TemplatePart};

    fn literal(text: &str) -> Template {
        Template::new(vec![TemplatePart::Literal(text.to_owned())])
    }

    /// Every placeholder becomes its own name.
    fn fill(placeholder: Placeholder, text: &mut String) {
        text.push_str(placeholder.name());
    }

    fn prefix(from: &str, to: &str) -> PathRewrite {
        PathRewrite::Prefix {
            from: from.to_owned(),
            to: to.to_owned(),
        }
    }

    fn regex(pattern: &str, replacement: &[ReplacementPart]) -> PathRewrite {
        let Pattern::Regex(pattern) = Pattern::regex(pattern).unwrap() else {
            unreachable!("it is one");
        };
        PathRewrite::Regex {
            pattern,
            replacement: replacement.to_vec(),
        }
    }

    #[test]
    fn a_prefix_is_made_of_whole_segments() {
        let cases = [
            ("/api/v1", "", "/api/v1/todos", Some("/todos")),
            ("/api/v1", "", "/api/v1", Some("/")),
            ("/api/v1", "", "/api/v1/", Some("/")),
            ("/api/v1", "", "/api/v10", None),
            ("/api/v1", "", "/", None),
            ("/api/v1", "/v2", "/api/v1", Some("/v2")),
            ("/api/v1", "/v2", "/api/v1/a/", Some("/v2/a/")),
            ("", "/todo", "/", Some("/todo/")),
            ("", "/todo", "/a", Some("/todo/a")),
        ];
        for (from, to, path, expected) in cases {
            let rewritten = prefix(from, to).apply(path, fill);
            assert_eq!(rewritten.as_deref(), expected, "{path}: {from} to {to}");
        }
    }

    #[test]
    fn each_match_of_an_expression_is_replaced() {
        use ReplacementPart::{Group, Literal, Placeholder as Filled};
        let text = |text: &str| Literal(text.to_owned());
        let user = [text("/u/"), Group(1), text("x"), Filled(Placeholder::Host)];
        let cases = [
            (
                "^/users/([0-9]+)$",
                &user[..],
                "/users/7",
                Some("/u/7xhost"),
            ),
            ("^/users/([0-9]+)$", &user[..], "/users/a", None),
            ("-", &[text("_")], "/a-b-c", Some("/a_b_c")),
            ("^/api/", &[], "/api/a", Some("/a")),
            (
                "/(a)|/b",
                &[text("/"), Group(0), Group(1)],
                "/b",
                Some("//b"),
            ),
            ("b", &[text(" ä?#")], "/b", Some("/%20%C3%A4%3F%23")),
        ];
        for (pattern, replacement, path, expected) in cases {
            let rewritten = regex(pattern, replacement).apply(path, fill);
            assert_eq!(rewritten.as_deref(), expected, "{path}: {pattern}");
        }
    }

    #[test]
    fn a_whole_path_is_replaced() {
        let rewrite = PathRewrite::Replace(literal("/index.html"));
        assert_eq!(rewrite.apply("/a", fill).as_deref(), Some("/index.html"));
    }

    #[test]
    fn no_value_can_split_the_request_line() {
        let parts = vec![
            TemplatePart::Literal("/".to_owned()),
            TemplatePart::Placeholder(Placeholder::Path),
        ];
        let rewrite = PathRewrite::Replace(Template::new(parts));
        let evil = |_, text: &mut String| text.push_str("a HTTP/1.1\r\nx: y");
        let rewritten = rewrite.apply("/", evil).unwrap();
        assert_eq!(rewritten, "/a%20HTTP/1.1%0D%0Ax:%20y");
    }

    #[test]
    fn filters_without_an_edit_are_empty() {
        assert!(Filters::default().is_empty());
        let edit = FieldEdit::Add(HeaderName::from_static("a"), literal("b"));
        let request = Filters {
            request: vec![edit.clone()],
            ..Filters::default()
        };
        assert!(!request.is_empty());
        assert_eq!(edit.value(), Some(&literal("b")));
        assert_eq!(edit.name(), "a");
    }
}
