//! The body of a message while it is read, whatever its framing.

use crate::message::{BodyLength, Fields};

use super::{Chunked, Framing, Limits, Step, Violation};

/// How much of a body is still to come, and where its end is.
#[derive(Debug)]
pub struct BodyReader(State);

#[derive(Debug)]
enum State {
    Length(u64),
    Chunked(Box<Chunks>),
    UntilClose,
    /// With its trailers, if it has some.
    Ended(Option<Box<Fields>>),
}

#[derive(Debug)]
struct Chunks {
    decoder: Chunked,
    /// Data that was found and not taken yet.
    pending: usize,
}

/// What the next bytes of a body are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Bytes before the data which frame it, to be passed over.
    pub framing: usize,
    /// Bytes of data after them; 0 if more bytes must come first, or at the end.
    pub data: usize,
}

impl BodyReader {
    /// For a message of which the head was read.
    pub fn new(framing: Framing, limits: &Limits) -> Self {
        Self(match framing {
            Framing::None | Framing::Length(0) => State::Ended(None),
            Framing::Length(length) => State::Length(length),
            Framing::UntilClose => State::UntilClose,
            Framing::Chunked => State::Chunked(Box::new(Chunks {
                decoder: Chunked::new(limits),
                pending: 0,
            })),
        })
    }

    /// A body of no bytes.
    pub fn ended() -> Self {
        Self(State::Ended(None))
    }

    /// The length of what is to come.
    pub fn length(&self) -> BodyLength {
        match &self.0 {
            State::Length(length) => BodyLength::Exact(*length),
            State::Chunked(_) | State::UntilClose => BodyLength::Unknown,
            State::Ended(_) => BodyLength::Empty,
        }
    }

    /// Looks at the next bytes that were received. The framing bytes of the part are to be passed
    /// over at once, and are not to be given again.
    pub fn next(&mut self, received: &[u8]) -> Result<Part, Violation> {
        let data = |data| Ok(Part { framing: 0, data });
        match &mut self.0 {
            State::Ended(_) => data(0),
            State::UntilClose => data(received.len()),
            State::Length(left) => {
                data(usize::try_from(*left).map_or(received.len(), |left| left.min(received.len())))
            }
            State::Chunked(chunks) if chunks.pending > 0 => data(chunks.pending),
            State::Chunked(chunks) => {
                let (framing, data) = match chunks.decoder.decode(received)? {
                    Step::Data(range) => (range.start, range.len()),
                    Step::More => (received.len(), 0),
                    Step::End(length) => (length, 0),
                };
                chunks.pending = data;
                if chunks.decoder.is_end() && data == 0 {
                    let trailers = chunks.decoder.take_trailers();
                    self.0 = State::Ended((!trailers.is_empty()).then(|| Box::new(trailers)));
                }
                Ok(Part { framing, data })
            }
        }
    }

    /// Notes that `count` bytes of data were taken.
    pub fn take(&mut self, count: usize) {
        match &mut self.0 {
            State::Length(left) => {
                *left = left.saturating_sub(count as u64);
                if *left == 0 {
                    self.0 = State::Ended(None);
                }
            }
            State::Chunked(chunks) => chunks.pending = chunks.pending.saturating_sub(count),
            State::UntilClose | State::Ended(_) => {}
        }
    }

    /// Notes that the connection was closed. Returns whether that is the end of the body.
    pub fn close(&mut self) -> bool {
        if matches!(self.0, State::UntilClose) {
            self.0 = State::Ended(None);
        }
        self.is_ended()
    }

    /// Whether the body was read to its end.
    pub fn is_ended(&self) -> bool {
        matches!(self.0, State::Ended(_))
    }

    /// The trailers of a body that has ended with some.
    pub fn trailers(&self) -> Option<&Fields> {
        match &self.0 {
            State::Ended(trailers) => trailers.as_deref(),
            _ => None,
        }
    }
}
