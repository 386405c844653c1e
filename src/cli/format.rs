//! What all commands share: exit codes, the format of the output, and its colours.

use std::ffi::OsStr;
use std::io::IsTerminal;

use clap::{Args, ValueEnum};

/// The exit codes of all commands, for their help.
pub(super) const EXIT_CODES: &str = "Exit codes:\n  0  success\n  \
     1  a negative result: the file has errors, Weir is unhealthy or refused, requests were dropped\n  \
     2  not done: wrong arguments, an unreadable file, no response";

/// `--format json`, of every command with output for programs.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct FormatArguments {
    /// Format of the output
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// The same as `--format json`
    #[arg(long, hide = true)]
    json: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    #[default]
    #[value(alias = "table")]
    Text,
    /// For programs
    Json,
}

impl FormatArguments {
    pub(super) fn is_json(self) -> bool {
        self.json || self.format == Format::Json
    }
}

/// Whether output to a stream is coloured: by the variables of <https://no-color.org> and
/// <https://bixense.com/clicolors>, or else if the stream is a terminal.
pub(super) fn is_coloured(stream: &impl IsTerminal) -> bool {
    colours(stream.is_terminal(), |name| std::env::var_os(name))
}

fn colours<T: AsRef<OsStr>>(is_terminal: bool, env: impl Fn(&str) -> Option<T>) -> bool {
    let is = |name: &str, value: &str| env(name).is_some_and(|found| found.as_ref() == value);
    let is_set = |name: &str| env(name).is_some_and(|found| !found.as_ref().is_empty());
    if is_set("NO_COLOR") {
        return false;
    }
    if is_set("CLICOLOR_FORCE") && !is("CLICOLOR_FORCE", "0") {
        return true;
    }
    is_terminal && !is("CLICOLOR", "0") && !is("TERM", "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_decides_before_the_terminal() {
        type Variables = &'static [(&'static str, &'static str)];
        let cases: [(Variables, bool, bool); 8] = [
            (&[], true, true),
            (&[], false, false),
            (&[("NO_COLOR", "1")], true, false),
            (&[("NO_COLOR", "")], true, true),
            (&[("CLICOLOR_FORCE", "1")], false, true),
            (&[("CLICOLOR_FORCE", "0")], false, false),
            (&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], true, false),
            (&[("TERM", "dumb")], true, false),
        ];
        for (variables, is_terminal, expected) in cases {
            let env = |name: &str| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| *value)
            };
            assert_eq!(colours(is_terminal, env), expected, "{variables:?}");
        }
    }
}
