//! What a running Weir gives to the process that takes its place.

use std::io;
use std::net::TcpListener;

use super::running::Server;
use super::upgrade::{AdminSocket, HandoverState, ListenerSockets, ServingProof};
use super::worker::Worker;

impl Server {
    /// Copies of all listening sockets, the desired count of replicas of each group, and a
    /// reader of the live state.
    pub(super) fn handover_state(&self) -> io::Result<HandoverState> {
        let listeners = self.listeners.sockets().map(|(id, bind, sockets)| {
            Ok(ListenerSockets {
                id: id.clone(),
                bind,
                sockets: sockets
                    .iter()
                    .map(TcpListener::try_clone)
                    .collect::<io::Result<_>>()?,
            })
        });
        let admin = self.listeners.admin_socket().map(|(bind, socket)| {
            Ok::<_, io::Error>(AdminSocket {
                bind,
                socket: socket.try_clone()?,
            })
        });
        Ok(HandoverState {
            listeners: listeners.collect::<io::Result<_>>()?,
            admin: admin.transpose()?,
            replicas: self.control.counts(),
            reader: self.reader.clone(),
        })
    }

    /// What shows the predecessor that this process serves.
    pub(super) fn serving_proof(&self) -> ServingProof {
        ServingProof {
            reader: self.reader.clone(),
            ping: Worker::ping(&self.workers),
        }
    }

    /// Leaves scaling and the admin listener to the process that serves from now on.
    pub(super) fn retire(&mut self) {
        self.control.close_admin();
        self.control.leave_scaling();
    }
}
