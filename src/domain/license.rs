//! Shared AI Token Licenses: perpetual, permanent, drawn from oldest first (R1 to R6).

use serde::{Deserialize, Serialize};

use super::ids::{ActorId, KeyId, LicenseId, OrgId, TransferId};
use super::limits::{KEY_LICENSES_MAX, POOL_TOKENS_MAX};
use super::refusal::Invalid;
use super::time::Timestamp;
use super::tokens::Tokens;

/// A license key: claimed once over all organizations, it expands to licenses (R6).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LicenseKey {
    /// Names the key.
    pub id: KeyId,
    /// The tokens of each license that it holds.
    pub grants: Vec<Tokens>,
}

impl LicenseKey {
    /// Checks the key's bounds and answers with all its tokens.
    ///
    /// # Errors
    /// When it holds no license, too many, one without tokens, or more tokens than a pool may receive, or when its id is too
    /// long for the ids of its licenses.
    pub fn tokens(&self) -> Result<Tokens, Invalid> {
        let count_fits = (1..=KEY_LICENSES_MAX).contains(&self.grants.len());
        self.license_id(self.grants.len())?;
        let add = |sum: Tokens, grant: &Tokens| {
            let sum = sum.checked_add(*grant).filter(|sum| sum.0 <= POOL_TOKENS_MAX);
            sum.filter(|_| grant.0 > 0).ok_or(Invalid::Grant)
        };
        if count_fits { self.grants.iter().try_fold(Tokens::ZERO, add) } else { Err(Invalid::Grant) }
    }

    /// The id of the key's license number `n`, counted from 1. Unique as long as the key is.
    ///
    /// # Errors
    /// When the key's id is so long that no license id can be made of it.
    pub fn license_id(&self, n: usize) -> Result<LicenseId, Invalid> {
        LicenseId::new(&format!("{}.{n}", self.id)).map_err(|_| Invalid::KeyId)
    }
}

/// One Shared AI Token License in a pool. It never expires (R3) and cannot be unbound (R4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct License {
    /// Names the license.
    pub id: LicenseId,
    /// The key that it came from.
    pub key: KeyId,
    /// Tokens it brought when it was added.
    pub granted: Tokens,
    /// Tokens it still holds.
    pub remaining: Tokens,
    /// Where it has been: its adding first, then every transfer.
    pub history: Vec<LicenseStep>,
}

/// One step in the life of a license.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LicenseStep {
    /// When.
    pub at: Timestamp,
    /// The organization that it came to.
    pub organization: OrgId,
    /// Who did it.
    pub by: ActorId,
    /// The transfer that moved it; none for its adding.
    pub transfer: Option<TransferId>,
}

/// Whether a license still holds tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LicenseStatus {
    /// It holds tokens.
    Active,
    /// Its tokens are used up.
    UsedUp,
}

impl License {
    /// When it was first added.
    #[must_use]
    pub fn added_at(&self) -> Timestamp {
        self.history.first().map_or(Timestamp::FIRST, |step| step.at)
    }

    /// Most bytes that it takes when it is stored, names of fields included.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        let step = |step: &LicenseStep| {
            let transfer = step.transfer.as_ref().map_or(0, |transfer| transfer.as_str().len());
            64 + step.organization.as_str().len() + step.by.as_str().len() + transfer
        };
        96 + self.id.as_str().len() + self.key.as_str().len() + self.history.iter().map(step).sum::<usize>()
    }

    /// Its status.
    #[must_use]
    pub fn status(&self) -> LicenseStatus {
        if self.remaining > Tokens::ZERO { LicenseStatus::Active } else { LicenseStatus::UsedUp }
    }
}

/// The licenses of a pool, oldest first, and what was drawn from them since they were last settled.
///
/// A debit only counts up `drawn`; which license paid follows from the order, and is worked out when somebody asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Licenses {
    licenses: Vec<License>,
    drawn: Tokens,
}

impl Licenses {
    /// Licenses with what they held when they were last settled, and what was drawn since.
    #[must_use]
    pub fn from_parts(licenses: Vec<License>, drawn: Tokens) -> Self {
        Self { licenses, drawn }
    }

    /// The licenses as last settled, and what was drawn since: for storage.
    #[must_use]
    pub fn parts(&self) -> (&[License], Tokens) {
        (&self.licenses, self.drawn)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.licenses.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.licenses.is_empty()
    }

    /// Counts tokens as drawn from the oldest license that holds any.
    #[inline]
    pub fn draw(&mut self, tokens: Tokens) {
        self.drawn.0 += tokens.0;
    }

    /// Adds licenses and brings all into order: oldest first.
    pub fn add(&mut self, licenses: Vec<License>) {
        self.settle();
        self.licenses.extend(licenses);
        self.licenses.sort_by(|a, b| (a.added_at(), &a.id).cmp(&(b.added_at(), &b.id)));
    }

    /// Takes all licenses out, each with what it still holds.
    pub fn take(&mut self) -> Vec<License> {
        self.settle();
        std::mem::take(&mut self.licenses)
    }

    /// The licenses, oldest first, each with what it still holds.
    #[must_use]
    pub fn list(&self) -> Vec<License> {
        let mut settled = self.clone();
        settled.take()
    }

    /// What all of them still hold.
    #[must_use]
    pub fn remaining(&self) -> Tokens {
        self.licenses.iter().map(|license| license.remaining).sum::<Tokens>().minus(self.drawn)
    }

    fn settle(&mut self) {
        for license in &mut self.licenses {
            let paid = license.remaining.min(self.drawn);
            license.remaining = license.remaining.minus(paid);
            self.drawn = self.drawn.minus(paid);
        }
        assert_eq!(self.drawn, Tokens::ZERO, "I1: licenses hold what the pool holds");
    }
}
