//! What the access log writes of a request's head.

use std::fmt;

/// Method, target and host of a request, kept as one text while the access log may need them.
#[derive(Clone)]
pub struct RequestHead {
    /// The three, without anything between them.
    text: Box<str>,
    target_at: u32,
    /// `None` for a request without a host.
    host_at: Option<u32>,
}

impl RequestHead {
    /// A copy of the parts of a head. What is not UTF-8, which no head of a request allows, is
    /// replaced.
    pub fn new(method: &[u8], target: &[u8], host: Option<&[u8]>) -> Self {
        let length = method.len() + target.len() + host.map_or(0, <[u8]>::len);
        let mut text = String::with_capacity(length);
        text.push_str(&String::from_utf8_lossy(method));
        let target_at = text.len() as u32;
        text.push_str(&String::from_utf8_lossy(target));
        let host_at = host.map(|host| {
            let host_at = text.len() as u32;
            text.push_str(&String::from_utf8_lossy(host));
            host_at
        });
        Self {
            text: text.into(),
            target_at,
            host_at,
        }
    }

    /// As sent.
    pub fn method(&self) -> &str {
        self.part(0, self.target_at)
    }

    /// The target without its query.
    pub fn path(&self) -> &str {
        let target = self.target();
        target.split_once('?').map_or(target, |(path, _)| path)
    }

    /// What follows the question mark of the target.
    pub fn query(&self) -> Option<&str> {
        Some(self.target().split_once('?')?.1)
    }

    /// The host that was asked for, with its port.
    pub fn host(&self) -> Option<&str> {
        Some(self.part(self.host_at?, self.text.len() as u32))
    }

    fn target(&self) -> &str {
        let end = self.host_at.unwrap_or(self.text.len() as u32);
        self.part(self.target_at, end)
    }

    fn part(&self, start: u32, end: u32) -> &str {
        let range = start as usize..end as usize;
        self.text.get(range).unwrap_or_default()
    }
}

impl fmt::Debug for RequestHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestHead")
            .field("method", &self.method())
            .field("target", &self.target())
            .field("host", &self.host())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_head_are_found_again() {
        let head = RequestHead::new(b"GET", b"/a?b=c?d", Some(b"a.example:80"));
        assert_eq!((head.method(), head.path()), ("GET", "/a"));
        assert_eq!(head.query(), Some("b=c?d"));
        assert_eq!(head.host(), Some("a.example:80"));
        let head = RequestHead::new(b"OPTIONS", b"*", None);
        assert_eq!((head.method(), head.path()), ("OPTIONS", "*"));
        assert_eq!((head.query(), head.host()), (None, None));
        let head = RequestHead::new(b"GET", b"/?", Some(b""));
        assert_eq!(
            (head.path(), head.query(), head.host()),
            ("/", Some(""), Some(""))
        );
    }
}
