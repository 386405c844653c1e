//! Whether the event loops of all workers run.

use tokio::sync::{mpsc, oneshot};

use super::command::Command;

/// Pings workers.
#[derive(Clone, Debug)]
pub(in crate::server) struct WorkerPing(Vec<mpsc::UnboundedSender<Command>>);

impl WorkerPing {
    pub(super) fn new(workers: Vec<mpsc::UnboundedSender<Command>>) -> Self {
        Self(workers)
    }

    /// Resolves to `true` when every worker has answered, and to `false` when one is gone. A
    /// worker that hangs never answers.
    pub(in crate::server) async fn all_answer(&self) -> bool {
        let asked: Vec<_> = self.0.iter().map(ping).collect();
        for answered in asked {
            if answered.await.is_err() {
                return false;
            }
        }
        true
    }
}

fn ping(worker: &mpsc::UnboundedSender<Command>) -> oneshot::Receiver<()> {
    let (answer, answered) = oneshot::channel();
    // An error drops `answer`, which `answered` reports.
    let _ = worker.send(Command::Ping(answer));
    answered
}
