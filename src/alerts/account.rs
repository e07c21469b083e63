//! What is known of one organization while the journal is read, and when a threshold fires.
//!
//! A threshold is armed until its measure passes it; then it fires, once, and stays fired until it is armed again: by a measure
//! that is back at its `rearm`, or by tokens that come and lift it above. What is not known neither fires nor arms anything. All
//! of it follows from the journal alone, frame by frame, so that whoever reads the same frames finds the same. Refusals, which
//! leave no frame, are in [`super::refusals`].
//!
//! Absent on purpose: files, clocks, addresses.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::alerts::{Alerts, Measure, Threshold, Topic};
use crate::domain::burn::Burn;
use crate::domain::debit::Charges;
use crate::domain::event::{Change, Event};
use crate::domain::ids::{AlertId, Lsn, OrgId, ReservationId, TransferId};
use crate::domain::pool::Pool;
use crate::domain::time::Timestamp;
use crate::domain::tokens::Tokens;
use crate::domain::transfer::TransferSide;

use super::notice::{Details, Expired, Notice};

/// One organization.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Account {
    pub(super) id: OrgId,
    /// Frames up to this one are held.
    pub(super) lsn: Lsn,
    /// The time of its newest event.
    pub(super) at: Timestamp,
    /// Tokens that it has, those included that reservations hold.
    pub(super) balance: u64,
    /// What open reservations hold.
    held: u64,
    reservations: BTreeMap<ReservationId, Held>,
    /// Tokens granted and received, ever.
    pub(super) came: u64,
    /// Tokens moved away, ever.
    went: u64,
    burn: Burn,
    moving: BTreeMap<TransferId, Moving>,
    /// The thresholds that fired and are not armed again.
    pub(super) fired: BTreeMap<AlertId, Fired>,
    /// Whether the pool could pay nothing, and no tokens came since.
    is_exhausted: bool,
    /// What applies; stored beside it.
    #[serde(skip)]
    pub(super) alerts: Option<Alerts>,
}

/// An open reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Held {
    tokens: u64,
    until: Timestamp,
}

/// Tokens on their way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Moving {
    is_out: bool,
    tokens: u64,
    other: OrgId,
}

/// When a threshold fired, and at what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fired {
    /// When.
    pub at: Timestamp,
    /// What its measure was.
    pub value: u64,
}

/// What a change of the pool means to thresholds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// Tokens came: a license, a transfer.
    Came,
    /// Anything else.
    Other,
}

/// A measure, held against a threshold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Reading {
    /// None when it is not known.
    value: Option<u64>,
    has_passed: bool,
    is_clear: bool,
}

impl Account {
    /// A new organization.
    pub(super) fn new(id: OrgId, at: Timestamp) -> Self {
        Self {
            id,
            lsn: Lsn(0),
            at,
            balance: 0,
            held: 0,
            reservations: BTreeMap::new(),
            came: 0,
            went: 0,
            burn: Burn::default(),
            moving: BTreeMap::new(),
            fired: BTreeMap::new(),
            is_exhausted: false,
            alerts: None,
        }
    }

    /// An organization as a snapshot holds it. What fired is not known from it.
    pub(super) fn of(pool: &Pool) -> Self {
        let held = |(id, one): (&ReservationId, &crate::domain::reservation::Reservation)| {
            (id.clone(), Held { tokens: one.held().0, until: one.until })
        };
        let moving = pool.transfers.iter().filter_map(|(transfer, side)| match side {
            TransferSide::OutPrepared { target, cargo } => {
                let (tokens, other) = (cargo.tokens.0, target.clone());
                Some((transfer.clone(), Moving { is_out: true, tokens, other }))
            }
            TransferSide::InPrepared { cargo } => {
                let (tokens, other) = (cargo.tokens.0, cargo.source.clone());
                Some((transfer.clone(), Moving { is_out: false, tokens, other }))
            }
            _ => None,
        });
        Self {
            lsn: pool.lsn,
            balance: pool.balance.0,
            held: pool.reservations.held().0,
            reservations: pool.reservations.open_ones().map(held).collect(),
            came: pool.totals.granted.plus(pool.totals.transferred_in).0,
            went: pool.totals.transferred_out.0,
            burn: pool.burn.clone(),
            moving: moving.collect(),
            alerts: pool.alerts.as_deref().cloned(),
            ..Self::new(pool.id.clone(), pool.last_at)
        }
    }

    /// Goes on from a snapshot, where the frames since are gone: what fired stays so, and is held against what is now.
    pub(super) fn adopt(&mut self, pool: &Pool, out: &mut Vec<Notice>) {
        let (known, next) = (std::mem::take(&mut self.fired), Self::of(pool));
        let cause = if next.came > self.came { Cause::Came } else { Cause::Other };
        let was_exhausted = self.is_exhausted;
        let before = std::mem::replace(self, next).alerts;
        (self.fired, self.is_exhausted) = (known, was_exhausted);
        self.forget_changed(before.as_ref());
        self.judge(cause, pool.lsn, out);
    }

    /// What the pool can pay.
    pub(super) fn available(&self) -> u64 {
        self.balance.saturating_sub(self.held)
    }

    /// What was granted or received, and not moved away.
    fn base(&self) -> u64 {
        self.came.saturating_sub(self.went)
    }

    /// Takes the admitted debits of a frame.
    pub(super) fn charge(&mut self, lsn: Lsn, batch: Charges<'_>, out: &mut Vec<Notice>) {
        let charged = batch.charges.iter().filter(|charge| !charge.exempt);
        let tokens: u64 = charged.map(|charge| u64::from(charge.tokens)).sum();
        self.at = self.at.max(batch.at);
        if tokens == 0 {
            return;
        }
        self.balance = self.balance.saturating_sub(tokens);
        self.burn.add(tokens, batch.at);
        if let Some(reservation) = batch.reservation {
            self.settle(reservation, tokens);
        }
        self.judge(Cause::Other, lsn, out);
    }

    /// Takes any other event.
    pub(super) fn apply(&mut self, lsn: Lsn, event: &Event, out: &mut Vec<Notice>) {
        self.at = self.at.max(event.at);
        let mut cause = Cause::Other;
        match &event.change {
            Change::LicensesAdded { key, licenses } => {
                let tokens: Tokens = licenses.iter().map(|license| license.granted).sum();
                self.come(tokens.0);
                let (key, count) = (key.clone(), licenses.len());
                self.tell(lsn, Details::LicenseAdded { key, licenses: count, tokens: tokens.0 }, out);
                cause = Cause::Came;
            }
            Change::Reserved { reservation, tokens, until, .. } => {
                self.held += tokens.0;
                self.reservations.insert(reservation.clone(), Held { tokens: tokens.0, until: *until });
            }
            Change::ReservationReleased { reservation } => {
                let held = self.reservations.remove(reservation);
                self.held = self.held.saturating_sub(held.map_or(0, |held| held.tokens));
            }
            Change::ReservationsExpired => self.expire(lsn, event.at, out),
            Change::AlertsSet { alerts } => {
                let before = self.alerts.replace(alerts.clone());
                self.forget_changed(before.as_ref());
            }
            Change::TransferOutPrepared { transfer, target, .. } => {
                let tokens = std::mem::take(&mut self.balance);
                let moving = Moving { is_out: true, tokens, other: target.clone() };
                self.moving.insert(transfer.clone(), moving);
            }
            Change::TransferInPrepared { transfer, cargo } => {
                let (tokens, other) = (cargo.tokens.0, cargo.source.clone());
                self.moving.insert(transfer.clone(), Moving { is_out: false, tokens, other });
            }
            Change::TransferOutClosed { transfer }
            | Change::TransferInCredited { transfer }
            | Change::TransferAborted { transfer } => {
                let is_aborted = matches!(&event.change, Change::TransferAborted { .. });
                let Some(moving) = self.moving.remove(transfer) else { return };
                match (is_aborted, moving.is_out) {
                    (true, true) => self.balance += moving.tokens,
                    (true, false) => {}
                    (false, true) => self.went += moving.tokens,
                    (false, false) => {
                        self.come(moving.tokens);
                        cause = Cause::Came;
                    }
                }
                let Moving { is_out, tokens, other } = moving;
                let transfer = transfer.clone();
                self.tell(lsn, Details::Transfer { transfer, other, tokens, is_out, is_aborted }, out);
            }
            Change::OrganizationCreated(_)
            | Change::CameraRegistered { .. }
            | Change::CameraRemoved { .. }
            | Change::UnlimitedBound { .. }
            | Change::UnlimitedUnbound { .. }
            | Change::RatesSet { .. } => return,
        }
        self.judge(cause, lsn, out);
    }

    /// Fires a threshold of refusals, which so many were counted for, or arms it again; whether it did either.
    pub(super) fn judge_refusals(
        &mut self,
        (threshold, counted, is_whole): (&Threshold, u64, bool),
        (lsn, now): (Lsn, Timestamp),
        out: &mut Vec<Notice>,
    ) -> bool {
        let is_fired = self.fired.contains_key(&threshold.id);
        if !is_fired && counted >= threshold.at {
            self.fire(threshold, counted, (lsn, now), out);
            return true;
        }
        let is_clear = is_whole && threshold.rearm.is_some_and(|rearm| counted <= rearm);
        if is_fired && is_clear {
            self.fired.remove(&threshold.id);
        }
        is_fired && is_clear
    }

    fn come(&mut self, tokens: u64) {
        self.balance += tokens;
        self.came += tokens;
    }

    fn settle(&mut self, reservation: &ReservationId, tokens: u64) {
        let Some(held) = self.reservations.get_mut(reservation) else { return };
        let settled = held.tokens.min(tokens);
        held.tokens -= settled;
        self.held = self.held.saturating_sub(settled);
        if held.tokens == 0 {
            self.reservations.remove(reservation);
        }
    }

    fn expire(&mut self, lsn: Lsn, at: Timestamp, out: &mut Vec<Notice>) {
        let is_due = |_: &ReservationId, held: &mut Held| held.until <= at;
        let expired: Vec<_> = self.reservations.extract_if(.., is_due).collect();
        let unused: u64 = expired.iter().map(|(_, held)| held.tokens).sum();
        self.held = self.held.saturating_sub(unused);
        let one = |(id, held): (ReservationId, Held)| Expired { id, unused: held.tokens };
        self.tell(lsn, Details::Expired(expired.into_iter().map(one).collect()), out);
    }

    /// Thresholds that are no longer the same are armed.
    fn forget_changed(&mut self, before: Option<&Alerts>) {
        let find = |alerts: Option<&Alerts>, id: &AlertId| {
            alerts.and_then(|alerts| alerts.thresholds.iter().find(|threshold| threshold.id == *id).cloned())
        };
        let now = self.alerts.as_ref();
        self.fired.retain(|id, _| find(now, id).is_some_and(|threshold| find(before, id) == Some(threshold)));
    }

    /// Holds every threshold against what is. A pool in which there never was a token, or that is being moved, is left alone.
    fn judge(&mut self, cause: Cause, lsn: Lsn, out: &mut Vec<Notice>) {
        if self.came == 0 || self.moving.values().any(|moving| moving.is_out) {
            return;
        }
        self.judge_exhausted(cause, lsn, out);
        let Some(alerts) = self.alerts.take() else { return };
        for threshold in &alerts.thresholds {
            let reading = self.read(threshold);
            let is_fired = self.fired.contains_key(&threshold.id);
            let comes = cause == Cause::Came && !reading.has_passed;
            if is_fired && (reading.is_clear || comes) {
                self.fired.remove(&threshold.id);
            } else if let (false, true, Some(value)) = (is_fired, reading.has_passed, reading.value) {
                self.fire(threshold, value, (lsn, self.at), out);
            }
        }
        self.alerts = Some(alerts);
    }

    fn judge_exhausted(&mut self, cause: Cause, lsn: Lsn, out: &mut Vec<Notice>) {
        let is_empty = self.available() == 0;
        if is_empty && !self.is_exhausted {
            self.is_exhausted = true;
            self.tell(lsn, Details::Exhausted { held: self.held }, out);
        } else if !is_empty && cause == Cause::Came {
            self.is_exhausted = false;
        }
    }

    fn read(&self, threshold: &Threshold) -> Reading {
        let available = self.available();
        let (value, scale) = match threshold.measure {
            Measure::Refusals => return Reading::default(),
            Measure::TokensLeft | Measure::Exhausted => (Some(available), 1),
            Measure::PercentLeft => (Some(available), self.base()),
            Measure::TimeLeft => (self.burn.rate(self.at).time_left_ms(Tokens(available)), 1),
        };
        let Some(value) = value.filter(|_| scale > 0) else { return Reading::default() };
        let is_percent = threshold.measure == Measure::PercentLeft;
        let exact = u128::from(value) * if is_percent { 100 } else { 1 };
        let bound = |bound: u64| u128::from(bound) * u128::from(scale);
        let shown = u64::try_from(exact / u128::from(scale)).unwrap_or(u64::MAX);
        Reading {
            value: Some(shown),
            has_passed: exact <= bound(threshold.at),
            is_clear: threshold.rearm.is_some_and(|rearm| exact >= bound(rearm)),
        }
    }

    fn fire(
        &mut self,
        threshold: &Threshold,
        value: u64,
        (lsn, at): (Lsn, Timestamp),
        out: &mut Vec<Notice>,
    ) {
        self.fired.insert(threshold.id.clone(), Fired { at, value });
        let details = Details::Fired { threshold: threshold.clone(), value };
        out.push(Notice { lsn, at, available: self.available(), details });
    }

    /// Tells what no threshold is asked for, if anybody wants to hear of it.
    fn tell(&self, lsn: Lsn, details: Details, out: &mut Vec<Notice>) {
        let topic: Topic = details.topic();
        let mut webhooks = self.alerts.iter().flat_map(|alerts| &alerts.webhooks);
        if webhooks.any(|webhook| webhook.wants(topic)) {
            out.push(Notice { lsn, at: self.at, available: self.available(), details });
        }
    }
}

#[cfg(test)]
#[path = "account_tests.rs"]
mod tests;
