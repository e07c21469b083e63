//! Damaged directories: every flipped bit and every truncation is noticed or has no effect, and nothing is deleted
//! because of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use tokenweir::domain::ids::Lsn;
use tokenweir::storage::frame::{self, FrameMeta, Next};
use tokenweir::storage::replay::PartitionState;
use tokenweir::storage::{Disk as _, Fault, Home, Manifest, SimDisk, fixture};

use super::ledger::Ledger;
use super::recovery::{self, Trace, files};
use super::script::left_open;
use super::world::{PARTITIONS, World, home};

/// What recovery makes of a damaged file: the damage is told with its place, or the state is the right one, or the
/// last group is reported as torn.
fn outcome(
    disk: &SimDisk,
    partition: u16,
    path: &Path,
    (ledger, trace): (&Ledger, &Trace),
    scenario: &str,
) -> &'static str {
    let (home, mut state) = (home(disk, partition), PartitionState::default());
    let report = match state.open(&home, fixture::SMALL) {
        Ok((_, report, _)) => report,
        Err(fault) => {
            let told = fault.to_string();
            assert!(told.contains("nothing was deleted") || told.contains("nothing was changed"), "{told}");
            assert!(
                told.contains(&*path.to_string_lossy()) || matches!(fault, Fault::Missing { .. }),
                "{scenario}: {told}"
            );
            return "told";
        }
    };
    let (place, last) = (usize::from(partition), report.next.0 - 1);
    let bytes = recovery::bytes(state, partition);
    assert!(bytes == trace[place][usize::try_from(last).expect("few")], "{scenario}: a wrong state");
    if last == ledger.durable[place].0 {
        return "without effect";
    }
    assert!(last + 1 >= ledger.last_group[place].0, "{scenario}: more than the last group is lost");
    if report.torn.is_some() { "torn" } else { "the last group is gone" }
}

/// Runs `check` over every file of the directory, on all cores; how often each outcome was met.
fn over_files(
    check: impl Fn(&SimDisk, u16, &Path, &[u8]) -> Vec<&'static str> + Sync,
) -> BTreeMap<&'static str, usize> {
    let (disk, ..) = left_open();
    let of = |partition| files(&disk, &home(&disk, partition)).into_iter().map(move |file| (partition, file));
    let (todo, seen) =
        (Mutex::new((0..PARTITIONS).flat_map(of).collect::<Vec<_>>()), Mutex::new(BTreeMap::new()));
    let next = || todo.lock().expect("taking one never panics").pop();
    let work = || {
        while let Some((partition, (path, bytes))) = next() {
            for outcome in check(&disk, partition, &path, &bytes) {
                *seen.lock().expect("counting never panics").entry(outcome).or_default() += 1;
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    seen.into_inner().expect("all is told or right")
}

#[test]
fn i5_every_flipped_bit_is_told_or_has_no_effect_or_tears_the_last_group() {
    let (_, ledger, trace) = left_open();
    let seen = over_files(|disk, partition, path, bytes| {
        let flip = |bit: usize| {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let image = disk.restart();
            image.tamper(path, &flipped);
            let scenario = format!("bit {bit} of {}", path.display());
            outcome(&image, partition, path, (&ledger, &trace), &scenario)
        };
        (0..bytes.len() * 8).map(flip).collect()
    });
    assert_eq!(seen.keys().copied().collect::<Vec<_>>(), ["told", "torn", "without effect"], "{seen:?}");
}

#[test]
fn i5_a_file_that_is_cut_at_any_byte_is_told_or_has_no_effect() {
    let (_, ledger, trace) = left_open();
    let seen = over_files(|disk, partition, path, bytes| {
        let cut = |len: usize| {
            let image = disk.restart();
            image.tamper(path, &bytes[..len]);
            let scenario = format!("{} cut to {len} bytes", path.display());
            outcome(&image, partition, path, (&ledger, &trace), &scenario)
        };
        (0..bytes.len()).map(cut).collect()
    });
    assert_eq!(seen.keys().copied().collect::<Vec<_>>(), ["told", "without effect"], "{seen:?}");
}

#[test]
fn i5_a_journal_whose_end_reads_as_zeros_from_any_byte_on_is_a_legal_prefix() {
    let (disk, _, trace) = left_open();
    for partition in 0..PARTITIONS {
        let at_home = home(&disk, partition);
        let mut segments = files(&disk, &at_home)
            .into_iter()
            .filter(|(path, _)| path.extension().is_some_and(|end| end == "wal"));
        let (path, bytes) = segments.next_back().expect("a journal");
        for from in 0..bytes.len() {
            let (mut zeroed, image) = (bytes.clone(), disk.restart());
            zeroed[from..].fill(0);
            image.tamper(&path, &zeroed);
            let mut state = PartitionState::default();
            let Ok((_, report, base)) = state.open(&home(&image, partition), fixture::SMALL) else {
                continue;
            };
            let last = usize::try_from(report.next.0 - 1).expect("few");
            assert!(report.next > base.snapshot, "zeros from {from} on: below the snapshot");
            assert!(
                recovery::bytes(state, partition) == trace[usize::from(partition)][last],
                "zeros from {from} on"
            );
        }
    }
}

#[test]
fn a_flipped_byte_in_the_middle_stops_the_partition_with_file_and_offset_and_deletes_nothing() {
    let (disk, ..) = left_open();
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
    let (disk, ..) = left_open();
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
    let (disk, ledger, _) = left_open();
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
