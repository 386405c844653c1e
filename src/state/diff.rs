//! What a reload has changed or would change, for the log and for `weir diff`.

use std::collections::HashMap;
use std::fmt;

use super::effects::effects;
use crate::config::Config;

/// The difference between two configurations, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// New parts: `listener web`, `target group todo`.
    pub added: Vec<String>,
    /// Parts that are gone.
    pub removed: Vec<String>,
    /// Parts that were there before and have other settings now.
    pub changed: Vec<String>,
    /// Where the new configuration says one thing about a target and another was set at run
    /// time, which stands: `target 10.0.0.1:80 of todo: …`.
    pub contradictions: Vec<String>,
    /// What follows for targets, connections and sessions.
    pub effects: Vec<String>,
}

impl Diff {
    /// Compares by name.
    pub fn between(old: &Config, new: &Config) -> Self {
        let mut diff = Self {
            effects: effects(old, new),
            ..Self::default()
        };
        diff.compare("listener", &old.listeners, &new.listeners, |l| &l.id.0);
        diff.compare(
            "target group",
            &old.target_groups,
            &new.target_groups,
            |g| &g.id.0,
        );
        // Not `workers`: only a restart changes their number.
        let same_settings = old.access_log == new.access_log
            && old.log == new.log
            && old.tracing == new.tracing
            && old.span_export == new.span_export
            && old.shutdown == new.shutdown
            && old.admin == new.admin
            && old.cookie_key == new.cookie_key
            && old.upgrade_socket == new.upgrade_socket;
        if !same_settings {
            diff.changed.push("settings".to_owned());
        }
        diff
    }

    /// Whether both configurations are the same.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }

    fn compare<T: PartialEq>(&mut self, what: &str, old: &[T], new: &[T], name: fn(&T) -> &str) {
        let mut before: HashMap<&str, &T> = old.iter().map(|item| (name(item), item)).collect();
        for item in new {
            let label = || format!("{what} {}", name(item));
            match before.remove(name(item)) {
                None => self.added.push(label()),
                Some(other) if other != item => self.changed.push(label()),
                Some(_) => {}
            }
        }
        self.removed.extend(
            old.iter()
                .filter(|item| before.contains_key(name(item)))
                .map(|item| format!("{what} {}", name(item))),
        );
    }
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing changed");
        }
        let parts = [
            ("added", &self.added),
            ("removed", &self.removed),
            ("changed", &self.changed),
        ];
        let mut first = true;
        for (verb, names) in parts {
            if names.is_empty() {
                continue;
            }
            let separator = if first { "" } else { "; " };
            write!(f, "{separator}{verb} {}", names.join(", "))?;
            first = false;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CookieKey;

    #[test]
    fn settings_of_the_whole_file_are_one_change() {
        let old = Config::empty();
        let changes: [fn(&mut Config); 2] = [
            |config| config.cookie_key = Some(CookieKey([0; 32])),
            |config| config.upgrade_socket = Some("/run/weir.sock".into()),
        ];
        for change in changes {
            let mut new = old.clone();
            change(&mut new);
            assert_eq!(Diff::between(&old, &new).to_string(), "changed settings");
        }
        assert!(Diff::between(&old, &old).is_empty());
    }
}
