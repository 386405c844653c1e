//! The ways in which bytes may arrive.

/// Above so many bytes not every position is tried: the work would be that of their square.
const ALL_POSITIONS: usize = 200;

/// Calls `check` with the bytes in two parts, cut at every position (or at some, if there are
/// many), and with each byte on its own.
pub(super) fn every_cut(bytes: &[u8], mut check: impl FnMut(&[&[u8]])) {
    let step = bytes.len() / ALL_POSITIONS + 1;
    for at in (0..=bytes.len()).step_by(step) {
        let (first, second) = bytes.split_at(at);
        check(&[first, second]);
    }
    let single: Vec<_> = bytes.chunks(1).collect();
    check(&single);
}
