//! Finds where to begin to read a log of which a snapshot holds the beginning, so that a takeover reads what is behind the snapshot and little more.
//!
//! The log is searched by halves: the groups in it rise. What is found is where to begin and nothing else; the replay checks what it reads from there, and
//! whoever finds that it began too late reads everything. A log of few records is not searched.

use crate::domain::ids::Lsn;
use crate::storage::{Fault, Result};

use super::record::{self, Kind, Owned};
use super::remote::Remote;

/// So many sequences are read rather than searched.
const NEAR: u64 = 128;
/// Records without the beginning of a group that are passed over in one place.
const PASSED_MAX: u32 = 8;

/// The sequence of a record that begins a group at the frame `due` or before it, as near to it as is worth looking; zero where everything is to be read.
pub(super) fn beginning(remote: &dyn Remote, owned: Owned, due: Lsn, until: u64) -> u64 {
    let Ok(Some(first)) = remote.first_from(0) else { return 0 };
    // What begins at `low` or before it is early enough, or the first that is kept; what begins at `high` or behind it is not.
    let (mut begin, mut low, mut high) = (0, first.sequence, until.saturating_add(1));
    while due > Lsn(1) && high.saturating_sub(low) > NEAR {
        let middle = low + (high - low) / 2;
        match group_from(remote, owned, (middle, high)) {
            Ok(Some((sequence, first))) if first <= due => (begin, low) = (sequence, sequence),
            Ok(_) => high = middle,
            Err(why) => {
                tracing::debug!(place = remote.place(), why, "the log is read from further back");
                break;
            }
        }
    }
    begin
}

/// Reads from there, and everything where that begins too late, which shows before any frame was handed over.
pub(super) fn read_from<T>(from: u64, mut read: impl FnMut(u64) -> Result<T>) -> Result<T> {
    match read(from) {
        Err(Fault::Missing { .. }) if from > 0 => read(0),
        found => found,
    }
}

/// The first group that begins between two sequences, and its first frame.
fn group_from(
    remote: &dyn Remote,
    owned: Owned,
    (mut from, until): (u64, u64),
) -> std::result::Result<Option<(u64, Lsn)>, String> {
    for _ in 0..PASSED_MAX {
        let found = remote.first_from(from)?.filter(|found| found.sequence < until);
        let Some(found) = found else { return Ok(None) };
        if let Kind::Group { first, part: 0, .. } = record::decode(owned, &found.bytes)?.header.kind {
            return Ok(Some((found.sequence, first)));
        }
        from = found.sequence + 1;
    }
    Err(format!("no group begins in the records before sequence {from}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cluster::ReplicatedStore;
    use crate::cluster::record::PAYLOAD_BYTES_MAX;
    use crate::cluster::replay::Replay;
    use crate::cluster::sim_log::SimLog;
    use crate::storage::fixture::{SMALL, group};
    use crate::storage::reader::Start;
    use crate::storage::{DirectoryId, GroupLog, Store as _};

    const OWNED: Owned = Owned { partition: 0, directory: DirectoryId([1; 16]) };

    fn open(log: &SimLog, epoch: u64, after: Lsn) -> Box<dyn GroupLog> {
        let store = ReplicatedStore::new(Arc::new(log.clone()), OWNED, epoch);
        store.open(SMALL, after, &mut |_| Ok(())).expect("taken over").0
    }

    fn append(log: &mut dyn GroupLog, frames: u32) {
        let first = log.next_lsn();
        log.append_group(first, frames, &group(first, frames)).expect("kept");
    }

    /// A log of several owners, with confirmations, and groups of several parts.
    fn log() -> (SimLog, Lsn) {
        let log = SimLog::default();
        let mut next = Lsn(1);
        for epoch in 1..5 {
            let mut owner = open(&log, epoch, Lsn(0));
            for number in 0..60 {
                append(&mut *owner, 1 + number % 3);
                if number % 7 == 0 {
                    (0..number % 4).for_each(|_| owner.confirm().expect("the owner"));
                }
            }
            let first = owner.next_lsn();
            let frames = u32::try_from(2 * PAYLOAD_BYTES_MAX / group(first, 1).len() + 1).expect("few");
            append(&mut *owner, frames);
            next = owner.next_lsn();
        }
        (log, next)
    }

    #[test]
    fn what_is_read_from_there_on_is_all_that_is_due_and_little_more() {
        let (log, next) = log();
        let until = log.last().expect("told").expect("there").sequence;
        let frames = |from, after| {
            let (mut frames, start) = (Vec::new(), Start::After(after));
            let replay = Replay::new(OWNED, log.place(), start);
            let found = replay.run(&log, (from, until), &mut |frame| {
                frames.push((frame.meta.lsn, frame.body.to_vec()));
                Ok(())
            });
            (found.expect("whole"), frames)
        };
        for after in (0..next.0).step_by(97).map(Lsn) {
            let from = beginning(&log, OWNED, after.next(), until);
            let (found, behind) = frames(from, after);
            let (whole, all) = frames(0, after);
            assert_eq!((found.next, found.last, behind), (whole.next, whole.last, all), "behind {after}");
        }
        let near_end = frames(beginning(&log, OWNED, next, until), Lsn(next.0 - 1)).0;
        assert!(near_end.records < NEAR, "{} records were read", near_end.records);
    }

    #[test]
    fn who_takes_a_partition_reads_what_is_behind_its_snapshot_and_purges_all_before_it_later() {
        let (log, next) = log();
        let before = log.happened();
        let read = |name: &str| log.happened().get(name).unwrap_or(&0) - before.get(name).unwrap_or(&0);
        let mut owner = open(&log, 9, Lsn(next.0 - 1));
        assert!(read("record read") < NEAR, "{} records were read", read("record read"));
        assert!(read("record looked up") < 40, "{} records were looked up", read("record looked up"));
        append(&mut *owner, 3);
        assert_eq!(owner.next_lsn(), Lsn(next.0 + 3));
    }

    #[test]
    fn a_log_that_cannot_be_searched_is_read_from_its_beginning() {
        assert_eq!(beginning(&SimLog::default(), OWNED, Lsn(9), 0), 0, "it is empty");
        let (log, next) = log();
        let until = log.last().expect("told").expect("there").sequence;
        let foreign = Owned { partition: 1, ..OWNED };
        assert_eq!(beginning(&log, foreign, next, until), 0, "nothing in it can be read");
        assert_eq!(beginning(&log, OWNED, Lsn(1), until), 0, "everything is due");
    }
}
