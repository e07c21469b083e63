//! Writes a partition anew, up to a cut: its snapshots, and the frames of its journal byte for byte in segments no
//! longer than they need.
//!
//! What is written names the directory that it is written into. Nothing after the cut is written: neither frames
//! nor snapshots that hold any.

use std::path::PathBuf;

use crate::domain::ids::Lsn;
use crate::storage::disk::{replace_file, u64_of};
use crate::storage::fault::{Fault, Result};
use crate::storage::frame::{self, Next};
use crate::storage::layout::Home;
use crate::storage::reader;
use crate::storage::replay::load_snapshot;
use crate::storage::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::storage::snapshot;

use super::history;

/// Segments are a multiple of this long.
const SEGMENT_STEP_BYTES: usize = 512;

/// What a copy left out.
#[derive(Debug, Default)]
pub struct LeftOut {
    /// Snapshots that cannot be read.
    pub unreadable: Vec<Fault>,
    /// Snapshots that hold frames after the cut.
    pub beyond: Vec<PathBuf>,
}

/// Writes the partition `from` up to the frame `cut` as the partition `to`.
///
/// # Errors
/// [`Fault::Io`], [`Fault::TooNew`], and [`Fault::Corrupt`] when the journal does not reach to the cut.
pub fn copy(from: &Home, to: &Home, cut: Lsn) -> Result<LeftOut> {
    for dir in [to.layout.journal(to.partition), to.layout.snapshots(to.partition)] {
        to.disk.create_dir_all(&dir).map_err(Fault::io("create the directory", &dir))?;
    }
    let segments = reader::list_segments(from)?;
    let mut last = segments.first().map_or(Lsn(0), |first| Lsn(first.0.saturating_sub(1)));
    let left_out = copy_snapshots(from, to, cut, last)?;
    for first in segments.into_iter().filter(|first| *first <= cut) {
        last = copy_segment(from, to, first, cut)?;
    }
    if last < cut {
        let path = from.layout.journal(from.partition);
        return Err(Fault::corrupt(&path, 0, Some(last.next()), format!("it held lsn {cut} a moment ago")));
    }
    Ok(left_out)
}

/// Copies the snapshots that the journal goes on from and that hold nothing after the cut.
fn copy_snapshots(from: &Home, to: &Home, cut: Lsn, reach: Lsn) -> Result<LeftOut> {
    let mut left_out = LeftOut::default();
    for lsn in snapshot::list(from)?.into_iter().filter(|lsn| *lsn >= reach) {
        match load_snapshot(from, lsn) {
            Ok(decoded) if history::holds(lsn, &decoded) <= cut => {
                let whole = snapshot::load(from, lsn)?;
                snapshot::write_snapshot(to, whole.header, &whole.body)?;
            }
            Ok(_) => left_out.beyond.push(from.layout.snapshot(from.partition, lsn)),
            Err(fault) if fault.is_damage() => left_out.unreadable.push(fault),
            Err(fault) => return Err(fault),
        }
    }
    Ok(left_out)
}

/// Copies the frames of a segment up to the cut; answers with the last of them.
fn copy_segment(from: &Home, to: &Home, first: Lsn, cut: Lsn) -> Result<Lsn> {
    let path = from.layout.segment(from.partition, first);
    let bytes = from.disk.read(&path).map_err(Fault::io("read", &path))?;
    SegmentHeader::decode(from, &path, &bytes)?;
    let (mut next, mut end) = (first, SEGMENT_HEADER_BYTES);
    while next <= cut
        && let Next::Frame(frame) = frame::next(&bytes, end)
        && frame.meta.lsn == next
    {
        (next, end) = (next.next(), frame.next_offset);
    }
    let len = end.next_multiple_of(SEGMENT_STEP_BYTES);
    let header = SegmentHeader { partition: to.partition, directory: to.directory, first, len: u64_of(len) };
    let frames = bytes.get(SEGMENT_HEADER_BYTES..end).unwrap_or_default();
    let (tmp, path) = (to.layout.prepared_inline(to.partition), to.layout.segment(to.partition, first));
    replace_file(&*to.disk, &tmp, &path, &[&header.encode(), frames, &vec![0; len - end]])?;
    Ok(Lsn(next.0 - 1))
}
