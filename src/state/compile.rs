//! From configuration and live members to a snapshot: names become indexes, pickers are
//! built.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use http::HeaderName;

use super::registry::Registry;
use super::snapshot::{CompiledListener, Positions, Snapshot};
use crate::balance::{self, KeyTable, Roster};
use crate::config::{self, Config, CookieKey};
use crate::message::IdentityFields;
use crate::model::{
    Algorithm, GroupIndex, ListenerId, ListenerSlot, Protocol, Rule, TargetGroupId,
};
use crate::rate_limit::RateLimiter;
use crate::router::RuleTable;
use crate::target::{Admission, Target};
use crate::target_group::{
    self, Choices, FailOpenPolicy, Live, Registered, Selection, Sessions, TargetGroup, TrafficShare,
};
use crate::tls;

#[cfg(test)]
thread_local! {
    /// Groups compiled by this thread.
    pub(super) static GROUPS_COMPILED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// What all listeners of a configuration are built from.
pub(super) struct ListenerParts<'a> {
    pub(super) config: &'a Config,
    /// Where its groups stand.
    pub(super) positions: &'a Positions,
    pub(super) key: &'a CookieKey,
    /// What certificate authorities are answered.
    pub(super) challenges: &'a Arc<tls::Challenges>,
}

/// Builds the listeners of a configuration. Those that are configured as in `kept` are shared with
/// it.
pub(super) fn compile_listeners(
    kept: Option<&Snapshot>,
    parts: &ListenerParts<'_>,
    registry: &mut Registry,
) -> Vec<Option<Arc<CompiledListener>>> {
    let config = parts.config;
    registry.retain_listeners(&config.listeners.iter().map(|l| &l.id).collect());
    let before: HashMap<&ListenerId, &config::Listener> = kept
        .iter()
        .flat_map(|kept| &kept.config.listeners)
        .map(|listener| (&listener.id, listener))
        .collect();
    let mut slots: Vec<Option<Arc<CompiledListener>>> = Vec::new();
    for listener in &config.listeners {
        let slot = registry.slot(&listener.id);
        let is_same = before.get(&listener.id) == Some(&listener);
        let kept = kept.and_then(|kept| kept.listener(slot));
        let next = if let Some(kept) = kept.filter(|_| is_same) {
            Arc::clone(kept)
        } else {
            let limiter = listener
                .rate_limit
                .as_ref()
                .map(|limit| registry.limiter(&listener.id, limit));
            Arc::new(compile_listener(listener, slot, limiter, parts))
        };
        slots.resize(registry.slots(), None);
        slots[slot.0] = Some(next);
    }
    slots.resize(registry.slots(), None);
    slots
}

fn compile_listener(
    listener: &config::Listener,
    slot: ListenerSlot,
    rate_limit: Option<Arc<RateLimiter>>,
    parts: &ListenerParts<'_>,
) -> CompiledListener {
    let ListenerParts {
        config,
        key,
        challenges,
        ..
    } = parts;
    let index = |id: &TargetGroupId| {
        parts
            .positions
            .get(id)
            .map(|position| GroupIndex(*position))
            .ok_or(())
    };
    let identity = listener.forwarded.identity_headers.iter();
    let named = "a checked configuration names only groups it has";
    let rules = listener
        .rules
        .iter()
        .map(|rule| Rule {
            priority: rule.priority,
            conditions: rule.conditions.clone(),
            action: rule.action.try_map(index).expect(named),
        })
        .collect();
    let default = listener.default.try_map(index).expect(named);
    CompiledListener {
        id: listener.id.clone(),
        slot,
        protocol: listener.protocol,
        proxy_protocol: listener.proxy_protocol,
        tls: listener.tls.as_ref().map(|settings| {
            let name = listener.id.0.as_ref();
            let protocols = offered(listener.protocol, listener.http.http2);
            Arc::new(tls::Server::new(
                settings, name, protocols, &key.0, challenges,
            ))
        }),
        challenges: config.is_asked_by_http().then(|| Arc::clone(challenges)),
        client: listener.client,
        http: listener.http.clone(),
        identity: IdentityFields::new(identity.map(HeaderName::as_str)),
        forwarded: listener.forwarded.clone(),
        rate_limit,
        access_log: config.access_policy(),
        tracing: config.tracing,
        rules: RuleTable::new(rules, default),
        choices: Choices::seal_of(&key.0),
    }
}

/// The protocols that a client may choose from within TLS (ALPN), the best first.
fn offered(protocol: Protocol, http2: bool) -> &'static [&'static [u8]] {
    match protocol {
        Protocol::Http1 | Protocol::Http2 if http2 => &[b"h2", b"http/1.1"],
        Protocol::Http1 | Protocol::Http2 => &[b"http/1.1"],
        // Whatever the target speaks.
        Protocol::Tcp => &[],
    }
}

/// What a group is built from.
pub(super) struct GroupParts<'a> {
    pub(super) config: &'a config::TargetGroup,
    pub(super) targets: Arc<[Registered]>,
    pub(super) admission: Arc<Admission<Target>>,
    pub(super) live: Live,
    pub(super) key: &'a CookieKey,
    /// Decides where rotations start.
    pub(super) seed: u64,
    pub(super) now: Instant,
}

/// Builds a group over its targets as they are now. `seed` decides where rotations start.
pub fn compile_group(
    config: &config::TargetGroup,
    targets: Arc<[Registered]>,
    admission: Arc<Admission<Target>>,
    live: Live,
    key: &CookieKey,
    seed: u64,
    now: Instant,
) -> TargetGroup {
    let parts = GroupParts {
        config,
        targets,
        admission,
        live,
        key,
        seed,
        now,
    };
    parts.compile_with(|roster| Some(Arc::new(KeyTable::new(roster))))
}

impl GroupParts<'_> {
    /// Builds the group. If it needs a table, `last` is used, whatever roster it is of.
    pub(super) fn compile(self, last: Option<&Arc<KeyTable>>) -> TargetGroup {
        self.compile_with(|_| last.cloned())
    }

    fn compile_with(self, table: impl FnOnce(&Roster) -> Option<Arc<KeyTable>>) -> TargetGroup {
        #[cfg(test)]
        GROUPS_COMPILED.set(GROUPS_COMPILED.get() + 1);
        let Self {
            config,
            targets,
            admission,
            live,
            key,
            seed,
            now,
        } = self;
        let active = targets
            .iter()
            .filter(|t| t.registration.is_active() && t.weight > 0);
        let fail_open = FailOpenPolicy {
            min_healthy: config.fail_open.min_healthy.of(active.count()),
            enabled: config.fail_open.enabled,
            before_checks: !config.scales_to_zero(),
        };
        let checked = config.health.is_some();
        let choice = target_group::choose(&targets, checked, fail_open);
        let serving = match &choice.roster {
            Some(roster) if !choice.failing_open => roster.members(),
            _ => &[],
        };
        target_group::advance(&targets, serving, config.slow_start, now);
        let roster = choice.roster.as_ref();
        let is_alive = roster.is_some_and(|roster| {
            let mut members = roster.members().iter();
            !choice.failing_open || members.any(|member| member.target.health().is_healthy())
        });
        let sticky = config.sticky.clone().map(|sticky| {
            let draining = target_group::draining(&targets, checked);
            Sessions::new(sticky, &key.0, &config.id, roster, draining)
        });
        let selection = choice
            .roster
            .map(|roster| select(config, roster, table, seed, now));
        TargetGroup {
            id: config.id.clone(),
            upstream: config.upstream,
            tls: config.tls.clone(),
            retry: config.retry.clone(),
            overload: config.overload,
            scales_to_zero: config.scales_to_zero(),
            admission,
            hash_key: (config.algorithm == Algorithm::ConsistentHash)
                .then(|| config.hash.key.clone()),
            measures_time: config.algorithm.measures_time(),
            targets,
            selection,
            failing_open: choice.failing_open,
            is_alive,
            sticky,
            live,
        }
    }
}

/// The selection over a roster. `table` is called if the roster needs a table.
fn select(
    config: &config::TargetGroup,
    roster: Roster,
    table: impl FnOnce(&Roster) -> Option<Arc<KeyTable>>,
    seed: u64,
    now: Instant,
) -> Selection {
    let is_wanted = KeyTable::is_wanted(config.algorithm, &roster);
    let table = if is_wanted { table(&roster) } else { None };
    let has_own = table.as_ref().is_some_and(|table| table.is_of(&roster));
    let roster = Arc::new(roster);
    let (algorithm, hash, members) = (config.algorithm, &config.hash, Arc::clone(&roster));
    Selection {
        picker: balance::build_with(algorithm, hash, members, seed, table.as_ref()),
        traffic_share: TrafficShare::new(&roster, algorithm, config.slow_start, now),
        roster,
        is_provisional: is_wanted && !has_own,
    }
}
