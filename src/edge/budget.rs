//! Room for what callers send: bounded over both edges, and for each API key.
//!
//! Without it, as many bodies as there are connections would have to fit into memory. Room is taken for what arrives, not for what is
//! announced. What is full is told, never waited for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::Config;
use crate::meter::ActorId;

/// The bytes that may be held at once.
#[derive(Debug)]
pub struct Budget {
    all_max: u64,
    key_max: u64,
    held: Mutex<Held>,
}

/// The bytes that are held.
#[derive(Debug, Default)]
struct Held {
    all: u64,
    by_key: HashMap<ActorId, u64>,
}

/// Room that the bearer of a key takes; it is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Room {
    budget: Arc<Budget>,
    key: ActorId,
    bytes: u64,
}

/// No more room: of this key, or of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full {
    /// The bytes that may be held.
    pub(super) limit: u64,
}

impl Budget {
    /// The configured one: of one key a quarter of all, and at least one body or message.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let one = config.body_bytes_max.max(config.grpc_message_bytes_max);
        let key_max = (config.bodies_bytes_max / 4).max(one);
        Self { all_max: config.bodies_bytes_max.max(one), key_max, held: Mutex::default() }
    }

    /// Room of the bearer of a key; none is taken yet.
    pub(super) fn room(self: &Arc<Self>, key: ActorId) -> Room {
        Room { budget: Arc::clone(self), key, bytes: 0 }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    /// How much it is.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes more.
    ///
    /// # Errors
    /// When too much is held already; then nothing more is taken.
    pub(super) fn grow(&mut self, bytes: u64) -> Result<(), Full> {
        let mut held = self.budget.held();
        let of_key = held.by_key.get(&self.key).copied().unwrap_or(0).saturating_add(bytes);
        let all = held.all.saturating_add(bytes);
        for (sum, limit) in [(of_key, self.budget.key_max), (all, self.budget.all_max)] {
            if sum > limit {
                return Err(Full { limit });
            }
        }
        held.all = all;
        held.by_key.insert(self.key.clone(), of_key);
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut held = self.budget.held();
        held.all -= self.bytes;
        if let Some(of_key) = held.by_key.get_mut(&self.key) {
            *of_key -= self.bytes;
            if *of_key == 0 {
                held.by_key.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str) -> ActorId {
        ActorId::new(id).expect("valid")
    }

    #[test]
    fn one_key_has_a_quarter_all_have_everything_and_what_is_dropped_is_free() {
        let mut config = Config::new("unused");
        (config.bodies_bytes_max, config.body_bytes_max, config.grpc_message_bytes_max) = (400, 10, 20);
        let budget = Arc::new(Budget::new(&config));
        let mut rooms: Vec<_> = ["a", "b", "c", "d"].map(|id| budget.room(key(id))).into();
        rooms.iter_mut().for_each(|room| room.grow(100).expect("a quarter"));
        assert_eq!(budget.room(key("a")).grow(1), Err(Full { limit: 100 }));
        assert_eq!(budget.room(key("e")).grow(1), Err(Full { limit: 400 }));
        rooms.pop();
        assert_eq!(budget.room(key("e")).grow(100), Ok(()));
        rooms.clear();
        assert!(budget.held().by_key.is_empty() && budget.held().all == 0);
    }

    #[test]
    fn the_longest_body_always_fits_into_an_empty_budget() {
        let mut config = Config::new("unused");
        (config.bodies_bytes_max, config.body_bytes_max, config.grpc_message_bytes_max) = (400, 300, 500);
        let budget = Arc::new(Budget::new(&config));
        assert_eq!(budget.room(key("a")).grow(500), Ok(()));
    }
}
