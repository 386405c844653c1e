//! The chunked coding, written.

use crate::message::Fields;

use super::trailers::FORBIDDEN;

/// The line before the data of a chunk. A chunk of no data would be the last one: write none.
pub fn encode_chunk_header(length: u64, out: &mut Vec<u8>) {
    // Sixteen digits and CRLF, filled from the end.
    let mut line = *b"0000000000000000\r\n";
    let mut start = 16;
    let mut left = length;
    loop {
        start -= 1;
        line[start] = b"0123456789abcdef"[left as usize % 16];
        left /= 16;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(&line[start..]);
}

/// What follows the data of a chunk.
pub fn encode_chunk_end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// The last chunk with the trailers and the end of the body. Fields that are forbidden in trailers
/// are left out.
pub fn encode_last_chunk(trailers: Option<&Fields>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"0\r\n");
    if let Some(trailers) = trailers {
        trailers.encode(FORBIDDEN, out);
    }
    out.extend_from_slice(b"\r\n");
}
