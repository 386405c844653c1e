//! The list of a provider that is polled now and then: its format, and for how long it counts.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::{Instant, sleep_until};

use super::excerpt::excerpt;
use super::replica_index::{ListedReplica, ReplicaIndex};
use super::{Fleet, ProviderError, ReplicaState};

/// Most bytes of a list: ten thousand replicas with long names.
pub(super) const LIST_LIMIT: usize = 1024 * 1024;

/// The last list, for as long as it counts.
#[derive(Debug, Default)]
pub(super) struct PolledList {
    index: ReplicaIndex,
    fleet: Option<Fleet>,
    polled_at: Option<Instant>,
}

/// The JSON document that lists replicas.
#[derive(Debug, Deserialize)]
struct Document {
    desired: u32,
    replicas: Vec<DocumentReplica>,
}

#[derive(Debug, Deserialize)]
struct DocumentReplica {
    id: String,
    #[serde(default)]
    address: Option<SocketAddr>,
    #[serde(default)]
    state: DocumentState,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum DocumentState {
    Starting,
    #[default]
    Running,
    Draining,
}

impl From<DocumentState> for ReplicaState {
    fn from(state: DocumentState) -> Self {
        match state {
            DocumentState::Starting => Self::Starting,
            DocumentState::Running => Self::Running,
            DocumentState::Draining => Self::Draining,
        }
    }
}

impl PolledList {
    /// The last list, if it still counts.
    pub(super) fn current(&self) -> Option<&Fleet> {
        self.fleet.as_ref()
    }

    /// Takes in a document.
    pub(super) fn update(&mut self, document: &[u8]) -> Result<Fleet, ProviderError> {
        let parsed: Document = serde_json::from_slice(document).map_err(|error| {
            ProviderError::Nonsense(format!("{error}: \"{}\"", excerpt(document)))
        })?;
        let fleet = Fleet {
            desired: parsed.desired,
            replicas: self.index.update(parsed.listed()?),
            stopped: Vec::new(),
        };
        self.fleet = Some(fleet.clone());
        self.polled_at = Some(Instant::now());
        Ok(fleet)
    }

    /// The next call to `fleet` needs a new list.
    pub(super) fn expire(&mut self) {
        self.fleet = None;
    }

    /// Waits until the list does not count any more: an interval after the last update.
    /// Cancel-safe.
    pub(super) async fn expired(&mut self, interval: Duration) {
        if let Some(polled_at) = self.polled_at {
            sleep_until(polled_at + interval).await;
        }
        self.expire();
    }
}

impl Document {
    /// The replicas, if each has a name of its own.
    fn listed(self) -> Result<Vec<ListedReplica>, ProviderError> {
        let mut names = HashSet::new();
        for replica in &self.replicas {
            if !names.insert(replica.id.as_str()) {
                let twice = format!("`{}` is listed twice", excerpt(&replica.id));
                return Err(ProviderError::Nonsense(twice));
            }
        }
        Ok(self
            .replicas
            .into_iter()
            .map(|replica| ListedReplica {
                name: replica.id,
                address: replica.address,
                state: replica.state.into(),
                since: None,
            })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(list: &mut PolledList, text: &str) -> Vec<(u64, String, &'static str)> {
        let fleet = list.update(text.as_bytes()).unwrap();
        fleet
            .replicas
            .into_iter()
            .map(|replica| (replica.id.0, replica.name.unwrap(), replica.state.name()))
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn names_become_numbers_in_the_order_first_seen_and_never_twice() {
        let mut list = PolledList::default();
        let text = r#"{"desired": 2, "replicas": [
            {"id": "b", "address": "10.0.0.1:6400"},
            {"id": "a", "state": "starting"}
        ]}"#;
        let seen = update(&mut list, text);
        assert_eq!(
            seen,
            [(0, "b".into(), "running"), (1, "a".into(), "starting")]
        );
        let text = r#"{"desired": 2, "more": 1, "replicas": [
            {"id": "a", "address": "[::1]:80", "state": "draining"}
        ]}"#;
        assert_eq!(update(&mut list, text), [(1, "a".into(), "draining")]);
        let text = r#"{"desired": 1, "replicas": [{"id": "b"}]}"#;
        assert_eq!(update(&mut list, text), [(2, "b".into(), "running")]);
    }

    #[tokio::test(start_paused = true)]
    async fn nonsense_is_reported_with_an_excerpt() {
        let mut list = PolledList::default();
        let error = |list: &mut PolledList, text: &[u8]| list.update(text).unwrap_err().to_string();
        let garbage = error(&mut list, b"<html>\n\x1b no");
        let expected = "the engine answered nonsense: expected value at line 1 column 1: \
                        \"<html> \\u{1b} no\"";
        assert_eq!(garbage, expected);
        for text in [
            "",
            "{}",
            r#"{"desired": -1, "replicas": []}"#,
            r#"{"desired": 1, "replicas": [{"id": 1}]}"#,
            r#"{"desired": 1, "replicas": [{"id": "a", "address": "nowhere"}]}"#,
            r#"{"desired": 1, "replicas": [{"id": "a", "state": "asleep"}]}"#,
        ] {
            error(&mut list, text.as_bytes());
        }
        let twice = r#"{"desired": 1, "replicas": [{"id": "a"}, {"id": "a"}]}"#;
        let twice = error(&mut list, twice.as_bytes());
        assert_eq!(twice, "the engine answered nonsense: `a` is listed twice");
        let long = vec![b'['; 1 << 20];
        assert!(error(&mut list, &long).chars().count() < 400);
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_counts_for_an_interval() {
        let interval = Duration::from_secs(60);
        let mut list = PolledList::default();
        list.expired(interval).await;
        update(&mut list, r#"{"desired": 0, "replicas": []}"#);
        let start = Instant::now();
        list.expired(interval).await;
        assert_eq!(start.elapsed(), interval);
        assert_eq!(list.current(), None);
    }
}
