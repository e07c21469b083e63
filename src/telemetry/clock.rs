//! The clock. Nothing else in the engine reads one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::domain::time::Timestamp;

/// Tells the time.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The machine's clock.
    #[default]
    System,
    /// A clock that stands where it was set; milliseconds since the Unix epoch.
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// A clock that stands at `now` until it is set.
    #[must_use]
    pub fn manual(now: Timestamp) -> (Self, Arc<AtomicU64>) {
        let hand = Arc::new(AtomicU64::new(now.ms()));
        (Self::Manual(Arc::clone(&hand)), hand)
    }

    /// The present time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let ms = match self {
            Self::System => system_ms(),
            Self::Manual(hand) => hand.load(Ordering::Relaxed),
        };
        Timestamp::from_ms(ms).unwrap_or(Timestamp::FIRST)
    }
}

/// A moment to measure a duration from.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this file is where clocks are read")]
pub fn start() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "this file is where clocks are read")]
fn system_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}
