//! Resolves all names of the snapshots, in one loop.

use std::collections::{BTreeSet, HashMap};
use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{info, warn};

use super::name::{Found, Name};
use super::report::Report;
use super::resolve::{Resolve, ResolveError};
use super::srv::{self, Hosts};
use crate::config::{Config, TargetAddress};
use crate::model::TargetGroupId;
use crate::observe::kind;
use crate::state::{Change, Publisher, Reader, Snapshot, Source};

/// For one lookup: over all servers, search domains and attempts. The hosts of service records
/// are resolved after that, each with a deadline of its own.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);

/// Owns the lookups; dropping it ends them.
pub(super) struct Finder<R> {
    resolver: R,
    publisher: Publisher,
    report: Arc<Report>,
    /// The configuration that has the names.
    config: Arc<Config>,
    names: HashMap<Key, FollowedName>,
    lookups: JoinSet<Result<Lookup, ResolveError>>,
    /// The names that are being resolved, by task.
    running: HashMap<Id, Key>,
    /// When the other names are resolved next.
    due: BTreeSet<(Instant, Key)>,
}

/// A name and the group its targets are in.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Key {
    group: TargetGroupId,
    question: Question,
}

/// What is looked up.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Question {
    /// Addresses; with this port they are targets.
    Host { name: String, port: u16 },
    /// Service records.
    Srv { name: String },
}

/// The result of a lookup.
struct Lookup {
    targets: Vec<Found>,
    /// The addresses of a service's hosts.
    hosts: Hosts,
    ttl: Duration,
}

struct FollowedName {
    name: Name,
    /// The last addresses of a service's hosts.
    hosts: Hosts,
    weight: u16,
    next: Next,
}

enum Next {
    /// A lookup runs.
    Running(AbortHandle),
    /// The next lookup starts then.
    DueAt(Instant),
}

impl<R: Resolve> Finder<R> {
    pub(super) fn new(resolver: R, publisher: Publisher, report: Arc<Report>) -> Self {
        Self {
            resolver,
            publisher,
            report,
            config: Arc::new(Config::empty()),
            names: HashMap::new(),
            lookups: JoinSet::new(),
            running: HashMap::new(),
            due: BTreeSet::new(),
        }
    }

    /// Follows the snapshots until the publisher ends.
    pub(super) async fn run(mut self, mut reader: Reader) {
        self.follow(&reader.load_full()).await;
        loop {
            let next_lookup = self.due.first().map(|(at, _)| *at);
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

    /// Resolves new names, forgets removed ones, and publishes changed weights.
    async fn follow(&mut self, snapshot: &Snapshot) {
        if Arc::ptr_eq(&self.config, &snapshot.config) {
            return;
        }
        self.config = Arc::clone(&snapshot.config);
        let mut before = std::mem::take(&mut self.names);
        let mut reweighted = Vec::new();
        for (key, weight) in names(snapshot) {
            if self.names.contains_key(&key) {
                continue;
            }
            let entry = match before.remove(&key) {
                Some(mut known) => {
                    if known.weight != weight {
                        known.weight = weight;
                        // Before the first answer there is nothing to publish: the publisher may
                        // have targets from another port of this name.
                        if !known.name.targets().is_empty() {
                            reweighted.push(key.clone());
                        }
                    }
                    known
                }
                None => FollowedName {
                    name: Name::default(),
                    hosts: Hosts::default(),
                    weight,
                    next: self.look_up(&key, Hosts::default()),
                },
            };
            self.names.insert(key, entry);
        }
        for (key, gone) in before {
            self.report.forget(&key.group, key.question.source());
            match gone.next {
                Next::Running(lookup) => {
                    lookup.abort();
                    self.running.remove(&lookup.id());
                }
                Next::DueAt(at) => drop(self.due.remove(&(at, key))),
            }
        }
        for key in reweighted {
            self.publish(&key).await;
        }
    }

    /// Starts a lookup. `known` has the last addresses of a service's hosts.
    fn look_up(&mut self, key: &Key, known: Hosts) -> Next {
        self.report.begun(&key.group, key.question.source());
        let (resolver, question) = (self.resolver.clone(), key.question.clone());
        let lookup = self.lookups.spawn(async move {
            match question {
                Question::Host { name, port } => {
                    let answer = in_time(LOOKUP_TIMEOUT, resolver.resolve(&name)).await?;
                    let addresses = answer.addresses.into_iter();
                    Ok(Lookup {
                        targets: addresses
                            .map(|ip| (SocketAddr::new(ip, port), None))
                            .collect(),
                        hosts: Hosts::default(),
                        ttl: answer.ttl,
                    })
                }
                Question::Srv { name } => {
                    let services = in_time(LOOKUP_TIMEOUT, resolver.services(&name)).await?;
                    let found = srv::resolve(&resolver, services, &known).await?;
                    Ok(Lookup {
                        targets: found.list,
                        hosts: found.hosts,
                        ttl: found.ttl,
                    })
                }
            }
        });
        self.running.insert(lookup.id(), key.clone());
        Next::Running(lookup)
    }

    fn look_up_due(&mut self) {
        let now = Instant::now();
        while self.due.first().is_some_and(|(at, _)| *at <= now)
            && let Some((_, key)) = self.due.pop_first()
        {
            let hosts = self.names.get(&key).map(|entry| entry.hosts.clone());
            let next = self.look_up(&key, hosts.unwrap_or_default());
            if let Some(entry) = self.names.get_mut(&key) {
                entry.next = next;
            }
        }
    }

    /// Applies the result of a lookup.
    async fn finish(&mut self, ended: Result<(Id, Result<Lookup, ResolveError>), JoinError>) {
        let (id, result) = match ended {
            Ok((id, result)) => (id, result),
            Err(error) => (error.id(), Err(ResolveError::Panicked)),
        };
        // The name may have been removed meanwhile.
        let Some(key) = self.running.remove(&id) else {
            return;
        };
        let Some(entry) = self.names.get_mut(&key) else {
            return;
        };
        let error = result.as_ref().err().map(ToString::to_string);
        let (changed, wait) = match result {
            Ok(lookup) => {
                entry.hosts = lookup.hosts;
                adopt(&key, &mut entry.name, lookup.targets, lookup.ttl)
            }
            Err(error) => (false, keep_last(&key, &mut entry.name, &error)),
        };
        note(&self.report, &key, &entry.name, error, wait);
        let at = Instant::now() + wait;
        entry.next = Next::DueAt(at);
        self.due.insert((at, key.clone()));
        if changed {
            self.publish(&key).await;
        }
    }

    async fn publish(&self, key: &Key) {
        let Some(entry) = self.names.get(key) else {
            return;
        };
        let targets = entry.name.targets().iter();
        let change = Change::Members {
            group: key.group.clone(),
            source: key.question.source(),
            members: targets
                .map(|(addr, weight)| ((*addr).into(), weight.unwrap_or(entry.weight)))
                .collect(),
        };
        // Fails when the publisher has ended: then `run` ends too.
        let _ = self.publisher.send(change).await;
    }
}

impl Question {
    fn name(&self) -> &str {
        match self {
            Self::Host { name, .. } | Self::Srv { name } => name,
        }
    }

    fn source(&self) -> Source {
        match self {
            Self::Host { name, port } => Source::Dns(name.clone(), *port),
            Self::Srv { name } => Source::Srv(name.clone()),
        }
    }
}

/// The names of a snapshot with their weights; the first of several for one name.
fn names(snapshot: &Snapshot) -> impl Iterator<Item = (Key, u16)> {
    snapshot.config.target_groups.iter().flat_map(|group| {
        group.targets.iter().filter_map(|spec| {
            let question = match &spec.address {
                TargetAddress::Socket(_) | TargetAddress::File { .. } => return None,
                TargetAddress::Host { name, port } => Question::Host {
                    name: name.clone(),
                    port: *port,
                },
                TargetAddress::Srv { name } => Question::Srv { name: name.clone() },
            };
            let key = Key {
                group: group.id.clone(),
                question,
            };
            Some((key, spec.weight))
        })
    })
}

/// The result of a lookup, or an error when it does not end in time.
async fn in_time<T>(
    deadline: Duration,
    lookup: impl Future<Output = Result<T, ResolveError>>,
) -> Result<T, ResolveError> {
    timeout(deadline, lookup)
        .await
        .unwrap_or(Err(ResolveError::TimedOut(deadline)))
}

/// Reports an attempt; without an error it has succeeded. The next follows after `wait`.
fn note(report: &Report, key: &Key, name: &Name, error: Option<String>, wait: Duration) {
    let (group, source) = (&key.group, key.question.source());
    let next = Some(SystemTime::now() + wait);
    if let Some(error) = error {
        report.failed(group, source, error, next);
    } else {
        let targets = name.targets().iter().map(|(addr, _)| (*addr).into());
        report.succeeded(group, source, targets.collect(), next);
    }
}

/// Adopts an answer. Returns whether it changes the members, and the time until the next lookup.
fn adopt(key: &Key, name: &mut Name, targets: Vec<Found>, ttl: Duration) -> (bool, Duration) {
    let (difference, wait) = name.answered(targets, ttl);
    if difference.changes_members() {
        info!(
            event = kind::DISCOVERY, group = %key.group,
            name = %key.question.name(),
            added = ?difference.added,
            removed = ?difference.removed,
            "host name has other addresses"
        );
    } else if difference.recovered {
        info!(event = kind::DISCOVERY, group = %key.group, name = %key.question.name(), "host name resolves again");
    }
    (difference.changes_members(), wait)
}

/// Keeps the last targets after a failure. Returns the time until the next lookup.
fn keep_last(key: &Key, name: &mut Name, error: &ResolveError) -> Duration {
    let (first, wait) = name.failed();
    if first {
        let kept: Vec<_> = name.targets().iter().map(|(addr, _)| addr).collect();
        warn!(
            event = kind::DISCOVERY, group = %key.group,
            name = %key.question.name(),
            %error,
            ?kept,
            "host name does not resolve; keeping its last addresses"
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
    use std::sync::Mutex;

    use tokio::net::UdpSocket;
    use tokio::time::sleep;

    use super::super::fixture::{OneServer, member, members};
    use super::super::resolve::{HostAddresses, Services};
    use super::*;
    use crate::config::{TargetGroup, TargetSpec};
    use crate::state::fixture::{config, empty_group, publish};

    /// Gives answers in order and repeats the last one. `None` fails.
    #[derive(Clone, Default)]
    struct FakeDns(Arc<Mutex<Inner>>);

    #[derive(Default)]
    struct Inner {
        answers: VecDeque<Option<HostAddresses>>,
        asked: usize,
    }

    impl FakeDns {
        fn new(answers: &[(Option<&[u8]>, u64)]) -> Self {
            let answer = |(last_bytes, ttl): &(Option<&[u8]>, u64)| {
                last_bytes.map(|bytes| HostAddresses {
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

    impl Resolve for FakeDns {
        async fn resolve(&self, name: &str) -> Result<HostAddresses, ResolveError> {
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

        async fn services(&self, _name: &str) -> Result<Services, ResolveError> {
            Err(ResolveError::NoService)
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

    fn find<R: Resolve>(resolver: &R, publisher: &Publisher, reader: &Reader) -> JoinSet<()> {
        let report = Arc::default();
        find_with(resolver, publisher, reader, &report)
    }

    fn find_with<R: Resolve>(
        resolver: &R,
        publisher: &Publisher,
        reader: &Reader,
        report: &Arc<Report>,
    ) -> JoinSet<()> {
        let mut owner = JoinSet::new();
        let finder = Finder::new(resolver.clone(), publisher.clone(), Arc::clone(report));
        owner.spawn(finder.run(reader.clone()));
        owner
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_is_resolved_at_start_and_when_its_time_to_live_is_over() {
        let fake = FakeDns::new(&[(Some(&[1, 2]), 60), (Some(&[2, 3]), 60)]);
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
        let fake = FakeDns::new(&[(Some(&[1, 2]), 1), (Some(&[2, 1]), 1)]);
        let (publisher, reader) = publish(vec![group(1)]).await;
        let _owner = find(&fake, &publisher, &reader);
        sleep(Duration::from_secs(100)).await;
        assert!(fake.asked() > 90);
        // The configuration and the first answer.
        assert_eq!(reader.load_full().version, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_stops_resolving_keeps_its_addresses() {
        let fake = FakeDns::new(&[(Some(&[1]), 1), (None, 0)]);
        let (publisher, reader) = publish(vec![group(1)]).await;
        let _owner = find(&fake, &publisher, &reader);
        sleep(Duration::from_secs(600)).await;
        assert_eq!(members(&reader), [member("10.0.0.1:6400", 1)]);
        // Once, then after 1, 1, 2, 4, 8 and 16 seconds, then every 30.
        let asked = fake.asked();
        assert!((20..=28).contains(&asked), "{asked}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_known_of_a_name_is_reported_until_it_is_named_no_more() {
        let fake = FakeDns::new(&[(Some(&[1]), 1), (None, 0)]);
        let (publisher, reader) = publish(vec![group(1)]).await;
        let report = Arc::default();
        let _owner = find_with(&fake, &publisher, &reader, &report);
        sleep(Duration::from_millis(500)).await;
        let id = TargetGroupId::from("todo");
        let known = report.of_group(&id);
        let [(source, first)] = known.as_slice() else {
            panic!("{known:?}");
        };
        assert_eq!(*source, Source::Dns("todo.example".to_owned(), 6400));
        assert_eq!((first.failures_total, &first.last_error), (0, &None));
        assert!(first.next_lookup > first.last_success);
        sleep(Duration::from_secs(3)).await;
        let (_, later) = report.of_group(&id).remove(0);
        assert_eq!(later.targets, first.targets);
        assert_eq!(later.last_success, first.last_success);
        assert!(later.failures > 1 && later.failures == later.failures_total);
        assert_eq!(later.last_error, Some(ResolveError::NoAddress.to_string()));
        let without = config(vec![empty_group()]);
        publisher.configure(without).await.unwrap();
        sleep(Duration::from_secs(1)).await;
        assert_eq!(report.of_group(&id), []);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reload_publishes_another_weight_without_a_lookup() {
        let fake = FakeDns::new(&[(Some(&[1]), 300)]);
        let (publisher, reader) = publish(vec![group(1)]).await;
        let _owner = find(&fake, &publisher, &reader);
        sleep(Duration::from_secs(1)).await;
        publisher.configure(config(vec![group(2)])).await.unwrap();
        sleep(Duration::from_secs(1)).await;
        assert_eq!(members(&reader), [member("10.0.0.1:6400", 2)]);
        assert_eq!(fake.asked(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_removed_name_is_not_resolved_again() {
        let fake = FakeDns::new(&[(Some(&[1]), 1)]);
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

    /// A DNS server that answers every question for an A record with the next address, with a time
    /// to live of a second (RFC 1035, section 4).
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
