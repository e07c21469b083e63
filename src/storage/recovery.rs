//! Opening a partition: replay, repair a torn tail, clear what a crash left over, go on writing.
//!
//! This is the only place that changes journal bytes that were written before. It changes them in two ways:
//!
//! - A torn tail becomes zeros up to the end of its segment, so that no stale frame of a lost group can ever be taken
//!   for one that is written later. The report says what was cut.
//! - The last whole group is written again, byte for byte, and synced. After a process died, or after a sync failed, a
//!   read may return bytes that the medium does not have; whoever acts on them must first make them durable.
//!
//! Nothing is changed and nothing is removed before the whole replay has succeeded. Every step may be cut short and
//! begun anew.

use std::path::PathBuf;

use super::disk::{DiskFile, sync_parent, u64_of, usize_of};
use super::fault::{Fault, Result};
use super::frame::FrameRef;
use super::journal::{Journal, JournalConfig, Resume};
use super::layout::{Home, Layout};
use super::reader::{self, Ending, Scan, Start, Tail, TornTail};
use crate::domain::ids::Lsn;

/// What opening a partition found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryReport {
    /// The lsn of the next frame.
    pub next: Lsn,
    /// How many frames were replayed on top of the snapshot.
    pub frames: u64,
    /// How many segments were read.
    pub segments: u32,
    /// The torn tail that was cut, if there was one.
    pub torn: Option<TornTail>,
    /// Unfinished files of a crash that were removed.
    pub removed: Vec<PathBuf>,
}

/// Replays a partition from `after`, the lsn that its snapshot holds or zero, and opens its journal for writing. Makes
/// the directories of a new partition. The caller holds the directory lock.
///
/// # Errors
/// As [`reader::read`], with nothing changed; [`Fault::Io`] when repair fails, which may be tried again.
pub fn open_partition(
    home: &Home,
    config: JournalConfig,
    after: Lsn,
    on_frame: &mut dyn FnMut(FrameRef<'_>) -> Result<()>,
) -> Result<(Journal, RecoveryReport)> {
    create_directories(home)?;
    let scan = reader::read(home, Start::After(after), on_frame)?;
    let mut report = RecoveryReport {
        next: scan.next,
        frames: scan.frames,
        segments: scan.segments,
        torn: None,
        removed: remove_left_overs(home)?,
    };
    let journal = match &scan.tail {
        None => Journal::empty(home.clone(), config),
        Some(tail) => {
            let mut file = home.disk.open(&tail.path).map_err(Fault::io("open", &tail.path))?;
            report.torn = repair_torn_tail(&mut *file, &scan.ending, tail)?;
            settle(home, &mut *file, tail)?;
            let Tail { path, len, offset, .. } = tail.clone();
            Journal::resume(home.clone(), config, Resume { file, path, len, offset, next: scan.next })
        }
    };
    Ok((journal, report))
}

/// Replays a partition for verification or inspection; writes nothing, so a torn tail stays as it is.
///
/// # Errors
/// As [`reader::read`].
pub fn scan_partition(
    home: &Home,
    start: Start,
    on_frame: &mut dyn FnMut(FrameRef<'_>) -> Result<()>,
) -> Result<Scan> {
    reader::read(home, start, on_frame)
}

fn create_directories(home: &Home) -> Result<()> {
    let Home { layout, partition, .. } = home;
    for dir in [layout.partition(*partition), layout.journal(*partition), layout.snapshots(*partition)] {
        home.disk.create_dir_all(&dir).map_err(Fault::io("create the directory", &dir))?;
    }
    Ok(())
}

/// Overwrites a torn tail with zeros up to the end of its segment; [`settle`] syncs them.
fn repair_torn_tail(file: &mut dyn DiskFile, ending: &Ending, tail: &Tail) -> Result<Option<TornTail>> {
    let Ending::Torn(torn) = ending else { return Ok(None) };
    tracing::warn!(
        path = %torn.path.display(), offset = torn.offset, bytes = torn.bytes, lsn = %torn.lsn,
        "cut a torn tail: a group that was never acknowledged; everything before it is kept"
    );
    let zeros = vec![0; usize_of(tail.len - tail.offset)];
    file.write_at(tail.offset, &zeros).map_err(Fault::io("write", &tail.path))?;
    Ok(Some(torn.clone()))
}

/// Makes durable what the replay has read, the segment's name included, and what the repair has written.
fn settle(home: &Home, file: &mut dyn DiskFile, tail: &Tail) -> Result<()> {
    let Tail { path, offset, group_offset, group, .. } = tail;
    assert_eq!(group_offset + u64_of(group.len()), *offset, "the last group ends where the next begins");
    file.write_at(*group_offset, group).map_err(Fault::io("write", path))?;
    file.sync_data().map_err(Fault::io("sync", path))?;
    sync_parent(&*home.disk, path)
}

fn remove_left_overs(home: &Home) -> Result<Vec<PathBuf>> {
    let mut removed = Vec::new();
    for dir in [home.layout.journal(home.partition), home.layout.snapshots(home.partition)] {
        let names = home.disk.list(&dir).map_err(Fault::io("list", &dir))?;
        for name in names.iter().filter(|name| Layout::is_left_over(name)) {
            let path = dir.join(name);
            home.disk.remove(&path).map_err(Fault::io("remove", &path))?;
            removed.push(path);
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::SimDisk;
    use crate::storage::disk::Disk;
    use crate::storage::fixture::{append, check_body, home, open};
    use crate::storage::sim_disk::CrashPlan;

    /// A partition with groups of 1, 2 and 3 frames; the last of them stops inside its write after `bytes` bytes.
    fn torn_after(bytes: usize) -> SimDisk {
        let disk = SimDisk::new();
        let (mut journal, _) = open(&home(disk.clone()), Lsn(0)).expect("a new partition");
        append(&mut journal, 1).expect("durable");
        append(&mut journal, 2).expect("durable");
        disk.stop_at(disk.operations(), bytes);
        append(&mut journal, 1).expect_err("the process ends");
        disk.restart()
    }

    #[test]
    fn a_torn_tail_is_cut_reported_and_written_over() {
        let disk = torn_after(30);
        let home = home(disk.clone());
        let scan = scan_partition(&home, Start::Oldest, &mut check_body).expect("readable");
        assert!(matches!(scan.ending, Ending::Torn(_)), "a scan repairs nothing");
        let (mut journal, report) = open(&home, Lsn(0)).expect("repaired");
        let torn = report.torn.expect("reported");
        assert_eq!((torn.lsn, torn.bytes), (Lsn(4), 30));
        append(&mut journal, 2).expect("durable");
        let after = super::super::fixture::home(disk.crash(CrashPlan::LoseUnsynced));
        let (_, report) = open(&after, Lsn(0)).expect("whole");
        assert_eq!((report.next, report.torn), (Lsn(6), None));
    }

    #[test]
    fn damage_in_the_middle_stops_the_partition_and_changes_nothing() {
        let disk = torn_after(30);
        let home = home(disk.clone());
        let path = home.layout.segment(0, Lsn(1));
        let mut bytes = disk.read(&path).expect("read");
        bytes[SEGMENT_BODY] ^= 0x10;
        disk.tamper(&path, &bytes);
        let left_over = home.layout.prepared_ahead(0);
        disk.create_zeroed(&left_over, 8).expect("made");
        let operations = disk.operations();
        let fault = open(&home, Lsn(0)).expect_err("damaged");
        assert!(matches!(&fault, Fault::Corrupt { path: at, offset: 64, .. } if *at == path), "{fault}");
        assert!(fault.to_string().contains("nothing was deleted"));
        assert_eq!(disk.operations(), operations);
        assert_eq!(disk.read(&path).expect("still there"), bytes);
        assert!(disk.exists(&left_over).expect("asked"));
    }

    const SEGMENT_BODY: usize = 64 + 24 + 3;

    #[test]
    fn left_overs_of_a_crash_are_removed_and_named() {
        let disk = torn_after(0);
        let home = home(disk.clone());
        let left = [home.layout.prepared_ahead(0), home.layout.snapshot_tmp(0, Lsn(2))];
        left.iter().for_each(|path| drop(disk.create_zeroed(path, 8).expect("made")));
        let (_, report) = open(&home, Lsn(0)).expect("whole");
        assert_eq!(report.removed, left);
    }

    #[test]
    fn what_recovery_hands_over_after_a_failed_sync_is_durable_by_then() {
        let disk = SimDisk::new();
        let (mut journal, _) = open(&home(disk.clone()), Lsn(0)).expect("a new partition");
        append(&mut journal, 1).expect("durable");
        disk.fail_sync(0);
        append(&mut journal, 2).expect_err("the medium does not have it");
        let again = disk.restart();
        let (_, report) = open(&home(again.clone()), Lsn(0)).expect("readers still see it");
        assert_eq!(report.next, Lsn(4));
        let (_, report) = open(&home(again.crash(CrashPlan::LoseUnsynced)), Lsn(0)).expect("whole");
        assert_eq!(report.next, Lsn(4), "recovery wrote it again");
    }

    #[test]
    fn a_segment_whose_name_was_not_durable_is_so_after_recovery() {
        let disk = SimDisk::new();
        let (mut journal, _) = open(&home(disk.clone()), Lsn(0)).expect("a new partition");
        append(&mut journal, 1).expect("durable");
        let rename_then_stop = disk.operations() + 7;
        disk.stop_at(rename_then_stop, 0);
        append(&mut journal, 8).expect_err("ends before the directory is synced");
        let again = disk.restart();
        let (mut journal, report) = open(&home(again.clone()), Lsn(0)).expect("the name is there");
        assert_eq!(report.next, Lsn(10));
        append(&mut journal, 1).expect("durable");
        let (_, report) = open(&home(again.crash(CrashPlan::LoseUnsynced)), Lsn(0)).expect("whole");
        assert_eq!(report.next, Lsn(11));
    }
}
