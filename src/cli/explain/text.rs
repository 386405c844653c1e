//! An explanation for people: what happens first, then why.

use std::fmt::Write as _;

use super::super::table::{Table, printable};
use crate::explain::{
    Action, Explanation, ForwardAction, GroupAnswer, Message, Response, Skipped, TargetAnswer,
};

/// Longest value in a line; what is longer is cut.
const MAX_VALUE: usize = 60;

/// Most rules that are shown as passed over: the last ones, which are nearest to the one that holds.
const MAX_RULES: usize = 20;

/// Most targets of a group that are shown.
const MAX_TARGETS: usize = 50;

pub(super) fn render(explanation: &Explanation) -> String {
    let mut text = String::new();
    let Explanation {
        listener,
        bind,
        listener_because,
        client,
        ..
    } = explanation;
    line(
        &mut text,
        "listener",
        &format!("{listener} ({bind}): {listener_because}"),
    );
    let trusted = if explanation.trusted_proxy {
        ", reported by a trusted proxy"
    } else {
        ""
    };
    line(&mut text, "client", &format!("{client}{trusted}"));
    passed_over(&mut text, &explanation.passed_over);
    let rule = match explanation.rule {
        Some(rule) => format!("{rule}: all of its conditions hold"),
        None => "none: the listener's own action".to_owned(),
    };
    if !explanation.is_refused() {
        line(&mut text, "rule", &rule);
    }
    match &explanation.action {
        Action::Forward(action) => forward(&mut text, action),
        Action::Respond(response) => respond(&mut text, response),
        Action::Refuse {
            status,
            reason,
            explanation,
        } => line(
            &mut text,
            "action",
            &format!("refuse with {status}, {reason}: {explanation}"),
        ),
    }
    text
}

/// Writing to a string cannot fail.
fn line(text: &mut String, name: &str, value: &str) {
    let _ = writeln!(text, "{name:<10}{}", printable(value));
}

fn passed_over(text: &mut String, rules: &[Skipped]) {
    if rules.is_empty() {
        return;
    }
    let mut table = Table::new(["RULE", "DOES NOT HOLD", "WANTED", "SEEN"]);
    let hidden = rules.len().saturating_sub(MAX_RULES);
    for one in &rules[hidden..] {
        let seen = if one.seen.is_empty() {
            "nothing".to_owned()
        } else {
            cut(&one.seen.join(", "))
        };
        let wanted = cut(&one.wanted.join(", "));
        table.row([one.rule.to_string(), one.condition.clone(), wanted, seen]);
    }
    let shown = match hidden {
        0 => String::new(),
        hidden => format!(" (--json shows {hidden} more)"),
    };
    let count = rules.len();
    let rules = if count == 1 { "rule" } else { "rules" };
    line(
        text,
        "skipped",
        &format!("{count} {rules}, by the first condition that does not hold{shown}"),
    );
    text.push_str(&table.render("  "));
}

fn cut(value: &str) -> String {
    match value.char_indices().nth(MAX_VALUE) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value.to_owned(),
    }
}

fn respond(text: &mut String, response: &Response) {
    line(text, "action", &format!("respond with {}", response.status));
    for (name, value) in &response.headers {
        line(text, "", &format!("{name}: {value}"));
    }
    if let Some(first) = response.body.lines().next() {
        line(text, "", &cut(first));
    }
}

fn forward(text: &mut String, action: &ForwardAction) {
    let names: Vec<String> = action.groups.iter().map(choice).collect();
    line(text, "action", &format!("forward to {}", names.join(", ")));
    filters(text, action);
    line(
        text,
        "sent",
        &format!("{} {}", action.sent.method, action.sent.target),
    );
    for (name, value) in &action.sent.headers {
        line(text, "", &format!("{name}: {}", cut(value)));
    }
    for one in action.groups.iter().filter(|one| one.chance > 0.0) {
        group(text, one);
    }
}

fn choice(group: &GroupAnswer) -> String {
    if group.chance >= 100.0 {
        group.name.clone()
    } else {
        format!("{} ({:.1}%)", group.name, group.chance)
    }
}

fn filters(text: &mut String, action: &ForwardAction) {
    for filter in &action.request_filters {
        line(text, "filter", filter);
    }
    for filter in &action.response_filters {
        line(text, "filter", &format!("response: {filter}"));
    }
    if action.before_filters != action.sent {
        let Message { method, target, .. } = &action.before_filters;
        line(text, "before", &format!("{method} {target}"));
        let new = |field: &&(String, String)| !action.sent.headers.contains(field);
        for (name, value) in action.before_filters.headers.iter().filter(new) {
            line(text, "", &format!("{name}: {}", cut(value)));
        }
    }
}

fn group(text: &mut String, group: &GroupAnswer) {
    line(
        text,
        "group",
        &format!("{}, {}", group.name, group.algorithm),
    );
    if let Some(key) = &group.hash_key {
        let target = group
            .hash_target
            .as_deref()
            .unwrap_or("no target that can be told");
        line(text, "hash key", &format!("{key} leads to {target}"));
    }
    if let Some(cookie) = &group.sticky_cookie {
        let session = match &group.session {
            Some(target) => format!("cookie {cookie} holds the client on {target}"),
            None => format!("cookie {cookie}: the request has no session"),
        };
        line(text, "sticky", &session);
    }
    if group.maintenance {
        line(
            text,
            "",
            "it is in maintenance: the request is answered with 503",
        );
    }
    if group.failing_open {
        line(text, "", "too few targets are healthy: it fails open");
    }
    let mut table = Table::new(["TARGET", "ELIGIBLE", "WEIGHT", "STATE", ""]);
    for one in group.targets.iter().take(MAX_TARGETS) {
        table.row(target(one));
    }
    if !group.targets.is_empty() {
        text.push_str(&table.render("  "));
    }
    if group.targets.len() > MAX_TARGETS {
        let more = group.targets.len() - MAX_TARGETS;
        line(text, "", &format!("{more} more: --json shows all"));
    }
    for source in &group.found_at_run_time {
        line(
            text,
            "",
            &format!("and {source}, which a running Weir knows"),
        );
    }
}

fn target(target: &TargetAnswer) -> [String; 5] {
    let eligible = if target.eligible { "yes" } else { "no" };
    [
        target.address.to_string(),
        eligible.to_owned(),
        target.weight.to_string(),
        target.state.clone(),
        target.because.clone().unwrap_or_default(),
    ]
}
