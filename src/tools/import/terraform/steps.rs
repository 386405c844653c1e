//! Whether the steps of a policy fit its alarm, by the rules of `weir check`.

use super::plan::Step;

/// The steps in order, without those that the alarm cannot reach. Fails if they have gaps or
/// overlap.
pub(super) fn reachable(mut steps: Vec<Step>, comparison: &str) -> Result<Vec<Step>, &'static str> {
    let above = comparison.starts_with('>');
    steps.retain(|step| {
        let is_empty = step
            .lower
            .zip(step.upper)
            .is_some_and(|(lower, upper)| lower >= upper);
        let is_beyond = if above {
            step.upper.is_none_or(|upper| upper > 0.0)
        } else {
            step.lower.is_none_or(|lower| lower < 0.0)
        };
        !is_empty && is_beyond
    });
    let start = |step: &Step| step.lower.unwrap_or(f64::NEG_INFINITY);
    steps.sort_by(|a, b| start(a).total_cmp(&start(b)));
    // The other side of the threshold is never reached.
    for step in &mut steps {
        if above {
            step.lower = step.lower.map(|lower| lower.max(0.0));
        } else {
            step.upper = step.upper.map(|upper| upper.min(0.0));
        }
    }
    let (Some(first), Some(last)) = (steps.first().copied(), steps.last().copied()) else {
        return Err("its steps are on the other side of the alarm's threshold");
    };
    let is_whole = steps
        .windows(2)
        .all(|pair| pair[0].upper.is_some() && pair[0].upper == pair[1].lower);
    let (near, far) = if above {
        (first.lower, last.upper)
    } else {
        (last.upper, first.lower)
    };
    if !is_whole || near.is_some_and(|bound| bound != 0.0) || far.is_some() {
        return Err("its steps leave gaps beyond the alarm's threshold, or overlap");
    }
    if let [only] = steps.as_mut_slice()
        && only.lower.is_none()
        && only.upper.is_none()
    {
        // A step needs a bound.
        if above {
            only.lower = Some(0.0);
        } else {
            only.upper = Some(0.0);
        }
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(lower: Option<f64>, upper: Option<f64>, by: i64) -> Step {
        Step { lower, upper, by }
    }

    #[test]
    fn steps_on_the_wrong_side_of_the_threshold_are_left_out() {
        let up = step(Some(0.0), None, 1);
        assert_eq!(reachable(vec![up], ">="), Ok(vec![up]));
        assert!(reachable(vec![up], "<=").is_err());
        let down = step(None, Some(0.0), -1);
        assert_eq!(reachable(vec![down, up], "<"), Ok(vec![down]));
        assert_eq!(reachable(vec![step(None, None, 1)], ">"), Ok(vec![up]));
    }

    #[test]
    fn gaps_and_overlaps_are_refused() {
        for steps in [
            vec![step(Some(5.0), None, 1)],
            vec![step(Some(0.0), Some(5.0), 1)],
            vec![step(Some(0.0), Some(5.0), 1), step(Some(6.0), None, 2)],
            vec![step(Some(0.0), None, 1), step(Some(6.0), None, 2)],
            vec![],
        ] {
            assert!(reachable(steps.clone(), ">=").is_err(), "{steps:?}");
        }
    }
}
