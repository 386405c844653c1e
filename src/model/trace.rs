//! Which trace a request belongs to.

use super::access_log::Share;

/// What targets are told about the trace of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceContext {
    /// Whose `traceparent` is continued.
    pub traceparent: Traceparent,
    /// Whether they get `X-Amzn-Trace-Id` as ALB writes it.
    pub amazon: bool,
    /// The share of the traces begun here that is exported; `None` if no span is. A trace that goes
    /// on is exported as its client says.
    pub exported: Option<Share>,
}

/// Whose `traceparent` is continued; that of others is replaced by a new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Traceparent {
    /// The field passes as it is.
    #[default]
    Off,
    /// That of trusted proxies.
    Trusted,
    /// That of any client.
    Any,
}

impl TraceContext {
    /// Whether they are told anything.
    pub fn is_on(self) -> bool {
        self.amazon || self.traceparent != Traceparent::Off
    }
}
