//! Tracks where in a WebSocket frame a stream of bytes is (RFC 6455 section 5.2).
//!
//! Weir copies frames as they are. It tracks them because the Close frame that it sends
//! before it ends a connection must stand between two of them.

/// The longest head of a frame: two bytes, eight of length, four of mask.
const MAX_HEAD: usize = 14;

/// The opcode of a Close frame (section 5.5.1).
const CLOSE: u8 = 0x8;

/// Status code "going away" (section 7.4.1): the client may connect again.
const GOING_AWAY: [u8; 2] = 1001_u16.to_be_bytes();

/// A Close frame for a client.
pub(super) const fn close_for_client() -> [u8; 4] {
    [0x80 | CLOSE, 2, GOING_AWAY[0], GOING_AWAY[1]]
}

/// A Close frame for a target, masked as all frames of clients are (section 5.3).
pub(super) const fn close_for_target(mask: [u8; 4]) -> [u8; 8] {
    let [a, b, c, d] = mask;
    let code = [GOING_AWAY[0] ^ a, GOING_AWAY[1] ^ b];
    [0x80 | CLOSE, 0x80 | 2, a, b, c, d, code[0], code[1]]
}

/// Tracks the frames of one direction.
#[derive(Clone, Debug, Default)]
pub(super) struct Frames {
    /// The bytes of a frame's head that have come, `head_len` of them.
    head: [u8; MAX_HEAD],
    head_len: usize,
    /// Payload bytes of the frame that are still to come.
    payload: u64,
    /// A Close frame has come to its end; bytes that follow have no meaning.
    closed: bool,
}

impl Frames {
    /// Whether the next byte begins a frame.
    pub(super) fn is_between(&self) -> bool {
        self.head_len == 0 && self.payload == 0
    }

    /// Whether a Close frame was sent in this direction.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Advances by bytes that were sent.
    pub(super) fn follow(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = &bytes[self.step(bytes)..];
        }
    }

    /// How many of the next bytes belong to the frame that was begun.
    pub(super) fn rest_of_frame(&self, bytes: &[u8]) -> usize {
        let mut ahead = self.clone();
        let mut len = 0;
        while !ahead.is_between() && len < bytes.len() {
            len += ahead.step(&bytes[len..]);
        }
        len
    }

    /// Advances by at least one byte, and none beyond the end of a frame. Returns how many.
    fn step(&mut self, bytes: &[u8]) -> usize {
        if self.payload > 0 {
            let len = usize::try_from(self.payload).map_or(bytes.len(), |p| p.min(bytes.len()));
            self.payload -= len as u64;
            self.end_if_whole();
            return len;
        }
        self.head[self.head_len] = bytes[0];
        self.head_len += 1;
        if let Some(payload) = payload_len(&self.head[..self.head_len]) {
            self.payload = payload;
            self.end_if_whole();
        }
        1
    }

    fn end_if_whole(&mut self) {
        if self.payload == 0 {
            self.closed |= self.head[0] & 0xf == CLOSE;
            self.head_len = 0;
        }
    }
}

/// The length of the payload; `None` while the head is incomplete.
fn payload_len(head: &[u8]) -> Option<u64> {
    let (&second, rest) = head.get(1..)?.split_first()?;
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    let extended = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    if rest.len() < extended + mask {
        return None;
    }
    Some(match extended {
        0 => u64::from(second & 0x7f),
        _ => rest[..extended]
            .iter()
            .fold(0, |length, byte| length << 8 | u64::from(*byte)),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A frame as section 5.2 writes it.
    fn frame(opcode: u8, len: usize, mask: Option<[u8; 4]>) -> Vec<u8> {
        let masked = if mask.is_some() { 0x80 } else { 0 };
        let mut frame = vec![0x80 | opcode];
        match len {
            0..126 => frame.push(masked | len as u8),
            126..=0xffff => {
                frame.push(masked + 126);
                frame.extend((len as u16).to_be_bytes());
            }
            _ => {
                frame.push(masked + 127);
                frame.extend((len as u64).to_be_bytes());
            }
        }
        frame.extend(mask.into_iter().flatten());
        frame.resize(frame.len() + len, 0x88);
        frame
    }

    fn any_frame() -> impl Strategy<Value = Vec<u8>> {
        let len = prop_oneof![0..4_usize, 120..130_usize, 65_530..65_540_usize];
        let opcode = prop_oneof![0..3_u8, 9..11_u8];
        (opcode, len, any::<Option<[u8; 4]>>()).prop_map(|(op, len, mask)| frame(op, len, mask))
    }

    proptest! {
        #[test]
        fn it_is_between_frames_exactly_at_their_ends(
            frames in prop::collection::vec(any_frame(), 1..5),
            cut in 1..5_000_usize,
        ) {
            let stream = frames.concat();
            let ends: Vec<usize> = frames
                .iter()
                .scan(0, |end, frame| { *end += frame.len(); Some(*end) })
                .collect();
            let mut follower = Frames::default();
            let mut at = 0;
            for chunk in stream.chunks(cut) {
                let rest = follower.rest_of_frame(chunk);
                let end = ends.iter().find(|end| **end >= at).unwrap();
                prop_assert_eq!(rest, if at == 0 || ends.contains(&at) { 0 } else {
                    (end - at).min(chunk.len())
                });
                follower.follow(chunk);
                at += chunk.len();
                prop_assert_eq!(follower.is_between(), ends.contains(&at));
            }
            prop_assert!(!follower.is_closed());
        }

        #[test]
        fn anything_at_all_can_be_followed(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut follower = Frames::default();
            follower.follow(&bytes);
            prop_assert!(follower.rest_of_frame(&bytes) <= bytes.len());
        }
    }

    #[test]
    fn a_close_frame_counts_once_it_is_whole() {
        let close = frame(CLOSE, 2, Some([1, 2, 3, 4]));
        let mut follower = Frames::default();
        follower.follow(&frame(1, 10, None));
        follower.follow(&close[..close.len() - 1]);
        assert!(!follower.is_closed());
        follower.follow(&close[close.len() - 1..]);
        assert!(follower.is_closed());
        let mut empty = Frames::default();
        empty.follow(&frame(CLOSE, 0, None));
        assert!(empty.is_closed());
    }

    #[test]
    fn its_own_close_frames_say_that_weir_goes_away() {
        assert_eq!(close_for_client(), [0x88, 0x02, 0x03, 0xe9]);
        let masked = close_for_target([1, 2, 3, 4]);
        assert_eq!(masked, [0x88, 0x82, 1, 2, 3, 4, 0x03 ^ 1, 0xe9 ^ 2]);
        for close in [&close_for_client()[..], &masked] {
            let mut follower = Frames::default();
            follower.follow(close);
            assert!(follower.is_closed() && follower.is_between());
        }
    }
}
