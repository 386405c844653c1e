//! A configuration of the command line alone, for `weir run --to`.

use std::fmt::Write as _;

use tracing::info;

/// What `weir run` serves without a file.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct WithoutFile {
    /// Instead of a file: forward to this address, or to this port of this machine; may be given
    /// several times
    #[arg(long, value_name = "ADDRESS")]
    to: Vec<String>,
    /// Where to listen, with --to
    #[arg(
        long,
        value_name = "ADDRESS",
        requires = "to",
        default_value = "127.0.0.1:8080"
    )]
    bind: String,
    /// Open the admin listener, with dashboard, status and metrics; with --to
    #[arg(
        long,
        value_name = "ADDRESS",
        requires = "to",
        num_args = 0..=1,
        default_missing_value = "127.0.0.1:9090"
    )]
    admin: Option<String>,
}

impl WithoutFile {
    /// The configuration in TOML; `None` if it is to come from a file.
    pub(super) fn configuration(&self) -> Option<String> {
        if self.to.is_empty() {
            return None;
        }
        let targets: Vec<String> = self.to.iter().map(|to| quoted(&address(to))).collect();
        let mut text = String::new();
        // Writing to a string cannot fail. A demonstration ends when Ctrl-C is pressed.
        let _ = write!(
            text,
            "access_log = \"all\"\n\
             shutdown = {{ lame_duck = \"0s\" }}\n\
             [[listener]]\n\
             name = \"web\"\n\
             bind = {}\n\
             forward = \"targets\"\n\
             [target_group.targets]\n\
             targets = [{}]\n\
             health = {{ type = \"tcp\", interval = \"2s\", healthy = 1 }}\n",
            quoted(&address(&self.bind)),
            targets.join(", "),
        );
        if let Some(admin) = &self.admin {
            let _ = writeln!(text, "[admin]\nbind = {}", quoted(&address(admin)));
        }
        Some(text)
    }

    /// Logs what is served, since no file says it.
    pub(super) fn announce(&self) {
        if !self.to.is_empty() {
            let targets: Vec<String> = self.to.iter().map(|to| address(to)).collect();
            info!(
                "no file: http://{} is forwarded to {}, round robin, each checked by a TCP connection every \
                 2s; `weir init` writes a file with everything else{}",
                address(&self.bind),
                targets.join(", "),
                if self.admin.is_none() {
                    ", and --admin opens dashboard and status"
                } else {
                    ""
                },
            );
        }
    }
}

/// A port alone is one of this machine.
fn address(text: &str) -> String {
    let port = text.strip_prefix(':').unwrap_or(text);
    if port.parse::<u16>().is_ok() {
        return format!("127.0.0.1:{port}");
    }
    text.to_owned()
}

/// A text of JSON is one of TOML.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn parsed(to: &[&str], bind: &str) -> Result<config::Parsed, config::Problems> {
        let arguments = WithoutFile {
            to: to.iter().map(|to| (*to).to_owned()).collect(),
            bind: bind.to_owned(),
            admin: Some("9091".to_owned()),
        };
        let text = arguments.configuration().unwrap();
        config::parse("the command line", &text, &|_| None)
    }

    #[test]
    fn targets_are_addresses_names_or_ports() {
        let to = [
            "127.0.0.1:3000",
            "3001",
            ":3002",
            "app.internal:80",
            "unix:/run/app.sock",
        ];
        let parsed = parsed(&to, "0.0.0.0:8080").unwrap();
        assert!(parsed.warnings.is_empty(), "{}", parsed.warnings);
        let group = &parsed.config.target_groups[0];
        assert_eq!(group.targets.len(), 5);
        let admin = parsed.config.admin.as_ref().unwrap();
        assert_eq!(admin.bind.to_string(), "127.0.0.1:9091");
        let text = format!("{:?}", group.targets);
        assert!(
            text.contains("127.0.0.1:3001") && text.contains("127.0.0.1:3002"),
            "{text}"
        );
    }

    #[test]
    fn what_is_no_address_is_a_problem_of_the_command_line() {
        for to in ["a\"b", "", "http://"] {
            let problems = parsed(&[to], "127.0.0.1:0").unwrap_err().to_string();
            assert!(problems.contains("the command line"), "{problems}");
        }
        assert!(WithoutFile::default().configuration().is_none());
    }
}
