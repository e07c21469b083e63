//! The seam between a partition and where it is kept: files of this machine, or a log that several machines keep.
//!
//! [`GroupLog`] is what a committer writes to, [`Store`] what recovery, snapshots and rebuilding read. `Home` is the store in files.
//! The committer makes one virtual call a group, never one a debit. One conformance suite, `tests/stores`, holds for every store.
//!
//! Invariants:
//!
//! - [`GroupLog::append_group`] returns when the group is durable, or the log has ended. A group is never durable before the one before it is.
//! - What [`Store::open`] hands over, and [`Store::read`], is durable by the time that it returns, in order, without a gap.
//! - A store that more than one process can open lets one of them append: the log of each other one has ended, whether it knows
//!   that yet or not. [`GroupLog::confirm`] tells it.
//! - [`Store::retire`] leaves two good snapshots and every frame above the older of them.
//!
//! Absent on purpose: the meaning of a frame, and when any of this is called.

use std::fmt::Debug;
use std::path::PathBuf;

use super::fault::{Fault, Result};
use super::follow::{Copies, Follow};
use super::frame::FrameRef;
use super::journal::{Journal, JournalConfig, Preparation, PreparedSegment};
use super::layout::Home;
use super::reader::{self, Ending, Start, TornTail};
use super::recovery::{self, RecoveryReport};
use super::retention::{self, Hold, Retired};
use super::snapshot::{self, Loaded, Skipped, Snapshot, SnapshotHeader};
use super::tail::Tail;
use crate::domain::ids::Lsn;

/// What a reader does with a frame.
pub type OnFrame<'a> = dyn FnMut(FrameRef<'_>) -> Result<()> + 'a;

/// What a reading of a partition found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The lsn that is due next.
    pub next: Lsn,
    /// The remains of a group that never became durable, where they are still there.
    pub torn: Option<TornTail>,
    /// What the frames lay in.
    pub pieces: Pieces,
}

/// What frames lie in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pieces {
    /// So many segments.
    Segments(u32),
    /// Records of a replicated log.
    Records {
        /// How many there are.
        all: u64,
        /// How many epochs wrote them: one for each time that an owner took the log over.
        epochs: u64,
        /// The newest of them.
        newest_epoch: u64,
        /// How many of them deposed owners left, which were never acknowledged.
        dropped: u64,
    },
}

/// The log of a partition, open for appending.
pub trait GroupLog: Send + Debug {
    /// Makes a group durable: `frames` whole frames in `bytes`, the first of them with lsn `first`. When this returns,
    /// the group survives every crash.
    ///
    /// # Errors
    /// Once, and for every later group: the group may then be there or not; the next opening finds out.
    fn append_group(&mut self, first: Lsn, frames: u32, bytes: &[u8]) -> Result<()>;

    /// The same, and does `meanwhile` as soon as the group is on its way, where it goes far; before it where it does not. It may be done again, and has to have
    /// been done when this returns.
    ///
    /// # Errors
    /// As [`Self::append_group`].
    fn append_group_and(
        &mut self,
        (first, frames): (Lsn, u32),
        bytes: &[u8],
        meanwhile: &mut dyn FnMut(),
    ) -> Result<()> {
        meanwhile();
        self.append_group(first, frames, bytes)
    }

    /// The lsn of the next frame.
    fn next_lsn(&self) -> Lsn;

    /// The last lsn that is durable; zero when there is none.
    fn durable(&self) -> Lsn {
        Lsn(self.next_lsn().0 - 1)
    }

    /// Whether somebody else may have become the owner without a word, so that an answer which rests on no new frame must be
    /// [confirmed](Self::confirm) before it leaves.
    fn is_shared(&self) -> bool {
        false
    }

    /// Makes sure that nobody else had become the owner when this was called.
    ///
    /// # Errors
    /// Once, and ever after: somebody else has, or may have.
    fn confirm(&mut self) -> Result<()> {
        Ok(())
    }

    /// A job that makes later groups faster, to be run elsewhere; its outcome comes back by [`Self::provide`].
    fn preparation(&mut self) -> Option<Preparation> {
        None
    }

    /// Takes the outcome of a [preparation](Self::preparation).
    fn provide(&mut self, outcome: Result<PreparedSegment>) {
        drop(outcome);
    }
}

/// Where one partition is kept.
pub trait Store: Send + Sync + Debug {
    /// The partition.
    fn partition(&self) -> u16;

    /// The place of the partition's log, for people.
    fn place(&self) -> PathBuf;

    /// The place of a snapshot, for people.
    fn snapshot_place(&self, lsn: Lsn) -> PathBuf;

    /// Whether the partition was ever begun here.
    ///
    /// # Errors
    /// When that cannot be told.
    fn is_begun(&self) -> Result<bool>;

    /// Hands over the frames after `after`, the lsn that a snapshot holds or zero, and opens the log for appending.
    /// Files are made as `config` says.
    ///
    /// # Errors
    /// When what had been durable cannot be read whole; what `on_frame` returns.
    fn open(
        &self,
        config: JournalConfig,
        after: Lsn,
        on_frame: &mut OnFrame<'_>,
    ) -> Result<(Box<dyn GroupLog>, RecoveryReport)>;

    /// The lsn of the oldest frame that is kept; none when there is none.
    ///
    /// # Errors
    /// When that cannot be told.
    fn first(&self) -> Result<Option<Lsn>>;

    /// Hands over the frames from `start` on while the log may be appended to. Changes nothing.
    ///
    /// # Errors
    /// As [`Self::open`]; a group that is being appended meanwhile may look damaged.
    fn read(&self, start: Start, on_frame: &mut OnFrame<'_>) -> Result<Reading>;

    /// The lsns of all snapshots, oldest first.
    ///
    /// # Errors
    /// When they cannot be listed.
    fn snapshots(&self) -> Result<Vec<Lsn>>;

    /// Reads one snapshot, and verifies it against its checksum.
    ///
    /// # Errors
    /// When it is not there or not whole; [`Fault::TooNew`] when a newer release wrote it.
    fn load_snapshot(&self, lsn: Lsn) -> Result<Snapshot>;

    /// Writes a snapshot and makes it durable.
    ///
    /// # Errors
    /// When it is not; older snapshots are untouched and the log still holds everything.
    fn write_snapshot(&self, header: SnapshotHeader, body: &[u8]) -> Result<()>;

    /// Removes snapshots and frames that two good snapshots made superfluous, but for the newest `keep_bytes` of frames
    /// and what `hold` holds.
    ///
    /// # Errors
    /// When something could not be removed; what is needed is still there.
    fn retire(&self, keep_bytes: u64, hold: Option<&Hold>) -> Result<Retired>;

    /// Follows the log from the frame after `lsn` on, for whoever has this store open or wrote to it last.
    fn follow(&self, lsn: Lsn) -> Box<dyn Follow>;

    /// Where copies are kept of what follows the partition; none where that lies beside the log already.
    fn copies(&self) -> Option<&dyn Copies> {
        None
    }
}

/// The newest snapshot that can be read and that `decode` takes.
///
/// # Errors
/// [`Fault::TooNew`] when the newest is of a newer release, and when they cannot be listed. What cannot be read or what `decode` refuses is
/// no fault: it is in [`Loaded::skipped`].
pub fn newest_snapshot_as<T>(
    store: &dyn Store,
    mut decode: impl FnMut(Snapshot) -> Result<T>,
) -> Result<Loaded<T>> {
    let mut skipped = Vec::new();
    for lsn in store.snapshots()?.into_iter().rev() {
        match store.load_snapshot(lsn).and_then(&mut decode) {
            Ok(snapshot) => return Ok(Loaded { snapshot: Some(snapshot), skipped }),
            Err(why @ Fault::TooNew { .. }) => return Err(why),
            Err(why) => {
                tracing::warn!(%why, "passed over an unreadable snapshot; an older one and the journal take its place");
                skipped.push(Skipped { path: store.snapshot_place(lsn), lsn, why });
            }
        }
    }
    Ok(Loaded { snapshot: None, skipped })
}

impl GroupLog for Journal {
    fn append_group(&mut self, first: Lsn, frames: u32, bytes: &[u8]) -> Result<()> {
        Self::append_group(self, first, frames, bytes)
    }

    fn next_lsn(&self) -> Lsn {
        Self::next_lsn(self)
    }

    fn preparation(&mut self) -> Option<Preparation> {
        Self::preparation(self)
    }

    fn provide(&mut self, outcome: Result<PreparedSegment>) {
        Self::provide(self, outcome);
    }
}

impl Store for Home {
    fn partition(&self) -> u16 {
        self.partition
    }

    fn place(&self) -> PathBuf {
        self.layout.journal(self.partition)
    }

    fn snapshot_place(&self, lsn: Lsn) -> PathBuf {
        self.layout.snapshot(self.partition, lsn)
    }

    fn is_begun(&self) -> Result<bool> {
        let path = self.place();
        self.disk.exists(&path).map_err(Fault::io("look for", &path))
    }

    fn open(
        &self,
        config: JournalConfig,
        after: Lsn,
        on_frame: &mut OnFrame<'_>,
    ) -> Result<(Box<dyn GroupLog>, RecoveryReport)> {
        let (journal, report) = recovery::open_partition(self, config, after, on_frame)?;
        Ok((Box::new(journal), report))
    }

    fn first(&self) -> Result<Option<Lsn>> {
        Ok(reader::list_segments(self)?.first().copied())
    }

    fn read(&self, start: Start, on_frame: &mut OnFrame<'_>) -> Result<Reading> {
        let scan = recovery::scan_partition(self, start, on_frame)?;
        let torn = if let Ending::Torn(torn) = scan.ending { Some(torn) } else { None };
        Ok(Reading { next: scan.next, torn, pieces: Pieces::Segments(scan.segments) })
    }

    fn snapshots(&self) -> Result<Vec<Lsn>> {
        snapshot::list(self)
    }

    fn load_snapshot(&self, lsn: Lsn) -> Result<Snapshot> {
        snapshot::load(self, lsn)
    }

    fn write_snapshot(&self, header: SnapshotHeader, body: &[u8]) -> Result<()> {
        snapshot::write_snapshot(self, header, body).map(drop)
    }

    fn retire(&self, keep_bytes: u64, hold: Option<&Hold>) -> Result<Retired> {
        retention::retire(self, keep_bytes, hold)
    }

    fn follow(&self, lsn: Lsn) -> Box<dyn Follow> {
        Box::new(Tail::after(self.clone(), lsn))
    }
}
