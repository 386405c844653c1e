//! Reads series from a page in Prometheus' text format.
//!
//! Supports what the exposition format 0.0.4 and `OpenMetrics` 1.0 have in common: one sample a
//! line, `name{label="value",...} value`. What follows the value (a time, an exemplar) is
//! ignored, and so is a malformed line, so that one series does not hide the others.
//! <https://prometheus.io/docs/instrumenting/exposition_formats/#text-format-details>

/// The sum of all series of this name that have these labels and perhaps others. `None` if there
/// is no such series, or none with a number.
pub(super) fn sum(page: &str, name: &str, labels: &[(String, String)]) -> Option<f64> {
    let mut sum = None;
    for line in page.lines() {
        // The cheap test first: most lines belong to other series.
        if let Some(rest) = line.strip_prefix(name)
            && let Some(value) = sample(rest, labels)
            && !value.is_nan()
        {
            *sum.get_or_insert(0.0) += value;
        }
    }
    sum
}

/// The value of a line without its name, if it has the labels.
fn sample(rest: &str, wanted: &[(String, String)]) -> Option<f64> {
    let rest = match rest.strip_prefix('{') {
        Some(labels) => labelled(labels, wanted)?,
        // The line has a longer name.
        None if !rest.starts_with([' ', '\t']) => return None,
        None if wanted.is_empty() => rest,
        None => return None,
    };
    // Rust parses `+Inf` and `NaN` as well.
    rest.split_ascii_whitespace().next()?.parse().ok()
}

/// The text after a set of labels, if the wanted ones are among them.
fn labelled<'a>(mut rest: &'a str, wanted: &[(String, String)]) -> Option<&'a str> {
    let mut found = 0;
    loop {
        rest = rest.trim_ascii_start();
        if let Some(after) = rest.strip_prefix('}') {
            return (found == wanted.len()).then_some(after);
        }
        let (name, quoted) = rest.split_once('=')?;
        let (value, after) = quoted_value(quoted.trim_ascii_start().strip_prefix('"')?)?;
        found +=
            usize::from(wanted.iter().any(|(label, wanted)| {
                label == name.trim_ascii() && value.clone().eq(wanted.chars())
            }));
        rest = after.trim_ascii_start();
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
}

/// The characters up to the closing quote, and the text after it.
fn quoted_value(text: &str) -> Option<(impl Iterator<Item = char> + Clone, &str)> {
    let mut is_escaped = false;
    let end = text.find(|c| {
        let is_end = c == '"' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        is_end
    })?;
    Some((Unescaped(text[..end].chars()), &text[end + 1..]))
}

/// Unescapes `\\`, `\"` and `\n`.
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
    fn a_malformed_line_is_ignored() {
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
