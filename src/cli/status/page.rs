//! The page: what is wrong first, then what there is.

use super::super::screen::{Screen, Style, wrapped};
use super::super::table::{Piece, printable};
use super::group;
use super::listeners;
use super::words::mebibytes;
use crate::admin::{Finding, GroupStatus, Severity, Status, age, between};

/// The width of the widest severity, and the gap after it.
const SEVERITY_WIDTH: usize = 9;

/// Clears what is below, and what is right of the text of a line.
const CLEAR_BELOW: &str = "\x1b[J";
const CLEAR_LINE: &str = "\x1b[K\n";
const HOME: &str = "\x1b[H";

/// The status as text; of a group only that, if `is_group`.
pub(crate) fn page(status: &Status, has_rules: bool, is_group: bool, screen: &Screen) -> String {
    let mut text = format!("{}\n{}", first_line(status), process(status, screen));
    text.push_str(&problems(&status.problems, screen));
    let (listeners, now) = (&status.listeners, status.now);
    if !is_group {
        text.push('\n');
        text.push_str(&listeners::listener_table(listeners).render_on(screen, ""));
        if has_rules {
            text.push_str(&listeners::rules(listeners, now, screen));
        }
        text.push_str(&listeners::certificates(listeners, now, screen));
        text.push_str(&listeners::acme(listeners, now, screen));
    }
    for group in &status.target_groups {
        text.push('\n');
        text.push_str(&group_text(group, status, screen));
    }
    text
}

fn group_text(group: &GroupStatus, status: &Status, screen: &Screen) -> String {
    let now = status.now;
    let mut text = screen.paint(Style::Strong, group::heading(group).trim_end()) + "\n";
    text.push_str(&indented(&group::facts(group), screen));
    text.push_str(&group::scaling(group, now));
    text.push_str(&group::targets(&group.targets, now, screen));
    text.push_str(&group::replicas(&group.replicas, now, screen));
    text
}

/// A text of any length in lines that fit, each after two spaces.
fn indented(text: &str, screen: &Screen) -> String {
    let lines = wrapped(&printable(text), 2, screen.width);
    let lines = lines
        .iter()
        .map(|line| format!("  {}\n", screen.paint(Style::Dim, line)));
    lines.collect()
}

fn first_line(status: &Status) -> String {
    format!(
        "weir {}  {}  up {}  snapshot {}",
        printable(&status.version),
        printable(&status.phase),
        age(status.uptime),
        status.snapshot
    )
}

/// What the process uses, and its last reload.
fn process(status: &Status, screen: &Screen) -> String {
    let process = &status.process;
    let mut facts = Vec::new();
    if let Some(bytes) = process.memory_bytes {
        facts.push(format!("memory {}", mebibytes(bytes)));
    }
    if let Some(open) = process.open_files {
        facts.push(format!("{open} of {} files open", process.max_open_files));
    }
    let dropped = process.access_lines_dropped + process.event_lines_dropped;
    if dropped > 0 {
        facts.push(format!("{dropped} log lines dropped"));
    }
    if let Some(last) = &status.last_reload {
        let result = if last.accepted { "accepted" } else { "REFUSED" };
        let ago = age(between(last.at, status.now));
        facts.push(format!("reload {ago} ago {result}: {}", last.summary));
    }
    if facts.is_empty() {
        return String::new();
    }
    let text = printable(&facts.join("; "));
    let lines = wrapped(&text, 0, screen.width);
    let lines = lines
        .iter()
        .map(|line| screen.paint(Style::Dim, line) + "\n");
    lines.collect()
}

/// What is wrong, a paragraph each.
fn problems(problems: &[Finding], screen: &Screen) -> String {
    if problems.is_empty() {
        let text = screen.paint(Style::Good, "nothing is wrong");
        return format!("\n{text}\n");
    }
    let mut text = "\n".to_owned();
    for line in problems.iter().flat_map(|one| problem(one, screen.width)) {
        text.push_str(&screen.paint_all(&line));
        text.push('\n');
    }
    text
}

/// `warning  todo 127.0.0.1:6400: it fails its checks`, with its hint below, in lines so wide.
pub(crate) fn problem(problem: &Finding, width: Option<usize>) -> Vec<Vec<Piece>> {
    let style = match problem.severity {
        Severity::Error => Style::Bad,
        Severity::Warning => Style::Warning,
        Severity::Info => Style::Dim,
    };
    let subject = problem.subject();
    let colon = if subject.is_empty() { "" } else { ": " };
    let text = printable(&format!("{subject}{colon}{}", problem.text));
    let hint = problem.hint.as_deref().map(printable);
    let margin = || (Style::Plain, " ".repeat(SEVERITY_WIDTH));
    let wrapped = |text: &str| wrapped(text, SEVERITY_WIDTH, width);
    let mut lines: Vec<Vec<Piece>> = wrapped(&text)
        .into_iter()
        .map(|line| vec![margin(), (Style::Plain, line)])
        .collect();
    if let Some(first) = lines.first_mut().and_then(|line| line.first_mut()) {
        *first = (
            style,
            format!("{:<SEVERITY_WIDTH$}", problem.severity.name()),
        );
    }
    let hint = hint.iter().flat_map(|hint| wrapped(hint));
    lines.extend(hint.map(|line| vec![margin(), (Style::Dim, line)]));
    lines
}

/// A page in the place of the one before: on a terminal as much of it as it has lines for.
pub(crate) fn framed(text: &str, screen: &Screen) -> String {
    if !screen.is_addressable {
        return format!("{text}\n");
    }
    let room = screen.height.unwrap_or(usize::MAX).saturating_sub(1).max(1);
    let count = text.lines().count();
    let shown = if count > room { room - 1 } else { count };
    let mut framed = HOME.to_owned();
    for line in text.lines().take(shown) {
        framed.push_str(line);
        framed.push_str(CLEAR_LINE);
    }
    if count > shown {
        let more = format!("… {} more lines; `weir top` scrolls", count - shown);
        framed.push_str(&screen.paint(Style::Dim, &more));
        framed.push_str(CLEAR_LINE);
    }
    framed.push_str(CLEAR_BELOW);
    framed
}
