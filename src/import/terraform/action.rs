//! `default_action` of a listener and `action` of a rule.

use super::plan::{Action, Group};
use super::section::Section;

/// The one action of a block; `None` if it is not understood, which is listed.
pub(super) fn read(section: &Section<'_>, key: &str, groups: &[Group]) -> Option<Action> {
    let mut blocks = section.blocks(key);
    if blocks.len() > 1 {
        // ALB's others come before it: they let users log in.
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

fn forward(block: &Section<'_>, groups: &[Group]) -> Option<Action> {
    let mut listed = Vec::new();
    let mut sticky = None;
    let mut complete = true;
    if let Some(inner) = block.block("forward") {
        for target in inner.blocks("target_group") {
            let name = target.reference("arn", "aws_lb_target_group");
            let weight = target.count("weight").unwrap_or(1);
            complete &= name.is_some();
            listed.extend(name.map(|name| (name, weight)));
            target.finish(&[]);
        }
        if let Some(stay) = inner.block("stickiness") {
            let enabled = stay.boolean("enabled").unwrap_or(false);
            sticky = stay.count("duration").filter(|_| enabled);
            stay.finish(&[]);
        }
        inner.finish(&[]);
        // Beside it the same group is there once more, for older providers.
        block.value("target_group_arn");
    } else if let Some(name) = block.reference("target_group_arn", "aws_lb_target_group") {
        listed.push((name, 1));
    }
    let unknown = listed
        .iter()
        .find(|(name, _)| groups.iter().all(|group| group.name != *name));
    if let Some((name, _)) = unknown {
        let message = format!("the target group `{name}` is not taken over");
        block.not_mapped("target_group_arn", message);
        return None;
    }
    if listed.is_empty() || !complete {
        return None;
    }
    // One group needs no cookie to stay with.
    let sticky = sticky.filter(|_| listed.len() > 1);
    Some(Action::Forward {
        groups: listed,
        sticky,
    })
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
        parts.extend(value.map(|value| (key, value)));
    }
    let status = block.text("status_code").unwrap_or_default();
    let status = status.trim_start_matches("HTTP_").to_owned();
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
        status: block.count("status_code")?,
        content_type: block.text("content_type"),
        body: block.text("message_body"),
    };
    block.finish(&[]);
    Some(action)
}
