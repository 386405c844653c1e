//! Every socket Weir listens on, from one configuration to the next.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::mpsc;

use super::moves::{self, Fresh, Held, Owner, Plan, Wanted};
use super::upgrade::Inherited;
use super::worker::{Accepting, Leaving, Opening};
use crate::config::Config;
use crate::listener::ConnectionLimit;
use crate::model::{ListenerId, SocketId};
use crate::net::descriptors::Share;
use crate::net::{BindError, listen, reserve, reserve_beside};

/// The sockets of one address.
#[derive(Debug)]
struct Place {
    id: SocketId,
    owner: Owner,
    /// As configured; the address itself where a wider one has taken it over.
    bind: SocketAddr,
    /// As bound.
    addr: SocketAddr,
    /// Copies: for the process that takes over, and so that no socket closes by accident.
    sockets: Vec<TcpListener>,
    /// For the accept loops, until they have them.
    handout: Vec<TcpListener>,
    /// Shared by the workers.
    limit: Arc<ConnectionLimit>,
    /// Each accept loop has a copy until its last connection has ended.
    alive: mpsc::Sender<Infallible>,
    ended: mpsc::Receiver<Infallible>,
}

/// Sockets that are parted with, while there are connections that they have accepted.
#[derive(Debug)]
struct Left {
    id: SocketId,
    addr: SocketAddr,
    /// The listener these connections belong to; `None` for those of the admin listener.
    listener: Option<ListenerId>,
    ended: mpsc::Receiver<Infallible>,
}

/// Every socket.
#[derive(Debug)]
pub(super) struct Listeners {
    places: Vec<Place>,
    left: Vec<Left>,
    ids: usize,
    /// For the connections of all of them.
    descriptors: Share,
}

/// What another configuration needs, bound and not yet listening. Dropping it changes nothing.
#[derive(Debug)]
pub(super) struct Prepared {
    wanted: Vec<Wanted>,
    plan: Plan,
    fresh: Vec<Place>,
}

/// A socket of the admin listener on its way to the control plane.
#[derive(Debug)]
pub(super) struct AdminOpening {
    pub(super) id: SocketId,
    pub(super) socket: TcpListener,
    /// Dropped when its last connection has ended.
    pub(super) alive: mpsc::Sender<Infallible>,
}

/// What the accept loops are to be told.
#[derive(Debug, Default)]
pub(super) struct Orders {
    /// Before the others: sockets that never were opened and have clients waiting.
    pub(super) open: Vec<Opening>,
    pub(super) leave: Vec<(SocketId, Leaving)>,
    pub(super) leave_admin: Vec<(SocketId, Accepting)>,
    /// Listeners that are gone and have nothing in their place.
    pub(super) gone: BTreeSet<ListenerId>,
}

impl Listeners {
    /// No sockets; their connections are to share `descriptors`.
    pub(super) fn new(descriptors: Share) -> Self {
        Self {
            places: Vec::new(),
            left: Vec::new(),
            ids: 0,
            descriptors,
        }
    }

    /// Takes in the sockets of the process before this one, at least one for each worker. With
    /// fewer workers some have two: a socket that no loop accepts from would keep the clients
    /// in its queue waiting.
    pub(super) fn inherit(
        &mut self,
        inherited: &mut Inherited,
        workers: usize,
    ) -> Result<(), BindError> {
        for (id, bind, mut sockets) in inherited.listeners() {
            let addr = address(&sockets, bind);
            let more = reserve_beside(addr, workers.saturating_sub(sockets.len()))?;
            listen(&more)?;
            sockets.extend(more);
            let place = self.place(Owner::Listener(id), bind, sockets)?;
            self.places.push(place);
        }
        if let Some((bind, socket)) = inherited.admin() {
            let place = self.place(Owner::Admin, bind, vec![socket])?;
            self.places.push(place);
        }
        Ok(())
    }

    /// Binds what `config` has and this has not. Changes nothing, and no client comes in yet.
    pub(super) fn prepare(
        &mut self,
        config: &Config,
        workers: usize,
    ) -> Result<Prepared, BindError> {
        let wanted = moves::wanted(config);
        let leaving: Vec<SocketAddr> = self.left.iter().map(|left| left.addr).collect();
        let plan = moves::plan(&self.held(), &wanted, &leaving);
        let mut fresh = Vec::new();
        for new in &plan.fresh {
            let sockets = self.bind(new, workers)?;
            fresh.push(self.place(new.owner.clone(), new.bind, sockets)?);
        }
        Ok(Prepared {
            wanted,
            plan,
            fresh,
        })
    }

    fn bind(&self, new: &Fresh, workers: usize) -> Result<Vec<TcpListener>, BindError> {
        let count = if new.owner.is_admin() { 1 } else { workers };
        let Some(from) = new.from else {
            return if new.beside {
                reserve_beside(new.bind, count)
            } else {
                reserve(new.bind, count)
            };
        };
        let mut places = self.places.iter();
        let shared = places.find(|place| place.id == from);
        let shared = shared.map_or(&[][..], |place| &place.sockets);
        let mut sockets = copies(shared, new.bind)?;
        let addr = address(&sockets, new.bind);
        sockets.extend(reserve_beside(addr, count.saturating_sub(sockets.len()))?);
        Ok(sockets)
    }

    fn place(
        &mut self,
        owner: Owner,
        bind: SocketAddr,
        sockets: Vec<TcpListener>,
    ) -> Result<Place, BindError> {
        let (alive, ended) = mpsc::channel(1);
        let place = Place {
            id: SocketId(self.ids),
            owner,
            bind,
            addr: address(&sockets, bind),
            handout: copies(&sockets, bind)?,
            sockets,
            limit: Arc::new(ConnectionLimit::new(0, self.descriptors.clone())),
            alive,
            ended,
        };
        self.ids += 1;
        Ok(place)
    }

    /// Takes in what was prepared for `config`, whose sockets listen by now. `drain` is what
    /// the connections of a listener that is gone have.
    pub(super) fn commit(
        &mut self,
        prepared: Prepared,
        config: &Config,
        drain: Duration,
    ) -> Orders {
        let Prepared {
            wanted,
            plan,
            fresh,
        } = prepared;
        let heirs = self.heirs(&plan, &wanted);
        let mut orders = Orders::default();
        self.pass_on(&heirs, drain, &mut orders);
        for (id, accepting) in &plan.left {
            self.part_with(*id, *accepting, &heirs, drain, &mut orders);
        }
        for (id, wanted) in plan.kept {
            if let Some(place) = self.places.iter_mut().find(|place| place.id == id) {
                place.owner = wanted.owner;
                place.bind = wanted.bind;
            }
        }
        for mut place in fresh {
            let beside = self.places.iter().find(|p| p.owner == place.owner);
            if let Some(beside) = beside {
                place.limit = Arc::clone(&beside.limit);
            }
            self.places.push(place);
        }
        for listener in &config.listeners {
            for place in self.of(&listener.id) {
                place.limit.set(listener.max_connections);
            }
        }
        orders
    }

    /// Which listener gets the connections of which; without one they drain.
    fn heirs(&self, plan: &Plan, wanted: &[Wanted]) -> BTreeMap<ListenerId, Option<ListenerId>> {
        let held = self.held();
        let owners = held.iter().filter_map(|held| held.owner.listener());
        let owners = owners.chain(self.left.iter().filter_map(|left| left.listener.as_ref()));
        let heir = |id: &ListenerId| (id.clone(), moves::heir(id, &held, plan, wanted));
        owners.map(heir).collect()
    }

    /// Connections of sockets that were parted with before.
    fn pass_on(
        &mut self,
        heirs: &BTreeMap<ListenerId, Option<ListenerId>>,
        drain: Duration,
        orders: &mut Orders,
    ) {
        for left in &mut self.left {
            let Some(listener) = &left.listener else {
                continue;
            };
            if let Some(Some(heir)) = heirs.get(listener) {
                left.listener = Some(heir.clone());
            } else {
                orders.gone.insert(listener.clone());
                let leaving = Leaving {
                    accepting: Accepting::Queued,
                    drain: Some(drain),
                };
                orders.leave.push((left.id, leaving));
            }
        }
    }

    fn part_with(
        &mut self,
        id: SocketId,
        accepting: Accepting,
        heirs: &BTreeMap<ListenerId, Option<ListenerId>>,
        drain: Duration,
        orders: &mut Orders,
    ) {
        let Some(at) = self.places.iter().position(|place| place.id == id) else {
            return;
        };
        let mut place = self.places.remove(at);
        let Some(owner) = place.owner.listener().cloned() else {
            orders.leave_admin.push((id, accepting));
            self.left.push(place.left(None));
            return;
        };
        let heir = heirs.get(&owner).cloned().flatten();
        if !place.is_open() {
            if heir.is_none() || accepting == Accepting::Nothing {
                return; // nothing was ever accepted from it, and nothing is going to be
            }
            orders.open.extend(place.hand_out());
        }
        let drain = heir.is_none().then_some(drain);
        orders.leave.push((id, Leaving { accepting, drain }));
        if heir.is_none() {
            orders.gone.insert(owner.clone());
        }
        self.left.push(place.left(Some(heir.unwrap_or(owner))));
    }

    /// Which listener serves the connections of which sockets.
    pub(super) fn served(&self) -> Vec<(SocketId, ListenerId)> {
        let places = self.places.iter();
        let open = places.filter_map(|place| Some((place.id, place.owner.listener()?.clone())));
        let left = self.left.iter();
        open.chain(left.filter_map(|left| Some((left.id, left.listener.clone()?))))
            .collect()
    }

    /// The sockets of a listener for the workers; none if they have them.
    pub(super) fn hand_out(&mut self, listener: &ListenerId) -> Vec<Opening> {
        let places = self.places.iter_mut();
        let own = places.filter(|place| place.owner.listener() == Some(listener));
        own.flat_map(Place::hand_out).collect()
    }

    /// The sockets of the admin listener that are not served yet.
    pub(super) fn hand_out_admin(&mut self) -> Vec<AdminOpening> {
        let places = self.places.iter_mut();
        let own = places.filter(|place| place.owner.is_admin());
        own.flat_map(Place::hand_out_admin).collect()
    }

    /// Whether the workers accept for a listener.
    pub(super) fn is_open(&self, listener: &ListenerId) -> bool {
        self.of(listener).any(Place::is_open)
    }

    /// Whether they do for any.
    pub(super) fn is_any_open(&self) -> bool {
        let mut places = self.places.iter();
        places.any(|place| !place.owner.is_admin() && place.is_open())
    }

    /// Listeners with sockets that the workers do not have, by name.
    pub(super) fn closed(&self) -> BTreeSet<ListenerId> {
        let closed = self.places.iter().filter(|place| !place.is_open());
        closed
            .filter_map(|place| place.owner.listener().cloned())
            .collect()
    }

    /// Where each listener of `config` listens, by name.
    pub(super) fn addresses<'a>(
        &'a self,
        config: &'a Config,
    ) -> BTreeMap<&'a ListenerId, SocketAddr> {
        let main = |listener: &'a crate::config::Listener| {
            let mut own = self.of(&listener.id);
            let place = own.find(|place| place.bind == listener.bind)?;
            Some((&listener.id, place.addr))
        };
        config.listeners.iter().filter_map(main).collect()
    }

    /// Where the admin listener listens.
    pub(super) fn admin_address(&self, bind: SocketAddr) -> Option<SocketAddr> {
        let mut places = self.places.iter();
        let place = places.find(|place| place.owner.is_admin() && place.bind == bind)?;
        Some(place.addr)
    }

    /// The sockets of every listener, with its address in the configuration.
    pub(super) fn sockets(
        &self,
    ) -> impl Iterator<Item = (&ListenerId, SocketAddr, &[TcpListener])> {
        let places = self.places.iter();
        places.filter_map(|place| {
            let id = place.owner.listener()?;
            Some((id, place.bind, place.sockets.as_slice()))
        })
    }

    /// The socket of the admin listener, likewise.
    pub(super) fn admin_socket(&self) -> Option<(SocketAddr, &TcpListener)> {
        let mut places = self.places.iter();
        let place = places.find(|place| place.owner.is_admin())?;
        Some((place.bind, place.sockets.first()?))
    }

    /// Closes the copies: as long as one is open the kernel lets clients in.
    pub(super) fn close_copies(&mut self) {
        for place in &mut self.places {
            place.sockets.clear();
            place.handout.clear();
        }
    }

    /// Client connections now open.
    pub(super) fn connections(&self) -> usize {
        let limits = self.places.iter().map(|place| &place.limit);
        let distinct: BTreeMap<_, _> = limits.map(|limit| (Arc::as_ptr(limit), limit)).collect();
        distinct.values().map(|limit| limit.open()).sum()
    }

    /// Whether connections of a listener are left on sockets that were parted with.
    pub(super) fn has_left(&self, listener: &ListenerId) -> bool {
        let mut left = self.left.iter();
        left.any(|left| left.listener.as_ref() == Some(listener))
    }

    /// Resolves when the last connection of sockets that were parted with has ended.
    /// Cancel-safe.
    pub(super) async fn ended(&mut self) {
        std::future::poll_fn(|context| self.poll_ended(context)).await;
    }

    fn poll_ended(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let before = self.left.len();
        // Nothing is ever sent: what is ready is the end.
        self.left
            .retain_mut(|left| left.ended.poll_recv(context).is_pending());
        if self.left.len() < before {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    fn of(&self, listener: &ListenerId) -> impl Iterator<Item = &Place> {
        let places = self.places.iter();
        places.filter(move |place| place.owner.listener() == Some(listener))
    }

    fn held(&self) -> Vec<Held> {
        let held = |place: &Place| Held {
            id: place.id,
            owner: place.owner.clone(),
            bind: place.bind,
            addr: place.addr,
        };
        self.places.iter().map(held).collect()
    }
}

impl Prepared {
    /// Lets clients in; they wait in the kernel's queue.
    pub(super) fn listen(&self) -> Result<(), BindError> {
        self.fresh
            .iter()
            .try_for_each(|place| listen(&place.sockets))
    }
}

impl Place {
    fn left(self, listener: Option<ListenerId>) -> Left {
        Left {
            id: self.id,
            addr: self.addr,
            listener,
            ended: self.ended,
        }
    }

    fn hand_out_admin(&mut self) -> impl Iterator<Item = AdminOpening> {
        let sockets = std::mem::take(&mut self.handout).into_iter();
        let (id, alive) = (self.id, self.alive.clone());
        sockets.map(move |socket| AdminOpening {
            id,
            socket,
            alive: alive.clone(),
        })
    }

    fn is_open(&self) -> bool {
        self.handout.is_empty()
    }

    fn hand_out(&mut self) -> Vec<Opening> {
        let Some(name) = self.owner.listener() else {
            return Vec::new();
        };
        let sockets = std::mem::take(&mut self.handout).into_iter();
        sockets
            .map(|socket| Opening {
                id: self.id,
                name: name.clone(),
                socket,
                limit: Arc::clone(&self.limit),
                alive: self.alive.clone(),
            })
            .collect()
    }
}

fn address(sockets: &[TcpListener], bind: SocketAddr) -> SocketAddr {
    let addr = sockets.first().and_then(|socket| socket.local_addr().ok());
    addr.unwrap_or(bind)
}

fn copies(sockets: &[TcpListener], bind: SocketAddr) -> Result<Vec<TcpListener>, BindError> {
    let copies: io::Result<_> = sockets.iter().map(TcpListener::try_clone).collect();
    copies.map_err(|source| BindError { addr: bind, source })
}
