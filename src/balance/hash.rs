//! Hashes that are the same in every instance.
//!
//! The seed is part of the contract: two instances of Weir, of any version and on
//! any machine, must send a key to the same target. Nothing here may depend on the
//! process, the roster's order or the build.

use std::net::IpAddr;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::model::{ClientAddress, Endpoint};

/// "weir" in ASCII. Changing it moves every key of every user.
const SEED: u64 = 0x7765_6972;

/// The hash of a request's key, for [`super::PickContext::key`].
pub fn hash_key(bytes: &[u8]) -> u64 {
    xxh3_64_with_seed(bytes, SEED)
}

/// The hash of a client's address.
///
/// An IPv6 client counts as its /64: one household, or one host that changes its
/// interface identifier every day (RFC 8981). An IPv4 address mapped into IPv6 is
/// the same client as the plain one. All clients without an address are one.
pub fn hash_client(client: ClientAddress) -> u64 {
    match client.canonical_ip() {
        Some(IpAddr::V4(address)) => hash_key(&address.octets()),
        Some(IpAddr::V6(address)) => hash_key(&address.octets()[..8]),
        None => hash_key(ClientAddress::UNIX.as_bytes()),
    }
}

/// The identity of a target for every instance: its address, or the text of its Unix socket,
/// and nothing else.
pub fn hash_target(target: &Endpoint) -> u64 {
    let address = match target {
        Endpoint::Address(address) => address,
        Endpoint::Unix(path) => return hash_key(path.as_text().as_bytes()),
    };
    let mut bytes = [0; 18];
    bytes[..16].copy_from_slice(&match address.ip() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    });
    bytes[16..].copy_from_slice(&address.port().to_be_bytes());
    hash_key(&bytes)
}

/// A number below `n` that a request draws at a target, always the same for these bits:
/// the hash of its key, or random ones. Says nothing about whether `consistent_hash` sends
/// the key there.
pub fn lot(bits: u64, target: &Endpoint, n: u32) -> u32 {
    scale(mix(mix(bits) ^ hash_target(target)), n as usize) as u32
}

/// A bijection that spreads every input bit over the whole word (the finalizer of
/// `SplitMix64`: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number
/// Generators", 2014).
pub(super) fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

/// `word`, seen as a fraction of 2^64, times `n`: uniform below `n` if `word` is
/// uniform, and much cheaper than a remainder (Lemire, "Fast Random Integer
/// Generation in an Interval", 2019).
pub(super) fn scale(word: u64, n: usize) -> usize {
    ((u128::from(word) * n as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_never_change_between_versions() {
        assert_eq!(hash_key(b""), 3_985_879_818_411_753_575);
        assert_eq!(hash_key(b"todo"), 3_416_037_780_240_237_690);
        let target = hash_target(&"10.0.0.1:6400".parse().unwrap());
        assert_eq!(target, 18_363_933_571_644_215_464);
        let unix = hash_target(&"unix:/run/app.sock".parse().unwrap());
        assert_eq!(unix, hash_key(b"unix:/run/app.sock"));
        assert_eq!(mix(0), 0xE220_A839_7B1D_CDAF);
    }

    #[test]
    fn a_client_is_its_v4_address_or_its_v6_network() {
        let hash = |text: &str| hash_client(ClientAddress::Ip(text.parse().unwrap()));
        assert_eq!(hash("::ffff:192.0.2.1"), hash("192.0.2.1"));
        assert_eq!(hash("2001:db8::1"), hash("2001:db8::ffff:2"));
        assert_ne!(hash("2001:db8::1"), hash("2001:db8:0:1::1"));
        assert_ne!(hash("192.0.2.1"), hash("192.0.2.2"));
    }

    #[test]
    fn scaling_reaches_both_ends_and_no_further() {
        assert_eq!((scale(0, 7), scale(u64::MAX, 7)), (0, 6));
    }
}
