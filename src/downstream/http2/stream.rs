//! One stream: a request, from its head to the last byte of its response.

use std::rc::Rc;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{Request, request};

use super::exchange::Http2Exchange;
use super::request::read_head;
use super::socket::Socket;
use crate::clock;
use crate::downstream::accepted::Terms;
use crate::downstream::drain::DrainSignal;
use crate::http1::Limits;
use crate::message::RequestHead;
use crate::model::Failure;
use crate::net::{Input, Timer};
use crate::proxy::{Client, Proxy};
use crate::tunnel::Tunnel;

/// What the streams of a connection share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) client: Client,
    pub(super) proxy: Rc<Proxy>,
    pub(super) drain: Rc<DrainSignal>,
    pub(super) terms: Rc<Terms>,
    pub(super) parsing: Limits,
    pub(super) socket: Rc<Socket>,
}

/// How a stream has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The client has its response, or was told that there is none.
    Served,
    /// The client has given it up before.
    Abandoned,
}

/// Serves the request of a stream.
///
/// Cancel safety: dropping the future resets the stream, and abandons its request.
pub(super) async fn serve(
    shared: Rc<Shared>,
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
) -> Ended {
    clock::now();
    let (parts, body) = request.into_parts();
    let has_body = !body.is_end_stream();
    let limits = &shared.terms.limits;
    let mut exchange = Http2Exchange::new((body, respond), &shared.socket, shared.parsing, limits);
    if let Some(tunnel) = handle(&shared, &parts, has_body, &mut exchange).await {
        if let Some(end) = exchange.into_end() {
            let _guard = shared.drain.guard_tunnel();
            let closing = Box::pin(shared.drain.closed());
            // Boxed: most streams have none.
            Box::pin(tunnel.run(end, Input::default(), closing)).await;
        }
        return Ended::Served;
    }
    if exchange.is_abandoned() {
        Ended::Abandoned
    } else {
        Ended::Served
    }
}

async fn handle(
    shared: &Shared,
    parts: &request::Parts,
    has_body: bool,
    exchange: &mut Http2Exchange,
) -> Option<Box<Tunnel>> {
    let (proxy, client) = (&shared.proxy, &shared.client);
    let (mut text, mut head) = (Vec::new(), RequestHead::default());
    let read = read_head(parts, has_body, &shared.parsing, &mut text, &mut head);
    shared.socket.note_useful(text.len());
    match read {
        Ok(parsed) => {
            exchange.begin(&head, &parsed);
            drop(text);
            let mut timer = Timer::default();
            let handled = proxy.handle(client, &mut head, parsed.reason, exchange, &mut timer);
            handled.await
        }
        Err(reason) => {
            let failure = Failure::from(reason);
            proxy.refuse(client, failure, Some(reason), exchange).await;
            None
        }
    }
}
