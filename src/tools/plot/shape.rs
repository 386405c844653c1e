//! Reduces values to the points that a figure needs.

/// Most points of a line: about one for each pixel of its width.
const MOST_POINTS: usize = 1000;

/// Averages neighbours so that at most [`MOST_POINTS`] remain.
pub(super) fn thin(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let size = points.len().div_ceil(MOST_POINTS).max(1);
    points
        .chunks(size)
        .map(|chunk| {
            let count = chunk.len() as f64;
            let mean = |part: fn(&(f64, f64)) -> f64| chunk.iter().map(part).sum::<f64>() / count;
            (mean(|point| point.0), mean(|point| point.1))
        })
        .collect()
}

/// The corners of a stepped line, which holds each value until the next and the last one until
/// `end`.
pub(super) fn steps(points: &[(f64, f64)], end: f64) -> Vec<(f64, f64)> {
    let mut corners: Vec<(f64, f64)> = Vec::new();
    for &(time, value) in points {
        match corners.last() {
            Some(&(_, before)) if before.to_bits() == value.to_bits() => {}
            Some(&(_, before)) => corners.extend([(time, before), (time, value)]),
            None => corners.push((time, value)),
        }
    }
    if let Some(&(time, value)) = corners.last()
        && time < end
    {
        corners.push((end, value));
    }
    corners
}

/// The end of an axis for this largest value: the next round number.
pub(super) fn round_up(value: f64) -> f64 {
    let value = if value.is_finite() {
        value.max(1e-3)
    } else {
        1.0
    };
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0];
    steps
        .into_iter()
        .map(|step| step * power)
        .find(|end| *end >= value)
        .unwrap_or(10.0 * power)
}

/// The unit of time for a length in seconds: its name, and its length in seconds.
pub(super) fn unit_of_time(seconds: f64) -> (&'static str, f64) {
    match seconds {
        ..=300.0 => ("s", 1.0),
        ..=21_600.0 => ("min", 60.0),
        ..=172_800.0 => ("h", 3600.0),
        _ => ("days", 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_hold_until_the_next_and_to_the_end() {
        let points = [(0.0, 1.0), (1.0, 1.0), (2.0, 4.0), (3.0, 4.0)];
        let corners = [(0.0, 1.0), (2.0, 1.0), (2.0, 4.0), (9.0, 4.0)];
        assert_eq!(steps(&points, 9.0), corners);
        assert_eq!(steps(&[(5.0, 2.0)], 5.0), [(5.0, 2.0)]);
        assert_eq!(steps(&[], 5.0), []);
    }

    #[test]
    fn a_week_is_as_many_points_as_a_picture_is_wide() {
        let week: Vec<_> = (0..604_800)
            .map(|second| (f64::from(second), 3.0))
            .collect();
        let thinned = thin(&week);
        assert!(
            (900..=MOST_POINTS).contains(&thinned.len()),
            "{}",
            thinned.len()
        );
        assert!(
            thinned
                .iter()
                .all(|point| point.1.to_bits() == 3.0_f64.to_bits())
        );
        assert_eq!(thin(&week[..10]), week[..10]);
        assert_eq!(thin(&[]), []);
    }

    #[test]
    fn axes_end_at_round_numbers() {
        for (value, end) in [
            (0.9, 1.0),
            (1.0, 1.0),
            (101.0, 120.0),
            (4.2, 5.0),
            (880.0, 1000.0),
        ] {
            assert!((round_up(value) / end - 1.0).abs() < 1e-9, "{value}");
        }
        for value in [0.0, -3.0, f64::NAN, f64::INFINITY, f64::MAX / 100.0] {
            let end = round_up(value);
            assert!(end.is_finite() && end > 0.0, "{value}: {end}");
        }
        assert_eq!(unit_of_time(60.0).0, "s");
        assert_eq!(unit_of_time(604_800.0).0, "days");
    }
}
