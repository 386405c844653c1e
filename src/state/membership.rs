//! Which targets are in which group: by the file, by the sources that look for targets, and
//! by what was set at run time (see [`RuntimeSettings`]).
//!
//! A reload does not forget addresses which it only names in another way: a host name with
//! another port keeps its addresses, with the new port. And a group that would be empty until
//! its new names and files are resolved keeps the targets it had.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Instant;

use tracing::info;

use super::change::Source;
use super::runtime_settings::{
    GroupMember, ListedBy, ListedTarget, MAX_CHANGED_TARGETS, Presence, Refusal, RuntimeSettings,
    TargetChange,
};
use crate::config::{self, TargetAddress, defaults};
use crate::model::{Endpoint, TargetGroupId, TargetId};

/// Which targets are in which group.
#[derive(Debug, Default)]
pub(super) struct Membership {
    groups: HashMap<TargetGroupId, Members>,
    /// How many targets have settings of their own, over all groups.
    changed_targets: usize,
}

/// The members of one group.
#[derive(Debug, Default)]
struct Members {
    /// By address and weight, in the order of the file.
    file: Vec<(Endpoint, u16)>,
    /// Sorted, because the order of a roster must not change from run to run.
    sources: BTreeMap<Source, List>,
    /// Targets from before a reload, for as long as nothing else is listed.
    stand_ins: Vec<ListedTarget>,
    runtime: BTreeMap<Endpoint, RuntimeSettings>,
    /// Computed from the fields before `runtime`; empty after one of them has changed.
    listing: OnceCell<Listing>,
}

/// What a source lists; `None` while it has not reported.
type List = Option<Vec<(Endpoint, u16)>>;

/// What is listed, each address once: the file's weight wins.
#[derive(Debug, Default)]
struct Listing {
    targets: Vec<ListedTarget>,
    /// The position of each address in `targets`.
    positions: HashMap<Endpoint, usize>,
}

impl Membership {
    /// Applies the configuration of a group that is new or has changed.
    pub(super) fn configure(&mut self, group: &config::TargetGroup) {
        let members = self.groups.entry(group.id.clone()).or_default();
        let known = members.runtime.len();
        members.configure(group);
        self.changed_targets -= known - members.runtime.len();
    }

    /// Forgets a group. Returns a message if something was set at run time, which is lost.
    pub(super) fn remove(&mut self, group: &TargetGroupId) -> Option<String> {
        let members = self.groups.remove(group)?;
        self.changed_targets -= members.runtime.len();
        (!members.runtime.is_empty())
            .then(|| format!("target group {group}: goes with what was set at run time"))
    }

    /// Replaces the members that one source lists. Returns whether that is another list. The
    /// list of a source that the group does not have is ignored: the source may have been
    /// removed while its list was on the way.
    pub(super) fn set(
        &mut self,
        group: &TargetGroupId,
        source: &Source,
        list: Vec<(Endpoint, u16)>,
    ) -> bool {
        let Some(members) = self.groups.get_mut(group) else {
            return false;
        };
        let known = members.runtime.len();
        let changed = members.set(source, list);
        self.changed_targets -= known - members.runtime.len();
        changed
    }

    /// Whether the configuration has a group.
    pub(super) fn has(&self, group: &TargetGroupId) -> bool {
        self.groups.contains_key(group)
    }

    /// The members of a group, each address once: the file's, in its order, then those of the
    /// sources, then those that were only registered at run time.
    pub(super) fn of(&self, group: &TargetGroupId) -> Vec<GroupMember> {
        self.groups
            .get(group)
            .map(Members::members)
            .unwrap_or_default()
    }

    /// Changes a target at run time.
    pub(super) fn change(
        &mut self,
        id: &TargetId,
        change: TargetChange,
        now: Instant,
    ) -> Result<(), Refusal> {
        let unknown = || Refusal::UnknownGroup(id.group.clone());
        let members = self.groups.get_mut(&id.group).ok_or_else(unknown)?;
        let known = members.runtime.len();
        members.change(id, change, self.changed_targets >= MAX_CHANGED_TARGETS, now)?;
        self.changed_targets = self.changed_targets - known + members.runtime.len();
        Ok(())
    }

    /// Where what was set in a group at run time stands, although its configuration says
    /// something else; one message each.
    pub(super) fn contradictions(&self, group: &TargetGroupId) -> Vec<String> {
        let Some(members) = self.groups.get(group) else {
            return Vec::new();
        };
        let contradiction = |(addr, settings): (&Endpoint, &RuntimeSettings)| {
            let text = settings.contradiction(members.listed(addr))?;
            Some(format!("target {addr} of {group}: {text}"))
        };
        members.runtime.iter().filter_map(contradiction).collect()
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
        if self.listing().targets.is_empty() && self.has_pending_source() {
            self.stand_in(before.listing());
            if !self.stand_ins.is_empty() {
                info!(
                    group = %group.id, targets = self.stand_ins.len(),
                    "target group keeps its targets until its new names and files are resolved"
                );
            }
        }
        self.runtime = before.runtime;
        if !self.sources.contains_key(&Source::Replicas)
            && let Some(Some(replicas)) = before.sources.get(&Source::Replicas)
        {
            self.forget_replicas(replicas);
        }
    }

    /// Whether a source that does not begin empty has not reported yet.
    fn has_pending_source(&self) -> bool {
        self.sources
            .iter()
            .any(|(source, list)| list.is_none() && *source != Source::Replicas)
    }

    /// Keeps targets from before: not replicas, which end with their configuration.
    fn stand_in(&mut self, before: &Listing) {
        self.stand_ins = before
            .targets
            .iter()
            .filter(|listed| listed.by != ListedBy::Replicas)
            .cloned()
            .collect();
        self.listing.take();
    }

    fn set(&mut self, source: &Source, list: Vec<(Endpoint, u16)>) -> bool {
        let Some(known) = self.sources.get_mut(source) else {
            return false;
        };
        if known.as_ref() == Some(&list) {
            return false;
        }
        let before = known.replace(list).unwrap_or_default();
        self.listing.take();
        if *source == Source::Replicas {
            self.forget_replicas(&before);
        }
        true
    }

    /// Forgets the settings of replicas that are gone: their port will be another process's,
    /// for which they do not hold.
    fn forget_replicas(&mut self, before: &[(Endpoint, u16)]) {
        if self.runtime.is_empty() {
            return;
        }
        let now: HashSet<&Endpoint> = self
            .sources
            .get(&Source::Replicas)
            .into_iter()
            .flatten()
            .flatten()
            .map(|(addr, _)| addr)
            .collect();
        for (addr, _) in before {
            let known = self.runtime.get(addr);
            if !now.contains(addr)
                && known.is_some_and(|settings| settings.presence == Presence::Listed)
            {
                self.runtime.remove(addr);
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
        let listed = self.listed(&id.addr);
        let is_replica = listed.is_some_and(|listed| listed.by == ListedBy::Replicas);
        let before = self.runtime.get(&id.addr).copied();
        if before.is_none() && is_full {
            return Err(Refusal::TooMany);
        }
        let settings = before.unwrap_or_default();
        let is_member = match settings.presence {
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
        match settings.changed(change, listed.is_some(), now) {
            Some(settings) => drop(self.runtime.insert(id.addr.clone(), settings)),
            None => drop(self.runtime.remove(&id.addr)),
        }
        Ok(())
    }

    fn members(&self) -> Vec<GroupMember> {
        let listing = self.listing();
        let present = listing.targets.iter().filter_map(|listed| {
            let settings = self.runtime.get(&listed.addr).copied().unwrap_or_default();
            // A replica cannot be deregistered: this was set for an earlier one.
            let is_out =
                settings.presence == Presence::Deregistered && listed.by != ListedBy::Replicas;
            (!is_out).then(|| settings.member(listed.addr.clone(), listed.weight))
        });
        let registered = self.runtime.iter().filter(|(addr, settings)| {
            settings.presence == Presence::Registered && !listing.positions.contains_key(addr)
        });
        present
            .chain(
                registered.map(|(addr, settings)| settings.member(addr.clone(), defaults::WEIGHT)),
            )
            .collect()
    }

    fn listed(&self, addr: &Endpoint) -> Option<&ListedTarget> {
        let listing = self.listing();
        let position = listing.positions.get(addr)?;
        Some(&listing.targets[*position])
    }

    fn listing(&self) -> &Listing {
        self.listing.get_or_init(|| {
            let file = self.file.iter().map(|(addr, weight)| ListedTarget {
                addr: addr.clone(),
                weight: *weight,
                by: ListedBy::File,
            });
            let found = self.sources.iter().flat_map(|(source, list)| {
                let by = match source {
                    Source::Replicas => ListedBy::Replicas,
                    Source::Dns(..) | Source::Srv(_) | Source::File(_) => ListedBy::Discovery,
                };
                let listed = move |(addr, weight): &(Endpoint, u16)| ListedTarget {
                    addr: addr.clone(),
                    weight: *weight,
                    by,
                };
                list.iter().flatten().map(listed)
            });
            let listing = Listing::new(file.chain(found));
            if listing.targets.is_empty() {
                Listing::new(self.stand_ins.iter().cloned())
            } else {
                listing
            }
        })
    }
}

impl Listing {
    fn new(listed: impl Iterator<Item = ListedTarget>) -> Self {
        let mut listing = Self::default();
        for listed in listed {
            let next = listing.targets.len();
            if *listing.positions.entry(listed.addr.clone()).or_insert(next) == next {
                listing.targets.push(listed);
            }
        }
        listing
    }
}

fn in_file(group: &config::TargetGroup) -> Vec<(Endpoint, u16)> {
    group
        .targets
        .iter()
        .filter_map(|spec| match &spec.address {
            TargetAddress::Socket(addr) => Some((addr.clone(), spec.weight)),
            TargetAddress::Host { .. } | TargetAddress::Srv { .. } | TargetAddress::File { .. } => {
                None
            }
        })
        .collect()
}

/// The sources that a group has, with the lists they have reported so far.
fn sources(group: &config::TargetGroup, before: &BTreeMap<Source, List>) -> BTreeMap<Source, List> {
    let mut sources = BTreeMap::new();
    if group.replicas.is_some() {
        let list = before.get(&Source::Replicas).cloned().flatten();
        sources.insert(Source::Replicas, list);
    }
    for spec in &group.targets {
        let source = match &spec.address {
            TargetAddress::Socket(_) => continue,
            TargetAddress::Host { name, port } => Source::Dns(name.clone(), *port),
            TargetAddress::Srv { name } => Source::Srv(name.clone()),
            TargetAddress::File { path, .. } => Source::File(path.clone()),
        };
        // If several entries of the file lead to one source, the first counts.
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
        before.range(from).find_map(|(_, list)| list.as_ref())
    };
    let known = own.and_then(Option::as_ref).or_else(of_name)?;
    Some(
        known
            .iter()
            .filter_map(|(addr, _)| addr.address())
            .map(|addr| ((addr.ip(), port).into(), weight))
            .collect(),
    )
}
