//! Amounts of AI tokens: whole, never negative, checked.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An amount of AI tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tokens(pub u64);

impl Tokens {
    /// No tokens.
    pub const ZERO: Self = Self(0);

    /// The sum, or `None` when it does not fit.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The sum.
    ///
    /// # Panics
    /// When it does not fit: totals are bounded by `POOL_TOKENS_MAX`, so that is a broken invariant.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.checked_add(other).expect("I1: token totals fit 64 bits")
    }

    /// What remains after `other` is taken.
    ///
    /// # Panics
    /// When `other` is more than there is: that is a broken invariant (I2, no debt).
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self(self.0.checked_sub(other.0).expect("I2: a pool never goes below zero"))
    }
}

impl std::iter::Sum for Tokens {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::ZERO, Self::plus)
    }
}

impl From<u32> for Tokens {
    fn from(amount: u32) -> Self {
        Self(u64::from(amount))
    }
}

impl fmt::Display for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
