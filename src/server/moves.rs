//! Which sockets serve which listener after a reload. Pure.
//!
//! Closing a listening socket resets the connections that wait in its queue, so a socket stays
//! open for as long as an address of the configuration covers its own: a listener that is
//! renamed takes its sockets along, and one that moves from `127.0.0.1:80` to `0.0.0.0:80`
//! keeps the narrow sockets beside the wide ones, which the kernel prefers for that address.
//! Connections belong to the listener that takes the place of theirs.

use std::net::SocketAddr;

use super::worker::Accepting;
use crate::config::Config;
use crate::model::{ListenerId, SocketId};

/// What accepts from a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// A listener, on the workers.
    Listener(ListenerId),
    /// The admin listener, on the control thread.
    Admin,
}

/// Sockets that are open.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) id: SocketId,
    pub(super) owner: Owner,
    /// As configured.
    pub(super) bind: SocketAddr,
    /// As bound.
    pub(super) addr: SocketAddr,
}

/// An address of the next configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) owner: Owner,
    pub(super) bind: SocketAddr,
}

/// Sockets that are to be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fresh {
    pub(super) owner: Owner,
    pub(super) bind: SocketAddr,
    /// Open sockets of the other kind of owner, which are shared from now on.
    pub(super) from: Option<SocketId>,
    /// Whether sockets that are open have a part of the address.
    pub(super) beside: bool,
}

/// What becomes of every socket.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Those that stay open, for which owner, and the address they now stand for.
    pub(super) kept: Vec<(SocketId, Wanted)>,
    /// Those to be opened; with fixed ports first, so that none of these is taken when the
    /// kernel chooses one.
    pub(super) fresh: Vec<Fresh>,
    /// Those that are parted with.
    pub(super) left: Vec<(SocketId, Accepting)>,
}

impl Owner {
    pub(super) fn is_admin(&self) -> bool {
        *self == Self::Admin
    }

    /// The name of the listener, if it is one.
    pub(super) fn listener(&self) -> Option<&ListenerId> {
        match self {
            Self::Listener(id) => Some(id),
            Self::Admin => None,
        }
    }
}

/// The addresses of a configuration.
pub(super) fn wanted(config: &Config) -> Vec<Wanted> {
    let listeners = config.listeners.iter().map(|listener| Wanted {
        owner: Owner::Listener(listener.id.clone()),
        bind: listener.bind,
    });
    let admin = config.admin.iter().map(|admin| Wanted {
        owner: Owner::Admin,
        bind: admin.bind,
    });
    listeners.chain(admin).collect()
}

/// Decides what becomes of every socket; `leaving` are addresses of sockets that are parted
/// with already.
pub(super) fn plan(held: &[Held], wanted: &[Wanted], leaving: &[SocketAddr]) -> Plan {
    let mut plan = Plan::default();
    let mut left: Vec<&Held> = held.iter().collect();
    let mut missing = Vec::new();
    for wanted in wanted {
        match claimed(&left, wanted) {
            Some(at) => plan.take(left.remove(at), wanted.clone()),
            None => missing.push(wanted),
        }
    }
    let free: Vec<SocketAddr> = left.iter().map(|held| held.addr).collect();
    let is_free = |addr: SocketAddr| free.contains(&addr) || leaving.contains(&addr);
    let taken = || held.iter().filter(|held| !is_free(held.addr));
    for wanted in missing {
        let free = free.iter().chain(leaving);
        let overlaps = |addr: SocketAddr| overlap(addr, wanted.bind);
        plan.fresh.push(Fresh {
            owner: wanted.owner.clone(),
            bind: wanted.bind,
            from: None,
            // What another listener keeps is as taken as what another process has.
            beside: free.copied().any(overlaps) && !taken().any(|held| overlaps(held.addr)),
        });
    }
    for held in left {
        match wanted.iter().find(|wanted| covers(wanted.bind, held.addr)) {
            Some(wanted) => plan.take(
                held,
                Wanted {
                    owner: wanted.owner.clone(),
                    bind: held.addr,
                },
            ),
            None if wanted.iter().any(|w| overlap(w.bind, held.addr)) => {
                plan.left.push((held.id, Accepting::Moment));
            }
            None => plan.left.push((held.id, Accepting::Queued)),
        }
    }
    plan.fresh.sort_by_key(|fresh| fresh.bind.port() == 0);
    plan
}

impl Plan {
    /// Gives open sockets to an owner.
    fn take(&mut self, held: &Held, wanted: Wanted) {
        if held.owner.is_admin() == wanted.owner.is_admin() {
            self.kept.push((held.id, wanted));
        } else {
            self.fresh.push(Fresh {
                owner: wanted.owner,
                bind: wanted.bind,
                from: Some(held.id),
                beside: true,
            });
            self.left.push((held.id, Accepting::Nothing));
        }
    }
}

/// The listener that gets the connections of another one which `held` sockets were open for;
/// `None` if it is gone and nothing takes its place.
pub(super) fn heir(
    listener: &ListenerId,
    held: &[Held],
    plan: &Plan,
    wanted: &[Wanted],
) -> Option<ListenerId> {
    let ids = || wanted.iter().filter(|wanted| !wanted.owner.is_admin());
    let named = |wanted: &&Wanted| wanted.owner.listener() == Some(listener);
    let own = || {
        let is_own = |held: &&Held| held.owner.listener() == Some(listener);
        held.iter().filter(is_own)
    };
    let new_owner = |held: &Held| {
        let kept = plan.kept.iter().find(|(id, _)| *id == held.id);
        kept.and_then(|(_, wanted)| wanted.owner.listener().cloned())
    };
    let near = |is_near: fn(SocketAddr, SocketAddr) -> bool| {
        let near = |wanted: &&Wanted| own().any(|held| is_near(held.addr, wanted.bind));
        ids().find(near)
    };
    if ids().any(|wanted| named(&wanted)) {
        return Some(listener.clone());
    }
    own().find_map(new_owner).or_else(|| {
        let near = near(overlap).or_else(|| near(|a, b| a.port() == b.port()));
        near.and_then(|wanted| wanted.owner.listener().cloned())
    })
}

/// The sockets that have an address already: best those of the same owner, then of the same
/// kind. Where the kernel chooses the port several owners may ask for the same.
fn claimed(held: &[&Held], wanted: &Wanted) -> Option<usize> {
    let has = |held: &Held| match wanted.bind.port() {
        0 => held.bind == wanted.bind && held.owner == wanted.owner,
        _ => held.bind == wanted.bind || held.addr == wanted.bind,
    };
    let candidates = held.iter().enumerate().filter(|(_, held)| has(held));
    let best = candidates.min_by_key(|(_, held)| {
        (
            held.owner != wanted.owner,
            held.owner.is_admin() != wanted.owner.is_admin(),
        )
    });
    best.map(|(at, _)| at)
}

/// Whether a socket on one of two addresses is in the way of one on the other.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let wildcard = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.is_ipv4() == b.is_ipv4() && (a.ip() == b.ip() || wildcard)
}

/// Whether what is sent to `narrow` is for a listener on `wide`.
fn covers(wide: SocketAddr, narrow: SocketAddr) -> bool {
    overlap(wide, narrow) && (wide.ip().is_unspecified() || wide.ip() == narrow.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(name: &str) -> Owner {
        match name {
            "admin" => Owner::Admin,
            name => Owner::Listener(name.into()),
        }
    }

    fn held(all: &[(&str, &str)]) -> Vec<Held> {
        let one = |(at, (name, addr)): (usize, &(&str, &str))| Held {
            id: SocketId(at),
            owner: owner(name),
            bind: addr.parse().unwrap(),
            addr: addr.parse().unwrap(),
        };
        all.iter().enumerate().map(one).collect()
    }

    fn want(all: &[(&str, &str)]) -> Vec<Wanted> {
        let one = |(name, bind): &(&str, &str)| Wanted {
            owner: owner(name),
            bind: bind.parse().unwrap(),
        };
        all.iter().map(one).collect()
    }

    fn planned(before: &[(&str, &str)], after: &[(&str, &str)]) -> Plan {
        plan(&held(before), &want(after), &[])
    }

    fn kept(plan: &Plan) -> Vec<(usize, Owner)> {
        let kept = plan.kept.iter();
        kept.map(|(id, wanted)| (id.0, wanted.owner.clone()))
            .collect()
    }

    fn heir_of(name: &str, before: &[(&str, &str)], after: &[(&str, &str)]) -> Option<String> {
        let (held, wanted) = (held(before), want(after));
        let plan = plan(&held, &wanted, &[]);
        heir(&name.into(), &held, &plan, &wanted).map(|id| id.to_string())
    }

    #[test]
    fn the_same_address_keeps_its_sockets_whatever_its_listener_is_called() {
        let plan = planned(
            &[("a", "127.0.0.1:80"), ("b", "127.0.0.1:81")],
            &[("b", "127.0.0.1:80"), ("a", "127.0.0.1:81")],
        );
        assert_eq!(kept(&plan), [(0, owner("b")), (1, owner("a"))]);
        assert_eq!((plan.fresh.len(), plan.left.len()), (0, 0));
    }

    #[test]
    fn narrow_sockets_stay_beside_wide_ones() {
        let plan = planned(&[("a", "127.0.0.1:80")], &[("b", "0.0.0.0:80")]);
        assert_eq!(kept(&plan), [(0, owner("b"))]);
        assert!(plan.fresh[0].beside && plan.fresh[0].from.is_none());
        assert_eq!(plan.left, []);
    }

    #[test]
    fn wide_sockets_go_on_for_a_moment_when_narrow_ones_take_over() {
        let plan = planned(&[("a", "0.0.0.0:80")], &[("a", "127.0.0.1:80")]);
        assert_eq!(plan.left, [(SocketId(0), Accepting::Moment)]);
        assert!(plan.fresh[0].beside);
        let both = [("a", "127.0.0.1:80"), ("a", "0.0.0.0:80")];
        let plan = planned(&both, &[("a", "127.0.0.1:80")]);
        assert_eq!(kept(&plan), [(0, owner("a"))]);
        assert_eq!(plan.left, [(SocketId(1), Accepting::Moment)]);
    }

    #[test]
    fn the_two_kinds_of_owners_share_sockets_that_change_hands() {
        let plan = planned(
            &[("a", "127.0.0.1:80"), ("admin", "127.0.0.1:81")],
            &[("a", "127.0.0.1:81"), ("admin", "127.0.0.1:80")],
        );
        let from: Vec<_> = plan.fresh.iter().map(|f| (&f.owner, f.from)).collect();
        let expected = [
            (&owner("a"), Some(SocketId(1))),
            (&owner("admin"), Some(SocketId(0))),
        ];
        assert_eq!(from, expected);
        let nothing = [SocketId(1), SocketId(0)].map(|id| (id, Accepting::Nothing));
        assert_eq!(plan.left, nothing);
    }

    #[test]
    fn an_address_that_another_owner_keeps_is_not_shared() {
        let mut held = held(&[("a", "127.0.0.1:5000")]);
        held[0].bind.set_port(0);
        let wanted = want(&[("a", "127.0.0.1:0"), ("admin", "127.0.0.1:5000")]);
        assert!(!plan(&held, &wanted, &[]).fresh[0].beside);
    }

    #[test]
    fn another_port_or_family_is_left_with_its_queue_accepted() {
        let plan = planned(&[("a", "0.0.0.0:80")], &[("a", "[::]:80")]);
        assert_eq!(plan.left, [(SocketId(0), Accepting::Queued)]);
        assert!(!plan.fresh[0].beside);
    }

    #[test]
    fn fixed_ports_are_bound_before_those_that_the_kernel_chooses() {
        let plan = planned(&[], &[("a", "127.0.0.1:0"), ("b", "127.0.0.1:80")]);
        let owners: Vec<_> = plan.fresh.iter().map(|f| f.owner.clone()).collect();
        assert_eq!(owners, [owner("b"), owner("a")]);
    }

    #[test]
    fn chosen_ports_are_kept_by_name_or_claimed_by_number() {
        let mut held = held(&[("a", "127.0.0.1:5000"), ("b", "127.0.0.1:5001")]);
        for held in &mut held {
            held.bind.set_port(0);
        }
        let any = "127.0.0.1:0";
        let swapped = plan(&held, &want(&[("b", any), ("a", any)]), &[]);
        assert_eq!(kept(&swapped), [(1, owner("b")), (0, owner("a"))]);
        let named = plan(&held, &want(&[("c", "127.0.0.1:5001")]), &[]);
        assert_eq!(kept(&named), [(1, owner("c"))]);
    }

    #[test]
    fn connections_go_to_the_same_name_the_same_address_or_the_same_port() {
        let before = [("a", "127.0.0.1:80"), ("b", "127.0.0.1:81")];
        let heir = |after: &[(&str, &str)]| heir_of("a", &before, after);
        assert_eq!(heir(&[("a", "127.0.0.1:99")]).as_deref(), Some("a"));
        assert_eq!(heir(&[("c", "127.0.0.1:80")]).as_deref(), Some("c"));
        assert_eq!(heir(&[("c", "0.0.0.0:80")]).as_deref(), Some("c"));
        assert_eq!(heir(&[("c", "[::]:80")]).as_deref(), Some("c"));
        assert_eq!(heir(&[("c", "127.0.0.1:99")]), None);
        assert_eq!(heir(&[("admin", "127.0.0.1:80")]), None);
    }
}
