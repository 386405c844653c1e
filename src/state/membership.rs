//! Which targets are in which group: by the file, by the sources that look for targets, and
//! by what was said at run time (see [`Fact`]).
//!
//! A reload does not forget addresses for which it only has other words: a host name with
//! another port keeps its addresses, with the new port. And a group that would be empty until
//! its new names and files have answered keeps the targets it had.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::time::Instant;

use tracing::info;

use super::change::Source;
use super::fact::{By, Entry, Fact, Listed, MOST_FACTS, Presence, Refusal, TargetChange};
use crate::config::{self, TargetAddress, defaults};
use crate::model::{TargetGroupId, TargetId};

/// Which targets are in which group.
#[derive(Debug, Default)]
pub(super) struct Membership {
    groups: HashMap<TargetGroupId, Members>,
    /// How many facts there are, over all groups.
    facts: usize,
}

/// The members of one group.
#[derive(Debug, Default)]
struct Members {
    /// By address and weight, in the order of the file.
    file: Vec<(SocketAddr, u16)>,
    /// Sorted, because the order of a roster must not change from run to run.
    sources: BTreeMap<Source, List>,
    /// Targets from before a reload, for as long as nothing else is listed.
    stand_ins: Vec<Listed>,
    facts: BTreeMap<SocketAddr, Fact>,
    /// What the fields before `facts` come to; empty after one of them changed.
    listing: OnceCell<Listing>,
}

/// What a source lists; `None` while it has not answered.
type List = Option<Vec<(SocketAddr, u16)>>;

/// What is listed, each address once: the file's weight wins.
#[derive(Debug, Default)]
struct Listing {
    entries: Vec<Listed>,
    /// Where an address stands in them.
    places: HashMap<SocketAddr, usize>,
}

impl Membership {
    /// Takes over what the configuration says of a group that is new or has changed.
    pub(super) fn configure(&mut self, group: &config::TargetGroup) {
        let members = self.groups.entry(group.id.clone()).or_default();
        let known = members.facts.len();
        members.configure(group);
        self.facts -= known - members.facts.len();
    }

    /// Forgets a group. Says so if something goes with it that was said at run time.
    pub(super) fn remove(&mut self, group: &TargetGroupId) -> Option<String> {
        let members = self.groups.remove(group)?;
        self.facts -= members.facts.len();
        let said = !members.facts.is_empty();
        said.then(|| format!("target group {group}: goes with what was set at run time"))
    }

    /// Replaces the members that one source lists; says whether that is another list. A source
    /// that the group does not have is not believed: it may have been removed while its list
    /// was on the way.
    pub(super) fn set(
        &mut self,
        group: &TargetGroupId,
        source: &Source,
        list: Vec<(SocketAddr, u16)>,
    ) -> bool {
        let Some(members) = self.groups.get_mut(group) else {
            return false;
        };
        let known = members.facts.len();
        let changed = members.set(source, list);
        self.facts -= known - members.facts.len();
        changed
    }

    /// Whether the configuration has a group.
    pub(super) fn has(&self, group: &TargetGroupId) -> bool {
        self.groups.contains_key(group)
    }

    /// The members of a group, each address once: the file's, in its order, then the found
    /// ones, then those that were only registered at run time.
    pub(super) fn of(&self, group: &TargetGroupId) -> Vec<Entry> {
        self.groups
            .get(group)
            .map(Members::entries)
            .unwrap_or_default()
    }

    /// Takes in what is asked for a target at run time.
    pub(super) fn change(
        &mut self,
        id: &TargetId,
        change: TargetChange,
        now: Instant,
    ) -> Result<(), Refusal> {
        let unknown = || Refusal::UnknownGroup(id.group.clone());
        let members = self.groups.get_mut(&id.group).ok_or_else(unknown)?;
        let known = members.facts.len();
        members.change(id, change, self.facts >= MOST_FACTS, now)?;
        self.facts = self.facts - known + members.facts.len();
        Ok(())
    }

    /// Where what was said of a group at run time stands, although its configuration says
    /// something else.
    pub(super) fn contradictions(&self, group: &TargetGroupId) -> Vec<String> {
        let Some(members) = self.groups.get(group) else {
            return Vec::new();
        };
        let contradiction = |(addr, fact): (&SocketAddr, &Fact)| {
            let said = fact.contradiction(members.listed(*addr))?;
            Some(format!("target {addr} of {group}: {said}"))
        };
        members.facts.iter().filter_map(contradiction).collect()
    }
}

impl Members {
    fn configure(&mut self, group: &config::TargetGroup) {
        let before = std::mem::take(self);
        *self = Self {
            file: in_file(group),
            sources: sources(group, &before.sources),
            ..Self::default()
        };
        if self.listing().entries.is_empty() && self.awaits_names() {
            self.stand_in(before.listing());
            if !self.stand_ins.is_empty() {
                info!(
                    group = %group.id, targets = self.stand_ins.len(),
                    "target group keeps its targets until its new names or files have answered"
                );
            }
        }
        self.facts = before.facts;
        if !self.sources.contains_key(&Source::Replicas)
            && let Some(Some(replicas)) = before.sources.get(&Source::Replicas)
        {
            self.forget_replicas(replicas);
        }
    }

    /// Whether a source that does not begin empty has not answered yet.
    fn awaits_names(&self) -> bool {
        let mut sources = self.sources.iter();
        sources.any(|(source, answer)| answer.is_none() && *source != Source::Replicas)
    }

    /// Replicas end with what the configuration said of them; others go on for a while.
    fn stand_in(&mut self, before: &Listing) {
        let others = before.entries.iter();
        let others = others.filter(|listed| listed.by != By::Replicas);
        self.stand_ins = others.copied().collect();
        self.listing.take();
    }

    fn set(&mut self, source: &Source, list: Vec<(SocketAddr, u16)>) -> bool {
        let Some(answer) = self.sources.get_mut(source) else {
            return false;
        };
        if answer.as_ref() == Some(&list) {
            return false;
        }
        let before = answer.replace(list).unwrap_or_default();
        self.listing.take();
        if *source == Source::Replicas {
            self.forget_replicas(&before);
        }
        true
    }

    /// The port of a replica that has gone will be another process's: what was said about
    /// the one does not hold for the other.
    fn forget_replicas(&mut self, before: &[(SocketAddr, u16)]) {
        if self.facts.is_empty() {
            return;
        }
        let now = self.sources.get(&Source::Replicas);
        let now = now.into_iter().flatten().flatten();
        let now: HashSet<SocketAddr> = now.map(|(addr, _)| *addr).collect();
        for (addr, _) in before {
            let is_listed = |fact: &Fact| fact.presence == Presence::Listed;
            if !now.contains(addr) && self.facts.get(addr).is_some_and(is_listed) {
                self.facts.remove(addr);
            }
        }
    }

    fn change(
        &mut self,
        id: &TargetId,
        change: TargetChange,
        is_full: bool,
        now: Instant,
    ) -> Result<(), Refusal> {
        let listed = self.listed(id.addr).copied();
        let is_replica = listed.is_some_and(|listed| listed.by == By::Replicas);
        let before = self.facts.get(&id.addr).copied();
        if before.is_none() && is_full {
            return Err(Refusal::TooMany);
        }
        let fact = before.unwrap_or_default();
        let is_member = match fact.presence {
            Presence::Listed => listed.is_some(),
            Presence::Registered => true,
            Presence::Deregistered => is_replica,
        };
        if !is_member && !matches!(change, TargetChange::Register { .. }) {
            return Err(Refusal::UnknownTarget(id.clone()));
        }
        if change == TargetChange::Deregister && is_replica {
            return Err(Refusal::Replica(id.clone()));
        }
        match fact.changed(change, listed.is_some(), now) {
            Some(fact) => drop(self.facts.insert(id.addr, fact)),
            None => drop(self.facts.remove(&id.addr)),
        }
        Ok(())
    }

    fn entries(&self) -> Vec<Entry> {
        let listing = self.listing();
        let present = listing.entries.iter().filter_map(|listed| {
            let fact = self.facts.get(&listed.addr).copied().unwrap_or_default();
            // What Weir runs cannot be deregistered, so this was said about another one.
            let is_out = fact.presence == Presence::Deregistered && listed.by != By::Replicas;
            (!is_out).then(|| fact.entry(listed.addr, listed.weight))
        });
        let registered = self.facts.iter().filter(|(addr, fact)| {
            fact.presence == Presence::Registered && !listing.places.contains_key(addr)
        });
        present
            .chain(registered.map(|(&addr, fact)| fact.entry(addr, defaults::WEIGHT)))
            .collect()
    }

    fn listed(&self, addr: SocketAddr) -> Option<&Listed> {
        let listing = self.listing();
        let place = listing.places.get(&addr)?;
        Some(&listing.entries[*place])
    }

    fn listing(&self) -> &Listing {
        self.listing.get_or_init(|| {
            let file = self.file.iter().map(|&(addr, weight)| Listed {
                addr,
                weight,
                by: By::File,
            });
            let found = self.sources.iter().flat_map(|(source, answer)| {
                let by = match source {
                    Source::Replicas => By::Replicas,
                    Source::Dns(..) | Source::Srv(_) | Source::File(_) => By::Discovery,
                };
                let listed = move |&(addr, weight): &(SocketAddr, u16)| Listed { addr, weight, by };
                answer.iter().flatten().map(listed)
            });
            let listing = Listing::new(file.chain(found));
            if listing.entries.is_empty() {
                Listing::new(self.stand_ins.iter().copied())
            } else {
                listing
            }
        })
    }
}

impl Listing {
    fn new(listed: impl Iterator<Item = Listed>) -> Self {
        let mut listing = Self::default();
        for listed in listed {
            let next = listing.entries.len();
            if *listing.places.entry(listed.addr).or_insert(next) == next {
                listing.entries.push(listed);
            }
        }
        listing
    }
}

fn in_file(group: &config::TargetGroup) -> Vec<(SocketAddr, u16)> {
    let targets = group.targets.iter();
    let known = targets.filter_map(|spec| match &spec.address {
        TargetAddress::Socket(addr) => Some((*addr, spec.weight)),
        TargetAddress::Host { .. } | TargetAddress::Srv { .. } | TargetAddress::File { .. } => None,
    });
    known.collect()
}

/// The sources that a group has, with what they have answered so far.
fn sources(group: &config::TargetGroup, before: &BTreeMap<Source, List>) -> BTreeMap<Source, List> {
    let mut sources = BTreeMap::new();
    if group.replicas.is_some() {
        let answer = before.get(&Source::Replicas).cloned().flatten();
        sources.insert(Source::Replicas, answer);
    }
    for spec in &group.targets {
        let source = match &spec.address {
            TargetAddress::Socket(_) => continue,
            TargetAddress::Host { name, port } => Source::Dns(name.clone(), *port),
            TargetAddress::Srv { name } => Source::Srv(name.clone()),
            TargetAddress::File { path, .. } => Source::File(path.clone()),
        };
        // The first of several for one source counts.
        sources
            .entry(source)
            .or_insert_with_key(|source| match source {
                Source::Dns(name, port) => resolved(name, *port, spec.weight, before),
                Source::Replicas | Source::Srv(_) | Source::File(_) => {
                    before.get(source).cloned().flatten()
                }
            });
    }
    sources
}

/// The addresses that a host name had, with the port and weight it has now.
fn resolved(name: &str, port: u16, weight: u16, before: &BTreeMap<Source, List>) -> List {
    let own = before.get(&Source::Dns(name.to_owned(), port));
    let of_name = || {
        let from = Source::Dns(name.to_owned(), 0)..=Source::Dns(name.to_owned(), u16::MAX);
        before.range(from).find_map(|(_, answer)| answer.as_ref())
    };
    let known = own.and_then(Option::as_ref).or_else(of_name)?;
    let member = |&(addr, _): &(SocketAddr, u16)| (SocketAddr::new(addr.ip(), port), weight);
    Some(known.iter().map(member).collect())
}
