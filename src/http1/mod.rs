//! HTTP/1.1 for both directions: bytes to heads and bodies, and back.
//!
//! One parser decides where a message ends, and every message is encoded anew for the next hop,
//! which therefore cannot read it in another way. Nothing is guessed: a message that cannot be
//! forwarded without a choice among its readings is a [`Violation`], whose [`Reason`] names the
//! section that it is against. Of any other fault a note is taken: the worst one is in
//! [`Parsed::reason`], and [`decide`] turns its [`Class`] into what happens, as the desync
//! mitigation of AWS's load balancers does.
//!
//! Heads: [`parse_request`], [`parse_response`], [`encode_request`], [`encode_response`]. Bodies:
//! [`BodyReader`], and [`ChunkWriter`] for the chunked coding.
//!
//! The result does not depend on how the bytes were cut: a parser is called again with a longer
//! buffer and goes on at the line where it stopped ([`Scan`]). Everything is pure: no sockets, no
//! clock, and no allocation per field.

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
pub use trailers::strip as strip_trailers;
