//! What the storage tests share: a home on a simulated disk, and frames whose bodies follow from their lsn.

use std::sync::Arc;

use super::disk::Disk;
use super::fault::{Fault, Result};
use super::frame::{self, FrameMeta, FrameRef};
use super::journal::{Journal, JournalConfig};
use super::layout::{DirectoryId, Home, Layout};
use super::recovery::{RecoveryReport, open_partition};
use crate::domain::ids::Lsn;

/// Segments so short that a few groups fill one.
pub const SMALL: JournalConfig = JournalConfig { segment_bytes_min: 512, segment_bytes_max: 1024 };

/// Partition 0 of the directory `d`.
pub fn home(disk: impl Disk + 'static) -> Home {
    Home { disk: Arc::new(disk), layout: Layout::new("d"), partition: 0, directory: DirectoryId([0xD1; 16]) }
}

/// The body of the frame with this lsn: its length and its bytes vary.
pub fn body(lsn: Lsn) -> Vec<u8> {
    let len = 20 + usize::try_from(lsn.0 * 37 % 90).expect("below 90");
    (0..len)
        .map(|at| u8::try_from((u64::try_from(at).expect("small") + lsn.0 * 7) % 251).expect("below 251"))
        .collect()
}

/// A group of `frames` frames from `first` on.
pub fn group(first: Lsn, frames: u32) -> Vec<u8> {
    let mut buf = Vec::new();
    for group in 0..frames {
        let lsn = Lsn(first.0 + u64::from(group));
        let start = frame::begin(&mut buf);
        buf.extend_from_slice(&body(lsn));
        frame::finish(&mut buf, start, FrameMeta { lsn, group, kind: 1, version: 1 });
    }
    buf
}

/// Appends a group of `frames` frames.
///
/// # Errors
/// As [`Journal::append_group`].
pub fn append(journal: &mut Journal, frames: u32) -> Result<()> {
    let first = journal.next_lsn();
    journal.append_group(first, frames, &group(first, frames))
}

/// Opens the partition and checks that each replayed frame is the one that was written.
///
/// # Errors
/// As [`open_partition`].
pub fn open(home: &Home, after: Lsn) -> Result<(Journal, RecoveryReport)> {
    open_partition(home, SMALL, after, &mut check_body)
}

/// Accepts a frame only with the body that follows from its lsn.
///
/// # Errors
/// [`Fault::Undecodable`] for any other body.
pub fn check_body(frame: FrameRef<'_>) -> Result<()> {
    let lsn = frame.meta.lsn;
    if frame.body == body(lsn) {
        Ok(())
    } else {
        Err(Fault::Undecodable { lsn, what: "another body".into() })
    }
}
