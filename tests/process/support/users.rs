//! Steady load.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use super::{Client, Reply};

/// Clients that send one request after another, each on a connection that it keeps until a
/// response announces the end. A broken connection fails the test, and so may `check`.
pub struct Users {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<usize>>,
}

impl Users {
    pub fn start<F>(addr: SocketAddr, count: usize, path: &'static str, check: F) -> Self
    where
        F: Fn(&Reply) + Clone + Send + 'static,
    {
        let stop = Arc::new(AtomicBool::new(false));
        let user = |_| {
            let (stop, check) = (Arc::clone(&stop), check.clone());
            thread::spawn(move || {
                let mut client = Client::connect(addr);
                let mut answers = 0;
                while !stop.load(Ordering::SeqCst) {
                    let reply = client.get(path).expect("no broken connection");
                    check(&reply);
                    answers += 1;
                    if reply.header("connection") == Some("close") {
                        client = Client::connect(addr);
                    }
                }
                answers
            })
        };
        let threads = (0..count).map(user).collect();
        Self { stop, threads }
    }

    /// Returns the number of all responses.
    pub fn stop(self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        self.threads
            .into_iter()
            .map(|user| user.join().unwrap())
            .sum()
    }
}
