//! Turns the records of a log into its frames: checks the chain, drops what a deposed owner left, puts the parts of a group together.
//!
//! - A record of an epoch lower than one that was seen is dropped: its writer was deposed before it arrived.
//! - Any other record names the checksum of the one before it, and a new epoch begins with its fence.
//! - A group whose last part is missing when a fence comes was never acknowledged, and is dropped. Missing anywhere else it is damage.
//!
//! The first record that is kept has nothing before it: what was there is in a snapshot. Absent on purpose: repair.

use std::ops::ControlFlow;

use crate::domain::ids::Lsn;
use crate::storage::frame::{self, Next};
use crate::storage::reader::Start;
use crate::storage::store::OnFrame;
use crate::storage::{Fault, FrameRef, Pieces, Result};

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
    /// How many records were read.
    pub records: u64,
    /// How many epochs wrote them.
    pub epochs: u64,
    /// The newest of them.
    pub newest_epoch: u64,
    /// How many records of deposed owners were dropped.
    pub dropped: u64,
    /// The last record; none in an empty log.
    pub last: Option<Tip>,
    /// Where each group begins: its first lsn, the sequence of its first part, its length.
    pub groups: Vec<(Lsn, u64, u64)>,
}

impl Replayed {
    /// What the frames lay in.
    #[must_use]
    pub fn pieces(&self) -> Pieces {
        let Self { records, epochs, newest_epoch, dropped, .. } = *self;
        Pieces::Records { all: records, epochs, newest_epoch, dropped }
    }
}

/// A replay under way.
#[derive(Debug)]
pub struct Replay {
    owned: Owned,
    place: String,
    start: Start,
    epoch: u64,
    /// None before the first group.
    next: Option<Lsn>,
    group: Option<Group>,
    found: Replayed,
}

/// A group, whole or in the making.
#[derive(Debug)]
pub struct Group {
    /// The last part that is there.
    kind: Kind,
    /// Where its first part is.
    sequence: u64,
    /// Its frames.
    bytes: Vec<u8>,
    /// Where the frame begins that is due.
    at: usize,
    /// The lsn of that frame.
    due: Lsn,
}

impl Group {
    /// The lsn of the frame that is handed over next.
    pub(super) fn due(&self) -> Lsn {
        self.due
    }
}

impl Replay {
    /// A replay of the frames from `start` on.
    pub fn new(owned: Owned, place: String, start: Start) -> Self {
        let found = Replayed::default();
        Self { owned, place, start, epoch: 0, next: None, group: None, found }
    }

    /// Reads what is kept from one sequence up to another.
    ///
    /// # Errors
    /// [`Fault::DamagedLog`] and [`Fault::Missing`] when it is not whole, [`Fault::Remote`] when it cannot be read, and what the callback
    /// returns.
    pub fn run(
        mut self,
        remote: &dyn Remote,
        (from, until): (u64, u64),
        on_frame: &mut OnFrame<'_>,
    ) -> Result<Replayed> {
        self.read(remote, (from, until), &mut |replay, mut group| {
            replay.hand_over(&mut group, &mut |frame| {
                on_frame(frame)?;
                Ok(ControlFlow::Continue(()))
            })
        })?;
        let after = self.after();
        self.found.next = self.next.unwrap_or_else(|| after.next());
        if self.found.next <= after {
            let what = format!(
                "the log ends at lsn {}, and a snapshot holds everything up to lsn {after}",
                self.found.next.0 - 1,
            );
            return Err(self.damaged(until, what));
        }
        Ok(self.found)
    }

    /// Reads the records from one sequence up to another, until `on_group` has enough.
    pub(super) fn read(
        &mut self,
        remote: &dyn Remote,
        (from, until): (u64, u64),
        on_group: &mut dyn FnMut(&mut Self, Group) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let mut failed = None;
        let read = remote.read(from, until, &mut |stored| {
            let taken = self.record(&stored).and_then(|group| match group {
                Some(group) => on_group(self, group),
                None => Ok(ControlFlow::Continue(())),
            });
            taken.map_err(|fault| {
                let why = fault.to_string();
                failed = Some(fault);
                why
            })
        });
        match failed {
            Some(fault) => Err(fault),
            None => read.map_err(|cause| Fault::Remote { action: "read", place: self.place.clone(), cause }),
        }
    }

    /// Hands over the frames of a group that are due, until `on_frame` has enough; it had the frame by then.
    pub(super) fn hand_over(
        &mut self,
        group: &mut Group,
        on_frame: &mut dyn FnMut(FrameRef<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<ControlFlow<()>> {
        let after = self.after();
        while group.at < group.bytes.len() {
            let due = group.due;
            let frame = match frame::next(&group.bytes, group.at) {
                Next::Frame(frame) if frame.meta.lsn == due => frame,
                _ => return Err(self.damaged(group.sequence, format!("lsn {due} is due and is not there"))),
            };
            (group.at, group.due) = (frame.next_offset, due.next());
            if due > after {
                self.found.frames += 1;
                if on_frame(frame).map_err(|fault| self.placed(fault, group.sequence))?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        if self.next != Some(group.due) {
            return Err(self.damaged(group.sequence, format!("lsn {} is due and the group ends", group.due)));
        }
        Ok(ControlFlow::Continue(()))
    }

    fn after(&self) -> Lsn {
        if let Start::After(after) = self.start { after } else { Lsn(0) }
    }

    /// Takes one record: a group that it makes whole.
    fn record(&mut self, stored: &Stored) -> Result<Option<Group>> {
        let at = stored.sequence;
        let record = record::decode(self.owned, &stored.bytes).map_err(|what| self.damaged(at, what))?;
        let last = self.found.last.replace(Tip { sequence: at, crc: record.crc });
        self.found.records += 1;
        if record.header.epoch < self.epoch {
            self.found.dropped += 1;
            return Ok(None);
        }
        if last.is_some_and(|last| last.crc != record.header.previous) {
            return Err(self.damaged(at, "it does not follow from the record before it"));
        }
        let is_fence = record.header.kind == Kind::Fence;
        if last.is_some() && is_fence != (record.header.epoch > self.epoch) {
            return Err(self.damaged(at, "an epoch begins with one fence"));
        }
        self.found.epochs += u64::from(record.header.epoch > self.epoch);
        self.epoch = record.header.epoch;
        self.found.newest_epoch = self.epoch;
        match record.header.kind {
            Kind::Fence => self.found.dropped += u64::from(self.group.take().is_some()),
            Kind::Confirmation if self.group.is_some() => {
                return Err(self.damaged(at, "the rest of a group is missing before it"));
            }
            Kind::Confirmation => {}
            Kind::Group { .. } => return self.part(at, record),
        }
        Ok(None)
    }

    fn part(&mut self, at: u64, record: Record<'_>) -> Result<Option<Group>> {
        let kind = record.header.kind;
        let Kind::Group { first, last, part, parts } = kind else { return Ok(None) };
        let due = match &self.group {
            None => 0,
            Some(Group { kind: Kind::Group { first: begun, part, .. }, .. }) if *begun == first => part + 1,
            Some(_) => return Err(self.damaged(at, "the rest of a group is missing before it")),
        };
        if part != due {
            return Err(self.damaged(at, format!("part {due} of a group is due and part {part} is there")));
        }
        let new = Group { kind, sequence: at, bytes: Vec::new(), at: 0, due: first };
        let mut group = self.group.take().unwrap_or(new);
        group.kind = kind;
        group.bytes.extend_from_slice(record.payload);
        if part + 1 < parts {
            self.group = Some(group);
            return Ok(None);
        }
        self.follows(&group, first)?;
        self.next = Some(last.next());
        let length = u64::try_from(group.bytes.len()).unwrap_or(u64::MAX);
        self.found.groups.push((first, group.sequence, length));
        Ok(Some(group))
    }

    /// Checks that a group begins where the one before it ended, and the first one where it is due.
    fn follows(&self, group: &Group, first: Lsn) -> Result<()> {
        match (self.next, self.start) {
            (Some(next), _) if next != first => {
                let what = format!("lsn {next} is due and lsn {first} is there");
                Err(self.damaged(group.sequence, what))
            }
            (None, Start::After(after)) if first > after.next() => {
                let what =
                    format!("the frames from lsn {} on; the log begins with lsn {first}", after.next());
                Err(Fault::Missing { path: self.place.clone().into(), what })
            }
            _ => Ok(()),
        }
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
