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
//! - The active segment, which is the last, is never removed.
//! - Segments go oldest first, each removal durable before the next, so that a crash never leaves a gap.
//!
//! Absent on purpose: a schedule. The owner calls this after it has written a snapshot.

use std::collections::BTreeSet;

use super::disk::sync_parent;
use super::fault::{Fault, Result};
use super::layout::Home;
use super::reader::list_segments;
use super::snapshot;
use crate::domain::ids::Lsn;

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

/// Removes superfluous snapshots and segments of one partition, but for the newest `keep_bytes` of its segments and
/// what they need. May run while the journal is being written.
///
/// # Errors
/// [`Fault::Io`], and [`Fault::TooNew`] for a snapshot of a newer release. What is still needed is still there, and
/// the call may be repeated.
pub fn retire(home: &Home, keep_bytes: u64) -> Result<Retired> {
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
        segments: retire_segments(home, &segments, base)?,
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

fn retire_snapshots<'a>(home: &Home, superfluous: impl Iterator<Item = &'a Lsn>) -> Result<usize> {
    let mut removed = 0;
    for &lsn in superfluous {
        let path = home.layout.snapshot(home.partition, lsn);
        home.disk.remove(&path).map_err(Fault::io("remove", &path))?;
        sync_parent(&*home.disk, &path)?;
        removed += 1;
    }
    Ok(removed)
}

fn retire_segments(home: &Home, segments: &[Lsn], base: Lsn) -> Result<usize> {
    let mut removed = 0;
    for pair in segments.windows(2).take_while(|pair| pair[1] <= base.next()) {
        let path = home.layout.segment(home.partition, pair[0]);
        home.disk.remove(&path).map_err(Fault::io("remove", &path))?;
        sync_parent(&*home.disk, &path)?;
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
        let retired = retire(&home, 0).expect("retired");
        assert!(retired.snapshots == 2 && retired.segments > 0, "{retired:?}");
        assert_eq!(snapshot::list(&home).expect("listed"), lsns[2..]);
        assert_eq!(open(&home, lsns[3]).expect("whole").1.frames, 0);
        assert_eq!(open(&home, lsns[2]).expect("whole").1.frames, lsns[3].0 - lsns[2].0);
        assert_eq!(retire(&home, 0).expect("nothing left to do"), Retired::default());
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
            retire(&home, 3_000).expect("retired");
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
        assert_eq!(retire(&home, 0).expect("retired").snapshots, 0);
        disk.tamper(&home.layout.snapshot(0, lsns[2]), b"damaged");
        assert_eq!(retire(&home, 0).expect("one good snapshot is not enough"), Retired::default());
        let loaded = load_newest(&home).expect("listed");
        assert_eq!((loaded.skipped.len(), loaded.snapshot.map(|s| s.header.lsn)), (2, Some(lsns[0])));
        assert!(open(&home, lsns[0]).is_ok(), "the journal still reaches back");
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
        assert_eq!(retire(&home, 0).expect("retired"), Retired::default());
        assert!(disk.exists(journal.active_path().expect("active")).expect("asked"));
    }
}
