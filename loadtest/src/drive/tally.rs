//! What came back: latencies, outcomes, and what was acknowledged for each organization.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::load::Item;
use crate::target::Verdict;

/// Digits of a latency that are kept.
const DIGITS: u8 = 3;

/// What a target acknowledged for one organization.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Acknowledged {
    /// Debits charged.
    pub(crate) debits: u64,
    /// Tokens charged.
    pub(crate) tokens: u64,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Latencies of requests, in nanoseconds.
    pub(crate) latencies: Histogram<u64>,
    /// Debits by outcome.
    pub(crate) outcomes: BTreeMap<String, u64>,
    /// What was acknowledged, by organization.
    pub(crate) acknowledged: BTreeMap<usize, Acknowledged>,
    /// From the first request to the last reply.
    pub(crate) took: Duration,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            latencies: Histogram::new(DIGITS).expect("a small number of digits"),
            outcomes: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            took: Duration::ZERO,
        }
    }
}

impl Tally {
    /// Notes how long a request took, in nanoseconds.
    pub(crate) fn note(&mut self, latency: u64) {
        self.latencies.record(latency.max(1)).expect("a histogram that grows takes every value");
    }

    /// Counts what became of the debits of a request.
    pub(crate) fn count(&mut self, organization: usize, items: &[Item], verdicts: &[Verdict]) {
        let mut charged = Acknowledged::default();
        let (mut exempt, mut duplicate) = (0, 0);
        for (item, verdict) in items.iter().zip(verdicts) {
            match verdict {
                Verdict::Charged => {
                    charged.debits += 1;
                    charged.tokens += u64::from(item.tokens);
                }
                Verdict::Exempt => exempt += 1,
                Verdict::Duplicate => duplicate += 1,
                Verdict::Refused(code) => self.add(code, 1),
            }
        }
        for (name, count) in [("charged", charged.debits), ("exempt", exempt), ("duplicate", duplicate)] {
            self.add(name, count);
        }
        let sums = self.acknowledged.entry(organization).or_default();
        sums.debits += charged.debits;
        sums.tokens += charged.tokens;
    }

    /// Adds what another one noted.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.latencies.add(&other.latencies).expect("a histogram that grows takes every other");
        for (name, count) in &other.outcomes {
            self.add(name, *count);
        }
        for (organization, sums) in &other.acknowledged {
            let own = self.acknowledged.entry(*organization).or_default();
            own.debits += sums.debits;
            own.tokens += sums.tokens;
        }
    }

    /// Debits that were answered, whatever with.
    pub(crate) fn debits(&self) -> u64 {
        self.outcomes.values().sum()
    }

    /// Debits that were charged.
    pub(crate) fn charged(&self) -> u64 {
        self.outcomes.get("charged").copied().unwrap_or(0)
    }

    fn add(&mut self, name: &str, count: u64) {
        match self.outcomes.get_mut(name) {
            Some(counted) => *counted += count,
            None if count > 0 => drop(self.outcomes.insert(name.to_owned(), count)),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    #[test]
    fn only_what_was_charged_counts_as_acknowledged() {
        let items: Vec<_> = (1..=4).map(|tokens| Item { camera: 0, seq: 1, tokens }).collect();
        let refused = Verdict::Refused(Cow::Borrowed("busy"));
        let mut tally = Tally::default();
        tally.count(3, &items, &[Verdict::Charged, Verdict::Duplicate, refused, Verdict::Charged]);
        let mut all = Tally::default();
        all.merge(&tally);
        all.merge(&tally);
        assert_eq!(all.acknowledged[&3], Acknowledged { debits: 4, tokens: 10 });
        assert_eq!((all.debits(), all.charged(), all.outcomes["busy"]), (8, 4, 2));
    }
}
