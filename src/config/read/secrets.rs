//! `cookie_key` and the tokens of the admin listener and of webhooks: in the file, in a variable,
//! or in a file of their own.

use std::io;
use std::path::Path;

use crate::config::keys::Kind;
use crate::config::node::Node;
use crate::config::problem::Code;
use crate::config::section::Section;
use crate::config::types::{CookieKey, Token};

/// How to make a key of 32 bytes.
const MAKE: &str = "make one with `openssl rand -hex 32`";

/// Longest file of a secret, bytes.
const MAX_FILE: usize = 4 * 1024;

/// A secret and where it comes from.
struct Given<'a> {
    text: String,
    /// The key that holds it or names its file.
    node: Node<'a>,
    /// Its name in messages, which never show its value.
    what: String,
}

/// The key that session cookies are sealed with. Returns `None` if there is none or it is wrong.
pub(super) fn cookie_key(root: &Section<'_>) -> Option<CookieKey> {
    let given = given(root, "cookie_key", "cookie_key_file")?;
    let text = &given.text;
    let read = match text.len() {
        64 => hex(text),
        44 => base64(text),
        _ => {
            let message = format!(
                "{} is {} characters long; 32 bytes are 64 hex digits, or 44 characters of base64",
                given.what,
                text.chars().count()
            );
            return given.node.refuse(Code::InvalidValue, message, MAKE);
        }
    };
    if read.is_none() {
        let kind = match text.len() {
            64 => "64 characters long, but not all of them are hex digits",
            _ => "44 characters long, but not the base64 of 32 bytes",
        };
        let message = format!("{} is {kind}", given.what);
        given.node.error(Code::InvalidValue, message, MAKE);
    }
    read.map(CookieKey)
}

/// The bearer token of the admin listener. Returns `None` if there is none or it is wrong.
pub(super) fn token(admin: &Section<'_>) -> Option<Token> {
    bearer(admin, MAKE)
}

/// The bearer token that another service asks for.
pub(super) fn other_token(section: &Section<'_>) -> Option<Token> {
    bearer(section, "write the token that the webhook asks for")
}

/// The token that a collector of spans asks for.
pub(super) fn collector_token(section: &Section<'_>) -> Option<Token> {
    bearer(section, "write the token that the collector asks for")
}

/// The key of an account at a certificate authority, and where it is written.
pub(super) fn external_account_key<'a>(eab: &Section<'a>) -> Option<(String, Node<'a>)> {
    let way_out = "write the key that the authority has given, or the file that holds it";
    if eab.get("hmac_key_file").is_none() {
        eab.require("hmac_key", way_out)?;
    }
    let given = given(eab, "hmac_key", "hmac_key_file")?;
    Some((given.text, given.node))
}

fn bearer(section: &Section<'_>, way_out: &str) -> Option<Token> {
    let given = given(section, "token", "token_file")?;
    let length = given.text.chars().count();
    if let Some(Kind::Secret(lengths)) = section.spec("token").map(|key| &key.kind)
        && !lengths.contains(&length)
    {
        let (low, high) = (lengths.start(), lengths.end());
        let message = format!(
            "{} is {length} characters long; it must be {low} to {high}",
            given.what
        );
        return given.node.refuse(Code::InvalidValue, message, way_out);
    }
    if !given.text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let message = format!(
            "{} holds a space or another character that is not visible ASCII",
            given.what
        );
        let help = format!("no client could send it in a header; {way_out}");
        return given.node.refuse(Code::InvalidValue, message, help);
    }
    Some(Token(given.text))
}

/// The secret under `key`, or in the file that `file_key` names.
fn given<'a>(section: &Section<'a>, key: &str, file_key: &str) -> Option<Given<'a>> {
    let Some(node) = section.get(file_key) else {
        let node = section.get(key)?;
        return Some(Given {
            text: node.secret()?,
            what: format!("`{key}`"),
            node,
        });
    };
    if section.get(key).is_some() {
        let message = format!("`{key}` and `{file_key}` exclude each other");
        let help = "there is one secret; take the other out";
        return node.refuse(Code::Conflict, message, help);
    }
    let path = node.text()?;
    match read_text(&node, Path::new(&path)) {
        Ok(text) => Some(Given {
            // Files that editors and `openssl` write end with a line end.
            text: text.trim_end_matches(['\r', '\n']).to_owned(),
            what: format!("what `{path}` holds"),
            node,
        }),
        Err(error) => {
            let message = format!("cannot read `{path}`: {error}");
            let help = "the file holds nothing but the secret, and Weir must be allowed to read it";
            node.refuse(Code::Unreadable, message, help)
        }
    }
}

fn read_text(node: &Node<'_>, path: &Path) -> io::Result<String> {
    let bytes = (node.cx.around.files)(path)?;
    if bytes.len() > MAX_FILE {
        return Err(io::Error::other("it is longer than 4 KiB"));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::other("it is not text"))
}

fn hex(text: &str) -> Option<[u8; 32]> {
    let mut key = [0; 32];
    for (byte, pair) in key.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        *byte = (digit(0)? << 4 | digit(1)?) as u8;
    }
    Some(key)
}

/// RFC 4648 section 4 or 5: 43 characters and the `=` that makes them 44.
fn base64(text: &str) -> Option<[u8; 32]> {
    let mut key = [0; 32];
    let mut filled = 0;
    let (mut bits, mut count) = (0_u32, 0);
    for c in text.strip_suffix('=')?.bytes() {
        let value = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            *key.get_mut(filled)? = (bits >> count) as u8;
            filled += 1;
        }
    }
    // The last character has two bits to spare, which are zero unless the text was damaged.
    (filled == key.len() && bits.trailing_zeros() >= 2).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_same_in_hex_and_in_both_alphabets_of_base64() {
        let key: [u8; 32] = std::array::from_fn(|n| 255 - n as u8 * 5);
        let digits = "fffaf5f0ebe6e1dcd7d2cdc8c3beb9b4afaaa5a09b96918c87827d78736e6964";
        assert_eq!(hex(digits), Some(key));
        assert_eq!(hex(&digits.to_uppercase()), Some(key));
        // Printed by coreutils' base64.
        let text = "//r18Ovm4dzX0s3Iw765tK+qpaCblpGMh4J9eHNuaWQ=";
        assert_eq!(base64(text), Some(key));
        assert_eq!(base64(&text.replace('/', "_").replace('+', "-")), Some(key));
    }

    #[test]
    fn what_is_no_key_is_none() {
        assert_eq!(hex(&"0g".repeat(32)), None);
        assert_eq!(base64(&"A".repeat(44)), None, "33 bytes");
        assert_eq!(base64(&format!("{}==", "A".repeat(42))), None, "31 bytes");
        assert_eq!(base64(&format!("{}B=", "A".repeat(42))), None, "spare bits");
        assert_eq!(base64(&format!("{} =", "A".repeat(42))), None);
    }
}
