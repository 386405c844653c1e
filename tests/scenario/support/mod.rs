//! Weir, its clients and its targets, all in one process on free ports.
//!
//! Nothing here waits for a fixed time: [`eventually`] polls until a condition holds
//! or [`timeout`] is over, and a manual [`Backend`] lets the test decide when a target
//! answers.

mod admin;
mod backend;
mod burst;
mod client;
mod frames;
mod h2;
mod h2_target;
mod lb;
mod log;
mod logs;
mod pebble;
mod rig;
mod site;
mod unix_target;
mod users;
mod wire;

use std::future::Future;
use std::time::Duration;

pub use admin::ADMIN;
pub use backend::{Backend, Held, Refusing, answer, streamed};
pub use burst::{ask, until_waiting};
pub use client::{Connection, Reply, raw};
pub use frames::{Frame, FrameClient, field_block, frame, kind};
pub use h2::{H2, get, reply, send_all, with_method};
pub use h2_target::{H2Connection, H2Target, answer as answer_h2, read_body, serve as serve_h2};
pub use lb::Lb;
pub use log::{LogEntry, keep_access_log, until_logged};
pub use logs::Logs;
pub use pebble::{Pebble, PebbleOptions};
pub use rig::Rig;
pub use site::{Authority, Issued, Site, TlsClient};
pub use unix_target::UnixTarget;
pub use users::Users;
pub use wire::{
    Message, Recorder, Wire, fields_of, read_request, read_request_head, read_request_start,
};

/// How long a condition may take: 10 s, or `WEIR_TEST_TIMEOUT_MS` on slow machines.
pub fn timeout() -> Duration {
    let configured = std::env::var("WEIR_TEST_TIMEOUT_MS").ok();
    let millis = configured.and_then(|text| text.parse().ok());
    Duration::from_millis(millis.unwrap_or(10_000))
}

/// Polls until the condition holds; panics with its last error when [`timeout`] is over.
pub async fn eventually<T, F>(what: &str, condition: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, String>>,
{
    eventually_within(timeout(), what, condition).await
}

/// As [`eventually`], for what takes longer.
pub async fn eventually_within<T, F>(
    limit: Duration,
    what: &str,
    mut condition: impl FnMut() -> F,
) -> T
where
    F: Future<Output = Result<T, String>>,
{
    let end = tokio::time::Instant::now() + limit;
    loop {
        match condition().await {
            Ok(value) => return value,
            Err(last) if tokio::time::Instant::now() > end => {
                panic!("never happened: {what}; last seen: {last}")
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

/// Panics if `future` takes longer than [`timeout`]: nothing may hang.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(timeout(), future)
        .await
        .unwrap_or_else(|_| panic!("took too long: {what}"))
}
