//! The writer of one partition's journal: a group of frames, one write, one sync, then it is durable.
//!
//! Invariants:
//!
//! - A group is written only after the group before it is durable; the frames of a group carry their index in it.
//! - A group never spans two segments. A segment gets its name only after its header and its first group are synced.
//! - After the first failed write, sync or rename nothing more is written: what the medium holds is then unknown until
//!   it is read afresh, and a repeated sync may report success for bytes that the kernel has dropped.
//!
//! Segments are made of real zeros ahead of their use. The one that is next is made by a [`Preparation`], a job that the
//! owner runs wherever it likes; when it is not ready in time the append makes a short one itself and waits for it.
//!
//! Absent on purpose: reading, threads, batching. The committer gathers a group; this writes it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{Disk, DiskFile, sync_parent, u64_of};
use super::fault::{Fault, Result};
use super::frame::ALIGN_BYTES;
use super::layout::Home;
use super::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::domain::ids::Lsn;

/// Segments are a multiple of this long.
const SEGMENT_STEP_BYTES: u64 = 512;

/// An append that has to make its segment itself makes one of this length, or as long as its group needs: all who wait for the append
/// wait for the zeros too, and those of a whole segment of 64 MiB take from 0.1 to 0.8 s. It lasts until the prepared one is there, or the next of this kind.
const URGENT_SEGMENT_BYTES: u64 = 1 << 20;

/// How long segments are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalConfig {
    /// The length of the first segment that is made ahead; each next one is twice as long.
    pub segment_bytes_min: u64,
    /// The length at which segments stop growing. Only a larger group makes a larger segment.
    pub segment_bytes_max: u64,
}

impl Default for JournalConfig {
    fn default() -> Self {
        Self { segment_bytes_min: 4 << 20, segment_bytes_max: 64 << 20 }
    }
}

/// The job of making the next segment ahead of its use. It may run on any thread.
pub struct Preparation {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    len: u64,
}

impl Preparation {
    /// Makes the file and syncs it; the outcome goes to [`Journal::provide`]. Takes as long as writing a whole segment.
    ///
    /// # Errors
    /// [`Fault::Io`]; what was made of the file is removed again where that is possible.
    pub fn run(self) -> Result<PreparedSegment> {
        make_segment(&*self.disk, self.path, self.len)
    }
}

/// A zeroed and synced file without a first frame.
pub struct PreparedSegment {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    len: u64,
}

/// Where a journal is continued.
pub(super) struct Resume {
    pub(super) file: Box<dyn DiskFile>,
    pub(super) path: PathBuf,
    pub(super) len: u64,
    pub(super) offset: u64,
    pub(super) next: Lsn,
}

/// The journal of one partition, open for appending.
pub struct Journal {
    home: Home,
    config: JournalConfig,
    active: Option<Active>,
    ahead: Ahead,
    /// The longest segment that was written to: the next one that is made ahead is twice as long, whatever was made in haste meanwhile.
    longest: u64,
    next: Lsn,
    poison: Option<String>,
    bytes_written: u64,
    syncs: u64,
}

impl Journal {
    /// A journal without a frame. The directory must exist.
    pub(super) fn empty(home: Home, config: JournalConfig) -> Self {
        Self {
            home,
            config,
            active: None,
            ahead: Ahead::Wanted,
            longest: 0,
            next: Lsn(1),
            poison: None,
            bytes_written: 0,
            syncs: 0,
        }
    }

    /// A journal that goes on after its last whole frame.
    pub(super) fn resume(home: Home, config: JournalConfig, at: Resume) -> Self {
        let active = Active { file: at.file, path: at.path, len: at.len, offset: at.offset };
        Self { active: Some(active), longest: at.len, next: at.next, ..Self::empty(home, config) }
    }

    /// Makes a group durable: `frames` whole frames in `bytes`, the first of them with lsn `first`. When this returns,
    /// the group survives every crash.
    ///
    /// # Errors
    /// [`Fault::Io`] the first time, [`Fault::Poisoned`] ever after. The group may then be there in part or not at all;
    /// recovery finds out.
    ///
    /// # Panics
    /// When the group is empty, out of order or not made of whole frames: bugs of the caller.
    pub fn append_group(&mut self, first: Lsn, frames: u32, bytes: &[u8]) -> Result<()> {
        if let Some(cause) = &self.poison {
            return Err(Fault::Poisoned { cause: cause.clone() });
        }
        assert_eq!(first, self.next, "a group starts where the last one ended");
        assert!(frames > 0 && !bytes.is_empty() && bytes.len().is_multiple_of(ALIGN_BYTES), "whole frames");
        let after = first.0.checked_add(frames.into()).expect("a journal ends before lsn 2^64");
        self.write_group(first, bytes).inspect_err(|fault| self.poison = Some(fault.to_string()))?;
        self.next = Lsn(after);
        Ok(())
    }

    /// The job of making the next segment, once each time one is wanted. Its outcome must come back by
    /// [`Journal::provide`].
    pub fn preparation(&mut self) -> Option<Preparation> {
        if !matches!(self.ahead, Ahead::Wanted) || self.poison.is_some() {
            return None;
        }
        self.ahead = Ahead::Running;
        let path = self.home.layout.prepared_ahead(self.home.partition);
        Some(Preparation { disk: Arc::clone(&self.home.disk), path, len: self.next_segment_bytes() })
    }

    /// Takes the outcome of a [`Preparation`]. A failure is no fault of the journal: the next rotation makes its segment
    /// itself and reports what it meets.
    pub fn provide(&mut self, outcome: Result<PreparedSegment>) {
        self.ahead = match outcome {
            Ok(segment) => Ahead::Ready(segment),
            Err(fault) => {
                tracing::warn!(%fault, "the next journal segment was not prepared; the next rotation will wait for it");
                Ahead::Failed
            }
        };
    }

    /// The last lsn that is durable; zero when there is none.
    pub fn durable(&self) -> Lsn {
        Lsn(self.next.0 - 1)
    }

    /// The lsn of the next frame.
    pub fn next_lsn(&self) -> Lsn {
        self.next
    }

    /// The segment that is written to; none before the first group.
    pub fn active_path(&self) -> Option<&Path> {
        self.active.as_ref().map(|active| &*active.path)
    }

    /// How many bytes of groups were made durable since the journal was opened.
    pub fn bytes_written(&self) -> u64 {
        self.bytes_written
    }

    /// How many groups were synced since the journal was opened.
    pub fn syncs(&self) -> u64 {
        self.syncs
    }

    /// Why nothing more is written, when that is so.
    pub fn poisoned_by(&self) -> Option<&str> {
        self.poison.as_deref()
    }

    fn write_group(&mut self, first: Lsn, bytes: &[u8]) -> Result<()> {
        let len = u64_of(bytes.len());
        match &mut self.active {
            Some(active) if len <= active.len - active.offset => active.append(bytes)?,
            _ => {
                let active = self.rotate(first, bytes)?;
                self.longest = self.longest.max(active.len);
                self.active = Some(active);
            }
        }
        self.bytes_written += len;
        self.syncs += 1;
        Ok(())
    }

    /// Writes the group as the first one of a new segment.
    fn rotate(&mut self, first: Lsn, bytes: &[u8]) -> Result<Active> {
        let header_len = u64_of(SEGMENT_HEADER_BYTES);
        let mut segment = self.take_prepared(header_len + u64_of(bytes.len()))?;
        let Home { disk, layout, partition, directory } = &self.home;
        let header = SegmentHeader { partition: *partition, directory: *directory, first, len: segment.len };
        let path = layout.segment(*partition, first);
        segment.file.write_at(0, &header.encode()).map_err(Fault::io("write", &segment.path))?;
        segment.file.write_at(header_len, bytes).map_err(Fault::io("write", &segment.path))?;
        segment.file.sync_data().map_err(Fault::io("sync", &segment.path))?;
        disk.rename(&segment.path, &path).map_err(Fault::io("rename", &segment.path))?;
        sync_parent(&**disk, &path)?;
        Ok(Active { file: segment.file, path, len: segment.len, offset: header_len + u64_of(bytes.len()) })
    }

    fn take_prepared(&mut self, needed: u64) -> Result<PreparedSegment> {
        let disk = &*self.home.disk;
        // A job that still runs elsewhere keeps its place: its segment serves the rotation after this one.
        if !matches!(self.ahead, Ahead::Running)
            && let Ahead::Ready(segment) = std::mem::replace(&mut self.ahead, Ahead::Wanted)
        {
            if segment.len >= needed {
                return Ok(segment);
            }
            disk.remove(&segment.path).map_err(Fault::io("remove", &segment.path))?;
        }
        let len = self
            .next_segment_bytes()
            .min(URGENT_SEGMENT_BYTES)
            .max(needed.next_multiple_of(SEGMENT_STEP_BYTES));
        make_segment(disk, self.home.layout.prepared_inline(self.home.partition), len)
    }

    fn next_segment_bytes(&self) -> u64 {
        let JournalConfig { segment_bytes_min: min, segment_bytes_max: max } = self.config;
        self.longest.saturating_mul(2).min(max).max(min).next_multiple_of(SEGMENT_STEP_BYTES)
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal")
            .field("home", &self.home)
            .field("next", &self.next)
            .field("poison", &self.poison)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for PreparedSegment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PreparedSegment({}, {} bytes)", self.path.display(), self.len)
    }
}

impl fmt::Debug for Preparation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Preparation({}, {} bytes)", self.path.display(), self.len)
    }
}

struct Active {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    len: u64,
    offset: u64,
}

impl Active {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_at(self.offset, bytes).map_err(Fault::io("write", &self.path))?;
        self.file.sync_data().map_err(Fault::io("sync", &self.path))?;
        self.offset += u64_of(bytes.len());
        Ok(())
    }
}

/// How far the segment after the active one is.
enum Ahead {
    Wanted,
    Running,
    Ready(PreparedSegment),
    Failed,
}

fn make_segment(disk: &dyn Disk, path: PathBuf, len: u64) -> Result<PreparedSegment> {
    match disk.create_zeroed(&path, len) {
        Ok(file) => Ok(PreparedSegment { file, path, len }),
        Err(source) => {
            // Half a segment would only take the space that is perhaps missing. A file that was there before is not ours.
            if source.kind() != std::io::ErrorKind::AlreadyExists
                && let Err(error) = disk.remove(&path)
            {
                tracing::debug!(%error, path = %path.display(), "an unfinished segment stays until the next start");
            }
            Err(Fault::Io { action: "create", path, source })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::SimDisk;
    use crate::storage::fixture::{append, home, open};
    use crate::storage::reader::list_segments;

    fn journal() -> (SimDisk, Home, Journal) {
        let disk = SimDisk::new();
        let home = home(disk.clone());
        let (journal, _) = open(&home, Lsn(0)).expect("a new partition");
        (disk, home, journal)
    }

    #[test]
    fn a_group_costs_one_write_and_one_sync() {
        let (disk, _, mut journal) = journal();
        append(&mut journal, 1).expect("durable");
        let (operations, syncs) = (disk.operations(), disk.syncs());
        append(&mut journal, 2).expect("durable");
        assert_eq!((disk.operations() - operations, disk.syncs() - syncs), (2, 1));
        assert_eq!((journal.durable(), journal.syncs()), (Lsn(3), 2));
    }

    #[test]
    fn segments_double_up_to_the_maximum_and_a_large_group_gets_a_segment_of_its_own_size() {
        let (disk, home, mut journal) = journal();
        for frames in [1, 8, 12, 1, 40] {
            append(&mut journal, frames).expect("durable");
        }
        let lens: Vec<usize> = list_segments(&home)
            .expect("listed")
            .into_iter()
            .map(|first| disk.read(&home.layout.segment(0, first)).expect("read").len())
            .collect();
        assert_eq!(lens[..2], [512, 1024]);
        assert!(lens.iter().all(|len| len.is_multiple_of(512)) && lens.last() > Some(&2048), "{lens:?}");
    }

    #[test]
    fn a_rotation_uses_the_prepared_segment_and_then_wants_another() {
        let (disk, home, mut journal) = journal();
        let job = journal.preparation().expect("wanted from the start");
        assert!(journal.preparation().is_none(), "one at a time");
        journal.provide(job.run());
        let operations = disk.operations();
        append(&mut journal, 1).expect("durable");
        assert_eq!(
            disk.operations() - operations,
            5,
            "two writes, a sync, a rename, a sync of the directory"
        );
        assert!(journal.preparation().is_some());
        assert!(!disk.exists(&home.layout.prepared_ahead(0)).expect("asked"));
    }

    #[test]
    fn a_rotation_does_not_wait_for_a_job_that_still_runs() {
        let (_, home, mut journal) = journal();
        let job = journal.preparation().expect("wanted");
        append(&mut journal, 1).expect("makes its own segment");
        journal.provide(job.run());
        append(&mut journal, 12).expect("the late segment is too small and makes way");
        assert!(!home.disk.exists(&home.layout.prepared_ahead(0)).expect("asked"));
        assert!(open(&home, Lsn(0)).expect("whole").1.torn.is_none());
    }

    #[test]
    fn an_append_never_waits_for_the_zeros_of_a_whole_segment_and_segments_grow_on_after_it() {
        let disk = SimDisk::new();
        let home = home(disk.clone());
        disk.create_dir_all(&home.layout.journal(0)).expect("made");
        let longest = 16 * URGENT_SEGMENT_BYTES;
        let config = JournalConfig { segment_bytes_min: longest / 4, segment_bytes_max: longest };
        let mut journal = Journal::empty(home.clone(), config);
        let lens = |journal: &Journal| journal.active.as_ref().expect("written to").len;
        append(&mut journal, 1).expect("makes its own segment");
        assert_eq!(lens(&journal), URGENT_SEGMENT_BYTES);
        for expected in [longest / 4, longest / 2] {
            let job = journal.preparation().expect("wanted");
            let ready = job.run();
            journal.active.as_mut().expect("there").offset = lens(&journal);
            append(&mut journal, 1).expect("in haste: the job still runs");
            assert_eq!(lens(&journal), URGENT_SEGMENT_BYTES);
            journal.provide(ready);
            journal.active.as_mut().expect("there").offset = lens(&journal);
            append(&mut journal, 1).expect("in the prepared one");
            assert_eq!(lens(&journal), expected);
        }
    }

    #[test]
    fn a_failed_preparation_poisons_nothing() {
        let (disk, _, mut journal) = journal();
        disk.limit_space(100);
        let job = journal.preparation().expect("wanted");
        journal.provide(job.run());
        disk.limit_space(1 << 20);
        append(&mut journal, 1).expect("durable");
    }

    fn check_poison(inject: impl Fn(&SimDisk), frames: u32, cause: &str) {
        let (disk, _, mut journal) = journal();
        append(&mut journal, 1).expect("durable");
        inject(&disk);
        let first = append(&mut journal, frames).expect_err("injected");
        assert!(matches!(first, Fault::Io { .. }) && first.to_string().contains(cause), "{first}");
        let operations = disk.operations();
        let second = append(&mut journal, 1).expect_err("poisoned");
        assert!(matches!(&second, Fault::Poisoned { cause: kept } if kept.contains(cause)), "{second}");
        assert_eq!(disk.operations(), operations, "nothing is tried again");
        assert_eq!(journal.durable(), Lsn(1));
        assert!(journal.preparation().is_none());
    }

    #[test]
    fn the_first_failure_poisons_and_its_cause_is_kept() {
        check_poison(|disk| disk.fail_sync(0), 1, "sync failed");
        check_poison(|disk| disk.fail_write(0), 1, "write failed");
        check_poison(|disk| disk.limit_space(700), 12, "no storage space");
    }
}
