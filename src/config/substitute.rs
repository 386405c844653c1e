//! `${VAR}` and `${VAR:-default}` in string values.
//!
//! `$${` stands for a literal `${`; any other `$` is itself, so regular
//! expressions need no care. An empty variable counts as set, unlike in a shell,
//! except where a default is given: then the default is taken, as `:-` does there.

/// Why a text cannot be completed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SubstituteError {
    /// A `${` without its `}`.
    Unclosed,
    /// What stands between the braces is no name.
    BadName(String),
    /// The variable is not set, and no default is given.
    Missing(String),
}

/// The text with every variable replaced, and whether there was one.
pub(super) fn substitute(
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<(String, bool), SubstituteError> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut found = false;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            out.push_str(&rest[..at - 1]);
            out.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        out.push_str(&rest[..at]);
        let (inside, after) = rest[at + 2..]
            .split_once('}')
            .ok_or(SubstituteError::Unclosed)?;
        out.push_str(&value(inside, env)?);
        found = true;
        rest = after;
    }
    out.push_str(rest);
    Ok((out, found))
}

fn value(inside: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, SubstituteError> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !starts_well || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(SubstituteError::BadName(name.to_owned()));
    }
    match (env(name), default) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(SubstituteError::Missing(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_port(text: &str) -> Result<(String, bool), SubstituteError> {
        substitute(text, &|name| match name {
            "PORT" => Some("6400".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        })
    }

    #[test]
    fn variables_are_replaced_and_the_rest_is_kept() {
        let cases = [
            ("a:${PORT}/b", "a:6400/b"),
            ("${PORT}${PORT}", "64006400"),
            ("${NONE:-x}", "x"),
            ("${NONE:-}", ""),
            ("${EMPTY:-x}", "x"),
            ("${EMPTY}", ""),
            ("^/a$", "^/a$"),
            ("$${PORT}", "${PORT}"),
            ("$$", "$$"),
        ];
        for (text, expected) in cases {
            assert_eq!(with_port(text).unwrap().0, expected, "{text}");
        }
    }

    #[test]
    fn a_missing_variable_is_named() {
        let missing = SubstituteError::Missing("NONE".to_owned());
        assert_eq!(with_port("${NONE}"), Err(missing));
        assert_eq!(with_port("${PORT"), Err(SubstituteError::Unclosed));
        let bad = SubstituteError::BadName("1 x".to_owned());
        assert_eq!(with_port("${1 x}"), Err(bad));
    }
}
