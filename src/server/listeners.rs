//! All listening sockets, from one configuration to the next.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::watch;
use tracing::warn;

use super::socket_plan::{self, HeldSockets, NewSockets, Owner, SocketPlan, WantedAddress};
use super::sockets::{AdminOpening, BoundSockets, LeftSockets, Reserved, copies, local_address};
use super::upgrade::{Inherited, ListenerSockets};
use super::worker::{Accepting, Leaving, Opening};

use crate::config::Config;
use crate::listener::ConnectionLimit;
use crate::model::{Endpoint, ListenerId, SocketId};
use crate::net::descriptors::DescriptorPool;
use crate::net::{
    BindError, ListeningSocket, SocketFile, listen, reserve, reserve_beside, reserve_unix,
};

/// The sockets of all listeners and of the admin listener.
#[derive(Debug)]
pub(super) struct Listeners {
    bound: Vec<BoundSockets>,
    /// The connections of each listener, for the status page.
    limits: watch::Sender<Vec<(ListenerId, Arc<ConnectionLimit>)>>,
    left: Vec<LeftSockets>,
    /// Files of Unix sockets that were left before this process may remove them.
    orphans: Vec<SocketFile>,
    next_id: usize,
    /// For the connections of all of them.
    descriptors: DescriptorPool,
}

/// The sockets of another configuration, bound and not yet listening. Dropping it changes
/// nothing.
#[derive(Debug)]
pub(super) struct Prepared {
    wanted: Vec<WantedAddress>,
    plan: SocketPlan,
    new: Vec<BoundSockets>,
}

/// What the accept loops have to do for a configuration.
#[derive(Debug, Default)]
pub(super) struct ListenerChanges {
    /// Carried out before the others: sockets that were never opened and have clients waiting.
    pub(super) open: Vec<Opening>,
    pub(super) leave: Vec<(SocketId, Leaving)>,
    pub(super) leave_admin: Vec<(SocketId, Accepting)>,
    /// Listeners that are removed and not replaced by another.
    pub(super) removed: BTreeSet<ListenerId>,
}

/// Which listener serves the connections of which one from now on; `None` if they drain.
type Replacements = BTreeMap<ListenerId, Option<ListenerId>>;

impl Listeners {
    /// No sockets. All connections share `descriptors`.
    pub(super) fn new(descriptors: DescriptorPool) -> Self {
        Self {
            bound: Vec::new(),
            limits: watch::Sender::default(),
            left: Vec::new(),
            orphans: Vec::new(),
            next_id: 0,
            descriptors,
        }
    }

    /// Takes the sockets of the predecessor, at least one for each worker. With
    /// fewer workers some have two: a socket that no loop accepts from would keep the clients
    /// in its queue waiting.
    pub(super) fn inherit(
        &mut self,
        inherited: &mut Inherited,
        workers: usize,
    ) -> Result<(), BindError> {
        for listener in inherited.take_listeners() {
            self.inherit_one(listener, workers)?;
        }
        if let Some(admin) = inherited.take_admin() {
            let reserved = Reserved {
                sockets: vec![admin.socket.into()],
                file: None,
            };
            let bound = self.bound_sockets(Owner::Admin, admin.bind.into(), reserved)?;
            self.bound.push(bound);
        }
        Ok(())
    }

    fn inherit_one(&mut self, listener: ListenerSockets, workers: usize) -> Result<(), BindError> {
        let (bind, mut sockets) = (listener.bind, listener.sockets);
        let addr = local_address(&sockets, &bind);
        let missing = workers.saturating_sub(sockets.len());
        let more = beside(&addr, &sockets, missing)?;
        listen(&addr, &more)?;
        sockets.extend(more);
        let file = bind.unix().zip(listener.file);
        let file =
            file.map(|(path, identity)| SocketFile::of_predecessor(path.as_path(), identity));
        let reserved = Reserved { sockets, file };
        let bound = self.bound_sockets(Owner::Listener(listener.id), bind, reserved)?;
        self.bound.push(bound);
        Ok(())
    }

    /// Binds the sockets that `config` needs and that are not open. Changes nothing, and no
    /// client can connect to them yet.
    pub(super) fn prepare(
        &mut self,
        config: &Config,
        workers: usize,
    ) -> Result<Prepared, BindError> {
        let wanted = socket_plan::wanted(config);
        let leaving: Vec<Endpoint> = self.left.iter().map(|left| left.addr.clone()).collect();
        let plan = socket_plan::plan(&self.held(), &wanted, &leaving);
        let mut new = Vec::new();
        for planned in &plan.new {
            let reserved = self.bind(planned, config, workers)?;
            let bind = planned.bind.clone();
            new.push(self.bound_sockets(planned.owner.clone(), bind, reserved)?);
        }
        Ok(Prepared { wanted, plan, new })
    }

    fn bind(
        &self,
        new: &NewSockets,
        config: &Config,
        workers: usize,
    ) -> Result<Reserved, BindError> {
        let count = if new.owner.is_admin() { 1 } else { workers };
        if let Some(from) = new.from {
            let shared = self.bound.iter().find(|bound| bound.id == from);
            let shared = shared.map_or(&[][..], |bound| &bound.sockets);
            let mut sockets = copies(shared, &new.bind)?;
            let addr = local_address(&sockets, &new.bind);
            let missing = count.saturating_sub(sockets.len());
            sockets.extend(beside(&addr, &sockets, missing)?);
            return Ok(Reserved {
                sockets,
                file: None,
            });
        }
        match &new.bind {
            Endpoint::Address(addr) => {
                let reserve = if new.beside { reserve_beside } else { reserve };
                let sockets = reserve(*addr, count)?.into_iter().map(Into::into);
                Ok(Reserved {
                    sockets: sockets.collect(),
                    file: None,
                })
            }
            Endpoint::Unix(path) => {
                let (socket, file) = reserve_unix(path, socket_mode(config, &new.owner))?;
                let mut sockets = vec![socket];
                sockets.extend(beside(&new.bind, &sockets, count.saturating_sub(1))?);
                let file = Some(file);
                Ok(Reserved { sockets, file })
            }
        }
    }

    fn bound_sockets(
        &mut self,
        owner: Owner,
        bind: Endpoint,
        reserved: Reserved,
    ) -> Result<BoundSockets, BindError> {
        let limit = ConnectionLimit::new(0, self.descriptors.clone());
        let bound = BoundSockets::new(SocketId(self.next_id), owner, bind, reserved, limit)?;
        self.next_id += 1;
        Ok(bound)
    }

    /// Adopts what was prepared for `config` and listens by now. Connections of a
    /// listener that is removed have `drain` to end.
    pub(super) fn commit(
        &mut self,
        prepared: Prepared,
        config: &Config,
        drain: Duration,
    ) -> ListenerChanges {
        let Prepared { wanted, plan, new } = prepared;
        let replacements = self.replacements(&plan, &wanted);
        let mut changes = ListenerChanges::default();
        self.pass_on(&replacements, drain, &mut changes);
        for (id, accepting) in &plan.left {
            self.leave(*id, *accepting, &replacements, drain, &mut changes);
        }
        for (id, wanted) in plan.kept {
            if let Some(bound) = self.bound.iter_mut().find(|bound| bound.id == id) {
                bound.owner = wanted.owner;
                bound.bind = wanted.bind;
            }
        }
        for mut new in new {
            if let Some(same) = self.bound.iter().find(|bound| bound.owner == new.owner) {
                new.limit = Arc::clone(&same.limit);
            }
            self.bound.push(new);
        }
        for listener in &config.listeners {
            for bound in self.of(&listener.id) {
                bound.limit.set(listener.max_connections);
                set_mode(bound, listener.socket_mode);
            }
        }
        let known = config.listeners.iter().filter_map(|listener| {
            let bound = self.of(&listener.id).next()?;
            Some((listener.id.clone(), Arc::clone(&bound.limit)))
        });
        self.limits.send_replace(known.collect());
        changes
    }

    /// The open connections of each listener, and how many it may have.
    pub(super) fn limits(&self) -> watch::Receiver<Vec<(ListenerId, Arc<ConnectionLimit>)>> {
        self.limits.subscribe()
    }

    fn replacements(&self, plan: &SocketPlan, wanted: &[WantedAddress]) -> Replacements {
        let held = self.held();
        let bound = held.iter().filter_map(|held| held.owner.listener());
        let left = self.left.iter().filter_map(|left| left.listener.as_ref());
        bound
            .chain(left)
            .map(|id| {
                (
                    id.clone(),
                    socket_plan::replacement(id, &held, plan, wanted),
                )
            })
            .collect()
    }

    /// Gives the connections of sockets that were left before to the replacements of their
    /// listeners.
    fn pass_on(
        &mut self,
        replacements: &Replacements,
        drain: Duration,
        changes: &mut ListenerChanges,
    ) {
        for left in &mut self.left {
            let Some(listener) = &left.listener else {
                continue;
            };
            if let Some(Some(replacement)) = replacements.get(listener) {
                left.listener = Some(replacement.clone());
            } else {
                changes.removed.insert(listener.clone());
                let leaving = Leaving {
                    accepting: Accepting::Queued,
                    drain: Some(drain),
                };
                changes.leave.push((left.id, leaving));
            }
        }
    }

    fn leave(
        &mut self,
        id: SocketId,
        accepting: Accepting,
        replacements: &Replacements,
        drain: Duration,
        changes: &mut ListenerChanges,
    ) {
        let Some(at) = self.bound.iter().position(|bound| bound.id == id) else {
            return;
        };
        let mut bound = self.bound.remove(at);
        self.orphans
            .extend(bound.file.take().filter(|file| !file.is_owned()));
        let Some(owner) = bound.owner.listener().cloned() else {
            changes.leave_admin.push((id, accepting));
            self.left.push(bound.into_left(None));
            return;
        };
        let replacement = replacements.get(&owner).cloned().flatten();
        if !bound.is_open() {
            if replacement.is_none() || accepting == Accepting::Nothing {
                return; // no connection was ever accepted from it, and none will be
            }
            changes.open.extend(bound.open());
        }
        let drain = replacement.is_none().then_some(drain);
        changes.leave.push((id, Leaving { accepting, drain }));
        if replacement.is_none() {
            changes.removed.insert(owner.clone());
        }
        self.left
            .push(bound.into_left(Some(replacement.unwrap_or(owner))));
    }

    /// Which listener serves the connections of which sockets.
    pub(super) fn served(&self) -> Vec<(SocketId, ListenerId)> {
        let bound = self
            .bound
            .iter()
            .filter_map(|bound| Some((bound.id, bound.owner.listener()?.clone())));
        let left = self
            .left
            .iter()
            .filter_map(|left| Some((left.id, left.listener.clone()?)));
        bound.chain(left).collect()
    }

    /// The sockets of a listener for the workers; none if they have them.
    pub(super) fn open(&mut self, listener: &ListenerId) -> Vec<Opening> {
        self.bound
            .iter_mut()
            .filter(|bound| bound.owner.listener() == Some(listener))
            .flat_map(BoundSockets::open)
            .collect()
    }

    /// The sockets of the admin listener that are not served yet.
    pub(super) fn open_admin(&mut self) -> Vec<AdminOpening> {
        self.bound
            .iter_mut()
            .filter(|bound| bound.owner.is_admin())
            .flat_map(BoundSockets::open_admin)
            .collect()
    }

    /// Whether the workers accept for a listener.
    pub(super) fn is_open(&self, listener: &ListenerId) -> bool {
        self.of(listener).any(BoundSockets::is_open)
    }

    /// Whether the workers accept for any listener.
    pub(super) fn is_any_open(&self) -> bool {
        self.bound
            .iter()
            .any(|bound| !bound.owner.is_admin() && bound.is_open())
    }

    /// Listeners with sockets that the workers do not have, by name.
    pub(super) fn unopened(&self) -> BTreeSet<ListenerId> {
        self.bound
            .iter()
            .filter(|bound| !bound.is_open())
            .filter_map(|bound| bound.owner.listener().cloned())
            .collect()
    }

    /// The bound address of each listener of `config`, by name.
    pub(super) fn addresses<'a>(
        &'a self,
        config: &'a Config,
    ) -> BTreeMap<&'a ListenerId, &'a Endpoint> {
        config
            .listeners
            .iter()
            .filter_map(|listener| {
                let mut own = self.of(&listener.id);
                let bound = own.find(|bound| bound.bind == listener.bind)?;
                Some((&listener.id, &bound.addr))
            })
            .collect()
    }

    /// The bound address of the admin listener.
    pub(super) fn admin_address(&self, bind: SocketAddr) -> Option<SocketAddr> {
        self.bound
            .iter()
            .find(|bound| bound.owner.is_admin() && bound.bind == bind.into())
            .and_then(|bound| bound.addr.address())
    }

    /// The sockets of every listener, by its name.
    pub(super) fn sockets(&self) -> impl Iterator<Item = (&ListenerId, &BoundSockets)> {
        self.bound
            .iter()
            .filter_map(|bound| Some((bound.owner.listener()?, bound)))
    }

    /// The socket of the admin listener, with its address in the configuration.
    pub(super) fn admin_socket(&self) -> Option<(SocketAddr, &TcpListener)> {
        let bound = self.bound.iter().find(|bound| bound.owner.is_admin())?;
        Some((bound.bind.address()?, bound.sockets.first()?.tcp()?))
    }

    /// Leaves the files of Unix sockets to the process that takes this one's place.
    pub(super) fn leave_files(&mut self) {
        for file in self.files() {
            file.set_owned(false);
        }
    }

    /// Takes the files of Unix sockets over: those that are not needed are removed.
    pub(super) fn own_files(&mut self) {
        for file in self.files() {
            file.set_owned(true);
        }
        self.orphans.clear();
    }

    fn files(&mut self) -> impl Iterator<Item = &mut SocketFile> {
        let bound = self.bound.iter_mut();
        let files = bound.filter_map(|bound| bound.file.as_mut());
        files.chain(&mut self.orphans)
    }

    /// Closes the copies: as long as one is open the kernel queues clients.
    pub(super) fn close_copies(&mut self) {
        self.bound.iter_mut().for_each(BoundSockets::close_copies);
    }

    /// Client connections now open.
    pub(super) fn connections(&self) -> usize {
        // Several sockets of a listener share a limit, which counts for all of them.
        let limits: BTreeMap<_, _> = self
            .bound
            .iter()
            .map(|bound| (Arc::as_ptr(&bound.limit), &bound.limit))
            .collect();
        limits.values().map(|limit| limit.open()).sum()
    }

    /// Whether connections of a listener are open on sockets that were left.
    pub(super) fn has_left(&self, listener: &ListenerId) -> bool {
        self.left
            .iter()
            .any(|left| left.listener.as_ref() == Some(listener))
    }

    /// Resolves when the last connection of sockets that were left has ended. Cancel-safe.
    pub(super) async fn ended(&mut self) {
        std::future::poll_fn(|context| self.poll_ended(context)).await;
    }

    fn poll_ended(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let before = self.left.len();
        // No message is ever sent: a receiver is ready when all senders are dropped.
        self.left
            .retain_mut(|left| left.ended.poll_recv(context).is_pending());
        if self.left.len() < before {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    fn of(&self, listener: &ListenerId) -> impl Iterator<Item = &BoundSockets> {
        self.bound
            .iter()
            .filter(move |bound| bound.owner.listener() == Some(listener))
    }

    fn held(&self) -> Vec<HeldSockets> {
        self.bound.iter().map(BoundSockets::held).collect()
    }
}

impl Prepared {
    /// Lets clients connect. They wait in the kernel's queue.
    pub(super) fn listen(&self) -> Result<(), BindError> {
        self.new
            .iter()
            .try_for_each(|new| listen(&new.bind, &new.sockets))
    }
}

/// More sockets beside those that are open: with Unix sockets, which cannot be bound twice, copies.
fn beside(
    addr: &Endpoint,
    open: &[ListeningSocket],
    count: usize,
) -> Result<Vec<ListeningSocket>, BindError> {
    match addr {
        Endpoint::Address(addr) => {
            let more = reserve_beside(*addr, count)?;
            Ok(more.into_iter().map(Into::into).collect())
        }
        Endpoint::Unix(_) => {
            let first = open.first().into_iter();
            let copies = first.cycle().take(count).map(ListeningSocket::try_clone);
            let copies: io::Result<_> = copies.collect();
            copies.map_err(|source| BindError {
                endpoint: addr.clone(),
                source,
            })
        }
    }
}

/// The permissions that a listener's Unix socket is to have.
fn socket_mode(config: &Config, owner: &Owner) -> Option<u32> {
    let id = owner.listener()?;
    let listener = config.listeners.iter().find(|listener| listener.id == *id);
    listener?.socket_mode
}

fn set_mode(bound: &BoundSockets, mode: Option<u32>) {
    let Some((file, mode)) = bound.file.as_ref().zip(mode) else {
        return;
    };
    if let Err(error) = file.set_mode(mode) {
        let socket = &bound.bind;
        warn!(%socket, %error, "cannot change the permissions of the socket; they stay as they are");
    }
}
