//! Lines as datagrams, one each: to a server of syslog (RFC 5424, RFC 5426) or to systemd's journal.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::process;
use std::time::SystemTime;

use jiff::Timestamp;
use rustix::io::Errno;

use crate::model::{LogSink, SyslogAddress};

/// The system's daemons, at the level of information: 3 * 8 + 6.
const PRIORITY: &str = "<30>1 ";

/// A socket to what takes the lines.
#[derive(Debug)]
pub(super) struct Datagrams {
    sink: LogSink,
    socket: Option<Socket>,
    host: String,
    /// Memory of the last datagram.
    text: Vec<u8>,
}

#[derive(Debug)]
enum Socket {
    Unix(UnixDatagram),
    Udp(UdpSocket),
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Taken,
    /// It is larger than a datagram may be.
    TooLarge,
}

impl Datagrams {
    pub(super) fn new(sink: LogSink) -> Self {
        let host = rustix::system::uname();
        Self {
            sink,
            socket: None,
            host: token(&host.nodename().to_string_lossy()),
            text: Vec::new(),
        }
    }

    /// Connects again at the next line.
    pub(super) fn reconnect(&mut self) {
        self.socket = None;
    }

    /// Sends a line without its end. Does not wait; after an error other than that it would have to,
    /// it connects again.
    pub(super) fn send(&mut self, line: &[u8]) -> io::Result<Sent> {
        self.frame(line);
        let result = self.send_text();
        match &result {
            Err(error) if Errno::from_io_error(error) == Some(Errno::MSGSIZE) => Ok(Sent::TooLarge),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => result.map(|()| Sent::Taken),
            Err(_) => {
                self.socket = None;
                result.map(|()| Sent::Taken)
            }
            Ok(()) => Ok(Sent::Taken),
        }
    }

    fn send_text(&mut self) -> io::Result<()> {
        if self.socket.is_none() {
            self.socket = connect(&self.sink)?;
        }
        match &self.socket {
            Some(Socket::Unix(socket)) => socket.send(&self.text),
            Some(Socket::Udp(socket)) => socket.send(&self.text),
            None => return Ok(()),
        }
        .map(drop)
    }

    fn frame(&mut self, line: &[u8]) {
        self.text.clear();
        if let LogSink::Journald(_) = self.sink {
            let fields = b"PRIORITY=6\nSYSLOG_IDENTIFIER=weir\nSYSLOG_FACILITY=3\nMESSAGE=";
            self.text.extend_from_slice(fields);
            // A line has no second one in it, so the short form will do.
            self.text.extend_from_slice(line);
            self.text.push(b'\n');
        } else {
            let time = Timestamp::try_from(SystemTime::now()).unwrap_or_default();
            let (host, process) = (&self.host, process::id());
            let head = format!("{PRIORITY}{time:.6} {host} weir {process} access - ");
            self.text.extend_from_slice(head.as_bytes());
            self.text.extend_from_slice(line);
        }
    }
}

fn connect(sink: &LogSink) -> io::Result<Option<Socket>> {
    let path = match sink {
        LogSink::Journald(path) | LogSink::Syslog(SyslogAddress::Unix(path)) => path,
        LogSink::Syslog(SyslogAddress::Udp(address)) => return udp(*address).map(Some),
        LogSink::Stdout | LogSink::File(_) => return Ok(None),
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect(path)?;
    Ok(Some(Socket::Unix(socket)))
}

fn udp(address: SocketAddr) -> io::Result<Socket> {
    let any = match address {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(any)?;
    socket.set_nonblocking(true)?;
    socket.connect(address)?;
    Ok(Socket::Udp(socket))
}

/// A name as the header of a message may have it: visible ASCII, and not too long.
fn token(name: &str) -> String {
    let visible = name.chars().filter(char::is_ascii_graphic).take(255);
    let name: String = visible.collect();
    if name.is_empty() {
        "-".to_owned()
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_message_of_rfc_5424() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let mut log = Datagrams::new(LogSink::Syslog(SyslogAddress::Udp(address)));
        assert_eq!(log.send(b"a line").unwrap(), Sent::Taken);
        let mut buffer = [0; 1024];
        let count = server.recv(&mut buffer).unwrap();
        let text = std::str::from_utf8(&buffer[..count]).unwrap();
        let parts: Vec<&str> = text.splitn(8, ' ').collect();
        assert_eq!(parts.len(), 8, "{text}");
        assert_eq!((parts[0], parts[3]), ("<30>1", "weir"));
        assert!(
            parts[1].parse::<Timestamp>().is_ok() && parts[1].ends_with('Z'),
            "{text}"
        );
        assert_eq!(parts[4], process::id().to_string());
        assert_eq!(parts[5..], ["access", "-", "a line"]);
    }

    #[test]
    fn a_server_that_comes_back_gets_lines_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let mut log = Datagrams::new(LogSink::Journald(path.clone()));
        assert!(log.send(b"lost").is_err());
        let server = UnixDatagram::bind(&path).unwrap();
        assert_eq!(log.send(b"one").unwrap(), Sent::Taken);
        let mut buffer = [0; 1024];
        let count = server.recv(&mut buffer).unwrap();
        let text = std::str::from_utf8(&buffer[..count]).unwrap();
        assert!(
            text.ends_with("\nMESSAGE=one\n") && text.starts_with("PRIORITY=6\n"),
            "{text}"
        );
        drop(server);
        std::fs::remove_file(&path).unwrap();
        assert!(log.send(b"lost").is_err());
        let server = UnixDatagram::bind(&path).unwrap();
        assert_eq!(log.send(b"two").unwrap(), Sent::Taken);
        server.recv(&mut buffer).unwrap();
    }

    #[test]
    fn a_server_that_stalls_is_not_waited_for_and_a_huge_line_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let _server = UnixDatagram::bind(&path).unwrap();
        let mut log = Datagrams::new(LogSink::Syslog(SyslogAddress::Unix(path)));
        let error = (0..100_000).find_map(|_| log.send(&[b'x'; 1000]).err());
        assert_eq!(error.unwrap().kind(), io::ErrorKind::WouldBlock);
        log.reconnect();
        let huge = vec![b'x'; 16 * 1024 * 1024];
        assert_eq!(log.send(&huge).unwrap(), Sent::TooLarge);
    }
}
