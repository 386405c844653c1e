//! Reads a load curve: lines of `seconds,requests_per_second`.
//!
//! Between two lines the load changes linearly; two lines of the same second are a jump at its
//! start. Seconds count from the start of the curve or, as with `date +%s`, from 1970. Empty lines
//! and lines that begin with `#` are ignored.

use jiff::Timestamp;

use super::super::curve::{MAX_RATE, MAX_SECONDS};
use super::reader::{FormatReader, is_blank};
use crate::tools::simulate::LoadCurve;

/// Seconds from this value on count from 1970: it is a time in 2001.
const UNIX: f64 = 1e9;

/// The header line, which may be missing.
const HEAD: &str = "seconds,requests_per_second";

#[derive(Debug, Default)]
pub(super) struct Curve {
    /// The second of the first point.
    start: f64,
    /// The last point.
    last: Option<(f64, f64)>,
    rates: Vec<f64>,
}

/// Whether a file with this first line is a load curve.
pub(super) fn is_curve(line: &str) -> bool {
    is_head(line) || (line.starts_with(|c: char| c.is_ascii_digit()) && line.contains(','))
}

fn is_head(line: &str) -> bool {
    line.replace(' ', "").eq_ignore_ascii_case(HEAD)
}

impl FormatReader for Curve {
    fn line(&mut self, line: &str) -> Result<(), String> {
        if is_blank(line) || (self.last.is_none() && is_head(line)) {
            return Ok(());
        }
        let point = point(line)?;
        if let Some((before, _)) = self.last
            && point.0 < before
        {
            return Err(format!("second {} comes after second {before}", point.0));
        }
        self.fill_to(point)
    }

    fn finish(self: Box<Self>) -> Result<LoadCurve, String> {
        let is_unix = self.start >= UNIX;
        let start = is_unix.then(|| Timestamp::from_second(self.start as i64).ok());
        LoadCurve::new(start.flatten(), self.rates)
            .ok_or_else(|| format!("no line of `{HEAD}` is in it"))
    }
}

impl Curve {
    /// Fills the seconds up to and including that of a point.
    fn fill_to(&mut self, point: (f64, f64)) -> Result<(), String> {
        let (second, rate) = point;
        if self.last.is_none() {
            self.start = second.floor();
        }
        let (from, from_rate) = self.last.unwrap_or(point);
        let length = (second.floor() - self.start) as usize + 1;
        if length > MAX_SECONDS {
            return Err(format!(
                "the curve is longer than {} days",
                MAX_SECONDS / 86_400
            ));
        }
        for index in self.rates.len()..length {
            let part = (self.start + index as f64 - from) / (second - from).max(f64::MIN_POSITIVE);
            let between = from_rate + (rate - from_rate) * part.clamp(0.0, 1.0);
            self.rates.push(between);
        }
        // The last line of a second sets the load at its start.
        self.rates[length - 1] = rate;
        self.last = Some(point);
        Ok(())
    }
}

fn point(line: &str) -> Result<(f64, f64), String> {
    let wanted = || format!("expected two numbers, `{HEAD}`, found `{}`", shown(line));
    let (second, rate) = line.split_once(',').ok_or_else(wanted)?;
    let number = |text: &str| text.trim().parse::<f64>().map_err(|_| wanted());
    let (second, rate) = (number(second)?, number(rate)?);
    // NaN is in no range.
    if !(0.0..=f64::from(u32::MAX)).contains(&second) {
        return Err(format!("{second} is no number of seconds"));
    }
    if !(0.0..=MAX_RATE).contains(&rate) {
        return Err(format!(
            "{rate} requests/s is out of the range 0 to {MAX_RATE}"
        ));
    }
    Ok((second, rate))
}

/// The start of a line, for messages.
fn shown(line: &str) -> String {
    line.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::super::read;

    fn rates(text: &str) -> Vec<f64> {
        let load = read(text.as_bytes(), "todo").unwrap();
        load.curve.rates().to_vec()
    }

    fn problem(text: &str) -> String {
        read(text.as_bytes(), "todo").unwrap_err().to_string()
    }

    #[test]
    fn the_load_between_two_lines_is_a_straight_line() {
        assert_eq!(
            rates("seconds,requests_per_second\n0,10\n4,50\n"),
            [10.0, 20.0, 30.0, 40.0, 50.0]
        );
        assert_eq!(rates("0,5\r\n\r\n# note\r\n1,7"), [5.0, 7.0]);
        assert_eq!(rates("3, 5\n5, 5\n"), [5.0, 5.0, 5.0]);
        assert_eq!(rates("0,8"), [8.0]);
    }

    #[test]
    fn two_lines_of_one_second_are_a_jump() {
        assert_eq!(
            rates("0,100\n2,100\n2,500\n4,500\n"),
            [100.0, 100.0, 500.0, 500.0, 500.0]
        );
    }

    #[test]
    fn seconds_may_have_fractions() {
        assert_eq!(rates("0.5,10\n1.5,20\n3.5,40\n"), [10.0, 20.0, 25.0, 40.0]);
    }

    #[test]
    fn seconds_since_1970_tell_when_it_was() {
        let load = read(&b"1795340401.5,10\n1795340402.5,20\n"[..], "todo").unwrap();
        let start = load.curve.start().unwrap().to_string();
        assert_eq!(start, "2026-11-22T09:40:01Z");
        assert_eq!(load.curve.rates(), [10.0, 20.0]);
        assert_eq!(
            read(&b"999999999,1"[..], "todo").unwrap().curve.start(),
            None
        );
    }

    #[test]
    fn a_broken_line_is_named() {
        for (text, says) in [
            (
                "0,1\n1;2\n",
                "line 2: expected two numbers, `seconds,requests_per_second`, found `1;2`",
            ),
            ("0,1\n1,2,3\n", "line 2: expected two numbers"),
            ("0,1\n5,\n", "line 2: expected two numbers"),
            ("0,1\n5,1\n4,1\n", "line 3: second 4 comes after second 5"),
            ("0,-1\n", "line 1: -1 requests/s is out of the range"),
            ("0,NaN\n", "line 1: NaN requests/s is out of the range"),
            (
                "0,1e10\n",
                "line 1: 10000000000 requests/s is out of the range",
            ),
            ("0,1\n1e300,1\n", "line 2: 1"),
            ("0,1\n604801,1\n", "line 2: the curve is longer than 7 days"),
            (
                "0,1\n4294967295,1\n",
                "line 2: the curve is longer than 7 days",
            ),
            (
                "seconds,requests_per_second\n",
                "no line of `seconds,requests_per_second` is in it",
            ),
        ] {
            let problem = problem(text);
            assert!(problem.starts_with(says), "{text:?}: {problem}");
        }
    }
}
