//! One client's connection, from its first byte to its last.
//!
//! `http1` reads requests, hands each to the proxy and writes its response; after a switch of
//! protocols it runs the tunnel. Its connections end when their listener drains, or when they are
//! idle and new clients wait below the listener's limit, and close in a way that lets the last
//! response arrive. `tcp` has the proxy find a target for the whole connection and runs the tunnel
//! to it. What is forwarded, and to which target, is left to the proxy.

mod accepted;
mod drain;
mod http1;
mod linger;
mod tcp;

use std::rc::Rc;

use futures_util::future::Either;

use crate::model::Protocol;
use crate::proxy::Proxy;

pub use accepted::Accepted;
pub use drain::{Backlog, ConnectionGuard, DrainSignal};

/// Serves a connection in its listener's protocol until it ends.
///
/// Cancel safety: dropping the future closes the connection, and abandons what it waits for.
pub fn serve(
    accepted: Accepted,
    proxy: Rc<Proxy>,
    drain: Rc<DrainSignal>,
) -> impl Future<Output = ()> {
    match accepted.protocol {
        Protocol::Http1 => Either::Left(http1::serve(accepted, proxy, drain)),
        // Boxed, so that no future of another protocol has to have room for it.
        Protocol::Tcp => Either::Right(Box::pin(tcp::serve(Box::new(accepted), proxy, drain))),
    }
}
