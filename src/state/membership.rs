//! Who is in which group: by the file, by those who look for targets, and by what was
//! said at run time.
//!
//! What was said at run time is kept over reloads and outweighs the file, which is told
//! when they contradict each other. It ends with its group, and with the process.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::time::Instant;

use super::publisher::Source;
use crate::config::{self, Config, TargetAddress, defaults};
use crate::model::{DrainReason, Draining, Registration, TargetGroupId, TargetId};

/// What is asked for one target at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetChange {
    /// To be in its group and active, with this weight (0-999), or else the listed one, or
    /// else 1. Takes back whatever was asked before.
    Register {
        /// See there.
        weight: Option<u16>,
    },
    /// To leave its group, wherever it is listed.
    Deregister,
    /// To stay in its group and get nothing new, until it is registered again.
    Drain,
    /// To have this weight: 0-999.
    Weight(u16),
}

/// Why a target is not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such group.
    #[error("there is no target group `{0}`")]
    UnknownGroup(TargetGroupId),
    /// Only what is in a group can be changed.
    #[error("{} is not a target of {}", .0.addr, .0.group)]
    UnknownTarget(TargetId),
    /// Its process would go on running, and count.
    #[error(
        "{} is a replica of {} that Weir runs: `replicas.count` says how many there are, \
         and drain takes one out of service", .0.addr, .0.group
    )]
    Replica(TargetId),
    /// Somebody registers without end.
    #[error("{MOST_FACTS} targets have been changed at run time, more are not remembered")]
    TooMany,
    /// The publisher has ended.
    #[error("Weir is stopping")]
    Stopping,
}

/// Targets with something said at run time: some hundred bytes each, and more than any
/// file lists.
const MOST_FACTS: usize = 10_000;

/// A member of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) addr: SocketAddr,
    pub(super) weight: u16,
    pub(super) registration: Registration,
}

/// Who is in which group.
#[derive(Debug, Default)]
pub(super) struct Membership {
    /// Members that are not in the file. Sorted, because the order of a roster must not
    /// change from run to run.
    found: BTreeMap<(TargetGroupId, Source), Vec<(SocketAddr, u16)>>,
    /// What was said at run time.
    facts: HashMap<TargetGroupId, BTreeMap<SocketAddr, Fact>>,
}

/// What was said about a target at run time.
#[derive(Clone, Copy, Debug, Default)]
struct Fact {
    presence: Presence,
    weight: Option<u16>,
    drained: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Presence {
    /// In the group while somebody lists it.
    #[default]
    Listed,
    /// In the group, whoever lists it.
    Registered,
    /// Not in the group.
    Deregistered,
}

/// An address somebody lists, and the weight it has there.
#[derive(Clone, Copy, Debug)]
struct Listed {
    addr: SocketAddr,
    weight: u16,
    by: By,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    File,
    Discovery,
    Replicas,
}

impl Membership {
    /// Replaces the members that one source lists.
    pub(super) fn set(
        &mut self,
        group: &TargetGroupId,
        source: Source,
        members: Vec<(SocketAddr, u16)>,
    ) {
        let is_replicas = source == Source::Replicas;
        let before = self.found.insert((group.clone(), source), members);
        if is_replicas {
            self.forget_replicas(group, &before.unwrap_or_default());
        }
    }

    /// The port of a replica that has gone will be somebody else's: what was said about
    /// the one does not hold for the other.
    fn forget_replicas(&mut self, group: &TargetGroupId, before: &[(SocketAddr, u16)]) {
        let Some(facts) = self.facts.get_mut(group) else {
            return;
        };
        let now = self.found.get(&(group.clone(), Source::Replicas));
        for (addr, _) in before {
            let stays = now.is_some_and(|now| now.iter().any(|(other, _)| other == addr));
            let is_listed = |fact: &Fact| fact.presence == Presence::Listed;
            if !stays && facts.get(addr).is_some_and(is_listed) {
                facts.remove(addr);
            }
        }
    }

    /// Forgets what belongs to groups and sources that `config` has no more.
    pub(super) fn retain(&mut self, config: &Config) {
        let gone = |key: &(TargetGroupId, Source)| !still_listed(config, &key.0, &key.1);
        let gone: Vec<_> = self.found.keys().filter(|key| gone(key)).cloned().collect();
        for key in gone {
            let before = self.found.remove(&key).unwrap_or_default();
            if key.1 == Source::Replicas {
                self.forget_replicas(&key.0, &before);
            }
        }
        self.facts.retain(|id, _| group(config, id).is_some());
    }

    /// The members of a group, each address once: the file's, in its order, then the found
    /// ones, then those that were only registered at run time.
    pub(super) fn of(&self, group: &config::TargetGroup) -> Vec<Entry> {
        let listed = self.listed(group);
        let Some(facts) = self.facts.get(&group.id) else {
            let entry = |listed: &Listed| Fact::default().entry(listed.addr, listed.weight);
            return listed.iter().map(entry).collect();
        };
        let known: HashSet<SocketAddr> = listed.iter().map(|listed| listed.addr).collect();
        let present = listed.iter().filter_map(|listed| {
            let fact = facts.get(&listed.addr).copied().unwrap_or_default();
            // What Weir runs cannot be deregistered, so this was said about another one.
            let is_out = fact.presence == Presence::Deregistered && listed.by != By::Replicas;
            (!is_out).then(|| fact.entry(listed.addr, listed.weight))
        });
        let registered = facts
            .iter()
            .filter(|(addr, fact)| fact.presence == Presence::Registered && !known.contains(addr));
        present
            .chain(registered.map(|(&addr, fact)| fact.entry(addr, defaults::WEIGHT)))
            .collect()
    }

    /// Takes in what is asked for a target at run time.
    pub(super) fn change(
        &mut self,
        config: &Config,
        id: &TargetId,
        change: TargetChange,
        now: Instant,
    ) -> Result<(), Refusal> {
        let unknown = || Refusal::UnknownGroup(id.group.clone());
        let group = group(config, &id.group).ok_or_else(unknown)?;
        let listed = self.listed(group);
        let listed = listed.iter().find(|listed| listed.addr == id.addr);
        let facts = self.facts.get(&id.group);
        let before = facts.and_then(|facts| facts.get(&id.addr).copied());
        if before.is_none() && self.count() >= MOST_FACTS {
            return Err(Refusal::TooMany);
        }
        let fact = before.unwrap_or_default();
        let is_member = match fact.presence {
            Presence::Listed => listed.is_some(),
            Presence::Registered => true,
            Presence::Deregistered => listed.is_some_and(|listed| listed.by == By::Replicas),
        };
        if !is_member && !matches!(change, TargetChange::Register { .. }) {
            return Err(Refusal::UnknownTarget(id.clone()));
        }
        if change == TargetChange::Deregister && listed.is_some_and(|l| l.by == By::Replicas) {
            return Err(Refusal::Replica(id.clone()));
        }
        let fact = fact.changed(change, listed.is_some(), now);
        let facts = self.facts.entry(id.group.clone()).or_default();
        match fact {
            Some(fact) => drop(facts.insert(id.addr, fact)),
            None => drop(facts.remove(&id.addr)),
        }
        Ok(())
    }

    fn count(&self) -> usize {
        self.facts.values().map(BTreeMap::len).sum()
    }

    /// Where what was said at run time stands, although `config` says something else.
    pub(super) fn contradictions(&self, config: &Config) -> Vec<String> {
        let gone = self.facts.iter();
        let gone = gone.filter(|(id, facts)| !facts.is_empty() && group(config, id).is_none());
        let mut gone: Vec<String> = gone
            .map(|(id, _)| format!("target group {id}: goes with what was set at run time"))
            .collect();
        gone.sort();
        let groups = config.target_groups.iter();
        gone.extend(groups.flat_map(|group| self.contradictions_in(group)));
        gone
    }

    fn contradictions_in(&self, group: &config::TargetGroup) -> Vec<String> {
        let Some(facts) = self.facts.get(&group.id) else {
            return Vec::new();
        };
        let listed = self.listed(group);
        let listed: HashMap<SocketAddr, &Listed> = listed.iter().map(|l| (l.addr, l)).collect();
        let contradiction = |(addr, fact): (&SocketAddr, &Fact)| {
            let said = fact.contradiction(listed.get(addr).copied())?;
            Some(format!("target {addr} of {}: {said}", group.id))
        };
        facts.iter().filter_map(contradiction).collect()
    }

    /// Who is listed for a group, each address once: the file's weight wins.
    fn listed(&self, group: &config::TargetGroup) -> Vec<Listed> {
        let mut seen = HashSet::new();
        let file = group.targets.iter().filter_map(|spec| match &spec.address {
            TargetAddress::Socket(addr) => Some(Listed {
                addr: *addr,
                weight: spec.weight,
                by: By::File,
            }),
            TargetAddress::Host { .. } | TargetAddress::Srv { .. } | TargetAddress::File { .. } => {
                None
            }
        });
        // The first there can be of a group.
        let first = (group.id.clone(), Source::Replicas);
        let found = self.found.range(first..);
        let found = found.take_while(|((id, _), _)| *id == group.id);
        let found = found.flat_map(|((_, source), members)| {
            let by = match source {
                Source::Replicas => By::Replicas,
                Source::Dns(..) | Source::Srv(_) | Source::File(_) => By::Discovery,
            };
            let listed = move |&(addr, weight): &(SocketAddr, u16)| Listed { addr, weight, by };
            members.iter().map(listed)
        });
        file.chain(found)
            .filter(|listed| seen.insert(listed.addr))
            .collect()
    }
}

impl Fact {
    /// What is known after a change; `None` when nothing is left to be said.
    fn changed(self, change: TargetChange, is_listed: bool, now: Instant) -> Option<Self> {
        match change {
            TargetChange::Register { weight: None } if is_listed => None,
            TargetChange::Register { weight } => Some(Self {
                presence: if is_listed {
                    Presence::Listed
                } else {
                    Presence::Registered
                },
                weight,
                drained: None,
            }),
            TargetChange::Deregister => is_listed.then_some(Self {
                presence: Presence::Deregistered,
                ..Self::default()
            }),
            TargetChange::Drain => Some(Self {
                drained: self.drained.or(Some(now)),
                ..self
            }),
            TargetChange::Weight(weight) => Some(Self {
                weight: Some(weight),
                ..self
            }),
        }
    }

    fn entry(self, addr: SocketAddr, listed: u16) -> Entry {
        let draining = |since| {
            Registration::Draining(Draining {
                reason: DrainReason::Requested,
                since,
                until: None,
            })
        };
        Entry {
            addr,
            weight: self.weight.unwrap_or(listed),
            registration: self.drained.map_or(Registration::Active, draining),
        }
    }

    fn contradiction(self, listed: Option<&Listed>) -> Option<String> {
        let said_by = |listed: &Listed| match listed.by {
            By::File => "the file lists it",
            By::Discovery | By::Replicas => "the file leads to it",
        };
        match (self.presence, listed, self.weight) {
            (Presence::Deregistered, Some(listed), _) if listed.by != By::Replicas => Some(
                format!("deregistered at run time, stays out; {}", said_by(listed)),
            ),
            (Presence::Registered, None, _) => {
                Some("registered at run time, stays; the file does not list it".to_owned())
            }
            (Presence::Listed | Presence::Registered, Some(listed), Some(weight))
                if listed.weight != weight && listed.by != By::Replicas =>
            {
                Some(format!(
                    "weight {weight} set at run time stays, the file says {}",
                    listed.weight
                ))
            }
            (Presence::Listed | Presence::Registered | Presence::Deregistered, _, _) => None,
        }
    }
}

fn group<'a>(config: &'a Config, id: &TargetGroupId) -> Option<&'a config::TargetGroup> {
    config.target_groups.iter().find(|group| group.id == *id)
}

/// Whether members from `source` still belong to a group of `config`.
pub(super) fn still_listed(config: &Config, id: &TargetGroupId, source: &Source) -> bool {
    let Some(group) = group(config, id) else {
        return false;
    };
    let mut addresses = group.targets.iter().map(|spec| &spec.address);
    match source {
        Source::Replicas => group.replicas.is_some(),
        Source::Dns(name, port) => addresses.any(|address| {
            matches!(address, TargetAddress::Host { name: n, port: p } if n == name && p == port)
        }),
        Source::Srv(name) => addresses
            .any(|address| matches!(address, TargetAddress::Srv { name: other } if other == name)),
        Source::File(path) => addresses
            .any(|address| matches!(address, TargetAddress::File { path: p, .. } if p == path)),
    }
}
