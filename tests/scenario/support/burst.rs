//! Many clients at once.

use std::net::SocketAddr;

use tokio::task::JoinSet;

use super::{Connection, Lb, Reply, eventually};

/// Starts `clients` clients with one request each; their replies come in any order.
pub fn ask(addr: SocketAddr, clients: usize) -> JoinSet<Reply> {
    let mut replies = JoinSet::new();
    for _ in 0..clients {
        replies.spawn(async move { Connection::open(addr).await.get("/").await });
    }
    replies
}

/// Waits until `count` requests are in the queue of the group `app`.
pub async fn until_waiting(lb: &Lb, count: usize) {
    eventually(&format!("{count} requests wait"), || async {
        let waiting = lb.group_status("app").await.waiting;
        (waiting == count)
            .then_some(())
            .ok_or(format!("{waiting} wait"))
    })
    .await;
}
