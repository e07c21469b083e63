//! The licenses of an organization: added for good, by a key that is claimed once (R1 to R6).
//!
//! What a claim is answered with follows from the claim alone, so it is the same for ever: also when the licenses were moved to
//! another organization meanwhile. Deliberately absent: who signed a key. Whoever calls has looked at that; the host is trusted to
//! add what it likes.

use serde::Serialize;

use crate::domain::decide;
use crate::domain::ids::{ActorId, KeyId, LicenseId, OrgId};
use crate::domain::license::{License, LicenseKey, LicenseStatus, LicenseStep};
use crate::domain::pool::Pool;
use crate::domain::refusal::Refusal;
use crate::domain::registry::Claim;
use crate::domain::time::Timestamp;
use crate::domain::tokens::Tokens;
use crate::protocol::coordinator::{Answer, Order};

use super::error::Error;
use super::open::{order, random_u64};
use super::organization::{Organization, allow};

/// A license as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LicenseView {
    /// Its id.
    pub id: LicenseId,
    /// The key that it came from.
    pub key: KeyId,
    /// Tokens it brought.
    pub granted: Tokens,
    /// Tokens it still holds; the oldest license is drawn from first.
    pub remaining: Tokens,
    /// Whether it still holds tokens.
    pub status: LicenseStatus,
    /// When it was added.
    pub added_at: Timestamp,
    /// Who added it.
    pub added_by: ActorId,
    /// The organizations that it was in, the first one first; the last one holds it.
    pub organizations: Vec<OrgId>,
    /// Where it has been: its adding first, then every transfer.
    pub history: Vec<LicenseStep>,
}

/// A license that a key brings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Grant {
    /// Its id.
    pub id: LicenseId,
    /// Its tokens.
    pub granted: Tokens,
}

/// That a license key was claimed, and what it brought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LicenseClaim {
    /// The key.
    pub key: KeyId,
    /// Who claimed it.
    pub by: ActorId,
    /// When.
    pub claimed_at: Timestamp,
    /// The licenses.
    pub licenses: Vec<Grant>,
}

/// What a license key would bring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LicensePreview {
    /// The key.
    pub key: KeyId,
    /// The licenses.
    pub licenses: Vec<Grant>,
    /// What the pool could pay now.
    pub available_before: Tokens,
    /// What it could pay after it.
    pub available_after: Tokens,
}

impl From<License> for LicenseView {
    fn from(license: License) -> Self {
        let mut organizations = Vec::new();
        for step in &license.history {
            if !organizations.contains(&step.organization) {
                organizations.push(step.organization.clone());
            }
        }
        Self {
            status: license.status(),
            added_at: license.added_at(),
            added_by: license.history[0].by.clone(), // its adding: no license is without
            organizations,
            id: license.id,
            key: license.key,
            granted: license.granted,
            remaining: license.remaining,
            history: license.history,
        }
    }
}

impl From<License> for Grant {
    fn from(license: License) -> Self {
        Self { id: license.id, granted: license.granted }
    }
}

impl Organization {
    /// Adds the licenses of a key; their tokens are in the pool with the answer (R2). The same key again is answered as the
    /// first time, also when the licenses were moved meanwhile.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`] unless an administrator asks (R1), [`Refusal::LicenseKeyClaimed`] (R6), [`Refusal::InTransfer`], a
    /// key out of bounds, or a bound is reached.
    pub async fn add_licenses(&self, key: LicenseKey) -> Result<LicenseClaim, Error> {
        allow(self.rights.administer)?;
        let id = key.id.clone();
        let claim = async {
            if !self.is_claimed(&key.id).await? {
                self.check_fits(key.clone()).await?;
            }
            {
                let (organization, by) = (self.org.id.clone(), self.by());
                order(&self.engine, Order::Claim { key, organization, by }).await
            }
        };
        match self.witnessed("add_licenses", id.to_string(), claim).await? {
            Answer::Claimed(claim) => Ok(LicenseClaim::new(id, claim)),
            other => unreachable!("a claim is answered with one, not with {other:?}"),
        }
    }

    /// Adds licenses without a key: the host is trusted with what it adds. An id of a key is made up here; who calls twice
    /// adds twice.
    ///
    /// # Errors
    /// As [`Self::add_licenses`].
    pub async fn grant(&self, grants: Vec<Tokens>) -> Result<LicenseClaim, Error> {
        let id = KeyId::new(&format!("grant-{:016x}{:016x}", random_u64(), random_u64()))?;
        self.add_licenses(LicenseKey { id, grants }).await
    }

    /// What a license key would bring; changes nothing (R6).
    ///
    /// # Errors
    /// As [`Self::add_licenses`], and [`Refusal::LicenseKeyClaimed`] also when this organization claimed it.
    pub async fn preview_licenses(&self, key: LicenseKey) -> Result<LicensePreview, Error> {
        allow(self.rights.administer)?;
        if self.is_claimed(&key.id).await? {
            return Err(Refusal::LicenseKeyClaimed.into());
        }
        let by = self.by();
        let preview = move |pool: &Pool, now| {
            let licenses = decide::expand_key(pool, &key, &by, now)?;
            let tokens = licenses.iter().map(|license| license.granted).sum();
            Ok::<_, Refusal>(LicensePreview {
                key: key.id,
                licenses: licenses.into_iter().map(Grant::from).collect(),
                available_before: pool.available(),
                available_after: pool.available().plus(tokens),
            })
        };
        Ok(self.ask(preview).await??)
    }

    /// Refuses to take a Shared AI Token License away: it is permanent (R4).
    ///
    /// # Errors
    /// Always: [`Refusal::Forbidden`] unless an administrator asks, [`Refusal::UnknownLicense`], else
    /// [`Refusal::LicenseIsPermanent`].
    pub async fn remove_license(&self, license: LicenseId) -> Result<std::convert::Infallible, Error> {
        allow(self.rights.administer)?;
        let target = license.to_string();
        let keep = async { Err(self.ask(move |pool: &Pool, _| decide::keep(pool, &license)).await?.into()) };
        self.witnessed("remove_license", target, keep).await
    }

    /// The Shared AI Token Licenses, oldest first.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`] without the right to read.
    pub async fn licenses(&self) -> Result<Vec<LicenseView>, Error> {
        allow(self.rights.read)?;
        self.ask(|pool: &Pool, _| pool.licenses.list().into_iter().map(LicenseView::from).collect()).await
    }

    /// One Shared AI Token License.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`] without the right to read, [`Refusal::UnknownLicense`].
    pub async fn license(&self, license: LicenseId) -> Result<LicenseView, Error> {
        let mut all = self.licenses().await?.into_iter();
        Ok(all.find(|view| view.id == license).ok_or(Refusal::UnknownLicense)?)
    }

    /// Refuses a key that the pool could not take, before it is claimed. A pool that is being moved takes it afterwards.
    async fn check_fits(&self, key: LicenseKey) -> Result<(), Error> {
        let by = self.by();
        let fits = move |pool: &Pool, now| match decide::expand_key(pool, &key, &by, now) {
            Err(refusal) if !refusal.is_retryable() => Err(refusal),
            _ => Ok(()),
        };
        Ok(self.ask(fits).await??)
    }

    async fn is_claimed(&self, key: &KeyId) -> Result<bool, Error> {
        Ok(self.engine.directory.is_claimed(key.clone()).await?)
    }
}

impl LicenseClaim {
    fn new(key: KeyId, claim: Claim) -> Self {
        let Claim { grants, by, at, .. } = claim;
        let expanded = LicenseKey { id: key, grants };
        let id = |n| expanded.license_id(n).expect("a claimed key was within its bounds");
        let grant = |(granted, n): (&Tokens, usize)| Grant { id: id(n), granted: *granted };
        let licenses = expanded.grants.iter().zip(1..).map(grant).collect();
        Self { key: expanded.id, by, claimed_at: at, licenses }
    }
}
