//! One client's connection, from its first byte to its last.
//!
//! `http1` reads requests, hands each to the proxy and writes its response; after a switch of
//! protocols it runs the tunnel. Its connections end when their listener drains, or when they are
//! idle and new clients wait below the listener's limit, and close in a way that lets the last
//! response arrive. `tcp` has the proxy find a target for the whole connection and runs the tunnel
//! to it; `server_name` finds the host that it is for, if rules ask for that. `tls` makes the
//! handshake before either, if the listener has `tls`. What is forwarded, and to which target, is
//! left to the proxy.

mod accepted;
mod drain;
mod ends;
mod http1;
mod http2;
mod linger;
mod proxy_header;
mod server_name;
mod tcp;
mod tls;

use std::rc::Rc;

use futures_util::future::{Either, LocalBoxFuture};

use crate::model::{AcceptProxy, Protocol};
use crate::net::Input;
use crate::proxy::Proxy;

pub use accepted::{Accepted, Terms};
pub use drain::{Backlog, ConnectionGuard, DrainSignal};
pub use ends::note_end;

/// Serves a connection in its listener's protocol until it ends, and drops `held` then.
///
/// Cancel safety: dropping the future closes the connection, and abandons what it waits for.
pub fn serve<H: 'static>(
    accepted: Accepted,
    proxy: Rc<Proxy>,
    drain: Rc<DrainSignal>,
    held: H,
) -> impl Future<Output = ()> {
    let terms = &accepted.terms;
    if terms.protocol == Protocol::Http1
        && terms.tls.is_none()
        && terms.proxy_protocol == AcceptProxy::Off
    {
        return Either::Left(http1::serve(accepted, proxy, drain, held));
    }
    // Boxed, so that the future of a plain connection does not have to have room for it.
    Either::Right(serve_boxed(Box::new(accepted), proxy, drain, held))
}

/// Serves a connection that begins with a header or a handshake, or is of another protocol than
/// HTTP/1.1.
fn serve_boxed<H: 'static>(
    mut accepted: Box<Accepted>,
    proxy: Rc<Proxy>,
    drain: Rc<DrainSignal>,
    held: H,
) -> LocalBoxFuture<'static, ()> {
    Box::pin(async move {
        if accepted.terms.proxy_protocol != AcceptProxy::Off
            && !Box::pin(proxy_header::receive(&mut accepted, &proxy)).await
        {
            accepted.stream.reset_on_close();
            return;
        }
        let Some(accepted) = Box::pin(tls::accept(accepted, &proxy, &drain)).await else {
            return;
        };
        // Boxed, because an idle connection of HTTP/1.1 would be as large as the others.
        let served: LocalBoxFuture<'_, ()> = match accepted.terms.protocol {
            Protocol::Http1 | Protocol::Http2 if has_chosen_http2(&accepted) => {
                let early = Input::default();
                Box::pin(http2::serve(*accepted, early, proxy, drain, held))
            }
            Protocol::Http1 | Protocol::Http2 => {
                Box::pin(http1::serve(*accepted, proxy, drain, held))
            }
            Protocol::Tcp => Box::pin(tcp::serve(accepted, proxy, drain, held)),
        };
        served.await;
    })
}

/// Whether the client has chosen HTTP/2 within TLS (RFC 9113 section 3.2).
fn has_chosen_http2(accepted: &Accepted) -> bool {
    let chosen = accepted.stream.tls().and_then(|tls| tls.alpn.as_deref());
    chosen == Some(b"h2")
}
