//! The Connection field, and whether a connection persists (RFC 9112 section 9.3).

use crate::message::{FieldName, Fields, Version, is_same_name, list};

/// What the options of a Connection field say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    close: bool,
    keep_alive: bool,
    pub(super) upgrade: bool,
}

impl Options {
    pub(super) fn of(fields: &Fields) -> Self {
        let mut options = Self::default();
        for value in fields.get_all(FieldName::Connection) {
            // Nearly always one option.
            if !options.add(value) {
                list(value).for_each(|option| {
                    options.add(option);
                });
            }
        }
        options
    }

    /// Takes an option, if it is one that is known.
    fn add(&mut self, option: &[u8]) -> bool {
        let known = match option.len() {
            5 => (&b"close"[..], &mut self.close),
            7 => (&b"upgrade"[..], &mut self.upgrade),
            10 => (&b"keep-alive"[..], &mut self.keep_alive),
            _ => return false,
        };
        let is_known = is_same_name(option, known.0);
        *known.1 |= is_known;
        is_known
    }

    /// HTTP/1.1 persists unless it says close, HTTP/1.0 closes unless it says keep-alive.
    pub(super) fn keeps_alive(self, version: Version) -> bool {
        match version {
            Version::Http11 => !self.close,
            Version::Http10 => self.keep_alive && !self.close,
        }
    }
}
