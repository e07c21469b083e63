//! Backups of a data directory, also of one that a server is writing to, and restoring them to a point in time.
//!
//! A backup is a cut through all journals that is consistent ([`history`]), with the snapshots that lie before it.
//! It is read from a [`view`] of the directory's files and written by [`mod@copy`]; its [`manifest`] says how far
//! it reaches. Restoring is the same from a backup, with a cut as early as wanted, into a directory of a new
//! identity. Both write into a directory of a temporary name, which the caller renames when all is synced and
//! checked. Why no server takes part: `docs/adr/0010-backup-by-files.md`.
//!
//! Invariants: nothing of the source is changed; what is written is what a crash could have left, so recovery ends
//! what is open in it; everything that was acknowledged before a backup began is in it.

pub mod copy;
pub mod history;
pub mod manifest;
pub mod view;

use std::sync::Arc;

use crate::domain::ids::Lsn;
use crate::domain::time::Timestamp;

use super::audit;
use super::disk::Disk;
use super::fault::{Fault, Result};
use super::frame::FrameRef;
use super::layout::{Home, Layout};
use super::manifest::Manifest;
use super::reader::Start;
use super::store::Store;

use copy::copy;
use history::{History, Limit, consistent};

pub use manifest::{BackupFile, BackupManifest, Reach};
pub use view::View;

/// A point to restore to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// All that the backup holds.
    Newest,
    /// Everything up to this time.
    Time(Timestamp),
    /// Everything up to this frame of a partition, and of the others what is not later.
    Frame {
        /// The partition.
        partition: u16,
        /// Its last frame.
        lsn: Lsn,
    },
}

/// Why a point cannot be restored to.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// Something cannot be read or written.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The point lies before what is kept, or there is no such frame.
    #[error("partition {0} does not reach to that point")]
    OutOfReach(u16),
    /// There is no such partition.
    #[error("there is no partition {0}")]
    NoPartition(u16),
}

/// The partitions of a directory on a disk.
pub fn homes(disk: &Arc<dyn Disk>, layout: &Layout, manifest: &Manifest) -> Vec<Home> {
    let home = |partition| Home {
        disk: Arc::clone(disk),
        layout: layout.clone(),
        partition,
        directory: manifest.directory,
    };
    (0..manifest.partitions).map(home).collect()
}

/// Writes a backup of the partitions `from` as the partitions `to`; answers with how far each reaches, and with the
/// snapshots that were left out because they cannot be read.
///
/// # Errors
/// [`Fault::Corrupt`] and [`Fault::Missing`] for damage in the source, [`Fault::TooNew`], [`Fault::Io`].
pub fn back_up(from: &[Home], to: &[Home]) -> Result<(Vec<Reach>, Vec<Fault>)> {
    let read = |home: &Home| settled(|| History::read(home, Limit::End));
    let histories: Vec<_> = from.iter().map(read).collect::<Result<_>>()?;
    let (mut reaches, mut unreadable) = (Vec::new(), Vec::new());
    let cuts = consistent(&histories);
    for (((from, to), history), cut) in from.iter().zip(to).zip(&histories).zip(cuts) {
        let left_out = copy(from, to, cut)?;
        if let Some(path) = left_out.beyond.first() {
            let what = format!("it holds more than the journal, which ends with lsn {cut}");
            return Err(Fault::corrupt(path, 0, None, what));
        }
        unreadable.extend(left_out.unreadable);
        reaches.push(reach(from, history, cut)?);
    }
    Ok((reaches, unreadable))
}

/// Writes the audit log `from` as the audit log `to`, whole: what was done is not undone by going back to an earlier state.
///
/// # Errors
/// As [`back_up`].
pub fn copy_audit(from: &Home, to: &Home) -> Result<()> {
    if !audit::exists(from)? {
        return Ok(());
    }
    let scan = settled(|| audit::scan(from, &mut |_, _| {}))?;
    copy(from, to, Lsn(scan.next.0 - 1)).map(drop)
}

/// Writes the partitions `from` as the partitions `to`, up to `target`; answers with how far each reaches.
///
/// # Errors
/// [`RestoreError::OutOfReach`] and [`RestoreError::NoPartition`] before anything is written; else what storage
/// meets.
pub fn restore(from: &[Home], to: &[Home], target: Target) -> std::result::Result<Vec<Reach>, RestoreError> {
    let histories = histories(from, target)?;
    let cuts = consistent(&histories);
    for (partition, (history, cut)) in (0..).zip(histories.iter().zip(&cuts)) {
        if *cut < history.earliest {
            return Err(RestoreError::OutOfReach(partition));
        }
    }
    let mut reaches = Vec::new();
    for (((from, to), history), cut) in from.iter().zip(to).zip(&histories).zip(cuts) {
        copy(from, to, cut)?;
        reaches.push(reach(from, history, cut)?);
    }
    Ok(reaches)
}

/// The histories up to a target.
fn histories(from: &[Home], target: Target) -> std::result::Result<Vec<History>, RestoreError> {
    let (partition, lsn) = match target {
        Target::Newest => return Ok(read_all(from, Limit::End)?),
        Target::Time(time) => return up_to(from, time),
        Target::Frame { partition, lsn } => (partition, lsn),
    };
    let home = from.get(usize::from(partition)).ok_or(RestoreError::NoPartition(partition))?;
    let history = History::read(home, Limit::Frame(lsn))?;
    if history.last != lsn {
        return Err(RestoreError::OutOfReach(partition));
    }
    let mut all = match history.last_at {
        Some(time) => up_to(from, time)?,
        None => read_all(from, Limit::End)?,
    };
    all[usize::from(partition)] = history;
    Ok(all)
}

fn read_all(from: &[Home], limit: Limit) -> Result<Vec<History>> {
    from.iter().map(|home| History::read(home, limit)).collect()
}

fn up_to(from: &[Home], time: Timestamp) -> std::result::Result<Vec<History>, RestoreError> {
    let histories = read_all(from, Limit::Time(time))?;
    let late = (0..).zip(&histories).find(|(_, history)| history.earliest_at.is_some_and(|at| at > time));
    match late {
        None => Ok(histories),
        Some((partition, _)) => Err(RestoreError::OutOfReach(partition)),
    }
}

/// Reads a journal that may be written meanwhile.
///
/// A reading sees the newest groups while they are written, and may see a later one and not the one before it. But
/// what a first reading found a later group behind was durable by then, and is whole in a second reading; where it
/// is not, it is damaged.
fn settled<T>(mut read: impl FnMut() -> Result<T>) -> Result<T> {
    let mut failed = None;
    loop {
        match read() {
            Err(Fault::Corrupt { lsn, .. }) if lsn > failed => failed = lsn,
            read => return read,
        }
    }
}

/// Hands over every frame of a journal that may be written meanwhile, each once and in order, from `start` on.
///
/// # Errors
/// As [`Store::read`].
pub fn read_settled(
    store: &dyn Store,
    start: Start,
    on_frame: &mut dyn FnMut(FrameRef<'_>) -> Result<()>,
) -> Result<()> {
    let (mut start, mut last, mut refused) = (start, Lsn(0), false);
    let mut failed = None;
    loop {
        let read = store.read(start, &mut |frame| {
            let handed = on_frame(frame);
            (refused, last) = (handed.is_err(), frame.meta.lsn);
            handed
        });
        match read {
            // As in `settled`; what was handed over is whole and stays.
            Err(Fault::Corrupt { lsn, .. }) if !refused && lsn > failed => failed = lsn,
            read => return read.map(drop),
        }
        if last > Lsn(0) {
            start = Start::After(last);
        }
    }
}

fn reach(home: &Home, history: &History, last: Lsn) -> Result<Reach> {
    let History { earliest, earliest_at, .. } = *history;
    let last_at =
        if last == history.last { history.last_at } else { History::read(home, Limit::Frame(last))?.last_at };
    Ok(Reach { earliest, earliest_at, last, last_at })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{SimDisk, fixture};
    use std::path::Path;

    /// Readings that fail at these frames, one after the other, and then succeed; how many of them were made.
    fn check_settled(failing: &[u64]) -> (bool, usize) {
        let mut readings = failing.iter();
        let read = || match readings.next() {
            Some(lsn) => Err(Fault::corrupt(Path::new("1.wal"), 64, Some(Lsn(*lsn)), "a hole")),
            None => Ok(History::default()),
        };
        (settled(read).is_ok(), failing.len() - readings.len())
    }

    #[test]
    fn a_hole_is_damage_when_a_second_reading_finds_it_again() {
        assert_eq!(check_settled(&[]), (true, 0));
        assert_eq!(check_settled(&[5]), (true, 1));
        assert_eq!(check_settled(&[5, 9, 12]), (true, 3));
        assert_eq!(check_settled(&[5, 5, 5]), (false, 2));
        assert_eq!(check_settled(&[5, 9, 7]), (false, 3));
    }

    /// What a reading hands over of a journal of four groups of one frame, whose third is whole again when frame `whole_at` was handed over.
    fn check_read(whole_at: u64, refused: u64) -> (Vec<u64>, Result<()>) {
        let disk = SimDisk::new();
        let home = fixture::home(disk.clone());
        let (mut journal, _) = fixture::open(&home, Lsn(0)).expect("a new partition");
        (0..4).for_each(|_| fixture::append(&mut journal, 1).expect("durable"));
        let path = home.layout.segment(0, Lsn(1));
        let whole = disk.read(&path).expect("read");
        let third = fixture::body(Lsn(3));
        // Bodies run through the same numbers, so the first one holds these bytes too.
        let at = whole.windows(third.len()).rposition(|bytes| bytes == third).expect("it is there");
        let mut torn = whole.clone();
        torn[at] ^= 1;
        disk.tamper(&path, &torn);
        let mut seen = Vec::new();
        let read = read_settled(&home, Start::Oldest, &mut |frame| {
            let lsn = frame.meta.lsn.0;
            seen.push(lsn);
            if lsn == whole_at {
                disk.tamper(&path, &whole);
            }
            fixture::check_body(frame)?;
            if lsn == refused { Err(Fault::corrupt(&path, 0, Some(Lsn(lsn)), "refused")) } else { Ok(()) }
        });
        (seen, read)
    }

    #[test]
    fn what_was_handed_over_before_a_hole_settles_is_not_handed_over_again() {
        let (seen, read) = check_read(2, 0);
        assert_eq!(seen, [1, 2, 3, 4], "{read:?}");
        read.expect("whole in the second reading");
        let (seen, read) = check_read(0, 0);
        assert_eq!(seen, [1, 2]);
        assert!(matches!(read, Err(Fault::Corrupt { lsn: Some(Lsn(3)), .. })), "{read:?}");
    }

    #[test]
    fn what_a_caller_refuses_is_not_read_again() {
        let (seen, read) = check_read(1, 2);
        assert_eq!(seen, [1, 2]);
        read.expect_err("refused");
    }
}
