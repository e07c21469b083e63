//! Hashes that are stored: the same for ever, on every machine.
//!
//! Event ids are hashed with SipHash-2-4 (Aumasson and Bernstein, 2012) under a secret of the organization, because
//! their bytes are chosen by others. Content prints tell other content from the same content and need not
//! resist an attacker: whoever can send a debit can also send another id.

use std::hash::Hasher as _;

use siphasher::sip::SipHasher24;

use super::ids::{OrgId, Slot};
use super::time::Timestamp;

/// The secret under which an organization's event ids are hashed.
pub type HashSecret = (u64, u64);

/// The hash by which the pool remembers an event id of a camera.
#[must_use]
pub fn event_id(secret: HashSecret, slot: Slot, id: &[u8]) -> u64 {
    let mut hasher = SipHasher24::new_with_keys(secret.0, secret.1);
    hasher.write(&slot.0.to_le_bytes());
    hasher.write(id);
    hasher.finish()
}

/// A 16-bit print of a debit's content: its amount, what that is an amount of, and its time where it bears one.
#[inline]
#[must_use]
pub fn content_print(amount: u32, what: u8, time: Option<Timestamp>) -> u16 {
    let content = u64::from(amount) | u64::from(what) << 32;
    let mixed = (content ^ time.map_or(0, Timestamp::ms).rotate_left(29)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let folded = (mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let [.., high, higher] = folded.to_le_bytes();
    u16::from_le_bytes([high, higher])
}

/// The partition of an organization among `partitions`.
#[must_use]
pub fn partition(org: &OrgId, partitions: u16) -> u16 {
    let mut hasher = SipHasher24::new_with_keys(0, 0);
    hasher.write(org.as_str().as_bytes());
    u16::try_from(hasher.finish() % u64::from(partitions.max(1))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_hashes_never_change() {
        assert_eq!(event_id((1, 2), Slot(3), b"event"), 0xfc65_b370_5cce_6eba);
        assert_eq!(content_print(418, 0, None), 0x0982);
        assert_eq!(partition(&OrgId::new("acme").expect("valid"), 64), 16);
    }

    #[test]
    fn content_prints_tell_tokens_kinds_and_times_apart() {
        let time = Timestamp::from_ms(1_700_000_000_000).ok();
        let prints = [(1, 0, None), (2, 0, None), (1, 1, None), (1, 0, time)]
            .map(|(t, k, at)| content_print(t, k, at));
        for (i, print) in prints.iter().enumerate() {
            assert!(!prints[i + 1..].contains(print));
        }
    }
}
