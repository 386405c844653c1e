//! What is known about a message whose head is complete.

use super::{Class, Framing, Reason};

/// The facts of a head that decide what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// The bytes of the head, with empty lines before it.
    pub length: usize,
    /// Where the message ends.
    pub framing: Framing,
    /// The worst that is to be said about it; `None` if it is compliant.
    pub reason: Option<Reason>,
    /// Whether its sender can go on with the connection after this message and its answer
    /// (RFC 9112 section 9.3). Of an interim response it says nothing.
    pub keep_alive: bool,
    /// Whether the client waits for 100 before it sends the body (RFC 9110 section 10.1.1).
    pub expects_continue: bool,
    /// Whether it has Upgrade and names it in Connection (RFC 9110 section 7.8): a request asks for
    /// another protocol, a 101 agrees to one, another response offers one.
    pub upgrade: bool,
    /// How many fields were dropped for their names.
    pub dropped_fields: u32,
}

impl Parsed {
    /// How dangerous it is.
    pub fn class(&self) -> Class {
        self.reason.map_or(Class::Compliant, Reason::class)
    }
}
