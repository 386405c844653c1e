//! Providers that are asked for their list now and then: what they answer, and when to ask.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::{Instant, sleep_until};

use super::census::{Census, Sighting};
use super::{Fleet, ProviderError, ReplicaState};

/// Most bytes of an answer: ten thousand replicas with long names.
pub(super) const LIMIT: usize = 1024 * 1024;

/// Most characters of somebody else's words in an error.
const EXCERPT: usize = 200;

/// The last list, for as long as it counts.
#[derive(Debug, Default)]
pub(super) struct Poll {
    census: Census,
    fleet: Option<Fleet>,
    listed: Option<Instant>,
}

/// The document that lists replicas.
#[derive(Debug, Deserialize)]
struct Document {
    desired: u32,
    replicas: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
struct Entry {
    id: String,
    #[serde(default)]
    address: Option<SocketAddr>,
    #[serde(default)]
    state: State,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Starting,
    #[default]
    Running,
    Draining,
}

impl From<State> for ReplicaState {
    fn from(state: State) -> Self {
        match state {
            State::Starting => Self::Starting,
            State::Running => Self::Running,
            State::Draining => Self::Draining,
        }
    }
}

impl Poll {
    /// The last list, if it still counts.
    pub(super) fn known(&self) -> Option<&Fleet> {
        self.fleet.as_ref()
    }

    /// Takes in a document.
    pub(super) fn learn(&mut self, text: &[u8]) -> Result<Fleet, ProviderError> {
        let document: Document = serde_json::from_slice(text)
            .map_err(|error| ProviderError::Nonsense(format!("{error}: \"{}\"", excerpt(text))))?;
        let desired = document.desired;
        let replicas = self.census.take(document.sightings()?);
        let fleet = Fleet { desired, replicas };
        self.fleet = Some(fleet.clone());
        self.listed = Some(Instant::now());
        Ok(fleet)
    }

    /// The list is to be asked for anew.
    pub(super) fn forget(&mut self) {
        self.fleet = None;
    }

    /// Waits until the list does not count any more. Cancel-safe.
    pub(super) async fn outdated(&mut self, interval: Duration) {
        let now = Instant::now();
        sleep_until(self.listed.map_or(now, |listed| listed + interval)).await;
        self.forget();
    }
}

impl Document {
    /// What it lists, if each replica has a name of its own.
    fn sightings(self) -> Result<Vec<Sighting>, ProviderError> {
        let mut names = HashSet::new();
        for entry in &self.replicas {
            if !names.insert(entry.id.as_str()) {
                let twice = format!("`{}` is listed twice", excerpt(entry.id.as_bytes()));
                return Err(ProviderError::Nonsense(twice));
            }
        }
        let entries = self.replicas.into_iter();
        let sightings = entries.map(|entry| Sighting {
            name: entry.id,
            address: entry.address,
            state: entry.state.into(),
        });
        Ok(sightings.collect())
    }
}

/// The beginning of somebody else's words, on one line.
pub(super) fn excerpt(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(&text[..text.len().min(4 * EXCERPT)]);
    let mut words: String = text.trim().chars().take(EXCERPT + 1).collect();
    if words.chars().count() > EXCERPT {
        words.pop();
        words.push('…');
    }
    words.escape_debug().collect()
}

#[cfg(test)]
mod tests {
    use super::super::Replica;
    use super::*;

    fn learn(poll: &mut Poll, text: &str) -> Vec<(u64, String, &'static str)> {
        let fleet = poll.learn(text.as_bytes()).unwrap();
        let tell = |r: Replica| (r.id.0, r.name.unwrap(), r.state.name());
        fleet.replicas.into_iter().map(tell).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn names_become_numbers_in_the_order_first_seen_and_never_twice() {
        let mut poll = Poll::default();
        let text = r#"{"desired": 2, "replicas": [
            {"id": "b", "address": "10.0.0.1:6400"},
            {"id": "a", "state": "starting"}
        ]}"#;
        let seen = learn(&mut poll, text);
        assert_eq!(
            seen,
            [(0, "b".into(), "running"), (1, "a".into(), "starting")]
        );
        let text = r#"{"desired": 2, "more": 1, "replicas": [
            {"id": "a", "address": "[::1]:80", "state": "draining"}
        ]}"#;
        assert_eq!(learn(&mut poll, text), [(1, "a".into(), "draining")]);
        let text = r#"{"desired": 1, "replicas": [{"id": "b"}]}"#;
        assert_eq!(learn(&mut poll, text), [(2, "b".into(), "running")]);
    }

    #[tokio::test(start_paused = true)]
    async fn nonsense_is_told_with_an_excerpt() {
        let mut poll = Poll::default();
        let error = |poll: &mut Poll, text: &[u8]| poll.learn(text).unwrap_err().to_string();
        let garbage = error(&mut poll, b"<html>\n\x1b no");
        let expected = "the engine answered nonsense: expected value at line 1 column 1: \
                        \"<html>\\n\\u{1b} no\"";
        assert_eq!(garbage, expected);
        for text in [
            "",
            "{}",
            r#"{"desired": -1, "replicas": []}"#,
            r#"{"desired": 1, "replicas": [{"id": 1}]}"#,
            r#"{"desired": 1, "replicas": [{"id": "a", "address": "nowhere"}]}"#,
            r#"{"desired": 1, "replicas": [{"id": "a", "state": "asleep"}]}"#,
        ] {
            error(&mut poll, text.as_bytes());
        }
        let twice = r#"{"desired": 1, "replicas": [{"id": "a"}, {"id": "a"}]}"#;
        let twice = error(&mut poll, twice.as_bytes());
        assert_eq!(twice, "the engine answered nonsense: `a` is listed twice");
        let long = vec![b'['; 1 << 20];
        assert!(error(&mut poll, &long).chars().count() < 400);
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_counts_for_an_interval() {
        let interval = Duration::from_secs(60);
        let mut poll = Poll::default();
        poll.outdated(interval).await;
        learn(&mut poll, r#"{"desired": 0, "replicas": []}"#);
        let begun = Instant::now();
        poll.outdated(interval).await;
        assert_eq!(begun.elapsed(), interval);
        assert_eq!(poll.known(), None);
    }
}
