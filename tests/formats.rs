//! What is stored keeps its bytes: golden files of each version, which are written once and only ever added to.
//!
//! `WEIR_WRITE_GOLDEN=1 cargo test --test formats` writes the files that are missing; it never changes one that is there.

use std::path::Path;
use std::sync::Arc;

use tokenweir::domain::alerts::{Alerts, Measure, PreviousSecret, Threshold, Topic, Webhook, WebhookUrl};
use tokenweir::domain::bindings::UnlimitedLicense;
use tokenweir::domain::debit::{Charge, ChargeIdentity, Charges, Priced, Span, UsageKind};
use tokenweir::domain::event::{Cargo, Change, Event, OrganizationCreated};
use tokenweir::domain::hash;
use tokenweir::domain::ids::{
    ActorId, AlertId, CameraId, KeyId, LicenseId, Lsn, Name, OrgId, OrgNumber, ReservationId, Slot,
    TransferId, WebhookId,
};
use tokenweir::domain::license::{License, LicenseStep};
use tokenweir::domain::pool::Pool;
use tokenweir::domain::rates::{Price, RateCard, Unit};
use tokenweir::domain::registry::{Registry, RegistryChange, RegistryEvent, Role};
use tokenweir::domain::time::Timestamp;
use tokenweir::domain::tokens::Tokens;
use tokenweir::storage::backup::{BackupManifest, Reach};
use tokenweir::storage::event_codec::{self, DecodedDebits};
use tokenweir::storage::manifest::Stage;
use tokenweir::storage::snapshot::{SnapshotHeader, write_snapshot};
use tokenweir::storage::snapshot_codec::{self, PartitionImage, PoolImage};
use tokenweir::storage::{
    DirectoryId, FrameMeta, Home, JournalConfig, Layout, Manifest, RealDisk, frame, recovery,
};

const NUMBER: OrgNumber = OrgNumber(300);
const SECRET: (u64, u64) = (0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210);

/// Compares with the golden file, and answers with what stands in it.
fn check(name: &str, bytes: &[u8]) -> Vec<u8> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats/v1").join(name).with_extension("bin");
    if std::env::var_os("WEIR_WRITE_GOLDEN").is_some() && !path.exists() {
        std::fs::create_dir_all(path.parent().expect("the file is in a folder"))
            .expect("the folder can be made");
        std::fs::write(&path, bytes).expect("the golden file can be written");
    }
    let golden = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(golden == bytes, "{name}: the stored form changed; make a new version of it instead");
    golden
}

fn at(ms: u64) -> Timestamp {
    Timestamp::from_ms(1_700_000_000_000 + ms).expect("in range")
}

fn org(id: &str) -> OrgId {
    OrgId::new(id).expect("valid")
}

fn actor() -> ActorId {
    ActorId::new("key:admin").expect("valid")
}

fn key() -> KeyId {
    KeyId::new("KEY-1").expect("valid")
}

fn camera(n: u32) -> CameraId {
    CameraId::new(&format!("cam-{n}")).expect("valid")
}

fn transfer() -> TransferId {
    TransferId::new("transfer-1").expect("valid")
}

fn reservation() -> ReservationId {
    ReservationId::new("job-1").expect("valid")
}

fn reserved() -> Change {
    Change::Reserved {
        reservation: reservation(),
        tokens: Tokens(5_000_000_000),
        until: at(60_007),
        by: actor(),
    }
}

fn rate_card(version: u32, at_time: Timestamp) -> RateCard {
    let price = |kind, unit, millitokens| Price { kind, unit, millitokens };
    let prices = vec![
        price(UsageKind::ContextualVideoAnalytics, Unit::Event, 1_000),
        price(UsageKind::VideoSearch, Unit::Image, 1_500),
        price(UsageKind::VideoSummary, Unit::Second, 1_000_000_000_000),
    ];
    RateCard { version, from: at(0), at: at_time, by: actor(), prices }
}

fn alerts(version: u32, at_time: Timestamp) -> Alerts {
    let threshold = |id: &str, measure, at, rearm, window_ms| Threshold {
        id: AlertId::new(id).expect("valid"),
        measure,
        at,
        rearm,
        window_ms,
    };
    let thresholds = vec![
        threshold("empty", Measure::Exhausted, 0, None, None),
        threshold("low", Measure::TokensLeft, 5_000_000_000, Some(5_500_000_000), None),
        threshold("refused", Measure::Refusals, 100, Some(50), Some(60_000)),
        threshold("soon", Measure::TimeLeft, 3_600_000, Some(7_200_000), None),
        threshold("tenth", Measure::PercentLeft, 10, Some(11), None),
    ];
    let webhook = |id: &str, topics: &[Topic], previous| Webhook {
        id: WebhookId::new(id).expect("valid"),
        url: WebhookUrl::new("https://hooks.example/a?b=c").expect("valid"),
        topics: topics.to_vec(),
        set: 1,
        secret: version,
        previous,
    };
    let previous = PreviousSecret { secret: 1, until: at_time.plus_ms(86_400_000) };
    let webhooks = vec![webhook("all", &[], Some(previous)), webhook("each", &Topic::ALL, None)];
    Alerts { version, at: at_time, by: actor(), thresholds, webhooks }
}

fn license(n: usize, granted: u64, moved_by: Option<TransferId>) -> License {
    let added = LicenseStep { at: at(1), organization: org("acme"), by: actor(), transfer: None };
    let moved = |transfer| LicenseStep {
        at: at(2),
        organization: org("other"),
        by: actor(),
        transfer: Some(transfer),
    };
    let history = std::iter::once(added).chain(moved_by.map(moved)).collect();
    let (id, granted) = (LicenseId::new(&format!("KEY-1.{n}")).expect("valid"), Tokens(granted));
    License { id, key: key(), granted, remaining: granted, history }
}

fn created() -> OrganizationCreated {
    let name = Name::new("Acme Süd").expect("valid");
    OrganizationCreated { organization: org("acme"), name, secret: SECRET, retention_ms: 86_400_000 }
}

fn cargo() -> Cargo {
    let licenses = vec![License { remaining: Tokens(40), ..license(1, 5_000_000_000, Some(transfer())) }];
    Cargo { source: org("other"), by: actor(), tokens: Tokens(40), licenses }
}

fn unlimited(kind: UsageKind) -> UnlimitedLicense {
    let id = LicenseId::new(&format!("unlimited-{}", kind.number())).expect("valid");
    UnlimitedLicense { id, kind, from: at(0), until: at(1_000_000) }
}

fn registered(n: u32, network: &str) -> Change {
    let network = Name::new(network).expect("valid");
    Change::CameraRegistered { camera: camera(n), network, cloud_ai: true, pro_license: n == 1 }
}

/// Every variant, under the name of its file. A new variant does not compile until it is here.
fn change_name(change: &Change) -> &'static str {
    match change {
        Change::OrganizationCreated(_) => "organization_created",
        Change::CameraRegistered { .. } => "camera_registered",
        Change::CameraRemoved { .. } => "camera_removed",
        Change::UnlimitedBound { .. } => "unlimited_bound",
        Change::UnlimitedUnbound { .. } => "unlimited_unbound",
        Change::LicensesAdded { .. } => "licenses_added",
        Change::Reserved { .. } => "reserved",
        Change::ReservationReleased { .. } => "reservation_released",
        Change::ReservationsExpired => "reservations_expired",
        Change::RatesSet { .. } => "rates_set",
        Change::AlertsSet { .. } => "alerts_set",
        Change::TransferOutPrepared { .. } => "transfer_out_prepared",
        Change::TransferInPrepared { .. } => "transfer_in_prepared",
        Change::TransferOutClosed { .. } => "transfer_out_closed",
        Change::TransferInCredited { .. } => "transfer_in_credited",
        Change::TransferAborted { .. } => "transfer_aborted",
    }
}

fn changes() -> Vec<Change> {
    let licenses = vec![license(1, 1_000, None), license(2, 5_000_000_000, None)];
    vec![
        Change::OrganizationCreated(created()),
        registered(1, "Parkhaus Süd"),
        Change::CameraRemoved { camera: camera(1) },
        Change::UnlimitedBound { camera: camera(1), license: unlimited(UsageKind::VideoSummary) },
        Change::UnlimitedUnbound { license: unlimited(UsageKind::VideoSummary).id },
        Change::LicensesAdded { key: key(), licenses },
        reserved(),
        Change::ReservationReleased { reservation: reservation() },
        Change::ReservationsExpired,
        Change::RatesSet { card: rate_card(1, at(7)) },
        Change::AlertsSet { alerts: alerts(3, at(7)) },
        Change::TransferOutPrepared { transfer: transfer(), target: org("other"), by: actor() },
        Change::TransferInPrepared { transfer: transfer(), cargo: cargo() },
        Change::TransferOutClosed { transfer: transfer() },
        Change::TransferInCredited { transfer: transfer() },
        Change::TransferAborted { transfer: transfer() },
    ]
}

/// Every variant, under the name of its file. A new variant does not compile until it is here.
fn registry_change_name(change: &RegistryChange) -> &'static str {
    match change {
        RegistryChange::KeyClaimed { .. } => "key_claimed",
        RegistryChange::KeyApplied { .. } => "key_applied",
        RegistryChange::TransferBegun { .. } => "transfer_begun",
        RegistryChange::TransferCommitted { .. } => "transfer_committed",
        RegistryChange::TransferAborting { .. } => "transfer_aborting",
        RegistryChange::TransferEnded { .. } => "transfer_ended",
        RegistryChange::ApiKeyCreated { .. } => "api_key_created",
        RegistryChange::ApiKeyRevoked { .. } => "api_key_revoked",
    }
}

fn registry_changes() -> Vec<RegistryChange> {
    let (organization, by) = (org("acme"), actor());
    let label = Name::new("gateway north").expect("valid");
    vec![
        RegistryChange::KeyClaimed { key: key(), organization, grants: vec![Tokens(1_000), Tokens(5)], by },
        RegistryChange::KeyApplied { key: key() },
        RegistryChange::TransferBegun {
            transfer: transfer(),
            source: org("acme"),
            target: org("other"),
            by: actor(),
        },
        RegistryChange::TransferCommitted { transfer: transfer(), tokens: Tokens(40), licenses: 1 },
        RegistryChange::TransferAborting { transfer: transfer(), refusal: "limit_reached".into() },
        RegistryChange::TransferEnded { transfer: transfer() },
        RegistryChange::ApiKeyCreated {
            id: ActorId::new("key:1").expect("valid"),
            hash: std::array::from_fn(|i| u8::try_from(i).expect("below 32") * 7),
            label,
            role: Role::Gateway,
            organizations: vec![org("acme"), org("other")],
            by: actor(),
        },
        RegistryChange::ApiKeyRevoked { id: ActorId::new("key:1").expect("valid") },
    ]
}

fn charge(
    slot: u32,
    tokens: u32,
    kind: UsageKind,
    identity: ChargeIdentity,
    time: Option<Timestamp>,
) -> Charge {
    let print = hash::content_print(tokens, kind.number(), time);
    Charge { slot: Slot(slot), identity, time, tokens, print, kind, exempt: false, priced: None }
}

fn seq_charge(slot: u32, tokens: u32, seq: u64) -> Charge {
    let identity = ChargeIdentity::Seq { epoch: 1_700_000_000, seq };
    charge(slot, tokens, UsageKind::ContextualVideoAnalytics, identity, None)
}

fn id_charge(slot: u32, tokens: u32, text: &mut Vec<u8>, id: &[u8], time: Timestamp) -> Charge {
    let identity =
        ChargeIdentity::EventId { hash: hash::event_id(SECRET, Slot(slot), id), id: Span::push(text, id) };
    charge(slot, tokens, UsageKind::VideoSearch, identity, Some(time))
}

fn check_debits(name: &str, charges: &[Charge], text: &[u8]) {
    check_debits_paid_by(None, name, charges, text);
}

fn check_debits_paid_by(reservation: Option<&ReservationId>, name: &str, charges: &[Charge], text: &[u8]) {
    let mut out = Vec::new();
    event_codec::encode_debits(&mut out, NUMBER, &Charges { at: at(500), charges, text, reservation });
    let mut decoded = DecodedDebits::new();
    event_codec::decode_debits(&check(name, &out), &mut decoded).expect("golden bytes are read");
    decoded.resolve(SECRET);
    assert_eq!((decoded.org, decoded.at), (NUMBER, at(500)));
    assert_eq!(decoded.charges().charges, charges);
    assert_eq!(decoded.charges().text, text);
    assert_eq!(decoded.charges().reservation, reservation);
}

#[test]
fn every_organization_event_keeps_its_bytes() {
    for change in changes() {
        let (name, event) = (change_name(&change), Event { at: at(7), change });
        let mut out = Vec::new();
        event_codec::encode_org_event(&mut out, NUMBER, &event);
        let golden = check(&format!("org_{name}"), &out);
        assert_eq!(event_codec::decode_org_event(&golden), Ok((NUMBER, event)));
    }
}

#[test]
fn every_registry_event_keeps_its_bytes() {
    for change in registry_changes() {
        let (name, event) = (registry_change_name(&change), RegistryEvent { at: at(7), change });
        let mut out = Vec::new();
        event_codec::encode_registry_event(&mut out, &event);
        let golden = check(&format!("registry_{name}"), &out);
        assert_eq!(event_codec::decode_registry_event(&golden), Ok(event));
    }
}

#[test]
fn debit_frames_keep_their_bytes_with_each_optional_column() {
    let seq = [seq_charge(3, 418, 70), seq_charge(9_999, 3_000, 71), seq_charge(0, 1, 5)];
    check_debits("debits_seq", &seq, &[]);
    let exempt = [seq[0], Charge { exempt: true, ..seq[1] }, seq[2]];
    check_debits("debits_exempt", &exempt, &[]);
    let timed = |slot, kind, ms| {
        let identity = ChargeIdentity::Seq { epoch: 2, seq: u64::MAX };
        charge(slot, 1_000_000_000, kind, identity, Some(at(ms)))
    };
    check_debits(
        "debits_times",
        &[timed(1, UsageKind::Other, 100), seq[0], timed(2, UsageKind::VideoSummary, 900)],
        &[],
    );
    let mut text = Vec::new();
    let ids =
        [id_charge(5, 10, &mut text, b"event-1", at(1)), id_charge(6, 20, &mut text, &[0xff; 128], at(2))];
    check_debits("debits_event_ids", &ids, &text);
    check_debits("debits_mixed", &[seq[0], ids[0], exempt[1], ids[1], seq[2]], &text);
    check_debits_paid_by(Some(&reservation()), "debits_reservation", &seq, &[]);
    let priced = |charge: Charge, unit, count| {
        let charge = Charge { priced: Some(Priced { unit, count, version: 300 }), ..charge };
        Charge { print: charge.content_print(), ..charge }
    };
    let rows = [priced(seq[0], Unit::Image, 12), ids[0], priced(seq[1], Unit::Second, 4_000_000)];
    check_debits("debits_priced", &rows, &text[..7]);
}

fn pool() -> Pool {
    let mut pool = Pool::new(created(), at(0));
    let licenses = vec![license(1, 1_000, None), license(2, 5_000_000_000, None)];
    let networks = ["Parkhaus Süd", "Tor 1", "Tor 2"];
    let cameras = (0..3).zip(networks).map(|(n, network)| registered(n, network));
    let changes = [
        Change::CameraRemoved { camera: camera(2) },
        Change::UnlimitedBound { camera: camera(1), license: unlimited(UsageKind::ContextualVideoAnalytics) },
        Change::LicensesAdded { key: key(), licenses },
        Change::TransferInPrepared { transfer: transfer(), cargo: cargo() },
        Change::TransferInCredited { transfer: transfer() },
    ];
    for change in cameras.chain(changes) {
        pool.apply(&Event { at: at(7), change });
    }
    let mut text = Vec::new();
    let by_id = id_charge(2, 20, &mut text, b"event-1", at(1));
    let exempt = Charge { exempt: true, ..seq_charge(1, 500, 8) };
    let charges = [seq_charge(0, 418, 70), seq_charge(0, 30, 71), seq_charge(0, 7, 60), exempt, by_id];
    pool.apply_charges(Charges { at: at(500), charges: &charges, text: &text, reservation: None });
    pool.lsn = Lsn(1_234);
    pool
}

/// A pool whose tokens are in transit, and to which others come.
fn moving() -> Pool {
    let mut pool = pool();
    pool.id = org("moving");
    let coming = TransferId::new("transfer-2").expect("valid");
    for change in [
        Change::TransferOutPrepared {
            transfer: TransferId::new("transfer-3").expect("valid"),
            target: org("other"),
            by: actor(),
        },
        Change::TransferInPrepared { transfer: coming, cargo: cargo() },
        Change::TransferAborted { transfer: TransferId::new("transfer-4").expect("valid") },
    ] {
        pool.apply(&Event { at: at(600), change });
    }
    pool
}

/// A pool with a reservation that is open and settled in part, one that was released, and one that expired.
fn reserving() -> Pool {
    let mut pool = pool();
    let named = |name: &str| ReservationId::new(name).expect("valid");
    let held = |name: &str, ms: u64| {
        let (reservation, by) = (named(name), actor());
        Change::Reserved { reservation, tokens: Tokens(300), until: at(600 + ms), by }
    };
    for change in [held("open", 60_000), held("released", 60_000), held("expired", 1_000)] {
        pool.apply(&Event { at: at(600), change });
    }
    pool.apply(&Event {
        at: at(700),
        change: Change::ReservationReleased { reservation: named("released") },
    });
    let (charges, paid_by) = ([seq_charge(0, 25, 72)], named("open"));
    pool.apply_charges(Charges { at: at(800), charges: &charges, text: &[], reservation: Some(&paid_by) });
    pool.apply(&Event { at: at(1_600), change: Change::ReservationsExpired });
    pool
}

/// A pool with two rate cards.
fn pricing() -> Pool {
    let mut pool = pool();
    for (version, ms) in [(1, 600), (2, 700)] {
        pool.apply(&Event { at: at(ms), change: Change::RatesSet { card: rate_card(version, at(ms)) } });
    }
    pool
}

/// A pool with thresholds and webhooks.
fn alerting() -> Pool {
    let mut pool = pool();
    pool.apply(&Event { at: at(600), change: Change::AlertsSet { alerts: alerts(3, at(600)) } });
    pool
}

fn registry() -> Registry {
    let mut registry = Registry { lsn: Lsn(99), ..Registry::default() };
    for change in registry_changes() {
        if !matches!(change, RegistryChange::TransferAborting { .. }) {
            registry.apply(&RegistryEvent { at: at(8), change });
        }
    }
    registry
}

#[test]
fn a_snapshot_keeps_its_bytes() {
    let image = |pools: &mut [(OrgNumber, Pool)], registry| {
        let pools = pools.iter_mut().map(|(number, pool)| PoolImage::take(pool, *number)).collect();
        snapshot_codec::encode(&PartitionImage { registry, pools })
    };
    let mut pools = [
        (OrgNumber(0), Pool::new(OrganizationCreated { organization: org("empty"), ..created() }, at(0))),
        (OrgNumber(1), pool()),
        (NUMBER, moving()),
    ];
    for (name, pools, registry) in [
        ("snapshot", &mut pools[..], Some(registry())),
        ("snapshot_reservations", &mut [(OrgNumber(0), reserving())], None),
        ("snapshot_rates", &mut [(OrgNumber(0), pricing())], None),
        ("snapshot_alerts", &mut [(OrgNumber(0), alerting())], None),
    ] {
        let golden = check(name, &image(pools, registry.clone()));
        let mut decoded = snapshot_codec::decode(&golden).expect("golden bytes are read");
        assert_eq!(decoded.registry, registry);
        assert!(image(&mut decoded.pools, decoded.registry) == golden, "I8: equal pools give equal bytes");
    }
}

/// A data directory of known identity on the real disk.
fn directory(root: &Path) -> Home {
    let directory = DirectoryId(*b"golden directory");
    Home { disk: Arc::new(RealDisk), layout: Layout::new(root), partition: 3, directory }
}

#[test]
fn a_journal_segment_keeps_its_bytes() {
    let root = tempfile::tempdir().expect("a directory");
    let home = directory(root.path());
    let config = JournalConfig { segment_bytes_min: 512, segment_bytes_max: 512 };
    let opened = recovery::open_partition(&home, config, Lsn(0), &mut |_| Ok(()));
    let (mut journal, _) = opened.expect("a new partition opens");
    let mut group = Vec::new();
    for (index, body) in [&b"one"[..], b"another body"].into_iter().enumerate() {
        let start = frame::begin(&mut group);
        group.extend_from_slice(body);
        let index = u32::try_from(index).expect("small");
        let meta = FrameMeta { lsn: Lsn(1 + u64::from(index)), group: index, kind: 2, version: 1 };
        frame::finish(&mut group, start, meta);
    }
    journal.append_group(Lsn(1), 2, &group).expect("it is written");
    let bytes = std::fs::read(home.layout.segment(3, Lsn(1))).expect("the segment is there");
    check("file_segment", &bytes);
}

#[test]
fn a_snapshot_file_keeps_its_bytes() {
    let root = tempfile::tempdir().expect("a directory");
    let home = directory(root.path());
    std::fs::create_dir_all(home.layout.snapshots(3)).expect("a directory");
    let header = SnapshotHeader { lsn: Lsn(77), version: 1 };
    let path = write_snapshot(&home, header, b"an opaque body").expect("it is written");
    check("file_snapshot", &std::fs::read(path).expect("the snapshot is there"));
}

#[test]
fn a_manifest_keeps_its_bytes() {
    let root = tempfile::tempdir().expect("a directory");
    let Home { layout, directory, .. } = directory(root.path());
    let manifest =
        Manifest { partitions: 3, directory, created_at_ms: 1_700_000_000_000, stage: Stage::Made };
    manifest.write(&RealDisk, &layout).expect("it is written");
    check("file_manifest", &std::fs::read(layout.manifest()).expect("the manifest is there"));
    let read = Manifest::read(&RealDisk, &layout).expect("it reads").expect("it is there");
    assert_eq!(read.created_at_ms, manifest.created_at_ms);
}

#[test]
fn a_manifest_of_a_backup_keeps_its_bytes() {
    let root = tempfile::tempdir().expect("a directory");
    let home = directory(root.path());
    std::fs::create_dir_all(home.layout.snapshots(0)).expect("a directory");
    std::fs::write(home.layout.snapshot(0, Lsn(7)), b"seven").expect("it is written");
    let source = Manifest {
        partitions: 1,
        directory: home.directory,
        created_at_ms: 1_700_000_000_000,
        stage: Stage::Made,
    };
    let reach = Reach { earliest: Lsn(0), earliest_at: None, last: Lsn(300), last_at: Some(at(1)) };
    let made = BackupManifest::of(&source, at(2), vec![reach], &RealDisk, &home.layout).expect("it reads");
    made.write(&RealDisk, &home.layout).expect("it is written");
    check("file_backup", &std::fs::read(home.layout.backup()).expect("the manifest is there"));
    assert_eq!(BackupManifest::read(&RealDisk, &home.layout).expect("it reads"), Some(made));
}
