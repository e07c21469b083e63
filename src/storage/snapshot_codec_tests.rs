//! Tests of the snapshot's codec: round trips, bounds, and damage.

use proptest::prelude::*;

use super::*;
use crate::domain::alerts::{Alerts, AlertsChange, WebhookUrl, changed};
use crate::domain::bindings::UnlimitedLicense;
use crate::domain::debit::{Charge, ChargeIdentity, Charges, Span, UsageKind};
use crate::domain::event::{Cargo, Change, Event, OrganizationCreated};
use crate::domain::hash;
use crate::domain::ids::{
    ActorId, CameraId, KeyId, LicenseId, Lsn, Name, OrgId, ReservationId, Slot, TransferId, WebhookId,
};
use crate::domain::license::{License, LicenseStep};
use crate::domain::limits::RETENTION_MS_DEFAULT;
use crate::domain::rates::{Price, RateCard, Unit};
use crate::domain::registry::{RegistryChange, RegistryEvent, TransferState};
use crate::domain::reservation::{Ended, Reservation, Reservations};
use crate::domain::time::Timestamp;
use crate::domain::tokens::Tokens;

const SECRET: (u64, u64) = (11, 12);

fn at(ms: u64) -> Timestamp {
    Timestamp::from_ms(1_700_000_000_000 + ms).expect("in range")
}

fn actor() -> ActorId {
    ActorId::new("admin").expect("valid")
}

fn transfer(id: &str) -> TransferId {
    TransferId::new(id).expect("valid")
}

fn license(id: &str, granted: u64) -> License {
    let step = LicenseStep {
        at: at(0),
        organization: OrgId::new("acme").expect("valid"),
        by: actor(),
        transfer: None,
    };
    let (id, key, granted) =
        (LicenseId::new(id).expect("valid"), KeyId::new("key").expect("valid"), Tokens(granted));
    License { id, key, granted, remaining: granted, history: vec![step] }
}

fn registered(camera: usize) -> Change {
    let network = Name::new(["Süd", "Nord", "West"][camera % 3]).expect("valid");
    let camera = CameraId::new(&format!("cam-{camera}")).expect("valid");
    Change::CameraRegistered { camera, network, cloud_ai: true, pro_license: false }
}

fn empty(id: &str) -> Pool {
    let (organization, name) = (OrgId::new(id).expect("valid"), Name::new("Acme").expect("valid"));
    let created =
        OrganizationCreated { organization, name, secret: SECRET, retention_ms: RETENTION_MS_DEFAULT };
    Pool::new(created, at(0))
}

/// A pool with something in each of its parts, after `debits`: camera, tokens, whether by event id, whether exempt.
fn pool(id: &str, cameras: usize, debits: &[(usize, u32, bool, bool)]) -> Pool {
    let mut pool = empty(id);
    let key = KeyId::new("key").expect("valid");
    let unlimited = |id: &str| UnlimitedLicense {
        id: LicenseId::new(id).expect("valid"),
        kind: UsageKind::default(),
        from: at(0),
        until: at(9_000),
    };
    let camera = CameraId::new("cam-0").expect("valid");
    let changes = [
        Change::LicensesAdded {
            key,
            licenses: vec![license("key.1", 1_000_000), license("key.2", 2_000_000)],
        },
        Change::UnlimitedBound { camera: camera.clone(), license: unlimited("u-2") },
        Change::UnlimitedBound { camera, license: unlimited("u-1") },
        Change::TransferAborted { transfer: transfer("t-0") },
    ];
    for change in (0..cameras).map(registered).chain(changes) {
        pool.apply(&Event { at: at(1), change });
    }
    apply_debits(&mut pool, cameras, 1, debits);
    pool.lsn = Lsn(77);
    pool
}

fn apply_debits(pool: &mut Pool, cameras: usize, first: u64, debits: &[(usize, u32, bool, bool)]) {
    let mut text = Vec::new();
    let charges: Vec<_> = (first..)
        .zip(debits)
        .map(|(n, (camera, tokens, by_event_id, exempt))| {
            let slot = Slot(u32::try_from(camera % cameras).expect("small"));
            let id = Span::push(&mut text, format!("event-{n}").as_bytes());
            let hash = hash::event_id(SECRET, slot, id.of(&text));
            let time = by_event_id.then(|| at(100));
            let seq = ChargeIdentity::Seq { epoch: 4, seq: n };
            let identity = if *by_event_id { ChargeIdentity::EventId { hash, id } } else { seq };
            let (kind, exempt) = (UsageKind::default(), *exempt);
            let print = hash::content_print(*tokens, kind.number(), time);
            Charge { slot, identity, time, tokens: *tokens, print, kind, exempt, priced: None }
        })
        .collect();
    pool.apply_charges(Charges { at: at(200), charges: &charges, text: &text, reservation: None });
}

/// A pool whose tokens are on their way to another, and to which others come.
fn in_transit() -> Pool {
    let mut pool = pool("moving", 3, &[(0, 9, false, false)]);
    let cargo = Cargo {
        source: OrgId::new("other").expect("valid"),
        by: actor(),
        tokens: Tokens(5),
        licenses: vec![license("o.1", 5)],
    };
    let target = OrgId::new("other").expect("valid");
    for change in [
        Change::TransferOutPrepared { transfer: transfer("t-1"), target, by: actor() },
        Change::TransferInPrepared { transfer: transfer("t-2"), cargo: cargo.clone() },
        Change::TransferInPrepared { transfer: transfer("t-3"), cargo },
        Change::TransferInCredited { transfer: transfer("t-3") },
    ] {
        pool.apply(&Event { at: at(300), change });
    }
    pool
}

fn id(reservation: &str) -> ReservationId {
    ReservationId::new(reservation).expect("valid")
}

/// A pool of which one reservation is open, settled in part, and others ended each in its way.
fn reserving() -> Pool {
    let mut pool = pool("reserving", 3, &[]);
    let reserved = |name: &str, tokens, ms: u64| {
        let (reservation, tokens, until) = (id(name), Tokens(tokens), at(200 + ms));
        Change::Reserved { reservation, tokens, until, by: actor() }
    };
    for change in [
        reserved("open", 50, 60_000),
        reserved("z", 7, 50_000),
        reserved("short", 5, 1_000),
        reserved("paid", 3, 60_000),
        Change::ReservationReleased { reservation: id("z") },
    ] {
        pool.apply(&Event { at: at(200), change });
    }
    let (slot, identity) = (Slot(0), ChargeIdentity::Seq { epoch: 4, seq: 1 });
    let charge = Charge {
        slot,
        identity,
        time: None,
        tokens: 3,
        print: 1,
        kind: UsageKind::default(),
        exempt: false,
        priced: None,
    };
    for (reservation, seq) in [("open", 1), ("paid", 2)] {
        let charges = [Charge { identity: ChargeIdentity::Seq { epoch: 4, seq }, ..charge }];
        let reservation = Some(&id(reservation));
        pool.apply_charges(Charges { at: at(201), charges: &charges, text: &[], reservation });
    }
    pool.apply(&Event { at: at(1_300), change: Change::ReservationsExpired });
    assert_eq!((pool.reservations.held(), pool.reservations.open()), (Tokens(47), 1));
    pool
}

/// A pool with rate cards up to this version.
fn pricing(versions: u32) -> Pool {
    let mut pool = pool("pricing", 3, &[]);
    for version in 1..=versions {
        let prices = vec![Price { kind: UsageKind::Other, unit: Unit::Second, millitokens: version.into() }];
        let card = RateCard { version, from: at(5), at: at(300), by: actor(), prices };
        pool.apply(&Event { at: at(300), change: Change::RatesSet { card } });
    }
    pool
}

fn registry() -> Registry {
    let mut registry = Registry::default();
    let (source, target) = (OrgId::new("a").expect("valid"), OrgId::new("b").expect("valid"));
    for change in [
        RegistryChange::KeyClaimed {
            key: KeyId::new("key").expect("valid"),
            organization: source.clone(),
            grants: vec![Tokens(5)],
            by: actor(),
        },
        RegistryChange::TransferBegun { transfer: transfer("t"), source, target, by: actor() },
        RegistryChange::TransferAborting { transfer: transfer("t"), refusal: "conflict".into() },
        RegistryChange::TransferEnded { transfer: transfer("t") },
    ] {
        registry.apply(&RegistryEvent { at: at(3), change });
    }
    registry
}

fn image(pools: &mut [Pool], registry: Option<Registry>) -> PartitionImage {
    let pools = (0..).zip(pools).map(|(n, pool)| PoolImage::take(pool, OrgNumber(n))).collect();
    PartitionImage { registry, pools }
}

/// What stands in a pool's snapshot comes back, and gives the same bytes.
fn check(mut pools: Vec<Pool>, registry: Option<Registry>) -> Vec<u8> {
    let bytes = encode(&image(&mut pools, registry.clone()));
    let restored = decode(&bytes).expect("just written");
    assert_eq!(restored.registry, registry);
    let mut again: Vec<_> = restored.pools.into_iter().map(|(_, pool)| pool).collect();
    assert_eq!(again.len(), pools.len());
    for (restored, live) in again.iter().zip(&pools) {
        assert_eq!((&restored.networks, &restored.network_places), (&live.networks, &live.network_places));
        assert_eq!((&restored.bindings, &restored.licenses), (&live.bindings, &live.licenses));
        assert_eq!(
            (restored.cameras.registered(), restored.cameras.cloud_ai()),
            (live.cameras.registered(), live.cameras.cloud_ai())
        );
        assert!(restored.cameras.iter_from(Slot(0)).eq(live.cameras.iter_from(Slot(0))));
        assert_eq!((&restored.keys, &restored.transfers), (&live.keys, &live.transfers));
        assert_eq!((&restored.reservations, &restored.rates), (&live.reservations, &live.rates));
        assert_eq!(restored.alerts, live.alerts);
        assert_eq!((restored.totals, &restored.burn, restored.lsn), (live.totals, &live.burn, live.lsn));
    }
    assert!(encode(&image(&mut again, registry)) == bytes, "I8: equal pools give equal bytes");
    bytes
}

#[test]
fn a_partition_comes_back_alike() {
    check(vec![], None);
    check(vec![], Some(Registry::default()));
    let debits = [(0, 5, false, true), (1, 7, true, false), (700, 9, false, false), (1, 3, false, false)];
    check(
        vec![empty("new"), pool("acme", 701, &debits), in_transit(), reserving(), pricing(3), alerting()],
        Some(registry()),
    );
}

#[test]
fn pools_stand_in_the_order_of_their_numbers() {
    let mut pools = [empty("a"), empty("b")];
    let mut image = image(&mut pools, None);
    let in_order = encode(&image);
    image.pools.reverse();
    assert_eq!(encode(&image), in_order);
    image.pools[0].number = OrgNumber(0);
    assert_eq!(
        decode(&encode(&image)).expect_err("two of one number"),
        DecodeError("the numbers of organizations")
    );
}

#[test]
fn two_organizations_of_one_id_are_refused() {
    let bytes = encode(&image(&mut [empty("a"), empty("a")], None));
    assert_eq!(decode(&bytes).expect_err("two of one id"), DecodeError("two organizations of one id"));
}

fn alerts() -> Alerts {
    let url = WebhookUrl::new("https://a.example").expect("valid");
    let change =
        AlertsChange::SetWebhook { webhook: WebhookId::new("w").expect("valid"), url, topics: Vec::new() };
    let first = changed(None, change, (actor(), at(300))).expect("sound");
    first.expect("it is new")
}

/// A pool with a webhook.
fn alerting() -> Pool {
    let mut pool = pool("alerting", 3, &[]);
    pool.apply(&Event { at: at(300), change: Change::AlertsSet { alerts: alerts() } });
    pool
}

fn card() -> RateCard {
    pricing(1).rates.newest().expect("it has one").clone()
}

#[test]
fn a_pool_that_breaks_an_invariant_is_refused() {
    type Break = fn(&mut Pool);
    let breaks: [(Break, &str); 15] = [
        (|pool| pool.balance.0 += 1, "invariants"),
        (|pool| pool.totals.granted.0 = u64::MAX, "totals"),
        (|pool| pool.totals.debits_charged = u64::MAX, "count"),
        (|pool| pool.totals.exempt.0 += 1, "exempt"),
        (|pool| pool.networks[0].used.0 = u64::MAX, "networks that used more"),
        (|pool| pool.cameras.get_mut(Slot(1)).used = u64::MAX, "cameras that used more"),
        (|pool| pool.cameras.get_mut(Slot(1)).network = 3, "network that is not there"),
        (|pool| pool.cameras.get_mut(Slot(1)).flags.0 = 64, "flags"),
        (|pool| pool.retention_ms = 0, "retention"),
        (|pool| pool.burn.add(u64::MAX - 100, at(200)), "burn"),
        (|pool| pool.outgoing = Some(transfer("t-0")), "invariants"),
        (|pool| pool.last_at = Timestamp::FIRST, "older than its creation"),
        (|pool| pool.rates.add(RateCard { prices: Vec::new(), ..card() }), "prices of a rate card"),
        (|pool| (0..2).for_each(|_| pool.rates.add(card())), "rate cards out of order"),
        (|pool| pool.alerts = Some(Box::new(Alerts { version: 0, ..alerts() })), "thresholds and webhooks"),
    ];
    for (broken, what) in breaks {
        let mut pool = pool("acme", 3, &[(1, 7, true, false)]);
        broken(&mut pool);
        let refused = decode(&encode(&image(&mut [pool], None))).expect_err(what);
        assert!(refused.to_string().contains(what), "{what}: {refused}");
    }
}

#[test]
fn i7_reservations_that_no_pool_can_have_are_refused() {
    type Break = fn(&mut Reservation);
    let breaks: [(&str, Break, &str); 5] = [
        ("open", |one| one.settled = Tokens(51), "more than they may"),
        ("open", |one| one.reserved = Tokens(u64::MAX), "more tokens than the pool has"),
        ("open", |one| one.until = one.at, "time of a reservation"),
        ("paid", |one| one.reserved = Tokens(0), "more than they may"),
        ("z", |one| one.ended = one.ended.map(|ended| Ended { number: 1, ..ended }), "more than they may"),
    ];
    for (name, broken, what) in breaks {
        let mut stored = image(&mut [reserving()], None);
        let mut known = stored.pools[0].reservations.known().clone();
        broken(known.get_mut(&id(name)).expect("known"));
        let broken = Reservations::from_known(known);
        let Some(broken) = broken else {
            assert_eq!(what, "more than they may", "{name}");
            continue;
        };
        stored.pools[0].reservations = broken;
        let refused = decode(&encode(&stored)).expect_err(what);
        assert!(refused.to_string().contains(what), "{what}: {refused}");
    }
}

#[test]
fn a_registry_out_of_bounds_is_refused() {
    type Break = fn(&mut Registry);
    let breaks: [(Break, &str); 3] = [
        (|registry| registry.claims.values_mut().for_each(|claim| claim.grants.clear()), "grants"),
        (
            |registry| registry.transfers.values_mut().for_each(|moved| moved.state = TransferState::Begun),
            "its time",
        ),
        (
            |registry| registry.transfers.values_mut().for_each(|moved| moved.tokens.0 = u64::MAX),
            "more than a pool",
        ),
    ];
    for (broken, what) in breaks {
        let mut registry = registry();
        broken(&mut registry);
        let refused =
            decode(&encode(&PartitionImage { registry: Some(registry), pools: vec![] })).expect_err(what);
        assert!(refused.to_string().contains(what), "{what}: {refused}");
    }
}

#[test]
fn a_cut_off_or_prolonged_snapshot_is_refused() {
    let mut bytes = check(vec![pool("acme", 3, &[(1, 7, true, false)]), in_transit()], Some(registry()));
    for cut in 0..bytes.len() {
        assert!(decode(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    bytes.push(0);
    assert_eq!(decode(&bytes).expect_err("prolonged"), DecodeError("bytes follow after the end"));
    bytes[0] = 2;
    assert_eq!(decode(&bytes).expect_err("version 2"), DecodeError("a snapshot of another version"));
}

#[test]
fn a_snapshot_is_of_the_moment_it_was_taken() {
    let mut live = pool("acme", 300, &[(1, 7, true, false)]);
    let taken = PoolImage::take(&mut live, OrgNumber(1));
    let before = encode_pool(&taken);
    apply_debits(&mut live, 300, 1_000, &[(2, 5, false, false), (2, 5, true, false)]);
    assert!(encode_pool(&taken) == before);
    assert!(encode_pool(&PoolImage::take(&mut live, OrgNumber(1))) != before);
}

#[test]
fn an_image_can_be_encoded_on_another_thread() {
    fn check<T: Send + 'static>() {}
    check::<PartitionImage>();
}

proptest! {
    #[test]
    fn i8_any_pool_comes_back_alike(
        cameras in 1_usize..600,
        debits in prop::collection::vec((any::<usize>(), 1_u32..4_000, any::<bool>(), any::<bool>()), 0..200),
    ) {
        check(vec![pool("acme", cameras, &debits)], None);
    }

    #[test]
    fn a_damaged_snapshot_never_panics(place in any::<prop::sample::Index>(), mask in 1_u8..) {
        let debits = [(0, 5, false, true), (1, 7, true, false), (2, 9, false, false)];
        let mut bytes = encode(&image(&mut [pool("acme", 3, &debits), in_transit()], Some(registry())));
        let place = place.index(bytes.len());
        bytes[place] ^= mask;
        if let Ok(partition) = decode(&bytes) {
            for (_, mut pool) in partition.pools {
                pool.burn.add(1, at(400));
                prop_assert!(pool.burn.rate(at(500)).tokens > Tokens::ZERO);
                apply_debits(&mut pool, 1, 1_000, &[(0, 1, false, false)]);
            }
        }
    }
}
