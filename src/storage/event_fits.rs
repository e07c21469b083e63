//! Whether a stored event fits the very state that it is about to be carried out upon.
//!
//! A replay asks before each one, because a checksum vouches for bytes, not for who wrote them: an event that was
//! decided against another state would leave a pool or a registry that breaks an invariant, or that no snapshot can hold.
//! Deliberately absent: the rules. What was decided once is never judged again; only what applying it relies on is asked for, of
//! `decide` where that asks it too.

use crate::domain::decide;
use crate::domain::event::{Change, Event};
use crate::domain::ids::{LicenseId, Lsn, Slot};
use crate::domain::limits::{
    API_KEYS_MAX, CAMERA_BINDINGS_MAX, POOL_CAMERAS_MAX, POOL_NETWORKS_MAX, RESERVATIONS_OPEN_MAX,
};
use crate::domain::pool::Pool;
use crate::domain::registry::{Registry, RegistryChange, RegistryEvent, TransferState};
use crate::domain::transfer::TransferSide;

/// Whether the event of an organization fits its pool.
pub(super) fn pool(pool: &Pool, event: &Event) -> bool {
    match &event.change {
        Change::OrganizationCreated(_) => pool.lsn == Lsn(0),
        Change::CameraRegistered { camera, network, .. } => {
            let is_known = pool.cameras.find(camera.as_str().as_bytes()).is_some();
            let is_listed = pool.network_places.contains_key(network);
            (is_known || pool.cameras.slots() < POOL_CAMERAS_MAX)
                && (is_listed || pool.networks.len() < POOL_NETWORKS_MAX)
        }
        Change::CameraRemoved { camera } => decide::registered(pool, camera).is_ok(),
        Change::UnlimitedBound { camera, license } => {
            decide::registered(pool, camera).is_ok_and(|slot| may_bind(pool, slot, &license.id))
        }
        Change::UnlimitedUnbound { license } => pool.bindings.camera_of(license).is_some(),
        Change::LicensesAdded { key, licenses } => {
            let tokens = licenses.iter().map(|license| license.granted).sum();
            !pool.keys.contains(key) && decide::check_room(pool, tokens, licenses.len()).is_ok()
        }
        Change::Reserved { reservation, tokens, .. } => {
            let has_place = pool.reservations.open() < RESERVATIONS_OPEN_MAX;
            has_place && pool.reservations.get(reservation).is_none() && *tokens <= pool.available()
        }
        Change::ReservationReleased { reservation } => {
            pool.reservations.get(reservation).is_some_and(|known| known.ended.is_none())
        }
        Change::ReservationsExpired => pool.reservations.is_due(event.at),
        Change::RatesSet { card } => {
            let newest = pool.rates.newest().map_or(0, |card| card.version);
            newest.checked_add(1) == Some(card.version)
        }
        Change::AlertsSet { alerts } => {
            let known = pool.alerts.as_deref().map_or(0, |alerts| alerts.version);
            known.checked_add(1) == Some(alerts.version)
        }
        Change::TransferOutPrepared { transfer, .. } => {
            let is_new = pool.outgoing.is_none() && !pool.transfers.contains_key(transfer);
            is_new && pool.reservations.open() == 0
        }
        Change::TransferInPrepared { transfer, cargo } => {
            let has_room = decide::check_room(pool, cargo.tokens, cargo.licenses.len()).is_ok();
            has_room && !pool.transfers.contains_key(transfer)
        }
        Change::TransferOutClosed { transfer } => {
            matches!(pool.transfers.get(transfer), Some(TransferSide::OutPrepared { .. }))
        }
        Change::TransferInCredited { transfer } => {
            matches!(pool.transfers.get(transfer), Some(TransferSide::InPrepared { .. }))
        }
        Change::TransferAborted { transfer } => {
            pool.transfers.get(transfer).is_none_or(TransferSide::is_prepared)
        }
    }
}

/// Whether the event fits the registry.
pub(super) fn registry(registry: &Registry, event: &RegistryEvent) -> bool {
    let state = |transfer| registry.transfers.get(transfer).map(|known| known.state);
    match &event.change {
        RegistryChange::KeyClaimed { key, .. } => !registry.claims.contains_key(key),
        RegistryChange::KeyApplied { key } => registry.claims.get(key).is_some_and(|claim| !claim.applied),
        RegistryChange::TransferBegun { transfer, .. } => state(transfer).is_none(),
        RegistryChange::TransferCommitted { transfer, .. }
        | RegistryChange::TransferAborting { transfer, .. } => state(transfer) == Some(TransferState::Begun),
        RegistryChange::TransferEnded { transfer } => {
            matches!(state(transfer), Some(TransferState::Committed | TransferState::Aborting))
        }
        RegistryChange::ApiKeyCreated { id, .. } => {
            !registry.api_keys.contains_key(id) && registry.api_keys.len() < API_KEYS_MAX
        }
        RegistryChange::ApiKeyRevoked { id } => {
            registry.api_keys.get(id).is_some_and(|key| key.revoked_at.is_none())
        }
    }
}

/// A license is bound to one camera at most; to the same one again, its terms change.
fn may_bind(pool: &Pool, slot: Slot, license: &LicenseId) -> bool {
    match pool.bindings.camera_of(license) {
        Some(bound) => bound == slot,
        None => pool.bindings.of(slot).len() < CAMERA_BINDINGS_MAX,
    }
}

#[cfg(test)]
mod tests {
    use crate::domain::bindings::UnlimitedLicense;
    use crate::domain::debit::UsageKind;
    use crate::domain::event::{Cargo, OrganizationCreated};
    use crate::domain::ids::{ActorId, CameraId, KeyId, Name, OrgId, ReservationId, TransferId};
    use crate::domain::license::License;
    use crate::domain::limits::{POOL_TOKENS_MAX, RETENTION_MS_DEFAULT};
    use crate::domain::time::Timestamp;
    use crate::domain::tokens::Tokens;

    use super::*;

    fn at() -> Timestamp {
        Timestamp::from_ms(1_750_000_000_000).expect("in range")
    }

    fn id(text: &str) -> TransferId {
        TransferId::new(text).expect("valid")
    }

    fn by() -> ActorId {
        ActorId::new("admin").expect("valid")
    }

    fn org() -> OrgId {
        OrgId::new("acme").expect("valid")
    }

    fn name() -> Name {
        Name::new("north").expect("valid")
    }

    fn camera() -> CameraId {
        CameraId::new("cam").expect("valid")
    }

    fn registered() -> Change {
        Change::CameraRegistered { camera: camera(), network: name(), cloud_ai: true, pro_license: false }
    }

    fn bound() -> Change {
        let (from, until) = (at(), at().plus_ms(1));
        let id = LicenseId::new("unlimited").expect("valid");
        Change::UnlimitedBound {
            camera: camera(),
            license: UnlimitedLicense { id, kind: UsageKind::default(), from, until },
        }
    }

    fn added(key: &str, tokens: u64) -> Change {
        let (key, granted) = (KeyId::new(key).expect("valid"), Tokens(tokens));
        let id = LicenseId::new(key.as_str()).expect("valid");
        let license = License { id, key: key.clone(), granted, remaining: granted, history: Vec::new() };
        Change::LicensesAdded { key, licenses: vec![license] }
    }

    fn coming(transfer: &str, tokens: u64) -> Change {
        let cargo = Cargo { source: org(), by: by(), tokens: Tokens(tokens), licenses: Vec::new() };
        Change::TransferInPrepared { transfer: id(transfer), cargo }
    }

    /// What fits one after the other, and what fits no longer after that.
    fn check(history: &[Change], no_longer: &[Change]) {
        let created = OrganizationCreated {
            organization: org(),
            name: name(),
            secret: (1, 2),
            retention_ms: RETENTION_MS_DEFAULT,
        };
        let mut live = Pool::new(created.clone(), at());
        live.lsn = Lsn(1);
        let fits = |live: &Pool, change: &Change| pool(live, &Event { at: at(), change: change.clone() });
        assert!(!fits(&live, &Change::OrganizationCreated(created)));
        for change in history {
            assert!(fits(&live, change), "{change:?}");
            live.apply(&Event { at: at(), change: change.clone() });
        }
        for change in no_longer {
            assert!(!fits(&live, change), "{change:?}");
        }
    }

    #[test]
    fn i8_an_event_that_contradicts_its_pool_does_not_fit() {
        let removed = Change::CameraRemoved { camera: camera() };
        check(&[], &[removed.clone(), bound()]);
        check(&[registered(), bound(), bound(), removed.clone()], &[removed, bound()]);
        check(&[added("k", 5)], &[added("k", 5), added("other", POOL_TOKENS_MAX)]);
    }

    #[test]
    fn i7_a_reservation_that_holds_what_is_not_there_or_ends_twice_does_not_fit() {
        let reservation = || ReservationId::new("r").expect("valid");
        let reserved = |tokens| {
            let (tokens, until) = (Tokens(tokens), at().plus_ms(1_000));
            Change::Reserved { reservation: reservation(), tokens, until, by: by() }
        };
        let released = Change::ReservationReleased { reservation: reservation() };
        let out = Change::TransferOutPrepared { transfer: id("t"), target: org(), by: by() };
        let expired = Change::ReservationsExpired;
        check(&[added("k", 5)], &[reserved(6), released.clone(), expired.clone()]);
        check(&[added("k", 5), reserved(5)], &[reserved(1), out.clone(), expired]);
        check(&[added("k", 5), reserved(5), released.clone()], &[released, reserved(1)]);
    }

    #[test]
    fn i6_a_side_of_a_transfer_that_ended_or_is_another_does_not_fit() {
        let out = Change::TransferOutPrepared { transfer: id("t"), target: org(), by: by() };
        let closed = Change::TransferOutClosed { transfer: id("t") };
        let credited = Change::TransferInCredited { transfer: id("t") };
        let aborted = Change::TransferAborted { transfer: id("t") };
        check(&[], &[closed.clone(), credited.clone()]);
        check(&[added("k", 5), out.clone()], &[out.clone(), coming("t", 5), credited.clone()]);
        check(&[added("k", 5), out.clone(), closed.clone()], &[closed.clone(), aborted.clone(), out.clone()]);
        check(&[coming("t", 5)], &[coming("t", 5), closed.clone(), coming("other", POOL_TOKENS_MAX)]);
        check(&[coming("t", 5), credited.clone()], &[credited.clone(), aborted.clone()]);
        check(std::slice::from_ref(&aborted), &[aborted.clone(), out, credited, closed]);
    }

    #[test]
    fn i6_what_was_decided_of_a_transfer_is_not_decided_again() {
        let mut live = Registry::default();
        let (source, target) = (org(), OrgId::new("other").expect("valid"));
        let event = |change| RegistryEvent { at: at(), change };
        let begun = event(RegistryChange::TransferBegun { transfer: id("t"), source, target, by: by() });
        let committed =
            event(RegistryChange::TransferCommitted { transfer: id("t"), tokens: Tokens(5), licenses: 1 });
        let aborting =
            event(RegistryChange::TransferAborting { transfer: id("t"), refusal: "busy".to_owned() });
        let ended = event(RegistryChange::TransferEnded { transfer: id("t") });
        let all = [&begun, &committed, &aborting, &ended];
        let fitting = |live: &Registry| all.map(|event| registry(live, event));
        assert_eq!(fitting(&live), [true, false, false, false]);
        live.apply(&begun);
        assert_eq!(fitting(&live), [false, true, true, false]);
        live.apply(&committed);
        assert_eq!(fitting(&live), [false, false, false, true]);
        live.apply(&ended);
        assert_eq!(fitting(&live), [false; 4]);
    }
}
