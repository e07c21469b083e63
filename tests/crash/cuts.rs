//! Backups of the script while it runs, each partition read at another moment, and restoring to every point of it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use tokenweir::domain::ids::Lsn;
use tokenweir::storage::backup::copy::copy;
use tokenweir::storage::backup::history::{History, Limit};
use tokenweir::storage::backup::{self, RestoreError, Target};
use tokenweir::storage::manifest::Stage;
use tokenweir::storage::{Disk as _, Home, Manifest, SimDisk, fixture, reader, snapshot};

use super::images::{stopped, whole_run};
use super::ledger::Ledger;
use super::recovery::{check, check_recovered};
use super::script::START_MS;
use super::world::{PARTITIONS, home};

/// The script at one moment: what readers of its disk see, and what is known outside.
struct Moment {
    disk: SimDisk,
    ledger: Ledger,
}

/// The script before each of its operations, from when both partitions are there.
fn moments() -> Vec<Moment> {
    let (whole, ..) = whole_run();
    let stopped = (0..whole.operations()).map(|operation| stopped(operation, 0, None));
    let seen = stopped.map(|(disk, ledger)| Moment { disk: disk.restart(), ledger });
    seen.filter(|Moment { disk, .. }| disk.exists(&home(disk, 1).layout.snapshots(1)).expect("asked"))
        .collect()
}

fn homes(disk: &SimDisk) -> Vec<Home> {
    (0..PARTITIONS).map(|partition| home(disk, partition)).collect()
}

/// An empty directory of the same identity.
fn target() -> SimDisk {
    let (disk, home) = (SimDisk::new(), fixture::home(SimDisk::new()));
    let made = Manifest {
        partitions: PARTITIONS,
        directory: home.directory,
        created_at_ms: START_MS,
        stage: Stage::Made,
    };
    made.write(&disk, &home.layout).expect("written");
    disk
}

fn copy_files(from: &SimDisk, to: &SimDisk, folder: &Path) {
    to.create_dir_all(folder).expect("made");
    for path in from.list(folder).expect("there").into_iter().map(|name| folder.join(name)) {
        to.create_zeroed(&path, 0).expect("new");
        to.tamper(&path, &from.read(&path).expect("there"));
    }
}

/// What a backup sees that lists the snapshots at the first of two moments, and reads the journal of each partition
/// at its own; none where retention made it begin anew.
fn seen(snapshots: &Moment, journals: [&Moment; 2]) -> Option<SimDisk> {
    let disk = SimDisk::new();
    for (partition, journal) in (0..PARTITIONS).zip(journals) {
        let home = home(&disk, partition);
        copy_files(&snapshots.disk, &disk, &home.layout.snapshots(partition));
        copy_files(&journal.disk, &disk, &home.layout.journal(partition));
        let newest = snapshot::list(&home).expect("listed").pop().unwrap_or(Lsn(0));
        let first = reader::list_segments(&home).expect("listed").first().copied().unwrap_or(Lsn(1));
        if newest.next() < first {
            return None;
        }
    }
    Some(disk)
}

/// Pairs of moments, either of them the earlier one.
fn pairs(moments: &[Moment]) -> impl Iterator<Item = [usize; 2]> {
    let count = moments.len();
    (0..count).flat_map(move |at| {
        let apart = (0..count).skip(at).step_by(7).enumerate();
        apart
            .filter(move |(n, _)| (n + at).is_multiple_of(5))
            .flat_map(move |(_, other)| [[at, other], [other, at]])
    })
}

#[test]
fn i3_i6_i10_a_backup_that_reads_each_partition_at_another_moment_holds_what_was_acknowledged_and_ends_alike()
{
    let (_, _, trace) = whole_run();
    let moments = moments();
    let (mut checked, mut cut_back) = (0, 0);
    for [zero, one] in pairs(&moments) {
        let (first, last) = (&moments[zero.min(one)], &moments[zero.max(one)]);
        let Some(source) = seen(first, [&moments[zero], &moments[one]]) else { continue };
        let (scenario, copied) = (format!("partitions read at {zero} and {one}"), target());
        let (reaches, unreadable) = backup::back_up(&homes(&source), &homes(&copied))
            .unwrap_or_else(|fault| panic!("{scenario}: {fault}"));
        assert!(unreadable.is_empty(), "{scenario}: {unreadable:?}");
        let ledger = Ledger { offered: last.ledger.offered, ..first.ledger.clone() };
        check(&copied, &ledger, &trace, &scenario);
        let read =
            homes(&source).into_iter().map(|home| History::read(&home, Limit::End).expect("whole").last);
        cut_back += usize::from(read.zip(reaches).any(|(read, reach)| read > reach.last));
        checked += 1;
    }
    assert!(checked > 500 && cut_back > 50, "{checked} pairs, {cut_back} of them cut back");
}

#[test]
fn i6_copying_one_partition_after_the_other_without_a_cut_breaks_transfers() {
    let moments = moments();
    let broken = |[zero, one]: [usize; 2]| {
        let Some(source) = seen(&moments[zero.min(one)], [&moments[zero], &moments[one]]) else {
            return false;
        };
        let copied = target();
        for (from, to) in homes(&source).iter().zip(&homes(&copied)) {
            copy(from, to, History::read(from, Limit::End).expect("whole").last).expect("copied");
        }
        let ledger = &moments[zero.min(one)].ledger;
        catch_unwind(AssertUnwindSafe(|| check_recovered(&copied, ledger, "naive"))).is_err()
    };
    let is_broken = |order: fn(&[usize; 2]) -> bool| pairs(&moments).filter(order).any(broken);
    assert!(is_broken(|[zero, one]| zero < one), "the coordinator older than the organizations");
    assert!(is_broken(|[zero, one]| zero > one), "the coordinator newer than the organizations");
}

#[test]
fn i1_i6_i10_restoring_to_any_frame_of_any_partition_ends_every_transfer_alike() {
    let (source, ledger, trace) = whole_run();
    let (mut restored, mut refused) = (0, 0);
    for (partition, last) in (0..PARTITIONS).zip(ledger.offered) {
        for lsn in (1..=last.0).map(Lsn) {
            let (copied, scenario) = (target(), format!("partition {partition} at {lsn}"));
            match backup::restore(&homes(&source), &homes(&copied), Target::Frame { partition, lsn }) {
                Err(RestoreError::OutOfReach(_)) => refused += 1,
                Err(error) => panic!("{scenario}: {error}"),
                Ok(reaches) => {
                    assert!(reaches[usize::from(partition)].last <= lsn, "{scenario}: {reaches:?}");
                    let known = Ledger { now: ledger.now, offered: ledger.offered, ..Ledger::default() };
                    check(&copied, &known, &trace, &scenario);
                    restored += 1;
                }
            }
        }
    }
    assert!(restored > 20 && refused > 5, "{restored} restored, {refused} refused");
}

#[test]
fn a_time_cuts_every_partition_at_the_first_later_frame() {
    let (source, ledger, trace) = whole_run();
    let reach = |target| backup::restore(&homes(&source), &homes(&self::target()), target);
    let newest = reach(Target::Newest).expect("whole");
    let earliest = newest.iter().filter_map(|reach| reach.earliest_at).max().expect("snapshots hold events");
    assert!(matches!(reach(Target::Time(earliest.minus_ms(1))), Err(RestoreError::OutOfReach(_))));
    let mut before = reach(Target::Time(earliest)).expect("the earliest point");
    for ms in (1..=ledger.now.ms() - earliest.ms()).step_by(5_000) {
        let (at, copied) = (earliest.plus_ms(ms), target());
        let reaches = backup::restore(&homes(&source), &homes(&copied), Target::Time(at)).expect("in reach");
        assert!(reaches.iter().all(|reach| reach.last_at <= Some(at)), "{at:?}: {reaches:?}");
        assert!(
            before.iter().zip(&reaches).all(|(before, now)| before.last <= now.last),
            "{at:?}: {reaches:?}"
        );
        let known = Ledger { now: ledger.now, offered: ledger.offered, ..Ledger::default() };
        check(&copied, &known, &trace, &format!("{at:?}"));
        before = reaches;
    }
    let ends = |reaches: &[backup::Reach]| reaches.iter().map(|reach| reach.last).collect::<Vec<_>>();
    assert_eq!(ends(&reach(Target::Time(ledger.now)).expect("all")), ends(&newest));
}
