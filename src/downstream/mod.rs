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
mod proxy_header;
mod tcp;

use std::rc::Rc;

use futures_util::future::Either;

use crate::model::{AcceptProxy, Protocol};
use crate::proxy::Proxy;

pub use accepted::{Accepted, Terms};
pub use drain::{Backlog, ConnectionGuard, DrainSignal};

/// Serves a connection in its listener's protocol until it ends, and drops `held` then.
///
/// Cancel safety: dropping the future closes the connection, and abandons what it waits for.
pub fn serve<H>(
    accepted: Accepted,
    proxy: Rc<Proxy>,
    drain: Rc<DrainSignal>,
    held: H,
) -> impl Future<Output = ()> {
    let terms = &accepted.terms;
    if terms.protocol == Protocol::Http1 && terms.proxy_protocol == AcceptProxy::Off {
        return Either::Left(http1::serve(accepted, proxy, drain, held));
    }
    // Boxed, so that the future of such a connection has no room for what others need.
    Either::Right(Box::pin(prepare(Box::new(accepted), proxy, drain, held)))
}

/// Serves a connection that begins with more than its first request, or carries none.
async fn prepare<H>(
    mut accepted: Box<Accepted>,
    proxy: Rc<Proxy>,
    drain: Rc<DrainSignal>,
    held: H,
) {
    if accepted.terms.proxy_protocol != AcceptProxy::Off
        && !Box::pin(proxy_header::receive(&mut accepted, &proxy)).await
    {
        accepted.stream.reset_on_close();
        return;
    }
    match accepted.terms.protocol {
        Protocol::Http1 => Box::pin(http1::serve(*accepted, proxy, drain, held)).await,
        Protocol::Tcp => Box::pin(tcp::serve(accepted, proxy, drain, held)).await,
    }
}
