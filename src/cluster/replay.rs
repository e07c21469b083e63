//! Turns the records of a log into its frames: checks the chain, drops what a deposed owner left, puts the parts of a group together.
//!
//! - A record of an epoch lower than one that was seen is dropped: its writer was deposed before it arrived.
//! - Any other record names the checksum of the one before it, and a new epoch begins with its fence.
//! - A group whose last part is missing when a fence comes was never acknowledged, and is dropped. Missing anywhere else it is damage.
//!
//! The first record that is kept has nothing before it: what was there is in a snapshot. Absent on purpose: repair.

use crate::domain::ids::Lsn;
use crate::storage::frame::{self, Next};
use crate::storage::store::OnFrame;
use crate::storage::{Fault, Result};

use super::append::Tip;
use super::record::{self, Kind, Owned, Record};
use super::remote::{Remote, Stored};

/// What a replay found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// The lsn that is due next.
    pub next: Lsn,
    /// How many frames were handed over.
    pub frames: u64,
    /// How many records of deposed owners were dropped.
    pub dropped: u64,
    /// The last record; none in an empty log.
    pub last: Option<Tip>,
    /// Where each group begins: its first lsn, the sequence of its first part, its length.
    pub groups: Vec<(Lsn, u64, u64)>,
}

/// A replay under way.
pub struct Replay<'a> {
    owned: Owned,
    place: String,
    after: Lsn,
    on_frame: &'a mut OnFrame<'a>,
    epoch: u64,
    /// None before the first group.
    next: Option<Lsn>,
    group: Option<Group>,
    fault: Option<Fault>,
    found: Replayed,
}

/// A group of which parts are missing.
struct Group {
    kind: Kind,
    sequence: u64,
    bytes: Vec<u8>,
}

impl<'a> Replay<'a> {
    /// A replay that hands over the frames after `after`.
    pub fn new(owned: Owned, place: String, after: Lsn, on_frame: &'a mut OnFrame<'a>) -> Self {
        let found = Replayed::default();
        Self { owned, place, after, on_frame, epoch: 0, next: None, group: None, fault: None, found }
    }

    /// Reads what is kept up to the sequence `until`.
    ///
    /// # Errors
    /// [`Fault::DamagedLog`] and [`Fault::Missing`] when it is not whole, [`Fault::Remote`] when it cannot be read, and what the callback
    /// returns.
    pub fn run(mut self, remote: &dyn Remote, until: u64) -> Result<Replayed> {
        let read = remote.read(until, &mut |stored| {
            self.record(&stored).map_err(|fault| {
                let why = fault.to_string();
                self.fault = Some(fault);
                why
            })
        });
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        read.map_err(|cause| Fault::Remote { action: "read", place: self.place.clone(), cause })?;
        self.found.next = self.next.unwrap_or_else(|| self.after.next());
        if self.found.next <= self.after {
            let what = format!(
                "the log ends at lsn {}, and a snapshot holds everything up to lsn {}",
                self.found.next.0 - 1,
                self.after
            );
            return Err(self.damaged(until, what));
        }
        Ok(self.found)
    }

    fn record(&mut self, stored: &Stored) -> Result<()> {
        let at = stored.sequence;
        let record = record::decode(self.owned, &stored.bytes).map_err(|what| self.damaged(at, what))?;
        let last = self.found.last.replace(Tip { sequence: at, crc: record.crc });
        if record.header.epoch < self.epoch {
            self.found.dropped += 1;
            return Ok(());
        }
        if last.is_some_and(|last| last.crc != record.header.previous) {
            return Err(self.damaged(at, "it does not follow from the record before it"));
        }
        let is_fence = record.header.kind == Kind::Fence;
        if last.is_some() && is_fence != (record.header.epoch > self.epoch) {
            return Err(self.damaged(at, "an epoch begins with one fence"));
        }
        self.epoch = record.header.epoch;
        match record.header.kind {
            Kind::Fence => self.found.dropped += u64::from(self.group.take().is_some()),
            Kind::Confirmation if self.group.is_some() => {
                return Err(self.damaged(at, "the rest of a group is missing before it"));
            }
            Kind::Confirmation => {}
            Kind::Group { .. } => return self.part(at, record),
        }
        Ok(())
    }

    fn part(&mut self, at: u64, record: Record<'_>) -> Result<()> {
        let Kind::Group { first, last, part, parts } = record.header.kind else { return Ok(()) };
        let due = match &self.group {
            None => 0,
            Some(Group { kind: Kind::Group { first: begun, part, .. }, .. }) if *begun == first => part + 1,
            Some(_) => return Err(self.damaged(at, "the rest of a group is missing before it")),
        };
        if part != due {
            return Err(self.damaged(at, format!("part {due} of a group is due and part {part} is there")));
        }
        let mut group =
            self.group.take().unwrap_or(Group { kind: record.header.kind, sequence: at, bytes: Vec::new() });
        group.kind = record.header.kind;
        group.bytes.extend_from_slice(record.payload);
        if part + 1 < parts {
            self.group = Some(group);
            return Ok(());
        }
        self.hand_over(&group, first, last)
    }

    fn hand_over(&mut self, group: &Group, first: Lsn, last: Lsn) -> Result<()> {
        match self.next {
            Some(next) if next != first => {
                let what = format!("lsn {next} is due and lsn {first} is there");
                return Err(self.damaged(group.sequence, what));
            }
            None if first > self.after.next() => {
                let what =
                    format!("the frames from lsn {} on; the log begins with lsn {first}", self.after.next());
                return Err(Fault::Missing { path: self.place.clone().into(), what });
            }
            _ => {}
        }
        let (mut offset, mut due) = (0, first);
        while offset < group.bytes.len() {
            let frame = match frame::next(&group.bytes, offset) {
                Next::Frame(frame) if frame.meta.lsn == due => frame,
                _ => return Err(self.damaged(group.sequence, format!("lsn {due} is due and is not there"))),
            };
            if due > self.after {
                (self.on_frame)(frame).map_err(|fault| self.placed(fault, group.sequence))?;
                self.found.frames += 1;
            }
            (offset, due) = (frame.next_offset, due.next());
        }
        if due != last.next() {
            return Err(self.damaged(group.sequence, format!("lsn {due} is due and the group ends")));
        }
        self.next = Some(due);
        let length = u64::try_from(group.bytes.len()).unwrap_or(u64::MAX);
        self.found.groups.push((first, group.sequence, length));
        Ok(())
    }

    /// Adds the place to what the callback found.
    fn placed(&self, fault: Fault, sequence: u64) -> Fault {
        let place = self.place.clone();
        match fault {
            Fault::Undecodable { lsn, what } => Fault::DamagedLog { place, sequence, lsn: Some(lsn), what },
            other => other.located(place.as_ref(), sequence),
        }
    }

    fn damaged(&self, sequence: u64, what: impl Into<String>) -> Fault {
        Fault::DamagedLog { place: self.place.clone(), sequence, lsn: self.next, what: what.into() }
    }
}

impl std::fmt::Debug for Replay<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Replay({}, after {})", self.place, self.after)
    }
}
