//! The accept loops of the admin listener.

use std::net::TcpListener;

use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::error;

use crate::admin;
use crate::model::SocketId;
use crate::server::sockets::AdminOpening;
use crate::server::supervision::Supervision;
use crate::server::worker::{Accepting, LATE_HANDSHAKE_TIMEOUT};

/// The accept loops that run.
#[derive(Debug, Default)]
pub(super) struct AdminLoops(Vec<AdminLoop>);

/// The accept loop of one socket.
#[derive(Debug)]
struct AdminLoop {
    id: SocketId,
    stop: watch::Sender<Option<StopAdmin>>,
}

/// How an accept loop ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StopAdmin {
    /// It accepts the clients that wait in the socket's queue.
    AcceptQueue,
    /// Another accept loop has the same socket and accepts them.
    LeaveQueue,
}

impl AdminLoops {
    /// Accepts clients on a socket.
    pub(super) fn serve(
        &mut self,
        opening: AdminOpening,
        context: admin::Context,
        supervision: Supervision,
        tasks: &mut JoinSet<()>,
    ) {
        let (stop, stopped) = watch::channel(None);
        self.0.push(AdminLoop {
            id: opening.id,
            stop,
        });
        let task = supervision.restart("admin", serve_again(opening.socket, context, stopped));
        tasks.spawn(async move {
            task.await;
            drop(opening.alive);
        });
    }

    /// Leaves sockets; their connections go on to their end.
    pub(super) fn leave(&mut self, id: SocketId, accepting: Accepting, tasks: &mut JoinSet<()>) {
        for AdminLoop { stop, .. } in self.0.extract_if(.., |admin| admin.id == id) {
            match accepting {
                Accepting::Queued => drop(stop.send_replace(Some(StopAdmin::AcceptQueue))),
                Accepting::Nothing => drop(stop.send_replace(Some(StopAdmin::LeaveQueue))),
                Accepting::LateHandshakes => {
                    tasks.spawn(async move {
                        sleep(LATE_HANDSHAKE_TIMEOUT).await;
                        stop.send_replace(Some(StopAdmin::AcceptQueue));
                    });
                }
            }
        }
    }

    /// Leaves the clients of all sockets to the process that has the sockets now.
    pub(super) fn close(&mut self) {
        for admin in self.0.drain(..) {
            admin.stop.send_replace(Some(StopAdmin::LeaveQueue));
        }
    }
}

/// Serves the admin listener on a copy of its socket until it is stopped; after a panic on
/// another copy.
fn serve_again(
    socket: TcpListener,
    context: admin::Context,
    stopped: watch::Receiver<Option<StopAdmin>>,
) -> impl FnMut() -> BoxFuture<'static, ()> + use<> {
    move || {
        let copy = socket.try_clone();
        let copy = copy.and_then(tokio::net::TcpListener::from_std);
        let (context, stopped) = (context.clone(), stopped_by(stopped.clone()));
        Box::pin(async move {
            match copy {
                Ok(socket) => admin::serve(socket, context, stopped).await,
                Err(error) => error!(%error, "the admin listener cannot be opened"),
            }
        })
    }
}

/// Resolves when an accept loop has to end. Returns whether it accepts the clients in its
/// queue.
async fn stopped_by(mut stopped: watch::Receiver<Option<StopAdmin>>) -> bool {
    // An error means that the process ends, and every connection with it.
    let stopped = stopped.wait_for(Option::is_some).await;
    stopped.is_ok_and(|stop| *stop == Some(StopAdmin::AcceptQueue))
}
