//! `weir verify` and `weir inspect` on directories that are whole, torn, damaged, or held.

use std::path::{Path, PathBuf};

use serde_json::Value;

use tokenweir::meter::{
    CameraId, CameraRef, CameraSpec, Config, Debit, DebitBatch, Identity, Meter, Name, NewOrganization,
    OrgId, Principal, Tokens, UsageKind,
};

use crate::process::{text, weir};
use crate::scene::{Scene, content, trace_tokens};

/// The partition that the trace's organization lives in.
fn inspected(directory: &Path) -> Value {
    let found = weir(&["inspect", text(directory), "--limit", "100000", "--json"]).json();
    let partitions = found["partitions"].as_array().expect("partitions").clone();
    partitions
        .into_iter()
        .find(|partition| partition["frames"].to_string().contains("\"debits\""))
        .expect("debits are somewhere")
}

fn segment_of(partition: &Value) -> PathBuf {
    partition["segments"][0]["file"].as_str().expect("a file").into()
}

#[test]
fn a_directory_that_was_closed_in_order_is_clean() {
    let scene = Scene::new();
    let data = scene.charged_directory(200);
    let before = content(&data);
    let report = weir(&["verify", text(&data), "--json"]).json();
    assert_eq!(report["clean"], true);
    assert_eq!(report["totals"]["used"], trace_tokens(200));
    assert_eq!(report["totals"]["debits_charged"], 200);
    let closed = |partition: &Value| partition["frames"] == 0 || partition["closed_cleanly"] == true;
    assert!(report["partitions"].as_array().expect("partitions").iter().all(closed), "{report}");
    let told = weir(&["verify", text(&data)]);
    assert!(told.code == 0 && told.stdout.contains("clean: every frame"), "{told:?}");
    assert_eq!(content(&data), before, "verification changes nothing");
}

#[test]
fn i8_a_replay_from_a_snapshot_equals_a_replay_of_all_frames() {
    let scene = Scene::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let meter =
            Meter::open(Config { partitions: 1, ..Config::new(scene.data()) }).expect("a new directory");
        let id = OrgId::new("acme").expect("valid");
        let new = NewOrganization::new(id.clone(), Name::new("Acme").expect("valid"));
        meter.create_organization(&Principal::Host, new).await.expect("created");
        let acme = meter.organization(&Principal::Host, &id).expect("there");
        let (camera, network) = (CameraId::new("cam").expect("valid"), Name::new("gate").expect("valid"));
        let spec = CameraSpec { id: camera, network, cloud_ai: true, pro_license: false };
        acme.register_camera(spec).await.expect("registered");
        acme.grant(vec![Tokens(1_000), Tokens(500)]).await.expect("granted");
        for seq in 0..60 {
            let id = format!("e{seq}");
            let identity =
                if seq % 2 == 0 { Identity::Seq { epoch: 1, seq } } else { Identity::EventId(id.as_bytes()) };
            let (camera, kind) = (CameraRef::Id("cam"), UsageKind::VideoSearch);
            let mut batch = DebitBatch::with_capacity(1);
            batch.push(Debit { camera, identity, tokens: 20, kind, time: Some(meter.now()) });
            acme.debit_batch(batch).await.expect("judged");
            if seq == 30 {
                assert!(meter.snapshot().await, "written");
            }
        }
        meter.close().await;
    });
    let report = weir(&["verify", text(&scene.data()), "--json"]).json();
    let partition = &report["partitions"][0];
    assert!(partition["snapshot_lsn"].as_u64() > Some(0), "{report}");
    assert_eq!(partition["replayed_from_first"], true);
    assert_eq!(report["totals"]["used"], 1_200);
}

#[test]
fn a_torn_tail_is_reported_and_is_no_error() {
    let scene = Scene::new();
    let data = scene.charged_directory(200);
    let segment = segment_of(&inspected(&data));
    let mut bytes = std::fs::read(&segment).expect("readable");
    let end = bytes.iter().rposition(|byte| *byte != 0).expect("not empty").next_multiple_of(8) + 8;
    bytes[end..end + 40].fill(0xAB);
    std::fs::write(&segment, bytes).expect("written");
    let before = content(&data);
    let report = weir(&["verify", text(&data), "--json"]).json();
    assert_eq!(report["clean"], true);
    let torn =
        report["partitions"].as_array().expect("partitions").iter().find(|p| !p["torn_tail"].is_null());
    assert_eq!(torn.expect("reported")["torn_tail"]["file"], text(&segment));
    assert_eq!(report["totals"]["used"], trace_tokens(200));
    let told = weir(&["verify", text(&data)]);
    assert!(told.code == 0 && told.stdout.contains("has a torn tail of"), "{told:?}");
    assert_eq!(content(&data), before, "only a start cuts it");
}

#[test]
fn a_flipped_byte_in_the_middle_is_named_by_file_and_offset_and_nothing_is_changed() {
    let scene = Scene::new();
    let data = scene.charged_directory(400);
    let partition = inspected(&data);
    let segment = segment_of(&partition);
    let frames = partition["frames"].as_array().expect("frames");
    let offset = frames[frames.len() / 2]["offset"].as_u64().expect("an offset");
    let mut bytes = std::fs::read(&segment).expect("readable");
    bytes[usize::try_from(offset).expect("small") + 30] ^= 0x10;
    std::fs::write(&segment, bytes).expect("written");
    let before = content(&data);
    let named = format!("{} is damaged at byte {offset}", segment.display());

    let ended = weir(&["verify", text(&data), "--json"]);
    assert_eq!(ended.code, 1, "{ended:?}");
    let report: Value = serde_json::from_str(&ended.stdout).expect("a report all the same");
    let damaged = report["partitions"]
        .as_array()
        .expect("partitions")
        .iter()
        .find(|p| p["damage"] != Value::Array(vec![]));
    let damage = &damaged.expect("reported")["damage"][0];
    assert_eq!((&damage["file"], &damage["offset"]), (&text(&segment).into(), &offset.into()));
    assert!(
        ended.stderr.contains(&named) && ended.stderr.contains("nothing was deleted"),
        "{}",
        ended.stderr
    );

    let inspected = weir(&["inspect", text(&data)]);
    assert!(inspected.code == 1 && inspected.stderr.contains(&named), "{inspected:?}");
    assert!(inspected.stdout.contains("organization created"), "frames before it are shown");
    let trace = scene.path("trace.csv");
    let args =
        ["replay", text(&trace), "--data", text(&data), "--org", "acme", "--cameras", "4", "--flat-out"];
    let replayed = weir(&args);
    assert!(replayed.code == 2 && replayed.stderr.contains(&named), "{replayed:?}");
    assert_eq!(content(&data), before, "nothing is repaired and nothing is deleted");
}

#[test]
fn a_damaged_manifest_and_a_directory_that_is_none_are_told_apart() {
    let scene = Scene::new();
    let none = weir(&["verify", text(&scene.path("nothing"))]);
    assert!(none.code == 2 && none.stderr.contains("is no data directory"), "{none:?}");
    assert!(!scene.path("nothing").exists(), "verification makes no directory");
    let data = scene.charged_directory(10);
    let manifest = data.join("MANIFEST");
    let mut bytes = std::fs::read(&manifest).expect("readable");
    bytes[30] ^= 1;
    std::fs::write(&manifest, bytes).expect("written");
    let damaged = weir(&["verify", text(&data)]);
    assert!(damaged.code == 1 && damaged.stderr.contains("MANIFEST is damaged at byte 0"), "{damaged:?}");
}

#[test]
fn i9_a_directory_that_a_server_holds_is_not_opened() {
    let scene = Scene::new();
    let (server, _) = scene.server();
    for command in ["verify", "inspect"] {
        let held = weir(&[command, text(&scene.data())]);
        assert!(held.code == 2 && held.stderr.contains("is held by process"), "{held:?}");
    }
    assert_eq!(server.running.stop(), Some(0));
    assert_eq!(weir(&["verify", text(&scene.data())]).code, 0);
}

#[test]
fn the_journal_is_shown_for_people_without_its_secrets() {
    let scene = Scene::new();
    let data = scene.charged_directory(100);
    let shown = weir(&["inspect", text(&data)]);
    assert_eq!(shown.code, 0);
    for part in
        ["organization created", "licenses added", "camera registered", "16 debits", "cam-0", "closed"]
    {
        assert!(shown.stdout.contains(part), "{part} in {}", shown.stdout);
    }
    let partition = inspected(&data);
    let frames = partition["frames"].as_array().expect("frames");
    let created =
        frames.iter().find(|frame| frame["change"]["organization_created"].is_object()).expect("created");
    assert_eq!(created["change"]["organization_created"]["secret"], "(hidden)");
    let debits: u64 = frames.iter().filter_map(|frame| frame["debits"].as_u64()).sum();
    assert_eq!(debits, 100);

    let number = partition["partition"].to_string();
    let args =
        ["inspect", text(&data), "--partition", &number, "--from", "3", "--limit", "2", "--rows", "--json"];
    let page = weir(&args).json();
    let page = &page["partitions"][0];
    assert_eq!(page["frames"].as_array().map(Vec::len), Some(2));
    assert_eq!((&page["frames"][0]["lsn"], &page["more"]), (&3.into(), &true.into()));
}
