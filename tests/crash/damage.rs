//! Damaged directories: every flipped bit is noticed or has no effect, and nothing is deleted because of it.

use std::path::PathBuf;

use tokenweir::domain::ids::Lsn;
use tokenweir::storage::frame::{self, FrameMeta, Next};
use tokenweir::storage::replay::PartitionState;
use tokenweir::storage::{Disk as _, Ending, Fault, Home, Manifest, SimDisk, fixture};

use crate::images::empty;
use crate::ledger::Ledger;
use crate::recovery::{self, Trace};
use crate::script;
use crate::world::{PARTITIONS, World, home};

/// Files longer than this are flipped at one bit of each byte, shorter ones at all.
const EVERY_BIT_BYTES_MAX: usize = 128;

/// A directory whose process died without closing it.
fn directory() -> (SimDisk, Ledger, Trace) {
    let disk = SimDisk::new();
    let mut ledger = Ledger { trace: Some([vec![empty(0)], vec![empty(1)]]), ..Ledger::default() };
    let mut world = script::first_run(&disk, &mut ledger).expect("no fault is injected");
    for (number, org) in (0..).zip(script::organizations()) {
        script::claim(&mut world, &org, &format!("more-{number}"), &[100]);
    }
    for (number, org) in (1..9).flat_map(|number| script::organizations().map(|org| (number, org))) {
        world.debits(&org, &[script::seq(50, number, 1), script::seq(50, number, 1)]);
        world.pump().expect("no fault is injected");
    }
    let trace = ledger.trace.take().expect("wanted");
    (disk, ledger, trace)
}

fn files(disk: &SimDisk, home: &Home) -> Vec<(PathBuf, Vec<u8>)> {
    let Home { layout, partition, .. } = home;
    let folders = [layout.journal(*partition), layout.snapshots(*partition)];
    let inside = |folder: &PathBuf| {
        disk.list(folder).expect("made").into_iter().map(|name| folder.join(name)).collect()
    };
    let paths = folders.iter().flat_map::<Vec<_>, _>(inside);
    paths.map(|path| (path.clone(), disk.read(&path).expect("there"))).collect()
}

/// The bits to flip in a file of so many bytes: all of its headers, then one of each byte.
fn bits(len: usize) -> impl Iterator<Item = usize> {
    let all = (0..len.min(EVERY_BIT_BYTES_MAX)).flat_map(|byte| (0..8).map(move |bit| byte * 8 + bit));
    all.chain((EVERY_BIT_BYTES_MAX..len).map(|byte| byte * 8 + byte % 8))
}

/// The damage is told with its place, or the state is the right one, or the last group is reported as torn.
fn check_flip(
    disk: &SimDisk,
    partition: u16,
    path: &std::path::Path,
    ledger: &Ledger,
    trace: &Trace,
) -> &'static str {
    let (home, mut state) = (home(disk, partition), PartitionState::default());
    let scan = match state.scan(&home) {
        Ok((scan, _)) => scan,
        Err(fault) => {
            let told = fault.to_string();
            assert!(told.contains("nothing was deleted") || told.contains("nothing was changed"), "{told}");
            assert!(
                told.contains(&*path.to_string_lossy()) || matches!(fault, Fault::Missing { .. }),
                "{told}"
            );
            return "told";
        }
    };
    let (place, last) = (usize::from(partition), scan.next.0 - 1);
    let bytes = recovery::bytes(state, partition);
    assert!(bytes == trace[place][usize::try_from(last).expect("few")], "{}: a wrong state", path.display());
    if last == ledger.durable[place].0 {
        return "without effect";
    }
    assert!(matches!(scan.ending, Ending::Torn(_)), "{}: {last} frames, and no torn tail", path.display());
    assert!(last + 1 >= ledger.last_group[place].0, "{}: more than the last group is lost", path.display());
    "torn"
}

#[test]
fn i5_every_flipped_bit_is_told_or_has_no_effect_or_tears_the_last_group() {
    let (disk, ledger, trace) = directory();
    let mut seen = std::collections::BTreeMap::<_, usize>::new();
    for partition in 0..PARTITIONS {
        for (path, bytes) in files(&disk, &home(&disk, partition)) {
            let image = disk.restart();
            for bit in bits(bytes.len()) {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                image.tamper(&path, &flipped);
                *seen.entry(check_flip(&image, partition, &path, &ledger, &trace)).or_default() += 1;
            }
        }
    }
    assert!(["told", "torn", "without effect"].iter().all(|kind| seen.contains_key(kind)), "{seen:?}");
}

#[test]
fn a_flipped_byte_in_the_middle_stops_the_partition_with_file_and_offset_and_deletes_nothing() {
    let (disk, ..) = directory();
    for partition in 0..PARTITIONS {
        let home = home(&disk, partition);
        let (segment, mut bytes, offset) = frame_in_the_middle(&disk, &home);
        bytes[offset + 30] ^= 0x40;
        disk.tamper(&segment, &bytes);
        let before = files(&disk, &home);
        let fault = PartitionState::default().open(&home, fixture::SMALL).expect_err("damaged");
        assert!(matches!(&fault, Fault::Corrupt { path, .. } if *path == segment), "{fault}");
        let told = fault.to_string();
        assert!(
            told.contains(&format!("at byte {offset}")) && told.contains("nothing was deleted"),
            "{told}"
        );
        assert!(files(&disk, &home) == before, "{told}: and yet something was changed");
    }
    assert!(World::open(&disk, &mut Ledger::default()).is_err());
}

/// The newest segment that has three frames or more, its bytes, and where its second frame begins.
fn frame_in_the_middle(disk: &SimDisk, home: &Home) -> (PathBuf, Vec<u8>, usize) {
    let after = |bytes: &[u8], offset| match frame::next(bytes, offset) {
        Next::Frame(frame) => Some(frame.next_offset),
        Next::End | Next::Bad { .. } => None,
    };
    let segments =
        files(disk, home).into_iter().filter(|(path, _)| path.extension().is_some_and(|end| end == "wal"));
    let mut long = segments.rev().filter_map(|(path, bytes)| {
        let second = after(&bytes, 64)?;
        after(&bytes, after(&bytes, second)?)?;
        Some((path, bytes, second))
    });
    long.next().expect("some segment has three frames")
}

#[test]
fn a_directory_of_a_newer_format_is_refused_and_left_as_it_is() {
    let (disk, ..) = directory();
    let layout = home(&disk, 0).layout;
    let manifest = disk.read(&layout.manifest()).expect("there");
    let Next::Frame(frame) = frame::next(&manifest, 0) else { panic!("a manifest is a frame") };
    let (mut newer, meta) = (Vec::new(), frame.meta);
    let start = frame::begin(&mut newer);
    newer.extend_from_slice(&2_u16.to_le_bytes());
    newer.extend_from_slice(&frame.body[2..]);
    frame::finish(&mut newer, start, meta);
    disk.tamper(&layout.manifest(), &newer);
    let operations = disk.operations();
    let fault = World::open(&disk, &mut Ledger::default()).err().expect("newer");
    assert!(matches!(fault, Fault::TooNew { found: 2, supported: 1, .. }), "{fault}");
    assert!(Manifest::read(&disk, &layout).is_err());
    assert_eq!(disk.operations(), operations, "nothing was written");
}

#[test]
fn a_frame_of_a_newer_version_stops_the_partition_instead_of_being_passed_over() {
    let (disk, ledger, _) = directory();
    let home = home(&disk, 1);
    let (mut journal, ..) = PartitionState::default().open(&home, fixture::SMALL).expect("whole");
    let (mut group, lsn) = (Vec::new(), Lsn(ledger.durable[1].0 + 1));
    let start = frame::begin(&mut group);
    frame::finish(&mut group, start, FrameMeta { lsn, group: 0, kind: 1, version: 2 });
    journal.append_group(lsn, 1, &group).expect("durable");
    let fault = PartitionState::default().open(&home, fixture::SMALL).expect_err("newer");
    let told = fault.to_string();
    assert!(matches!(fault, Fault::TooNew { found: 2, supported: 1, .. }), "{told}");
    assert!(told.contains(".wal") && told.contains("nothing was changed"), "{told}");
}
