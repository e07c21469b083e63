//! The invariants that a state can be checked for, by the ids of `docs/INVARIANTS.md`.

use std::collections::BTreeMap;

use super::camera::CameraFlags;
use super::ids::{OrgId, Slot};
use super::pool::Pool;
use super::registry::{Registry, TransferState};
use super::reservation::Reservation;
use super::tokens::Tokens;
use super::transfer::TransferSide;

/// A broken invariant: which, and how it shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The invariant's id, as in `I1`.
    pub id: &'static str,
    /// What was found.
    pub what: String,
}

/// Checks one pool; empty when all holds.
#[must_use]
pub fn check_pool(pool: &Pool) -> Vec<Violation> {
    let mut found = Vec::new();
    let totals = &pool.totals;
    let came = totals.granted.0 + totals.transferred_in.0;
    let went = pool.balance.0 + pool.in_transit().0 + totals.used.0 + totals.transferred_out.0;
    expect(&mut found, "I1", came == went, || {
        format!("{}: {came} tokens came, {went} are accounted for", pool.id)
    });
    let held = pool.licenses.remaining();
    expect(&mut found, "I1", held == pool.balance, || {
        format!("{}: the licenses hold {held} tokens, the pool {}", pool.id, pool.balance)
    });
    let reserved = pool.reservations.known().values().map(Reservation::held).sum::<Tokens>();
    expect(&mut found, "I7", reserved == pool.reservations.held() && reserved <= pool.balance, || {
        let held = pool.reservations.held();
        format!("{}: open reservations hold {reserved} tokens, {held} are held of {}", pool.id, pool.balance)
    });
    let by_network: u64 = pool.networks.iter().map(|network| network.used.0).sum();
    let by_camera: u64 = pool.cameras.iter_from(Slot(0)).map(|(_, _, camera)| camera.used).sum();
    expect(&mut found, "I1", by_network == totals.used.0 && by_camera == totals.used.0, || {
        format!("{}: used {} in all, {by_network} by network, {by_camera} by camera", pool.id, totals.used)
    });
    let frozen = pool.outgoing.as_ref().is_none_or(|transfer| {
        matches!(pool.transfers.get(transfer), Some(TransferSide::OutPrepared { .. }))
    });
    expect(&mut found, "I6", frozen, || format!("{}: frozen by a transfer that is not prepared", pool.id));
    let bound = pool
        .bindings
        .iter()
        .all(|(slot, _)| pool.cameras.get(slot).is_some_and(|camera| camera.flags.has(CameraFlags::BOUND)));
    expect(&mut found, "I8", bound, || format!("{}: a bound license is not marked at its camera", pool.id));
    found
}

/// Checks all pools of a directory together: no token appears or disappears, transit counted once (I1), and both
/// sides of every transfer ended alike (I6).
#[must_use]
pub fn check_directory<'a>(
    registry: &Registry,
    pools: impl Iterator<Item = &'a Pool> + Clone,
) -> Vec<Violation> {
    let mut found: Vec<_> = pools.clone().flat_map(check_pool).collect();
    let granted: Tokens = pools.clone().map(|pool| pool.totals.granted).sum();
    let used: Tokens = pools.clone().map(|pool| pool.totals.used).sum();
    let held: Tokens =
        pools.clone().map(|pool| pool.balance.plus(transit_counted_once(registry, pool))).sum();
    expect(&mut found, "I1", granted == used.plus(held), || {
        format!("{granted} tokens were granted, {used} are used and {held} are held")
    });
    let by_id: BTreeMap<_, _> = pools.map(|pool| (&pool.id, pool)).collect();
    for pool in by_id.values() {
        check_sides(registry, pool, &mut found);
        check_keys(registry, pool, &mut found);
    }
    check_ended(registry, &by_id, &mut found);
    found
}

/// The tokens in transit that are counted at this pool: at the source until the commit, at the target after it.
fn transit_counted_once(registry: &Registry, pool: &Pool) -> Tokens {
    let counted = pool.transfers.iter().map(|(id, side)| {
        let committed = registry.transfers.get(id).is_some_and(|transfer| {
            matches!(transfer.state, TransferState::Committed | TransferState::Finished)
        });
        match side {
            TransferSide::OutPrepared { cargo, .. } if !committed => cargo.tokens,
            TransferSide::InPrepared { cargo } if committed => cargo.tokens,
            _ => Tokens::ZERO,
        }
    });
    counted.sum()
}

fn check_sides(registry: &Registry, pool: &Pool, found: &mut Vec<Violation>) {
    for (id, side) in &pool.transfers {
        let state = registry.transfers.get(id).map(|transfer| transfer.state);
        let alike = match (state, side) {
            (Some(TransferState::Committed), side) => *side != TransferSide::Aborted,
            (Some(TransferState::Finished), side) => {
                matches!(side, TransferSide::Closed | TransferSide::Credited)
            }
            (Some(TransferState::Begun), side) => side.is_prepared(),
            (Some(TransferState::Aborting | TransferState::Aborted), side) => {
                side.is_prepared() || *side == TransferSide::Aborted
            }
            (None, _) => false,
        };
        expect(found, "I6", alike, || format!("{}: transfer {id} is {state:?} but {side:?} here", pool.id));
    }
}

/// R6: the licenses of a pool's keys are what the organization claimed, and no other organization did.
fn check_keys(registry: &Registry, pool: &Pool, found: &mut Vec<Violation>) {
    let mut claimed = Tokens::ZERO;
    for key in &pool.keys {
        let claim = registry.claims.get(key).filter(|claim| claim.organization == pool.id);
        expect(found, "I1", claim.is_some(), || {
            format!("{}: license key {key} was not claimed by it", pool.id)
        });
        claimed = claimed.plus(claim.map_or(Tokens::ZERO, |claim| claim.grants.iter().copied().sum()));
    }
    let granted = pool.totals.granted;
    expect(found, "I1", claimed == granted, || {
        format!("{}: {claimed} tokens claimed, {granted} granted", pool.id)
    });
}

/// What the registry knows as done is done in the pools.
fn check_ended(registry: &Registry, pools: &BTreeMap<&OrgId, &Pool>, found: &mut Vec<Violation>) {
    for (id, transfer) in
        registry.transfers.iter().filter(|(_, transfer)| transfer.state == TransferState::Finished)
    {
        let side = |org| pools.get(org).and_then(|pool| pool.transfers.get(id));
        let sides = (side(&transfer.source), side(&transfer.target));
        let both = sides == (Some(&TransferSide::Closed), Some(&TransferSide::Credited));
        expect(found, "I6", both, || format!("transfer {id} is finished, its sides are {sides:?}"));
    }
    for (key, claim) in registry.claims.iter().filter(|(_, claim)| claim.applied) {
        let there = pools.get(&claim.organization).is_some_and(|pool| pool.keys.contains(key));
        expect(found, "I1", there, || {
            format!("license key {key} is applied, but not in {}", claim.organization)
        });
    }
}

fn expect(found: &mut Vec<Violation>, id: &'static str, holds: bool, what: impl FnOnce() -> String) {
    if !holds {
        found.push(Violation { id, what: what() });
    }
}
