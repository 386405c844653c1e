//! Steady load.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use super::{Client, Reply};

/// Clients that ask one thing after another, each on a connection it keeps until an answer
/// says that it closes. A broken connection fails the test, and so may the look at an answer.
pub struct Users {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<usize>>,
}

impl Users {
    pub fn start<F>(addr: SocketAddr, count: usize, path: &'static str, look: F) -> Self
    where
        F: Fn(&Reply) + Clone + Send + 'static,
    {
        let stop = Arc::new(AtomicBool::new(false));
        let user = |_| {
            let (stop, look) = (Arc::clone(&stop), look.clone());
            thread::spawn(move || {
                let mut client = Client::connect(addr);
                let mut answers = 0;
                while !stop.load(Ordering::SeqCst) {
                    let reply = client.get(path).expect("no broken connection");
                    look(&reply);
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

    /// How many answers all of them got.
    pub fn stop(self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        let threads = self.threads.into_iter();
        threads.map(|user| user.join().unwrap()).sum()
    }
}
