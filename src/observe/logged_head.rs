//! What the access log writes of a request's head.

use std::cell::RefCell;
use std::fmt;
use std::mem;
use std::ops::Range;

use super::log::is_plain_text;
use crate::model::Protocol;

thread_local! {
    /// Memory of heads that were dropped.
    static FREE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Memory that is kept for the next heads of a thread; more is freed.
const MAX_FREE: usize = 64;

/// Bytes that such memory has at first, and at most; what has grown larger is freed.
const KEPT_TEXT: usize = 128;
const MAX_KEPT_TEXT: usize = 1024;

/// Method, target and host of a request, kept as one text while the access log may need them; where
/// it is asked for, the user agent and the referring page as well.
#[allow(clippy::struct_excessive_bools, reason = "independent facts")]
#[derive(Clone)]
pub struct LoggedHead {
    /// All of them, without anything between them.
    text: Vec<u8>,
    /// Whether each of them can stand in a line as it is.
    pub(super) is_plain: bool,
    method_end: u32,
    path_end: u32,
    target_end: u32,
    host_end: u32,
    agent_end: u32,
    has_host: bool,
    is_http10: bool,
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
        let end = text.len() as u32;
        Self {
            is_plain: is_plain_text(&text),
            text,
            host_end: end,
            agent_end: end,
            is_http10: false,
            method_end,
            path_end: method_end + path.unwrap_or(target.len()) as u32,
            target_end: method_end + target.len() as u32,
            has_host: host.is_some(),
        }
    }

    /// Adds what a client says of itself, and which page has led to the request.
    pub fn add_agent(&mut self, agent: Option<&[u8]>, referer: Option<&[u8]>) {
        self.text.extend_from_slice(agent.unwrap_or_default());
        self.agent_end = self.text.len() as u32;
        self.text.extend_from_slice(referer.unwrap_or_default());
        let added = self.text.get(self.host_end as usize..);
        self.is_plain &= is_plain_text(added.unwrap_or_default());
    }

    /// Notes that the request came with the version 1.0.
    pub fn is_old(&mut self) {
        self.is_http10 = true;
    }

    /// The version that the first line of the request has, or would have.
    pub fn version(&self, protocol: Protocol) -> &'static str {
        match protocol {
            Protocol::Http2 => "HTTP/2.0",
            Protocol::Http1 | Protocol::Tcp if self.is_http10 => "HTTP/1.0",
            Protocol::Http1 | Protocol::Tcp => "HTTP/1.1",
        }
    }

    /// As sent.
    pub fn method(&self) -> &[u8] {
        self.part(0..self.method_end)
    }

    /// The target with its query.
    pub fn target(&self) -> &[u8] {
        self.part(self.method_end..self.target_end)
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
            .then(|| self.part(self.target_end..self.host_end))
    }

    /// What the client says of itself, where that is kept and not empty.
    pub fn agent(&self) -> Option<&[u8]> {
        let agent = self.part(self.host_end..self.agent_end);
        (!agent.is_empty()).then_some(agent)
    }

    /// The page that has led to the request, where that is kept and not empty.
    pub fn referer(&self) -> Option<&[u8]> {
        let referer = self.part(self.agent_end..self.text.len() as u32);
        (!referer.is_empty()).then_some(referer)
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
        if !(KEPT_TEXT..=MAX_KEPT_TEXT).contains(&text.capacity()) {
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
    fn what_the_client_says_of_itself_is_kept_where_it_is_asked_for() {
        let mut head = LoggedHead::new(b"GET", b"/?a", Some(b"a.example"));
        assert_eq!((head.agent(), head.referer()), (None, None));
        head.add_agent(Some(b"curl/8"), None);
        assert_eq!(head.host(), Some(&b"a.example"[..]));
        assert_eq!((head.agent(), head.referer()), (Some(&b"curl/8"[..]), None));
        assert!(head.is_plain);
        let mut head = LoggedHead::new(b"GET", b"/", None);
        head.add_agent(None, Some(b"\""));
        assert_eq!((head.agent(), head.referer()), (None, Some(&b"\""[..])));
        assert!(!head.is_plain);
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
