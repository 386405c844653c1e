//! The chunked coding, written with small pieces joined.

use super::{encode_chunk_end, encode_chunk_header};

/// Pieces below this are joined to larger chunks, so that a sender of many small ones costs the
/// next recipient little.
const JOINED: usize = 1024;

/// A chunk of joined pieces is written at the latest with so many bytes.
const MAX_JOINED: usize = 4096;

/// Writes the data of a body as chunks.
#[derive(Debug, Default)]
pub struct ChunkWriter {
    /// Pieces of the chunk that was not written yet.
    joined: Vec<u8>,
}

impl ChunkWriter {
    /// Adds data. A small piece is written by [`Self::seal`] or together with later ones.
    pub fn push(&mut self, data: &[u8], out: &mut Vec<u8>) {
        if data.len() >= JOINED {
            self.seal(out);
            encode(data, out);
            return;
        }
        self.joined.extend_from_slice(data);
        if self.joined.len() >= MAX_JOINED {
            self.seal(out);
        }
    }

    /// Whether there is data that was not written.
    pub fn is_open(&self) -> bool {
        !self.joined.is_empty()
    }

    /// Writes what was joined so far.
    pub fn seal(&mut self, out: &mut Vec<u8>) {
        if self.is_open() {
            encode(&self.joined, out);
            self.joined.clear();
        }
    }

    /// Forgets what was joined so far, and its memory.
    pub fn clear(&mut self) {
        self.joined = Vec::new();
    }
}

fn encode(data: &[u8], out: &mut Vec<u8>) {
    encode_chunk_header(data.len() as u64, out);
    out.extend_from_slice(data);
    encode_chunk_end(out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_pieces_become_one_chunk_and_large_ones_their_own() {
        let (mut writer, mut out) = (ChunkWriter::default(), Vec::new());
        for piece in [&b"a"[..], b"bc", b"def"] {
            writer.push(piece, &mut out);
        }
        assert!(out.is_empty() && writer.is_open());
        let large = [b'x'; JOINED];
        writer.push(&large, &mut out);
        let expected = [b"6\r\nabcdef\r\n400\r\n", &large[..], b"\r\n"].concat();
        assert!(out == expected && !writer.is_open());
        writer.seal(&mut out);
        assert_eq!(
            out.len(),
            expected.len(),
            "an empty chunk would be the last"
        );
    }

    #[test]
    fn a_joined_chunk_is_bounded() {
        let (mut writer, mut out) = (ChunkWriter::default(), Vec::new());
        for _ in 0..MAX_JOINED {
            writer.push(b"x", &mut out);
        }
        assert!(out.starts_with(b"1000\r\n") && !writer.is_open());
    }
}
