//! Tests of the events' codec: round trips, bounds, and damage.

use proptest::prelude::*;

use super::*;
use crate::domain::alerts::{Alerts, Measure, Threshold};
use crate::domain::bindings::UnlimitedLicense;
use crate::domain::debit::UsageKind;
use crate::domain::event::{Cargo, Change, OrganizationCreated};
use crate::domain::ids::{
    ActorId, AlertId, CameraId, KeyId, LicenseId, Name, OrgId, ReservationId, TransferId,
};
use crate::domain::license::{License, LicenseStep};
use crate::domain::limits::{KEY_LICENSES_MAX, POOL_TOKENS_MAX, RESERVATION_MS_MAX, RETENTION_MS_DEFAULT};
use crate::domain::rates::{Price, RateCard, Unit};
use crate::domain::registry::{RegistryChange, Role};
use crate::domain::time::Timestamp;
use crate::domain::tokens::Tokens;

fn at(ms: u64) -> Timestamp {
    Timestamp::from_ms(1_700_000_000_000 + ms).expect("in range")
}

fn actor() -> ActorId {
    ActorId::new("admin").expect("valid")
}

fn org() -> OrgId {
    OrgId::new("acme").expect("valid")
}

fn key() -> KeyId {
    KeyId::new("key").expect("valid")
}

fn license(granted: u64) -> License {
    let step = LicenseStep { at: at(0), organization: org(), by: actor(), transfer: None };
    let (granted, id) = (Tokens(granted), LicenseId::new("key.1").expect("valid"));
    License { id, key: key(), granted, remaining: granted, history: vec![step] }
}

fn created(retention_ms: u64) -> Change {
    let name = Name::new("Acme").expect("valid");
    Change::OrganizationCreated(OrganizationCreated {
        organization: org(),
        name,
        secret: (1, 2),
        retention_ms,
    })
}

fn bound(from: u64, until: u64) -> Change {
    let id = LicenseId::new("u").expect("valid");
    let license = UnlimitedLicense { id, kind: UsageKind::default(), from: at(from), until: at(until) };
    Change::UnlimitedBound { camera: CameraId::new("cam").expect("valid"), license }
}

fn coming(tokens: u64, licenses: Vec<License>) -> Change {
    let cargo = Cargo { source: org(), by: actor(), tokens: Tokens(tokens), licenses };
    Change::TransferInPrepared { transfer: TransferId::new("t").expect("valid"), cargo }
}

fn reserved(tokens: u64, until: u64) -> Change {
    let (reservation, tokens) = (ReservationId::new("r").expect("valid"), Tokens(tokens));
    Change::Reserved { reservation, tokens, until: at(until), by: actor() }
}

fn added(licenses: Vec<License>) -> Change {
    Change::LicensesAdded { key: key(), licenses }
}

fn body_of(change: Change) -> Vec<u8> {
    let mut out = vec![9];
    put_named(&mut out, &Event { at: at(5), change });
    out
}

fn registry_body_of(change: RegistryChange) -> Vec<u8> {
    let mut out = Vec::new();
    put_named(&mut out, &RegistryEvent { at: at(5), change });
    out
}

#[test]
fn events_that_could_break_a_pool_are_refused() {
    let bare = License { history: Vec::new(), ..license(5) };
    let swollen = License { remaining: Tokens(6), ..license(5) };
    let drawn = License { remaining: Tokens(4), ..license(5) };
    let strange = License { key: KeyId::new("other").expect("valid"), ..license(5) };
    for (bad, what) in [
        (created(0), "retention"),
        (created(u64::MAX), "retention"),
        (bound(5, 5), "never valid"),
        (added(vec![]), "count of added"),
        (added(vec![license(1); KEY_LICENSES_MAX + 1]), "count of added"),
        (added(vec![bare]), "without its history"),
        (added(vec![swollen]), "more than was granted"),
        (added(vec![license(0)]), "more than was granted"),
        (added(vec![drawn]), "as its key granted"),
        (added(vec![strange]), "as its key granted"),
        (added(vec![license(POOL_TOKENS_MAX), license(1)]), "more tokens than a pool"),
        (added(vec![license(u64::MAX), license(u64::MAX)]), "more tokens than a pool"),
        (coming(4, vec![license(5)]), "do not hold"),
        (reserved(0, 5_000), "tokens of a reservation"),
        (reserved(POOL_TOKENS_MAX + 1, 5_000), "tokens of a reservation"),
        (reserved(1, 1_004), "time of a reservation"),
        (reserved(1, 6 + RESERVATION_MS_MAX), "time of a reservation"),
        (rates(6, 1), "rate card of another time"),
        (rates(5, 0), "prices of a rate card"),
        (rates(5, u64::MAX), "prices of a rate card"),
        (alerts(6, 1, 1), "alerts of another time"),
        (alerts(5, 0, 1), "thresholds and webhooks"),
        (alerts(5, u32::MAX, 1), "thresholds and webhooks"),
        (alerts(5, 1, 0), "thresholds and webhooks"),
    ] {
        let refused = decode_org_event(&body_of(bad)).expect_err(what);
        assert!(refused.to_string().contains(what), "{what}: {refused}");
    }
    for good in [
        created(RETENTION_MS_DEFAULT),
        bound(5, 6),
        added(vec![license(5)]),
        coming(5, vec![license(5)]),
        reserved(1, 1_005),
        Change::ReservationReleased { reservation: ReservationId::new("r").expect("valid") },
        Change::ReservationsExpired,
        rates(5, 1),
        alerts(5, 1, 1),
    ] {
        let event = Event { at: at(5), change: good.clone() };
        assert_eq!(decode_org_event(&body_of(good)), Ok((OrgNumber(9), event)));
    }
}

fn alerts(ms: u64, version: u32, bound: u64) -> Change {
    let (id, measure) = (AlertId::new("low").expect("valid"), Measure::TokensLeft);
    let thresholds = vec![Threshold { id, measure, at: bound, rearm: None, window_ms: None }];
    let alerts = Alerts { version, at: at(ms), by: actor(), thresholds, webhooks: Vec::new() };
    Change::AlertsSet { alerts }
}

fn rates(ms: u64, millitokens: u64) -> Change {
    let prices = vec![Price { kind: UsageKind::default(), unit: Unit::Event, millitokens }];
    Change::RatesSet { card: RateCard { version: 1, from: at(9), at: at(ms), by: actor(), prices } }
}

#[test]
fn registry_events_out_of_bounds_are_refused() {
    let transfer = TransferId::new("t").expect("valid");
    let grants = |grants: Vec<Tokens>| RegistryChange::KeyClaimed {
        key: key(),
        organization: org(),
        grants,
        by: actor(),
    };
    let api_key = |count| RegistryChange::ApiKeyCreated {
        id: actor(),
        hash: [7; 32],
        label: Name::new("label").expect("valid"),
        role: Role::Admin,
        organizations: vec![org(); count],
        by: actor(),
    };
    let aborting = |refusal: &str| RegistryChange::TransferAborting {
        transfer: transfer.clone(),
        refusal: refusal.into(),
    };
    let committed = |tokens| {
        let (transfer, tokens) = (transfer.clone(), Tokens(tokens));
        RegistryChange::TransferCommitted { transfer, tokens, licenses: 1 }
    };
    for bad in [
        grants(vec![]),
        grants(vec![Tokens(0)]),
        api_key(257),
        aborting(""),
        aborting(&"x".repeat(65)),
        committed(POOL_TOKENS_MAX + 1),
    ] {
        assert!(decode_registry_event(&registry_body_of(bad.clone())).is_err(), "{bad:?}");
    }
    for change in [grants(vec![Tokens(1)]), api_key(1), aborting("conflict"), committed(9)] {
        let event = RegistryEvent { at: at(5), change: change.clone() };
        assert_eq!(decode_registry_event(&registry_body_of(change)), Ok(event));
    }
}

#[test]
fn what_follows_after_an_event_is_refused() {
    for more in [&[0_u8][..], &[0xc1], &[0xcd], &[0xdf, 0xff], &[0xc0, 0xc0]] {
        let body = [&body_of(bound(1, 2)), more].concat();
        assert_eq!(decode_org_event(&body), Err(DecodeError("bytes follow after the end")), "{more:?}");
    }
    assert_eq!(decode_closed(&[]), Ok(()));
    assert!(decode_closed(&[0]).is_err());
}

#[test]
fn deep_nesting_is_refused_without_deep_recursion() {
    let deep = [&[9, 0x82, 0xa1, b'x'][..], &[0x91; 1_000_000], &[0xc0]].concat();
    assert!(decode_org_event(&deep).is_err());
}

#[test]
#[should_panic(expected = "within its bounds")]
fn an_event_that_could_not_be_read_again_is_never_written() {
    encode_org_event(&mut Vec::new(), OrgNumber(1), &Event { at: at(0), change: created(0) });
}

#[test]
fn a_cut_off_event_is_refused() {
    let body = body_of(coming(5, vec![license(5)]));
    for cut in 0..body.len() {
        assert!(decode_org_event(&body[..cut]).is_err(), "cut at {cut}");
    }
}

proptest! {
    #[test]
    fn a_damaged_event_never_panics(place in any::<prop::sample::Index>(), mask in 1_u8..) {
        let mut body = body_of(coming(10, vec![license(5), license(5)]));
        let place = place.index(body.len());
        body[place] ^= mask;
        let _ = decode_org_event(&body);
        let _ = decode_registry_event(&body);
    }
}
