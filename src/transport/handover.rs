//! Open sockets on their way to another process (`SCM_RIGHTS`, unix(7)).
//!
//! A message is a length, some text, and the descriptors that belong to it. The other
//! process gets copies: a socket that listens goes on listening, with everybody who waits
//! in its queue, until the last copy is closed.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// Descriptors in one message; Linux takes 253 (`SCM_MAX_FD`).
pub const MOST_DESCRIPTORS: usize = 128;

/// Bytes of text in one message: more is not from Weir.
const MAX_TEXT: usize = 64 * 1024;

/// Room for the descriptors of one message.
const SPACE: usize = rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS));

/// Sends text, and copies of at most [`MOST_DESCRIPTORS`] descriptors. Blocks.
pub fn send(
    mut stream: &UnixStream,
    text: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    if descriptors.len() > MOST_DESCRIPTORS {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let length = u32::try_from(text.len()).map_err(io::Error::other)?;
    let length = length.to_be_bytes();
    let sent = sendmsg(
        stream,
        &[IoSlice::new(&length)],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    stream.write_all(&length[sent..])?;
    stream.write_all(text)
}

/// Receives one message; `None` when the other side has closed. Blocks.
pub fn receive(mut stream: &UnixStream) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut length = [0; 4];
    let received = recvmsg(
        stream,
        &mut [IoSliceMut::new(&mut length)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let descriptors = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        })
        .flatten()
        .collect();
    if received.bytes == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut length[received.bytes..])?;
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_TEXT {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut text = vec![0; length];
    stream.read_exact(&mut text)?;
    Ok(Some((text, descriptors)))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_socket_that_was_passed_on_serves_those_who_wait_in_its_queue() {
        let (here, there) = UnixStream::pair().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let mut client = TcpStream::connect(addr).unwrap();
        client.write_all(b"hello").unwrap();
        send(&here, b"a socket", &[listener.as_fd()]).unwrap();
        send(&here, b"", &[]).unwrap();
        drop((here, listener));

        let (text, mut descriptors) = receive(&there).unwrap().unwrap();
        assert_eq!((text.as_slice(), descriptors.len()), (&b"a socket"[..], 1));
        let taken = TcpListener::from(descriptors.remove(0));
        let (mut accepted, _) = taken.accept().unwrap();
        let mut hello = [0; 5];
        accepted.read_exact(&mut hello).unwrap();
        assert_eq!(&hello, b"hello");

        assert_eq!(receive(&there).unwrap().unwrap().0, b"");
        assert!(receive(&there).unwrap().is_none());
    }

    #[test]
    fn a_length_that_nobody_sends_is_refused() {
        let (mut here, there) = UnixStream::pair().unwrap();
        here.write_all(&u32::MAX.to_be_bytes()).unwrap();
        let error = receive(&there).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn more_descriptors_than_fit_are_refused_and_not_lost() {
        let (here, _there) = UnixStream::pair().unwrap();
        let many = vec![here.as_fd(); MOST_DESCRIPTORS + 1];
        let error = send(&here, b"", &many).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
