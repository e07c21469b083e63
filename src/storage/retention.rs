//! Removes what two good snapshots made superfluous: older snapshots, and segments wholly below the older of the two.
//!
//! Invariants:
//!
//! - Two snapshots that were just read whole stay, and every frame above the older one stays: if the newest turns out
//!   unreadable later, the older one and the journal still give everything.
//! - With fewer than two good snapshots nothing is removed.
//! - The active segment, which is the last, is never removed.
//! - Segments go oldest first, each removal durable before the next, so that a crash never leaves a gap.
//!
//! Absent on purpose: a schedule. The owner calls this after it has written a snapshot.

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

/// Removes superfluous snapshots and segments of one partition. May run while the journal is being written.
///
/// # Errors
/// [`Fault::Io`], and [`Fault::TooNew`] for a snapshot of a newer release. What is still needed is still there, and the
/// call may be repeated.
pub fn retire(home: &Home) -> Result<Retired> {
    let snapshots = snapshot::list(home)?;
    let Some(older_kept) = older_kept(home, &snapshots)? else { return Ok(Retired::default()) };
    Ok(Retired {
        snapshots: retire_snapshots(home, &snapshots, older_kept)?,
        segments: retire_segments(home, older_kept)?,
    })
}

/// The older of the newest readable snapshots that are kept.
fn older_kept(home: &Home, snapshots: &[Lsn]) -> Result<Option<Lsn>> {
    let mut good = 0;
    for &lsn in snapshots.iter().rev() {
        match snapshot::load(home, lsn) {
            Ok(_) => good += 1,
            Err(fault @ Fault::TooNew { .. }) => return Err(fault),
            Err(fault) => tracing::warn!(%fault, "an unreadable snapshot does not count as one that is kept"),
        }
        if good == SNAPSHOTS_KEPT {
            return Ok(Some(lsn));
        }
    }
    Ok(None)
}

fn retire_snapshots(home: &Home, snapshots: &[Lsn], older_kept: Lsn) -> Result<usize> {
    let mut removed = 0;
    for &lsn in snapshots.iter().filter(|&&lsn| lsn < older_kept) {
        let path = home.layout.snapshot(home.partition, lsn);
        home.disk.remove(&path).map_err(Fault::io("remove", &path))?;
        sync_parent(&*home.disk, &path)?;
        removed += 1;
    }
    Ok(removed)
}

fn retire_segments(home: &Home, older_kept: Lsn) -> Result<usize> {
    let segments = list_segments(home)?;
    let mut removed = 0;
    for pair in segments.windows(2).take_while(|pair| pair[1] <= older_kept.next()) {
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
        let retired = retire(&home).expect("retired");
        assert!(retired.snapshots == 2 && retired.segments > 0, "{retired:?}");
        assert_eq!(snapshot::list(&home).expect("listed"), lsns[2..]);
        assert_eq!(open(&home, lsns[3]).expect("whole").1.frames, 0);
        assert_eq!(open(&home, lsns[2]).expect("whole").1.frames, lsns[3].0 - lsns[2].0);
        assert_eq!(retire(&home).expect("nothing left to do"), Retired::default());
    }

    #[test]
    fn an_unreadable_snapshot_does_not_count_as_a_kept_one() {
        let disk = SimDisk::new();
        let home = home(disk.clone());
        let lsns = rounds(&home, 3);
        disk.tamper(&home.layout.snapshot(0, lsns[1]), b"damaged");
        assert_eq!(retire(&home).expect("retired").snapshots, 0);
        disk.tamper(&home.layout.snapshot(0, lsns[2]), b"damaged");
        assert_eq!(retire(&home).expect("one good snapshot is not enough"), Retired::default());
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
        assert_eq!(retire(&home).expect("retired"), Retired::default());
        assert!(disk.exists(journal.active_path().expect("active")).expect("asked"));
    }
}
