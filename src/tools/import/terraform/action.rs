//! Reads the `default_action` of a listener and the `action` of a rule.

use super::group;
use super::plan::{Action, Group};
use super::section::Section;
use super::value::plain;

/// Largest weight of Weir and of ALB.
const MAX_WEIGHT: u32 = 999;

/// The action of a block; `None`, with a note, if it has no counterpart.
pub(super) fn read(section: &Section<'_>, key: &str, groups: &mut Vec<Group>) -> Option<Action> {
    let mut blocks = section.blocks(key);
    if blocks.len() > 1 {
        // Further actions of ALB authenticate users before the last one.
        section.not_mapped(key, "several actions, of which users must pass all");
        return None;
    }
    let Some(block) = blocks.pop() else {
        section.not_mapped(key, format!("no `{key}`"));
        return None;
    };
    block.value("order");
    let kind = block.text("type");
    let action = match kind.as_deref() {
        Some("forward") => forward(&block, groups),
        Some("redirect") => block.block("redirect").and_then(redirect),
        Some("fixed-response") => block.block("fixed_response").and_then(fixed_response),
        Some(other) => {
            block.not_mapped("type", format!("an action of type {other}"));
            None
        }
        None => None,
    };
    block.finish(&[]);
    action
}

fn forward(block: &Section<'_>, groups: &mut Vec<Group>) -> Option<Action> {
    let mut listed: Vec<(String, u32)> = Vec::new();
    let mut sticky = None;
    let inner = block.block("forward");
    if let Some(inner) = inner {
        for target in inner.blocks("target_group") {
            let name = group_name(&target, "arn", groups);
            let weight = target.bounded("weight", 0, MAX_WEIGHT).unwrap_or(1);
            listed.extend(name.map(|name| (name, weight)));
            target.finish(&[]);
        }
        if let Some(stickiness) = inner.block("stickiness") {
            let enabled = stickiness.boolean("enabled").unwrap_or(false);
            sticky = stickiness.count("duration").filter(|_| enabled);
            stickiness.finish(&[]);
        }
        inner.finish(&[]);
        // For older providers the group is named a second time beside `forward`.
        block.value("target_group_arn");
    } else {
        let name = group_name(block, "target_group_arn", groups);
        listed.extend(name.map(|name| (name, 1)));
    }
    if !listed.is_empty() && listed.iter().all(|(_, weight)| *weight == 0) {
        block.not_mapped("forward", "all weights are 0");
        return None;
    }
    if listed.is_empty() {
        return None;
    }
    // A single group needs no cookie.
    let sticky = sticky.filter(|_| listed.len() > 1);
    Some(Action::Forward {
        groups: listed,
        sticky,
    })
}

/// The name of the group that a key names; for a group of other files a placeholder is made.
fn group_name(section: &Section<'_>, key: &str, groups: &mut Vec<Group>) -> Option<String> {
    let value = section
        .value(key)
        .filter(|value| value.as_str() != Some(""))?;
    if let Some(address) = section.address_of(&value, "aws_lb_target_group") {
        let group = groups.iter().find(|group| group.address == address);
        if group.is_none() {
            let message = format!("the target group `{address}` is not taken over");
            section.not_mapped(key, message);
        }
        return group.map(|group| group.name.clone());
    }
    let written = plain(&value);
    let group = group::unknown(groups, &value, None);
    let message = format!(
        "`{key}` is `{written}`, which is not in these files: the group `{}` stands for it",
        group.name
    );
    section.not_mapped(key, message);
    Some(group.name.clone())
}

fn redirect(block: Section<'_>) -> Option<Action> {
    let mut parts = Vec::new();
    for (key, unchanged) in [
        ("protocol", "#{protocol}"),
        ("host", "#{host}"),
        ("port", "#{port}"),
        ("path", "/#{path}"),
        ("query", "#{query}"),
    ] {
        let value = block.text(key).filter(|value| value != unchanged);
        if key == "path" && value.as_ref().is_some_and(|path| !path.starts_with('/')) {
            block.not_mapped(key, "a path that does not begin with `/`");
            return None;
        }
        parts.extend(value.map(|value| (key, value)));
    }
    let code = block.text("status_code").unwrap_or_default();
    let status = code.trim_start_matches("HTTP_").to_owned();
    if status != "301" && status != "302" {
        block.not_mapped("status_code", format!("a redirect with status `{status}`"));
        return None;
    }
    parts.push(("status", status));
    block.finish(&[]);
    Some(Action::Redirect(parts))
}

fn fixed_response(block: Section<'_>) -> Option<Action> {
    let action = Action::FixedResponse {
        status: block.bounded("status_code", 200, 599)?,
        content_type: block.text("content_type"),
        body: block.text("message_body"),
    };
    block.finish(&[]);
    Some(action)
}
