//! `[[listener.rule]]`: the requests a rule takes, and what happens with them.

use super::action::{FIXED_RESPONSE, REDIRECT, WEIGHTED_GROUP};
use super::bounds::SESSION;
use super::filter::{FIELD_EDITS, REWRITE};
use super::key::DefaultValue::{Described, Required};
use super::key::{Kind, Table, key};

#[rustfmt::skip] // a table reads by rows
pub(in crate::config) static RULE: Table = Table { path: "listener.rule", heading: "[[listener.rule]]", keys: &[
    // ALB's.
    key("priority", Kind::Count(1..=50_000), Required, "of the rules that match the one with the lowest number decides"),
    key("when", Kind::Table(&WHEN), Required, "the conditions, at least one").called("match condition conditions if"),
    key("then", Kind::Table(&THEN), Required, "what happens with the request: one of the three actions")
        .called("action actions do"),
] };

#[rustfmt::skip] // a table reads by rows
pub(in crate::config) static WHEN: Table = Table { path: "listener.rule.when", heading: "`when` of a rule", keys: &[
    key("host", Kind::Value("list of patterns"), Described("any"), "without regard to case, without the port; of protocol \"tcp\" the name in the TLS hello (SNI)")
        .called("host_header hosts server_name domain hostname"),
    key("path", Kind::Value("list of patterns"), Described("any"), "the whole path, case-sensitive")
        .called("path_prefix uri url path_pattern location"),
    key("path_regex", Kind::Value("list of regular expressions"), Described("any"), "both path and path_regex must match"),
    key("method", Kind::Value("list of methods"), Described("any"), "the method, case-sensitive")
        .called("methods http_request_method"),
    key("header", Kind::Value("table of names and lists of patterns"), Described("any"),
        "all names must match, with one of their values").called("headers http_header match_headers"),
    key("query", Kind::Value("list of \"name=value\", or a table"), Described("any"), "\"name=value\", or a value under any name")
        .called("query_string query_params args"),
    key("source_ip", Kind::Value("list of networks"), Described("any"), "the client, as trusted proxies report it")
        .called("ip remote_ip client_ip"),
] };

#[rustfmt::skip] // a table reads by rows
pub(in crate::config) static THEN: Table = Table { path: "listener.rule.then", heading: "`then` of a rule", keys: &[
    key("forward", Kind::Either("name of a group, or a list of them", &WEIGHTED_GROUP), Described("one of the three actions is required"),
        "the group that gets the request, or several with weights").called("proxy_pass backend target_group upstream use_backend"),
    key("redirect", Kind::Table(&REDIRECT), Described("none"), "sends the client elsewhere"),
    key("fixed_response", Kind::Table(&FIXED_RESPONSE), Described("none"), "an answer without any target"),
    key("group_sticky", Kind::Duration(SESSION), Described("every request chooses anew"),
        "how long a client stays with the group it got").called("stickiness session"),
    key("rewrite", Kind::Table(&REWRITE), Described("none"), "what targets are asked for instead, beside a `forward`")
        .called("rewrites url_rewrite path_rewrite transform transforms"),
    key("request_headers", Kind::Table(&FIELD_EDITS), Described("none"), "changes of header fields for the target, beside a `forward`")
        .called("proxy_set_header request_headers_to_add custom_request_headers header_up"),
    key("response_headers", Kind::Table(&FIELD_EDITS), Described("none"), "changes of header fields for the client, beside a `forward`")
        .called("add_header response_headers_to_add custom_response_headers header_down proxy_hide_header"),
] };
