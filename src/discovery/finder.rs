//! Lookups for all host names of the snapshots, from one loop.

use std::collections::HashMap;
use std::future::pending;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{info, warn};

use super::name::Name;
use super::resolve::{Answer, Resolve, ResolveError};
use crate::config::TargetAddress;
use crate::model::TargetGroupId;
use crate::state::{Change, Publisher, Reader, Snapshot, Source};

/// For one lookup: over all servers, search domains and attempts.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);

/// Owns the lookups; dropping it ends them.
pub(super) struct Finder<R> {
    resolver: R,
    publisher: Publisher,
    names: HashMap<Key, Entry>,
    lookups: JoinSet<Result<Answer, ResolveError>>,
}

/// A host name, the port its targets have, and the group they are in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    group: TargetGroupId,
    name: String,
    port: u16,
}

struct Entry {
    name: Name,
    weight: u16,
    next: Next,
}

enum Next {
    /// A lookup is under way.
    Answer(AbortHandle),
    /// The next lookup starts then.
    Lookup(Instant),
}

impl<R: Resolve> Finder<R> {
    pub(super) fn new(resolver: R, publisher: Publisher) -> Self {
        Self {
            resolver,
            publisher,
            names: HashMap::new(),
            lookups: JoinSet::new(),
        }
    }

    /// Follows the snapshots until there will be no more.
    pub(super) async fn run(mut self, mut reader: Reader) {
        self.follow(&reader.load_full()).await;
        loop {
            let next_lookup = self.next_lookup();
            // Every arm is cancel-safe: each either waits or took what it waited for.
            tokio::select! {
                more = reader.changed() => {
                    if !more {
                        return;
                    }
                    self.follow(&reader.load_full()).await;
                }
                Some(ended) = self.lookups.join_next_with_id() => self.finish(ended).await,
                () = until(next_lookup) => self.look_up_due(),
            }
        }
    }

    /// Asks for new names, forgets removed ones, and publishes changed weights.
    async fn follow(&mut self, snapshot: &Snapshot) {
        let mut before = std::mem::take(&mut self.names);
        let mut reweighted = Vec::new();
        for (key, weight) in host_names(snapshot) {
            if self.names.contains_key(&key) {
                continue;
            }
            let entry = match before.remove(&key) {
                Some(mut known) => {
                    if known.weight != weight {
                        known.weight = weight;
                        reweighted.push(key.clone());
                    }
                    known
                }
                None => Entry {
                    name: Name::default(),
                    weight,
                    next: self.look_up(&key.name),
                },
            };
            self.names.insert(key, entry);
        }
        for gone in before.into_values() {
            if let Next::Answer(lookup) = gone.next {
                lookup.abort();
            }
        }
        for key in reweighted {
            self.publish(&key).await;
        }
    }

    fn look_up(&mut self, name: &str) -> Next {
        let (resolver, name) = (self.resolver.clone(), name.to_owned());
        let lookup = async move {
            let answer = timeout(LOOKUP_TIMEOUT, resolver.resolve(&name)).await;
            answer.unwrap_or(Err(ResolveError::TimedOut(LOOKUP_TIMEOUT)))
        };
        Next::Answer(self.lookups.spawn(lookup))
    }

    fn next_lookup(&self) -> Option<Instant> {
        let due = self.names.values().filter_map(|entry| match entry.next {
            Next::Lookup(at) => Some(at),
            Next::Answer(_) => None,
        });
        due.min()
    }

    fn look_up_due(&mut self) {
        let now = Instant::now();
        let is_due = |entry: &Entry| matches!(entry.next, Next::Lookup(at) if at <= now);
        let names = self.names.iter();
        let due: Vec<Key> = names
            .filter(|(_, entry)| is_due(entry))
            .map(|(key, _)| key.clone())
            .collect();
        for key in due {
            let next = self.look_up(&key.name);
            if let Some(entry) = self.names.get_mut(&key) {
                entry.next = next;
            }
        }
    }

    /// Takes in the end of a lookup.
    async fn finish(&mut self, ended: Result<(Id, Result<Answer, ResolveError>), JoinError>) {
        let (id, result) = match ended {
            Ok((id, result)) => (id, result),
            Err(error) => (error.id(), Err(ResolveError::Panicked)),
        };
        let asked = |entry: &Entry| matches!(&entry.next, Next::Answer(task) if task.id() == id);
        // A lookup whose name has been removed is of no interest.
        let Some((key, entry)) = self.names.iter_mut().find(|(_, entry)| asked(entry)) else {
            return;
        };
        let (changed, wait) = match result {
            Ok(answer) => take_in(key, &mut entry.name, answer),
            Err(error) => (false, miss(key, &mut entry.name, &error)),
        };
        entry.next = Next::Lookup(Instant::now() + wait);
        if changed {
            let key = key.clone();
            self.publish(&key).await;
        }
    }

    async fn publish(&self, key: &Key) {
        let Some(entry) = self.names.get(key) else {
            return;
        };
        let member = |ip: &IpAddr| (SocketAddr::new(*ip, key.port), entry.weight);
        let change = Change::Members {
            group: key.group.clone(),
            source: Source::Dns(key.name.clone(), key.port),
            members: entry.name.addresses().iter().map(member).collect(),
        };
        // Without a publisher there are no snapshots, and `run` ends.
        let _ = self.publisher.send(change).await;
    }
}

/// The host names of a snapshot with their weights; the first of several for one name.
fn host_names(snapshot: &Snapshot) -> impl Iterator<Item = (Key, u16)> {
    let groups = snapshot.config.target_groups.iter();
    groups.flat_map(|group| {
        group.targets.iter().filter_map(|spec| match &spec.address {
            TargetAddress::Socket(_) => None,
            TargetAddress::Host { name, port } => {
                let key = Key {
                    group: group.id.clone(),
                    name: name.clone(),
                    port: *port,
                };
                Some((key, spec.weight))
            }
        })
    })
}

/// Whether the answer changes the members, and when to ask again.
fn take_in(key: &Key, name: &mut Name, answer: Answer) -> (bool, Duration) {
    let (news, wait) = name.answered(answer);
    let changed = !news.added.is_empty() || !news.removed.is_empty();
    if changed {
        info!(
            group = %key.group,
            name = %key.name,
            added = ?news.added,
            removed = ?news.removed,
            "host name has other addresses"
        );
    } else if news.recovered {
        info!(group = %key.group, name = %key.name, "host name resolves again");
    }
    (changed, wait)
}

/// When to ask again after a failure.
fn miss(key: &Key, name: &mut Name, error: &ResolveError) -> Duration {
    let (first, wait) = name.failed();
    if first {
        warn!(
            group = %key.group,
            name = %key.name,
            %error,
            kept = ?name.addresses(),
            "host name does not resolve, keeping its last addresses"
        );
    }
    wait
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex};

    use hickory_resolver::TokioResolver;
    use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig};
    use hickory_resolver::net::runtime::TokioRuntimeProvider;
    use tokio::net::UdpSocket;
    use tokio::time::sleep;

    use super::super::resolve::ask_dns;
    use super::*;
    use crate::config::{TargetGroup, TargetSpec};
    use crate::state::fixture::{config, empty_group, publish};

    /// Answers in order; repeats the last one. `None` fails.
    #[derive(Clone, Default)]
    struct Fake(Arc<Mutex<Inner>>);

    #[derive(Default)]
    struct Inner {
        answers: VecDeque<Option<Answer>>,
        asked: usize,
    }

    impl Fake {
        fn new(answers: &[(Option<&[u8]>, u64)]) -> Self {
            let answer = |(last_bytes, ttl): &(Option<&[u8]>, u64)| {
                last_bytes.map(|bytes| Answer {
                    addresses: bytes.iter().map(|&n| [10, 0, 0, n].into()).collect(),
                    ttl: Duration::from_secs(*ttl),
                })
            };
            let inner = Inner {
                answers: answers.iter().map(answer).collect(),
                asked: 0,
            };
            Self(Arc::new(Mutex::new(inner)))
        }

        fn asked(&self) -> usize {
            self.0.lock().unwrap().asked
        }
    }

    impl Resolve for Fake {
        async fn resolve(&self, name: &str) -> Result<Answer, ResolveError> {
            assert_eq!(name, "todo.example");
            let mut inner = self.0.lock().unwrap();
            inner.asked += 1;
            let answer = if inner.answers.len() > 1 {
                inner.answers.pop_front().unwrap()
            } else {
                inner.answers[0].clone()
            };
            answer.ok_or(ResolveError::NoAddress)
        }
    }

    fn group(weight: u16) -> TargetGroup {
        TargetGroup {
            targets: vec![TargetSpec {
                address: TargetAddress::Host {
                    name: "todo.example".to_owned(),
                    port: 6400,
                },
                weight,
            }],
            ..empty_group()
        }
    }

    fn members(reader: &Reader) -> Vec<(String, u16)> {
        let snapshot = reader.load_full();
        let targets = snapshot.groups()[0].targets.iter();
        targets
            .map(|t| (t.target.id.addr.to_string(), t.weight))
            .collect()
    }

    fn find<R: Resolve>(resolver: &R, publisher: &Publisher, reader: &Reader) -> JoinSet<()> {
        let mut owner = JoinSet::new();
        owner.spawn(Finder::new(resolver.clone(), publisher.clone()).run(reader.clone()));
        owner
    }

    fn member(addr: &str, weight: u16) -> (String, u16) {
        (addr.to_owned(), weight)
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_is_resolved_at_start_and_when_its_time_to_live_is_over() {
        let fake = Fake::new(&[(Some(&[1, 2]), 60), (Some(&[2, 3]), 60)]);
        let (publisher, reader) = publish(vec![group(7)]).await;
        let _owner = find(&fake, &publisher, &reader);
        sleep(Duration::from_secs(59)).await;
        let expected = [member("10.0.0.1:6400", 7), member("10.0.0.2:6400", 7)];
        assert_eq!(members(&reader), expected);
        assert_eq!(fake.asked(), 1);
        sleep(Duration::from_secs(2)).await;
        let expected = [member("10.0.0.2:6400", 7), member("10.0.0.3:6400", 7)];
        assert_eq!(members(&reader), expected);
        assert_eq!(fake.asked(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_answer_publishes_nothing() {
        let fake = Fake::new(&[(Some(&[1, 2]), 1), (Some(&[2, 1]), 1)]);
        let (publisher, reader) = publish(vec![group(1)]).await;
        let _owner = find(&fake, &publisher, &reader);
        sleep(Duration::from_secs(100)).await;
        assert!(fake.asked() > 90);
        // The configuration and the first answer.
        assert_eq!(reader.load_full().version, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_stops_resolving_keeps_its_addresses() {
        let fake = Fake::new(&[(Some(&[1]), 1), (None, 0)]);
        let (publisher, reader) = publish(vec![group(1)]).await;
        let _owner = find(&fake, &publisher, &reader);
        sleep(Duration::from_secs(600)).await;
        assert_eq!(members(&reader), [member("10.0.0.1:6400", 1)]);
        // Once, then after 1, 1, 2, 4, 8 and 16 seconds, then every 30.
        let asked = fake.asked();
        assert!((20..=28).contains(&asked), "{asked}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_reload_publishes_another_weight_without_asking_again() {
        let fake = Fake::new(&[(Some(&[1]), 300)]);
        let (publisher, reader) = publish(vec![group(1)]).await;
        let _owner = find(&fake, &publisher, &reader);
        sleep(Duration::from_secs(1)).await;
        publisher.configure(config(vec![group(2)])).await.unwrap();
        sleep(Duration::from_secs(1)).await;
        assert_eq!(members(&reader), [member("10.0.0.1:6400", 2)]);
        assert_eq!(fake.asked(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_removed_name_is_not_asked_again() {
        let fake = Fake::new(&[(Some(&[1]), 1)]);
        let (publisher, reader) = publish(vec![group(1)]).await;
        let _owner = find(&fake, &publisher, &reader);
        sleep(Duration::from_millis(1500)).await;
        publisher
            .configure(config(vec![empty_group()]))
            .await
            .unwrap();
        sleep(Duration::from_secs(100)).await;
        assert_eq!(fake.asked(), 2);
        assert_eq!(members(&reader), []);
    }

    /// Asks one server on a port of its own.
    #[derive(Clone)]
    struct OneServer(SocketAddr);

    impl Resolve for OneServer {
        async fn resolve(&self, name: &str) -> Result<Answer, ResolveError> {
            let mut server = NameServerConfig::udp(self.0.ip());
            server.connections[0].port = self.0.port();
            let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
            let provider = TokioRuntimeProvider::default();
            let mut builder = TokioResolver::builder_with_config(config, provider);
            builder.options_mut().use_hosts_file = ResolveHosts::Never;
            ask_dns(builder, name).await
        }
    }

    /// A DNS server that answers every question for an A record with the next address,
    /// to be believed for a second (RFC 1035, section 4).
    async fn serve_dns(socket: UdpSocket, last_bytes: [u8; 2]) {
        let mut last_bytes = last_bytes.into_iter();
        let mut last_byte = 0;
        let mut query = [0; 512];
        loop {
            let (length, from) = socket.recv_from(&mut query).await.unwrap();
            // Header, labels up to the root's zero, type and class.
            let labels = query[12..length].iter().position(|&byte| byte == 0);
            let end = 12 + labels.unwrap() + 5;
            let is_a = query[end - 4..end] == [0, 1, 0, 1];
            let mut reply = query[..end].to_vec();
            reply[2..4].copy_from_slice(&[0x81, 0x80]);
            reply[4..12].copy_from_slice(&[0, 1, 0, u8::from(is_a), 0, 0, 0, 0]);
            if is_a {
                last_byte = last_bytes.next().unwrap_or(last_byte);
                reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 10, 0, 0, last_byte]);
            }
            socket.send_to(&reply, from).await.unwrap();
        }
    }

    #[tokio::test]
    async fn an_answer_that_changes_on_a_real_server_changes_the_members() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let resolver = OneServer(socket.local_addr().unwrap());
        let mut server = JoinSet::new();
        server.spawn(serve_dns(socket, [1, 2]));
        let (publisher, mut reader) = publish(vec![group(1)]).await;
        let _owner = find(&resolver, &publisher, &reader);
        let started = Instant::now();
        reader.changed().await;
        assert_eq!(members(&reader), [member("10.0.0.1:6400", 1)]);
        reader.changed().await;
        assert_eq!(members(&reader), [member("10.0.0.2:6400", 1)]);
        assert!(started.elapsed() >= Duration::from_secs(1));
    }
}
