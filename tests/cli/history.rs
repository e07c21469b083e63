//! `weir verify` over the whole history: digests, and histories that were changed with every checksum right.

use std::path::{Path, PathBuf};

use serde_json::Value;

use tokenweir::domain::debit::Charges;
use tokenweir::storage::event_codec::{self, DecodedDebits};
use tokenweir::storage::frame::{self, Next};

use crate::backup::timed;
use crate::process::{text, weir};
use crate::scene::Scene;

fn verified(directory: &Path) -> Value {
    weir(&["verify", text(directory), "--json"]).json()
}

/// The file, the offset and the lsn of the nth frame of debits of a partition.
fn debits(data: &Path, partition: usize, nth: usize) -> (PathBuf, usize, u64) {
    let inspected = weir(&["inspect", text(data), "--json"]).json();
    let partition = &inspected["partitions"][partition];
    let frames = partition["frames"].as_array().expect("frames").iter();
    let frame = frames.filter(|frame| frame["kind"] == "debits").nth(nth).expect("so many");
    let number = |name: &str| frame[name].as_u64().expect("a number");
    let offset = usize::try_from(number("offset")).expect("small");
    (partition["segments"][0]["file"].as_str().expect("a file").into(), offset, number("lsn"))
}

/// Writes another body of the same length into a frame, with the checksum that is right for it.
fn forge(segment: &Path, offset: usize, change: impl FnOnce(&[u8]) -> Vec<u8>) {
    let mut bytes = std::fs::read(segment).expect("readable");
    let Next::Frame(found) = frame::next(&bytes, offset) else { panic!("a frame is there") };
    let (mut forged, body) = (Vec::new(), change(found.body));
    assert_eq!(body.len(), found.body.len(), "what follows stays where it is");
    let start = frame::begin(&mut forged);
    forged.extend_from_slice(&body);
    frame::finish(&mut forged, start, found.meta);
    bytes[offset..offset + forged.len()].copy_from_slice(&forged);
    std::fs::write(segment, bytes).expect("written");
}

#[test]
fn equal_directories_have_equal_digests_and_one_more_debit_changes_that_of_its_partition() {
    let scene = Scene::new();
    timed(&scene, 2);
    let (data, backup, restored) = (scene.data(), scene.path("backup"), scene.path("restored"));
    weir(&["backup", text(&backup), "--data", text(&data)]);
    weir(&["restore", text(&backup), text(&restored)]);
    let whole = verified(&data);
    let digest = whole["digest"].as_str().expect("nothing is damaged");
    assert_eq!(digest.len(), 64);
    assert!(weir(&["verify", text(&data)]).stdout.contains(&format!("digest {digest}")));
    for same in [&backup, &restored] {
        assert_eq!(verified(same)["digest"], digest, "{}", same.display());
    }
    let (_, _, last) = debits(&data, 1, 7);
    let earlier = scene.path("earlier");
    weir(&["restore", text(&backup), text(&earlier), "--at", &format!("1:{}", last - 1)]);
    let earlier = verified(&earlier);
    assert_ne!(earlier["digest"], digest);
    assert_ne!(earlier["partitions"][1]["digest"], whole["partitions"][1]["digest"]);
    assert_eq!(whole["partitions"][0]["compared_from"], 0);
}

#[test]
fn a_frame_that_contradicts_what_was_before_it_is_named_by_file_offset_and_lsn() {
    let scene = Scene::new();
    timed(&scene, 2);
    let (segment, offset, lsn) = debits(&scene.data(), 0, 2);
    forge(&segment, offset, |body| [&[9], &body[1..]].concat());
    let ended = weir(&["verify", text(&scene.data()), "--json"]);
    assert_eq!(ended.code, 1, "{ended:?}");
    let report: Value = serde_json::from_str(&ended.stdout).expect("a report all the same");
    let damage = &report["partitions"][0]["damage"][0];
    assert_eq!((&damage["offset"], &damage["lsn"]), (&offset.into(), &lsn.into()), "{damage}");
    assert_eq!(damage["file"], text(&segment));
    assert!(report["digest"].is_null() && report["clean"] == false, "{report}");
    let words = format!("at byte {offset} (lsn {lsn}): organization number 9 was never created");
    assert!(ended.stderr.contains(&words), "{ended:?}");
}

#[test]
fn i8_a_history_that_was_changed_with_its_checksums_differs_from_the_snapshots_after_it() {
    let scene = Scene::new();
    timed(&scene, 2);
    let (segment, offset, _) = debits(&scene.data(), 1, 1);
    forge(&segment, offset, |body| {
        let (mut decoded, mut forged) = (DecodedDebits::new(), Vec::new());
        event_codec::decode_debits(body, &mut decoded).expect("whole");
        let Charges { at, charges, text, reservation } = decoded.charges();
        let mut charges = charges.to_vec();
        charges.iter_mut().for_each(|charge| charge.tokens += 1);
        event_codec::encode_debits(
            &mut forged,
            decoded.org,
            &Charges { at, charges: &charges, text, reservation },
        );
        forged
    });
    let ended = weir(&["verify", text(&scene.data()), "--json"]);
    let report: Value = serde_json::from_str(&ended.stdout).expect("a report all the same");
    assert_eq!((ended.code, &report["violations"][0]["invariant"]), (1, &"I8".into()), "{ended:?}");
    assert!(ended.stderr.contains("partition 1: a replay from the snapshot"), "{ended:?}");
}
