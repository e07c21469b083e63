//! The present burn rate: tokens charged in the last quarter of an hour, by minute.
//!
//! Estimated Camera AI Analytics is the time that the available tokens last at that rate:
//! `available * window / burned`, where the window is the time since the first charge in it, at least one minute
//! and at most 15. It is null when nothing was charged in the window.

use serde::{Deserialize, Serialize};

use super::time::Timestamp;
use super::tokens::Tokens;

const MINUTE_MS: u64 = 60_000;
const MINUTES: u64 = 15;

/// Tokens charged by minute, for the newest 15 minutes in which anything was charged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Burn {
    /// Tokens of the minute `m` stand at `m % 15`.
    minutes: [u64; 15],
    /// The newest minute, counted from the Unix epoch.
    newest: u64,
}

/// What was burned, and in which time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BurnRate {
    /// Tokens charged in the window.
    pub tokens: Tokens,
    /// Length of the window in milliseconds.
    pub window_ms: u64,
}

impl BurnRate {
    /// How long `available` lasts at this rate, in milliseconds; `None` when nothing burns.
    #[must_use]
    pub fn time_left_ms(self, available: Tokens) -> Option<u64> {
        let left =
            (u128::from(available.0) * u128::from(self.window_ms)).checked_div(u128::from(self.tokens.0))?;
        Some(u64::try_from(left).unwrap_or(u64::MAX))
    }
}

impl Burn {
    /// Counts `tokens` charged at `at`.
    #[inline]
    pub fn add(&mut self, tokens: u64, at: Timestamp) {
        let minute = at.ms() / MINUTE_MS;
        if minute > self.newest {
            self.advance(minute);
        }
        self.minutes[place(self.newest)] += tokens;
    }

    /// The rate at `now`.
    #[must_use]
    pub fn rate(&self, now: Timestamp) -> BurnRate {
        let current = (now.ms() / MINUTE_MS).max(self.newest);
        let oldest = (current + 1).saturating_sub(MINUTES);
        let kept = (oldest.max((self.newest + 1).saturating_sub(MINUTES))..=self.newest)
            .map(|minute| (minute, self.minutes[place(minute)]));
        let burned: Vec<_> = kept.filter(|(_, tokens)| *tokens > 0).collect();
        let tokens = Tokens(burned.iter().map(|(_, tokens)| tokens).sum());
        let since_ms = burned.first().map_or(0, |(minute, _)| minute * MINUTE_MS);
        let elapsed = now.ms().saturating_sub(since_ms);
        BurnRate { tokens, window_ms: elapsed.clamp(MINUTE_MS, MINUTES * MINUTE_MS) }
    }

    fn advance(&mut self, minute: u64) {
        let skipped = (minute - self.newest).min(MINUTES);
        for gone in 0..skipped {
            self.minutes[place(minute - gone)] = 0;
        }
        self.newest = minute;
    }
}

fn place(minute: u64) -> usize {
    usize::try_from(minute % MINUTES).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minute(n: u64) -> Timestamp {
        Timestamp::from_ms((28_000_000 + n) * MINUTE_MS).expect("in range")
    }

    #[test]
    fn time_left_follows_the_burn_of_the_last_quarter_of_an_hour() {
        let mut burn = Burn::default();
        assert_eq!(burn.rate(minute(0)).time_left_ms(Tokens(100)), None);
        burn.add(10, minute(0));
        burn.add(10, minute(1));
        let rate = burn.rate(minute(2));
        assert_eq!((rate.tokens, rate.window_ms), (Tokens(20), 2 * MINUTE_MS));
        assert_eq!(rate.time_left_ms(Tokens(100)), Some(10 * MINUTE_MS));
        assert_eq!(burn.rate(minute(15)).tokens, Tokens(10));
        assert_eq!(burn.rate(minute(16)).time_left_ms(Tokens(100)), None);
    }

    #[test]
    fn a_clock_that_steps_back_never_loses_the_burn() {
        let mut burn = Burn::default();
        burn.add(10, minute(5));
        burn.add(10, minute(1));
        assert_eq!(burn.rate(minute(5)).tokens, Tokens(20));
        assert_eq!(burn.rate(minute(1)).tokens, Tokens(20));
    }
}
