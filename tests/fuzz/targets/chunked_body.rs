//! A chunked body with its trailers.
//!
//! However the bytes are cut, the decoder finds the same data, the same end and the same fault, and
//! so does the reader of bodies above it. What the reference takes, the decoder takes for the same;
//! what the decoder takes and the reference does not has an extension in it. What was read and is
//! written again is read as the same.

use weir::http1::{
    BodyReader, ChunkWriter, Chunked, Framing, Limits, Reason, Step, encode_last_chunk,
};
use weir::message::Fields;

use super::cuts::every_cut;
use crate::codec::reader::{Message, Pairs, pairs};
use crate::codec::reference;

/// A body which has come to its end, or not.
#[derive(Debug, PartialEq, Eq)]
struct Decoded {
    data: Vec<u8>,
    /// Bytes of the input up to the end; `None` if there is none.
    end: Option<usize>,
    trailers: Pairs,
    fault: Option<Reason>,
}

pub(super) fn run(bytes: &[u8]) {
    let whole = decode(&[bytes]);
    every_cut(bytes, |parts| {
        assert_eq!(decode(parts), whole);
        assert_eq!(read(parts), whole);
    });
    compare(bytes, &whole);
    if whole.end.is_some() {
        write_again(&whole);
    }
}

fn decode(parts: &[&[u8]]) -> Decoded {
    let mut chunked = Chunked::new(&Limits::REQUEST);
    let mut decoded = nothing();
    let mut passed = 0;
    for part in parts {
        let mut rest = *part;
        while !rest.is_empty() {
            match chunked.decode(rest) {
                Ok(Step::Data(range)) => {
                    decoded.data.extend_from_slice(&rest[range.clone()]);
                    passed += range.end;
                    rest = &rest[range.end..];
                }
                Ok(Step::More) => {
                    passed += rest.len();
                    rest = b"";
                }
                Ok(Step::End(length)) => {
                    decoded.end = Some(passed + length);
                    decoded.trailers = pairs(&chunked.take_trailers());
                    return decoded;
                }
                Err(violation) => {
                    decoded.fault = Some(violation.reason);
                    return decoded;
                }
            }
        }
    }
    decoded
}

/// The same by the reader of bodies, which takes data in pieces of three bytes.
fn read(parts: &[&[u8]]) -> Decoded {
    let mut body = BodyReader::new(Framing::Chunked, &Limits::REQUEST);
    let mut read = nothing();
    let mut passed = 0;
    for part in parts {
        let mut rest = *part;
        while !rest.is_empty() {
            let part = match body.next(rest) {
                Ok(part) => part,
                Err(violation) => {
                    read.fault = Some(violation.reason);
                    return read;
                }
            };
            let data = &rest[part.framing..][..part.data.min(3)];
            read.data.extend_from_slice(data);
            body.take(data.len());
            passed += part.framing + data.len();
            rest = &rest[part.framing + data.len()..];
            if body.is_ended() {
                read.end = Some(passed);
                read.trailers = body.trailers().map(pairs).unwrap_or_default();
                return read;
            }
        }
    }
    read
}

fn nothing() -> Decoded {
    Decoded {
        data: Vec::new(),
        end: None,
        trailers: Vec::new(),
        fault: None,
    }
}

fn compare(bytes: &[u8], whole: &Decoded) {
    match (reference::chunks(Message::default(), bytes), whole.end) {
        (Ok((message, rest)), Some(end)) => {
            assert_eq!(message.body, whole.data);
            assert_eq!(rest, &bytes[end..]);
            // Those that may not stand there are dropped.
            let mut theirs = message.trailers.iter();
            let is_there = |ours| theirs.any(|their| their == ours);
            assert!(whole.trailers.iter().all(is_there));
        }
        // The reference knows no limits.
        (Ok(_), None) => assert!(
            matches!(
                whole.fault,
                Some(Reason::BadChunkSize | Reason::TrailersTooLarge | Reason::TooManyFields)
            ),
            "{whole:?}"
        ),
        (Err(fault), Some(end)) => assert!(
            bytes[..end].iter().any(|byte| b"; \t".contains(byte)),
            "{fault}"
        ),
        (Err(_), None) => {}
    }
}

fn write_again(decoded: &Decoded) {
    let mut trailers = Fields::new();
    for (name, value) in &decoded.trailers {
        let name = std::str::from_utf8(name).expect("a token");
        trailers.append(name, value).expect("legal");
    }
    let (mut writer, mut out) = (ChunkWriter::default(), Vec::new());
    for piece in decoded.data.chunks(700) {
        writer.push(piece, &mut out);
    }
    writer.seal(&mut out);
    encode_last_chunk(Some(&trailers), &mut out);
    let again = decode(&[&out]);
    assert_eq!(again.end, Some(out.len()));
    assert_eq!(
        (again.data, again.trailers),
        (decoded.data.clone(), decoded.trailers.clone())
    );
    assert!(reference::chunks(Message::default(), &out).is_ok_and(|(_, rest)| rest.is_empty()));
}
