//! Hashing: which members keep their keys, which get others, and how many.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;

use fastrand::Rng;
use weir::balance::{KeyTable, Member, PickContext, Picker, Roster, build, build_with, hash_key};
use weir::model::Algorithm;
use weir::target::Lease;

use super::{address, bounded, draw, member, roster, rosters, unbounded, with_key};

const KEYS: u64 = 20_000;

/// The member of each key, by address.
fn places(roster: &Arc<Roster>) -> Vec<SocketAddr> {
    let hash = Algorithm::ConsistentHash;
    places_by(&*build(hash, &unbounded(), Arc::clone(roster), 0), roster)
}

/// The same while the group has the table of another roster, or none.
fn places_with(table: Option<&Arc<KeyTable>>, roster: &Arc<Roster>) -> Vec<SocketAddr> {
    let (hash, policy) = (Algorithm::ConsistentHash, unbounded());
    let picker = build_with(hash, &policy, Arc::clone(roster), 0, table);
    places_by(&*picker, roster)
}

fn places_by(picker: &dyn Picker, roster: &Roster) -> Vec<SocketAddr> {
    let place = |key: u64| {
        let key = hash_key(&key.to_le_bytes());
        let index = picker.pick(&with_key(key)).unwrap();
        roster.members()[index].target.id.addr.address().unwrap()
    };
    (0..KEYS).map(place).collect()
}

/// A group of `len` targets and the same without the one at `lost`, of which the
/// latter knows that it is the same group with a failed target.
fn with_and_without(len: usize, lost: usize, weight: fn(usize) -> u16) -> [Arc<Roster>; 2] {
    let members: Vec<Member> = (0..len).map(|i| member(address(i), weight(i))).collect();
    let mut fewer = members.clone();
    fewer.remove(lost);
    let roster = |members| Arc::new(Roster::new(members).unwrap().drawn_from(len));
    [roster(members), roster(fewer)]
}

/// Keys that move between two members that are there both before and after.
fn moved_without_need(before: &[SocketAddr], after: &[SocketAddr], changed: SocketAddr) -> usize {
    before
        .iter()
        .zip(after)
        .filter(|(before, after)| before != after && **before != changed && **after != changed)
        .count()
}

#[test]
fn rendezvous_moves_only_the_keys_of_the_member_that_changes() {
    for weight in [|_| 1, |index| 1 + index as u16] {
        for (len, lost) in [(2, 0), (4, 3), (16, 7)] {
            let [all, fewer] = with_and_without(len, lost, weight).map(|roster| places(&roster));
            // Read from left to right a member leaves; from right to left it joins.
            assert_eq!(moved_without_need(&all, &fewer, address(lost)), 0);
            assert!(!fewer.contains(&address(lost)));
            assert!(all.contains(&address(lost)));
        }
    }
}

#[test]
fn maglev_moves_few_keys_of_members_that_stay() {
    // Two percent of all keys at most, for one member of a group of any size.
    for weight in [|_| 1, |index| 1 + (index % 5) as u16] {
        for (len, lost) in [(17, 3), (40, 39), (100, 50), (400, 0)] {
            let [all, fewer] = with_and_without(len, lost, weight).map(|roster| places(&roster));
            let moved = moved_without_need(&all, &fewer, address(lost));
            println!("{len}: {:.2} %", moved as f64 / KEYS as f64 * 100.0);
            assert!(moved < KEYS as usize / 50, "{len}: {moved} keys moved");
        }
    }
}

#[test]
fn with_an_earlier_table_lost_members_get_nothing_and_the_others_keep_their_keys() {
    for (len, lost) in [(17, 3), (100, 50), (400, 0)] {
        let rosters = with_and_without(len, lost, |index| 1 + (index % 3) as u16);
        let [all, fewer] = &rosters;
        let table = Arc::new(KeyTable::new(all));
        assert_eq!(places_with(Some(&table), all), places(all));
        let (before, meanwhile) = (places(all), places_with(Some(&table), fewer));
        assert!(!meanwhile.contains(&address(lost)));
        assert_eq!(moved_without_need(&before, &meanwhile, address(lost)), 0);
        let moved: Vec<_> = before
            .iter()
            .zip(&meanwhile)
            .filter(|(before, _)| **before == address(lost))
            .map(|(_, now)| now)
            .collect();
        let receivers: HashSet<_> = moved.iter().collect();
        let most = moved.len().min(len);
        assert!(receivers.len() > most / 4, "{} of {most}", receivers.len());
        // A new member has to wait for its keys, and no other notices.
        let table = Arc::new(KeyTable::new(fewer));
        assert_eq!(places_with(Some(&table), all), places(fewer));
    }
}

#[test]
fn without_a_table_that_fits_keys_go_where_every_member_is_asked() {
    let addresses = |from: usize| (from..from + 40).map(|i| member(address(i), 1)).collect();
    let [roster, other] = [0, 1000].map(|from| Arc::new(Roster::new(addresses(from)).unwrap()));
    let meanwhile = places_with(None, &roster);
    let table = Arc::new(KeyTable::new(&other));
    assert_eq!(places_with(Some(&table), &roster), meanwhile);
    let used: HashSet<_> = meanwhile.iter().collect();
    assert_eq!(used.len(), 40);
}

#[test]
fn a_table_knows_its_roster_whatever_the_order() {
    let members: Vec<Member> = (0..40).map(|i| member(address(i), 1)).collect();
    let roster = |members: Vec<Member>| Roster::new(members).unwrap();
    let table = KeyTable::new(&roster(members.clone()));
    let mut turned = members.clone();
    turned.rotate_left(7);
    assert!(table.is_of(&roster(turned)));
    let mut heavier = members.clone();
    heavier[3].weight = 2.try_into().unwrap();
    assert!(!table.is_of(&roster(heavier)));
    assert!(!table.is_of(&roster(members[1..].to_vec())));
    assert!(!table.is_of(&roster(members).drawn_from(1000)));
}

#[test]
fn hashing_shares_follow_the_weights() {
    for len in [8, 60] {
        let weights: Vec<u16> = (0..len).map(|index| 1 + index as u16 % 3).collect();
        let total: u16 = weights.iter().sum();
        let places = places(&roster(&weights));
        for (index, &weight) in weights.iter().enumerate() {
            let share = f64::from(weight) / f64::from(total);
            let expected = KEYS as f64 * share;
            // Five standard deviations of a binomial, and one percent for maglev's table.
            let tolerance = 5.0 * (expected * (1.0 - share)).sqrt() + expected / 100.0;
            let count = places.iter().filter(|&&p| p == address(index)).count() as f64;
            assert!((count - expected).abs() < tolerance, "{count} {expected}");
        }
    }
}

#[test]
fn all_instances_agree_whatever_the_order_of_their_rosters() {
    let mut rng = Rng::with_seed(22);
    for len in [5, 16, 17, 120] {
        let members: Vec<Member> = (0..len)
            .map(|index| member(address(index), rng.u16(1..=5)))
            .collect();
        let mut shuffled = members.clone();
        rng.shuffle(&mut shuffled);
        let [one, other] =
            [members, shuffled].map(|members| places(&Arc::new(Roster::new(members).unwrap())));
        assert_eq!(one, other);
    }
}

#[test]
fn a_failed_target_does_not_change_the_method() {
    // 17 registered targets hash by maglev; with one of them out, 16 would not.
    let [all, fewer] = with_and_without(17, 8, |_| 1).map(|roster| places(&roster));
    assert!(moved_without_need(&all, &fewer, address(8)) < KEYS as usize / 50);
}

#[test]
fn the_keys_of_a_lost_member_spread_over_the_others() {
    for (len, most) in [(8, KEYS / 8 / 3), (50, KEYS / 50 / 5)] {
        let [all, fewer] = with_and_without(len, 2, |_| 1).map(|roster| places(&roster));
        let lost = all
            .iter()
            .zip(&fewer)
            .filter(|(was, _)| **was == address(2));
        let mut heirs: Vec<SocketAddr> = lost.map(|(_, is)| *is).collect();
        heirs.sort_unstable();
        let largest = heirs.chunk_by(|a, b| a == b).map(<[_]>::len).max();
        assert!(
            largest.unwrap() < most as usize,
            "{largest:?} of {}",
            heirs.len()
        );
    }
}

#[test]
fn a_key_falls_back_the_same_way_every_time() {
    for len in [10, 50] {
        let roster = roster(&vec![1; len]);
        let picker = build(Algorithm::ConsistentHash, &unbounded(), roster, 0);
        let fall_back = |entropy| {
            let mut tried = Vec::new();
            for _ in 0..len {
                let ctx = PickContext {
                    entropy,
                    tried: &tried,
                    ..with_key(23)
                };
                tried.push(picker.pick(&ctx).unwrap());
            }
            tried
        };
        assert_eq!(fall_back(1), fall_back(2));
        assert_eq!(fall_back(1).iter().collect::<HashSet<_>>().len(), len);
    }
}

#[test]
fn a_request_without_a_key_goes_anywhere() {
    let roster = roster(&[1; 4]);
    let picker = build(Algorithm::ConsistentHash, &unbounded(), roster, 0);
    let mut rng = Rng::with_seed(24);
    let seen: HashSet<_> = (0..100)
        .map(|_| {
            let ctx = PickContext {
                key: None,
                ..draw(&mut rng)
            };
            picker.pick(&ctx)
        })
        .collect();
    assert_eq!(seen.len(), 4);
}

#[test]
fn bounded_load_never_exceeds_its_cap() {
    let mut rng = Rng::with_seed(25);
    for thousandths in [1000_u64, 1100, 1250, 2000] {
        for roster in rosters() {
            let policy = bounded(thousandths as f64 / 1000.0);
            let hash = Algorithm::ConsistentHash;
            let picker = build(hash, &policy, Arc::clone(&roster), 0);
            let weights = roster.members().iter().map(|m| u64::from(m.weight.get()));
            let all_weights: u64 = weights.sum();
            let mut leases: Vec<Lease> = Vec::new();
            for _ in 0..400 {
                if rng.u8(..) < 64 && !leases.is_empty() {
                    leases.swap_remove(rng.usize(..leases.len()));
                }
                // Three hot keys: without a bound they would all stay where they are.
                let index = picker.pick(&with_key(hash_key(&[rng.u8(..3)]))).unwrap();
                let member = &roster.members()[index];
                leases.push(member.target.lease());
                let share = thousandths * leases.len() as u64 * u64::from(member.weight.get());
                let cap = share.div_ceil(1000 * all_weights).max(1);
                assert!(u64::from(member.target.load().in_flight()) <= cap);
            }
        }
    }
}

#[test]
fn bounded_load_leaves_keys_alone_while_nobody_is_full() {
    let roster = roster(&[1; 12]);
    let hash = Algorithm::ConsistentHash;
    let free = build(hash, &unbounded(), Arc::clone(&roster), 0);
    let bound = build(hash, &bounded(1.25), roster, 0);
    let mut rng = Rng::with_seed(26);
    for _ in 0..1000 {
        let ctx = draw(&mut rng);
        assert_eq!(free.pick(&ctx), bound.pick(&ctx));
    }
}
