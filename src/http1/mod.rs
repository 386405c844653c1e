//! HTTP/1.1 for both directions: bytes to heads and bodies, and back.
//!
//! One parser decides where a message ends, and what goes on is always encoded anew, so that the
//! next hop cannot read anything else into it. No byte is skipped, repaired or guessed: a fault is
//! a [`Violation`], whose [`Reason`] names the section that it is against. What can be forwarded
//! in one sense only is taken, and the worst that is to be said about it is in
//! [`Parsed::reason`]; [`decide`] turns its [`Class`] into what happens, as the desync mitigation
//! of AWS's load balancers does.
//!
//! Equal bytes have equal results however they were cut: a parser is called again with a longer
//! buffer and goes on at the line where it stopped. Everything is pure: no sockets, no clock, and
//! no allocation per field.

mod body;
mod chunk_writer;
mod chunked;
mod content_length;
mod desync;
mod encode;
mod encode_chunk;
mod extension;
mod field_line;
mod field_section;
mod framing;
mod hop_by_hop;
mod host;
mod limits;
mod line;
mod look_alike;
mod options;
mod parsed;
mod reason;
mod request;
mod request_line;
mod response;
mod scan;
mod status_line;
mod trailers;
mod transfer_coding;

pub use body::{BodyReader, Part};
pub use chunk_writer::ChunkWriter;
pub use chunked::{Chunked, Step};
pub use desync::{Decision, Desync, decide};
pub use encode::{Hop, Persistence, encode_request, encode_response};
pub use encode_chunk::{encode_chunk_end, encode_chunk_header, encode_last_chunk};
pub use framing::Framing;
pub use hop_by_hop::{HopByHop, strip_hop_by_hop};
pub use limits::{FieldNames, Limits, TargetBytes};
pub use parsed::Parsed;
pub use reason::{Class, Reason, Violation};
pub use request::parse_request;
pub use response::parse_response;
pub use scan::Scan;
