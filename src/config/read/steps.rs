//! The intervals of a step policy: together they are all that breaches its threshold, and no
//! value is in two of them.
//!
//! AWS's rules ([Step adjustments][aws]): no overlaps and no gaps; at most one interval has no
//! lower bound and one no upper, and none lacks both. Weir refuses besides what can never
//! happen, an interval on the side of the threshold where the alarm is not raised.
//!
//! [aws]: https://docs.aws.amazon.com/autoscaling/ec2/userguide/as-scaling-simple-step.html

use crate::config::autoscaling::{Comparison, Step};

/// What is wrong with one step, and what to write.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// Which step.
    pub(super) at: usize,
    pub(super) message: String,
    pub(super) help: String,
}

/// Looks at steps that are sorted by their lower bound. Each alone first: what is wrong there
/// would show as an overlap or a gap too.
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

/// Of two neighbours.
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

/// From the threshold to infinity, whichever it is.
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
