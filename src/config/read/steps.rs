//! The intervals of a step policy: each value that breaches the threshold is in exactly one.
//!
//! AWS's rules ([Step adjustments][aws]): no overlaps and no gaps; at most one interval has no
//! lower bound and one no upper, and none lacks both. Weir also refuses an interval on the side of
//! the threshold where the alarm is not raised.
//!
//! [aws]: https://docs.aws.amazon.com/autoscaling/ec2/userguide/as-scaling-simple-step.html

use crate::config::autoscaling::{Comparison, Step};

/// A problem of one step, with help.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// Index of the step.
    pub(super) at: usize,
    pub(super) message: String,
    pub(super) help: String,
}

/// Checks steps that are sorted by their lower bound. Each alone first, because its problems would
/// be overlaps or gaps too.
pub(super) fn check(steps: &[Step], comparison: Comparison) -> Vec<Wrong> {
    let above = match comparison {
        Comparison::Greater | Comparison::GreaterOrEqual => true,
        Comparison::Less | Comparison::LessOrEqual => false,
    };
    let alone = steps.iter().enumerate().filter_map(|(at, step)| {
        let (message, help) = wrong_alone(step, above)?;
        Some(Wrong { at, message, help })
    });
    let alone: Vec<_> = alone.collect();
    if !alone.is_empty() {
        return alone;
    }
    let together = steps.windows(2).enumerate().filter_map(|(before, pair)| {
        let (message, help) = wrong_together(&pair[0], &pair[1])?;
        let at = before + 1;
        Some(Wrong { at, message, help })
    });
    together.chain(wrong_ends(steps, above)).collect()
}

fn wrong_alone(step: &Step, above: bool) -> Option<(String, String)> {
    let (inner, side, other) = if above {
        ("lower", "above", "below")
    } else {
        ("upper", "below", "above")
    };
    match (step.lower, step.upper) {
        (None, None) => {
            let message = "a step needs a bound: `lower`, `upper` or both".to_owned();
            let help = format!("write {inner} = 0 for all that is {side} the threshold");
            return Some((message, help));
        }
        (Some(lower), Some(upper)) if lower >= upper => {
            let message = format!("a step from {lower} to {upper} holds nothing");
            return Some((message, format!("write lower = {upper}, upper = {lower}")));
        }
        _ => {}
    }
    let never = if above {
        step.lower.is_some_and(|lower| lower < 0.0) || step.upper.is_some_and(|upper| upper <= 0.0)
    } else {
        step.upper.is_some_and(|upper| upper > 0.0) || step.lower.is_some_and(|lower| lower >= 0.0)
    };
    never.then(|| {
        let message = format!(
            "a part of this step is {other} the threshold, and the alarm is raised {side} it"
        );
        let help = format!("bounds count from the threshold: {inner} = 0 is the threshold itself");
        (message, help)
    })
}

/// The problem of two neighbours.
fn wrong_together(one: &Step, next: &Step) -> Option<(String, String)> {
    let Some(lower) = next.lower else {
        let message = "two steps have no `lower`".to_owned();
        return Some((
            message,
            "give one of them the `upper` of the other as its `lower`".to_owned(),
        ));
    };
    let Some(upper) = one.upper else {
        let message = "this step overlaps the one before it, which has no `upper`".to_owned();
        return Some((message, format!("write upper = {lower} in that one")));
    };
    if lower < upper {
        let message = format!(
            "this step begins at {lower}, and the one before it ends at {upper}: they overlap"
        );
        return Some((message, format!("write lower = {upper}")));
    }
    (lower > upper).then(|| {
        let message =
            format!("nothing is said about what lies from {upper} to {lower} beyond the threshold");
        (message, format!("write lower = {upper}"))
    })
}

/// The problem of the first or the last step: they reach from the threshold to infinity.
fn wrong_ends(steps: &[Step], above: bool) -> Option<Wrong> {
    let last = steps.len().checked_sub(1)?;
    let (near, far) = if above {
        (
            (0, steps[0].lower, "lower"),
            (last, steps[last].upper, "upper"),
        )
    } else {
        (
            (last, steps[last].upper, "upper"),
            (0, steps[0].lower, "lower"),
        )
    };
    if let (at, Some(bound), key) = near
        && bound != 0.0
    {
        let message = format!("nothing is said about what lies between the threshold and {bound}");
        let help = format!("write {key} = 0");
        return Some(Wrong { at, message, help });
    }
    let (at, bound, key) = far;
    bound.map(|bound| Wrong {
        at,
        message: format!("nothing is said about what lies beyond {bound}"),
        help: format!("leave `{key}` out of the outermost step"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn steps(bounds: &[(Option<f64>, Option<f64>)]) -> Vec<Step> {
        let step = |(lower, upper): &(_, _)| Step {
            lower: *lower,
            upper: *upper,
            by: 1,
        };
        bounds.iter().map(step).collect()
    }

    fn said(bounds: &[(Option<f64>, Option<f64>)], comparison: Comparison) -> Vec<(usize, String)> {
        let wrong = check(&steps(bounds), comparison);
        wrong
            .into_iter()
            .map(|wrong| (wrong.at, wrong.message))
            .collect()
    }

    #[test]
    fn the_intervals_of_the_user_guide_are_fine() {
        // AWS's examples: out at 60 % with three steps, in at 40 % with three.
        let out = [
            (Some(0.0), Some(10.0)),
            (Some(10.0), Some(20.0)),
            (Some(20.0), None),
        ];
        assert_eq!(said(&out, Comparison::GreaterOrEqual), []);
        let down = [
            (None, Some(-20.0)),
            (Some(-20.0), Some(-10.0)),
            (Some(-10.0), Some(0.0)),
        ];
        assert_eq!(said(&down, Comparison::LessOrEqual), []);
        // Without bound towards the threshold it begins there all the same.
        assert_eq!(
            said(&[(None, Some(5.0)), (Some(5.0), None)], Comparison::Greater),
            []
        );
        assert_eq!(
            said(&[(None, Some(-5.0)), (Some(-5.0), None)], Comparison::Less),
            []
        );
    }

    #[test]
    fn gaps_overlaps_and_the_wrong_side_are_found() {
        let (greater, less) = (Comparison::Greater, Comparison::Less);
        let cases: [(&[_], _, usize, &str); 12] = [
            (&[(None, None)], greater, 0, "needs a bound"),
            (&[(Some(5.0), Some(5.0))], greater, 0, "holds nothing"),
            (&[(Some(9.0), Some(5.0))], less, 0, "holds nothing"),
            (&[(Some(-5.0), None)], greater, 0, "below the threshold"),
            (&[(None, Some(0.0))], greater, 0, "below the threshold"),
            (&[(Some(0.0), None)], less, 0, "above the threshold"),
            (
                &[(Some(1.0), None)],
                greater,
                0,
                "between the threshold and 1",
            ),
            (
                &[(None, Some(-1.0))],
                less,
                0,
                "between the threshold and -1",
            ),
            (&[(Some(0.0), Some(9.0))], greater, 0, "beyond 9"),
            (
                &[(Some(0.0), Some(5.0)), (Some(6.0), None)],
                greater,
                1,
                "from 5 to 6",
            ),
            (
                &[(Some(0.0), Some(5.0)), (Some(4.0), None)],
                greater,
                1,
                "overlap",
            ),
            (
                &[(Some(0.0), None), (Some(4.0), None)],
                greater,
                1,
                "has no `upper`",
            ),
        ];
        for (bounds, comparison, at, message) in cases {
            let said = said(bounds, comparison);
            assert_eq!(said.len(), 1, "{bounds:?}: {said:?}");
            assert!(
                said[0].0 == at && said[0].1.contains(message),
                "{bounds:?}: {said:?}"
            );
        }
        let two = [(None, Some(5.0)), (None, Some(6.0))];
        assert!(
            said(&two, greater)[0]
                .1
                .contains("two steps have no `lower`")
        );
    }

    /// Whether a value so far beyond the threshold is in a step; which bound belongs to it
    /// does not matter here.
    fn holds(step: &Step, beyond: f64) -> bool {
        step.lower.is_none_or(|lower| lower <= beyond)
            && step.upper.is_none_or(|upper| beyond < upper)
    }

    proptest! {
        #[test]
        fn of_accepted_steps_exactly_one_holds_each_value_that_breaches(
            cuts in prop::collection::btree_set(1_u8..6, 0..4),
            spoiled in prop::option::of((0_usize..8, prop::option::of(-3_i8..6))),
            beyond in 0.0_f64..9.0,
        ) {
            // From the threshold on, cut here and there, and perhaps one bound is another.
            let cuts = || cuts.iter().map(|cut| Some(f64::from(*cut)));
            let lower = std::iter::once(Some(0.0)).chain(cuts());
            let mut steps = steps(&lower.zip(cuts().chain([None])).collect::<Vec<_>>());
            let whole = steps.clone();
            if let Some((at, bound)) = spoiled {
                let count = steps.len();
                let step = &mut steps[at / 2 % count];
                let spoiled = if at % 2 == 0 { &mut step.lower } else { &mut step.upper };
                *spoiled = bound.map(f64::from);
            }
            let start = |step: &Step| step.lower.unwrap_or(f64::NEG_INFINITY);
            steps.sort_by(|a, b| start(a).total_cmp(&start(b)));
            let accepted = check(&steps, Comparison::Greater).is_empty();
            prop_assert!(accepted || steps != whole);
            if accepted {
                prop_assert_eq!(steps.iter().filter(|step| holds(step, beyond)).count(), 1);
            }
        }
    }
}
