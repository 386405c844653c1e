//! What a listener or a rule does with a request.

use super::bounds::WEIGHT;
use super::key::DefaultValue::{Count, Described, Required, Text};
use super::key::{Kind, Table, key};

#[rustfmt::skip] // a table reads by rows
pub(in crate::config) static WEIGHTED_GROUP: Table = Table { path: "listener.forward", heading: "an entry of `forward`", keys: &[
    key("group", Kind::Value("name of a group"), Required, "the group").called("name target_group backend target"),
    key("weight", Kind::Count(WEIGHT), Count(1), "its part of the sum of all weights"),
] };

#[rustfmt::skip] // a table reads by rows
pub(in crate::config) static REDIRECT: Table = Table { path: "listener.redirect", heading: "`redirect`", keys: &[
    key("protocol", Kind::Value("`\"http\"` or `\"https\"`"), Described("the request's"),
        "without a `port`, that protocol's own port").called("scheme"),
    key("host", Kind::Value("host, perhaps with placeholders"), Described("the request's"), "the host to go to"),
    key("port", Kind::Value("port or `\"#{port}\"`"), Described("the request's, or that of a new protocol"), "the port to go to"),
    key("path", Kind::Value("path, perhaps with placeholders"), Described("the request's"), "the path to go to"),
    key("query", Kind::Value("query string, perhaps with placeholders"), Described("the request's"),
        "the query string, without its `?`"),
    // Browsers do not remember a 302, so a mistake can be taken back.
    key("status", Kind::Value("301, 302, 303, 307 or 308"), Count(302), "301 and 308 are permanent, 307 and 308 keep the method")
        .called("code status_code"),
] };

#[rustfmt::skip] // a table reads by rows
pub(in crate::config) static FIXED_RESPONSE: Table = Table { path: "listener.fixed_response", heading: "`fixed_response`", keys: &[
    // A 1xx is not an answer.
    key("status", Kind::Count(200..=599), Required, "the status of the answer").called("code status_code"),
    key("content_type", Kind::Value("content type"), Text("text/plain; charset=utf-8"), "the type of the body"),
    key("body", Kind::Value("string"), Described("empty"), "the body of the answer").called("message_body message"),
] };
