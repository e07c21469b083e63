//! Replays the journal of one partition and tells three ends apart.
//!
//! - **End**: after the last frame there are only zeros.
//! - **Torn**: after the last whole frame lie remains of a group that never became durable. A report, not a fault.
//! - **Corrupt**: a frame that had been durable cannot be read. A fault; nothing after it is replayed.
//!
//! How they are told apart, when no frame can be read at offset X, where lsn L is due:
//!
//! 1. If another segment follows and begins with L, the journal goes on there: a segment is left when a group does not
//!    fit, and whatever lies in its remainder is nobody's. If the next segment begins with another lsn, L was durable
//!    before that segment was made: corrupt, or missing when only zeros lie at X.
//! 2. In the last segment, a valid frame F behind X whose group begins above L was written after L was durable: corrupt.
//! 3. Valid frames whose group begins at L or below are of the lost group itself: torn. Nothing valid: torn, or the end
//!    when everything behind X is zero.
//! 4. A snapshot at or above L proves that L had been durable: corrupt whatever the above says.
//!
//! Reading never writes, and never skips a frame to go on behind it.

use std::path::{Path, PathBuf};

use super::disk::{u64_of, usize_of};
use super::fault::{Fault, Result};
use super::frame::{self, ALIGN_BYTES, FrameRef, HEADER_BYTES, Next, is_zero};
use super::layout::{Home, Layout};
use super::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::domain::ids::Lsn;

/// Where a replay starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// After the lsn that a snapshot holds; zero for none. Segments wholly below it are not read.
    After(Lsn),
    /// At the oldest frame that is kept, to verify everything.
    Oldest,
}

/// How a journal ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// After its last frame.
    End,
    /// In a group that never became durable.
    Torn(TornTail),
}

/// The remains of a group that never became durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The segment that holds them.
    pub path: PathBuf,
    /// Where they begin, in bytes.
    pub offset: u64,
    /// How many bytes they span, up to the last one that is not zero.
    pub bytes: u64,
    /// The lsn that was due there.
    pub lsn: Lsn,
}

/// What a replay found.
#[derive(Clone, Debug)]
pub struct Scan {
    /// The lsn after the last whole frame.
    pub next: Lsn,
    /// How many frames were handed over.
    pub frames: u64,
    /// How many segments were read.
    pub segments: u32,
    /// How the journal ends.
    pub ending: Ending,
    pub(super) tail: Option<Tail>,
}

/// The end of the last segment, as recovery needs it.
#[derive(Clone, Debug)]
pub(super) struct Tail {
    pub(super) path: PathBuf,
    pub(super) len: u64,
    /// Where the next group goes.
    pub(super) offset: u64,
    pub(super) group_offset: u64,
    /// The last group, as it was read.
    pub(super) group: Vec<u8>,
}

/// Hands over every frame from `start` on, in order.
///
/// # Errors
/// [`Fault::Corrupt`], [`Fault::Missing`], [`Fault::TooNew`] and [`Fault::Io`] as the files say; what `on_frame` returns,
/// with the place added to [`Fault::Undecodable`].
pub fn read(home: &Home, start: Start, on_frame: &mut dyn FnMut(FrameRef<'_>) -> Result<()>) -> Result<Scan> {
    let segments = list_segments(home)?;
    let Some(from) = first_needed(home, &segments, start)? else {
        let ending = Ending::End;
        return Ok(Scan { next: Lsn(1), frames: 0, segments: 0, ending, tail: None });
    };
    let after = if let Start::After(lsn) = start { lsn } else { Lsn(0) };
    let mut replay = Replay { home, after, next: segments[from], frames: 0, on_frame };
    let mut scan = None;
    for (index, &first) in segments.iter().enumerate().skip(from) {
        scan = replay.segment(first, segments.get(index + 1).copied())?;
    }
    let (ending, tail) = scan.expect("the last segment ends the journal");
    replay.check_against_snapshot(&tail)?;
    let segments = u32::try_from(segments.len() - from).unwrap_or(u32::MAX);
    Ok(Scan { next: replay.next, frames: replay.frames, segments, ending, tail: Some(tail) })
}

/// The first lsn of every segment, in order, from their names.
///
/// # Errors
/// [`Fault::Io`] when the directory cannot be listed.
pub fn list_segments(home: &Home) -> Result<Vec<Lsn>> {
    let dir = home.layout.journal(home.partition);
    let names = home.disk.list(&dir).map_err(Fault::io("list", &dir))?;
    Ok(names.iter().filter_map(|name| Layout::parse_segment(name)).collect())
}

/// The segment that holds the first wanted frame.
fn first_needed(home: &Home, segments: &[Lsn], start: Start) -> Result<Option<usize>> {
    let after = match start {
        Start::Oldest | Start::After(Lsn(0)) if segments.is_empty() => return Ok(None),
        Start::Oldest => return Ok(Some(0)),
        Start::After(after) => after,
    };
    let wanted = after.next();
    let holding = segments.partition_point(|&first| first <= wanted);
    holding.checked_sub(1).map(Some).ok_or_else(|| Fault::Missing {
        path: home.layout.segment(home.partition, wanted),
        what: match segments.first() {
            Some(oldest) => {
                format!("the frames from lsn {wanted} on; the oldest segment begins with lsn {oldest}")
            }
            None => format!("the frames from lsn {wanted} on; there is no segment at all"),
        },
    })
}

struct Replay<'a> {
    home: &'a Home,
    after: Lsn,
    next: Lsn,
    frames: u64,
    on_frame: &'a mut dyn FnMut(FrameRef<'_>) -> Result<()>,
}

impl Replay<'_> {
    /// Replays one segment; says how the journal ends when no other follows.
    fn segment(&mut self, first: Lsn, following: Option<Lsn>) -> Result<Option<(Ending, Tail)>> {
        let path = self.home.layout.segment(self.home.partition, first);
        let bytes = self.home.disk.read(&path).map_err(Fault::io("read", &path))?;
        let header = SegmentHeader::decode(self.home, &path, &bytes)?;
        if header.first != first {
            let what = format!("its header says it begins with lsn {}, its name says {first}", header.first);
            return Err(Fault::corrupt(&path, 0, None, what));
        }
        let stop = self.frames(&path, &bytes)?;
        match following {
            Some(following) => self.bridge(&path, &bytes, stop.offset, following).map(|()| None),
            None => self.judge(&path, &bytes, &stop).map(Some),
        }
    }

    /// Hands over the frames of one segment up to the first offset without one.
    fn frames(&mut self, path: &Path, bytes: &[u8]) -> Result<Stop> {
        let mut stop = Stop { offset: SEGMENT_HEADER_BYTES, group_offset: SEGMENT_HEADER_BYTES };
        let mut group_due = 0;
        loop {
            let frame = match frame::next(bytes, stop.offset) {
                Next::Frame(frame) => frame,
                Next::Bad { what, .. } if stop.offset == SEGMENT_HEADER_BYTES => {
                    return Err(self.corrupt(path, stop.offset, what));
                }
                Next::End if stop.offset == SEGMENT_HEADER_BYTES => {
                    return Err(self.corrupt(path, stop.offset, "the segment holds no frame"));
                }
                Next::Bad { .. } | Next::End => return Ok(stop),
            };
            if frame.meta.lsn != self.next || (frame.meta.group != 0 && frame.meta.group != group_due) {
                let what = format!("lsn {} is due and lsn {} is there", self.next, frame.meta.lsn);
                return Err(self.corrupt(path, stop.offset, what));
            }
            if frame.meta.group == 0 {
                stop.group_offset = stop.offset;
            }
            self.hand_over(path, frame)?;
            group_due = frame.meta.group.saturating_add(1);
            stop.offset = frame.next_offset;
        }
    }

    fn hand_over(&mut self, path: &Path, frame: FrameRef<'_>) -> Result<()> {
        if frame.meta.lsn > self.after {
            (self.on_frame)(frame).map_err(|fault| fault.located(path, u64_of(frame.offset)))?;
            self.frames += 1;
        }
        self.next = frame.meta.lsn.next();
        Ok(())
    }

    /// Rule 1: does the next segment go on where this one stops?
    fn bridge(&self, path: &Path, bytes: &[u8], stop: usize, following: Lsn) -> Result<()> {
        if following == self.next {
            return Ok(());
        }
        if following > self.next && is_zero(bytes.get(stop..).unwrap_or_default()) {
            let path = self.home.layout.segment(self.home.partition, self.next);
            let what =
                format!("lsn {} to {}, between two segments that are there", self.next, following.0 - 1);
            return Err(Fault::Missing { path, what });
        }
        Err(self.corrupt(
            path,
            stop,
            format!("no whole frame is here, and the next segment begins with {following}"),
        ))
    }

    /// Rules 2 and 3: is what lies behind the last frame nothing, a torn tail, or damage?
    fn judge(&self, path: &Path, bytes: &[u8], stop: &Stop) -> Result<(Ending, Tail)> {
        let offset = stop.offset.min(bytes.len());
        let rest = &bytes[offset..];
        let ending = match rest.iter().rposition(|&byte| byte != 0) {
            None => Ending::End,
            Some(last) => {
                if let Some(proof) = later_group(bytes, offset, self.next) {
                    let what = format!("no whole frame is here, and lsn {proof} was written after it");
                    return Err(self.corrupt(path, offset, what));
                }
                Ending::Torn(TornTail {
                    path: path.to_path_buf(),
                    offset: u64_of(offset),
                    bytes: u64_of(last + 1),
                    lsn: self.next,
                })
            }
        };
        let tail = Tail {
            path: path.to_path_buf(),
            len: u64_of(bytes.len()),
            offset: u64_of(offset),
            group_offset: u64_of(stop.group_offset),
            group: bytes[stop.group_offset..offset].to_vec(),
        };
        Ok((ending, tail))
    }

    /// Rule 4: a snapshot is made of durable frames only.
    fn check_against_snapshot(&self, tail: &Tail) -> Result<()> {
        if self.next > self.after {
            return Ok(());
        }
        let what = format!("the journal ends here, and a snapshot holds everything up to lsn {}", self.after);
        Err(self.corrupt(&tail.path, usize_of(tail.offset), what))
    }

    fn corrupt(&self, path: &Path, offset: usize, what: impl Into<String>) -> Fault {
        Fault::corrupt(path, u64_of(offset), Some(self.next), what)
    }
}

/// Where the frames of a segment stop, and where the last group among them began.
struct Stop {
    offset: usize,
    group_offset: usize,
}

/// The first valid frame behind `stop` that was written after `due` was durable.
///
/// Bodies hold bytes that callers chose, so a checksum is taken only where the lsn can be right: a frame is at least as
/// long as its header, which bounds how many lie between.
fn later_group(bytes: &[u8], stop: usize, due: Lsn) -> Option<Lsn> {
    let mut offset = stop;
    while let Some(header) = bytes.get(offset..offset + HEADER_BYTES) {
        let lsn = frame::claimed_lsn(header);
        if lsn < due || lsn.0 - due.0 > u64_of((offset - stop) / HEADER_BYTES) {
            offset += ALIGN_BYTES;
            continue;
        }
        match frame::next(bytes, offset) {
            Next::Frame(frame) if frame.meta.group_first() > due => return Some(frame.meta.lsn),
            Next::Frame(frame) => offset = frame.next_offset,
            Next::Bad { .. } | Next::End => offset += ALIGN_BYTES,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::SimDisk;
    use crate::storage::disk::Disk;
    use crate::storage::fixture::{append, check_body, home, open};

    /// A journal of several segments, its home, and its disk.
    fn written(groups: &[u32]) -> (SimDisk, Home) {
        let disk = SimDisk::new();
        let home = home(disk.clone());
        let (mut journal, _) = open(&home, Lsn(0)).expect("a new partition");
        groups.iter().for_each(|&frames| append(&mut journal, frames).expect("durable"));
        (disk, home)
    }

    fn last_lsn(groups: &[u32]) -> u64 {
        groups.iter().map(|&frames| u64::from(frames)).sum()
    }

    const GROUPS: [u32; 7] = [1, 2, 3, 1, 4, 2, 3];

    #[test]
    fn every_frame_reads_back_over_all_segments() {
        let (_, home) = written(&GROUPS);
        assert!(list_segments(&home).expect("listed").len() > 2);
        let mut lsns = Vec::new();
        let scan = read(&home, Start::Oldest, &mut |frame| {
            lsns.push(frame.meta.lsn.0);
            check_body(frame)
        })
        .expect("whole");
        assert_eq!(lsns, (1..=last_lsn(&GROUPS)).collect::<Vec<_>>());
        assert_eq!(scan.ending, Ending::End);
    }

    #[test]
    fn a_replay_hands_over_only_what_the_snapshot_does_not_hold() {
        let (_, home) = written(&GROUPS);
        let last = last_lsn(&GROUPS);
        for after in 0..=last {
            let mut lsns = Vec::new();
            let scan = read(&home, Start::After(Lsn(after)), &mut |frame| {
                lsns.push(frame.meta.lsn.0);
                Ok(())
            });
            assert_eq!(scan.expect("whole").next, Lsn(last + 1));
            assert_eq!(lsns, (after + 1..=last).collect::<Vec<_>>());
        }
        let lost =
            read(&home, Start::After(Lsn(last + 1)), &mut |_| Ok(())).expect_err("a snapshot holds more");
        assert!(matches!(&lost, Fault::Corrupt { what, .. } if what.contains("a snapshot holds")), "{lost}");
    }

    #[test]
    fn every_single_bit_flip_is_noticed_or_without_effect_outside_the_last_group() {
        check_bit_flips(&GROUPS);
        check_bit_flips(&[1, 1, 2]);
        check_bit_flips(&[1, 1, 1, 1]);
    }

    fn check_bit_flips(groups: &[u32]) {
        let (disk, home) = written(groups);
        let last = last_lsn(groups);
        let last_group = u64::from(groups[groups.len() - 1]);
        let (mut torn, mut corrupt) = (0, 0);
        for first in list_segments(&home).expect("listed") {
            let path = home.layout.segment(0, first);
            let bytes = disk.read(&path).expect("read");
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                disk.tamper(&path, &flipped);
                match read(&home, Start::Oldest, &mut check_body) {
                    Ok(Scan { ending: Ending::End, next, .. }) => {
                        assert_eq!(next, Lsn(last + 1), "bit {bit}");
                    }
                    Ok(Scan { ending: Ending::Torn(tail), next, .. }) => {
                        assert!(
                            next.0 > last - last_group && tail.path == path,
                            "bit {bit} of {first}: {tail:?}"
                        );
                        torn += 1;
                    }
                    Err(Fault::Corrupt { path: at, .. }) => {
                        assert_eq!(at, path, "bit {bit}");
                        corrupt += 1;
                    }
                    Err(other) => panic!("bit {bit}: {other}"),
                }
            }
            disk.tamper(&path, &bytes);
        }
        assert!(torn > 0 && corrupt > torn, "{torn} {corrupt}");
    }

    #[test]
    fn damage_before_the_last_group_of_the_last_segment_is_corruption_even_when_it_reads_as_zeros() {
        let (disk, home) = written(&[1, 1, 2]);
        assert_eq!(list_segments(&home).expect("listed").len(), 1);
        let path = home.layout.segment(0, Lsn(1));
        let bytes = disk.read(&path).expect("read");
        let Next::Frame(first) = frame::next(&bytes, SEGMENT_HEADER_BYTES) else { panic!("a frame") };
        let Next::Frame(second) = frame::next(&bytes, first.next_offset) else { panic!("a frame") };
        for zeroed in [second.offset..second.offset + HEADER_BYTES, second.offset..second.next_offset] {
            let mut damaged = bytes.clone();
            damaged[zeroed].fill(0);
            disk.tamper(&path, &damaged);
            let fault = read(&home, Start::Oldest, &mut check_body).expect_err("lsn 2 was durable");
            let expected = u64_of(second.offset);
            assert!(matches!(fault, Fault::Corrupt { offset, lsn: Some(Lsn(2)), .. } if offset == expected));
        }
    }

    #[test]
    fn a_segment_cut_short_at_any_byte_is_refused_and_what_was_handed_over_is_a_prefix() {
        let (disk, home) = written(&GROUPS);
        for first in list_segments(&home).expect("listed") {
            let path = home.layout.segment(0, first);
            let bytes = disk.read(&path).expect("read");
            for len in 0..bytes.len() {
                disk.tamper(&path, &bytes[..len]);
                let mut due = 1;
                let outcome = read(&home, Start::Oldest, &mut |frame| {
                    assert_eq!(frame.meta.lsn.0, due);
                    due += 1;
                    check_body(frame)
                });
                assert!(
                    matches!(outcome, Err(Fault::Corrupt { path: at, .. }) if at == path),
                    "{len} of {first}"
                );
                assert_eq!(due, first.0, "the segments before are handed over");
            }
            disk.tamper(&path, &bytes);
        }
    }

    #[test]
    fn a_tail_zeroed_from_any_byte_on_is_a_legal_prefix() {
        let (disk, home) = written(&GROUPS);
        let last = list_segments(&home).expect("listed").pop().expect("a segment");
        let path = home.layout.segment(0, last);
        let bytes = disk.read(&path).expect("read");
        for from in SEGMENT_HEADER_BYTES..bytes.len() {
            let mut zeroed = bytes.clone();
            zeroed[from..].fill(0);
            disk.tamper(&path, &zeroed);
            match read(&home, Start::Oldest, &mut check_body) {
                Ok(scan) => assert!(scan.next > last, "byte {from}"),
                Err(Fault::Corrupt { offset: 64, lsn, .. }) => assert_eq!(lsn, Some(last), "byte {from}"),
                Err(other) => panic!("byte {from}: {other}"),
            }
        }
    }

    #[test]
    fn whole_frames_in_a_wrong_order_are_corruption() {
        for (lsns, groups) in [([2, 2], [0, 1]), ([2, 4], [0, 1]), ([2, 3], [0, 2]), ([2, 3], [2, 0])] {
            let (_, home) = written(&[1]);
            let (mut journal, _) = open(&home, Lsn(0)).expect("whole");
            let mut bytes = Vec::new();
            for (lsn, group) in lsns.into_iter().zip(groups) {
                let start = frame::begin(&mut bytes);
                let meta = frame::FrameMeta { lsn: Lsn(lsn), group, kind: 1, version: 1 };
                frame::finish(&mut bytes, start, meta);
            }
            journal.append_group(Lsn(2), 2, &bytes).expect("a journal does not look into its frames");
            let fault = read(&home, Start::Oldest, &mut |_| Ok(())).expect_err("out of order");
            assert!(matches!(fault, Fault::Corrupt { .. }), "{lsns:?} {groups:?}: {fault}");
        }
    }

    #[test]
    fn a_missing_segment_is_named() {
        let (disk, home) = written(&GROUPS);
        let segments = list_segments(&home).expect("listed");
        let gone = home.layout.segment(0, segments[1]);
        disk.remove(&gone).expect("removed");
        let fault = read(&home, Start::After(Lsn(0)), &mut check_body).expect_err("a gap");
        assert!(matches!(&fault, Fault::Missing { path, .. } if *path == gone), "{fault}");
        disk.remove(&home.layout.segment(0, segments[0])).expect("removed");
        let fault = read(&home, Start::After(Lsn(0)), &mut check_body).expect_err("no beginning");
        assert!(matches!(fault, Fault::Missing { .. }), "{fault}");
    }

    #[test]
    fn a_frame_torn_in_a_lost_group_is_torn_although_frames_of_that_group_follow() {
        let (disk, home) = written(&[1, 4]);
        let path = home.layout.segment(0, Lsn(1));
        let mut bytes = disk.read(&path).expect("read");
        let Next::Frame(first) = frame::next(&bytes, SEGMENT_HEADER_BYTES) else { panic!("a frame") };
        let offset = first.next_offset;
        bytes[offset + 30] ^= 1;
        disk.tamper(&path, &bytes);
        let scan = read(&home, Start::Oldest, &mut check_body).expect("torn is no fault");
        assert!(
            matches!(&scan.ending, Ending::Torn(tail) if tail.lsn == Lsn(2) && tail.offset == u64_of(offset))
        );
    }
}
