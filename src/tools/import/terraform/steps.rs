//! Whether the steps of a policy fit its alarm, by the rules of `weir check`.

/// Bounds relative to the threshold, and what to do.
pub(super) type Step = (Option<f64>, Option<f64>, i64);

/// The steps in order without those that no alarm can reach; an error says what is missing.
pub(super) fn reachable(mut steps: Vec<Step>, comparison: &str) -> Result<Vec<Step>, &'static str> {
    let above = comparison.starts_with('>');
    steps.retain(|(lower, upper, _)| {
        let is_empty = lower
            .zip(*upper)
            .is_some_and(|(lower, upper)| lower >= upper);
        let is_beyond = if above {
            upper.is_none_or(|upper| upper > 0.0)
        } else {
            lower.is_none_or(|lower| lower < 0.0)
        };
        !is_empty && is_beyond
    });
    let start = |step: &Step| step.0.unwrap_or(f64::NEG_INFINITY);
    steps.sort_by(|a, b| start(a).total_cmp(&start(b)));
    // What lies on the other side of the threshold is never asked for.
    for (lower, upper, _) in &mut steps {
        if above {
            *lower = lower.map(|lower| lower.max(0.0));
        } else {
            *upper = upper.map(|upper| upper.min(0.0));
        }
    }
    let (Some(first), Some(last)) = (steps.first().copied(), steps.last().copied()) else {
        return Err("its steps are on the other side of the alarm's threshold");
    };
    let is_whole = steps
        .windows(2)
        .all(|pair| pair[0].1.is_some() && pair[0].1 == pair[1].0);
    let (near, far) = if above {
        (first.0, last.1)
    } else {
        (last.1, first.0)
    };
    if !is_whole || near.is_some_and(|bound| bound != 0.0) || far.is_some() {
        return Err("its steps leave gaps beyond the alarm's threshold, or overlap");
    }
    if let [only] = steps.as_mut_slice()
        && only.0.is_none()
        && only.1.is_none()
    {
        // A step needs a bound.
        if above {
            only.0 = Some(0.0);
        } else {
            only.1 = Some(0.0);
        }
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_on_the_wrong_side_of_the_threshold_are_left_out() {
        let up = (Some(0.0), None, 1);
        assert_eq!(reachable(vec![up], ">="), Ok(vec![up]));
        assert!(reachable(vec![up], "<=").is_err());
        let down = (None, Some(0.0), -1);
        assert_eq!(reachable(vec![down, up], "<"), Ok(vec![down]));
        assert_eq!(reachable(vec![(None, None, 1)], ">"), Ok(vec![up]));
    }

    #[test]
    fn gaps_and_overlaps_are_refused() {
        for steps in [
            vec![(Some(5.0), None, 1)],
            vec![(Some(0.0), Some(5.0), 1)],
            vec![(Some(0.0), Some(5.0), 1), (Some(6.0), None, 2)],
            vec![(Some(0.0), None, 1), (Some(6.0), None, 2)],
            vec![],
        ] {
            assert!(reachable(steps.clone(), ">=").is_err(), "{steps:?}");
        }
    }
}
