//! Names of header fields, and those that are not the file's to change.

use http::HeaderName;
use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};

use crate::config::node::Node;
use crate::config::problem::Code;

/// Fields that frame a message or are meant for one connection (RFC 9110 section 7.6.1, and
/// section 10.1.1 for `Expect`): Weir writes them anew for each hop.
const OF_THE_HOP: [HeaderName; 10] = [
    CONTENT_LENGTH,
    TRANSFER_ENCODING,
    CONNECTION,
    UPGRADE,
    TE,
    TRAILER,
    EXPECT,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("http2-settings"),
];

/// Fields about the client that are Weir's alone, whatever is listed.
const ABOUT_THE_CLIENT: [HeaderName; 6] = [
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("forwarded"),
    HeaderName::from_static("x-real-ip"),
];

/// The name of a header, wherever the file has one.
pub(super) fn name(text: &str, at: &Node<'_>) -> Option<HeaderName> {
    let name = HeaderName::from_bytes(text.as_bytes()).ok();
    if name.is_none() {
        let message = format!("`{}` is not the name of a header", text.escape_default());
        let help = "names are letters, digits and `-`";
        at.error(Code::InvalidValue, message, help);
    }
    name
}

/// Why a field is not the file's to change, and what to do instead; `None` if it is.
pub(super) fn why_fixed(name: &HeaderName) -> Option<(&'static str, &'static str)> {
    if name == HOST {
        let reason = "it is a part of what is asked for";
        return Some((
            reason,
            "write rewrite = { host = \"...\" } beside `forward`",
        ));
    }
    if [CONTENT_LENGTH, TRANSFER_ENCODING].contains(name) {
        let reason = "it frames the message, which Weir does for each connection";
        return Some((reason, "take it out"));
    }
    OF_THE_HOP.contains(name).then_some((
        "it is of one connection, and Weir writes it for each",
        "take it out; upgrades, trailers and `Expect` pass without a setting",
    ))
}

/// A field that only trusted proxies may send.
pub(super) fn identity_header(node: &Node<'_>) -> Option<HeaderName> {
    let name = name(&node.text()?, node)?;
    if name == HOST || OF_THE_HOP.contains(&name) {
        let message = format!("`{name}` is about the request, not about its client");
        return node.refuse(Code::InvalidValue, message, "take it out");
    }
    if ABOUT_THE_CLIENT.contains(&name) {
        let message = format!("`{name}` is treated so without being listed");
        node.warn(Code::NoEffect, message, "take it out");
    }
    Some(name)
}
