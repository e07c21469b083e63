//! Judges what is asked of a pool. Nothing here changes the pool.

use crate::planted::{self, Bug};

use super::alerts;
use super::batch::{DebitRow, InCommon, RowCamera, RowIdentity};
use super::bindings::UnlimitedLicense;
use super::camera::{Camera, CameraFlags};
use super::command::{CameraSpec, Command};
use super::debit::{self, Charge, ChargeIdentity, FirstOutcome, Priced};
use super::event::{Cargo, Change};
use super::hash;
use super::ids::{ActorId, CameraId, LicenseId, OrgId, ReservationId, Slot, TransferId};
use super::license::{License, LicenseKey, LicenseStep};
use super::limits::{
    CAMERA_BINDINGS_MAX, CARGO_BYTES_MAX, EVENT_AHEAD_MS_MAX, POOL_CAMERAS_MAX, POOL_LICENSES_MAX,
    POOL_NETWORKS_MAX, POOL_TOKENS_MAX, RESERVATION_MS_MAX, RESERVATION_MS_MIN, RESERVATIONS_OPEN_MAX,
};
use super::pool::Pool;
use super::rates::{self, Price, RateCard, Unit};
use super::refusal::{Invalid, Limit, Refusal};
use super::seq_window::SeqClass;
use super::time::Timestamp;
use super::tokens::Tokens;
use super::transfer::TransferSide;

/// The judgement of a debit that is not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is to be carried out.
    Charge(Charge),
    /// It was carried out before.
    Duplicate(FirstOutcome),
}

/// What the pool knows of a debit's identity.
enum Known {
    New,
    TooOld,
    Same(FirstOutcome),
    OtherContent,
}

/// Judges one debit of a batch.
///
/// A debit that was carried out before is told as such first of all, whatever the camera's state is now. The
/// refusals follow in their order of precedence.
///
/// # Errors
/// The first refusal that applies.
// Called for each debit; as a call of its own, with its result in memory, it takes an eighth longer.
#[inline(always)]
pub fn debit(pool: &Pool, row: &DebitRow, common: InCommon<'_>, now: Timestamp) -> Result<Verdict, Refusal> {
    let InCommon { text, reservation, .. } = common;
    if let Some(invalid) = row.invalid {
        return Err(Refusal::Invalid(invalid));
    }
    if row.time.is_some_and(|time| time > now.plus_ms(EVENT_AHEAD_MS_MAX)) {
        return Err(Refusal::Invalid(Invalid::TimeAhead));
    }
    let (slot, camera) = find_camera(pool, row.camera, text).ok_or(Refusal::UnknownCamera)?;
    let print = debit::content_print(row.amount, row.unit, row.kind, row.time);
    let (identity, known) = match row.identity {
        RowIdentity::Seq { epoch, seq } => {
            (ChargeIdentity::Seq { epoch, seq }, known_seq(camera.window.classify(epoch, seq), print))
        }
        RowIdentity::EventId(id) => {
            let hash = hash::event_id(pool.secret, slot, id.of(text));
            (ChargeIdentity::EventId { hash, id }, known_event_id(pool, hash, print, row.time, now))
        }
    };
    if let Known::Same(first) = known {
        return Ok(Verdict::Duplicate(first));
    }
    if !camera.flags.has(CameraFlags::REGISTERED) {
        return Err(Refusal::UnknownCamera);
    }
    if row.network.is_some_and(|place| is_elsewhere(pool, camera, common.network(place))) {
        return Err(Refusal::OtherNetwork);
    }
    if !camera.flags.has(CameraFlags::CLOUD_AI) && !planted::is(Bug::MeterDisabled) {
        return Err(Refusal::CloudAiDisabled);
    }
    match known {
        Known::TooOld => return Err(Refusal::TooOld),
        Known::OtherContent => return Err(Refusal::Conflict),
        Known::New | Known::Same(_) => {}
    }
    let exempt = camera.flags.has(CameraFlags::BOUND)
        && pool.bindings.exempts(slot, row.kind, row.time.unwrap_or(now));
    let (tokens, priced) = match row.unit {
        None => (row.amount, None),
        Some(unit) => price(pool, row, unit, now)?,
    };
    if !exempt {
        check_funds(pool, reservation, tokens.into())?;
    }
    let (time, kind) = (row.time, row.kind);
    Ok(Verdict::Charge(Charge { slot, identity, time, tokens, print, kind, exempt, priced }))
}

/// Whether the camera is in another network than the debit names.
#[cold]
fn is_elsewhere(pool: &Pool, camera: &Camera, network: &[u8]) -> bool {
    let own = usize::try_from(camera.network).ok().and_then(|place| pool.networks.get(place));
    own.is_none_or(|own| own.name.as_str().as_bytes() != network)
}

/// Reads the cameras of rows that are judged next, so that the processor waits for their memory once for all of them and not at
/// each. With 10,000 cameras that wait was half of judging.
pub fn read_ahead(pool: &Pool, rows: impl Iterator<Item = DebitRow>) {
    let highest = rows.filter_map(|row| match row.camera {
        RowCamera::Slot(slot) => Some(pool.cameras.get(slot)?.window.highest),
        RowCamera::Id(_) => None,
    });
    std::hint::black_box(highest.fold(0, |read, highest| read ^ highest));
}

/// The tokens of an event that bears none. An exempt one needs a price too: what was not charged is counted.
#[cold]
fn price(pool: &Pool, row: &DebitRow, unit: Unit, now: Timestamp) -> Result<(u32, Option<Priced>), Refusal> {
    let count = row.amount;
    let (tokens, version) = pool.rates.price(row.kind, (unit, count), row.time.unwrap_or(now))?;
    Ok((tokens, Some(Priced { unit, count, version })))
}

/// Judges an administrative command; `None` when it is carried out already.
///
/// # Errors
/// Why it is refused.
pub fn command(pool: &Pool, command: Command, now: Timestamp) -> Result<Option<Change>, Refusal> {
    match command {
        Command::RegisterCamera(spec) => register_camera(pool, spec),
        Command::RemoveCamera { camera } => remove_camera(pool, camera),
        Command::BindUnlimited { camera, license } => bind(pool, camera, license),
        Command::UnbindUnlimited { license } => unbind(pool, license),
        Command::AddLicenses { key, by } => add_licenses(pool, &key, &by, now),
        Command::Reserve { reservation, tokens, ttl_ms, by } => {
            reserve(pool, reservation, (tokens, ttl_ms), by, now)
        }
        Command::ReleaseReservation { reservation } => release(pool, reservation),
        Command::SetRates { from, prices, by } => set_rates(pool, from, prices, (by, now)),
        Command::ChangeAlerts { change, by } => {
            let alerts = alerts::changed(pool.alerts.as_deref(), change, (by, now))?;
            Ok(alerts.map(|alerts| Change::AlertsSet { alerts }))
        }
        Command::Provided { precondition, change } => {
            precondition.check(pool)?;
            self::command(pool, *change, now)
        }
    }
}

/// Judges whether a key's licenses fit the pool, and makes them.
///
/// # Errors
/// When the key is out of bounds, the pool is being moved, or a total would pass its bound.
pub fn expand_key(
    pool: &Pool,
    key: &LicenseKey,
    by: &ActorId,
    at: Timestamp,
) -> Result<Vec<License>, Refusal> {
    let tokens = key.tokens()?;
    if pool.outgoing.is_some() {
        return Err(Refusal::InTransfer);
    }
    check_room(pool, tokens, key.grants.len())?;
    let step = LicenseStep { at, organization: pool.id.clone(), by: by.clone(), transfer: None };
    let license = |(i, granted): (usize, &Tokens)| {
        let (id, history) = (key.license_id(i + 1)?, vec![step.clone()]);
        Ok(License { id, key: key.id.clone(), granted: *granted, remaining: *granted, history })
    };
    key.grants.iter().enumerate().map(license).collect()
}

/// Judges whether the pool can be moved by this transfer; `None` when it is prepared already.
///
/// # Errors
/// When the transfer ended, another moves the pool already, there is nothing to move, or too much.
pub fn prepare_out(
    pool: &Pool,
    transfer: &TransferId,
    target: &OrgId,
    by: &ActorId,
) -> Result<Option<Change>, Refusal> {
    match pool.transfers.get(transfer) {
        Some(TransferSide::OutPrepared { .. }) => return Ok(None),
        Some(_) => return Err(Refusal::Conflict),
        None if pool.outgoing.is_some() => return Err(Refusal::InTransfer),
        None => {}
    }
    if pool.balance == Tokens::ZERO && pool.licenses.is_empty() {
        return Err(Refusal::NothingToTransfer);
    }
    if pool.licenses.parts().0.iter().map(License::bytes_max).sum::<usize>() > CARGO_BYTES_MAX {
        return Err(Refusal::LimitReached(Limit::Cargo));
    }
    let (transfer, target, by) = (transfer.clone(), target.clone(), by.clone());
    Ok(Some(Change::TransferOutPrepared { transfer, target, by }))
}

/// Judges whether the pool can receive a cargo; `None` when it is prepared already.
///
/// # Errors
/// When the transfer ended, or a total would pass its bound.
pub fn prepare_in(pool: &Pool, transfer: &TransferId, cargo: Cargo) -> Result<Option<Change>, Refusal> {
    match pool.transfers.get(transfer) {
        Some(TransferSide::InPrepared { .. }) => return Ok(None),
        Some(_) => return Err(Refusal::Conflict),
        None => {}
    }
    check_room(pool, cargo.tokens, cargo.licenses.len())?;
    Ok(Some(Change::TransferInPrepared { transfer: transfer.clone(), cargo }))
}

/// The change that commits this pool's side of a transfer; `None` when it ended already.
#[must_use]
pub fn commit(pool: &Pool, transfer: &TransferId) -> Option<Change> {
    let transfer = transfer.clone();
    match pool.transfers.get(&transfer)? {
        TransferSide::OutPrepared { .. } => Some(Change::TransferOutClosed { transfer }),
        TransferSide::InPrepared { .. } => Some(Change::TransferInCredited { transfer }),
        TransferSide::Closed | TransferSide::Credited | TransferSide::Aborted => None,
    }
}

/// The change that aborts this pool's side of a transfer; `None` when it ended already. A transfer that the pool does
/// not know is remembered as aborted, so that a late prepare finds it ended.
#[must_use]
pub fn abort(pool: &Pool, transfer: &TransferId) -> Option<Change> {
    let open = pool.transfers.get(transfer).is_none_or(TransferSide::is_prepared);
    open.then(|| Change::TransferAborted { transfer: transfer.clone() })
}

/// Why a license is not taken away: it is permanent (R4), or there is none.
#[must_use]
pub fn keep(pool: &Pool, license: &LicenseId) -> Refusal {
    if holds_shared(pool, license) { Refusal::LicenseIsPermanent } else { Refusal::UnknownLicense }
}

fn find_camera<'a>(pool: &'a Pool, camera: RowCamera, text: &[u8]) -> Option<(Slot, &'a Camera)> {
    let slot = match camera {
        RowCamera::Slot(slot) => slot,
        RowCamera::Id(id) => pool.cameras.find(id.of(text))?,
    };
    Some((slot, pool.cameras.get(slot)?))
}

#[inline]
fn known_seq(class: SeqClass, print: u16) -> Known {
    match class {
        SeqClass::New => Known::New,
        SeqClass::TooOld => Known::TooOld,
        SeqClass::Seen { print: Some(first), .. } if first != print => Known::OtherContent,
        SeqClass::Seen { exempt, .. } => Known::Same(first_outcome(exempt)),
    }
}

fn known_event_id(pool: &Pool, hash: u64, print: u16, time: Option<Timestamp>, now: Timestamp) -> Known {
    let horizon = pool.event_ids.horizon().max(now.minus_ms(pool.retention_ms));
    match pool.event_ids.find(hash, print) {
        Some(seen) if seen.same_content => Known::Same(first_outcome(seen.exempt)),
        _ if time.is_none_or(|time| time < horizon) => Known::TooOld,
        Some(_) => Known::OtherContent,
        None => Known::New,
    }
}

fn first_outcome(exempt: bool) -> FirstOutcome {
    if exempt { FirstOutcome::Exempt } else { FirstOutcome::Charged }
}

#[inline]
fn check_funds(pool: &Pool, reservation: Option<&ReservationId>, tokens: Tokens) -> Result<(), Refusal> {
    if let Some(reservation) = reservation {
        return pool.reservations.check(reservation, tokens);
    }
    if pool.outgoing.is_some() {
        return Err(Refusal::InTransfer);
    }
    if pool.available() < tokens { Err(Refusal::InsufficientTokens) } else { Ok(()) }
}

fn reserve(
    pool: &Pool,
    reservation: ReservationId,
    (tokens, ttl_ms): (Tokens, u64),
    by: ActorId,
    now: Timestamp,
) -> Result<Option<Change>, Refusal> {
    if !(1..=POOL_TOKENS_MAX).contains(&tokens.0) {
        return Err(Invalid::Reserved.into());
    }
    if !(RESERVATION_MS_MIN..=RESERVATION_MS_MAX).contains(&ttl_ms) {
        return Err(Invalid::TimeToLive.into());
    }
    if let Some(known) = pool.reservations.get(&reservation) {
        let same = known.reserved == tokens && known.until == known.at.plus_ms(ttl_ms);
        if !planted::is(Bug::CountLeaseTwice) {
            return if same { Ok(None) } else { Err(Refusal::Conflict) };
        }
    }
    check_funds(pool, None, tokens)?;
    if pool.reservations.open() >= RESERVATIONS_OPEN_MAX {
        return Err(Refusal::LimitReached(Limit::Reservations));
    }
    Ok(Some(Change::Reserved { reservation, tokens, until: now.plus_ms(ttl_ms), by }))
}

fn release(pool: &Pool, reservation: ReservationId) -> Result<Option<Change>, Refusal> {
    let known = pool.reservations.get(&reservation).ok_or(Refusal::UnknownReservation)?;
    let changes = known.ended.is_none() || planted::is(Bug::FreeReservationTwice);
    Ok(changes.then_some(Change::ReservationReleased { reservation }))
}

/// A card that would price everything as the newest one does already changes nothing.
fn set_rates(
    pool: &Pool,
    from: Option<Timestamp>,
    prices: Vec<Price>,
    (by, at): (ActorId, Timestamp),
) -> Result<Option<Change>, Refusal> {
    let prices = rates::ordered(prices)?;
    let newest = pool.rates.newest();
    let applies = |card: &RateCard| from.map_or(card.from <= at, |from| card.from == from);
    if newest.is_some_and(|card| card.prices == prices && applies(card)) {
        return Ok(None);
    }
    let version = newest.map_or(0, |card| card.version) + 1;
    let card = RateCard { version, from: from.unwrap_or(at), at, by, prices };
    Ok(Some(Change::RatesSet { card }))
}

fn register_camera(pool: &Pool, spec: CameraSpec) -> Result<Option<Change>, Refusal> {
    let known = pool.cameras.find(spec.id.as_str().as_bytes());
    if known.is_none() && pool.cameras.slots() >= POOL_CAMERAS_MAX {
        return Err(Refusal::LimitReached(Limit::Cameras));
    }
    if !pool.network_places.contains_key(&spec.network) && pool.networks.len() >= POOL_NETWORKS_MAX {
        return Err(Refusal::LimitReached(Limit::Networks));
    }
    let view = known.and_then(|slot| pool.camera_view(slot));
    let same = view.is_some_and(|view| {
        (view.network, view.cloud_ai, view.pro_license)
            == (spec.network.clone(), spec.cloud_ai, spec.pro_license)
    });
    let CameraSpec { id: camera, network, cloud_ai, pro_license } = spec;
    Ok((!same).then_some(Change::CameraRegistered { camera, network, cloud_ai, pro_license }))
}

fn remove_camera(pool: &Pool, camera: CameraId) -> Result<Option<Change>, Refusal> {
    registered(pool, &camera)?;
    Ok(Some(Change::CameraRemoved { camera }))
}

fn bind(pool: &Pool, camera: CameraId, license: UnlimitedLicense) -> Result<Option<Change>, Refusal> {
    if license.from >= license.until {
        return Err(Refusal::Invalid(Invalid::Validity));
    }
    let slot = registered(pool, &camera)?;
    if holds_shared(pool, &license.id) {
        return Err(Refusal::LicenseIsPermanent);
    }
    match pool.bindings.camera_of(&license.id) {
        Some(other) if other != slot => return Err(Refusal::LicenseInUse),
        Some(_) if pool.bindings.of(slot).contains(&license) => return Ok(None),
        None if pool.bindings.of(slot).len() >= CAMERA_BINDINGS_MAX => {
            return Err(Refusal::LimitReached(Limit::Bindings));
        }
        _ => {}
    }
    Ok(Some(Change::UnlimitedBound { camera, license }))
}

fn unbind(pool: &Pool, license: LicenseId) -> Result<Option<Change>, Refusal> {
    if pool.bindings.camera_of(&license).is_some() {
        return Ok(Some(Change::UnlimitedUnbound { license }));
    }
    Err(keep(pool, &license))
}

fn add_licenses(
    pool: &Pool,
    key: &LicenseKey,
    by: &ActorId,
    at: Timestamp,
) -> Result<Option<Change>, Refusal> {
    if pool.keys.contains(&key.id) && !planted::is(Bug::CreditTwice) {
        return Ok(None);
    }
    let licenses = expand_key(pool, key, by, at)?;
    Ok(Some(Change::LicensesAdded { key: key.id.clone(), licenses }))
}

/// The slot of a camera that the organization has.
///
/// # Errors
/// When it has none of that id.
pub(crate) fn registered(pool: &Pool, camera: &CameraId) -> Result<Slot, Refusal> {
    let slot = pool.cameras.find(camera.as_str().as_bytes()).ok_or(Refusal::UnknownCamera)?;
    let flags = pool.cameras.get(slot).map(|camera| camera.flags).unwrap_or_default();
    if flags.has(CameraFlags::REGISTERED) { Ok(slot) } else { Err(Refusal::UnknownCamera) }
}

/// Whether the organization has this Shared AI Token License, in its pool or in transit out of it.
fn holds_shared(pool: &Pool, license: &LicenseId) -> bool {
    let in_transit = pool.outgoing_cargo().map_or(&[][..], |cargo| &cargo.licenses);
    pool.licenses.parts().0.iter().chain(in_transit).any(|shared| shared.id == *license)
}

/// Whether so many tokens and licenses fit, those on their way here included, and those that an abort would bring back.
///
/// # Errors
/// When a total would pass its bound.
pub(crate) fn check_room(pool: &Pool, tokens: Tokens, licenses: usize) -> Result<(), Refusal> {
    let cargo = |side: &TransferSide| match side {
        TransferSide::InPrepared { cargo } => Some((cargo.tokens, cargo.licenses.len())),
        _ => None,
    };
    let coming: Vec<_> = pool.transfers.values().filter_map(cargo).collect();
    let ever = pool.totals.granted.plus(pool.totals.transferred_in);
    let sum = coming.iter().try_fold(ever, |sum, (tokens, _)| sum.checked_add(*tokens));
    let sum = sum.and_then(|sum| sum.checked_add(tokens));
    if sum.is_none_or(|sum| sum.0 > POOL_TOKENS_MAX) {
        return Err(Refusal::LimitReached(Limit::PoolTokens));
    }
    let out = pool.outgoing_cargo().map_or(0, |cargo| cargo.licenses.len());
    let held = pool.licenses.len() + out + coming.iter().map(|(_, count)| count).sum::<usize>();
    if held + licenses > POOL_LICENSES_MAX { Err(Refusal::LimitReached(Limit::Licenses)) } else { Ok(()) }
}
