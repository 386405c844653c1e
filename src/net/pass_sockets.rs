//! Passes open sockets to another process (`SCM_RIGHTS`, unix(7)).
//!
//! A message is a length, a text, and descriptors. The other process gets copies of them: a socket
//! that listens goes on listening, with every connection in its queue, until the last copy is
//! closed.
//!
//! Neither call blocks its thread. Neither is cancel-safe: after a message that was cut off the
//! stream cannot be used any more.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::time::sleep;

/// Most descriptors in one message; Linux takes 253 (`SCM_MAX_FD`).
pub const MAX_DESCRIPTORS: usize = 128;

/// Most bytes of text in one message: more is not from Weir.
pub const MAX_TEXT: usize = 64 * 1024;

/// Bytes of the length before the text.
const PREFIX: usize = size_of::<u32>();

/// Bytes of the control message which carries the descriptors.
const SPACE: usize = rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS));

/// Between two attempts to send. The system allows as many descriptors in flight as a process may
/// have open; beyond that the other process has to receive some first.
const RETRY_INTERVAL: Duration = Duration::from_millis(5);

/// Sends text, and copies of at most [`MAX_DESCRIPTORS`] descriptors.
pub async fn send(
    stream: &UnixStream,
    text: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    if descriptors.len() > MAX_DESCRIPTORS || text.len() > MAX_TEXT {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let length = u32::try_from(text.len()).map_err(io::Error::other)?;
    let message = [&length.to_be_bytes(), text].concat();
    let mut sent = 0;
    while sent < message.len() {
        // Descriptors go with the first byte.
        let descriptors = if sent == 0 { descriptors } else { &[] };
        let rest = &message[sent..];
        let attempt = stream.async_io(Interest::WRITABLE, || send_part(stream, rest, descriptors));
        match attempt.await {
            Ok(bytes) => sent += bytes,
            Err(error) if Errno::from_io_error(&error) == Some(Errno::TOOMANYREFS) => {
                sleep(RETRY_INTERVAL).await;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn send_part(
    stream: &UnixStream,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let bytes = [IoSlice::new(bytes)];
    Ok(sendmsg(stream, &bytes, &mut control, SendFlags::NOSIGNAL)?)
}

/// Receives one message; `None` if the other process has closed the stream.
pub async fn receive(stream: &UnixStream) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
    let mut descriptors = Vec::new();
    let mut length = [0; PREFIX];
    match fill(stream, &mut length, &mut descriptors).await {
        Ok(()) => {}
        Err(ReceiveError::EndOfStream) => return Ok(None),
        Err(ReceiveError::Io(error)) => return Err(error),
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_TEXT {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut text = vec![0; length];
    match fill(stream, &mut text, &mut descriptors).await {
        Ok(()) => Ok(Some((text, descriptors))),
        Err(ReceiveError::EndOfStream) => Err(io::ErrorKind::UnexpectedEof.into()),
        Err(ReceiveError::Io(error)) => Err(error),
    }
}

/// Why a part of a message is missing.
enum ReceiveError {
    EndOfStream,
    Io(io::Error),
}

async fn fill(
    stream: &UnixStream,
    bytes: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> Result<(), ReceiveError> {
    let mut filled = 0;
    while filled < bytes.len() {
        let rest = &mut bytes[filled..];
        let attempt = stream.async_io(Interest::READABLE, || {
            receive_part(stream, rest, descriptors)
        });
        match attempt.await.map_err(ReceiveError::Io)? {
            0 if filled == 0 => return Err(ReceiveError::EndOfStream),
            0 => return Err(ReceiveError::Io(io::ErrorKind::UnexpectedEof.into())),
            received => filled += received,
        }
    }
    Ok(())
}

fn receive_part(
    stream: &UnixStream,
    bytes: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [IoSliceMut::new(bytes)];
    let received = recvmsg(stream, &mut bytes, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        // The system drops descriptors beyond the limit of this process without an error.
        return Err(Errno::MFILE.into());
    }
    Ok(received.bytes)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn a_socket_that_was_passed_serves_the_connections_in_its_queue() {
        let (here, there) = UnixStream::pair().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let mut client = TcpStream::connect(addr).unwrap();
        client.write_all(b"hello").unwrap();
        send(&here, b"a socket", &[listener.as_fd()]).await.unwrap();
        send(&here, b"", &[]).await.unwrap();
        drop((here, listener));

        let (text, mut descriptors) = receive(&there).await.unwrap().unwrap();
        assert_eq!((text.as_slice(), descriptors.len()), (&b"a socket"[..], 1));
        let taken = TcpListener::from(descriptors.remove(0));
        let (mut accepted, _) = taken.accept().unwrap();
        let mut hello = [0; 5];
        accepted.read_exact(&mut hello).unwrap();
        assert_eq!(&hello, b"hello");

        assert_eq!(receive(&there).await.unwrap().unwrap().0, b"");
        assert!(receive(&there).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_length_that_weir_never_sends_is_refused() {
        let (mut here, there) = UnixStream::pair().unwrap();
        here.write_all(&u32::MAX.to_be_bytes()).await.unwrap();
        let error = receive(&there).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn a_message_that_is_cut_off_is_an_error() {
        for part in [&b"\0\0"[..], b"\0\0\0\x05", b"\0\0\0\x05hel"] {
            let (mut here, there) = UnixStream::pair().unwrap();
            here.write_all(part).await.unwrap();
            drop(here);
            let error = receive(&there).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{part:?}");
        }
    }

    #[tokio::test]
    async fn more_descriptors_than_fit_are_refused_and_not_lost() {
        let (here, _there) = UnixStream::pair().unwrap();
        let many = vec![here.as_fd(); MAX_DESCRIPTORS + 1];
        let error = send(&here, b"", &many).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }

    /// The buffers of the stream hold a few hundred of them, and the system as many descriptors in
    /// flight as a process may have open.
    #[tokio::test]
    async fn tens_of_thousands_of_messages_are_sent_while_others_are_received() {
        const MESSAGES: usize = 20_000;
        let (here, there) = UnixStream::pair().unwrap();
        let sending = async {
            let text = [b'x'; 100];
            for _ in 0..MESSAGES {
                send(&here, &text, &[here.as_fd(); 8]).await.unwrap();
            }
        };
        let receiving = async {
            for _ in 0..MESSAGES {
                let (text, descriptors) = receive(&there).await.unwrap().unwrap();
                assert_eq!((text.len(), descriptors.len()), (100, 8));
            }
        };
        tokio::join!(sending, receiving);
    }
}
