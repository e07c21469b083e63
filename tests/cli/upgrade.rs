//! Directories that earlier versions wrote, kept in `tests/formats/directories`: each opens with its balances,
//! history and identities.
//!
//! A kept directory has the files of a stopped server, segments without the zeros at their end, and
//! `expected.json`: what `weir verify` and the client commands said when it was written. It is written by the test
//! that wants it, once for each version, when `WEIR_WRITE_GOLDEN` is set.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use tokio::runtime::Runtime;

use tokenweir::domain::hash;
use tokenweir::meter::{
    CameraId, CameraRef, CameraSpec, Clock, Config, Debit, DebitBatch, FirstOutcome, Identity, KeyId,
    LicenseId, LicenseKey, Meter, Name, NewApiKey, NewOrganization, OrgId, Organization, Outcome, Principal,
    Role, Timestamp, Tokens, TransferId, UnlimitedLicense, Until, UsageKind,
};

use crate::process::{Server, text, weir};
use crate::scene::{Scene, content};

const HOST: &Principal = &Principal::Host;
const START_MS: u64 = 1_767_225_600_000;

fn kept() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats/directories")
}

/// Lays out a kept directory as a server had left it.
pub(crate) fn lay_out(kept: &Path, data: &Path) {
    for (path, mut bytes) in content(kept) {
        if path.extension().is_some_and(|end| end == "wal") {
            let len = bytes[40..48].try_into().map(u64::from_le_bytes).expect("eight bytes");
            bytes.resize(usize::try_from(len).expect("small"), 0);
        }
        let target = data.join(path.strip_prefix(kept).expect("below it"));
        std::fs::create_dir_all(target.parent().expect("below it")).expect("made");
        std::fs::write(target, bytes).expect("written");
    }
    std::fs::remove_file(data.join("expected.json")).expect("it is no part of the directory");
}

/// Keeps a stopped directory without the zeros at the ends of its segments.
fn keep(data: &Path, kept: &Path) {
    for (path, mut bytes) in content(data) {
        if path.extension().is_some_and(|end| end == "prep") {
            continue;
        }
        if path.extension().is_some_and(|end| end == "wal") {
            let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            bytes.truncate(used);
        }
        let target = kept.join(path.strip_prefix(data).expect("below it"));
        std::fs::create_dir_all(target.parent().expect("below it")).expect("made");
        std::fs::write(target, bytes).expect("written");
    }
}

fn config(data: &Path, at_ms: u64) -> Config {
    let (clock, _) = Clock::manual(Timestamp::from_ms(at_ms).expect("in range"));
    let (segment_bytes_min, segment_bytes_max) = (1 << 12, 1 << 14);
    Config { partitions: 2, segment_bytes_min, segment_bytes_max, clock, ..Config::new(data) }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// The organizations: two in partition 0, one in partition 1.
fn names() -> [OrgId; 3] {
    let all = || (0..).map(|n| OrgId::new(&format!("org-{n}")).expect("valid"));
    let name = |partition, nth| all().filter(|org| hash::partition(org, 2) == partition).nth(nth);
    [name(0, 0), name(1, 0), name(0, 1)].map(|name| name.expect("there is no end of them"))
}

/// Sixteen debits of a round: by sequence numbers with and without a time, by event ids, exempt, and of a removed
/// camera.
fn round(number: u64) -> DebitBatch {
    let time = Timestamp::from_ms(START_MS + number * 1_000).ok();
    let mut batch = DebitBatch::with_capacity(16);
    for n in number * 16..number * 16 + 16 {
        let id = format!("event-{n}");
        let identity = match n % 3 {
            0 => Identity::EventId(id.as_bytes()),
            _ => Identity::Seq { epoch: 1, seq: n },
        };
        let (camera, kind) = match n % 4 {
            0 => ("cam-free", UsageKind::ContextualVideoAnalytics),
            1 => ("cam-1", UsageKind::VideoSearch),
            2 => ("cam-2", UsageKind::Other),
            _ => ("cam-off", UsageKind::VideoSummary),
        };
        let time = if n % 3 == 2 { None } else { time };
        batch.push(Debit { camera: CameraRef::Id(camera), identity, tokens: 10 + n, kind, time });
    }
    batch
}

async fn equip(organization: &Organization, key: &str) {
    for (id, cloud_ai, pro_license) in
        [("cam-1", true, true), ("cam-2", true, false), ("cam-off", false, true), ("cam-free", true, false)]
    {
        let network = Name::new(if pro_license { "gate" } else { "yard" }).expect("valid");
        let id = CameraId::new(id).expect("valid");
        organization
            .register_camera(CameraSpec { id, network, cloud_ai, pro_license })
            .await
            .expect("registered");
    }
    let at = |ms| Timestamp::from_ms(ms).expect("in range");
    let license = UnlimitedLicense {
        id: LicenseId::new("free").expect("valid"),
        kind: UsageKind::ContextualVideoAnalytics,
        from: at(START_MS),
        until: at(START_MS + 86_400_000),
    };
    organization.bind_unlimited(CameraId::new("cam-free").expect("valid"), license).await.expect("bound");
    let grants = vec![Tokens(100_000), Tokens(5_000)];
    let key = LicenseKey { id: KeyId::new(key).expect("valid"), grants };
    organization.add_licenses(key).await.expect("added");
}

/// Fills a new directory; answers with an admin key of all its organizations.
async fn fill(data: &Path) -> String {
    let (clock, hand) = Clock::manual(Timestamp::from_ms(START_MS).expect("in range"));
    let meter = Meter::open(Config { clock, ..config(data, START_MS) }).expect("a new directory");
    for (number, id) in names().into_iter().enumerate() {
        let new = NewOrganization {
            id: id.clone(),
            name: Name::new(&format!("Organization {number} Süd")).expect("valid"),
            retention_ms: Some(35 * 86_400_000),
        };
        meter.create_organization(HOST, new).await.expect("it is new");
        equip(&meter.organization(HOST, &id).expect("there"), &format!("KEY-{number}")).await;
    }
    let [one, other, third] = names();
    for number in 0..6 {
        hand.store(START_MS + number * 1_000, Ordering::Relaxed);
        for id in [&one, &other] {
            meter.organization(HOST, id).expect("there").debit_batch(round(number)).await.expect("judged");
        }
        let (from, to) = if number == 1 { (&one, &other) } else { (&third, &one) };
        if number == 1 || number == 4 {
            let id = TransferId::new(&format!("move-{number}")).expect("valid");
            meter.transfer(HOST, id, (from.clone(), to.clone()), Until::Ended).await.expect("answered");
        }
        if number == 2 || number == 3 {
            assert!(meter.snapshot().await, "written");
        }
    }
    let cam = CameraId::new("cam-2").expect("valid");
    meter.organization(HOST, &other).expect("there").remove_camera(cam).await.expect("removed");
    let key =
        |role| NewApiKey { label: Name::new("kept").expect("valid"), role, organizations: names().to_vec() };
    let (_, admin) = meter.create_api_key(HOST, key(Role::Admin)).await.expect("made");
    let (gateway, _) = meter.create_api_key(HOST, key(Role::Gateway)).await.expect("made");
    meter.revoke_api_key(HOST, gateway).await.expect("revoked");
    meter.close().await;
    admin
}

/// What `weir verify` says, but for where the directory is.
fn verified(data: &Path) -> Value {
    let mut report = weir(&["verify", text(data), "--json"]).json();
    report.as_object_mut().expect("a map").remove("directory");
    report
}

/// What a server on the directory answers, but for what depends on the time of asking.
fn answers(scene: &Scene, data: &Path, key: &str) -> Value {
    let server = Server::start(data, &scene.path("operator.key"), &["--grpc-listen", "off"]);
    let ask = |args: &[&str]| server.weir(key, &[args, &["--json"]].concat()).json();
    let of = |id: &OrgId| {
        let id = id.as_str();
        let mut summary = ask(&["summary", id]);
        for passing in ["burn_rate", "estimated_analytics_ms"] {
            summary.as_object_mut().expect("a map").remove(passing);
        }
        let (licenses, cameras) = (ask(&["license", "list", id]), ask(&["camera", "list", id]));
        json!({"summary": summary, "licenses": licenses, "cameras": cameras})
    };
    let transfers = ["move-1", "move-4"].map(|id| ask(&["transfer", "status", id]));
    let answers = json!({"organizations": names().each_ref().map(of), "transfers": transfers});
    assert_eq!(server.running.stop(), Some(0));
    answers
}

/// Writes the directory of the present version.
fn write(directory: &Path) {
    let scene = Scene::new();
    let (data, copy) = (scene.data(), scene.path("copy"));
    let key = runtime().block_on(fill(&data));
    keep(&data, directory);
    let expected = directory.join("expected.json");
    std::fs::write(&expected, "").expect("written");
    lay_out(directory, &copy);
    let all = json!({"key": key, "verified": verified(&copy), "answers": answers(&scene, &copy, &key)});
    std::fs::write(&expected, format!("{all:#}\n")).expect("written");
}

/// Every field of `expected` is there with its value; a later version may say more.
fn check_holds(expected: &Value, found: &Value, place: &str) {
    match (expected, found) {
        (Value::Object(fields), Value::Object(_)) => {
            for (name, field) in fields {
                check_holds(field, &found[name], &format!("{place}.{name}"));
            }
        }
        (Value::Array(items), Value::Array(others)) if items.len() == others.len() => {
            for (at, (item, other)) in items.iter().zip(others).enumerate() {
                check_holds(item, other, &format!("{place}[{at}]"));
            }
        }
        _ => assert_eq!(found, expected, "{place}"),
    }
}

/// What was charged is told when it is sent again, and charged no second time.
async fn check_remembered(data: &Path) {
    let meter = Meter::open(config(data, START_MS + 6_000)).expect("whole");
    for (id, number) in [(&names()[0], 5), (&names()[1], 3)] {
        let organization = meter.organization(HOST, id).expect("there");
        let reply = organization.debit_batch(round(number)).await.expect("judged");
        let outcomes = reply.batch.outcomes();
        let told = |first| outcomes.iter().filter(|told| **told == Outcome::Duplicate(first)).count();
        // A removed camera remembers, and the four debits of a camera that is off left no trace.
        let (exempt, charged) = (told(FirstOutcome::Exempt), told(FirstOutcome::Charged));
        assert_eq!((exempt, charged, outcomes.len()), (4, 8, 16), "{id}: {outcomes:?}");
    }
    meter.close().await;
}

fn check_kept(directory: &Path) {
    let scene = Scene::new();
    let data = scene.data();
    lay_out(directory, &data);
    let expected = std::fs::read_to_string(directory.join("expected.json")).expect("kept");
    let expected: Value = serde_json::from_str(&expected).expect("JSON");
    let place = directory.display().to_string();
    check_holds(&expected["verified"], &verified(&data), &place);
    let key = expected["key"].as_str().expect("a key");
    check_holds(&expected["answers"], &answers(&scene, &data, key), &place);
    runtime().block_on(check_remembered(&data));
    check_holds(&expected["verified"]["totals"], &verified(&data)["totals"], &place);
}

#[test]
fn directories_of_every_version_open_with_their_balances_history_and_identities() {
    let present = kept().join(env!("CARGO_PKG_VERSION"));
    if std::env::var_os("WEIR_WRITE_GOLDEN").is_some() && !present.exists() {
        write(&present);
    }
    assert!(present.exists(), "no directory of this version is kept; CONTRIBUTING.md says how to make one");
    for version in std::fs::read_dir(kept()).expect("kept") {
        check_kept(&version.expect("readable").path());
    }
}
