//! The pool of an organization, and how events change it.
//!
//! Applying cannot fail: what is applied was decided against this very state, live or when it was journaled. The
//! asserts here are the invariants I1 and I2; they stay on in release.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::planted::{self, Bug};

use super::alerts::Alerts;
use super::bindings::Bindings;
use super::burn::Burn;
use super::camera::{CameraFlags, Cameras};
use super::debit::{Charge, ChargeIdentity, Charges};
use super::event::{Cargo, Change, Event, OrganizationCreated};
use super::event_ids::EventIds;
use super::hash::HashSecret;
use super::ids::{ActorId, CameraId, KeyId, LicenseId, Lsn, Name, OrgId, ReservationId, TransferId};
use super::license::{License, LicenseStep, Licenses};
use super::limits::POOL_TOKENS_MAX;
use super::rates::Rates;
use super::reservation::{HowEnded, Reservation, Reservations};
use super::time::Timestamp;
use super::tokens::Tokens;
use super::transfer::TransferSide;

/// Everything the meter knows of one organization.
#[derive(Debug)]
pub struct Pool {
    /// The organization.
    pub id: OrgId,
    /// Its name for people.
    pub name: Name,
    /// The secret under which its event ids are hashed.
    pub secret: HashSecret,
    /// How long event ids are remembered, in milliseconds.
    pub retention_ms: u64,
    /// When it was created.
    pub created_at: Timestamp,
    /// The time of the newest event; never falls.
    pub last_at: Timestamp,
    /// The journal frame of the newest event.
    pub lsn: Lsn,
    /// Tokens that it has, those included that reservations hold.
    pub balance: Tokens,
    /// What came, went and was used.
    pub totals: Totals,
    /// Its cameras.
    pub cameras: Cameras,
    /// Usage by network, in the order of their first camera.
    pub networks: Vec<NetworkUsage>,
    /// The place of each network in `networks`.
    pub network_places: BTreeMap<Name, u32>,
    /// Unlimited AI Licenses bound to cameras.
    pub bindings: Bindings,
    /// Shared AI Token Licenses.
    pub licenses: Licenses,
    /// License keys whose licenses were added here.
    pub keys: BTreeSet<KeyId>,
    /// Event ids charged within the retention.
    pub event_ids: EventIds,
    /// What holds tokens back.
    pub reservations: Reservations,
    /// What events cost that bear no token count; a transfer leaves it where it is.
    pub rates: Rates,
    /// What the organization wants to be told, and where; a transfer leaves it where it is.
    pub alerts: Option<Box<Alerts>>,
    /// Transfers from and to this pool.
    pub transfers: BTreeMap<TransferId, TransferSide>,
    /// The transfer that freezes the pool, if any.
    pub outgoing: Option<TransferId>,
    /// The present burn rate.
    pub burn: Burn,
}

/// What came, went and was used, ever.
///
/// I1: granted + transferred in = available + held + in transit + used + transferred out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Tokens of licenses added here.
    pub granted: Tokens,
    /// Tokens received from other organizations.
    pub transferred_in: Tokens,
    /// Tokens moved to other organizations.
    pub transferred_out: Tokens,
    /// Tokens charged.
    pub used: Tokens,
    /// Tokens that were not charged because of an Unlimited AI License; counted up to 2^53 - 1.
    pub exempt: Tokens,
    /// Debits charged.
    pub debits_charged: u64,
    /// Debits exempt.
    pub debits_exempt: u64,
}

/// Usage of one network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkUsage {
    /// The network.
    pub name: Name,
    /// Tokens charged.
    pub used: Tokens,
    /// Tokens exempt.
    pub exempt: Tokens,
}

impl Pool {
    /// The empty pool of a new organization.
    #[must_use]
    pub fn new(created: OrganizationCreated, at: Timestamp) -> Self {
        Self {
            id: created.organization,
            name: created.name,
            secret: created.secret,
            retention_ms: created.retention_ms,
            created_at: at,
            last_at: at,
            lsn: Lsn(0),
            balance: Tokens::ZERO,
            totals: Totals::default(),
            cameras: Cameras::new(created.secret.0),
            networks: Vec::new(),
            network_places: BTreeMap::new(),
            bindings: Bindings::default(),
            licenses: Licenses::default(),
            keys: BTreeSet::new(),
            event_ids: EventIds::new(),
            reservations: Reservations::default(),
            rates: Rates::default(),
            alerts: None,
            transfers: BTreeMap::new(),
            outgoing: None,
            burn: Burn::default(),
        }
    }

    /// What the pool can pay now (R10, R12). The one place that says so.
    #[inline]
    #[must_use]
    pub fn available(&self) -> Tokens {
        self.balance.minus(self.reservations.held())
    }

    /// Tokens on their way to another organization.
    #[must_use]
    pub fn in_transit(&self) -> Tokens {
        self.outgoing_cargo().map_or(Tokens::ZERO, |cargo| cargo.tokens)
    }

    /// What is in transit to another organization.
    #[must_use]
    pub fn outgoing_cargo(&self) -> Option<&Cargo> {
        match self.transfers.get(self.outgoing.as_ref()?)? {
            TransferSide::OutPrepared { cargo, .. } => Some(cargo),
            _ => None,
        }
    }

    /// Carries out one admitted debit, paid by `reservation` where there is one. [`Self::close_batch`] follows after the last of a batch.
    // As a call of its own it is given the charge in memory: written there in parts and read as a whole, which the processor waits for.
    #[inline(always)]
    pub fn apply_charge(&mut self, charge: &Charge, reservation: Option<&ReservationId>, at: Timestamp) {
        let tokens = Tokens::from(charge.tokens);
        let camera = self.cameras.get_mut(charge.slot);
        match charge.identity {
            ChargeIdentity::Seq { epoch, seq } => {
                camera.window.record(epoch, seq, charge.exempt, charge.print);
            }
            ChargeIdentity::EventId { hash, .. } => {
                let time = charge.time.expect("an event id goes with its time");
                self.event_ids.insert(hash, time, charge.print, charge.exempt);
            }
        }
        let network = &mut self.networks[usize::try_from(camera.network).unwrap_or(usize::MAX)];
        if charge.exempt {
            // What is not paid for has no other bound: counting stops where a total would lose its exactness.
            let counted = tokens.0.min(POOL_TOKENS_MAX - self.totals.exempt.0);
            network.exempt.0 += counted;
            self.totals.exempt.0 += counted;
            self.totals.debits_exempt += 1;
        } else {
            self.balance = self.balance.minus(tokens);
            camera.used += tokens.0;
            network.used.0 += tokens.0;
            self.totals.used.0 += tokens.0;
            self.totals.debits_charged += 1;
            self.licenses.draw(tokens);
            if let Some(reservation) = reservation {
                self.reservations.settle(reservation, tokens, at);
            }
        }
    }

    /// Ends a batch of debits that was admitted at `at` and charged `burned` tokens.
    ///
    /// # Panics
    /// When debits were paid from what reservations hold: that is a broken invariant (I7).
    pub fn close_batch(&mut self, at: Timestamp, burned: u64) {
        assert!(self.reservations.held() <= self.balance, "I7: what is held is not spent");
        self.advance(at);
        if burned > 0 {
            self.burn.add(burned, at);
        }
    }

    /// Carries out the admitted debits of a batch, as they stand in the journal.
    pub fn apply_charges(&mut self, batch: Charges<'_>) {
        for charge in batch.charges {
            self.apply_charge(charge, batch.reservation, batch.at);
        }
        let charged = batch.charges.iter().filter(|charge| !charge.exempt);
        self.close_batch(batch.at, charged.map(|charge| u64::from(charge.tokens)).sum());
    }

    /// Carries out an event.
    pub fn apply(&mut self, event: &Event) {
        self.advance(event.at);
        match &event.change {
            Change::OrganizationCreated(_) => {}
            Change::CameraRegistered { camera, network, cloud_ai, pro_license } => {
                self.register_camera(camera, network, *cloud_ai, *pro_license);
            }
            Change::CameraRemoved { camera } => self.change_flags(camera, CameraFlags::REGISTERED, false),
            Change::UnlimitedBound { camera, license } => {
                if let Some(slot) = self.cameras.find(camera.as_str().as_bytes()) {
                    self.bindings.bind(slot, license.clone());
                }
                self.change_flags(camera, CameraFlags::BOUND, true);
            }
            Change::UnlimitedUnbound { license } => self.unbind(license),
            Change::LicensesAdded { key, licenses } => self.add_licenses(key, licenses),
            Change::Reserved { reservation, tokens, until, by } => {
                let (reserved, by) = (*tokens, by.clone());
                let (settled, at, until, ended) = (Tokens::ZERO, event.at, *until, None);
                let opened = Reservation { reserved, settled, at, until, by, ended };
                self.reservations.open_one(reservation, opened);
            }
            Change::ReservationReleased { reservation } => {
                self.reservations.end(reservation, HowEnded::Released, event.at);
            }
            Change::ReservationsExpired => self.reservations.expire(event.at),
            Change::RatesSet { card } => self.rates.add(card.clone()),
            Change::AlertsSet { alerts } => self.alerts = Some(Box::new(alerts.clone())),
            Change::TransferOutPrepared { transfer, target, by } => self.prepare_out(transfer, target, by),
            Change::TransferInPrepared { transfer, cargo } => {
                self.transfers.insert(transfer.clone(), TransferSide::InPrepared { cargo: cargo.clone() });
            }
            Change::TransferOutClosed { transfer } => self.close_out(transfer),
            Change::TransferInCredited { transfer } => self.credit_in(transfer, event.at),
            Change::TransferAborted { transfer } => self.abort(transfer),
        }
    }

    fn advance(&mut self, at: Timestamp) {
        self.last_at = self.last_at.max(at);
        self.event_ids.raise_horizon(at.minus_ms(self.retention_ms));
    }

    fn register_camera(&mut self, camera: &CameraId, network: &Name, cloud_ai: bool, pro_license: bool) {
        let network = self.network(network);
        let slot = self.cameras.slot_of(camera);
        let record = self.cameras.get_mut(slot);
        record.network = network;
        let mut flags = record.flags;
        flags.set(CameraFlags::REGISTERED, true);
        flags.set(CameraFlags::CLOUD_AI, cloud_ai);
        flags.set(CameraFlags::PRO_LICENSE, pro_license);
        self.cameras.set_flags(slot, flags);
    }

    fn network(&mut self, name: &Name) -> u32 {
        if let Some(place) = self.network_places.get(name) {
            return *place;
        }
        let place = u32::try_from(self.networks.len()).expect("networks are bounded");
        self.networks.push(NetworkUsage { name: name.clone(), used: Tokens::ZERO, exempt: Tokens::ZERO });
        self.network_places.insert(name.clone(), place);
        place
    }

    fn change_flags(&mut self, camera: &CameraId, bits: u8, on: bool) {
        if let Some(slot) = self.cameras.find(camera.as_str().as_bytes()) {
            let mut flags = self.cameras.get_mut(slot).flags;
            flags.set(bits, on);
            self.cameras.set_flags(slot, flags);
        }
    }

    fn unbind(&mut self, license: &LicenseId) {
        if let Some(slot) = self.bindings.unbind(license)
            && self.bindings.of(slot).is_empty()
        {
            let mut flags = self.cameras.get_mut(slot).flags;
            flags.set(CameraFlags::BOUND, false);
            self.cameras.set_flags(slot, flags);
        }
    }

    fn add_licenses(&mut self, key: &KeyId, licenses: &[License]) {
        let tokens = licenses.iter().map(|license| license.granted).sum();
        self.balance = self.balance.plus(tokens);
        self.totals.granted = self.totals.granted.plus(tokens);
        self.licenses.add(licenses.to_vec());
        self.keys.insert(key.clone());
    }

    fn prepare_out(&mut self, transfer: &TransferId, target: &OrgId, by: &ActorId) {
        let tokens = std::mem::take(&mut self.balance);
        let cargo = Cargo { source: self.id.clone(), by: by.clone(), tokens, licenses: self.licenses.take() };
        self.transfers.insert(transfer.clone(), TransferSide::OutPrepared { target: target.clone(), cargo });
        self.outgoing = Some(transfer.clone());
    }

    fn close_out(&mut self, transfer: &TransferId) {
        if let Some(TransferSide::OutPrepared { cargo, .. }) = self.end(transfer, TransferSide::Closed) {
            self.totals.transferred_out = self.totals.transferred_out.plus(cargo.tokens);
            if planted::is(Bug::RestoreTransferred) {
                self.give_back(cargo);
            }
        }
    }

    fn credit_in(&mut self, transfer: &TransferId, at: Timestamp) {
        if let Some(TransferSide::InPrepared { cargo }) = self.end(transfer, TransferSide::Credited) {
            let organization = self.id.clone();
            let step = LicenseStep { at, organization, by: cargo.by, transfer: Some(transfer.clone()) };
            let mut licenses = cargo.licenses;
            for license in &mut licenses {
                license.history.push(step.clone());
            }
            self.balance = self.balance.plus(cargo.tokens);
            self.totals.transferred_in = self.totals.transferred_in.plus(cargo.tokens);
            self.licenses.add(licenses);
        }
    }

    fn abort(&mut self, transfer: &TransferId) {
        if let Some(TransferSide::OutPrepared { cargo, .. }) = self.end(transfer, TransferSide::Aborted) {
            self.give_back(cargo);
        }
    }

    fn give_back(&mut self, cargo: Cargo) {
        self.balance = self.balance.plus(cargo.tokens);
        self.licenses.add(cargo.licenses);
    }

    fn end(&mut self, transfer: &TransferId, how: TransferSide) -> Option<TransferSide> {
        if self.outgoing.as_ref() == Some(transfer) {
            self.outgoing = None;
        }
        self.transfers.insert(transfer.clone(), how)
    }
}
