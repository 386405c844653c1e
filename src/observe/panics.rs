//! What a panic that was caught has said.

use std::any::Any;

/// The message of a panic, as far as it has one.
pub fn panic_message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_shown_and_anything_else_is_not() {
        assert_eq!(panic_message(&"a text"), "a text");
        assert_eq!(panic_message(&format!("a {}", "text")), "a text");
        assert_eq!(panic_message(&7), "no message");
    }
}
