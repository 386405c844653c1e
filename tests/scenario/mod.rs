//! Tests over real sockets in real time, with Weir, its clients and its targets in this process.

#![allow(
    clippy::unwrap_used,
    reason = "a helper that fails has failed the test"
)]
#![allow(
    unreachable_pub,
    reason = "`pub` marks what the tests of this binary may use"
)]
#![allow(
    clippy::format_push_string,
    reason = "a test may allocate, and reads better without results to drop"
)]

pub mod support;

mod acme;
mod algorithms;
mod bad_client;
mod bad_target;
mod balancing;
mod client_limits;
mod early_answers;
mod every_protocol;
mod fairness;
mod forwarding;
mod grpc;
mod grpc_tonic;
mod health;
mod http2;
mod http2_conformance;
mod http2_heads;
mod http2_hostile;
mod http2_load;
mod http2_targets;
mod identity;
mod interim;
mod keep_alive;
mod learned_keep_alive;
mod leaving;
mod listeners;
mod other_terms;
mod outlier;
mod overload;
mod passing_over;
mod paths;
mod proxy_protocol;
mod registration;
mod relay;
mod reload;
mod retries;
mod routing;
mod scale_to_zero;
mod server_names;
mod shutdown;
mod slow_client;
mod sticky;
mod streaming;
mod tcp;
mod tls;
mod tls_staple;
mod tls_targets;
mod trailers;
mod unix_sockets;
mod unsolicited;
mod upgrade;
mod wire_requests;
