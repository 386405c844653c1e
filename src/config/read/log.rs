//! `[log]`: how requests are logged, and where to.

use std::path::PathBuf;

use crate::config::node::Node;
use crate::config::problem::Code;
use crate::config::section::Section;
use crate::config::types::{LogFile, LogSettings, LogSink, SyslogAddress};

/// Where the system's syslog and journal listen.
const SYSLOG: &str = "/dev/log";
const JOURNAL: &str = "/run/systemd/journal/socket";

/// What may stand there.
const EXAMPLES: &str = "write \"stdout\", \"/var/log/weir/access.log\", \"syslog\", \"syslog:10.0.0.1:514\" or \"journald\"";

/// Reads the table. What is wrong with it has been reported.
pub(super) fn read(section: &Section<'_>) -> LogSettings {
    // The bounds of a file are no mistake beside a place that is one.
    let to = section.optional("to", sink);
    let sink = to.map(|to| with_bounds(section, to.unwrap_or_default()));
    LogSettings {
        format: section.get("format").and_then(|node| node.word()),
        user_agent: section.flag("user_agent"),
        successes: section
            .get("successes")
            .and_then(|node| node.number())
            .unwrap_or(1.0),
        sink: sink.unwrap_or_default(),
    }
}

/// A file with its bounds, which nothing else has.
fn with_bounds(section: &Section<'_>, sink: LogSink) -> LogSink {
    let max_size = section.get("max_size");
    let LogSink::File(file) = sink else {
        for node in section.given(&["max_size", "keep"]) {
            let message = format!(
                "`{}` is about a file, and the log goes into none",
                node.name()
            );
            let help = "write to = \"/var/log/weir/access.log\", or take it out";
            node.error(Code::InvalidValue, message, help);
        }
        return sink;
    };
    LogSink::File(LogFile {
        max_size: max_size.and_then(|node| node.size()),
        keep: section.count("keep"),
        ..file
    })
}

fn sink(node: &Node<'_>) -> Option<LogSink> {
    let text = node.text()?;
    match text.split_once(':') {
        Some(("syslog", place)) => {
            return syslog(place)
                .map(LogSink::Syslog)
                .or_else(|| refuse(node, &text));
        }
        Some(("journald", place)) if is_path(place) => {
            return Some(LogSink::Journald(place.into()));
        }
        _ => {}
    }
    match text.as_str() {
        "stdout" => Some(LogSink::Stdout),
        "syslog" => Some(LogSink::Syslog(SyslogAddress::Unix(SYSLOG.into()))),
        "journald" => Some(LogSink::Journald(JOURNAL.into())),
        path if is_path(path) => Some(LogSink::File(LogFile {
            path: PathBuf::from(path),
            max_size: None,
            keep: 1,
        })),
        _ => refuse(node, &text),
    }
}

fn syslog(place: &str) -> Option<SyslogAddress> {
    if is_path(place) {
        return Some(SyslogAddress::Unix(place.into()));
    }
    place.parse().ok().map(SyslogAddress::Udp)
}

/// Absolute, so that it is the same in every working directory.
fn is_path(text: &str) -> bool {
    text.starts_with('/') && !text.ends_with('/') && !text.contains('\0')
}

fn refuse<T>(node: &Node<'_>, text: &str) -> Option<T> {
    let message = format!("`{}` is no place for a log", text.escape_default());
    node.refuse(Code::InvalidValue, message, EXAMPLES)
}
