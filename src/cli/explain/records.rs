//! Records of the access log, each compared with what the configuration would do.

use std::io::{BufRead, Read, Write as _};
use std::process::ExitCode;

use serde_json::json;

use super::super::format::FormatArguments;
use super::super::table::printable;
use crate::explain::{Comparison, Logged, Verdict, compare as compare_one};
use crate::model::escape_json;
use crate::state::Snapshot;

/// How many records came out how.
#[derive(Debug, Default)]
struct Sum {
    equal: usize,
    possible: usize,
    different: usize,
    not_routed: usize,
    other: usize,
}

/// Longest line that is read.
const MAX_LINE: u64 = 1024 * 1024;

/// Compares the records of `input`, one JSON object a line, and prints a line for each. Lines of
/// other events are counted. Fails if there is no record.
pub(super) fn compare(
    snapshot: &Snapshot,
    format: FormatArguments,
    mut input: impl BufRead,
) -> Result<ExitCode, String> {
    let mut sum = Sum::default();
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = Read::take(&mut input, MAX_LINE).read_until(b'\n', &mut line);
        match read {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => return Err(format!("cannot read standard input: {error}")),
        }
        let logged = serde_json::from_slice::<Logged>(&line);
        let Some(logged) = logged.ok().filter(Logged::is_record) else {
            sum.other += 1;
            continue;
        };
        let compared = compare_one(snapshot, &logged);
        sum.count(compared.verdict);
        let text = if format.is_json() {
            escape_json(&json!(compared).to_string()).into_owned()
        } else {
            text(&logged, &compared)
        };
        // If the output is closed, the exit code is enough.
        let _ = writeln!(out, "{text}");
    }
    if !format.is_json() {
        let _ = writeln!(out, "{}", sum.text());
    }
    let _ = out.flush();
    if sum.records() == 0 {
        return Err("standard input has no record of the access log in JSON".to_owned());
    }
    Ok(ExitCode::from(u8::from(sum.different > 0)))
}

impl Sum {
    fn count(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Equal => self.equal += 1,
            Verdict::Possible => self.possible += 1,
            Verdict::Different => self.different += 1,
            Verdict::NotRouted => self.not_routed += 1,
        }
    }

    fn records(&self) -> usize {
        self.equal + self.possible + self.different + self.not_routed
    }

    fn text(&self) -> String {
        let mut parts = vec![format!("{} equal", self.equal)];
        for (count, what) in [
            (self.possible, "possible, by what a record does not have"),
            (self.different, "different"),
            (self.not_routed, "refused before a rule was looked for"),
            (self.other, "lines that are no records"),
        ] {
            if count > 0 {
                parts.push(format!("{count} {what}"));
            }
        }
        format!("{} records: {}", self.records(), parts.join(", "))
    }
}

fn text(logged: &Logged, compared: &Comparison) -> String {
    let verdict = match compared.verdict {
        Verdict::Equal => "equal",
        Verdict::Possible => "possible",
        Verdict::Different => "different",
        Verdict::NotRouted => "not routed",
    };
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    let request = format!(
        "{} {}{}",
        part(&logged.method),
        part(&logged.host),
        part(&logged.path)
    );
    let listener = part(&compared.listener);
    let rule = compared
        .rule
        .map_or_else(|| "default".to_owned(), |rule| format!("rule {rule}"));
    let groups = compared.groups.join(" or ");
    let to = if groups.is_empty() { "" } else { " to " };
    let mut text = format!(
        "{verdict}: {} by {listener}, {rule}{to}{groups}",
        request.trim()
    );
    if let Some(because) = &compared.because {
        text.push_str("; ");
        text.push_str(because);
    }
    if !compared.unknown.is_empty() {
        text.push_str("; cannot be known from a record: ");
        text.push_str(&compared.unknown.join(", "));
    }
    printable(&text)
}
