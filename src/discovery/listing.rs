//! Reads a list of targets, the content of a file. Pure.
//!
//! ```text
//! # a number sign begins a comment
//! 10.0.0.1
//! 10.0.0.2:6401   weight=3
//! [fd00::1]:6400
//! unix:/run/app.sock
//! ```

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::model::{Endpoint, EndpointError};

/// Most targets of one file: more than any group has.
const MAX_TARGETS: usize = 10_000;

/// Weir's largest weight, ALB's.
const MAX_WEIGHT: u16 = 999;

/// Used by lines without a port or weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Defaults {
    pub(super) port: Option<u16>,
    pub(super) weight: u16,
}

/// Why a text is no list of targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ListingError {
    /// Counted from 1.
    line: usize,
    reason: String,
}

impl fmt::Display for ListingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

/// The targets of a list, in its order. A list without any is refused: a file which is being
/// written looks like that at first.
pub(super) fn read(text: &str, defaults: Defaults) -> Result<Vec<(Endpoint, u16)>, ListingError> {
    let mut targets = Vec::new();
    let mut lines: HashMap<Endpoint, usize> = HashMap::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (number, line) in (1..).zip(text.lines()) {
        let wrong = |reason: String| ListingError {
            line: number,
            reason,
        };
        let Some((addr, weight)) = target(line, defaults).map_err(wrong)? else {
            continue;
        };
        if let Some(other) = lines.insert(addr.clone(), number) {
            return Err(wrong(format!("{addr} is in line {other} already")));
        }
        if targets.len() >= MAX_TARGETS {
            return Err(wrong(format!("more than {MAX_TARGETS} targets")));
        }
        targets.push((addr, weight));
    }
    if targets.is_empty() {
        return Err(ListingError {
            line: 1,
            reason: "no target in the whole file".to_owned(),
        });
    }
    Ok(targets)
}

/// The target of a line; `None` for an empty line or a comment.
fn target(line: &str, defaults: Defaults) -> Result<Option<(Endpoint, u16)>, String> {
    let content = line.split('#').next().unwrap_or_default();
    let mut words = content.split_whitespace();
    let Some(address) = words.next() else {
        return Ok(None);
    };
    let addr = endpoint(address, defaults.port)?;
    let mut weight = defaults.weight;
    for word in words {
        weight = word
            .strip_prefix("weight=")
            .and_then(|value| value.parse::<u16>().ok())
            .filter(|value| *value <= MAX_WEIGHT)
            .ok_or_else(|| {
                let word = escaped(word);
                format!("`{word}` is not weight=0 to weight={MAX_WEIGHT}")
            })?;
    }
    Ok(Some((addr, weight)))
}

fn endpoint(text: &str, port: Option<u16>) -> Result<Endpoint, String> {
    if Endpoint::is_unix(text) {
        return text
            .parse()
            .map_err(|error: EndpointError| format!("`{}`: {error}", escaped(text)));
    }
    socket(text, port).map(Endpoint::Address)
}

fn socket(text: &str, port: Option<u16>) -> Result<SocketAddr, String> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let addr = match (
        text.parse::<SocketAddr>(),
        bare.unwrap_or(text).parse::<IpAddr>(),
    ) {
        (Ok(addr), _) => addr,
        (Err(_), Ok(ip)) => {
            let port =
                port.ok_or_else(|| format!("{ip} has no port, and neither has its group"))?;
            SocketAddr::new(ip, port)
        }
        (Err(_), Err(_)) => {
            return Err(format!(
                "`{}` is not an address like 10.0.0.1:6400",
                escaped(text)
            ));
        }
    };
    if addr.port() == 0 || addr.ip().is_unspecified() || addr.ip().is_multicast() {
        return Err(format!("nothing can be sent to {addr}"));
    }
    Ok(addr)
}

/// The start of a text. A file may contain any characters: control characters are escaped.
fn escaped(text: &str) -> String {
    const MAX_CHARS: usize = 80;
    text.chars()
        .take(MAX_CHARS)
        .flat_map(char::escape_debug)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DEFAULTS: Defaults = Defaults {
        port: Some(6400),
        weight: 2,
    };

    #[test]
    fn lines_are_addresses_with_or_without_port_and_weight() {
        let text = "\u{feff}# ours\r\n\n10.0.0.1\n 10.0.0.2:80\tweight=7 # the new one\nfd00::1 weight=0\n[fd00::2]\n[fd00::3]:81\nunix:/run/app.sock weight=3";
        let targets: Vec<_> = read(text, DEFAULTS)
            .unwrap()
            .iter()
            .map(|(addr, weight)| (addr.to_string(), *weight))
            .collect();
        let expected = [
            ("10.0.0.1:6400", 2),
            ("10.0.0.2:80", 7),
            ("[fd00::1]:6400", 0),
            ("[fd00::2]:6400", 2),
            ("[fd00::3]:81", 2),
            ("unix:/run/app.sock", 3),
        ];
        assert_eq!(
            targets,
            expected.map(|(addr, weight)| (addr.to_owned(), weight))
        );
    }

    #[test]
    fn an_invalid_line_is_named() {
        let error = |text: &str| read(text, DEFAULTS).unwrap_err().to_string();
        assert_eq!(
            error("10.0.0.1\n10.0.0"),
            "line 2: `10.0.0` is not an address like 10.0.0.1:6400"
        );
        assert_eq!(
            error("todo.internal:80"),
            "line 1: `todo.internal:80` is not an address like 10.0.0.1:6400"
        );
        assert_eq!(
            error("10.0.0.1 weight=1000"),
            "line 1: `weight=1000` is not weight=0 to weight=999"
        );
        assert_eq!(
            error("10.0.0.1 10.0.0.2"),
            "line 1: `10.0.0.2` is not weight=0 to weight=999"
        );
        assert_eq!(
            error("10.0.0.1\n\n10.0.0.1:6400"),
            "line 3: 10.0.0.1:6400 is in line 1 already"
        );
        assert_eq!(
            error("0.0.0.0"),
            "line 1: nothing can be sent to 0.0.0.0:6400"
        );
        assert_eq!(
            error("unix:app.sock"),
            "line 1: `unix:app.sock`: the path of a Unix socket must be absolute"
        );
        assert_eq!(error("# empty\n"), "line 1: no target in the whole file");
        let no_port = Defaults {
            port: None,
            ..DEFAULTS
        };
        let error = read("10.0.0.1", no_port).unwrap_err().to_string();
        assert_eq!(
            error,
            "line 1: 10.0.0.1 has no port, and neither has its group"
        );
    }

    #[test]
    fn a_list_has_a_limited_length() {
        let lines: Vec<_> = (0..=MAX_TARGETS)
            .map(|n| format!("10.0.{}.{}", n / 250, n % 250 + 1))
            .collect();
        assert!(read(&lines[..MAX_TARGETS].join("\n"), DEFAULTS).is_ok());
        let error = read(&lines.join("\n"), DEFAULTS).unwrap_err();
        assert_eq!(error.line, MAX_TARGETS + 1);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(?s).*") {
            let _ = read(&text, DEFAULTS);
        }
    }
}
