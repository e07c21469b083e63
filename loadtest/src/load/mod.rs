//! What is sent, and when: sources of arrivals.
//!
//! Invariants: each producer has a source of its own and cameras of its own, so a camera's sequence numbers rise in the order in
//! which they are sent. What a source gives follows from its seed alone.

mod azure;
mod synthetic;
mod tenants;

use std::collections::HashMap;
use std::time::Duration;

pub(crate) use azure::{AzureTrace, Spread};
pub(crate) use synthetic::{Choice, Synthetic};
pub(crate) use tenants::Tenants;

/// One debit that is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    /// The camera's number in its organization, from 0; it is also its slot.
    pub(crate) camera: u32,
    /// Its sequence number at its camera.
    pub(crate) seq: u64,
    /// Tokens.
    pub(crate) tokens: u32,
}

/// When a request is to be sent, and for which organization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// Since the start of the run; nothing is waited for in a closed loop.
    pub(crate) at: Duration,
    /// The organization's number, from 0.
    pub(crate) organization: usize,
}

/// Gives one request after the other.
pub(crate) trait Source: Send {
    /// Fills `items` with the next request and says when and for whom it is; none after the last.
    fn next(&mut self, items: &mut Vec<Item>) -> Option<Arrival>;
}

/// A source whose sequence numbers lie above those of the loads before it.
pub(crate) struct Above {
    /// What is sent.
    pub(crate) source: Box<dyn Source>,
    /// What is added to each number.
    pub(crate) base: u64,
}

impl Source for Above {
    fn next(&mut self, items: &mut Vec<Item>) -> Option<Arrival> {
        let arrival = self.source.next(items);
        for item in items {
            item.seq += self.base;
        }
        arrival
    }
}

/// The next sequence number of each camera of one producer.
#[derive(Debug, Default)]
pub(crate) struct Sequences {
    next: HashMap<(usize, u32), u64>,
}

impl Sequences {
    /// Takes the next number of a camera.
    pub(crate) fn take(&mut self, organization: usize, camera: u32) -> u64 {
        let next = self.next.entry((organization, camera)).or_default();
        *next += 1;
        *next
    }
}

/// The cameras of producer `producer` of `producers`, out of `cameras`: the one at `place` of its own.
pub(crate) fn own_camera(place: u64, (producer, producers): (u64, u64), cameras: u64) -> u32 {
    let own = (cameras + producers - 1 - producer) / producers;
    let place = place % own.max(1);
    u32::try_from(producer + place * producers).expect("cameras are below 2^32")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn producers_share_the_cameras_without_sharing_one() {
        let mut seen = [0; 10];
        for producer in 0..3 {
            for place in 0..4 {
                let camera = own_camera(place, (producer, 3), 10);
                seen[usize::try_from(camera).expect("small")] |= 1 << producer;
            }
        }
        assert!(seen.iter().all(|producers: &u32| producers.count_ones() == 1), "{seen:?}");
    }
}
