//! Which replicas to start and which to drain, for providers that do both. Pure.
//!
//! Other settings replace replicas one after another: a new one starts, and once it runs an old
//! one drains. Settings that do not work therefore cost nothing: the old replicas stay.

use super::ReplicaId;

/// A replica that does not drain yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Present {
    pub(super) id: ReplicaId,
    /// Whether it has the current settings.
    pub(super) is_current: bool,
    /// Whether it accepts connections.
    pub(super) is_running: bool,
}

/// The next step.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// How many to start.
    pub(super) start: usize,
    /// Which to drain.
    pub(super) drain: Vec<ReplicaId>,
}

/// The next step towards `count` replicas with the current settings. Of those that run, `victims`
/// drain first, in their order.
pub(super) fn plan(count: usize, present: &[Present], victims: &[ReplicaId]) -> Plan {
    let (current, outdated): (Vec<Present>, Vec<Present>) =
        present.iter().partition(|replica| replica.is_current);
    // An outdated replica that does not run is not going to be used.
    let (serving, useless): (Vec<Present>, Vec<Present>) =
        outdated.into_iter().partition(|replica| replica.is_running);
    let running = current.iter().filter(|replica| replica.is_running).count();
    let pending = current.len() - running;

    let missing = count.saturating_sub(current.len() + serving.len());
    let replacement = usize::from(pending == 0 && current.len() < count && !serving.is_empty());
    let mut drain: Vec<ReplicaId> = useless.iter().map(|replica| replica.id).collect();
    let kept = count.saturating_sub(running);
    drain.extend(surplus(serving, kept, victims));
    drain.extend(surplus(current, count, victims));
    Plan {
        start: missing.max(replacement),
        drain,
    }
}

/// Those beyond `kept`: first those that do not run, then the victims, then the youngest, which
/// have the coldest caches.
fn surplus(
    mut replicas: Vec<Present>,
    kept: usize,
    victims: &[ReplicaId],
) -> impl Iterator<Item = ReplicaId> {
    let rank = |id: ReplicaId| victims.iter().rev().position(|victim| *victim == id);
    replicas.sort_by_key(|replica| (!replica.is_running, rank(replica.id), replica.id));
    replicas.into_iter().skip(kept).map(|replica| replica.id)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn replica(id: u64, is_current: bool, is_running: bool) -> Present {
        Present {
            id: ReplicaId(id),
            is_current,
            is_running,
        }
    }

    fn ids(ids: &[u64]) -> Vec<ReplicaId> {
        ids.iter().copied().map(ReplicaId).collect()
    }

    #[test]
    fn missing_replicas_are_started_together() {
        let step = plan(4, &[replica(1, true, true)], &[]);
        assert_eq!((step.start, step.drain), (3, ids(&[])));
    }

    #[test]
    fn what_does_not_run_goes_first_then_the_youngest() {
        let present = [
            replica(1, true, false),
            replica(2, true, true),
            replica(3, true, true),
        ];
        assert_eq!(plan(2, &present, &[]).drain, ids(&[1]));
        assert_eq!(plan(1, &present, &[]).drain, ids(&[3, 1]));
        assert_eq!(plan(0, &present, &[]).drain, ids(&[2, 3, 1]));
    }

    #[test]
    fn victims_go_before_the_youngest() {
        let present = [1, 2, 3, 4].map(|id| replica(id, true, true));
        let victims = ids(&[2, 1]);
        assert_eq!(plan(3, &present, &victims).drain, ids(&[2]));
        assert_eq!(plan(2, &present, &victims).drain, ids(&[1, 2]));
        assert_eq!(plan(1, &present, &victims).drain, ids(&[4, 1, 2]));
    }

    #[test]
    fn outdated_replicas_are_replaced_one_after_another() {
        let old = |id| replica(id, false, true);
        let step = plan(2, &[old(1), old(2)], &[]);
        assert_eq!((step.start, step.drain), (1, ids(&[])));
        let step = plan(2, &[old(1), old(2), replica(3, true, false)], &[]);
        assert_eq!((step.start, step.drain), (0, ids(&[])));
        let step = plan(2, &[old(1), old(2), replica(3, true, true)], &[]);
        assert_eq!((step.start, step.drain), (1, ids(&[2])));
        let step = plan(
            2,
            &[old(1), replica(3, true, true), replica(4, true, true)],
            &[],
        );
        assert_eq!((step.start, step.drain), (0, ids(&[1])));
    }

    #[test]
    fn outdated_replicas_that_never_ran_are_replaced_together() {
        let step = plan(
            2,
            &[replica(1, false, false), replica(2, false, false)],
            &[],
        );
        assert_eq!((step.start, step.drain), (2, ids(&[1, 2])));
    }

    proptest! {
        #[test]
        fn a_step_never_takes_more_running_replicas_than_it_can_spare(
            count in 0_usize..6,
            flags in prop::collection::vec((any::<bool>(), any::<bool>()), 0..12),
        ) {
            let present: Vec<Present> = (0..)
                .zip(&flags)
                .map(|(id, &(current, running))| replica(id, current, running))
                .collect();
            let step = plan(count, &present, &[]);
            let running = |r: &&Present| r.is_running;
            let before = present.iter().filter(running).count();
            let after = present
                .iter()
                .filter(running)
                .filter(|r| !step.drain.contains(&r.id))
                .count();
            prop_assert!(after >= count.min(before), "{step:?}");
        }

        #[test]
        fn steps_end_with_exactly_the_wanted_replicas(
            count in 0_usize..6,
            flags in prop::collection::vec((any::<bool>(), any::<bool>()), 0..12),
        ) {
            let mut present: Vec<Present> = (0..)
                .zip(&flags)
                .map(|(id, &(current, running))| replica(id, current, running))
                .collect();
            for next in 100.. {
                let step = plan(count, &present, &[]);
                if step == Plan::default() && present.iter().all(|r| r.is_running) {
                    break;
                }
                prop_assert!(next < 200, "does not end: {present:?}");
                present.retain(|r| !step.drain.contains(&r.id));
                for replica in &mut present {
                    replica.is_running = true;
                }
                let started = (0..step.start as u64).map(|n| replica(next * 100 + n, true, false));
                present.extend(started);
            }
            prop_assert_eq!(present.len(), count);
            prop_assert!(present.iter().all(|r| r.is_current));
        }
    }
}
