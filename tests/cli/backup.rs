//! `weir backup` and `weir restore`, beside a meter that serves and on stopped directories.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::Value;
use tokio::runtime::Runtime;

use tokenweir::domain::hash;
use tokenweir::meter::{
    CameraId, CameraRef, CameraSpec, Clock, Config, Debit, DebitBatch, Identity, Meter, Name,
    NewOrganization, OrgId, Organization, Outcome, Principal, Timestamp, Tokens, TransferId, Until,
    UsageKind,
};

use crate::process::{Ended, text, weir};
use crate::scene::{Scene, content};

const HOST: &Principal = &Principal::Host;
const START_MS: u64 = 1_750_000_000_000;
const GRANT: u64 = 1_000_000_000;
const BATCH: u64 = 50;
const SECONDS: u64 = 12;

/// Two partitions with segments and snapshots so small that they come and go.
fn config(directory: &Path) -> Config {
    Config {
        partitions: 2,
        segment_bytes_min: 1 << 14,
        segment_bytes_max: 1 << 14,
        snapshot_bytes: 1 << 15,
        ..Config::new(directory)
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// An organization in each partition, with a camera and tokens.
async fn organizations(meter: &Meter) -> [Organization; 2] {
    let mut made = Vec::new();
    for partition in 0..2 {
        let mut names = (0..).map(|n| OrgId::new(&format!("org-{n}")).expect("valid"));
        let id = names.find(|org| hash::partition(org, 2) == partition).expect("there is no end of them");
        let new = NewOrganization::new(id.clone(), Name::new("An organization").expect("valid"));
        meter.create_organization(HOST, new).await.expect("it is new");
        let organization = meter.organization(HOST, &id).expect("it is there");
        let (id, network) = (CameraId::new("cam").expect("valid"), Name::new("net").expect("valid"));
        let camera = CameraSpec { id, network, cloud_ai: true, pro_license: false };
        organization.register_camera(camera).await.expect("registered");
        organization.grant(vec![Tokens(GRANT)]).await.expect("granted");
        made.push(organization);
    }
    made.try_into().expect("two")
}

/// A batch of debits of one token each.
fn batch(first: u64, debits: u64) -> DebitBatch {
    let mut batch = DebitBatch::with_capacity(64);
    for seq in first..first + debits {
        let (identity, kind) = (Identity::Seq { epoch: 1, seq }, UsageKind::VideoSearch);
        batch.push(Debit { camera: CameraRef::Id("cam"), identity, tokens: 1, kind, time: None });
    }
    batch
}

async fn transfer(meter: &Meter, number: u64, [from, to]: [&OrgId; 2]) {
    let id = TransferId::new(&format!("move-{number}")).expect("valid");
    let moved = meter.transfer(HOST, id, (from.clone(), to.clone()), Until::Ended).await.expect("answered");
    assert!(moved.ended_at.is_some(), "{moved:?}");
}

/// What the outside world knows of debits of one token each.
#[derive(Default)]
struct Known {
    sent: AtomicU64,
    charged: AtomicU64,
    transfers: AtomicU64,
    is_over: AtomicBool,
}

impl Known {
    fn goes_on(&self) -> bool {
        !self.is_over.load(Ordering::Acquire)
    }
}

async fn keep_debiting(organization: Organization, known: Arc<Known>) {
    let mut next = 1;
    while known.goes_on() {
        known.sent.fetch_add(BATCH, Ordering::AcqRel);
        let reply = organization.debit_batch(batch(next, BATCH)).await.expect("judged");
        let charged = reply.batch.outcomes().iter().filter(|outcome| **outcome == Outcome::Charged).count();
        known.charged.fetch_add(u64::try_from(charged).expect("few"), Ordering::AcqRel);
        next += BATCH;
    }
}

async fn keep_moving(meter: Meter, ids: [OrgId; 2], known: Arc<Known>) {
    while known.goes_on() {
        let number = known.transfers.fetch_add(1, Ordering::AcqRel);
        let [one, other] = &ids;
        transfer(&meter, number, if number.is_multiple_of(2) { [one, other] } else { [other, one] }).await;
    }
}

/// A backup with what had been acknowledged before it, and what had been sent by its end.
struct Taken {
    backup: PathBuf,
    charged: u64,
    sent: u64,
    transfers: u64,
}

fn take(scene: &Scene, number: u64, known: &Known) -> Taken {
    let backup = scene.path(&format!("backup-{number}"));
    let charged = known.charged.load(Ordering::Acquire);
    let told = weir(&["backup", text(&backup), "--data", text(&scene.data()), "--json"]);
    assert_eq!(told.json()["partitions"].as_array().map(Vec::len), Some(2));
    let (sent, transfers) = (known.sent.load(Ordering::Acquire), known.transfers.load(Ordering::Acquire));
    Taken { backup, charged, sent, transfers }
}

/// Restores a backup, lets everything that is open in it end, and checks the sums.
fn check_restored(runtime: &Runtime, scene: &Scene, number: u64, taken: &Taken) -> bool {
    let restored = scene.path(&format!("restored-{number}"));
    weir(&["restore", text(&taken.backup), text(&restored), "--json"]).json();
    let report = weir(&["verify", text(&restored), "--json"]).json();
    let used = report["totals"]["used"].as_u64().expect("a number");
    assert!((taken.charged..=taken.sent).contains(&used), "{} <= {used} <= {}", taken.charged, taken.sent);
    runtime.block_on(async {
        let meter = Meter::open(config(&restored)).expect("whole");
        for transfer in (0..taken.transfers).map(|n| TransferId::new(&format!("move-{n}")).expect("valid")) {
            while meter
                .transfer_status(HOST, transfer.clone())
                .await
                .is_ok_and(|view| view.ended_at.is_none())
            {
                tokio::task::yield_now().await;
            }
        }
        meter.close().await;
    });
    let ended = weir(&["verify", text(&restored), "--json"]).json();
    let totals = &ended["totals"];
    assert_eq!((&totals["granted"], &totals["in_transit"]), (&(2 * GRANT).into(), &0.into()), "{ended}");
    assert_eq!(totals["used"], used);
    report["partitions"]
        .as_array()
        .expect("partitions")
        .iter()
        .all(|part| part["replayed_from_first"] == false)
}

#[test]
fn i3_i6_a_backup_beside_a_serving_meter_holds_what_was_acknowledged_and_ends_its_transfers_alike() {
    let (scene, runtime, known) = (Scene::new(), runtime(), Arc::new(Known::default()));
    let meter = runtime.block_on(async { Meter::open(config(&scene.data())) }).expect("a new directory");
    let organizations = runtime.block_on(organizations(&meter));
    let ids = organizations.clone().map(|organization| organization.id().clone());
    let mut tasks: Vec<_> = organizations
        .map(|organization| runtime.spawn(keep_debiting(organization, Arc::clone(&known))))
        .into_iter()
        .collect();
    tasks.push(runtime.spawn(keep_moving(meter.clone(), ids, Arc::clone(&known))));
    let mut taken = Vec::new();
    for number in 0..8 {
        let seen: Vec<_> = meter.status().iter().map(|part| part.snapshot).collect();
        taken.push(take(&scene, number, &known));
        // The next one meets other snapshots and segments.
        while meter.status().iter().zip(&seen).any(|(now, seen)| now.snapshot == *seen) {
            std::thread::yield_now();
        }
    }
    known.is_over.store(true, Ordering::Release);
    runtime.block_on(async {
        for task in tasks {
            task.await.expect("it does not panic");
        }
        meter.close().await;
    });
    let without_first: Vec<_> =
        (0..).zip(&taken).map(|(number, taken)| check_restored(&runtime, &scene, number, taken)).collect();
    assert!(without_first.contains(&true), "some backup met a journal that retention had shortened");
}

/// A closed directory with twelve seconds of debits, transfers and snapshots.
pub(crate) fn timed(scene: &Scene, partitions: u16) {
    let (clock, hand) = Clock::manual(Timestamp::from_ms(START_MS).expect("in range"));
    runtime().block_on(async {
        let meter =
            Meter::open(Config { partitions, clock, ..config(&scene.data()) }).expect("a new directory");
        let organizations = organizations(&meter).await;
        let ids = [organizations[0].id(), organizations[1].id()];
        for step in 1..=SECONDS {
            hand.store(START_MS + step * 1_000, Ordering::Relaxed);
            for (organization, debits) in organizations.iter().zip([step, 2 * step]) {
                organization.debit_batch(batch(step * 100, debits)).await.expect("judged");
            }
            if step % 4 == 0 {
                transfer(&meter, step, if step == 8 { [ids[1], ids[0]] } else { ids }).await;
            }
            if step % 5 == 0 {
                assert!(meter.snapshot().await, "written");
            }
        }
        meter.close().await;
    });
}

/// By organization, what its frames up to a time charged.
fn charged(inspected: &Value, until: &str) -> BTreeMap<String, u64> {
    let mut charged = BTreeMap::new();
    let partitions = inspected["partitions"].as_array().expect("partitions").iter();
    for frame in partitions.flat_map(|partition| partition["frames"].as_array().expect("frames")) {
        let (at, organization) = (frame["at"].as_str().unwrap_or_default(), frame["organization"].as_str());
        if let (Some(organization), true) = (organization, at <= until) {
            *charged.entry(organization.to_owned()).or_default() +=
                frame["tokens_charged"].as_u64().unwrap_or(0);
        }
    }
    charged
}

fn restored_used(scene: &Scene, at: &str) -> BTreeMap<String, u64> {
    let restored = scene.path(&format!("at-{at}"));
    weir(&["restore", text(&scene.path("backup")), text(&restored), "--at", at, "--json"]).json();
    runtime().block_on(async {
        let meter = Meter::open(config(&restored)).expect("whole");
        let mut used = BTreeMap::new();
        for id in meter.organizations(HOST, None, 10) {
            let summary = meter.organization(HOST, &id).expect("there").summary().await.expect("there");
            used.insert(id.as_str().to_owned(), summary.totals.used.0);
        }
        meter.close().await;
        used
    })
}

#[test]
fn a_directory_is_restored_as_it_was_at_any_moment_of_its_history() {
    let scene = Scene::new();
    timed(&scene, 2);
    let made = weir(&["backup", text(&scene.path("backup")), "--data", text(&scene.data())]);
    assert!(made.code == 0 && made.stdout.contains("all that was acknowledged before"), "{made:?}");
    let inspected = weir(&["inspect", text(&scene.path("backup")), "--json"]).json();
    let mut seen = BTreeSet::new();
    for half in 0..2 * SECONDS {
        let ms = i64::try_from(START_MS + half * 500).expect("in range");
        let at = format!("{:.3}", jiff::Timestamp::from_millisecond(ms).expect("in range"));
        let used = restored_used(&scene, &at);
        assert_eq!(used, charged(&inspected, &at), "{at}");
        seen.insert(used);
    }
    assert!(seen.len() > 6, "{seen:?}");
}

#[test]
fn a_directory_of_one_partition_is_restored_to_any_of_its_frames() {
    let scene = Scene::new();
    timed(&scene, 1);
    let backup = scene.path("backup");
    let reach = weir(&["backup", text(&backup), "--data", text(&scene.data()), "--json"]).json();
    let [earliest, last] =
        ["earliest_lsn", "last_lsn"].map(|name| reach["partitions"][0][name].as_u64().expect("a number"));
    assert!(earliest == 0 && last > 30, "{reach}");
    for lsn in (earliest + 1..=last).step_by(5) {
        let restored = scene.path(&format!("at-{lsn}"));
        let at = lsn.to_string();
        let told = weir(&["restore", text(&backup), text(&restored), "--at", &at, "--json"]).json();
        let report = weir(&["verify", text(&restored), "--json"]).json();
        assert_eq!(
            (&told["partitions"][0]["last_lsn"], &report["partitions"][0]["last_lsn"]),
            (&lsn.into(), &lsn.into())
        );
    }
    check_refused(&scene, &["--at", &(last + 1).to_string()], "does not reach to that point");
    check_refused(&scene, &["--at", "1:1"], "no partition 1");
}

/// The earliest point of each partition after many snapshots, when so much journal is kept.
fn earliest(journal_keep_bytes: u64) -> Vec<u64> {
    let scene = Scene::new();
    runtime().block_on(async {
        let config = Config { journal_keep_bytes, ..config(&scene.data()) };
        let meter = Meter::open(config).expect("a new directory");
        let organizations = organizations(&meter).await;
        for round in 0..40 {
            for organization in &organizations {
                for part in 0..40 {
                    organization.debit_batch(batch(round * 400 + part * 10, 6)).await.expect("judged");
                }
            }
            assert!(meter.snapshot().await, "written");
        }
        meter.close().await;
    });
    let made = weir(&["backup", text(&scene.path("backup")), "--data", text(&scene.data()), "--json"]).json();
    let partitions = made["partitions"].as_array().expect("partitions").iter();
    let reached = partitions.clone().map(|part| part["earliest_lsn"].as_u64().expect("a number")).collect();
    // The earliest moment of all is the latest of theirs; with every first frame there is none before which nothing was.
    let at = partitions.filter_map(|part| part["earliest_at"].as_str()).max().unwrap_or("0:3");
    let restored = restore(&scene, &["--at", at]);
    assert_eq!(restored.code, 0, "{restored:?}");
    reached
}

#[test]
fn more_journal_is_kept_where_it_is_wanted_and_restoring_reaches_further_back() {
    let (none, some, all) = (earliest(0), earliest(2 << 14), earliest(1 << 30));
    let rises = |near: &[u64], far: &[u64]| near.iter().zip(far).all(|(near, far)| near > far);
    assert!(rises(&none, &some) && rises(&some, &all), "{none:?} {some:?} {all:?}");
    assert_eq!(all, [0, 0]);
}

fn restore(scene: &Scene, more: &[&str]) -> Ended {
    let (backup, target) = (scene.path("backup"), scene.path("target"));
    weir(&[&["restore", text(&backup), text(&target)], more].concat())
}

/// Restoring is refused with these words, and leaves nothing behind.
fn check_refused(scene: &Scene, more: &[&str], words: &str) {
    let ended = restore(scene, more);
    assert!(ended.code != 0 && ended.stderr.contains(words), "{words}: {ended:?}");
    assert!(
        !scene.path("target").exists() && !scene.path("target.partial").exists(),
        "{words}: something was left"
    );
}

#[test]
fn what_cannot_be_restored_is_refused_and_leaves_nothing_behind() {
    let scene = Scene::new();
    timed(&scene, 2);
    weir(&["backup", text(&scene.path("backup")), "--data", text(&scene.data())]);
    check_refused(&scene, &["--at", "7"], "say which: --at PARTITION:7");
    check_refused(&scene, &["--at", "yesterday"], "neither a time");
    check_refused(&scene, &["--at", "0:99999"], "does not reach to that point");
    let (path, whole) = content(&scene.path("backup")).pop_last().expect("files");
    let mut flipped = whole.clone();
    *flipped.last_mut().expect("not empty") ^= 1;
    std::fs::write(&path, &flipped).expect("written");
    check_refused(&scene, &[], &format!("{} is damaged", path.display()));
    std::fs::remove_file(&path).expect("removed");
    check_refused(&scene, &[], &format!("{} is missing", path.display()));
    std::fs::write(&path, &whole).expect("written");
    std::fs::write(path.with_file_name("00000000000000000003.snap"), b"new").expect("written");
    check_refused(&scene, &[], "does not know it");
    check_refused(&Scene::new(), &[], "is no backup");
}

#[test]
fn neither_a_backup_nor_a_restored_directory_replaces_anything() {
    let scene = Scene::new();
    timed(&scene, 2);
    let data = scene.data();
    let before = content(&data);
    std::fs::create_dir(scene.path("backup")).expect("made");
    let refused = weir(&["backup", text(&scene.path("backup")), "--data", text(&data)]);
    assert!(refused.code == 2 && refused.stderr.contains("is there already"), "{refused:?}");
    std::fs::remove_dir(scene.path("backup")).expect("empty");
    std::fs::create_dir(scene.path("backup.partial")).expect("made");
    let refused = weir(&["backup", text(&scene.path("backup")), "--data", text(&data)]);
    assert!(refused.code == 2 && refused.stderr.contains("has not ended"), "{refused:?}");
    std::fs::remove_dir(scene.path("backup.partial")).expect("empty");
    assert_eq!(weir(&["backup", text(&scene.path("backup")), "--data", text(&data)]).code, 0);
    let refused = weir(&["restore", text(&scene.path("backup")), text(&data)]);
    assert!(refused.code == 2 && refused.stderr.contains("is there already"), "{refused:?}");
    assert_eq!(content(&data), before, "a backup changes nothing of its source");
}

fn identity(directory: &Path) -> Value {
    weir(&["verify", text(directory), "--json"]).json()["id"].clone()
}

#[test]
fn i9_a_restored_directory_has_an_identity_of_its_own_and_keeps_its_keys() {
    let scene = Scene::new();
    timed(&scene, 2);
    let (data, backup, target) = (scene.data(), scene.path("backup"), scene.path("target"));
    let made = weir(&["key", "create", "--data", text(&data), "--role", "operator", "--label", "kept"]);
    assert_eq!(made.code, 0, "{made:?}");
    weir(&["backup", text(&backup), "--data", text(&data)]);
    assert_eq!(restore(&scene, &[]).code, 0);
    assert_eq!(identity(&data), identity(&backup));
    assert_ne!(identity(&data), identity(&target));
    let keys = |directory: &Path| weir(&["key", "list", "--data", text(directory), "--json"]).json();
    assert_eq!(keys(&data), keys(&target));
    let segment = |directory: &Path| directory.join("p001/journal/00000000000000000001.wal");
    std::fs::copy(segment(&data), segment(&target)).expect("copied");
    let told = weir(&["verify", text(&target)]);
    assert!(told.code == 1 && told.stderr.contains("it belongs to the data directory"), "{told:?}");
    let served = weir(&["serve", "--data", text(&backup), "--listen", "127.0.0.1:0"]);
    assert!(served.code != 0 && served.stderr.contains("MANIFEST is missing"), "{served:?}");
}
