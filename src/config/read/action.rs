//! `forward`, `redirect` and `fixed_response`: what happens with a request.

use std::collections::HashSet;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use toml::de::DeValue;

use super::pattern::Spelling;
use super::{filters, redirect, sticky};
use crate::config::context::Reference;
use crate::config::node::Node;
use crate::config::problem::Code;
use crate::config::section::{Section, exclude_each_other};
use crate::config::{defaults, keys};
use crate::model::{Action, Condition, FixedResponse, Forward, Protocol, TargetGroupId};

const ACTIONS: [&str; 3] = ["forward", "redirect", "fixed_response"];

/// The one action of a listener or a rule; `port` is the one that clients come by,
/// `conditions` are those of the rule, and `spelling` is that of the paths which they match.
pub(super) fn read(
    section: &Section<'_>,
    port: Option<u16>,
    conditions: &[Condition],
    spelling: Spelling,
) -> Option<Action<TargetGroupId>> {
    let filters = filters::read(section, spelling);
    let given = section.given(&ACTIONS);
    let Some(node) = given.first() else {
        if ACTIONS.iter().any(|key| section.is_meant(key)) {
            return None;
        }
        let heading = section.heading();
        let message = format!("{heading} does not say what to do with a request");
        let help = "write one of\n    forward = \"NAME\"\n    redirect = { protocol = \"https\" }\n    \
                    fixed_response = { status = 404 }";
        section.error(Code::MissingKey, "forward", message, help);
        return None;
    };
    exclude_each_other(&given, "a request gets one of them; take the other out");
    let action = match node.name() {
        "forward" => forward(node, Protocol::Http1).map(Action::Forward),
        "redirect" => redirect::read(node, port, conditions).map(Action::Redirect),
        _ => fixed_response(node).map(Action::FixedResponse),
    };
    match action? {
        Action::Forward(mut forward) => {
            forward.sticky = sticky::group_sticky(section, Some(forward.groups.len()));
            forward.filters = filters;
            Some(Action::Forward(forward))
        }
        other => {
            sticky::group_sticky(section, None);
            filters::refuse(section);
            Some(other)
        }
    }
}

/// The action of a rule for connections of which no request is read.
pub(super) fn of_connection(section: &Section<'_>) -> Option<Action<TargetGroupId>> {
    let node = section.require(
        "forward",
        "write the group that gets them: forward = \"NAME\"",
    )?;
    forward(&node, Protocol::Tcp).map(Action::Forward)
}

/// A group's name, or a list of names and tables with weights. `protocol` is that of the listener.
pub(super) fn forward(node: &Node<'_>, protocol: Protocol) -> Option<Forward<TargetGroupId>> {
    let groups = node.items_of(|node| weighted_group(node, protocol))?;
    let listed = matches!(node.value, DeValue::Array(_));
    if groups.iter().all(|(_, weight)| *weight == 0) {
        let message = "the weights sum to 0: no group would get a request";
        let help = if listed {
            "give at least one group a weight above 0"
        } else {
            ""
        };
        return node.refuse(Code::NoWeight, message, help);
    }
    let mut seen = HashSet::new();
    for (id, _) in &groups {
        if !seen.insert(id) {
            let message = format!("target group `{id}` is in this list twice");
            node.error(
                Code::Duplicate,
                message,
                "write it once, with the sum of the weights",
            );
        }
    }
    Some(Forward::to(groups))
}

fn weighted_group(node: &Node<'_>, protocol: Protocol) -> Option<(TargetGroupId, u16)> {
    if matches!(node.value, DeValue::String(_)) {
        return Some((group(node, protocol)?, defaults::WEIGHT));
    }
    if !matches!(node.value, DeValue::Table(_)) {
        return node.refuse_type(
            "the name of a target group",
            "write \"NAME\" or { group = \"NAME\", weight = 1 }",
        );
    }
    let section = node.section(&keys::WEIGHTED_GROUP)?;
    let weight = section.count("weight");
    let id = section.require("group", "write { group = \"NAME\", weight = 1 }")?;
    Some((group(&id, protocol)?, weight))
}

fn group(node: &Node<'_>, protocol: Protocol) -> Option<TargetGroupId> {
    let name = node.text()?;
    let id = TargetGroupId::from(name.as_str());
    let reference = Reference {
        group: id.clone(),
        protocol,
    };
    node.cx
        .note(|notes| notes.references.push(node.mark(reference)));
    Some(id)
}

fn fixed_response(node: &Node<'_>) -> Option<FixedResponse> {
    let section = node.section(&keys::FIXED_RESPONSE)?;
    let status = section
        .require("status", "write { status = 404 }")
        .and_then(|node| node.count())
        .and_then(|status| StatusCode::from_u16(status).ok());
    let content_type = match section.get("content_type") {
        Some(node) => content_type(&node),
        None => Some(defaults::CONTENT_TYPE),
    };
    let body = section.get("body");
    let text = body.as_ref().map_or(Some(String::new()), Node::string);
    let (status, text) = (status?, text?);
    // RFC 9110 sections 15.3.5, 15.3.6 and 15.4.5.
    if let Some(node) = body
        && matches!(status.as_u16(), 204 | 205 | 304)
        && !text.is_empty()
    {
        let message = format!("a response with status {} has no body", status.as_u16());
        return node.refuse(
            Code::Conflict,
            message,
            "leave the body out, or use status 200",
        );
    }
    Some(FixedResponse {
        status,
        content_type: content_type?,
        body: Bytes::from(text),
    })
}

fn content_type(node: &Node<'_>) -> Option<HeaderValue> {
    let text = node.text()?;
    let value = HeaderValue::from_str(&text).ok();
    let value = value.filter(|_| text.contains('/'));
    if value.is_none() {
        let message = format!("`{text}` is not a content type");
        node.error(
            Code::InvalidValue,
            message,
            "write \"text/html\" or \"application/json\"",
        );
    }
    value
}
