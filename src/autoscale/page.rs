//! Series on a page in Prometheus' text format.
//!
//! Reads what the exposition format 0.0.4 and `OpenMetrics` 1.0 have in common: one sample a
//! line, `name{label="value",...} value`, whatever follows the value (a time, an exemplar)
//! left aside. A line that is none of that is passed over, so that one odd series does not
//! hide the others.
//! <https://prometheus.io/docs/instrumenting/exposition_formats/#text-format-details>

/// The sum of all series of a name that have the labels, others or not; `None` when there is
/// none, or none with a number.
pub(super) fn sum(page: &str, name: &str, labels: &[(String, String)]) -> Option<f64> {
    let mut sum = None;
    for line in page.lines() {
        // The cheap test first: most lines are of other series.
        if let Some(rest) = line.strip_prefix(name)
            && let Some(value) = sample(rest, labels)
            && !value.is_nan()
        {
            *sum.get_or_insert(0.0) += value;
        }
    }
    sum
}

/// The value of a line whose name was taken off, if it has the labels.
fn sample(rest: &str, wanted: &[(String, String)]) -> Option<f64> {
    let rest = match rest.strip_prefix('{') {
        Some(labels) => labelled(labels, wanted)?,
        // A longer name goes on here.
        None if !rest.starts_with([' ', '\t']) => return None,
        None if wanted.is_empty() => rest,
        None => return None,
    };
    // `+Inf` and `NaN` are written so that Rust reads them.
    rest.split_ascii_whitespace().next()?.parse().ok()
}

/// What stands behind a set of labels, if the wanted ones are among them.
fn labelled<'a>(mut rest: &'a str, wanted: &[(String, String)]) -> Option<&'a str> {
    let mut found = 0;
    loop {
        rest = rest.trim_ascii_start();
        if let Some(behind) = rest.strip_prefix('}') {
            return (found == wanted.len()).then_some(behind);
        }
        let (name, quoted) = rest.split_once('=')?;
        let (value, behind) = quoted_value(quoted.trim_ascii_start().strip_prefix('"')?)?;
        let is_wanted = |(label, wanted): &(String, String)| {
            label == name.trim_ascii() && value.clone().eq(wanted.chars())
        };
        found += usize::from(wanted.iter().any(is_wanted));
        rest = behind.trim_ascii_start();
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
}

/// The characters up to the closing quote, and what is behind it.
fn quoted_value(text: &str) -> Option<(impl Iterator<Item = char> + Clone, &str)> {
    let mut is_escaped = false;
    let end = text.find(|c| {
        let is_end = c == '"' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        is_end
    })?;
    Some((Unescaped(text[..end].chars()), &text[end + 1..]))
}

/// `\\`, `\"` and `\n` stand for one character each.
#[derive(Clone, Debug)]
struct Unescaped<'a>(std::str::Chars<'a>);

impl Iterator for Unescaped<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        match self.0.next()? {
            '\\' => match self.0.next()? {
                'n' => Some('\n'),
                other => Some(other),
            },
            plain => Some(plain),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = r#"# HELP jobs_waiting Jobs that wait.
# TYPE jobs_waiting gauge
jobs_waiting{queue="mail"} 12
jobs_waiting{queue="print",printer="a,b=\"c\"}"} 3.5 1395066363000
jobs_waiting{ queue = "fax" , } 1e2
jobs_waiting_total 1000
temperature -0.5
broken{queue="mail" 3
broken
broken{queue=mail} 3
broken nothing
broken{queue="mail"} 4 # {trace_id="x"} 0.67
infinite +Inf
nothing NaN
nothing_and_one NaN
nothing_and_one{a="b"} 1
path{dir="C:\\DIR\n"} 7
"#;

    fn find(name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels: Vec<_> = labels
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        sum(PAGE, name, &labels)
    }

    #[test]
    fn series_of_a_name_are_added_up() {
        assert_eq!(find("jobs_waiting", &[]), Some(115.5));
        assert_eq!(find("jobs_waiting_total", &[]), Some(1000.0));
        assert_eq!(find("temperature", &[]), Some(-0.5));
        assert_eq!(find("jobs", &[]), None);
        assert_eq!(find("# HELP", &[]), None);
    }

    #[test]
    fn labels_choose_among_them() {
        assert_eq!(find("jobs_waiting", &[("queue", "mail")]), Some(12.0));
        assert_eq!(find("jobs_waiting", &[("queue", "fax")]), Some(100.0));
        assert_eq!(find("jobs_waiting", &[("queue", "none")]), None);
        let both = [("printer", "a,b=\"c\"}"), ("queue", "print")];
        assert_eq!(find("jobs_waiting", &both), Some(3.5));
        assert_eq!(find("temperature", &[("queue", "mail")]), None);
        assert_eq!(find("path", &[("dir", "C:\\DIR\n")]), Some(7.0));
    }

    #[test]
    fn what_is_no_sample_is_passed_over() {
        assert_eq!(find("broken", &[]), Some(4.0));
        assert_eq!(find("infinite", &[]), Some(f64::INFINITY));
        assert_eq!(find("nothing", &[]), None);
        assert_eq!(find("nothing_and_one", &[]), Some(1.0));
        for page in [
            "x{", "x{a", "x{a=", "x{a=\"", "x{a=\"\\", "x", "x ", "{", "",
        ] {
            assert_eq!(sum(page, "x", &[]), None, "{page}");
        }
    }
}
