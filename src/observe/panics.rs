//! The message of a panic.

use std::any::Any;

/// The message of a panic; `no message` unless the payload is a text.
pub fn panic_message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_text_is_a_message() {
        assert_eq!(panic_message(&"a text"), "a text");
        assert_eq!(panic_message(&format!("a {}", "text")), "a text");
        assert_eq!(panic_message(&7), "no message");
    }
}
