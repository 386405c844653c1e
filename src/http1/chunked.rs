//! The chunked coding, read (RFC 9112 section 7.1).

use std::ops::Range;

use crate::message::Fields;

use super::extension::Extension;
use super::trailers::TrailerSection;
use super::{Limits, Reason, Violation};

/// A size of more digits does not fit in 64 bits, or has zeros that serve no purpose.
const MAX_SIZE_DIGITS: u8 = 16;

/// Bytes of extensions that one chunk may have.
const MAX_CHUNK_EXTENSIONS: u64 = 256;

/// Bytes of extensions that all chunks may have, besides one for each byte of data.
const MAX_EXTENSIONS: u64 = 16 * 1024;

/// Reads a chunked body. Every byte is checked; data is not copied.
#[derive(Clone, Debug)]
pub struct Chunked {
    state: State,
    /// Of the chunk's size, or of its data that is to come.
    remaining: u64,
    chunk_extensions: u64,
    all_extensions: u64,
    data: u64,
    limits: Limits,
    trailers: Option<Box<TrailerSection>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// After so many digits.
    Size(u8),
    Extension(Extension),
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Trailers,
    End,
}

/// What a call of [`Chunked::decode`] found first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A part of the input is data. Go on at its end.
    Data(Range<usize>),
    /// All of the input has been read, and the body goes on.
    More,
    /// The body is complete with so many bytes of the input. [`Chunked::take_trailers`] has what
    /// followed the data.
    End(usize),
}

impl Chunked {
    /// For a body of which nothing has been read. Of the limits, those of trailers count.
    pub fn new(limits: &Limits) -> Self {
        Self {
            state: State::Size(0),
            remaining: 0,
            chunk_extensions: 0,
            all_extensions: 0,
            data: 0,
            limits: *limits,
            trailers: None,
        }
    }

    /// Reads on. Nothing can be read any more after a violation.
    pub fn decode(&mut self, input: &[u8]) -> Result<Step, Violation> {
        for (at, byte) in input.iter().enumerate() {
            self.state = match self.state {
                State::Data => return Ok(self.data_from(input, at)),
                State::Trailers => return self.trailers_from(input, at),
                State::End => return Ok(Step::End(at)),
                State::Size(digits) => self.size(digits, *byte)?,
                State::Extension(extension) => self.extension(extension, *byte)?,
                State::SizeLf => self.size_end(*byte)?,
                State::DataCr => expect(*byte, b'\r', State::DataLf)?,
                State::DataLf => expect(*byte, b'\n', State::Size(0))?,
            };
        }
        Ok(if self.is_end() {
            Step::End(input.len())
        } else {
            Step::More
        })
    }

    /// Whether the body is complete.
    pub fn is_end(&self) -> bool {
        self.state == State::End
    }

    /// The trailers of a complete body, without those that are forbidden there.
    pub fn take_trailers(&mut self) -> Fields {
        let section = self.trailers.take().filter(|_| self.is_end());
        section.map(|section| section.fields).unwrap_or_default()
    }

    fn size(&mut self, digits: u8, byte: u8) -> Result<State, Reason> {
        if let Some(digit) = char::from(byte).to_digit(16) {
            if digits == MAX_SIZE_DIGITS {
                return Err(Reason::BadChunkSize);
            }
            self.remaining = self.remaining << 4 | u64::from(digit);
            return Ok(State::Size(digits + 1));
        }
        match byte {
            b'\n' => Err(Reason::BareLf),
            _ if digits == 0 => Err(Reason::BadChunkSize),
            b'\r' => Ok(State::SizeLf),
            b';' | b' ' | b'\t' => {
                self.chunk_extensions = 0;
                let extension = Extension::begin(byte).ok_or(Reason::BadChunkExtension)?;
                self.count_extension()?;
                Ok(State::Extension(extension))
            }
            _ => Err(Reason::BadChunkSize),
        }
    }

    fn extension(&mut self, extension: Extension, byte: u8) -> Result<State, Reason> {
        match byte {
            b'\r' if extension.may_end() => return Ok(State::SizeLf),
            b'\n' => return Err(Reason::BareLf),
            _ => {}
        }
        self.count_extension()?;
        let next = extension.next(byte).ok_or(Reason::BadChunkExtension)?;
        Ok(State::Extension(next))
    }

    /// RFC 9112 section 7.1.1: the length of extensions is to be limited, per chunk and in all, or a
    /// sender makes a recipient read any number of bytes for one of data.
    fn count_extension(&mut self) -> Result<(), Reason> {
        self.chunk_extensions += 1;
        self.all_extensions += 1;
        let max_all = self.data.saturating_add(MAX_EXTENSIONS);
        if self.chunk_extensions > MAX_CHUNK_EXTENSIONS || self.all_extensions > max_all {
            return Err(Reason::ChunkExtensionsTooLong);
        }
        Ok(())
    }

    fn size_end(&mut self, byte: u8) -> Result<State, Reason> {
        let next = if self.remaining == 0 {
            State::Trailers
        } else {
            State::Data
        };
        if byte == b'\n' {
            Ok(next)
        } else {
            Err(Reason::BareCr)
        }
    }

    fn data_from(&mut self, input: &[u8], at: usize) -> Step {
        let present = (input.len() - at) as u64;
        let length = self.remaining.min(present);
        self.remaining -= length;
        self.data = self.data.saturating_add(length);
        if self.remaining == 0 {
            self.state = State::DataCr;
        }
        Step::Data(at..at + length as usize)
    }

    fn trailers_from(&mut self, input: &[u8], at: usize) -> Result<Step, Violation> {
        let rest = &input[at..];
        // Nearly always there are none.
        if self.trailers.is_none() && rest.starts_with(b"\r\n") {
            self.state = State::End;
            return Ok(Step::End(at + 2));
        }
        let section = self
            .trailers
            .get_or_insert_with(|| Box::new(TrailerSection::new(&self.limits)));
        let Some(length) = section.take(rest)? else {
            return Ok(Step::More);
        };
        self.state = State::End;
        Ok(Step::End(at + length))
    }
}

/// RFC 9112 section 2.2: CR and LF, both, and nothing else.
fn expect(byte: u8, wanted: u8, next: State) -> Result<State, Reason> {
    match byte {
        _ if byte == wanted => Ok(next),
        b'\n' => Err(Reason::BareLf),
        _ => Err(Reason::BadChunkEnd),
    }
}
