//! Service records (RFC 2782): hosts with ports and weights, resolved to targets.
//!
//! Uses the records of the lowest priority with which any host has an address. A host that cannot
//! be resolved now keeps the addresses it had; one without any is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::name::Found;
use super::resolve::{HostAddresses, Resolve, ResolveError, Service, Services};

/// The addresses of the hosts of a service.
pub(super) type Hosts = BTreeMap<String, Vec<IpAddr>>;

/// For resolving one host.
const HOST_TIMEOUT: Duration = Duration::from_secs(5);

/// Hosts that are resolved at a time.
const MAX_LOOKUPS: usize = 64;

/// The time to live of an answer if a host could not be resolved.
const PARTIAL_TTL: Duration = Duration::from_secs(5);

/// Weir's largest weight, ALB's.
const MAX_WEIGHT: u16 = 999;

/// The targets of a service.
#[derive(Debug)]
pub(super) struct Targets {
    /// Not empty, each address once.
    pub(super) list: Vec<Found>,
    /// The hosts that they come from.
    pub(super) hosts: Hosts,
    /// The shortest time to live of the answers used.
    pub(super) ttl: Duration,
}

/// Resolves the hosts of service records to targets. `known` has their last addresses.
pub(super) async fn resolve<R: Resolve>(
    resolver: &R,
    services: Services,
    known: &Hosts,
) -> Result<Targets, ResolveError> {
    let mut records = services.records;
    if records.is_empty() {
        return Err(ResolveError::NoService);
    }
    records.sort_by_key(|record| record.priority);
    let mut first_error = None;
    for group in records.chunk_by(|a, b| a.priority == b.priority) {
        let found = addresses(resolver, group, known).await;
        let targets = weighted(group, &found.hosts);
        if !targets.is_empty() {
            return Ok(Targets {
                list: targets,
                hosts: found.hosts,
                ttl: services.ttl.min(found.ttl),
            });
        }
        first_error = first_error.or(found.error);
    }
    Err(first_error.unwrap_or(ResolveError::NoAddress))
}

/// The addresses of the hosts of some records.
struct Addresses {
    hosts: Hosts,
    ttl: Duration,
    /// The first one.
    error: Option<ResolveError>,
}

async fn addresses<R: Resolve>(resolver: &R, records: &[Service], known: &Hosts) -> Addresses {
    let names: BTreeSet<&str> = records.iter().map(|record| record.host.as_str()).collect();
    let names: Vec<&str> = names.into_iter().collect();
    let mut all = Addresses {
        hosts: Hosts::new(),
        ttl: Duration::MAX,
        error: None,
    };
    for some in names.chunks(MAX_LOOKUPS) {
        // Dropped with this future, which ends them.
        let mut lookups = JoinSet::new();
        for &name in some {
            let (resolver, name) = (resolver.clone(), name.to_owned());
            lookups.spawn(async move {
                let answer = timeout(HOST_TIMEOUT, resolver.resolve(&name))
                    .await
                    .unwrap_or(Err(ResolveError::TimedOut(HOST_TIMEOUT)));
                (name, answer)
            });
        }
        while let Some(ended) = lookups.join_next().await {
            match ended {
                Ok((name, answer)) => all.add(name, answer, known),
                Err(_) => all.error = all.error.or(Some(ResolveError::Panicked)),
            }
        }
    }
    all
}

impl Addresses {
    fn add(&mut self, name: String, answer: Result<HostAddresses, ResolveError>, known: &Hosts) {
        let error = match answer {
            Ok(answer) => {
                self.ttl = self.ttl.min(answer.ttl);
                self.hosts.insert(name, answer.addresses);
                return;
            }
            Err(error) => error,
        };
        // A host without an address is gone; one that could not be resolved may not be.
        if !matches!(error, ResolveError::NoAddress) {
            self.ttl = self.ttl.min(PARTIAL_TTL);
            if let Some(addresses) = known.get(&name) {
                self.hosts.insert(name, addresses.clone());
            }
        }
        self.error.get_or_insert(error);
    }
}

/// The targets of records of one priority. The weight of a record is shared by the addresses
/// of its host.
fn weighted(records: &[Service], hosts: &Hosts) -> Vec<Found> {
    // Weight 0 has no meaning if all have it. Beside larger ones it means a very small chance.
    let all_zero = records.iter().all(|record| record.weight == 0);
    let mut shares: BTreeMap<SocketAddr, f64> = BTreeMap::new();
    for record in records {
        let addresses = hosts.get(&record.host).map_or(&[][..], Vec::as_slice);
        let weight = if all_zero {
            1.0
        } else {
            f64::from(record.weight)
        };
        for ip in addresses {
            let share = shares.entry(SocketAddr::new(*ip, record.port)).or_default();
            *share += weight / addresses.len() as f64;
        }
    }
    let most = shares.values().copied().fold(0.0, f64::max);
    let max = f64::from(MAX_WEIGHT);
    let fits = |share: &f64| share.fract() == 0.0 && (1.0..=max).contains(share);
    let scale = if shares.values().all(fits) || most == 0.0 {
        1.0
    } else {
        max / most
    };
    let weight = |share: f64| (share * scale).round().clamp(1.0, max) as u16;
    shares
        .into_iter()
        .map(|(addr, share)| (addr, Some(weight(share))))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use proptest::prelude::*;
    use tokio::net::UdpSocket;
    use tokio::time::sleep;

    use super::super::finder::Finder;
    use super::super::fixture::{OneServer, member, members};
    use super::*;
    use crate::config::{TargetAddress, TargetGroup, TargetSpec};
    use crate::state::fixture::{config, empty_group, publish};

    const NAME: &str = "_http._tcp.todo.example";

    fn record(priority: u16, weight: u16, port: u16, host: &str) -> Service {
        Service {
            priority,
            weight,
            port,
            host: host.to_owned(),
        }
    }

    fn hosts(list: &[(&str, &[u8])]) -> Hosts {
        let ips = |bytes: &[u8]| bytes.iter().map(|&n| [10, 0, 0, n].into()).collect();
        let host = |(name, bytes): &(&str, &[u8])| ((*name).to_owned(), ips(bytes));
        list.iter().map(host).collect()
    }

    fn weights(records: &[Service], hosts: &Hosts) -> Vec<(String, u16)> {
        let targets = weighted(records, hosts).into_iter();
        targets
            .map(|(addr, weight)| (addr.to_string(), weight.unwrap()))
            .collect()
    }

    #[test]
    fn weights_are_kept_if_they_fit_and_scaled_if_not() {
        let hosts = hosts(&[("a", &[1]), ("b", &[2]), ("c", &[3, 4])]);
        let of = |a, b| {
            let records = [record(0, a, 80, "a"), record(0, b, 81, "b")];
            weights(&records, &hosts)
                .into_iter()
                .map(|(_, weight)| weight)
                .collect::<Vec<_>>()
        };
        assert_eq!(of(1, 3), [1, 3]);
        assert_eq!(of(999, 1), [999, 1]);
        // RFC 2782 goes up to 65535.
        assert_eq!(of(60_000, 20_000), [999, 333]);
        assert_eq!(of(65_535, 1), [999, 1]);
        // Without any weight all are equal; beside others 0 is a very small chance.
        assert_eq!(of(0, 0), [1, 1]);
        assert_eq!(of(0, 1), [1, 999]);
    }

    #[test]
    fn a_host_with_two_addresses_counts_as_one() {
        let hosts = hosts(&[("a", &[1]), ("c", &[3, 4])]);
        let records = [record(0, 10, 80, "a"), record(0, 10, 80, "c")];
        let expected = [("10.0.0.1:80", 10), ("10.0.0.3:80", 5), ("10.0.0.4:80", 5)];
        assert_eq!(
            weights(&records, &hosts),
            expected.map(|(a, w)| (a.to_owned(), w))
        );
        // Two records that lead to one target are one target.
        let records = [record(0, 1, 80, "a"), record(0, 2, 80, "a")];
        assert_eq!(weights(&records, &hosts), [("10.0.0.1:80".to_owned(), 3)]);
    }

    proptest! {
        #[test]
        fn every_weight_is_legal_and_more_is_never_less(
            records in prop::collection::vec((any::<u16>(), 1_u8..20), 1..20),
        ) {
            let named = |n: usize| format!("h{n}");
            let one = |(n, (weight, _)): (usize, &(u16, u8))| record(0, *weight, 80, &named(n));
            let list: Vec<_> = records.iter().enumerate().map(one).collect();
            let ip = |n: usize| vec![IpAddr::from([10, 0, 1, n as u8])];
            let hosts: Hosts = (0..records.len()).map(|n| (named(n), ip(n))).collect();
            let targets = weighted(&list, &hosts);
            prop_assert_eq!(targets.len(), records.len());
            for ((_, weight), record) in targets.iter().zip(&list) {
                let weight = weight.unwrap();
                prop_assert!((1..=MAX_WEIGHT).contains(&weight));
                for ((_, other), heavier) in targets.iter().zip(&list) {
                    prop_assert!(heavier.weight < record.weight || other.unwrap() >= weight);
                }
            }
        }
    }

    /// What a fake DNS answers now; `None` is a failure, an empty list no such name.
    #[derive(Clone, Default)]
    struct FakeDns(Arc<Mutex<FakeRecords>>);

    #[derive(Clone, Default)]
    struct FakeRecords {
        records: Option<Vec<Service>>,
        hosts: BTreeMap<&'static str, Option<Vec<u8>>>,
        asked: usize,
    }

    impl FakeDns {
        fn set(&self, records: Option<Vec<Service>>, hosts: &[(&'static str, Option<&[u8]>)]) {
            let mut known = self.0.lock().unwrap();
            known.records = records;
            known.hosts = hosts
                .iter()
                .map(|(name, ips)| (*name, ips.map(<[u8]>::to_vec)))
                .collect();
        }
    }

    impl Resolve for FakeDns {
        async fn resolve(&self, name: &str) -> Result<HostAddresses, ResolveError> {
            let known = self.0.lock().unwrap();
            let bytes = match known.hosts.get(name) {
                None => return Err(ResolveError::NoAddress),
                Some(None) => return Err(ResolveError::NoServer),
                Some(Some(bytes)) => bytes,
            };
            Ok(HostAddresses {
                addresses: bytes.iter().map(|&n| [10, 0, 0, n].into()).collect(),
                ttl: Duration::from_secs(20),
            })
        }

        async fn services(&self, name: &str) -> Result<Services, ResolveError> {
            assert_eq!(name, NAME);
            let mut known = self.0.lock().unwrap();
            known.asked += 1;
            let records = known.records.clone().ok_or(ResolveError::NoServer)?;
            Ok(Services {
                records,
                ttl: Duration::from_secs(60),
            })
        }
    }

    fn group() -> TargetGroup {
        TargetGroup {
            targets: vec![TargetSpec {
                address: TargetAddress::Srv {
                    name: NAME.to_owned(),
                },
                weight: 1,
            }],
            ..empty_group()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn records_are_followed_with_the_shortest_time_to_live() {
        let fake = FakeDns::default();
        fake.set(
            Some(vec![record(10, 1, 8000, "a."), record(10, 2, 8001, "b.")]),
            &[("a.", Some(&[1])), ("b.", Some(&[2]))],
        );
        let (publisher, reader) = publish(vec![group()]).await;
        let mut owner = JoinSet::new();
        owner.spawn(
            Finder::new(fake.clone(), publisher.clone(), Arc::default()).run(reader.clone()),
        );
        sleep(Duration::from_secs(1)).await;
        let both = [member("10.0.0.1:8000", 1), member("10.0.0.2:8001", 2)];
        assert_eq!(members(&reader), both);
        // The addresses are valid for 20 s, the records for 60 s.
        sleep(Duration::from_secs(18)).await;
        assert_eq!(fake.0.lock().unwrap().asked, 1);
        // Another weight, and a host that is gone.
        fake.set(
            Some(vec![record(10, 5, 8000, "a."), record(10, 2, 8001, "b.")]),
            &[("a.", Some(&[1]))],
        );
        sleep(Duration::from_secs(2)).await;
        assert_eq!(members(&reader), [member("10.0.0.1:8000", 5)]);
        // The group leaves the file, and its targets with it.
        publisher.configure(config(Vec::new())).await.unwrap();
        assert!(reader.load_full().groups().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_lowest_priority_with_an_address_is_used() {
        let fake = FakeDns::default();
        let records = vec![record(20, 1, 80, "far."), record(10, 1, 80, "near.")];
        fake.set(Some(records.clone()), &[("far.", Some(&[9]))]);
        let (publisher, reader) = publish(vec![group()]).await;
        let mut owner = JoinSet::new();
        owner.spawn(Finder::new(fake.clone(), publisher, Arc::default()).run(reader.clone()));
        sleep(Duration::from_secs(1)).await;
        assert_eq!(members(&reader), [member("10.0.0.9:80", 1)]);
        fake.set(
            Some(records),
            &[("far.", Some(&[9])), ("near.", Some(&[1]))],
        );
        sleep(Duration::from_secs(60)).await;
        assert_eq!(members(&reader), [member("10.0.0.1:80", 1)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_cannot_be_resolved_keeps_its_addresses() {
        let fake = FakeDns::default();
        let records = vec![record(10, 1, 80, "a."), record(10, 1, 80, "b.")];
        fake.set(
            Some(records.clone()),
            &[("a.", Some(&[1])), ("b.", Some(&[2]))],
        );
        let (publisher, reader) = publish(vec![group()]).await;
        let mut owner = JoinSet::new();
        owner.spawn(Finder::new(fake.clone(), publisher, Arc::default()).run(reader.clone()));
        sleep(Duration::from_secs(1)).await;
        assert_eq!(members(&reader).len(), 2);
        // One host cannot be resolved, the other has moved.
        fake.set(Some(records), &[("a.", None), ("b.", Some(&[3]))]);
        sleep(Duration::from_secs(60)).await;
        let expected = [member("10.0.0.1:80", 1), member("10.0.0.3:80", 1)];
        assert_eq!(members(&reader), expected);
        // No records: a server that fails, then one that has none.
        for records in [None, Some(Vec::new())] {
            fake.set(records, &[]);
            let before = fake.0.lock().unwrap().asked;
            sleep(Duration::from_secs(600)).await;
            assert_eq!(members(&reader), expected);
            assert!(fake.0.lock().unwrap().asked > before + 15);
        }
    }

    /// A DNS server that answers every question for service records with two of them, and
    /// for an A record with the host's own number (RFC 1035, section 4; RFC 2782).
    async fn serve_dns(socket: UdpSocket) {
        let mut query = [0; 512];
        loop {
            let (length, from) = socket.recv_from(&mut query).await.unwrap();
            let labels = query[12..length].iter().position(|&byte| byte == 0);
            let end = 12 + labels.unwrap() + 5;
            let records: Vec<Vec<u8>> = match query[end - 4..end] {
                [0, 33, 0, 1] => vec![srv_record(10, 3, 8000, b'1'), srv_record(10, 1, 8001, b'2')],
                // The first label is one letter: '1' or '2'.
                [0, 1, 0, 1] => {
                    let number = query[13] - b'0';
                    vec![[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, 0, number].to_vec()]
                }
                _ => Vec::new(),
            };
            let mut reply = query[..end].to_vec();
            reply[2..4].copy_from_slice(&[0x81, 0x80]);
            reply[4..12].copy_from_slice(&[0, 1, 0, records.len() as u8, 0, 0, 0, 0]);
            reply.extend(records.concat());
            socket.send_to(&reply, from).await.unwrap();
        }
    }

    /// A record with the host `NUMBER.example`.
    fn srv_record(priority: u8, weight: u8, port: u16, number: u8) -> Vec<u8> {
        let [high, low] = port.to_be_bytes();
        let mut host = vec![1, number, 7];
        host.extend(b"example\0");
        let length = 6 + host.len() as u8;
        let mut record = vec![0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 60, 0, length];
        record.extend([0, priority, 0, weight, high, low]);
        record.extend(host);
        record
    }

    #[tokio::test]
    async fn a_real_servers_records_become_targets() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let resolver = OneServer(socket.local_addr().unwrap());
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_dns(socket));
        let (publisher, mut reader) = publish(vec![group()]).await;
        tasks.spawn(Finder::new(resolver, publisher, Arc::default()).run(reader.clone()));
        reader.changed().await;
        let expected = [member("10.0.0.1:8000", 3), member("10.0.0.2:8001", 1)];
        assert_eq!(members(&reader), expected);
    }
}
