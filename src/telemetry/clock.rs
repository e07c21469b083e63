//! The clock. Nothing else in the engine reads one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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

/// Tells how much time has passed. It never falls, and no one sets it; whether it runs while the machine sleeps is the system's choice.
#[derive(Clone, Debug)]
pub enum Monotonic {
    /// The machine's, from this moment on.
    System(Instant),
    /// One that stands where it was set, in nanoseconds.
    Manual(Arc<AtomicU64>),
}

impl Monotonic {
    /// The machine's.
    #[must_use]
    pub fn system() -> Self {
        Self::System(start())
    }

    /// A clock that stands at 0 until it is set.
    #[must_use]
    pub fn manual() -> (Self, Arc<AtomicU64>) {
        let hand = Arc::new(AtomicU64::new(0));
        (Self::Manual(Arc::clone(&hand)), hand)
    }

    /// Nanoseconds that have passed.
    #[inline]
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        match self {
            Self::System(since) => ns(since.elapsed()),
            Self::Manual(hand) => hand.load(Ordering::Relaxed),
        }
    }
}

/// A duration in nanoseconds; the longest that can be told stands for all that are longer.
#[inline]
#[must_use]
pub fn ns(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(duration.subsec_nanos().into())
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
