//! One exchange on a stream.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use http::header::CONTENT_LENGTH;
use http::response;

use super::connection::Http2Connection;
use super::handshake::Handshake;
use super::head;
use crate::http1::{Hop, strip_trailers};
use crate::message::{BodyLength, Fields, Method, RequestHead, ResponseHead};
use crate::model::{Failure, UpstreamLimits};
use crate::upstream::response::{HeadKind, MAX_INTERIM, ReadError, ResponseLimits};

/// Bytes of a request's body that are collected before they are given to the stream: a frame.
const ROOM: usize = 16 * 1024;

/// How far the request is.
#[derive(Debug)]
enum RequestState {
    /// A part of it is to come.
    Open,
    /// All of it came; its end is to be sent, perhaps with trailers.
    Ending(Option<Box<http::HeaderMap>>),
    /// The stream has all of it.
    Sent,
    /// The target reads no more of it.
    Broken,
}

/// What the response has failed of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The target has not looked at the request.
    NotExecuted,
    /// The connection has ended.
    Disconnected,
    /// The stream has.
    Other,
}

/// A stream of a connection that one exchange has for itself. Dropping it before both messages are
/// complete resets it (CANCEL).
pub struct Http2Stream(Box<State>);

/// A place for a stream, which is taken until this is dropped.
#[derive(Debug)]
pub struct Http2Place(Rc<Http2Connection>);

impl Http2Place {
    fn take(connection: Rc<Http2Connection>) -> Self {
        connection.vitals.begin_stream();
        Self(connection)
    }
}

impl Drop for Http2Place {
    fn drop(&mut self) {
        self.0.vitals.end_stream();
    }
}

/// A stream whose target has accepted a WebSocket: bytes in both directions.
#[derive(Debug)]
pub struct Http2Socket {
    /// What the target sends, and what of it has come already.
    pub received: (RecvStream, Bytes),
    /// What it gets.
    pub sender: SendStream<Bytes>,
    /// To be held as long as the stream.
    pub place: Http2Place,
}

struct State {
    place: Http2Place,
    is_reused: bool,
    request: RequestState,
    method: Method,
    /// Of a WebSocket.
    handshake: Option<Handshake>,
    sender: Option<SendStream<Bytes>>,
    /// Of the request's body, not yet given to the stream.
    upload: BytesMut,
    /// `None` before the request has begun, and behind the head of the response.
    response: Option<ResponseFuture>,
    max_fields: usize,
    interim: u32,
    /// The body of the response, until it has ended.
    body: Option<RecvStream>,
    length: BodyLength,
    /// Of the body, not yet consumed.
    data: Bytes,
    trailers: Option<Fields>,
    is_received: bool,
    fault: Option<Fault>,
}

impl Http2Stream {
    /// Counts as a stream of the connection from now on.
    pub(super) fn new(connection: Rc<Http2Connection>, policy: &UpstreamLimits) -> Self {
        Self(Box::new(State {
            is_reused: connection.has_served(),
            place: Http2Place::take(connection),
            request: RequestState::Open,
            method: Method::Get,
            handshake: None,
            sender: None,
            upload: BytesMut::new(),
            response: None,
            max_fields: policy.max_fields,
            interim: 0,
            body: None,
            length: BodyLength::Unknown,
            data: Bytes::new(),
            trailers: None,
            is_received: false,
            fault: None,
        }))
    }

    pub(in crate::upstream) fn is_reused(&self) -> bool {
        let is_of_connection = |fault| matches!(fault, Fault::NotExecuted | Fault::Disconnected);
        self.0.is_reused && self.0.fault.is_none_or(is_of_connection)
    }

    /// Whether the target says that it has not executed the request.
    pub(in crate::upstream) fn is_refused(&self) -> bool {
        self.0.fault == Some(Fault::NotExecuted)
    }

    pub(in crate::upstream) fn begin(
        &mut self,
        head: &RequestHead,
        length: BodyLength,
        hop: &Hop<'_>,
        limits: ResponseLimits,
    ) -> Result<(), Failure> {
        let state = &mut *self.0;
        let connection = &state.place.0;
        let request = if hop.upgrade.is_some_and(head::is_websocket) {
            if !connection.takes_websockets() {
                return Err(Failure::UpgradeNotForwarded);
            }
            state.handshake = Some(Handshake::read(head)?);
            head::connect(head, connection.scheme)?
        } else {
            head::request(head, length, hop, connection.scheme)?
        };
        // The bytes of a WebSocket come later.
        let is_over = length.is_empty() && state.handshake.is_none();
        state.method = head.method();
        state.max_fields = limits.max_fields;
        match connection.send(request, is_over) {
            Ok((response, sender)) => {
                state.response = Some(response);
                state.sender = Some(sender);
            }
            // Found when the head is waited for.
            Err(_) => state.fault = Some(Fault::Disconnected),
        }
        if length.is_empty() {
            state.request = RequestState::Sent;
        }
        Ok(())
    }

    pub(in crate::upstream) fn has_room(&self) -> bool {
        self.0.upload.len() < ROOM
    }

    pub(in crate::upstream) fn push_body(&mut self, data: &[u8]) {
        self.0.upload.extend_from_slice(data);
    }

    pub(in crate::upstream) fn end_body(&mut self, trailers: Option<&Fields>) {
        if matches!(self.0.request, RequestState::Open) {
            let trailers = trailers.filter(|fields| !fields.is_empty());
            let trailers = trailers.map(|fields| Box::new(head::trailers(fields)));
            self.0.request = RequestState::Ending(trailers);
        }
    }

    pub(in crate::upstream) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let state = &mut *self.0;
        while !state.upload.is_empty() {
            if ready!(state.poll_part(cx)).is_none() {
                state.request = RequestState::Broken;
                state.upload = BytesMut::new();
            }
        }
        if let (RequestState::Ending(trailers), Some(sender)) =
            (&mut state.request, &mut state.sender)
        {
            let ended = match trailers.take() {
                Some(trailers) => sender.send_trailers(*trailers),
                None => sender.send_data(Bytes::new(), true),
            };
            state.request = match ended {
                Ok(()) => RequestState::Sent,
                Err(_) => RequestState::Broken,
            };
        }
        Poll::Ready(())
    }

    pub(in crate::upstream) fn is_write_broken(&self) -> bool {
        matches!(self.0.request, RequestState::Broken)
    }

    pub(in crate::upstream) fn is_written(&self) -> bool {
        self.0.sender.is_some()
    }

    pub(in crate::upstream) fn is_received(&self) -> bool {
        self.0.is_received
    }

    pub(in crate::upstream) fn is_sent(&self) -> bool {
        matches!(self.0.request, RequestState::Sent)
    }

    pub(in crate::upstream) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut ResponseHead,
    ) -> Poll<Result<HeadKind, ReadError>> {
        let state = &mut *self.0;
        let Some(response) = &mut state.response else {
            return Poll::Ready(Err(ReadError::Closed));
        };
        if let Poll::Ready(Some(interim)) = response.poll_informational(cx) {
            return Poll::Ready(match interim {
                Ok(interim) => state.take_interim(&interim.into_parts().0, head),
                Err(error) => Err(state.fail(&error)),
            });
        }
        Poll::Ready(match ready!(Pin::new(response).poll(cx)) {
            Ok(response) => {
                let (parts, body) = response.into_parts();
                state.take_final(&parts, body, head)
            }
            Err(error) => Err(state.fail(&error)),
        })
    }

    pub(in crate::upstream) fn length(&self) -> BodyLength {
        self.0.length
    }

    pub(in crate::upstream) fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<&[u8]>, ReadError>> {
        let state = &mut *self.0;
        while state.data.is_empty() {
            if state.body.is_none() {
                return Poll::Ready(Ok(None));
            }
            if let Err(error) = ready!(state.poll_more(cx)) {
                return Poll::Ready(Err(state.fail(&error)));
            }
        }
        Poll::Ready(Ok(Some(&state.data)))
    }

    pub(in crate::upstream) fn consume(&mut self, count: usize) {
        self.0.data.advance(count);
        if let Some(body) = &mut self.0.body {
            // Fails if the stream has ended, and needs no window any more.
            let _ = body.flow_control().release_capacity(count);
        }
    }

    pub(in crate::upstream) fn trailers(&self) -> Option<&Fields> {
        self.0.trailers.as_ref()
    }

    /// The stream, once the target has accepted a WebSocket.
    pub(in crate::upstream) fn into_socket(self) -> Option<Http2Socket> {
        let state = *self.0;
        Some(Http2Socket {
            received: (state.body?, state.data),
            sender: state.sender?,
            place: state.place,
        })
    }
}

impl State {
    /// Gives as much of the upload to the stream as the windows allow; `None` if the target reads
    /// no more.
    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Option<()>> {
        let Some(sender) = &mut self.sender else {
            return Poll::Ready(None);
        };
        sender.reserve_capacity(self.upload.len());
        let mut capacity = sender.capacity();
        if capacity == 0 {
            capacity = match ready!(sender.poll_capacity(cx)) {
                Some(Ok(capacity)) => capacity,
                Some(Err(_)) | None => return Poll::Ready(None),
            };
        }
        let part = self
            .upload
            .split_to(capacity.min(self.upload.len()))
            .freeze();
        let is_last = self.upload.is_empty() && matches!(self.request, RequestState::Ending(None));
        let sent = sender.send_data(part, is_last);
        if is_last && sent.is_ok() {
            self.request = RequestState::Sent;
        }
        Poll::Ready(sent.ok())
    }

    fn take_interim(
        &mut self,
        parts: &response::Parts,
        head: &mut ResponseHead,
    ) -> Result<HeadKind, ReadError> {
        self.is_received = true;
        self.interim += 1;
        if self.interim > MAX_INTERIM {
            return Err(ReadError::TooManyInterim);
        }
        head::response(parts, self.max_fields, head).map_err(|_| ReadError::Malformed)?;
        Ok(HeadKind::Interim)
    }

    fn take_final(
        &mut self,
        parts: &response::Parts,
        body: RecvStream,
        head: &mut ResponseHead,
    ) -> Result<HeadKind, ReadError> {
        self.is_received = true;
        self.response = None;
        head::response(parts, self.max_fields, head).map_err(|_| ReadError::Malformed)?;
        let handshake = self.handshake.take();
        if let Some(handshake) = handshake.filter(|_| parts.status.is_success()) {
            handshake.accept(head);
            self.body = Some(body);
            return Ok(HeadKind::Final);
        }
        let has_content = self.method != Method::Head && !matches!(head.status(), 204 | 304);
        // The crate has checked that it is a number, and will that as many bytes come.
        let length = parts.headers.get(CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        self.length = match length {
            _ if !has_content || body.is_end_stream() => BodyLength::Empty,
            Some(length) => BodyLength::Exact(length),
            None => BodyLength::Unknown,
        };
        self.body = Some(body);
        Ok(HeadKind::Final)
    }

    /// Waits for data or the end of the body.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(Ok(()));
        };
        if let Some(data) = ready!(body.poll_data(cx)).transpose()? {
            self.data = data;
            return Poll::Ready(Ok(()));
        }
        if let Some(map) = ready!(body.poll_trailers(cx))? {
            let mut trailers = Fields::new();
            // Names and values of the crate are legal.
            let _ = trailers.extend_from_map(&map);
            strip_trailers(&mut trailers);
            self.trailers = Some(trailers);
        }
        self.body = None;
        Poll::Ready(Ok(()))
    }

    /// What an error of the stream means.
    fn fail(&mut self, error: &h2::Error) -> ReadError {
        let reason = error.reason();
        let (fault, read) = if error.is_remote() && error.is_go_away() {
            (Fault::NotExecuted, ReadError::Closed)
        } else if error.is_remote() && reason == Some(Reason::REFUSED_STREAM) {
            (Fault::NotExecuted, ReadError::Refused)
        } else if error.is_library() {
            (Fault::Other, ReadError::Malformed)
        } else if error.is_io() {
            (Fault::Disconnected, ReadError::Closed)
        } else {
            let read = match reason {
                Some(Reason::ENHANCE_YOUR_CALM) => ReadError::Refused,
                Some(Reason::HTTP_1_1_REQUIRED) => ReadError::WantsHttp1,
                _ => ReadError::Reset,
            };
            (Fault::Other, read)
        };
        // What has answered has executed it.
        let is_answered = self.is_received && fault == Fault::NotExecuted;
        self.fault = Some(if is_answered { Fault::Other } else { fault });
        read
    }
}

impl fmt::Debug for Http2Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http2Stream")
            .field("request", &self.0.request)
            .field("fault", &self.0.fault)
            .finish_non_exhaustive()
    }
}
