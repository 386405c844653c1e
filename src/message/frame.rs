//! The parts of a body.

use bytes::Bytes;

use super::Fields;

/// A part of a body, in the order in which it passes.
#[derive(Debug)]
pub enum Frame {
    /// Content, without the coding of its wire.
    Data(Bytes),
    /// The end of a body that has trailers.
    Trailers(Fields),
}
