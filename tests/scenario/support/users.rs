//! A steady load of clients.

use std::net::SocketAddr;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Connection;

/// Clients that send one request after another, each on a connection that it keeps. A response
/// other than 200, or a broken connection, fails the test.
pub struct Users {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<usize>>,
}

impl Users {
    pub fn start(addr: SocketAddr, count: usize) -> Self {
        let (stop, stopped) = watch::channel(false);
        let user = |_| tokio::spawn(ask(addr, stopped.clone()));
        Self {
            stop,
            tasks: (0..count).map(user).collect(),
        }
    }

    /// Stops the clients and returns how many responses they got.
    pub async fn stop(self) -> usize {
        self.stop.send(true).unwrap();
        let mut answers = 0;
        for task in self.tasks {
            answers += task.await.unwrap();
        }
        answers
    }
}

async fn ask(addr: SocketAddr, stopped: watch::Receiver<bool>) -> usize {
    let mut connection = Connection::open(addr).await;
    let mut answers = 0;
    while !*stopped.borrow() {
        let reply = connection.get("/").await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        answers += 1;
    }
    answers
}
