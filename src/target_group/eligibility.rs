//! Which targets of a group may be picked, and when the group fails open.

use std::num::NonZeroU16;

use super::registered::Registered;
use crate::balance::{Member, Roster};
use crate::model::Health;

/// When a group ignores its checks: `fail_open` of its configuration, for the targets it has now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailOpenPolicy {
    /// Fewest healthy targets among the active ones.
    pub min_healthy: usize,
    /// Whether targets that are not healthy are picked then.
    pub enabled: bool,
    /// Whether targets without a finished check may be picked when there are no others.
    pub before_checks: bool,
}

/// What [`choose`] returns.
#[derive(Debug)]
pub struct EligibleRoster {
    /// `None` if no target is eligible.
    pub roster: Option<Roster>,
    /// Whether it holds targets that are not healthy.
    pub failing_open: bool,
}

/// The eligible targets: the healthy and active ones that are not ejected.
///
/// When these are fewer than the minimum, ejected targets that pass their checks are eligible
/// too. When with them too few are healthy, every active target is eligible (fail open; ALB
/// user guide, "Target group health"); those without a finished check only if that holds for
/// all of them, and [`FailOpenPolicy::before_checks`] allows it.
///
/// Weight 0 is never eligible and does not count as active: the operator has taken
/// the target out, so it is no reason to distrust the checks of the others.
pub fn choose(targets: &[Registered], checked: bool, fail_open: FailOpenPolicy) -> EligibleRoster {
    let active: Vec<&Registered> = targets
        .iter()
        .filter(|t| t.registration.is_active() && t.weight > 0)
        .collect();
    let passing: Vec<&Registered> = active
        .iter()
        .copied()
        .filter(|t| !checked || t.target.health().is_healthy())
        .collect();
    let decided: Vec<&Registered> = active
        .iter()
        .copied()
        .filter(|t| !checked || t.target.health().now() != Health::Initial)
        .collect();
    let open_to = if decided.is_empty() && fail_open.before_checks {
        active
    } else {
        decided
    };
    let failing_open =
        fail_open.enabled && passing.len() < fail_open.min_healthy && passing.len() < open_to.len();
    let members = if failing_open {
        open_to
    } else {
        let sound: Vec<&Registered> = passing
            .iter()
            .copied()
            .filter(|t| t.target.health().lock().ejection.is_none())
            .collect();
        if sound.len() >= fail_open.min_healthy.max(1) {
            sound
        } else {
            passing
        }
    };
    let roster = Roster::new(members.into_iter().filter_map(member).collect());
    let registered = targets
        .iter()
        .filter(|t| !t.registration.is_leaving())
        .count();
    EligibleRoster {
        roster: roster.map(|roster| roster.drawn_from(registered)),
        failing_open,
    }
}

fn member(registered: &Registered) -> Option<Member> {
    Some(Member {
        target: registered.target.clone(),
        weight: NonZeroU16::new(registered.weight)?,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Instant, SystemTime};

    use super::*;
    use crate::model::fixture::{ONCE, check_result};
    use crate::model::{DrainReason, Draining, Ejection, EjectionReason, Registration, TargetId};
    use crate::target::Target;

    const OPEN: FailOpenPolicy = FailOpenPolicy {
        min_healthy: 1,
        enabled: true,
        before_checks: true,
    };

    fn targets(healthy: &[bool]) -> Vec<Registered> {
        let register = |(n, &passed): (usize, &bool)| {
            let target = Target::new(TargetId {
                group: "todo".into(),
                addr: ([127, 0, 0, 1], 6400 + n as u16).into(),
            });
            let result = check_result(passed, Instant::now());
            target.health().lock().record(result, ONCE);
            Registered {
                target: Arc::new(target),
                weight: 1,
                registration: Registration::Active,
            }
        };
        healthy.iter().enumerate().map(register).collect()
    }

    fn size(choice: &EligibleRoster) -> usize {
        choice.roster.as_ref().map_or(0, |r| r.members().len())
    }

    #[test]
    fn only_healthy_targets_are_eligible() {
        let choice = choose(&targets(&[true, false, true]), true, OPEN);
        assert_eq!((size(&choice), choice.failing_open), (2, false));
    }

    #[test]
    fn below_the_minimum_every_active_target_is_eligible() {
        let choice = choose(&targets(&[false, false]), true, OPEN);
        assert_eq!((size(&choice), choice.failing_open), (2, true));
        let two = FailOpenPolicy {
            min_healthy: 2,
            ..OPEN
        };
        let choice = choose(&targets(&[true, false, false]), true, two);
        assert_eq!((size(&choice), choice.failing_open), (3, true));
    }

    #[test]
    fn with_fail_open_switched_off_no_target_is_left() {
        let off = FailOpenPolicy {
            enabled: false,
            ..OPEN
        };
        let choice = choose(&targets(&[false, false]), true, off);
        assert_eq!((size(&choice), choice.failing_open), (0, false));
    }

    #[test]
    fn draining_and_weightless_targets_are_never_eligible() {
        let mut some = targets(&[false, false, false]);
        some[0].weight = 0;
        some[1].registration = Registration::Draining(Draining {
            reason: DrainReason::Requested,
            since: Instant::now(),
            until: None,
        });
        let choice = choose(&some, true, OPEN);
        assert_eq!((size(&choice), choice.failing_open), (1, true));
    }

    fn unchecked() -> Registered {
        let target = Target::new(TargetId {
            group: "todo".into(),
            addr: ([127, 0, 0, 1], 7000).into(),
        });
        Registered {
            target: Arc::new(target),
            weight: 1,
            registration: Registration::Active,
        }
    }

    #[test]
    fn a_target_without_a_check_is_eligible_only_when_no_target_has_had_one() {
        let mut some = targets(&[false]);
        some.push(unchecked());
        assert_eq!(size(&choose(&some, true, OPEN)), 1, "the one that fails");
        let two = FailOpenPolicy {
            min_healthy: 2,
            ..OPEN
        };
        let mut some = targets(&[true]);
        some.extend([unchecked(), unchecked()]);
        let choice = choose(&some, true, two);
        assert_eq!(
            (size(&choice), choice.failing_open),
            (1, false),
            "a scale-out"
        );
        let fresh = [unchecked(), unchecked()];
        assert_eq!(size(&choose(&fresh, true, OPEN)), 2);
        let waits = FailOpenPolicy {
            before_checks: false,
            ..OPEN
        };
        assert_eq!(size(&choose(&fresh, true, waits)), 0);
        assert_eq!(
            size(&choose(&fresh, false, waits)),
            2,
            "the group has no checks"
        );
    }

    fn eject(registered: &Registered) {
        registered.target.health().lock().ejection = Some(Ejection {
            reason: EjectionReason::ErrorRatio,
            detail: String::new(),
            began: Instant::now(),
            since: SystemTime::UNIX_EPOCH,
            until: SystemTime::UNIX_EPOCH,
            times: 1,
        });
    }

    #[test]
    fn ejected_targets_are_eligible_only_when_too_few_others_are() {
        let some = targets(&[true, true, false]);
        eject(&some[0]);
        let choice = choose(&some, true, OPEN);
        assert_eq!((size(&choice), choice.failing_open), (1, false));
        eject(&some[1]);
        let choice = choose(&some, true, OPEN);
        assert_eq!((size(&choice), choice.failing_open), (2, false));
        let none = targets(&[false, false]);
        eject(&none[0]);
        let choice = choose(&none, true, OPEN);
        assert_eq!((size(&choice), choice.failing_open), (2, true));
    }

    #[test]
    fn without_checks_every_target_counts_as_healthy() {
        let choice = choose(&targets(&[false, false]), false, OPEN);
        assert_eq!((size(&choice), choice.failing_open), (2, false));
    }
}
