//! Points in time and spans, in whole milliseconds. The clock itself is elsewhere: rules get `now` as an argument.

use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

use super::limits::TIMESTAMP_MS_MAX;
use super::refusal::Invalid;

/// A point in time: milliseconds since the Unix epoch, after it and before the year 10000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Timestamp(NonZeroU64);

impl Timestamp {
    /// The first representable point: one millisecond after the Unix epoch.
    pub const FIRST: Self = Self(NonZeroU64::MIN);

    /// The point `ms` milliseconds after the Unix epoch.
    ///
    /// # Errors
    /// When `ms` is zero or past the year 9999.
    pub fn from_ms(ms: u64) -> Result<Self, Invalid> {
        match NonZeroU64::new(ms) {
            Some(inside) if ms <= TIMESTAMP_MS_MAX => Ok(Self(inside)),
            _ => Err(Invalid::Time),
        }
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub fn ms(self) -> u64 {
        self.0.get()
    }

    /// The point `ms` later, at most the last representable one.
    #[must_use]
    pub fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms).min(LAST))
    }

    /// The point `ms` earlier, at least the first representable one.
    #[must_use]
    pub fn minus_ms(self, ms: u64) -> Self {
        Self(NonZeroU64::new(self.ms().saturating_sub(ms)).unwrap_or(NonZeroU64::MIN))
    }
}

impl TryFrom<u64> for Timestamp {
    type Error = Invalid;
    fn try_from(ms: u64) -> Result<Self, Invalid> {
        Self::from_ms(ms)
    }
}

impl From<Timestamp> for u64 {
    fn from(time: Timestamp) -> Self {
        time.ms()
    }
}

const LAST: NonZeroU64 = match NonZeroU64::new(TIMESTAMP_MS_MAX) {
    Some(ms) => ms,
    None => NonZeroU64::MAX,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_stay_inside_what_is_representable() {
        assert_eq!(Timestamp::from_ms(0), Err(Invalid::Time));
        assert_eq!(Timestamp::from_ms(TIMESTAMP_MS_MAX + 1), Err(Invalid::Time));
        let time = Timestamp::from_ms(1_000).expect("in range");
        assert_eq!(time.minus_ms(5_000), Timestamp::FIRST);
        assert_eq!(time.plus_ms(u64::MAX).ms(), TIMESTAMP_MS_MAX);
    }
}
