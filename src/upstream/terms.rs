//! What a group wants of the connections to its targets.

use crate::model::UpstreamLimits;
use crate::tls;

/// What a group wants of the connections to its targets. Some of it is settled when a connection
/// is made: a connection that was made in other terms gets no further exchange.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// The protocol and its limits.
    pub policy: &'a UpstreamLimits,
    /// How targets are spoken to in TLS.
    pub tls: Option<&'a tls::Client>,
}
