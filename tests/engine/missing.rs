//! What is missing, moved or doubled is noticed: nothing is made anew in its place.

use std::fs;
use std::path::Path;

use tokenweir::meter::{Fault, Meter, OrgId};

use super::support::{HOST, code, code_of, config, debit, handle, name_in, organization};

/// A closed directory with an organization in each of two partitions.
async fn made(root: &Path) -> [OrgId; 2] {
    let meter = Meter::open(config(root)).expect("it is new");
    let names = [name_in(0, 0), name_in(1, 0)];
    for name in &names {
        let organization = organization(&meter, name.as_str(), 100).await;
        assert_eq!(code_of(&organization, debit(1)).await, "charged");
    }
    meter.close().await;
    names
}

#[tokio::test]
async fn r14_a_partition_that_lost_its_files_stops_and_is_not_made_anew() {
    for lost in ["p001", "p001/journal"] {
        let root = tempfile::tempdir().expect("a directory");
        let names = made(root.path()).await;
        fs::remove_dir_all(root.path().join(lost)).expect("it is there");
        let meter = Meter::open(config(root.path())).expect("the first partition is whole");
        assert!(meter.recovery()[1].damage.as_ref().is_some_and(|told| told.contains("missing")), "{lost}");
        assert_eq!(code(meter.organization(HOST, &names[1])), "poisoned");
        assert_eq!(code_of(&handle(&meter, &names[0]), debit(2)).await, "charged");
        meter.close().await;
    }
}

#[tokio::test]
async fn r6_a_directory_that_lost_its_first_partition_is_refused() {
    let root = tempfile::tempdir().expect("a directory");
    made(root.path()).await;
    fs::remove_dir_all(root.path().join("p000")).expect("it is there");
    assert!(matches!(Meter::open(config(root.path())), Err(Fault::Missing { .. })));
}

#[tokio::test]
async fn partitions_without_a_manifest_are_refused_and_get_none() {
    let root = tempfile::tempdir().expect("a directory");
    made(root.path()).await;
    fs::remove_file(root.path().join("MANIFEST")).expect("it is there");
    assert!(matches!(Meter::open(config(root.path())), Err(Fault::Missing { .. })));
    assert!(!root.path().join("MANIFEST").exists());
}

#[tokio::test]
async fn i9_a_removed_lock_file_lets_no_second_meter_in() {
    let root = tempfile::tempdir().expect("a directory");
    let meter = Meter::open(config(root.path())).expect("it is new");
    fs::remove_file(root.path().join("LOCK")).expect("it is there");
    assert!(matches!(Meter::open(config(root.path())), Err(Fault::Locked { .. })));
    meter.close().await;
}

#[tokio::test]
async fn i3_a_directory_that_is_moved_away_under_a_meter_stops_it() {
    let root = tempfile::tempdir().expect("a directory");
    let (here, there) = (root.path().join("here"), root.path().join("there"));
    let meter = Meter::open(config(&here)).expect("it is new");
    let organization = organization(&meter, "acme", 1_000_000).await;
    fs::rename(&here, &there).expect("it is moved");
    let mut seq = 1;
    while code_of(&organization, debit(seq)).await == "charged" {
        seq += 1;
        assert!(seq < 1_000_000, "it never stops");
    }
    assert_eq!(code_of(&organization, debit(seq)).await, "poisoned");
    meter.close().await;
}
