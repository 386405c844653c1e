//! The `Date` of responses of Weir itself, and of those that a target sent without one (RFC 9110
//! section 6.6.1).

use std::cell::RefCell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The text of the current second, made once a second.
#[derive(Debug, Default)]
pub(super) struct Date(RefCell<(u64, String)>);

impl Date {
    /// Calls `with` with the text for `now`.
    pub(super) fn with<T>(&self, now: SystemTime, with: impl FnOnce(&str) -> T) -> T {
        let second = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let (made_for, text) = &mut *self.0.borrow_mut();
        if *made_for != second {
            *made_for = second;
            *text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(second));
        }
        with(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_follows_the_clock() {
        let date = Date::default();
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let text = |seconds| date.with(at(seconds), str::to_owned);
        assert_eq!(text(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(text(784_111_778), "Sun, 06 Nov 1994 08:49:38 GMT");
    }
}
