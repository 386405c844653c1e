//! TLS over a socket: the handshake with a client or a target, and the stream after it.
//!
//! rustls does the cryptography and keeps the bytes in between: what has arrived of a record, and
//! what was encrypted and not taken by the socket. The latter is bounded, and goes out with the
//! next call that the task makes, whatever it is; [`TlsStream::poll_flush`] waits for it. An end
//! without the peer's `close_notify` is an error, because every host on the way can make one. Both
//! directions may be used at a time, so the session is behind a `RefCell`; no borrow of it lasts
//! over a wait.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::io::{self, BufRead, IoSlice, Read, Write};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, BytesMut};
use rustls::server::{Accepted, Acceptor, ClientHello};
use rustls::{
    AlertDescription, CertificateError, ClientConnection, Connection, ConnectionCommon,
    ServerConfig, ServerConnection, SideData,
};
use tokio::io::ReadBuf;

use super::socket::{Peek, Socket};
use crate::model::TlsFacts;
use crate::tls;

/// Most bytes that are encrypted and wait for the socket: two records.
const MAX_UNSENT: usize = 32 * 1024;

/// Most bytes that are received at a time: a record and what frames it. rustls alone would take a
/// quarter of it.
const RECEIVED: usize = 16 * 1024;

thread_local! {
    /// Where bytes are received, on their way to the connection that they are for.
    static RECEIVING: RefCell<Vec<u8>> = RefCell::new(vec![0; RECEIVED]);
}

/// An encrypted stream, after its handshake.
#[derive(Debug)]
pub struct TlsStream {
    socket: Socket,
    session: RefCell<Session>,
    facts: Arc<TlsFacts>,
}

#[derive(Debug)]
struct Session {
    connection: Connection,
    /// Received, and not decrypted because too much that was decrypted is still to be taken.
    backlog: Vec<u8>,
    /// Set by the first record that cannot be decrypted or understood.
    is_broken: bool,
    end: End,
}

/// How far the end of the direction towards the peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Open,
    /// A `close_notify` was encrypted, and the socket is to be shut down behind it.
    Begun,
    /// Nothing more is sent.
    Done,
}

/// A handshake that has failed.
#[derive(Debug)]
pub struct HandshakeError {
    /// The socket; no byte was sent to it if the client speaks no TLS.
    pub socket: Socket,
    /// The host that the client asked for, if it came so far.
    pub sni: Option<Box<str>>,
    /// Why.
    pub failure: HandshakeFailure,
}

impl HandshakeError {
    fn new(socket: Socket, sni: Option<Box<str>>, failure: HandshakeFailure) -> Self {
        Self {
            socket,
            sni,
            failure: failure.of_server(),
        }
    }
}

/// Why a handshake has failed.
#[derive(Debug)]
pub enum HandshakeFailure {
    /// The client has sent letters, as a request of plain HTTP begins.
    PlainHttp,
    /// The client has closed the connection.
    Closed(io::Error),
    /// There is no certificate at all.
    NoCertificate,
    /// What the client has sent is no TLS, or none that can be agreed on.
    Tls(rustls::Error),
}

impl HandshakeFailure {
    /// Tells what is missing on this side from what is wrong with the client.
    fn of_server(self) -> Self {
        match self {
            // Of a server that is all it stands for.
            Self::Tls(rustls::Error::General(_)) => Self::NoCertificate,
            other => other,
        }
    }
}

impl HandshakeFailure {
    /// The label in metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::PlainHttp => "plain_http",
            Self::Closed(_) => "client_closed",
            Self::NoCertificate => "no_certificate",
            Self::Tls(rustls::Error::PeerIncompatible(_)) => "incompatible",
            Self::Tls(rustls::Error::NoApplicationProtocol) => "no_application_protocol",
            Self::Tls(rustls::Error::NoCertificatesPresented) => "no_client_certificate",
            Self::Tls(rustls::Error::InvalidCertificate(_)) => "bad_client_certificate",
            Self::Tls(rustls::Error::AlertReceived(_)) => "client_alert",
            Self::Tls(_) => "malformed",
        }
    }
}

impl fmt::Display for HandshakeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PlainHttp => f.write_str("the client does not speak TLS"),
            Self::Closed(error) => write!(f, "the client has closed the connection: {error}"),
            Self::NoCertificate => {
                f.write_str("no certificate exists yet: the authority has given none so far")
            }
            Self::Tls(rustls::Error::AlertReceived(alert)) => refusal(*alert, f),
            Self::Tls(rustls::Error::InvalidCertificate(error)) => refused(error, f),
            Self::Tls(error) => error.fmt(f),
        }
    }
}

fn refusal(alert: AlertDescription, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    use AlertDescription::{BadCertificate, CertificateExpired, CertificateUnknown, UnknownCA};
    write!(f, "the client has refused: {alert:?}")?;
    match alert {
        BadCertificate | CertificateExpired | CertificateUnknown | UnknownCA => {
            f.write_str("; it does not trust the certificate")
        }
        _ => Ok(()),
    }
}

fn refused(error: &CertificateError, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "the client's certificate is not accepted: {error}")
}

/// Lends rustls the socket in a poll method: what would block registers the task's waker.
struct Polled<'a, 'c> {
    socket: &'a mut Socket,
    cx: &'a mut Context<'c>,
    /// The first byte that was read.
    first: Option<u8>,
}

/// The same outside of one: what would block is an error.
struct Tried<'a>(&'a Socket);

impl Read for Polled<'_, '_> {
    fn read(&mut self, memory: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(memory);
        match self.socket.poll_read(self.cx, &mut buffer) {
            Poll::Ready(read) => read?,
            Poll::Pending => return Err(io::ErrorKind::WouldBlock.into()),
        }
        let filled = buffer.filled();
        self.first = self.first.or(filled.first().copied());
        Ok(filled.len())
    }
}

impl Write for Polled<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        match self.socket.poll_write_vectored(self.cx, buffers) {
            Poll::Ready(written) => written,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Tried<'_> {
    fn read(&mut self, memory: &mut [u8]) -> io::Result<usize> {
        self.0.try_read_into(memory)
    }
}

impl Write for Tried<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(buffers)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Session {
    /// Moves what was decrypted into `buffer`, as far as there is room. 0 bytes are the end; an error
    /// of kind [`WouldBlock`](io::ErrorKind::WouldBlock) says that more has to be received first.
    fn take(&mut self, buffer: &mut impl BufMut) -> io::Result<usize> {
        let mut reader = self.connection.reader();
        let mut taken = 0;
        while buffer.has_remaining_mut() {
            let chunk = match reader.fill_buf() {
                Ok(chunk) => chunk,
                // It is found again by the next call.
                Err(_) if taken > 0 => break,
                Err(error) => return Err(error),
            };
            let count = chunk.len().min(buffer.remaining_mut());
            if count == 0 {
                break;
            }
            buffer.put_slice(&chunk[..count]);
            reader.consume(count);
            taken += count;
        }
        Ok(taken)
    }

    /// Whether [`Self::take`] would find something or the end, now or after [`Self::receive`].
    fn has_something(&mut self) -> bool {
        if !self.backlog.is_empty() {
            return true;
        }
        match self.connection.reader().into_first_chunk() {
            Ok(_) => true,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }

    /// Receives and decrypts. To be called when there is nothing to take.
    fn receive(&mut self, wire: &mut (impl Read + Write)) -> io::Result<()> {
        if self.is_broken {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let decrypted = if self.backlog.is_empty() {
            RECEIVING.with_borrow_mut(|memory| {
                let count = wire.read(memory)?;
                self.decrypt(&memory[..count])
            })
        } else {
            let backlog = std::mem::take(&mut self.backlog);
            self.decrypt(&backlog)
        };
        if self.is_broken {
            // An alert, if the socket takes it.
            let _ = self.connection.write_tls(wire);
        }
        // The answer to an update of keys goes out with what is written next.
        decrypted
    }

    /// Decrypts what was received; no bytes are the end.
    fn decrypt(&mut self, mut received: &[u8]) -> io::Result<()> {
        loop {
            // None is taken behind the end that the peer has announced.
            let taken = self.connection.read_tls(&mut received)?;
            let state = self.connection.process_new_packets().map_err(|error| {
                self.is_broken = true;
                io::Error::new(io::ErrorKind::InvalidData, error)
            })?;
            if received.is_empty() || taken == 0 {
                return Ok(());
            }
            if state.plaintext_bytes_to_read() > RECEIVED {
                self.backlog = received.to_vec();
                return Ok(());
            }
        }
    }

    /// Encrypts as much as there is room for.
    fn encrypt(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        self.connection.writer().write_vectored(buffers)
    }

    /// Sends what was encrypted. An error of kind [`WouldBlock`](io::ErrorKind::WouldBlock) says
    /// that some is left.
    fn send(&mut self, wire: &mut impl Write) -> io::Result<()> {
        while self.connection.wants_write() {
            if self.connection.write_tls(wire)? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }

    /// As [`Self::send`] if some is left; that the socket takes nothing is no error.
    fn send_some(&mut self, wire: &mut impl Write) -> io::Result<()> {
        match self.send(wire) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            sent => sent,
        }
    }

    fn begin_end(&mut self) {
        if self.end == End::Open {
            self.end = End::Begun;
            self.connection.send_close_notify();
        }
    }

    /// Shuts the socket down behind the `close_notify`, once that is sent.
    fn finish_end(&mut self, socket: &Socket) -> io::Result<()> {
        if self.end == End::Begun && !self.connection.wants_write() {
            self.end = End::Done;
            return socket.shutdown_write();
        }
        Ok(())
    }
}

/// `WouldBlock` as pending.
fn polled<T>(result: io::Result<T>) -> Poll<io::Result<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
        result => Poll::Ready(result),
    }
}

impl TlsStream {
    /// Makes the handshake with a client, however long it takes.
    pub async fn accept(
        socket: Socket,
        config: &Arc<ServerConfig>,
    ) -> Result<Self, HandshakeError> {
        match ServerConnection::new(Arc::clone(config)) {
            Ok(connection) => Self::shake(socket, connection).await,
            Err(error) => {
                let failure = HandshakeFailure::Tls(error);
                Err(HandshakeError::new(socket, None, failure))
            }
        }
    }

    /// The same with the configuration that is chosen once the client has said what it wants.
    pub async fn accept_with(
        mut socket: Socket,
        choose: impl FnOnce(&ClientHello<'_>) -> Arc<ServerConfig>,
    ) -> Result<Self, HandshakeError> {
        let (mut acceptor, mut first) = (Acceptor::default(), None);
        let received = poll_fn(|cx| poll_hello(cx, &mut socket, &mut acceptor, &mut first)).await;
        let accepted = match received {
            Ok(accepted) => accepted,
            Err(failure) => return Err(HandshakeError::new(socket, None, failure)),
        };
        let sni = accepted.client_hello().server_name().map(Box::from);
        let config = choose(&accepted.client_hello());
        match accepted.into_connection(config) {
            Ok(connection) => Self::shake(socket, connection).await,
            Err((error, mut alert)) => {
                // If the socket takes it.
                let _ = alert.write(&mut Tried(&socket));
                Err(HandshakeError::new(
                    socket,
                    sni,
                    HandshakeFailure::Tls(error),
                ))
            }
        }
    }

    async fn shake(
        mut socket: Socket,
        mut connection: ServerConnection,
    ) -> Result<Self, HandshakeError> {
        connection.set_buffer_limit(Some(MAX_UNSENT));
        let mut first = None;
        let shaken =
            poll_fn(|cx| poll_handshake(cx, &mut socket, &mut connection, &mut first)).await;
        if let Err(failure) = shaken {
            let sni = connection.server_name().map(Box::from);
            return Err(HandshakeError::new(socket, sni, failure));
        }
        let facts = tls::facts(&connection);
        Ok(Self::new(socket, connection.into(), facts))
    }

    /// Makes the handshake with a target, however long it takes.
    pub async fn connect(mut socket: Socket, client: &tls::Client) -> io::Result<Self> {
        let failed = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        let name = client.name(socket.peer_ip());
        let connection = ClientConnection::new(Arc::clone(client.config()), name);
        let mut connection = connection.map_err(failed)?;
        connection.set_buffer_limit(Some(MAX_UNSENT));
        let shaken = poll_fn(|cx| poll_handshake(cx, &mut socket, &mut connection, &mut None));
        match shaken.await {
            Ok(()) => {
                let facts = tls::target_facts(&connection);
                Ok(Self::new(socket, connection.into(), facts))
            }
            Err(HandshakeFailure::Closed(error)) => Err(error),
            Err(HandshakeFailure::Tls(error)) => Err(failed(error)),
            Err(HandshakeFailure::PlainHttp | HandshakeFailure::NoCertificate) => {
                let message = "it does not speak TLS";
                Err(io::Error::new(io::ErrorKind::InvalidData, message))
            }
        }
    }

    fn new(socket: Socket, connection: Connection, facts: TlsFacts) -> Self {
        Self {
            socket,
            session: RefCell::new(Session {
                connection,
                backlog: Vec::new(),
                is_broken: false,
                end: End::Open,
            }),
            facts: Arc::new(facts),
        }
    }

    /// What the handshake has agreed on.
    pub fn facts(&self) -> &Arc<TlsFacts> {
        &self.facts
    }

    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    fn parts<'a, 'c>(&'a mut self, cx: &'a mut Context<'c>) -> (&'a mut Session, Polled<'a, 'c>) {
        let wire = Polled {
            socket: &mut self.socket,
            cx,
            first: None,
        };
        (self.session.get_mut(), wire)
    }

    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let (session, mut wire) = self.parts(cx);
            match polled(session.take(buffer)) {
                Poll::Ready(taken) => return Poll::Ready(taken.map(drop)),
                Poll::Pending => ready!(poll_receive(session, &mut wire))?,
            }
        }
    }

    pub(super) fn poll_read_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let (session, mut wire) = self.parts(cx);
            if session.has_something() {
                return Poll::Ready(Ok(()));
            }
            ready!(poll_receive(session, &mut wire))?;
        }
    }

    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let (session, mut wire) = self.parts(cx);
        ready!(polled(session.send(&mut wire)))?;
        let count = session.encrypt(buffers)?;
        session.send_some(&mut wire)?;
        Poll::Ready(Ok(count))
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (session, mut wire) = self.parts(cx);
        ready!(polled(session.send(&mut wire)))?;
        Poll::Ready(session.finish_end(wire.socket))
    }

    pub(super) fn is_flushed(&self) -> bool {
        !self.session.borrow().connection.wants_write()
    }

    /// Sends what the socket takes: nothing else may be left to do it.
    pub(super) fn is_sending(&self) -> bool {
        let is_left = self
            .flush_now()
            .is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        is_left || self.socket.is_sending()
    }

    pub(super) fn try_read(&self, buffer: &mut BytesMut) -> io::Result<Option<usize>> {
        let mut session = self.session.borrow_mut();
        let room = buffer.capacity() - buffer.len();
        let mut buffer = buffer.limit(room);
        loop {
            match polled(session.take(&mut buffer)) {
                Poll::Ready(taken) => return taken.map(Some),
                Poll::Pending => match polled(session.receive(&mut Tried(&self.socket))) {
                    Poll::Ready(received) => received?,
                    Poll::Pending => return Ok(None),
                },
            }
        }
    }

    pub(super) async fn readable(&self) -> io::Result<()> {
        if self.session.borrow_mut().has_something() {
            return Ok(());
        }
        self.socket.readable().await
    }

    pub(super) async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.flush().await?;
        let mut session = self.session.borrow_mut();
        let count = session.encrypt(&[IoSlice::new(bytes)])?;
        session.send_some(&mut Tried(&self.socket))?;
        Ok(count)
    }

    pub(super) async fn flush(&self) -> io::Result<()> {
        loop {
            match self.flush_now() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.socket.writable().await?;
                }
                flushed => return flushed,
            }
        }
    }

    fn flush_now(&self) -> io::Result<()> {
        let mut session = self.session.borrow_mut();
        session.send(&mut Tried(&self.socket))?;
        session.finish_end(&self.socket)
    }

    pub(super) fn received(&self) -> io::Result<usize> {
        let mut session = self.session.borrow_mut();
        let decrypted = session.connection.process_new_packets();
        let decrypted = decrypted.map_or(0, |state| state.plaintext_bytes_to_read());
        Ok(decrypted + session.backlog.len() + self.socket.received()?)
    }

    /// Decrypts what has come: a ticket for a later session is nothing to read.
    pub(super) fn peek(&self) -> Peek {
        let mut session = self.session.borrow_mut();
        loop {
            match session.connection.reader().into_first_chunk() {
                Ok([]) => return Peek::Closed,
                Ok(_) => return Peek::Bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Peek::Closed,
            }
            match session.receive(&mut Tried(&self.socket)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Peek::Nothing,
                Err(_) => return Peek::Closed,
            }
        }
    }

    pub(super) fn shutdown_write(&self) -> io::Result<()> {
        self.session.borrow_mut().begin_end();
        match self.flush_now() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            ended => ended,
        }
    }

    pub(super) fn announce_close(&self) {
        let mut session = self.session.borrow_mut();
        session.begin_end();
        // The connection is given up, whether the socket takes it or not.
        let _ = session.send(&mut Tried(&self.socket));
    }

    pub(super) fn reset_on_close(&self) {
        self.session.borrow_mut().end = End::Done;
        self.socket.reset_on_close();
    }
}

/// Receives, and sends what was left over before: the other side may wait for that.
fn poll_receive(session: &mut Session, wire: &mut Polled<'_, '_>) -> Poll<io::Result<()>> {
    if session.connection.wants_write() {
        session.send_some(wire)?;
        session.finish_end(wire.socket)?;
    }
    polled(session.receive(wire))
}

fn poll_handshake<D: SideData>(
    cx: &mut Context<'_>,
    socket: &mut Socket,
    connection: &mut ConnectionCommon<D>,
    first: &mut Option<u8>,
) -> Poll<Result<(), HandshakeFailure>> {
    let mut wire = Polled {
        socket,
        cx,
        first: *first,
    };
    loop {
        while connection.wants_write() {
            ready!(polled(connection.write_tls(&mut wire))).map_err(HandshakeFailure::Closed)?;
        }
        if !connection.is_handshaking() {
            return Poll::Ready(Ok(()));
        }
        let read = ready!(polled(connection.read_tls(&mut wire)));
        if read.map_err(HandshakeFailure::Closed)? == 0 {
            let ended = io::ErrorKind::UnexpectedEof.into();
            return Poll::Ready(Err(HandshakeFailure::Closed(ended)));
        }
        *first = wire.first;
        if wire.first.is_some_and(is_start_of_method) {
            return Poll::Ready(Err(HandshakeFailure::PlainHttp));
        }
        if let Err(error) = connection.process_new_packets() {
            // An alert, if the socket takes it.
            let _ = connection.write_tls(&mut wire);
            return Poll::Ready(Err(HandshakeFailure::Tls(error)));
        }
    }
}

/// Receives what the client says first.
fn poll_hello(
    cx: &mut Context<'_>,
    socket: &mut Socket,
    acceptor: &mut Acceptor,
    first: &mut Option<u8>,
) -> Poll<Result<Accepted, HandshakeFailure>> {
    let mut wire = Polled {
        socket,
        cx,
        first: *first,
    };
    loop {
        let read = ready!(polled(acceptor.read_tls(&mut wire)));
        if read.map_err(HandshakeFailure::Closed)? == 0 {
            let ended = io::ErrorKind::UnexpectedEof.into();
            return Poll::Ready(Err(HandshakeFailure::Closed(ended)));
        }
        *first = wire.first;
        if wire.first.is_some_and(is_start_of_method) {
            return Poll::Ready(Err(HandshakeFailure::PlainHttp));
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => return Poll::Ready(Ok(accepted)),
            Ok(None) => {}
            Err((error, mut alert)) => {
                // If the socket takes it.
                let _ = alert.write(&mut wire);
                return Poll::Ready(Err(HandshakeFailure::Tls(error)));
            }
        }
    }
}

/// A record of TLS begins with a byte below 32.
fn is_start_of_method(first: u8) -> bool {
    first.is_ascii_alphabetic()
}
