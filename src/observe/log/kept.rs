//! What a thread keeps from one line of the access log to the next: its memory, and the text of the
//! second.

use std::cell::RefCell;

use jiff::Timestamp;

thread_local! {
    static KEPT: RefCell<(Vec<u8>, Times)> = const { RefCell::new((Vec::new(), Times::new())) };
}

/// Memory that is kept for the next line; more is freed.
const KEPT_TEXT: usize = 4 * 1024;

/// Makes a line in memory that is kept.
pub(super) fn line(make: impl FnOnce(&mut Vec<u8>, &mut Times)) {
    KEPT.with_borrow_mut(|(text, times)| {
        text.clear();
        make(text, times);
        text.shrink_to(KEPT_TEXT);
    });
}

/// A second as text, made once.
#[derive(Debug)]
struct Second {
    second: u64,
    text: String,
}

/// The second of the last line, in each of its forms.
#[derive(Debug)]
pub(super) struct Times {
    /// `2026-11-29T20:04:58`
    iso: Second,
    /// `29/Nov/2026:20:04:58 +0000`
    common: Second,
}

impl Times {
    const fn new() -> Self {
        Self {
            iso: Second::new(),
            common: Second::new(),
        }
    }

    /// A second as in ISO 8601, without a zone.
    pub(super) fn iso(&mut self, second: u64) -> &str {
        self.iso.text(second, |time| {
            time.to_string().trim_end_matches('Z').to_owned()
        })
    }

    /// A second as in the Common Log Format.
    pub(super) fn common(&mut self, second: u64) -> &str {
        self.common.text(second, |time| {
            time.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string()
        })
    }
}

impl Second {
    const fn new() -> Self {
        Self {
            second: u64::MAX,
            text: String::new(),
        }
    }

    #[inline]
    fn text(&mut self, second: u64, form: fn(Timestamp) -> String) -> &str {
        if self.second != second {
            self.make(second, form);
        }
        &self.text
    }

    #[cold]
    fn make(&mut self, second: u64, form: fn(Timestamp) -> String) {
        self.second = second;
        self.text = i64::try_from(second)
            .ok()
            .and_then(|second| Timestamp::from_second(second).ok())
            .map(form)
            .unwrap_or_default();
    }
}
