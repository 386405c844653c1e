//! The ends of lines, and what stops a parser.

use super::Reason;

/// Why a parser did not come to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The bytes end first.
    Incomplete,
    /// No further byte can make it right.
    Fault(Reason),
}

impl From<Reason> for Stop {
    fn from(reason: Reason) -> Self {
        Self::Fault(reason)
    }
}

/// The position after the CRLF at `at` (RFC 9112 section 2.2: nothing else ends a line).
pub(super) fn crlf(bytes: &[u8], at: usize, otherwise: Reason) -> Result<usize, Stop> {
    match bytes.get(at..) {
        Some([b'\r', b'\n', ..]) => Ok(at + 2),
        _ => Err(fault_at(bytes, at, otherwise)),
    }
}

/// What to say about the byte at `at`, at which a parser cannot go on. What no message may contain
/// anywhere is said of itself; `otherwise` is for other bytes and for the end of the line.
///
/// It depends on bytes up to the fault only, so that it is the same however the bytes are cut.
pub(super) fn fault_at(bytes: &[u8], at: usize, otherwise: Reason) -> Stop {
    match bytes.get(at..).unwrap_or_default() {
        [] | [b'\r'] => Stop::Incomplete,
        [b'\r', b'\n', ..] => Stop::Fault(otherwise),
        [b'\r', ..] => Stop::Fault(Reason::BareCr),
        [b'\n', ..] => Stop::Fault(Reason::BareLf),
        [0, ..] => Stop::Fault(Reason::NulByte),
        [byte, ..] if byte.is_ascii_control() && *byte != b'\t' => Stop::Fault(Reason::ControlByte),
        _ => Stop::Fault(otherwise),
    }
}
