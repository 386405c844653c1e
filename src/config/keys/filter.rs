//! What a forward changes in requests and responses on their way.

use super::key::DefaultValue::{Described, Required, Text};
use super::key::{Kind, Table, key};

#[rustfmt::skip] // a table reads by rows
pub(in crate::config) static REWRITE: Table = Table { path: "listener.rewrite", heading: "`rewrite`", keys: &[
    key("path", Kind::Value("path, perhaps with placeholders"), Described("the request's"), "the path that targets are asked for")
        .called("url uri replace_path full_path path_rewrite replace_full_path"),
    key("prefix", Kind::Table(&REWRITE_PREFIX), Described("none"), "the first segments of the path become other ones")
        .called("strip_prefix prefix_rewrite replace_prefix replace_prefix_match strip add_prefix"),
    key("regex", Kind::Table(&REWRITE_REGEX), Described("none"), "what a regular expression matches in the path becomes another text")
        .called("regex_rewrite url_rewrite replace_path_regex path_regexp path_regex"),
    key("host", Kind::Value("host, perhaps with placeholders"), Described("the request's"), "the Host that targets get")
        .called("hostname host_header host_header_rewrite host_rewrite host_rewrite_literal authority"),
] };

#[rustfmt::skip] // a table reads by rows
pub(in crate::config) static REWRITE_PREFIX: Table = Table { path: "listener.rewrite.prefix", heading: "`prefix` of `rewrite`", keys: &[
    key("from", Kind::Value("path"), Required, "whole segments that a path begins with; other paths stay as they are")
        .called("match prefix path strip"),
    key("to", Kind::Value("path"), Text("/"), "what stands there instead").called("replacement replace with"),
] };

#[rustfmt::skip] // a table reads by rows
pub(in crate::config) static REWRITE_REGEX: Table = Table { path: "listener.rewrite.regex", heading: "`regex` of `rewrite`", keys: &[
    key("pattern", Kind::Value("regular expression"), Required, "each match is replaced; paths without one stay as they are")
        .called("regex match from find"),
    key("replacement", Kind::Value("text, perhaps with placeholders"), Required, "what it becomes; $1 is what its first group matched")
        .called("replace substitution to with"),
] };

#[rustfmt::skip] // a table reads by rows
pub(in crate::config) static FIELD_EDITS: Table = Table { path: "listener.request_headers", heading: "`request_headers` or `response_headers`", keys: &[
    key("set", Kind::Value("table of names and values, perhaps with placeholders"), Described("none"),
        "fields that are put in, and replace those of their names").called("overwrite replace"),
    key("add", Kind::Value("table of names and values or lists of them, perhaps with placeholders"), Described("none"),
        "fields that are put in beside those of their names").called("append"),
    key("remove", Kind::Value("list of names"), Described("none"), "fields that are taken out, before others are put in")
        .called("delete del unset hide drop"),
] };
