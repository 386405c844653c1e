//! How much a peer may send.

/// Most bytes of a response's head.
pub const HEAD_LIMIT: usize = 64 * 1024;

/// The bytes that one response with a body of up to `body` bytes may need, with its framing and
/// the interim responses before it.
pub const fn answer_limit(body: usize) -> u64 {
    (HEAD_LIMIT + 2 * body) as u64
}
