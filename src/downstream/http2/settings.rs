//! What a client is told about the connection, and what it may do on it.

use std::time::Duration;

use h2::server::Builder;

use crate::http1::Limits;

/// Requests of one connection at a time, as of AWS's load balancers. More are refused, so that the
/// client sends them again later.
pub(super) const MAX_STREAMS: u32 = 128;

/// Bytes of a request's body that may wait to be read: Envoy's advice for the edge, as is the next.
const STREAM_WINDOW: u32 = 64 * 1024;

/// The same over all requests of a connection.
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// Bytes of a frame: the least that a receiver may say, because a longer one only has to wait for
/// longer until it is complete.
const MAX_FRAME: u32 = 16 * 1024;

/// Bytes of a response that may wait to be written: as many as fill the window that clients have by
/// default.
const SEND_BUFFER: usize = 64 * 1024;

/// By so many bytes the limit of a head is higher for the library than for its parser, so that most
/// heads that are too large are answered, counted and logged as such; the library answers the rest
/// without a record.
const HEAD_MARGIN: usize = 16 * 1024;

/// RFC 9113 section 6.5.2: what each field counts in addition.
const FIELD_OVERHEAD: usize = 32;

/// Streams that the client may make Weir reset by faults of its own (CVE-2025-8671).
const MAX_FAULTS: usize = 100;

/// Requests that the client may take back before they were looked at (CVE-2023-44487).
const MAX_PENDING_RESETS: usize = 20;

/// For how long frames are ignored that may still come for a stream that was reset.
const RESET_DURATION: Duration = Duration::from_secs(1);

/// Streams for which that is remembered.
const MAX_REMEMBERED_RESETS: usize = 50;

/// For a connection whose heads have these limits.
pub(super) fn builder(parsing: &Limits) -> Builder {
    let max_list = parsing.max_head + parsing.max_fields * FIELD_OVERHEAD + HEAD_MARGIN;
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(MAX_STREAMS)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME)
        .max_send_buffer_size(SEND_BUFFER)
        .max_header_list_size(u32::try_from(max_list).unwrap_or(u32::MAX))
        .max_local_error_reset_streams(Some(MAX_FAULTS))
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_concurrent_reset_streams(MAX_REMEMBERED_RESETS)
        .reset_stream_duration(RESET_DURATION)
        .enable_connect_protocol();
    builder
}
