//! What a running Weir gives to the process that takes its place.

use std::io;

use super::running::Server;
use super::upgrade::{AdminSocket, HandoverState, ListenerSockets, ServingProof};
use super::worker::Worker;
use crate::net::{ListeningSocket, SocketFile};

impl Server {
    /// Copies of all listening sockets, the desired count of replicas of each group, and a
    /// reader of the live state.
    pub(super) fn handover_state(&self) -> io::Result<HandoverState> {
        let listeners = self.listeners.sockets().map(|(id, bound)| {
            let sockets = bound.sockets.iter().map(ListeningSocket::try_clone);
            Ok(ListenerSockets {
                id: id.clone(),
                bind: bound.bind.clone(),
                sockets: sockets.collect::<io::Result<_>>()?,
                file: bound.file.as_ref().map(SocketFile::identity),
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

    /// Takes the place of the process that has given its sockets away.
    pub(super) fn take_place(&mut self) {
        self.control.begin_scaling();
        self.listeners.own_files();
    }

    /// Leaves scaling, the admin listener and the files of Unix sockets to the process that serves
    /// from now on.
    pub(super) fn retire(&mut self) {
        self.listeners.leave_files();
        self.control.close_admin();
        self.control.leave_scaling();
    }
}
