//! What a reload does to what there is: requests, connections, sessions and targets.

use std::collections::BTreeMap;

use crate::config::{Config, Listener, TargetAddress, TargetGroup, display_duration};
use crate::model::{Action, CookieSource, Rule, TargetGroupId};

/// What follows from the difference between two configurations: a sentence each, about a listener, a
/// group or the whole file.
pub(super) fn effects(old: &Config, new: &Config) -> Vec<String> {
    let mut effects = Vec::new();
    for (before, after) in pairs(&old.listeners, &new.listeners, |one| &one.id) {
        effects.extend(of_listener(before, after));
    }
    for (before, after) in pairs(&old.target_groups, &new.target_groups, |one| &one.id) {
        effects.extend(of_group(before, after));
    }
    let removed = old.target_groups.iter().filter(|before| {
        let mut groups = new.target_groups.iter();
        !groups.any(|after| after.id == before.id)
    });
    effects.extend(removed.map(|group| {
        let time = display_duration(group.deregistration_delay);
        format!(
            "target group {}: its targets drain for up to {time}",
            group.id
        )
    }));
    effects.extend(of_sessions(old, new));
    effects
}

/// Those that are in both, by name, and differ.
fn pairs<'c, T: PartialEq, I: PartialEq + 'c>(
    old: &'c [T],
    new: &'c [T],
    id: fn(&T) -> &I,
) -> impl Iterator<Item = (&'c T, &'c T)> {
    old.iter().filter_map(move |before| {
        let after = new.iter().find(|after| id(after) == id(before))?;
        (after != before).then_some((before, after))
    })
}

/// The names of the fields that differ.
macro_rules! changed {
    ($before:expr, $after:expr, $($field:ident),+) => {{
        let mut names: Vec<&str> = Vec::new();
        $(if $before.$field != $after.$field { names.push(stringify!($field)); })+
        names
    }};
}

fn of_listener(before: &Listener, after: &Listener) -> Vec<String> {
    let about = |text: String| format!("listener {}: {text}", after.id);
    let mut effects = Vec::new();
    let settings = changed!(
        before,
        after,
        socket_mode,
        proxy_protocol,
        tls,
        max_connections,
        client,
        http,
        forwarded,
        rate_limit
    );
    if before.protocol != after.protocol {
        effects.push(about(
            "it speaks another protocol: open connections end".to_owned(),
        ));
    }
    if before.tls.is_some() != after.tls.is_some() {
        let tls = if after.tls.is_some() {
            "with"
        } else {
            "without"
        };
        effects.push(about(format!(
            "new connections are spoken to {tls} TLS; open ones go on"
        )));
    }
    if !settings.is_empty() {
        effects.push(about(format!(
            "other settings for new requests: {}",
            settings.join(", ")
        )));
    }
    if before.default != after.default {
        effects.push(about("its own action is another".to_owned()));
    }
    effects.extend(of_rules(&before.rules, &after.rules).map(about));
    effects
}

/// Rules by their priority.
fn of_rules(before: &[Rule<TargetGroupId>], after: &[Rule<TargetGroupId>]) -> Option<String> {
    fn by_priority(rules: &[Rule<TargetGroupId>]) -> BTreeMap<u32, &Rule<TargetGroupId>> {
        rules.iter().map(|rule| (rule.priority.0, rule)).collect()
    }
    let (before, after) = (by_priority(before), by_priority(after));
    let list = |verb: &str, found: Vec<&u32>| {
        let numbers: Vec<String> = found.iter().map(ToString::to_string).collect();
        (!numbers.is_empty()).then(|| format!("{verb} {}", numbers.join(", ")))
    };
    let added = after
        .keys()
        .filter(|rule| !before.contains_key(rule))
        .collect();
    let removed = before
        .keys()
        .filter(|rule| !after.contains_key(rule))
        .collect();
    let is_changed = |rule: &&u32| {
        before
            .get(rule)
            .is_some_and(|old| after.get(rule) != Some(old))
    };
    let changed = after.keys().filter(is_changed).collect();
    let parts = [
        list("added", added),
        list("removed", removed),
        list("changed", changed),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| format!("rules {}", parts.join("; ")))
}

fn of_group(before: &TargetGroup, after: &TargetGroup) -> Vec<String> {
    let about = |text: String| format!("target group {}: {text}", after.id);
    let mut effects: Vec<String> = of_targets(before, after).into_iter().map(&about).collect();
    let terms = changed!(before, after, upstream, tls);
    if !terms.is_empty() {
        let terms = terms.join(" and ");
        let text = format!(
            "other {terms}: idle connections to its targets close, others after their request"
        );
        effects.push(about(text));
    }
    if before.health != after.health {
        effects.push(about(
            "other health checks, from the next one on".to_owned(),
        ));
    }
    let settings = changed!(
        before,
        after,
        protocol,
        port,
        algorithm,
        hash,
        fail_open,
        retry,
        outlier,
        overload,
        slow_start,
        deregistration_delay,
        replicas,
        autoscaling
    );
    if !settings.is_empty() {
        effects.push(about(format!(
            "other settings for new requests: {}",
            settings.join(", ")
        )));
    }
    if before.replicas.is_some() && after.replicas.is_none() {
        effects.push(about(
            "its replicas are stopped, after their last request".to_owned(),
        ));
    }
    effects
}

/// Targets that come, go, or get another weight.
fn of_targets(before: &TargetGroup, after: &TargetGroup) -> Vec<String> {
    let weights = |group: &TargetGroup| -> BTreeMap<String, u16> {
        let targets = group.targets.iter();
        targets
            .map(|spec| (address(&spec.address), spec.weight))
            .collect()
    };
    let (old, new) = (weights(before), weights(after));
    let mut effects = Vec::new();
    for (target, weight) in &new {
        match old.get(target) {
            None => effects.push(format!("target {target} comes")),
            Some(known) if known != weight => {
                effects.push(format!(
                    "target {target} gets weight {weight} instead of {known}"
                ));
            }
            Some(_) => {}
        }
    }
    let time = display_duration(after.deregistration_delay);
    let gone = old.keys().filter(|target| !new.contains_key(*target));
    effects
        .extend(gone.map(|target| format!("target {target} leaves, and drains for up to {time}")));
    effects
}

fn address(address: &TargetAddress) -> String {
    match address {
        TargetAddress::Socket(endpoint) => endpoint.to_string(),
        TargetAddress::Host { name, port } => format!("{name}:{port}"),
        TargetAddress::Srv { name } => format!("srv {name}"),
        TargetAddress::File { path, .. } => format!("file {}", path.display()),
    }
}

/// Sessions that end: their cookies are not understood any more, or not looked at.
fn of_sessions(old: &Config, new: &Config) -> Vec<String> {
    let is_new_key = old.cookie_key != new.cookie_key;
    let mut effects = Vec::new();
    for before in &old.target_groups {
        let Some(sticky) = &before.sticky else {
            continue;
        };
        let mut groups = new.target_groups.iter();
        let after = groups.find(|after| after.id == before.id);
        let Some(after) = after else {
            continue;
        };
        let because = match &after.sticky {
            None => "clients stay no more",
            Some(_) if is_new_key => "cookie_key is another",
            Some(next) if next.cookie != sticky.cookie => "their cookie has another name",
            Some(next) if kind(&next.source) != kind(&sticky.source) => "they are of another type",
            Some(_) => continue,
        };
        effects.push(format!(
            "target group {}: sessions end, because {because}",
            before.id
        ));
    }
    let has_group_sessions = |listener: &Listener| {
        let actions = listener.rules.iter().map(|rule| &rule.action);
        actions.chain([&listener.default]).any(keeps_clients)
    };
    if is_new_key {
        let sticky = old.listeners.iter().filter(|one| has_group_sessions(one));
        effects.extend(sticky.map(|listener| {
            format!(
                "listener {}: clients choose their group anew, because cookie_key is another",
                listener.id
            )
        }));
    }
    effects
}

fn kind(source: &CookieSource) -> Option<&str> {
    match source {
        CookieSource::LoadBalancer => None,
        CookieSource::Application(name) => Some(name),
    }
}

/// Whether clients stay with a group of a weighted forward.
fn keeps_clients(action: &Action<TargetGroupId>) -> bool {
    match action {
        Action::Forward(forward) => forward.sticky.is_some(),
        Action::Redirect(_) | Action::FixedResponse(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    const BEFORE: &str = r#"
[[listener]]
name = "web"
bind = "127.0.0.1:8080"
forward = "todo"
[[listener.rule]]
priority = 10
when = { path = "/a" }
then = { fixed_response = { status = 404 } }
[target_group.todo]
targets = ["10.0.0.1:80", "10.0.0.2:80"]
sticky = { type = "lb_cookie" }
"#;

    /// The effects of a change of the text.
    fn of(from: &str, to: &str) -> Vec<String> {
        let parse = |text: &str| config::parse("weir.toml", text, &|_| None).unwrap().config;
        assert!(BEFORE.contains(from), "{from}");
        effects(&parse(BEFORE), &parse(&BEFORE.replacen(from, to, 1)))
    }

    #[test]
    fn the_same_configuration_has_no_effect() {
        assert_eq!(of("10.0.0.1:80", "10.0.0.1:80"), [""; 0]);
    }

    #[test]
    fn targets_come_and_go() {
        let effects = of(
            "\"10.0.0.2:80\"",
            "{ address = \"10.0.0.3:80\", weight = 2 }",
        );
        let leaves = "target group todo: target 10.0.0.2:80 leaves, and drains for up to 5m";
        assert_eq!(
            effects,
            ["target group todo: target 10.0.0.3:80 comes", leaves]
        );
    }

    #[test]
    fn sessions_end_with_their_cookie() {
        let key = format!("cookie_key = \"{}\"\n[[listener]]", "ab".repeat(32));
        for (from, to, because) in [
            (
                "sticky = { type = \"lb_cookie\" }",
                "",
                "clients stay no more",
            ),
            (
                "\"lb_cookie\"",
                "\"lb_cookie\", cookie = \"OTHER\"",
                "another name",
            ),
            (
                "\"lb_cookie\"",
                "\"app_cookie\", name = \"app\"",
                "another type",
            ),
            ("[[listener]]", &key, "cookie_key is another"),
        ] {
            let effects = of(from, to).join("\n");
            assert!(effects.contains("sessions end, because"), "{to}: {effects}");
            assert!(effects.contains(because), "{to}: {effects}");
        }
    }

    #[test]
    fn rules_are_told_by_their_priority() {
        let effects = of("priority = 10", "priority = 20");
        assert_eq!(effects, ["listener web: rules added 20; removed 10"]);
        let effects = of("status = 404", "status = 403");
        assert_eq!(effects, ["listener web: rules changed 10"]);
    }

    #[test]
    fn other_terms_close_connections_to_targets() {
        let effects = of(
            "sticky =",
            "upstream = { connect_timeout = \"1s\" }\nsticky =",
        );
        assert!(
            effects[0].contains("other upstream: idle connections"),
            "{effects:?}"
        );
        let effects = of("bind =", "max_connections = 7\nbind =");
        assert_eq!(
            effects,
            ["listener web: other settings for new requests: max_connections"]
        );
    }
}
