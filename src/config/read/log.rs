//! `[log]`: how requests are logged.

use crate::config::section::Section;
use crate::config::types::LogSettings;

/// Reads the table. What is wrong with it has been reported.
pub(super) fn read(section: &Section<'_>) -> LogSettings {
    LogSettings {
        format: section.get("format").and_then(|node| node.word()),
        user_agent: section.flag("user_agent"),
    }
}
