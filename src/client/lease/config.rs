//! How a lease is taken, spent and reported.

use std::time::Duration;

use crate::client::error::Error;
use crate::domain::limits::{LEASE_TOKENS_MAX, RESERVATION_MS_MAX, RESERVATION_MS_MIN};
use crate::domain::refusal::Invalid;
use crate::telemetry::clock::Monotonic;

/// How a lease is taken, spent and reported. Start from [`LeaseConfig::new`] and change what you need.
#[derive(Clone, Debug)]
pub struct LeaseConfig {
    /// Tokens of a lease, 1 to 2^40 - 1. More than the largest debit; what a crash of the gateway may leave uncharged is bounded by
    /// twice as many.
    pub tokens: u64,
    /// How long the server holds a lease, 1 second to 24 hours. It is spent for seven eighths of it. Default: 60 s.
    pub ttl: Duration,
    /// Another lease is taken when fewer tokens are left, at most half of the lease, or half of its time is over. Default: a quarter
    /// of the tokens.
    pub renew_below: u64,
    /// For how much longer than its time a lease is spent when no other was granted. What is reported after the lease ended at
    /// the server is paid by the pool, if that has as much. Default: none.
    pub grace: Duration,
    /// What happens to debits while the meter is unreachable and no lease can pay them. Default: they are refused.
    pub when_unreachable: WhenUnreachable,
    /// Most debits that are held until they are answered, 1 to 4,194,303, about 60 bytes each. Default: 65,536.
    pub record_debits: usize,
    /// How long a debit waits for others before it is reported. Default: 5 ms.
    pub report_every: Duration,
    /// How long the meter has to answer a call before it counts as unreachable. Default: 2 s.
    pub answer_timeout: Duration,
    /// Tells how much time has passed. Default: the machine's clock, which no one sets.
    pub clock: Monotonic,
}

/// What happens to debits while the meter is unreachable and no lease can pay them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenUnreachable {
    /// They are refused.
    #[default]
    Refuse,
    /// They are granted without anything that pays for them, and reported to the pool as soon as it is reached.
    Grant {
        /// Most tokens that are granted so and not answered yet.
        tokens_max: u64,
    },
}

impl LeaseConfig {
    /// The defaults, for leases of so many tokens.
    #[must_use]
    pub fn new(tokens: u64) -> Self {
        Self {
            tokens,
            ttl: Duration::from_secs(60),
            renew_below: tokens / 4,
            grace: Duration::ZERO,
            when_unreachable: WhenUnreachable::Refuse,
            record_debits: 65_536,
            report_every: Duration::from_millis(5),
            answer_timeout: Duration::from_secs(2),
            clock: Monotonic::system(),
        }
    }

    /// # Errors
    /// When tokens or time are out of the bounds of a lease.
    pub(super) fn check(&self) -> Result<(), Error> {
        if !(1..=LEASE_TOKENS_MAX).contains(&self.tokens) {
            return Err(Invalid::Reserved.into());
        }
        let ttl_ms = u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX);
        let fits = (RESERVATION_MS_MIN..=RESERVATION_MS_MAX).contains(&ttl_ms);
        if fits { Ok(()) } else { Err(Invalid::TimeToLive.into()) }
    }
}

impl WhenUnreachable {
    pub(super) fn tokens_max(self) -> u64 {
        match self {
            Self::Refuse => 0,
            Self::Grant { tokens_max } => tokens_max,
        }
    }
}
