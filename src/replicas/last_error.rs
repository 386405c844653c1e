//! Errors that repeat are logged once.

/// The error that was logged last.
#[derive(Debug, Default)]
pub(super) struct LastError(Option<String>);

impl LastError {
    /// Whether this error differs from the last one, which it replaces.
    pub(super) fn is_new(&mut self, error: &str) -> bool {
        let is_new = self.0.as_deref() != Some(error);
        if is_new {
            self.0 = Some(error.to_owned());
        }
        is_new
    }

    /// After a success the same error is a new one.
    pub(super) fn clear(&mut self) {
        self.0 = None;
    }
}
