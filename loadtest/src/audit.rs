//! Whether a target did what it acknowledged: the sums of both sides agree, organization by organization.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::drive::Acknowledged;
use crate::failure::Outcome;
use crate::target::Sums;

/// What an audit found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Audit {
    /// Whether everything agrees.
    pub(crate) holds: bool,
    /// Organizations looked at.
    pub(crate) organizations: usize,
    /// Debits that the target acknowledged as charged.
    pub(crate) debits: u64,
    /// Tokens that the target acknowledged as charged.
    pub(crate) tokens: u64,
    /// What does not agree.
    pub(crate) differences: Vec<String>,
}

/// Compares what was acknowledged with how the target's sums changed. All of it was made for this run, so they start at
/// nothing.
pub(crate) fn audit(acknowledged: &BTreeMap<usize, Acknowledged>, sums: &[Sums]) -> Audit {
    let mut differences = Vec::new();
    for (number, sums) in sums.iter().enumerate() {
        let own = acknowledged.get(&number).copied().unwrap_or_default();
        let mut compare = |what: &str, ours: u64, theirs: u64| {
            if ours != theirs {
                differences.push(format!(
                    "organization {number}: {what}: {ours} acknowledged, {theirs} in its summary"
                ));
            }
        };
        compare("debits charged", own.debits, sums.debits);
        compare("tokens charged", own.tokens, sums.tokens);
        compare("tokens left", sums.granted.saturating_sub(own.tokens), sums.available);
    }
    Audit {
        holds: differences.is_empty(),
        organizations: sums.len(),
        debits: acknowledged.values().map(|own| own.debits).sum(),
        tokens: acknowledged.values().map(|own| own.tokens).sum(),
        differences,
    }
}

impl Audit {
    /// Fails when it does not hold.
    pub(crate) fn require(&self) -> Outcome {
        if self.holds {
            return Ok(());
        }
        let shown = self.differences.iter().take(10).cloned().collect::<Vec<_>>().join("\n  ");
        Err(format!("the audit does not hold, {} differences:\n  {shown}", self.differences.len()).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(debits: u64, tokens: u64, available: u64) -> usize {
        let acknowledged = [(0, Acknowledged { debits: 2, tokens: 30 })].into();
        let sums = Sums { debits, tokens, available, granted: 100 };
        audit(&acknowledged, &[sums, Sums { granted: 7, available: 7, ..Sums::default() }]).differences.len()
    }

    #[test]
    fn every_sum_that_differs_is_found() {
        assert_eq!(check(2, 30, 70), 0);
        assert_eq!(check(1, 30, 70), 1);
        assert_eq!(check(2, 31, 69), 2);
    }

    #[test]
    fn an_organization_that_was_charged_without_an_acknowledgement_is_found() {
        let sums = Sums { debits: 1, tokens: 5, available: 5, granted: 10 };
        assert!(audit(&BTreeMap::new(), &[sums]).require().is_err());
    }
}
