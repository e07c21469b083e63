//! What the projector knows of an organization while it reads: little, and all that follows from the journal alone.

use crate::domain::bindings::Bindings;
use crate::domain::debit::Charge;
use crate::domain::ids::{LicenseId, Lsn, OrgNumber};
use crate::domain::time::Timestamp;

use super::tally::Used;

/// One organization as the projector knows it.
#[derive(Debug)]
pub(super) struct Account {
    /// Its number in its partition.
    pub(super) number: OrgNumber,
    /// Frames up to this one are held, because they were in a snapshot.
    pub(super) lsn: Lsn,
    /// The time of its newest event.
    pub(super) at: Timestamp,
    /// Tokens that it has, those included that reservations hold.
    pub(super) balance: u64,
    /// What was used, ever.
    pub(super) used: Used,
    /// The network of each camera, by slot.
    pub(super) networks: Vec<u16>,
    /// Unlimited AI Licenses bound to cameras.
    pub(super) bindings: Bindings,
}

impl Account {
    /// A new organization.
    pub(super) fn new(number: OrgNumber, at: Timestamp) -> Self {
        let (networks, bindings) = (Vec::new(), Bindings::default());
        Self { number, lsn: Lsn(0), at, balance: 0, used: Used::default(), networks, bindings }
    }

    /// The license that exempts a debit admitted at `at`: of several the first by name.
    pub(super) fn license(&self, charge: &Charge, at: Timestamp) -> Option<LicenseId> {
        let bound = self.bindings.of(charge.slot).iter();
        let exempts = bound.filter(|license| license.exempts(charge.kind, charge.time.unwrap_or(at)));
        exempts.map(|license| &license.id).min().cloned()
    }
}
