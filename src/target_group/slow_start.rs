//! When a target starts slowly (ALB user guide, "Slow start mode").
//!
//! A target that comes into service gets a share that rises linearly, if it is new or was
//! out of service, and if another target is there with its whole share to take the rest.
//! So a group's first targets start at once, and so does the one that ends an outage.

use std::time::{Duration, Instant};

use super::registered::Registered;
use crate::balance::Member;
use crate::model::Health;
use crate::target::{Ramp, WHOLE_SHARE};

/// Moves the ramps of a group's targets along. `serving` are those in service now, in the
/// order of `targets`; `over` is how long a ramp takes.
///
/// Called with every change of a group, also without slow start: when it is switched on,
/// targets that are in service stay as they are.
pub fn advance(targets: &[Registered], serving: &[Member], over: Duration, now: Instant) {
    let had_service = targets
        .iter()
        .any(|t| t.target.ramp().get().is_in_service());
    let mut serving = serving.iter().peekable();
    let mut arriving = Vec::new();
    for Registered { target, weight, .. } in targets {
        let serves = serving
            .next_if(|member| member.target.serial == target.serial)
            .is_some();
        let is_awaited = || *weight > 0 && target.health().now() == Health::Initial;
        let ramp = match (target.ramp().get(), serves) {
            (Ramp::New, _) if had_service => Ramp::Out,
            (Ramp::New | Ramp::First, true) => Ramp::Whole,
            (Ramp::New | Ramp::First, false) if is_awaited() => Ramp::First,
            (ramp @ Ramp::Since(_), true) if ramp.share(over, now) == WHOLE_SHARE => Ramp::Whole,
            (ramp, true) => ramp,
            (_, false) => Ramp::Out,
        };
        target.ramp().set(ramp);
        if serves && ramp == Ramp::Out {
            arriving.push(target);
        }
    }
    let another_is_whole = targets
        .iter()
        .any(|registered| registered.target.ramp().get() == Ramp::Whole);
    let ramp = if over > Duration::ZERO && another_is_whole {
        Ramp::Since(now)
    } else {
        Ramp::Whole
    };
    for target in arriving {
        target.ramp().set(ramp);
    }
}
