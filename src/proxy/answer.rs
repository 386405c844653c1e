//! Forwards a request to its group and passes the response on: what is said to the target about the
//! client, what is said to the client, and which session they get.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use super::attempt::UpstreamResponse;
use super::client::Client;
use super::deadline::Deadline;
use super::download::{Download, Reading};
use super::filters::{self, RequestFacts};
use super::forward::{Forwarding, Outgoing, answered_status, verdict};
use super::grpc;
use super::hops;
use super::key;
use super::preference::Preference;
use super::replay_body::ReplayBody;
use super::reported::Reported;
use super::routing::{Routed, forwarded_policy, sticky_context};
use super::sticky::StickyRequest;
use super::trace_context;
use super::upgrade::Upgrade;
use super::worker::Proxy;
use crate::message::{BodyLength, Exchange, FieldName, RequestHead, ResponseHead};
use crate::model::{Blame, Failure, Filters, Protocol, TargetProtocol};
use crate::net::{Pace, Timer, proxy_protocol};
use crate::observe::{ExchangeFacts, Record, RequestId};
use crate::state::CompiledListener;
use crate::target::{Lease, RequestResult};
use crate::target_group::TargetGroup;
use crate::upstream::Connection;

/// A target that has switched to another protocol.
pub(super) struct Switched {
    pub(super) connection: Connection,
    pub(super) lease: Lease,
    /// Longest time without a byte in either direction.
    pub(super) idle: Duration,
    pub(super) is_websocket: bool,
}

/// A request that is forwarded to a group, until the client has its response.
pub(super) struct Answer<'a, E> {
    pub(super) proxy: &'a Proxy,
    pub(super) client: &'a Client,
    pub(super) group: &'a TargetGroup,
    /// A `Set-Cookie` value that keeps the client with the group; `None` if it needs none.
    pub(super) group_cookie: Option<&'a str>,
    pub(super) routed: &'a Routed,
    pub(super) exchange: &'a mut E,
    pub(super) record: &'a mut Record,
    pub(super) timer: &'a mut Timer,
    /// The deadline of the whole request, once it is known.
    pub(super) until: Option<Deadline>,
}

impl<'a, E: Exchange> Answer<'a, E> {
    /// Forwards the request, and returns when the client has its response or has lost it. Returns
    /// the target's connection if it has switched to another protocol. An error is to be answered:
    /// no byte of a response was sent.
    pub(super) async fn run(
        &mut self,
        head: &mut RequestHead,
    ) -> Result<Option<Switched>, Failure> {
        self.record.group = Some(self.group.id.clone());
        self.group.admit()?;
        self.until = Deadline::of(self.group, self.record, head);
        if self.group.failing_open {
            self.proxy.metrics.failed_open();
        }
        let (sticky, mut upload) = (self.sticky(head), self.upload()?);
        let preference = Preference {
            session: sticky.as_ref().and_then(StickyRequest::target),
            key: self.key(head, &mut upload).await?,
        };
        let mut response = self.proxy.take_head();
        let answered = self.forward(head, preference, &mut upload, &mut response);
        let answered = answered.await?;
        let upgrade = self.rewrite_response(&mut response, sticky);
        let passed = self.pass(answered, &response, upgrade, &mut upload).await;
        self.proxy.keep_head(response);
        passed
    }

    fn sticky(&self, head: &RequestHead) -> Option<StickyRequest<'a>> {
        let sessions = self.group.sticky.as_ref()?;
        let (listener, trusted) = (&self.routed.listener, self.routed.trusted);
        let context = sticky_context(self.client, listener, head, trusted);
        Some(StickyRequest::new(sessions, context))
    }

    fn upload(&self) -> Result<ReplayBody, Failure> {
        let limit = self.routed.listener.client.max_body;
        if let BodyLength::Exact(length) = self.exchange.body_length() {
            key::check_length(Some(length), limit)?;
        }
        let distrusts = (!self.routed.trusted).then(|| Arc::clone(&self.routed.listener));
        Ok(ReplayBody::new(self.exchange, limit, distrusts))
    }

    async fn key(
        &mut self,
        head: &RequestHead,
        upload: &mut ReplayBody,
    ) -> Result<Option<u64>, Failure> {
        let client = self.record.client;
        let key = key::find(self.group, head, client, upload, self.exchange).await;
        self.record.received = upload.received();
        key
    }

    async fn forward(
        &mut self,
        head: &mut RequestHead,
        preference: Preference,
        upload: &mut ReplayBody,
        response: &mut ResponseHead,
    ) -> Result<UpstreamResponse, Failure> {
        let id = self.record.request_id.as_ref();
        describe(&self.routed.listener, self.client, id, head);
        self.trace(head);
        let routed = self.routed;
        let proxy_header = self.proxy_header();
        let outgoing = Outgoing {
            exchange: &mut *self.exchange,
            upload: &mut *upload,
            te_trailers: routed.hop.te_trailers,
            upgrade: routed.hop.upgrade.as_ref(),
            filters: filter_request(routed.filters.as_deref(), head),
            head,
            closes: routed.closes || proxy_header.is_some(),
            proxy_header,
            until: self.until,
            preference,
            response,
            timer: &mut *self.timer,
        };
        let mut forwarding = Forwarding::new(self.proxy, self.group, outgoing, self.record);
        let answered = forwarding.run().await;
        self.record.received = upload.received();
        answered
    }

    /// What tells a target of the client before the request; `None` if nothing is to.
    fn proxy_header(&self) -> Option<Vec<u8>> {
        let version = self.group.upstream.proxy_protocol?;
        let id = self.record.request_id.as_ref().map(RequestId::as_bytes);
        let addresses = self.client.peer.addresses(self.client.local);
        Some(proxy_protocol::encode(version, addresses, id))
    }

    /// Adds to a request which trace it belongs to, if its target is to know.
    fn trace(&mut self, head: &mut RequestHead) {
        let settings = self.routed.listener.tracing;
        if settings.is_on() {
            let random = || self.proxy.entropy.next();
            let is_trusted = self.routed.trusted;
            let trace = trace_context::describe(settings, is_trusted, &mut head.fields, random);
            self.record.trace = Some(Box::new(trace));
        }
    }

    /// Makes the head of the target's response what the client gets. Returns the protocols that
    /// the target has switched to.
    fn rewrite_response(
        &self,
        response: &mut ResponseHead,
        sticky: Option<StickyRequest<'_>>,
    ) -> Option<Upgrade> {
        let upgrade = hops::strip_response(response);
        let version = response.version();
        let fields = &mut response.fields;
        if !fields.contains(FieldName::Date) {
            // RFC 9110 section 6.6.1 demands it of what forwards a response without.
            let date = |date: &str| fields.add(FieldName::Date, date.as_bytes());
            self.proxy.date.with(SystemTime::now(), date);
        }
        if let Some(id) = &self.record.request_id {
            fields.put(FieldName::XRequestId, id.as_bytes());
        }
        if let Some(name) = &self.routed.listener.http.via {
            let version = hops::via_version(Protocol::Http1, version);
            hops::add_via(fields, version, name);
        }
        let target = self.record.target.as_ref();
        let session = sticky.zip(target);
        let session = session.and_then(|(sticky, target)| sticky.finish(target, fields));
        for cookie in session.as_deref().into_iter().chain(self.group_cookie) {
            fields.add(FieldName::SetCookie, cookie.as_bytes());
        }
        if let (Some((filters, facts)), Some(target)) = (self.routed.filters.as_deref(), target) {
            filters::apply_to_response(filters, response, facts, &target.address);
        }
        upgrade
    }

    async fn pass(
        &mut self,
        answered: UpstreamResponse,
        response: &ResponseHead,
        upgrade: Option<Upgrade>,
        upload: &mut ReplayBody,
    ) -> Result<Option<Switched>, Failure> {
        let UpstreamResponse { connection, lease } = answered;
        self.record.status = Some(response.status());
        self.record.target_status = self.record.status;
        if let Some(upgrade) = upgrade.filter(|_| response.status() == 101) {
            self.exchange.send_switch(response, upgrade.as_bytes());
            return Ok(Some(Switched {
                connection,
                lease,
                idle: self.group.upstream.tunnel_timeout,
                is_websocket: upgrade.is_websocket(),
            }));
        }
        let length = connection.length();
        self.exchange.send_head(response, length);
        let is_grpc = self.group.upstream.protocol == TargetProtocol::Grpc;
        if is_grpc {
            self.record.grpc_status = grpc::status(&response.fields);
        }
        let limits = &self.group.upstream;
        let facts: &mut ExchangeFacts = self.record;
        let mut download = Download {
            exchange: &mut *self.exchange,
            upload: &mut *upload,
            connection: Some(connection),
            reported: Some(Reported::new(
                lease,
                verdict(answered_status(self.group, response)),
            )),
            grpc_status: is_grpc.then_some(&mut facts.grpc_status),
            pace: Pace::new(limits.body_timeout, limits.body_min_rate),
            until: self.until,
            sent: &mut facts.sent,
            is_refusal: response.status() >= 300,
            is_upload_over: false,
            is_blocked_by_client: false,
            clock: Reading::Fresh,
        };
        let passed = download.run(self.timer).await;
        // One that is dropped here reports the status that the target has answered with.
        let is_blocked_by_client = download.is_blocked_by_client;
        let reported = download.reported.take().filter(|_| !is_blocked_by_client);
        self.record.received = upload.received();
        match passed {
            Ok(()) => self.record.complete = true,
            Err(failure) => {
                let is_call = grpc::is_spoken(&response.fields) && length == BodyLength::Unknown;
                self.break_off(failure, reported, is_call).await?;
            }
        }
        Ok(None)
    }

    /// Ends a response that broke off; `is_call` says that it may end with a status of gRPC. Returns
    /// the failure, which is to be answered, if no byte of the response was sent.
    async fn break_off(
        &mut self,
        failure: Failure,
        reported: Option<Reported>,
        is_call: bool,
    ) -> Result<(), Failure> {
        if let Some(mut reported) = reported.filter(|_| failure.blame() == Blame::Target) {
            reported.set(RequestResult::GatewayError);
        }
        if self.exchange.retract() {
            self.record.sent = 0;
            return Err(failure);
        }
        self.record.failure = Some(failure);
        if !(is_call && failure.is_out_of_time() && self.end_call(failure).await) {
            self.exchange.abort();
        }
        Ok(())
    }

    /// Ends a call whose head was sent with a status in its trailers. Returns whether the client gets
    /// them: one that does not take what was sent before is not waited for.
    async fn end_call(&mut self, failure: Failure) -> bool {
        let (trailers, status) = grpc::failed(failure, failure.explanation());
        self.exchange.end(Some(&trailers));
        let flushed = poll_fn(|cx| Poll::Ready(self.exchange.poll_flush(cx))).await;
        let is_sent = matches!(flushed, Poll::Ready(Ok(())));
        if is_sent {
            self.record.grpc_status = Some(status);
        }
        is_sent
    }
}

/// Adds to a request what its target is told about the client.
pub(super) fn describe(
    listener: &CompiledListener,
    client: &Client,
    id: Option<&RequestId>,
    head: &mut RequestHead,
) {
    forwarded_policy(listener).describe(head, &client.facts);
    if let Some(name) = &listener.http.via {
        let version = hops::via_version(client.protocol, head.version());
        hops::add_via(&mut head.fields, version, name);
    }
    if let Some(id) = id {
        head.fields.put(FieldName::XRequestId, id.as_bytes());
    }
}

/// Applies the filters of a request, unless what they do depends on the target: then returns them,
/// to be applied for each attempt.
fn filter_request<'f>(
    filters: Option<&'f (Arc<Filters>, RequestFacts)>,
    head: &mut RequestHead,
) -> Option<&'f (Arc<Filters>, RequestFacts)> {
    let (of_request, facts) = filters?;
    if filters::depend_on_target(of_request) {
        return filters;
    }
    filters::apply_to_request(of_request, head, facts, "");
    None
}
