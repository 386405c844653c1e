//! Decides which sockets serve which listener after a reload. Pure.
//!
//! Closing a listening socket resets the connections that wait in its queue, so a socket stays
//! open for as long as an address of the configuration covers its own: a listener that is
//! renamed keeps its sockets, and one that moves from `127.0.0.1:80` to `0.0.0.0:80`
//! keeps the narrow sockets beside the wide ones, because the kernel prefers them for that
//! address. Connections are served by the listener that replaces theirs.

use super::worker::Accepting;
use crate::config::Config;
use crate::model::{Endpoint, ListenerId, SocketId};

/// Which listener accepts from a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// A listener, on the workers.
    Listener(ListenerId),
    /// The admin listener, on the control thread.
    Admin,
}

/// The open sockets of one address.
#[derive(Clone, Debug)]
pub(super) struct HeldSockets {
    pub(super) id: SocketId,
    pub(super) owner: Owner,
    /// As configured.
    pub(super) bind: Endpoint,
    /// As bound.
    pub(super) addr: Endpoint,
}

/// An address of the next configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WantedAddress {
    pub(super) owner: Owner,
    pub(super) bind: Endpoint,
}

/// Sockets that have to be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NewSockets {
    pub(super) owner: Owner,
    pub(super) bind: Endpoint,
    /// Open sockets of the other kind of owner, copies of which are used.
    pub(super) from: Option<SocketId>,
    /// Whether sockets that are about to be left overlap with the address.
    pub(super) beside: bool,
}

/// What becomes of each socket.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SocketPlan {
    /// Sockets that stay open, with their owner and configured address from now on.
    pub(super) kept: Vec<(SocketId, WantedAddress)>,
    /// Sockets to be opened; those with fixed ports first, so that the kernel does not choose
    /// one of these ports for another.
    pub(super) new: Vec<NewSockets>,
    /// Sockets that are left, and which connections are still accepted from them.
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
pub(super) fn wanted(config: &Config) -> Vec<WantedAddress> {
    let listeners = config.listeners.iter().map(|listener| WantedAddress {
        owner: Owner::Listener(listener.id.clone()),
        bind: listener.bind.clone(),
    });
    let admin = config.admin.iter().map(|admin| WantedAddress {
        owner: Owner::Admin,
        bind: admin.bind.into(),
    });
    listeners.chain(admin).collect()
}

/// Decides what becomes of each socket. `leaving` are addresses of sockets that were left
/// before.
pub(super) fn plan(
    held: &[HeldSockets],
    wanted: &[WantedAddress],
    leaving: &[Endpoint],
) -> SocketPlan {
    let mut plan = SocketPlan::default();
    let mut left: Vec<&HeldSockets> = held.iter().collect();
    let mut missing = Vec::new();
    for wanted in wanted {
        match claimed(&left, wanted) {
            Some(at) => plan.take(left.remove(at), wanted.clone()),
            None => missing.push(wanted),
        }
    }
    let free: Vec<&Endpoint> = left.iter().map(|held| &held.addr).collect();
    let is_free = |addr: &Endpoint| free.contains(&addr) || leaving.contains(addr);
    for wanted in missing {
        let overlaps = |addr: &Endpoint| overlap(addr, &wanted.bind);
        // The address of a socket that another listener keeps is in use, like that of another
        // process.
        let is_in_use = held
            .iter()
            .any(|held| !is_free(&held.addr) && overlaps(&held.addr));
        plan.new.push(NewSockets {
            owner: wanted.owner.clone(),
            bind: wanted.bind.clone(),
            from: None,
            beside: free.iter().copied().chain(leaving).any(overlaps) && !is_in_use,
        });
    }
    for held in left {
        match wanted
            .iter()
            .find(|wanted| covers(&wanted.bind, &held.addr))
        {
            Some(wanted) => plan.take(
                held,
                WantedAddress {
                    owner: wanted.owner.clone(),
                    bind: held.addr.clone(),
                },
            ),
            None if wanted.iter().any(|w| overlap(&w.bind, &held.addr)) => {
                plan.left.push((held.id, Accepting::LateHandshakes));
            }
            None => plan.left.push((held.id, Accepting::Queued)),
        }
    }
    plan.new.sort_by_key(|new| new.bind.is_any_port());
    plan
}

impl SocketPlan {
    /// Gives open sockets to an owner.
    fn take(&mut self, held: &HeldSockets, wanted: WantedAddress) {
        if held.owner.is_admin() == wanted.owner.is_admin() {
            self.kept.push((held.id, wanted));
        } else {
            self.new.push(NewSockets {
                owner: wanted.owner,
                bind: wanted.bind,
                from: Some(held.id),
                beside: true,
            });
            self.left.push((held.id, Accepting::Nothing));
        }
    }
}

/// The listener that gets the connections of `listener`, for which `held` sockets were open:
/// the one with the same name, else with its sockets, else with an overlapping address, else
/// with the same port. `None` if it is removed and not replaced.
pub(super) fn replacement(
    listener: &ListenerId,
    held: &[HeldSockets],
    plan: &SocketPlan,
    wanted: &[WantedAddress],
) -> Option<ListenerId> {
    let candidates = || {
        wanted
            .iter()
            .filter_map(|wanted| Some((wanted.owner.listener()?, &wanted.bind)))
    };
    if candidates().any(|(id, _)| id == listener) {
        return Some(listener.clone());
    }
    let own: Vec<&HeldSockets> = held
        .iter()
        .filter(|held| held.owner.listener() == Some(listener))
        .collect();
    let with_sockets = own.iter().find_map(|held| {
        let (_, wanted) = plan.kept.iter().find(|(id, _)| *id == held.id)?;
        wanted.owner.listener()
    });
    let with_address = |is_near: fn(&Endpoint, &Endpoint) -> bool| {
        candidates()
            .find(|(_, bind)| own.iter().any(|held| is_near(&held.addr, bind)))
            .map(|(id, _)| id)
    };
    with_sockets
        .or_else(|| with_address(overlap))
        .or_else(|| with_address(has_same_port))
        .cloned()
}

/// The sockets that have an address already: preferably those of the same owner, then of the
/// same kind of owner. With port 0 several owners may ask for the same address.
fn claimed(held: &[&HeldSockets], wanted: &WantedAddress) -> Option<usize> {
    let has = |held: &HeldSockets| {
        if wanted.bind.is_any_port() {
            held.bind == wanted.bind && held.owner == wanted.owner
        } else {
            held.bind == wanted.bind || held.addr == wanted.bind
        }
    };
    held.iter()
        .enumerate()
        .filter(|(_, held)| has(held))
        .min_by_key(|(_, held)| {
            (
                held.owner != wanted.owner,
                held.owner.is_admin() != wanted.owner.is_admin(),
            )
        })
        .map(|(at, _)| at)
}

/// Whether a socket on one of two addresses prevents one on the other.
fn overlap(a: &Endpoint, b: &Endpoint) -> bool {
    let (Endpoint::Address(a), Endpoint::Address(b)) = (a, b) else {
        return a == b;
    };
    let wildcard = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.is_ipv4() == b.is_ipv4() && (a.ip() == b.ip() || wildcard)
}

/// Whether clients that connect to `narrow` are for a listener on `wide`.
fn covers(wide: &Endpoint, narrow: &Endpoint) -> bool {
    let is_wide = wide
        .address()
        .is_some_and(|wide| wide.ip().is_unspecified());
    overlap(wide, narrow) && (is_wide || wide == narrow)
}

fn has_same_port(a: &Endpoint, b: &Endpoint) -> bool {
    let (a, b) = (a.address(), b.address());
    a.zip(b).is_some_and(|(a, b)| a.port() == b.port())
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

    fn held(all: &[(&str, &str)]) -> Vec<HeldSockets> {
        let one = |(at, (name, addr)): (usize, &(&str, &str))| HeldSockets {
            id: SocketId(at),
            owner: owner(name),
            bind: addr.parse().unwrap(),
            addr: addr.parse().unwrap(),
        };
        all.iter().enumerate().map(one).collect()
    }

    fn want(all: &[(&str, &str)]) -> Vec<WantedAddress> {
        let one = |(name, bind): &(&str, &str)| WantedAddress {
            owner: owner(name),
            bind: bind.parse().unwrap(),
        };
        all.iter().map(one).collect()
    }

    fn planned(before: &[(&str, &str)], after: &[(&str, &str)]) -> SocketPlan {
        plan(&held(before), &want(after), &[])
    }

    fn kept(plan: &SocketPlan) -> Vec<(usize, Owner)> {
        plan.kept
            .iter()
            .map(|(id, wanted)| (id.0, wanted.owner.clone()))
            .collect()
    }

    fn replaced(name: &str, before: &[(&str, &str)], after: &[(&str, &str)]) -> Option<String> {
        let (held, wanted) = (held(before), want(after));
        let plan = plan(&held, &wanted, &[]);
        replacement(&name.into(), &held, &plan, &wanted).map(|id| id.to_string())
    }

    #[test]
    fn an_address_keeps_its_sockets_when_its_listener_is_renamed() {
        let plan = planned(
            &[("a", "127.0.0.1:80"), ("b", "127.0.0.1:81")],
            &[("b", "127.0.0.1:80"), ("a", "127.0.0.1:81")],
        );
        assert_eq!(kept(&plan), [(0, owner("b")), (1, owner("a"))]);
        assert_eq!((plan.new.len(), plan.left.len()), (0, 0));
    }

    #[test]
    fn narrow_sockets_stay_beside_wide_ones() {
        let plan = planned(&[("a", "127.0.0.1:80")], &[("b", "0.0.0.0:80")]);
        assert_eq!(kept(&plan), [(0, owner("b"))]);
        assert!(plan.new[0].beside && plan.new[0].from.is_none());
        assert_eq!(plan.left, []);
    }

    #[test]
    fn late_handshakes_on_wide_sockets_are_accepted_when_narrow_ones_take_over() {
        let plan = planned(&[("a", "0.0.0.0:80")], &[("a", "127.0.0.1:80")]);
        assert_eq!(plan.left, [(SocketId(0), Accepting::LateHandshakes)]);
        assert!(plan.new[0].beside);
        let both = [("a", "127.0.0.1:80"), ("a", "0.0.0.0:80")];
        let plan = planned(&both, &[("a", "127.0.0.1:80")]);
        assert_eq!(kept(&plan), [(0, owner("a"))]);
        assert_eq!(plan.left, [(SocketId(1), Accepting::LateHandshakes)]);
    }

    #[test]
    fn a_listener_and_the_admin_listener_can_exchange_their_addresses() {
        let plan = planned(
            &[("a", "127.0.0.1:80"), ("admin", "127.0.0.1:81")],
            &[("a", "127.0.0.1:81"), ("admin", "127.0.0.1:80")],
        );
        let from: Vec<_> = plan.new.iter().map(|f| (&f.owner, f.from)).collect();
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
        held[0].bind = "127.0.0.1:0".parse().unwrap();
        let wanted = want(&[("a", "127.0.0.1:0"), ("admin", "127.0.0.1:5000")]);
        assert!(!plan(&held, &wanted, &[]).new[0].beside);
    }

    #[test]
    fn another_port_or_family_is_left_with_its_queue_accepted() {
        let plan = planned(&[("a", "0.0.0.0:80")], &[("a", "[::]:80")]);
        assert_eq!(plan.left, [(SocketId(0), Accepting::Queued)]);
        assert!(!plan.new[0].beside);
    }

    #[test]
    fn a_unix_socket_is_kept_by_its_path_and_no_port_is_like_it() {
        let before = [("a", "unix:/run/a.sock"), ("b", "unix:/run/b.sock")];
        let plan = planned(&before, &[("c", "unix:/run/a.sock"), ("b", "127.0.0.1:80")]);
        assert_eq!(kept(&plan), [(0, owner("c"))]);
        assert_eq!(plan.left, [(SocketId(1), Accepting::Queued)]);
        assert!(!plan.new[0].beside);
        let after = [("c", "unix:/run/a.sock"), ("d", "unix:/run/d.sock")];
        assert_eq!(replaced("a", &before, &after).as_deref(), Some("c"));
        assert_eq!(replaced("b", &before, &after), None);
    }

    #[test]
    fn fixed_ports_are_bound_before_those_that_the_kernel_chooses() {
        let plan = planned(&[], &[("a", "127.0.0.1:0"), ("b", "127.0.0.1:80")]);
        let owners: Vec<_> = plan.new.iter().map(|f| f.owner.clone()).collect();
        assert_eq!(owners, [owner("b"), owner("a")]);
    }

    #[test]
    fn chosen_ports_are_kept_by_name_or_claimed_by_number() {
        let mut held = held(&[("a", "127.0.0.1:5000"), ("b", "127.0.0.1:5001")]);
        for held in &mut held {
            held.bind = "127.0.0.1:0".parse().unwrap();
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
        let replacement = |after: &[(&str, &str)]| replaced("a", &before, after);
        assert_eq!(replacement(&[("a", "127.0.0.1:99")]).as_deref(), Some("a"));
        assert_eq!(replacement(&[("c", "127.0.0.1:80")]).as_deref(), Some("c"));
        assert_eq!(replacement(&[("c", "0.0.0.0:80")]).as_deref(), Some("c"));
        assert_eq!(replacement(&[("c", "[::]:80")]).as_deref(), Some("c"));
        assert_eq!(replacement(&[("c", "127.0.0.1:99")]), None);
        assert_eq!(replacement(&[("admin", "127.0.0.1:80")]), None);
    }
}
