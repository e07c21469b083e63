//! What a restored pool must keep to before its invariants can be checked: sums that fit, sides that agree.

use crate::domain::burn::Burn;
use crate::domain::ids::Slot;
use crate::domain::limits::{
    POOL_TOKENS_MAX, RATE_CARDS_MAX, RESERVATIONS_ENDED_MAX, RESERVATIONS_OPEN_MAX, TIMESTAMP_MS_MAX,
};
use crate::domain::pool::{Pool, Totals};
use crate::domain::tokens::Tokens;
use crate::domain::transfer::TransferSide;

use super::decode_error::DecodeError;
use super::event_check::{self, ensure, sum};

/// Counters that no limit bounds stay below this, so that they can go on counting.
const COUNT_MAX: u64 = u64::MAX / 4;
const MINUTE_MS: u64 = 60_000;

/// Checks every bound that [`crate::domain::invariants::check_pool`] and later events rely on.
pub(super) fn bounds(pool: &Pool) -> Result<(), DecodeError> {
    event_check::retention(pool.retention_ms)?;
    let ordered = pool.created_at <= pool.last_at && pool.event_ids.horizon() <= pool.last_at;
    ensure(ordered, "a pool older than its creation")?;
    totals(&pool.totals, pool.balance)?;
    reservations(pool)?;
    rates(pool)?;
    pool.alerts.as_deref().map_or(Ok(()), event_check::alerts_set)?;
    let (held, drawn) = pool.licenses.parts();
    ensure(drawn <= event_check::licenses(held)?, "more drawn from licenses than they hold")?;
    let by_camera = pool.cameras.iter_from(Slot(0)).map(|(_, _, camera)| Tokens(camera.used));
    ensure(sum(by_camera).is_some(), "cameras that used more than a pool may hold")?;
    let by_network = pool.networks.iter().map(|network| network.used);
    ensure(sum(by_network).is_some(), "networks that used more than a pool may hold")?;
    let exempt = pool.networks.iter().try_fold(0_u64, |sum, network| sum.checked_add(network.exempt.0));
    ensure(exempt == Some(pool.totals.exempt.0), "exempt tokens that are not accounted for by network")?;
    transfers(pool)?;
    burn(&pool.burn)
}

fn totals(totals: &Totals, balance: Tokens) -> Result<(), DecodeError> {
    let came = sum([totals.granted, totals.transferred_in]);
    let went = sum([totals.transferred_out, totals.used, balance]);
    ensure(came.is_some() && went.is_some(), "totals of more tokens than a pool may hold")?;
    let counted = [totals.exempt.0, totals.debits_charged, totals.debits_exempt]
        .iter()
        .all(|count| *count <= COUNT_MAX);
    ensure(counted, "a count that is too high to go on")
}

fn reservations(pool: &Pool) -> Result<(), DecodeError> {
    let known = pool.reservations.known();
    let few = pool.reservations.open() <= RESERVATIONS_OPEN_MAX
        && known.len() - pool.reservations.open() <= RESERVATIONS_ENDED_MAX;
    ensure(few, "more reservations than an organization may have")?;
    ensure(pool.reservations.held() <= pool.balance, "reservations of more tokens than the pool has")?;
    known.values().try_for_each(|one| event_check::reserved(one.reserved, one.at, one.until))
}

fn rates(pool: &Pool) -> Result<(), DecodeError> {
    ensure(pool.rates.cards().count() <= RATE_CARDS_MAX, "more rate cards than are remembered")?;
    pool.rates.cards().try_for_each(event_check::rate_card)?;
    let mut pairs = pool.rates.cards().zip(pool.rates.cards().skip(1));
    let rises = pairs.all(|(card, next)| card.version.checked_add(1) == Some(next.version));
    ensure(rises, "rate cards out of order")
}

fn transfers(pool: &Pool) -> Result<(), DecodeError> {
    let mut coming = vec![pool.totals.granted, pool.totals.transferred_in];
    for (id, side) in &pool.transfers {
        match side {
            TransferSide::OutPrepared { cargo, .. } => {
                ensure(pool.outgoing.as_ref() == Some(id), "a transfer that does not freeze its source")?;
                event_check::cargo(cargo)?;
            }
            TransferSide::InPrepared { cargo } => {
                event_check::cargo(cargo)?;
                coming.push(cargo.tokens);
            }
            TransferSide::Closed | TransferSide::Credited | TransferSide::Aborted => {}
        }
    }
    ensure(sum(coming).is_some(), "more tokens in transit than fit the pool")
}

/// The fields of a burn rate are its own, so that they are looked at in their stored form.
fn burn(burn: &Burn) -> Result<(), DecodeError> {
    let stored = rmp_serde::to_vec(burn).map_err(|_| DecodeError("a burn rate"))?;
    let (minutes, newest): ([u64; 15], u64) =
        rmp_serde::from_slice(&stored).map_err(|_| DecodeError("a burn rate"))?;
    let fits = sum(minutes.map(Tokens)).is_some_and(|burned| burned.0 <= POOL_TOKENS_MAX);
    ensure(fits && newest <= TIMESTAMP_MS_MAX / MINUTE_MS, "a burn rate out of its bounds")
}
