//! `sticky` of a group and `group_sticky` of a forward: clients that stay.

use std::time::Duration;

use crate::config::node::Node;
use crate::config::problem::Code;
use crate::config::schema::Place;
use crate::config::section::Section;
use crate::config::{bounds, defaults};
use crate::model::{Algorithm, CookieSource, Overload, Sticky, StickyDraining, StickyFull};

/// Longest name of a cookie, bytes: it is in every request.
const MAX_NAME: usize = 128;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    LoadBalancer,
    Application,
}

const KINDS: [(&str, Kind); 2] = [
    ("lb_cookie", Kind::LoadBalancer),
    ("app_cookie", Kind::Application),
];

const WHEN_FULL: [(&str, StickyFull); 2] = [("move", StickyFull::Move), ("wait", StickyFull::Wait)];

const WHEN_DRAINING: [(&str, StickyDraining); 2] = [
    ("move", StickyDraining::Move),
    ("stay", StickyDraining::Stay),
];

/// `None` if it is not there or broken.
pub(super) fn read(
    group: &Section<'_>,
    algorithm: Algorithm,
    overload: &Overload,
) -> Option<Sticky> {
    let node = group.get("sticky")?;
    let section = node.section(Place::Sticky)?;
    if algorithm == Algorithm::ConsistentHash {
        let message = "`consistent_hash` keeps clients together already";
        let help = "`sticky` wins over it for everybody who has a cookie; take one of the two out";
        node.warn(Code::Suspicious, message, help);
    }
    let source = source(&section);
    let cookie = section.get("cookie").map(|node| cookie_name(&node));
    let duration = section.duration("duration", &bounds::STICKY, defaults::STICKY_DURATION);
    let full = section.get("when_full");
    let when_full = full.as_ref().and_then(|node| node.word(&WHEN_FULL));
    if let (Some(node), Some(StickyFull::Wait), 0) = (&full, when_full, overload.queue_length) {
        let message = "`when_full = \"wait\"` needs a `queue` to wait in";
        let help = match overload.max_concurrency {
            Some(_) => "write queue = { length = 100, timeout = \"5s\" }",
            None => "write max_concurrency = 100 and queue = { length = 100, timeout = \"5s\" }",
        };
        node.error(Code::MissingKey, message, help);
    }
    let when_draining = section
        .get("when_draining")
        .and_then(|node| node.word(&WHEN_DRAINING));
    let sticky = Sticky {
        source: source?,
        cookie: match cookie {
            Some(cookie) => cookie?,
            None => defaults::STICKY_COOKIE.to_owned(),
        },
        duration,
        when_full: when_full.unwrap_or(defaults::STICKY_FULL),
        when_draining: when_draining.unwrap_or(defaults::STICKY_DRAINING),
    };
    check_names(&section, &sticky);
    Some(sticky)
}

fn source(section: &Section<'_>) -> Option<CookieSource> {
    let kind = section
        .require(
            "type",
            "write type = \"lb_cookie\", or \"app_cookie\" to follow a cookie of the application",
        )
        .and_then(|node| node.word(&KINDS));
    match kind? {
        Kind::Application => section
            .require("name", "write the name of the application's cookie")
            .and_then(|node| cookie_name(&node))
            .map(CookieSource::Application),
        Kind::LoadBalancer => {
            if let Some(node) = section.get("name") {
                let message =
                    "`name` is the application's cookie, which \"lb_cookie\" does not look at";
                let help = "Weir's own is called by `cookie`; to follow the application's write type = \"app_cookie\"";
                node.error(Code::Conflict, message, help);
            }
            Some(CookieSource::LoadBalancer)
        }
    }
}

/// Two cookies of one name would overwrite each other.
fn check_names(section: &Section<'_>, sticky: &Sticky) {
    let CookieSource::Application(name) = &sticky.source else {
        return;
    };
    let at = section.get("cookie").or_else(|| section.get("name"));
    if let Some(node) = at.filter(|_| *name == sticky.cookie) {
        let message = format!("the application's cookie and Weir's own are both called `{name}`");
        node.error(Code::Conflict, message, "give Weir's another `cookie`");
    }
}

/// The name of a cookie: a token (RFC 6265 section 4.1.1).
pub(super) fn cookie_name(node: &Node<'_>) -> Option<String> {
    let text = node.text()?;
    let separator = |c: char| !c.is_ascii_graphic() || "()<>@,;:\\\"/[]?={}".contains(c);
    if let Some(c) = text.chars().find(|c| separator(*c)) {
        let message = format!(
            "no cookie is called `{text}`: `{}` cannot be in its name",
            c.escape_default()
        );
        node.error(Code::InvalidValue, message, "write the name alone");
        return None;
    }
    if text.len() > MAX_NAME {
        let message = format!("the name of a cookie has at most {MAX_NAME} characters");
        node.error(
            Code::InvalidValue,
            message,
            "it is in every request; shorten it",
        );
        return None;
    }
    Some(text)
}

/// How long a client stays with the group it got. `groups` is how many there are to choose
/// from; `None` if the action chooses none.
pub(super) fn group_sticky(section: &Section<'_>, groups: Option<usize>) -> Option<Duration> {
    let node = section.get("group_sticky")?;
    let duration = node.duration(&bounds::STICKY);
    match groups {
        None => {
            let message = "`group_sticky` belongs to `forward`: without it no group is chosen";
            node.error(Code::Conflict, message, "take it out");
            None
        }
        Some(1) => {
            let message = "`group_sticky` does nothing: there is one group to choose from";
            let help = "it keeps clients with one of several: forward = [\"NAME\", \"OTHER\"]";
            node.warn(Code::NoEffect, message, help);
            None
        }
        Some(_) => duration,
    }
}
