//! What became of a replayed trace, counted in debits and in tokens.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::domain::debit::FirstOutcome;

use super::output::{number, table};
use super::replay_target::{Item, Verdict};

/// A count of debits and their tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Count {
    /// Debits.
    pub(super) debits: u64,
    /// Their tokens.
    pub(super) tokens: u64,
}

/// What became of each row. Every row that was read is in exactly one count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Tally {
    /// Charged now.
    pub(super) charged: Count,
    /// Exempt now, under an Unlimited AI License.
    pub(super) exempt: Count,
    /// Charged before, found to be a duplicate.
    pub(super) duplicates_charged: Count,
    /// Exempt before, found to be a duplicate.
    pub(super) duplicates_exempt: Count,
    /// Refused for good, by code.
    pub(super) refused: BTreeMap<String, Count>,
    /// Not sent, because their camera was charged for a far higher number before.
    pub(super) skipped: Count,
}

impl Count {
    /// Counts one debit of `tokens`.
    pub(super) fn add(&mut self, tokens: u64) {
        self.debits += 1;
        self.tokens += tokens;
    }

    fn plus(self, other: Self) -> Self {
        Self { debits: self.debits + other.debits, tokens: self.tokens + other.tokens }
    }
}

impl Tally {
    /// Counts what became of `item`.
    pub(super) fn add(&mut self, item: &Item, verdict: &Verdict) {
        let count = match verdict {
            Verdict::Charged => &mut self.charged,
            Verdict::Exempt => &mut self.exempt,
            Verdict::Duplicate(FirstOutcome::Charged) => &mut self.duplicates_charged,
            Verdict::Duplicate(FirstOutcome::Exempt) => &mut self.duplicates_exempt,
            Verdict::Refused { code, .. } => self.refused.entry(code.clone()).or_default(),
        };
        count.add(item.tokens);
    }

    /// All refused together.
    pub(super) fn refused(&self) -> Count {
        self.refused.values().fold(Count::default(), |sum, count| sum.plus(*count))
    }

    /// All duplicates together.
    pub(super) fn duplicates(&self) -> Count {
        self.duplicates_charged.plus(self.duplicates_exempt)
    }

    /// Everything that is charged to the pool: now, or before by a debit that got no answer.
    pub(super) fn all_charged(&self) -> Count {
        self.charged.plus(self.duplicates_charged)
    }

    /// Everything that is exempt: now, or before.
    pub(super) fn all_exempt(&self) -> Count {
        self.exempt.plus(self.duplicates_exempt)
    }

    /// Every row.
    pub(super) fn rows(&self) -> Count {
        self.all_charged().plus(self.all_exempt()).plus(self.refused()).plus(self.skipped)
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let line = |name: &str, count: Count| [name.to_owned(), number(count.debits), number(count.tokens)];
        let mut lines = vec![
            line("rows", self.rows()),
            line("charged", self.charged),
            line("exempt", self.exempt),
            line("duplicate (charged before)", self.duplicates_charged),
            line("duplicate (exempt before)", self.duplicates_exempt),
            line("skipped (below the newest charged)", self.skipped),
        ];
        lines.extend(self.refused.iter().map(|(code, count)| line(&format!("refused: {code}"), *count)));
        table(["", "debits", "tokens"], &lines)
    }
}
