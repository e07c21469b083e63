//! Removes what two good snapshots made superfluous: older snapshots, and segments wholly below the older of the two.
//!
//! Invariants:
//!
//! - Two snapshots that were just read whole stay, and every frame above the older one stays: if the newest turns out
//!   unreadable later, the older one and the journal still give everything.
//! - With fewer than two good snapshots nothing is removed.
//! - As many bytes of the newest segments stay as are to be kept for restoring to a point in time, with a snapshot
//!   to begin from: the newest good one before the oldest of them. Of the snapshots between, those stay that a
//!   later beginning will need: for each segment the newest before it.
//! - Segments that a reader has not read yet stay as well, up to a bound ([`Hold`]): a reader that is too slow loses
//!   frames, and the disk does not fill up for its sake.
//! - The active segment, which is the last, is never removed.
//! - Segments go oldest first, each removal durable before the next, so that a crash never leaves a gap.
//!
//! Absent on purpose: a schedule. The owner calls this after it has written a snapshot.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use super::disk::discard_file;
use super::fault::{Fault, Result};
use super::layout::{Home, Layout};
use super::reader::list_segments;
use super::snapshot;
use crate::domain::ids::Lsn;
use crate::domain::limits::PARTITIONS_MAX;

/// How many readable snapshots are kept.
pub const SNAPSHOTS_KEPT: usize = 2;

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retired {
    /// The number of snapshots.
    pub snapshots: usize,
    /// The number of journal segments.
    pub segments: usize,
}

/// Who follows the journals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldReader {
    /// The reports.
    Reports,
    /// The alerts.
    Alerts,
}

/// What those that follow the journals have read of each partition, for whose sake segments stay.
#[derive(Debug)]
pub struct Hold {
    /// Of each partition, by the order of the readers; one that does not read has read everything.
    read: Vec<[AtomicU64; 2]>,
    bytes_max: u64,
}

impl Hold {
    /// Holds, of each partition, the newest `bytes_max` of the segments that not all of these have read yet.
    #[must_use]
    pub fn new(bytes_max: u64, readers: &[HoldReader]) -> Self {
        let begins = |reader| AtomicU64::new(if readers.contains(&reader) { 0 } else { u64::MAX });
        let partition = |_| [HoldReader::Reports, HoldReader::Alerts].map(begins);
        Self { read: (0..PARTITIONS_MAX).map(partition).collect(), bytes_max }
    }

    /// Notes that one of them has read everything up to `lsn`.
    pub fn note(&self, reader: HoldReader, partition: u16, lsn: Lsn) {
        let [reports, alerts] = &self.read[usize::from(partition)];
        let read = if reader == HoldReader::Reports { reports } else { alerts };
        read.store(lsn.0, Ordering::Release);
    }

    /// How many bytes stay at most for who has not read them.
    #[must_use]
    pub fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// The last frame that all of them have read.
    #[must_use]
    pub fn read(&self, partition: u16) -> Lsn {
        let [reports, alerts] = &self.read[usize::from(partition)];
        Lsn(reports.load(Ordering::Acquire).min(alerts.load(Ordering::Acquire)))
    }
}

/// Removes superfluous snapshots and segments of one partition, but for the newest `keep_bytes` of its segments and
/// what they need, and for what is held. May run while the journal is being written.
///
/// # Errors
/// [`Fault::Io`], and [`Fault::TooNew`] for a snapshot of a newer release. What is still needed is still there, and
/// the call may be repeated.
pub fn retire(home: &Home, keep_bytes: u64, hold: Option<&Hold>) -> Result<Retired> {
    let snapshots = snapshot::list(home)?;
    let Some(older_kept) = nth_good(home, snapshots.iter().rev(), SNAPSHOTS_KEPT)? else {
        return Ok(Retired::default());
    };
    let segments = list_segments(home)?;
    let oldest = oldest_within(home, &segments, keep_bytes)?.min(older_kept.next());
    let base = if oldest == older_kept.next() {
        older_kept
    } else {
        let before = snapshots.iter().rev().filter(|lsn| lsn.next() <= oldest);
        // Without one, all that is kept begins with the first segment.
        nth_good(home, before, 1)?.unwrap_or(Lsn(0))
    };
    let beginnings = segments.iter().filter(|first| **first > base.next());
    let needed = beginnings.filter_map(|first| snapshots.iter().rev().find(|lsn| lsn.next() <= *first));
    let needed: BTreeSet<_> = needed.copied().chain([base]).collect();
    let superfluous = snapshots.iter().filter(|lsn| **lsn < older_kept && !needed.contains(lsn));
    Ok(Retired {
        snapshots: retire_snapshots(home, superfluous)?,
        segments: retire_segments(home, &segments, unheld(home, &segments, base, hold)?)?,
    })
}

/// The nth readable one of these snapshots.
fn nth_good<'a>(home: &Home, snapshots: impl Iterator<Item = &'a Lsn>, nth: usize) -> Result<Option<Lsn>> {
    let mut good = 0;
    for &lsn in snapshots {
        match snapshot::load(home, lsn) {
            Ok(_) => good += 1,
            Err(fault @ Fault::TooNew { .. }) => return Err(fault),
            Err(fault) => tracing::warn!(%fault, "an unreadable snapshot does not count as one that is kept"),
        }
        if good == nth {
            return Ok(Some(lsn));
        }
    }
    Ok(None)
}

/// The first frame of the oldest segment among the newest that have `keep_bytes` together; of none, a frame after
/// all.
fn oldest_within(home: &Home, segments: &[Lsn], keep_bytes: u64) -> Result<Lsn> {
    let (mut oldest, mut bytes) = (Lsn(u64::MAX), 0_u64);
    for &first in segments.iter().rev() {
        if bytes >= keep_bytes {
            break;
        }
        let path = home.layout.segment(home.partition, first);
        let len = home.disk.open(&path).and_then(|file| file.len()).map_err(Fault::io("look at", &path))?;
        (oldest, bytes) = (first, bytes.saturating_add(len));
    }
    Ok(oldest)
}

/// The frame up to which segments may go: `base`, or an earlier one while a reader needs what follows.
fn unheld(home: &Home, segments: &[Lsn], base: Lsn, hold: Option<&Hold>) -> Result<Lsn> {
    let Some(hold) = hold else { return Ok(base) };
    let below = segments.partition_point(|first| *first <= base.next());
    let oldest = oldest_within(home, &segments[..below], hold.bytes_max)?;
    let within = Lsn(oldest.0.saturating_sub(1));
    Ok(base.min(hold.read(home.partition).max(within)))
}

fn retire_snapshots<'a>(home: &Home, superfluous: impl Iterator<Item = &'a Lsn>) -> Result<usize> {
    let mut removed = 0;
    for &lsn in superfluous {
        let path = home.layout.snapshot(home.partition, lsn);
        discard_file(&*home.disk, &path, &Layout::removed(&path))?;
        removed += 1;
    }
    Ok(removed)
}

fn retire_segments(home: &Home, segments: &[Lsn], base: Lsn) -> Result<usize> {
    let mut removed = 0;
    for pair in segments.windows(2).take_while(|pair| pair[1] <= base.next()) {
        let path = home.layout.segment(home.partition, pair[0]);
        discard_file(&*home.disk, &path, &Layout::removed(&path))?;
        removed += 1;
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::disk::Disk;
    use crate::storage::fixture::{append, home, open};
    use crate::storage::snapshot::{SnapshotHeader, load_newest, write_snapshot};
    use crate::storage::{Journal, SimDisk};

    fn snapshot_now(home: &Home, journal: &Journal) -> Lsn {
        let header = SnapshotHeader { lsn: journal.durable(), version: 1 };
        write_snapshot(home, header, b"state").expect("written");
        header.lsn
    }

    fn rounds(home: &Home, rounds: u32) -> Vec<Lsn> {
        let (mut journal, _) = open(home, Lsn(0)).expect("a new partition");
        (0..rounds)
            .map(|_| {
                (0..6).for_each(|_| append(&mut journal, 3).expect("durable"));
                snapshot_now(home, &journal)
            })
            .collect()
    }

    #[test]
    fn two_snapshots_stay_with_all_frames_above_the_older_one() {
        let disk = SimDisk::new();
        let home = home(disk.clone());
        let lsns = rounds(&home, 4);
        let retired = retire(&home, 0, None).expect("retired");
        assert!(retired.snapshots == 2 && retired.segments > 0, "{retired:?}");
        assert_eq!(snapshot::list(&home).expect("listed"), lsns[2..]);
        assert_eq!(open(&home, lsns[3]).expect("whole").1.frames, 0);
        assert_eq!(open(&home, lsns[2]).expect("whole").1.frames, lsns[3].0 - lsns[2].0);
        assert_eq!(retire(&home, 0, None).expect("nothing left to do"), Retired::default());
    }

    #[test]
    fn as_much_journal_as_wanted_stays_with_a_snapshot_before_each_of_its_segments() {
        let disk = SimDisk::new();
        let home = home(disk.clone());
        let (mut journal, _) = open(&home, Lsn(0)).expect("a new partition");
        let mut most = (0, 0);
        for _ in 0..40 {
            append(&mut journal, 3).expect("durable");
            snapshot_now(&home, &journal);
            retire(&home, 3_000, None).expect("retired");
            let (segments, snapshots) =
                (list_segments(&home).expect("listed"), snapshot::list(&home).expect("listed"));
            most = (most.0.max(segments.len()), most.1.max(snapshots.len()));
            let base = snapshots[0].next() >= segments[0];
            assert!(segments[0] == Lsn(1) || base, "{segments:?} {snapshots:?}: frames are missing");
            let from = segments.iter().rev().nth(2).copied().unwrap_or(Lsn(1));
            assert!(from == Lsn(1) || snapshots[0].next() <= from, "{segments:?} {snapshots:?}: too short");
            assert!(
                snapshots.len() <= segments.len() + SNAPSHOTS_KEPT,
                "{segments:?} {snapshots:?}: too many"
            );
        }
        assert!((3..6).contains(&most.0) && list_segments(&home).expect("listed")[0] > Lsn(1), "{most:?}");
    }

    #[test]
    fn an_unreadable_snapshot_does_not_count_as_a_kept_one() {
        let disk = SimDisk::new();
        let home = home(disk.clone());
        let lsns = rounds(&home, 3);
        disk.tamper(&home.layout.snapshot(0, lsns[1]), b"damaged");
        assert_eq!(retire(&home, 0, None).expect("retired").snapshots, 0);
        disk.tamper(&home.layout.snapshot(0, lsns[2]), b"damaged");
        assert_eq!(retire(&home, 0, None).expect("one good snapshot is not enough"), Retired::default());
        let loaded = load_newest(&home).expect("listed");
        assert_eq!((loaded.skipped.len(), loaded.snapshot.map(|s| s.header.lsn)), (2, Some(lsns[0])));
        assert!(open(&home, lsns[0]).is_ok(), "the journal still reaches back");
    }

    #[test]
    fn segments_that_a_reader_has_not_read_stay_up_to_the_bound() {
        let disk = SimDisk::new();
        let home = home(disk.clone());
        let lsns = rounds(&home, 4);
        let segments = list_segments(&home).expect("listed");
        let check = |hold: &Hold, retired: usize, oldest: Lsn| {
            assert_eq!(retire(&home, 0, Some(hold)).expect("retired").segments, retired);
            let kept = list_segments(&home).expect("listed");
            assert!(kept[0] <= oldest.next() && (retired == 0 || kept[1] > oldest.next()), "{kept:?}");
        };
        let hold = Hold::new(1 << 20, &[HoldReader::Reports]);
        check(&hold, 0, Lsn(0));
        hold.note(HoldReader::Reports, 0, Lsn(segments[2].0 + 1));
        check(&hold, 2, Lsn(segments[2].0 + 1));
        let small = Hold::new(1, &[HoldReader::Reports]);
        let retired = retire(&home, 0, Some(&small)).expect("retired").segments;
        assert!(retired > 0 && list_segments(&home).expect("listed").len() > 1);
        assert_eq!(retire(&home, 0, None).expect("retired").segments, 0, "only what a start needs stayed");
        assert_eq!(open(&home, lsns[2]).expect("whole").1.frames, lsns[3].0 - lsns[2].0);
    }

    #[test]
    fn the_active_segment_stays() {
        let disk = SimDisk::new();
        let home = home(disk.clone());
        let (mut journal, _) = open(&home, Lsn(0)).expect("a new partition");
        append(&mut journal, 3).expect("durable");
        snapshot_now(&home, &journal);
        append(&mut journal, 1).expect("durable");
        snapshot_now(&home, &journal);
        assert_eq!(retire(&home, 0, None).expect("retired"), Retired::default());
        assert!(disk.exists(journal.active_path().expect("active")).expect("asked"));
    }
}
