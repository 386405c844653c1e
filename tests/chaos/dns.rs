//! A name server for one name with an answer that changes.

use std::cell::RefCell;
use std::io;
use std::net::Ipv4Addr;
use std::rc::Rc;

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// Answers every A question with its addresses and a TTL of a second, any other without
/// records. Ends when dropped.
pub struct NameServer {
    pub addr: Ipv4Addr,
    answer: Rc<RefCell<Vec<Ipv4Addr>>>,
    task: JoinHandle<()>,
}

impl NameServer {
    /// Listens at port 53 of a loopback address: resolvers use no other port.
    pub async fn start(addr: Ipv4Addr) -> io::Result<Self> {
        let socket = UdpSocket::bind((addr, 53)).await?;
        let answer = Rc::new(RefCell::new(Vec::new()));
        let answers = Rc::clone(&answer);
        let task = tokio::task::spawn_local(async move {
            let mut question = [0; 1500];
            while let Ok((len, from)) = socket.recv_from(&mut question).await {
                let reply = reply(&question[..len], &answers.borrow());
                // Fails if the resolver has closed its socket.
                let _ = socket.send_to(&reply, from).await;
            }
        });
        Ok(Self { addr, answer, task })
    }

    pub fn answer(&self, addresses: &[Ipv4Addr]) {
        *self.answer.borrow_mut() = addresses.to_vec();
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// RFC 1035 section 4.1: the header and the question of the query, then the records.
fn reply(query: &[u8], addresses: &[Ipv4Addr]) -> Vec<u8> {
    const A: [u8; 2] = [0, 1];
    // The name ends with an empty label, the type and the class follow.
    let name = query[12..].iter().position(|byte| *byte == 0).unwrap_or(0);
    let end = 12 + name + 5;
    let asks_for_a = query.get(end - 4..end - 2) == Some(&A);
    let addresses = if asks_for_a { addresses } else { &[] };
    let mut reply = query[..end].to_vec();
    // An authoritative answer without an error: one question, so many records, nothing else.
    reply[2..4].copy_from_slice(&[0x84, 0]);
    reply[4..12].copy_from_slice(&[0, 1, 0, addresses.len() as u8, 0, 0, 0, 0]);
    for address in addresses {
        // The name of the question, type A, class IN, one second, four bytes.
        reply.extend([0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        reply.extend(address.octets());
    }
    reply
}
