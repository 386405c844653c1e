//! One file for each target: bytes in, and a panic if a property does not hold.

mod chunked_body;
mod client_hello;
mod configuration;
mod connection;
mod cookies;
mod cuts;
mod http2;
mod path;
mod proxy_header;
mod request_head;
mod response_head;

/// A target.
pub(crate) type Target = fn(&[u8]);

/// All targets by their names, which are those of the programs that cargo-fuzz builds.
pub(crate) const ALL: [(&str, Target); 10] = [
    ("chunked_body", chunked_body::run),
    ("client_hello", client_hello::run),
    ("configuration", configuration::run),
    ("connection", connection::run),
    ("cookies", cookies::run),
    ("http2", http2::run),
    ("path", path::run),
    ("proxy_header", proxy_header::run),
    ("request_head", request_head::run),
    ("response_head", response_head::run),
];
