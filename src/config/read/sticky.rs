//! `sticky` of a group and `group_sticky` of a forward: sessions.

use std::time::Duration;

use crate::config::keys::{self, CookieKind};
use crate::config::node::Node;
use crate::config::problem::Code;
use crate::config::section::Section;
use crate::model::{Algorithm, CookieSource, Overload, Sticky, StickyFull};

/// Longest name of a cookie, bytes: it is in every request.
const MAX_NAME: usize = 128;

/// Returns `None` if there are no sessions or the table is wrong.
pub(super) fn read(
    group: &Section<'_>,
    algorithm: Algorithm,
    overload: &Overload,
) -> Option<Sticky> {
    let node = group.get("sticky")?;
    let section = node.section(&keys::STICKY)?;
    if algorithm == Algorithm::ConsistentHash {
        let message = "`consistent_hash` keeps clients together already";
        let help =
            "`sticky` wins over it for every client that has a cookie; take one of the two out";
        node.warn(Code::Suspicious, message, help);
    }
    let source = source(&section);
    let cookie = section.text("cookie", cookie_name);
    let duration = section.duration("duration");
    let when_full = section.word("when_full");
    if let Some(node) = section.get("when_full")
        && when_full == StickyFull::Wait
        && overload.queue_length == 0
    {
        let message = "`when_full = \"wait\"` needs a `queue` to wait in";
        let help = match overload.max_concurrency {
            Some(_) => "write queue = { length = 100, timeout = \"5s\" }",
            None => "write max_concurrency = 100 and queue = { length = 100, timeout = \"5s\" }",
        };
        node.error(Code::MissingKey, message, help);
    }
    let when_draining = section.word("when_draining");
    let sticky = Sticky {
        source: source?,
        cookie: cookie?,
        duration,
        when_full,
        when_draining,
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
        .and_then(|node| node.word());
    match kind? {
        CookieKind::Application => section
            .require("name", "write the name of the application's cookie")
            .and_then(|node| cookie_name(&node))
            .map(CookieSource::Application),
        CookieKind::LoadBalancer => {
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
    if let Some(c) = text
        .chars()
        .find(|c| !c.is_ascii_graphic() || "()<>@,;:\\\"/[]?={}".contains(*c))
    {
        let message = format!(
            "no cookie is called `{text}`: `{}` cannot be in its name",
            c.escape_default()
        );
        return node.refuse(Code::InvalidValue, message, "write the name alone");
    }
    if text.len() > MAX_NAME {
        let message = format!("the name of a cookie has at most {MAX_NAME} characters");
        return node.refuse(
            Code::InvalidValue,
            message,
            "it is in every request; shorten it",
        );
    }
    Some(text)
}

/// How long a client stays with its group. `groups` is the number of groups to choose from; `None`
/// if the action chooses none.
pub(super) fn group_sticky(section: &Section<'_>, groups: Option<usize>) -> Option<Duration> {
    let node = section.get("group_sticky")?;
    let duration = node.duration();
    match groups {
        None => {
            let message = "`group_sticky` belongs to `forward`: without it no group is chosen";
            node.refuse(Code::Conflict, message, "take it out")
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
