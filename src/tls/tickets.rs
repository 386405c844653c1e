//! Tickets by which a client takes up an earlier session: the state of the session, sealed, so that
//! Weir keeps none of it.
//!
//! The keys change every few hours and follow from the secret and the time, so that all Weirs with
//! one secret take each other's tickets without a word between them. A ticket is good for the
//! listener that made it and no other: one that asks for certificates of clients trusts what its
//! tickets say about them.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use aes_gcm_siv::Aes256GcmSiv;
use aes_gcm_siv::aead::{AeadInOut, KeyInit};
use rustls::server::ProducesTickets;
use sha2::{Digest, Sha256};

/// How long a key makes tickets, in seconds; it takes them for as long again. Short, because the
/// sessions of TLS 1.2 are no safer than the key of their tickets.
const KEY_LIFETIME: u64 = 6 * 60 * 60;

const NONCE: usize = 12;

/// Makes and opens the tickets of one listener.
pub(super) struct Tickets {
    /// Of the secret and what the tickets are good for.
    root: [u8; 32],
}

impl Tickets {
    /// Tickets that are good where `purpose` is the same.
    pub(super) fn new(secret: &[u8; 32], purpose: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        hash.update(secret);
        hash.update(b"tls tickets");
        for part in purpose {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Self {
            root: hash.finalize().into(),
        }
    }

    fn cipher(&self, period: u64) -> Aes256GcmSiv {
        let mut hash = Sha256::new();
        hash.update(self.root);
        hash.update(period.to_be_bytes());
        let key: [u8; 32] = hash.finalize().into();
        Aes256GcmSiv::new((&key).into())
    }

    fn seal(&self, plain: &[u8], period: u64) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).ok()?;
        let mut sealed = Vec::with_capacity(NONCE + plain.len() + 16);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plain);
        let tag = self.cipher(period).encrypt_inout_detached(
            (&nonce).into(),
            &[],
            (&mut sealed[NONCE..]).into(),
        );
        sealed.extend_from_slice(&tag.ok()?);
        Some(sealed)
    }

    fn open(&self, sealed: &[u8], period: u64) -> Option<Vec<u8>> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE>()?;
        let (body, tag) = rest.split_last_chunk::<16>()?;
        let mut plain = body.to_vec();
        let opened = self.cipher(period).decrypt_inout_detached(
            nonce.into(),
            &[],
            plain.as_mut_slice().into(),
            tag.into(),
        );
        opened.ok().map(|()| plain)
    }
}

/// Counts the lifetimes of keys.
fn period() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs() / KEY_LIFETIME)
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        KEY_LIFETIME as u32
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal(plain, period())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let now = period();
        // The clock of another Weir may be a little ahead.
        let periods = [Some(now), now.checked_sub(1), now.checked_add(1)];
        let mut periods = periods.into_iter().flatten();
        periods.find_map(|period| self.open(cipher, period))
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_good_for_its_secret_its_purpose_and_two_periods() {
        let tickets = Tickets::new(&[7; 32], &[b"web", b""]);
        let sealed = tickets.encrypt(b"session").unwrap();
        assert_eq!(tickets.decrypt(&sealed).unwrap(), b"session");
        let same = Tickets::new(&[7; 32], &[b"web", b""]);
        assert_eq!(same.decrypt(&sealed).unwrap(), b"session");
        for other in [
            Tickets::new(&[8; 32], &[b"web", b""]),
            Tickets::new(&[7; 32], &[b"we", b"b"]),
            Tickets::new(&[7; 32], &[b"web", b"authorities"]),
        ] {
            assert_eq!(other.decrypt(&sealed), None);
        }
        let old = tickets.seal(b"session", period() - 2).unwrap();
        assert_eq!(tickets.decrypt(&old), None);
        let mut forged = sealed.clone();
        *forged.last_mut().unwrap() ^= 1;
        assert_eq!(tickets.decrypt(&forged), None);
        assert_eq!(tickets.decrypt(&sealed[..20]), None);
    }
}
