//! The path of a request from its head to its response, and that of a TCP connection to its target.
//!
//! [`Proxy::handle`] never fails: every error becomes a response and a record. In the order in
//! which a request meets them:
//!
//! - `routing` checks it, removes what is not to be believed (`trust`, `forwarded`, `hops`) and
//!   finds its action; `respond` makes Weir's own responses;
//! - `answer` prepares it for its group (`sticky`, `key`, `filters`) and makes the target's head
//!   the client's;
//! - `forward` tries targets until one has answered (`search`, `queue`, `retry`), and `attempt`
//!   sends it to one of them, with its body in `replay_body`;
//! - `download` passes the response on; `grpc` knows what a call of gRPC says in it.
//!
//! [`preview()`] says what would become of a request by the same steps.
//!
//! [`Proxy::connect`] (`tcp`) is the path of a connection that carries no HTTP.

mod answer;
mod attempt;
mod client;
mod cookie;
mod date;
mod deadline;
mod download;
mod error;
mod filters;
mod forward;
mod forwarded;
mod forwarded_list;
mod grpc;
mod hops;
mod ids;
mod key;
mod preference;
mod presence;
mod preview;
mod queue;
mod replay_body;
mod reported;
mod respond;
mod retry;
mod routing;
mod search;
mod shortage;
mod sticky;
mod tcp;
mod trace_context;
mod trust;
mod upgrade;
mod worker;

use std::future::poll_fn;

use crate::http1::Reason;
use crate::message::{Exchange, RequestHead};
use crate::model::{AccessFormat, Failure};
use crate::net::Timer;
use crate::observe::Record;
use crate::target::RequestResult;
use crate::tunnel::Tunnel;

use answer::{Answer, Switched};
use respond::OwnResponse;
use routing::{Route, desync};

pub use client::Client;
pub use presence::Presence;
pub use preview::{
    ANY_TARGET, Forwarded, GroupOption, KeyFound, Outcome, Preview, Supposed, preview,
};
pub use tcp::Arrival;
pub use worker::Proxy;

impl Proxy {
    /// Answers a request, whose head becomes what its target gets. `reason` is the worst fault of
    /// the head, which was read at the time of [`clock::last`](crate::clock::last). Returns the
    /// tunnel if both sides have switched to another protocol; then the client has the 101.
    ///
    /// Cancel safety: dropping the future abandons the request, ends its lease and records that
    /// the client left.
    pub async fn handle<E: Exchange>(
        &self,
        client: &Client,
        head: &mut RequestHead,
        reason: Option<Reason>,
        exchange: &mut E,
        timer: &mut Timer,
    ) -> Option<Box<Tunnel>> {
        let mut record;
        let routed = {
            let snapshot = self.reader.load();
            record = self.begin(&snapshot, client);
            self.receive(&snapshot, client, head, reason, exchange, &mut record)
        };
        let failure = match routed {
            Err(failure) => failure,
            Ok((Route::Respond(response), _)) => {
                if record.policy().format == Some(AccessFormat::Alb) {
                    record.location = response.location().map(Into::into);
                }
                self.respond(*response, exchange, record).await;
                return None;
            }
            Ok((Route::Forward(group, cookie), routed)) => {
                let mut answer = Answer {
                    proxy: self,
                    client,
                    group: &group,
                    group_cookie: cookie.as_deref(),
                    until: None,
                    routed: &routed,
                    exchange: &mut *exchange,
                    record: &mut record,
                    timer,
                };
                match answer.run(head).await {
                    Ok(Some(switched)) => return self.switch(switched, exchange, record).await,
                    Ok(None) => return None,
                    Err(failure) => failure,
                }
            }
        };
        let is_grpc = grpc::is_spoken(&head.fields);
        self.fail(failure, is_grpc, exchange, record).await;
        None
    }

    /// Answers a head that could not be read, because of `failure`. `reason` is its fault; `None`
    /// if it did not come in time.
    pub async fn refuse<E: Exchange>(
        &self,
        client: &Client,
        failure: Failure,
        reason: Option<Reason>,
        exchange: &mut E,
    ) {
        let mut record = self.begin(&self.reader.load(), client);
        record.desync = reason.and_then(desync);
        self.fail(failure, false, exchange, record).await;
    }

    async fn respond(&self, response: OwnResponse, exchange: &mut impl Exchange, record: Record) {
        let mut record = record;
        if let Err(failure) = response.send(exchange, &self.date, &mut record).await {
            record.failure = Some(failure);
        }
    }

    async fn fail(
        &self,
        failure: Failure,
        is_grpc: bool,
        exchange: &mut impl Exchange,
        record: Record,
    ) {
        let mut record = record;
        if failure == Failure::ClientGone {
            record.failure = Some(failure);
            exchange.abort();
            return;
        }
        if failure.ends_connection() {
            exchange.close_after();
        }
        let response = if is_grpc {
            respond::grpc_failure(failure, &mut record)
        } else {
            respond::failure(failure, &mut record)
        };
        // The failure stands, whether the client hears of it or not.
        let _ = response.send(exchange, &self.date, &mut record).await;
    }

    /// Turns a response with 101 into a tunnel, once the client has its head.
    async fn switch(
        &self,
        mut switched: Switched,
        exchange: &mut impl Exchange,
        mut record: Record,
    ) -> Option<Box<Tunnel>> {
        if let Err(failure) = poll_fn(|cx| exchange.poll_flush(cx)).await {
            record.failure = Some(failure);
            return None;
        }
        let Some(target) = upgrade::target_end(switched.connection) else {
            record.failure = Some(Failure::MalformedResponse);
            return None;
        };
        // Now and not at the end: how a tunnel ends says nothing about the target.
        switched.lease.settle(RequestResult::Served);
        Some(Box::new(Tunnel::new(
            target,
            switched.lease,
            record,
            switched.idle,
            switched.is_websocket,
        )))
    }
}
