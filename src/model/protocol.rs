//! What the connections of a listener or of a target group carry.

/// The protocol of a listener or of a target group. A listener forwards only to groups of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// HTTP/1.1: requests are read, routed and answered one by one.
    #[default]
    Http1,
    /// Bytes, at which nothing looks: each connection of a client gets one to a target (L4).
    Tcp,
}

impl Protocol {
    /// Its word in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Tcp => "tcp",
        }
    }
}
