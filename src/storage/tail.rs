//! Follows the journal of one partition while it is written: hands over frames that are durable, each once, in order.
//!
//! It is for readers that come after the writer and never hold it up. It reads files in pieces and remembers where it
//! stands, so that each look costs what is new and no more.
//!
//! Invariants: nothing above the lsn that the caller knows to be durable is handed over; a frame that is not the one that is
//! due is never passed over. Absent on purpose: the judgement of a journal's end, which [`super::reader`] makes. What is
//! durable is whole, so here anything else is damage.

use super::disk::{u64_of, usize_of};
use super::fault::{Fault, Result};
use super::follow::{Follow, OnNext};
use super::frame::{self, HEADER_BYTES, Next};
use super::layout::Home;
use super::reader::list_segments;
use super::segment::SEGMENT_HEADER_BYTES;
use crate::domain::ids::Lsn;

/// How much is read at once, unless a frame is longer.
const PIECE_BYTES: u64 = 512 << 10;

/// A place in a journal, and what was read from there.
#[derive(Debug)]
pub struct Tail {
    home: Home,
    next: Lsn,
    /// The segment that is read; none before the first look.
    segment: Option<Lsn>,
    /// Where in the segment `bytes` begin.
    offset: u64,
    bytes: Vec<u8>,
    at: usize,
}

impl Tail {
    /// Follows the journal from the frame after `lsn` on.
    #[must_use]
    pub fn after(home: Home, lsn: Lsn) -> Self {
        Self { home, next: lsn.next(), segment: None, offset: 0, bytes: Vec::new(), at: 0 }
    }

    fn forget(&mut self) {
        self.offset += u64_of(self.at);
        self.bytes.clear();
        self.at = 0;
    }

    /// Goes to the beginning of the segment that holds the frame that is due.
    fn locate(&mut self) -> Result<Lsn> {
        let segments = list_segments(&self.home)?;
        let holding = segments.partition_point(|first| *first <= self.next).checked_sub(1);
        let Some(first) = holding.map(|place| segments[place]) else { return Err(self.missing()) };
        self.begin(first);
        Ok(first)
    }

    fn begin(&mut self, first: Lsn) {
        (self.segment, self.at) = (Some(first), 0);
        self.offset = u64_of(SEGMENT_HEADER_BYTES);
        self.bytes.clear();
    }

    /// No frame is here: the journal goes on in the next segment, which begins with the frame that is due.
    fn turn(&mut self, first: Lsn) -> Result<()> {
        let path = self.home.layout.segment(self.home.partition, self.next);
        if first < self.next && self.home.disk.exists(&path).map_err(Fault::io("look for", &path))? {
            self.begin(self.next);
            return Ok(());
        }
        Err(self.corrupt(first, "no whole frame is here"))
    }

    /// Reads on until a whole frame can be in the buffer; whether it is.
    fn holds_whole_frame(&mut self, first: Lsn) -> Result<bool> {
        loop {
            let rest = &self.bytes[self.at..];
            let wanted = match rest.first_chunk::<4>() {
                Some(length) => HEADER_BYTES.saturating_add(usize_of(u32::from_le_bytes(*length).into())),
                None => HEADER_BYTES,
            };
            if rest.len() >= wanted {
                return Ok(true);
            }
            if wanted > HEADER_BYTES + frame::BODY_BYTES_MAX || !self.fill(first, wanted)? {
                return Ok(false);
            }
        }
    }

    /// Reads the next piece, at least `wanted` bytes from where the next frame begins; whether there was more.
    fn fill(&mut self, first: Lsn, wanted: usize) -> Result<bool> {
        let held = self.bytes.len() - self.at;
        self.bytes.drain(..self.at);
        self.offset += u64_of(self.at);
        self.at = 0;
        let path = self.home.layout.segment(self.home.partition, first);
        let (from, most) = (self.offset + u64_of(held), u64_of(wanted - held).max(PIECE_BYTES));
        let piece = match self.home.disk.read_part(&path, from, most) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(self.missing()),
            read => read.map_err(Fault::io("read", &path))?,
        };
        self.bytes.extend_from_slice(&piece);
        Ok(!piece.is_empty())
    }

    fn missing(&self) -> Fault {
        let path = self.home.layout.segment(self.home.partition, self.next);
        Fault::Missing {
            path,
            what: format!("the frames from lsn {} on, which are no longer kept", self.next),
        }
    }

    fn corrupt(&self, first: Lsn, found: &str) -> Fault {
        let path = self.home.layout.segment(self.home.partition, first);
        let what = format!("lsn {} is due and {found}", self.next);
        Fault::corrupt(&path, self.offset + u64_of(self.at), Some(self.next), what)
    }
}

impl Follow for Tail {
    fn next_lsn(&self) -> Lsn {
        self.next
    }

    fn read(&mut self, durable: Lsn, on_frame: &mut OnNext<'_>) -> Result<()> {
        // What was read ahead before may have been written since.
        self.forget();
        while self.next <= durable {
            let first = match self.segment {
                Some(first) => first,
                None => self.locate()?,
            };
            if !self.holds_whole_frame(first)? {
                self.turn(first)?;
                continue;
            }
            let Next::Frame(frame) = frame::next(&self.bytes, self.at) else {
                self.turn(first)?;
                continue;
            };
            if frame.meta.lsn > self.next {
                return Err(self.corrupt(first, &format!("lsn {} is there", frame.meta.lsn)));
            }
            self.at = frame.next_offset;
            if frame.meta.lsn < self.next {
                continue;
            }
            self.next = self.next.next();
            if on_frame(frame)?.is_break() {
                return Ok(());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use super::*;
    use crate::storage::SimDisk;
    use crate::storage::disk::Disk as _;
    use crate::storage::fixture::{append, check_body, home, open};

    /// The lsns that a look up to `durable` hands over.
    fn look(tail: &mut Tail, durable: u64) -> Result<Vec<u64>> {
        let mut seen = Vec::new();
        tail.read(Lsn(durable), &mut |frame| {
            seen.push(frame.meta.lsn.0);
            check_body(frame)?;
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(seen)
    }

    #[test]
    fn every_durable_frame_is_handed_over_once_over_all_segments_while_they_are_written() {
        let home = home(SimDisk::new());
        let (mut journal, _) = open(&home, Lsn(0)).expect("a new partition");
        let (mut tail, mut seen) = (Tail::after(home.clone(), Lsn(0)), Vec::new());
        for group in 1..60 {
            append(&mut journal, group % 7 + 1).expect("durable");
            seen.extend(look(&mut tail, journal.durable().0).expect("whole"));
        }
        assert_eq!(seen, (1..=journal.durable().0).collect::<Vec<_>>());
        assert!(list_segments(&home).expect("listed").len() > 5);
        let mut middle = Tail::after(home, Lsn(50));
        assert_eq!(look(&mut middle, 60).expect("whole"), (51..=60).collect::<Vec<_>>());
    }

    #[test]
    fn nothing_above_what_is_durable_is_handed_over_and_a_reader_may_stop_at_any_frame() {
        let home = home(SimDisk::new());
        let (mut journal, _) = open(&home, Lsn(0)).expect("a new partition");
        append(&mut journal, 6).expect("durable");
        let mut tail = Tail::after(home, Lsn(0));
        assert_eq!(look(&mut tail, 2).expect("whole"), [1, 2]);
        tail.read(Lsn(6), &mut |_| Ok(ControlFlow::Break(()))).expect("whole");
        assert_eq!(tail.next_lsn(), Lsn(4));
        assert_eq!(look(&mut tail, 6).expect("whole"), [4, 5, 6]);
    }

    #[test]
    fn a_frame_that_is_gone_or_damaged_is_told_and_not_passed_over() {
        let disk = SimDisk::new();
        let home = home(disk.clone());
        let (mut journal, _) = open(&home, Lsn(0)).expect("a new partition");
        for _ in 0..10 {
            append(&mut journal, 5).expect("durable");
        }
        let segments = list_segments(&home).expect("listed");
        disk.remove(&home.layout.segment(0, segments[0])).expect("removed");
        let mut gone = Tail::after(home.clone(), Lsn(0));
        assert!(matches!(look(&mut gone, 50), Err(Fault::Missing { .. })));
        let path = home.layout.segment(0, segments[1]);
        let mut damaged = disk.open(&path).expect("there");
        damaged.write_at(u64_of(SEGMENT_HEADER_BYTES) + 30, &[255, 255]).expect("written");
        let mut tail = Tail::after(home, Lsn(segments[1].0 - 1));
        assert!(matches!(look(&mut tail, 50), Err(Fault::Corrupt { .. })));
    }
}
