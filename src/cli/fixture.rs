//! A server for tests of commands.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

/// A server for one connection that sends `answer` and closes.
pub(super) fn server(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 1024]).unwrap();
        stream.write_all(answer).unwrap();
    });
    address
}
