//! Calls without a known API key, counted for each address over both edges: who makes too many is told to wait.
//!
//! A known key is always taken, whoever else guesses from its address. A whole site may stand behind one address, and keys are 256
//! random bits: to lock an address out would protect nobody, and would let one fool, or whoever shares the address, stop
//! a customer. What is bounded is what guessing costs: the answer is short, and its connection is closed over HTTP.
//! The table is bounded as well. When as many addresses guess as it holds, it begins anew.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::limits::{GUESSES_MAX, GUESSES_WINDOW_MS, GUESSING_ADDRESSES_MAX};
use crate::telemetry::metric;

/// The low bits of an IPv6 address that its owner chooses.
const OWN_BITS: u32 = 64;

/// Who called without a known key of late.
#[derive(Debug, Default)]
pub struct Guesses {
    addresses: Mutex<HashMap<IpAddr, Window>>,
}

/// The calls of one address since a moment.
#[derive(Clone, Copy, Debug)]
struct Window {
    begun: Instant,
    calls: u32,
}

impl Guesses {
    /// Notes a call without a known key; answers with the seconds to wait when the address has made too many.
    pub(super) fn note(&self, address: IpAddr, now: Instant) -> Option<u64> {
        metric::unauthenticated();
        let window_length = Duration::from_millis(GUESSES_WINDOW_MS);
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let is_open = |window: &Window| now.saturating_duration_since(window.begun) < window_length;
        let address = owner(address);
        if addresses.len() >= GUESSING_ADDRESSES_MAX && !addresses.contains_key(&address) {
            addresses.retain(|_, window| is_open(window));
            if addresses.len() >= GUESSING_ADDRESSES_MAX {
                addresses.clear();
            }
        }
        let window = addresses.entry(address).or_insert(Window { begun: now, calls: 0 });
        if !is_open(window) {
            *window = Window { begun: now, calls: 0 };
        }
        window.calls = window.calls.saturating_add(1);
        let left = window_length.saturating_sub(now.saturating_duration_since(window.begun));
        (window.calls > GUESSES_MAX).then(|| left.as_secs() + 1)
    }
}

/// The address, or the network that one owner of IPv6 addresses has.
fn owner(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> OWN_BITS << OWN_BITS).into(),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::clock;

    fn address(number: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(number).into()
    }

    #[test]
    fn an_address_waits_after_too_many_until_its_window_ends_and_others_do_not() {
        let (guesses, now) = (Guesses::default(), clock::start());
        let last = (0..GUESSES_MAX).map(|_| guesses.note(address(1), now)).collect::<Vec<_>>();
        assert!(last.iter().all(Option::is_none));
        assert_eq!(guesses.note(address(1), now), Some(GUESSES_WINDOW_MS / 1_000 + 1));
        assert_eq!(guesses.note(address(2), now), None);
        let later = now + Duration::from_millis(GUESSES_WINDOW_MS);
        assert_eq!(guesses.note(address(1), later), None);
    }

    #[test]
    fn no_more_addresses_are_kept_than_may_be() {
        let (guesses, now) = (Guesses::default(), clock::start());
        for number in 0..u32::try_from(3 * GUESSING_ADDRESSES_MAX).expect("small") {
            guesses.note(address(number), now);
            assert!(guesses.addresses.lock().expect("no panic").len() <= GUESSING_ADDRESSES_MAX);
        }
    }

    #[test]
    fn addresses_of_one_owner_are_one() {
        let parsed = |text: &str| owner(text.parse().expect("an address"));
        assert_eq!(parsed("2001:db8::1"), parsed("2001:db8::ffff:1"));
        assert_ne!(parsed("2001:db8::1"), parsed("2001:db8:0:1::1"));
        assert_eq!(parsed("::ffff:10.0.0.1"), parsed("10.0.0.1"));
        assert_ne!(parsed("10.0.0.1"), parsed("10.0.0.2"));
    }
}
