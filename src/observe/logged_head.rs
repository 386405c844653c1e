//! What the access log writes of a request's head.

use std::cell::RefCell;
use std::fmt;
use std::mem;
use std::ops::Range;

use super::log::is_plain_text;

thread_local! {
    /// Memory of heads that were dropped.
    static FREE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Memory that is kept for the next heads of a thread; more is freed.
const MAX_FREE: usize = 64;

/// Bytes that such memory has; others are freed.
const KEPT_TEXT: usize = 128;

/// Method, target and host of a request, kept as one text while the access log may need them.
#[derive(Clone)]
pub struct LoggedHead {
    /// The three, without anything between them.
    text: Vec<u8>,
    /// Whether each of them can stand in a line as it is.
    pub(super) is_plain: bool,
    method_end: u32,
    path_end: u32,
    target_end: u32,
    has_host: bool,
}

impl LoggedHead {
    /// A copy of the parts of a head.
    pub fn new(method: &[u8], target: &[u8], host: Option<&[u8]>) -> Self {
        let path = memchr::memchr(b'?', target);
        let method_end = method.len() as u32;
        let mut text = free_memory();
        for part in [method, target, host.unwrap_or_default()] {
            text.extend_from_slice(part);
        }
        Self {
            is_plain: is_plain_text(&text),
            text,
            method_end,
            path_end: method_end + path.unwrap_or(target.len()) as u32,
            target_end: method_end + target.len() as u32,
            has_host: host.is_some(),
        }
    }

    /// As sent.
    pub fn method(&self) -> &[u8] {
        self.part(0..self.method_end)
    }

    /// The target without its query.
    pub fn path(&self) -> &[u8] {
        self.part(self.method_end..self.path_end)
    }

    /// What follows the question mark of the target.
    pub fn query(&self) -> Option<&[u8]> {
        (self.path_end < self.target_end).then(|| self.part(self.path_end + 1..self.target_end))
    }

    /// The host that was asked for, with its port.
    pub fn host(&self) -> Option<&[u8]> {
        self.has_host
            .then(|| self.part(self.target_end..self.text.len() as u32))
    }

    fn part(&self, range: Range<u32>) -> &[u8] {
        let range = range.start as usize..range.end as usize;
        self.text.get(range).unwrap_or_default()
    }
}

fn free_memory() -> Vec<u8> {
    FREE.with_borrow_mut(Vec::pop)
        .unwrap_or_else(|| Vec::with_capacity(KEPT_TEXT))
}

impl Drop for LoggedHead {
    fn drop(&mut self) {
        let mut text = mem::take(&mut self.text);
        if text.capacity() != KEPT_TEXT {
            return;
        }
        text.clear();
        // A thread that ends keeps nothing.
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            if free.len() < MAX_FREE {
                free.push(text);
            }
        });
    }
}

impl fmt::Debug for LoggedHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = String::from_utf8_lossy;
        f.debug_struct("LoggedHead")
            .field("method", &text(self.method()))
            .field("path", &text(self.path()))
            .field("query", &self.query().map(text))
            .field("host", &self.host().map(text))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_head_are_found_again() {
        let head = LoggedHead::new(b"GET", b"/a?b=c?d", Some(b"a.example:80"));
        assert_eq!((head.method(), head.path()), (&b"GET"[..], &b"/a"[..]));
        assert_eq!(head.query(), Some(&b"b=c?d"[..]));
        assert_eq!(head.host(), Some(&b"a.example:80"[..]));
        let head = LoggedHead::new(b"OPTIONS", b"*", None);
        assert_eq!((head.method(), head.path()), (&b"OPTIONS"[..], &b"*"[..]));
        assert_eq!((head.query(), head.host()), (None, None));
        let head = LoggedHead::new(b"GET", b"/?", Some(b""));
        assert_eq!((head.path(), head.query()), (&b"/"[..], Some(&b""[..])));
        assert_eq!(head.host(), Some(&b""[..]));
    }

    #[test]
    fn a_part_that_has_to_be_escaped_is_noticed() {
        let plain = |method: &[u8], target: &[u8], host: Option<&[u8]>| {
            LoggedHead::new(method, target, host).is_plain
        };
        assert!(plain(b"GET", b"/~a?b=%20", Some(b"a.example")));
        assert!(plain(b"GET", b"/", None));
        assert!(!plain(b"G\"T", b"/", None));
        assert!(!plain(b"GET", b"/\\", None));
        assert!(!plain(b"GET", b"/", Some(b"\x80")));
        assert!(!plain(b"GET", b"/?\x1b", None));
    }
}
