//! What a stored event or license must keep to, so that applying it cannot break a pool or the registry.
//!
//! Checked before writing and after reading. Whether an event fits the very state that it is applied to is not
//! checked here: it was decided against that state.

use crate::domain::alerts::Alerts;
use crate::domain::event::{Cargo, Change, Event};
use crate::domain::ids::KeyId;
use crate::domain::license::{License, LicenseKey};
use crate::domain::limits::{
    API_KEY_ORGANIZATIONS_MAX, KEY_LICENSES_MAX, POOL_LICENSES_MAX, POOL_TOKENS_MAX, RESERVATION_MS_MAX,
    RESERVATION_MS_MIN, RETENTION_MS_MAX, RETENTION_MS_MIN,
};
use crate::domain::rates::{self, RateCard};
use crate::domain::registry::{RegistryChange, RegistryEvent};
use crate::domain::time::Timestamp;
use crate::domain::tokens::Tokens;

use super::decode_error::DecodeError;

/// Longest code of a refusal that is stored, in bytes.
const REFUSAL_BYTES_MAX: usize = 64;

/// Checks an event of an organization.
///
/// # Errors
/// When a value in it is out of its bounds.
pub fn event(event: &Event) -> Result<(), DecodeError> {
    match &event.change {
        Change::OrganizationCreated(created) => retention(created.retention_ms),
        Change::UnlimitedBound { license, .. } => {
            ensure(license.from < license.until, "an unlimited license that is never valid")
        }
        Change::LicensesAdded { key, licenses } => added(key, licenses),
        Change::TransferInPrepared { cargo: coming, .. } => cargo(coming),
        Change::Reserved { tokens, until, .. } => reserved(*tokens, event.at, *until),
        Change::RatesSet { card } => {
            ensure(card.at == event.at, "a rate card of another time than its event")?;
            rate_card(card)
        }
        Change::AlertsSet { alerts } => {
            ensure(alerts.at == event.at, "alerts of another time than their event")?;
            alerts_set(alerts)
        }
        Change::CameraRegistered { .. }
        | Change::CameraRemoved { .. }
        | Change::UnlimitedUnbound { .. }
        | Change::ReservationReleased { .. }
        | Change::ReservationsExpired
        | Change::TransferOutPrepared { .. }
        | Change::TransferOutClosed { .. }
        | Change::TransferInCredited { .. }
        | Change::TransferAborted { .. } => Ok(()),
    }
}

/// Checks an event of the registry.
///
/// # Errors
/// When a value in it is out of its bounds.
pub fn registry_event(event: &RegistryEvent) -> Result<(), DecodeError> {
    match &event.change {
        RegistryChange::KeyClaimed { key, grants: of_key, .. } => grants(key, of_key),
        RegistryChange::TransferCommitted { tokens, licenses, .. } => moved(*tokens, *licenses),
        RegistryChange::TransferAborting { refusal: code, .. } => refusal(code),
        RegistryChange::ApiKeyCreated { organizations, .. } => api_key(organizations.len()),
        RegistryChange::KeyApplied { .. }
        | RegistryChange::TransferBegun { .. }
        | RegistryChange::TransferEnded { .. }
        | RegistryChange::ApiKeyRevoked { .. } => Ok(()),
    }
}

/// Checks how long event ids are remembered.
pub(super) fn retention(ms: u64) -> Result<(), DecodeError> {
    ensure((RETENTION_MS_MIN..=RETENTION_MS_MAX).contains(&ms), "a retention out of its bounds")
}

/// Checks the licenses of a pool or a cargo, and answers with what they hold in all.
pub(super) fn licenses(licenses: &[License]) -> Result<Tokens, DecodeError> {
    ensure(licenses.len() <= POOL_LICENSES_MAX, "more licenses than an organization may hold")?;
    licenses.iter().try_for_each(license)?;
    sum(licenses.iter().map(|license| license.remaining))
        .ok_or(DecodeError("licenses of more tokens than a pool may hold"))
}

/// Checks what is in transit.
pub(super) fn cargo(cargo: &Cargo) -> Result<(), DecodeError> {
    ensure(licenses(&cargo.licenses)? == cargo.tokens, "tokens in transit that its licenses do not hold")
}

/// Checks a reservation: how much, from when, until when.
pub(super) fn reserved(tokens: Tokens, at: Timestamp, until: Timestamp) -> Result<(), DecodeError> {
    ensure((1..=POOL_TOKENS_MAX).contains(&tokens.0), "the tokens of a reservation")?;
    let fits = at.plus_ms(RESERVATION_MS_MIN) <= until && until <= at.plus_ms(RESERVATION_MS_MAX);
    ensure(fits, "the time of a reservation")
}

/// Checks a rate card.
pub(super) fn rate_card(card: &RateCard) -> Result<(), DecodeError> {
    ensure(
        (1..u32::MAX).contains(&card.version) && rates::are_prices(&card.prices),
        "the prices of a rate card",
    )
}

/// Checks thresholds and webhooks.
pub(super) fn alerts_set(alerts: &Alerts) -> Result<(), DecodeError> {
    ensure(alerts.is_sound(), "thresholds and webhooks")
}

/// Checks what a license key grants.
pub(super) fn grants(key: &KeyId, grants: &[Tokens]) -> Result<(), DecodeError> {
    let key = LicenseKey { id: key.clone(), grants: grants.to_vec() };
    key.tokens().map(|_| ()).map_err(|_| DecodeError("the grants of a license key"))
}

/// Checks what a transfer moved.
pub(super) fn moved(tokens: Tokens, licenses: u32) -> Result<(), DecodeError> {
    let few = usize::try_from(licenses).is_ok_and(|licenses| licenses <= POOL_LICENSES_MAX);
    ensure(few && tokens.0 <= POOL_TOKENS_MAX, "a transfer of more than a pool may hold")
}

/// Checks the code of a refusal.
pub(super) fn refusal(code: &str) -> Result<(), DecodeError> {
    ensure((1..=REFUSAL_BYTES_MAX).contains(&code.len()), "the code of a refusal")
}

/// Checks for how many organizations an API key is.
pub(super) fn api_key(organizations: usize) -> Result<(), DecodeError> {
    ensure(organizations <= API_KEY_ORGANIZATIONS_MAX, "an API key for too many organizations")
}

/// The sum of amounts, when a pool may hold it.
pub(super) fn sum(amounts: impl IntoIterator<Item = Tokens>) -> Option<Tokens> {
    let mut amounts = amounts.into_iter();
    amounts
        .try_fold(Tokens::ZERO, |sum, amount| sum.checked_add(amount).filter(|sum| sum.0 <= POOL_TOKENS_MAX))
}

/// An error that names `what` unless `holds`.
pub(super) fn ensure(holds: bool, what: &'static str) -> Result<(), DecodeError> {
    if holds { Ok(()) } else { Err(DecodeError(what)) }
}

fn added(key: &KeyId, added: &[License]) -> Result<(), DecodeError> {
    ensure((1..=KEY_LICENSES_MAX).contains(&added.len()), "the count of added licenses")?;
    licenses(added)?;
    let fresh = |license: &License| license.remaining == license.granted && license.key == *key;
    ensure(added.iter().all(fresh), "an added license that is not as its key granted it")
}

fn license(license: &License) -> Result<(), DecodeError> {
    let held = Tokens::ZERO < license.granted && license.remaining <= license.granted;
    ensure(held, "a license that holds more than was granted")?;
    ensure(!license.history.is_empty(), "a license without its history")
}
