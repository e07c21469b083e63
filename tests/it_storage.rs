//! Storage under power cuts: a scripted run is stopped at every operation and inside every write, the disk loses what a
//! disk may lose, and what recovery finds must be a prefix that holds every acknowledged group (I3, I5).
#![cfg(feature = "testing")]

use tokenweir::domain::ids::Lsn;
use tokenweir::storage::fixture::{append, body, home, open};
use tokenweir::storage::manifest::Stage;
use tokenweir::storage::retention::{Retired, retire};
use tokenweir::storage::sim_disk::{CrashPlan, SimDisk};
use tokenweir::storage::snapshot::{SnapshotHeader, load_newest, write_snapshot};
use tokenweir::storage::{DirectoryId, Disk, Layout, Manifest, RealDisk, Result};

const STEPS: u32 = 14;

/// How far a run came before it was stopped.
#[derive(Debug, Default)]
struct Progress {
    acknowledged: Lsn,
    /// The last lsn that was handed to the journal.
    offered: Lsn,
    snapshots: u32,
    retired: Retired,
}

fn run(disk: &SimDisk, progress: &mut Progress) -> Result<()> {
    let manifest =
        Manifest { partitions: 1, directory: DirectoryId([0xD1; 16]), created_at_ms: 1, stage: Stage::Made };
    manifest.write(disk, &Layout::new("d"))?;
    let home = home(disk.clone());
    let (mut journal, _) = open(&home, Lsn(0))?;
    for step in 0..STEPS {
        if step % 2 == 0
            && let Some(job) = journal.preparation()
        {
            journal.provide(job.run());
        }
        let frames = 1 + step % 4;
        progress.offered = Lsn(journal.durable().0 + u64::from(frames));
        append(&mut journal, frames)?;
        progress.acknowledged = journal.durable();
        if step % 4 == 3 {
            let header = SnapshotHeader { lsn: journal.durable(), version: 1 };
            write_snapshot(&home, header, &body(header.lsn))?;
            progress.snapshots += 1;
            let retired = retire(&home, 0, None)?;
            progress.retired.segments += retired.segments;
            progress.retired.snapshots += retired.snapshots;
        }
    }
    Ok(())
}

/// Recovers as a start does; gives the last lsn that is there.
fn recover(disk: &SimDisk) -> Result<Lsn> {
    let home = home(disk.clone());
    if !disk.list(&home.layout.snapshots(0)).is_ok_and(|names| !names.is_empty()) {
        return open(&home, Lsn(0)).map(|(journal, _)| journal.durable());
    }
    let loaded = load_newest(&home)?;
    assert!(loaded.skipped.is_empty(), "a power cut never leaves a bad snapshot under its name: {loaded:?}");
    let after = loaded.snapshot.map_or(Lsn(0), |snapshot| {
        assert_eq!(snapshot.body, body(snapshot.header.lsn));
        snapshot.header.lsn
    });
    open(&home, after).map(|(journal, _)| journal.durable())
}

/// Recovery finds a prefix no shorter than what was acknowledged; what it found stays, and writing goes on.
fn check(disk: &SimDisk, progress: &Progress, scenario: &str) {
    let found = recover(disk).unwrap_or_else(|fault| panic!("{scenario}: {fault}"));
    assert!(found >= progress.acknowledged, "{scenario}: lost {} to {}", found.next(), progress.acknowledged);
    assert!(found <= progress.offered, "{scenario}: {found} was never offered");
    let cut = disk.crash(CrashPlan::LoseUnsynced);
    assert_eq!(recover(&cut).expect(scenario), found, "{scenario}: what recovery found was not durable");
    let home = home(cut.clone());
    let after = load_newest(&home).expect(scenario).snapshot.map_or(Lsn(0), |snapshot| snapshot.header.lsn);
    let (mut journal, _) = open(&home, after).expect(scenario);
    append(&mut journal, 2).expect(scenario);
    let durable = recover(&cut.crash(CrashPlan::LoseUnsynced)).expect(scenario);
    assert_eq!(durable.0, found.0 + 2, "{scenario}: a group written after recovery");
}

fn aftermaths(disk: &SimDisk, seed: u64) -> Vec<(String, SimDisk)> {
    let mut all = vec![("restart".to_owned(), disk.restart())];
    let plans = [CrashPlan::LoseUnsynced, CrashPlan::KeepUnsynced];
    let seeded = (0..4).map(|n| CrashPlan::Seeded(seed.wrapping_mul(31) + n));
    all.extend(plans.into_iter().chain(seeded).map(|plan| (format!("{plan:?}"), disk.crash(plan))));
    all
}

/// Every operation of the whole run, and for a write several places inside it.
fn stops() -> Vec<(u64, usize)> {
    let disk = SimDisk::new();
    let mut progress = Progress::default();
    run(&disk, &mut progress).expect("no fault is injected");
    assert!(
        progress.retired.segments > 1 && progress.retired.snapshots > 0 && progress.snapshots > 2,
        "{progress:?}"
    );
    let mut stops: Vec<_> = (0..=disk.operations()).map(|operation| (operation, 0)).collect();
    for (operation, len) in disk.writes() {
        stops.extend((1..=len).step_by(if len < 200 { 7 } else { 61 }).map(|bytes| (operation, bytes)));
        stops.push((operation, len));
    }
    stops
}

#[test]
fn a_crash_at_every_operation_and_inside_every_write_keeps_all_that_was_acknowledged() {
    for (operation, bytes) in stops() {
        let disk = SimDisk::new();
        disk.stop_at(operation, bytes);
        let mut progress = Progress::default();
        let _ = run(&disk, &mut progress);
        for (aftermath, left) in aftermaths(&disk, operation) {
            check(&left, &progress, &format!("stop at {operation} after {bytes} bytes, {aftermath}"));
        }
    }
}

#[test]
fn a_crash_at_every_operation_of_recovery_itself_loses_nothing() {
    for (operation, bytes) in stops().into_iter().step_by(5) {
        let disk = SimDisk::new();
        disk.stop_at(operation, bytes);
        let mut progress = Progress::default();
        let _ = run(&disk, &mut progress);
        let probe = disk.restart();
        recover(&probe).expect("recoverable");
        for again in 0..probe.operations() {
            let second = disk.restart();
            second.stop_at(again, 40);
            let _ = recover(&second);
            for (aftermath, left) in aftermaths(&second, again) {
                check(
                    &left,
                    &progress,
                    &format!("stop at {operation}+{bytes}, then at {again}, {aftermath}"),
                );
            }
        }
    }
}

#[test]
fn a_failure_at_every_sync_and_every_write_loses_nothing_that_was_acknowledged() {
    let probe = SimDisk::new();
    run(&probe, &mut Progress::default()).expect("no fault is injected");
    let writes = u64::try_from(probe.writes().len()).expect("few");
    let inject = |fail: &dyn Fn(&SimDisk), scenario: String| {
        let disk = SimDisk::new();
        fail(&disk);
        let mut progress = Progress::default();
        let _ = run(&disk, &mut progress);
        for (aftermath, left) in aftermaths(&disk, 1) {
            check(&left, &progress, &format!("{scenario}, {aftermath}"));
        }
    };
    (0..probe.syncs()).for_each(|nth| inject(&|disk| disk.fail_sync(nth), format!("sync {nth} fails")));
    (0..writes).for_each(|nth| inject(&|disk| disk.fail_write(nth), format!("write {nth} fails")));
    (0..12_000)
        .step_by(97)
        .for_each(|room| inject(&|disk| disk.limit_space(room), format!("room for {room}")));
}

#[test]
fn the_real_disk_holds_a_partition_over_rotations_and_restarts() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let real = tokenweir::storage::Home { layout: Layout::new(dir.path()), ..home(RealDisk) };
    let mut expected = 0;
    for round in 0..5 {
        let (mut journal, report) = open(&real, Lsn(0)).expect("whole");
        assert_eq!((report.next, report.torn), (Lsn(expected + 1), None));
        for step in 0..20 {
            if let Some(job) = journal.preparation() {
                journal.provide(job.run());
            }
            append(&mut journal, 1 + (step + round) % 3).expect("durable");
        }
        expected = journal.durable().0;
    }
}
