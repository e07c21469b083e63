//! Follows the log of a partition for its owner, who wrote the newest groups himself and still has them: only what is older is read from
//! whoever keeps the log.

use std::ops::ControlFlow;
use std::sync::{Arc, PoisonError};

use crate::domain::ids::Lsn;
use crate::storage::follow::{Follow, OnNext};
use crate::storage::frame::{self, Next};
use crate::storage::reader::Start;
use crate::storage::{Fault, Result};

use super::log::Places;
use super::record::Owned;
use super::remote::Remote;
use super::replay::Replay;
use super::seek;

/// A place in the log of a partition.
#[derive(Debug)]
pub(super) struct ReplicatedTail {
    remote: Arc<dyn Remote>,
    owned: Owned,
    places: Places,
    next: Lsn,
}

impl ReplicatedTail {
    /// Follows from the frame after `lsn` on.
    pub(super) fn after(remote: Arc<dyn Remote>, owned: Owned, places: Places, lsn: Lsn) -> Self {
        places.lock().unwrap_or_else(PoisonError::into_inner).keep_recent();
        Self { remote, owned, places, next: lsn.next() }
    }

    /// Hands over what is due of a group.
    fn hand_over(
        &mut self,
        group: &[u8],
        durable: Lsn,
        on_frame: &mut OnNext<'_>,
    ) -> Result<ControlFlow<()>> {
        let mut at = 0;
        while let Next::Frame(frame) = frame::next(group, at) {
            at = frame.next_offset;
            if frame.meta.lsn != self.next {
                continue;
            }
            self.next = self.next.next();
            if on_frame(frame)?.is_break() || self.next > durable {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Reads what is due from whoever keeps the log.
    fn read_kept(&mut self, durable: Lsn, on_frame: &mut OnNext<'_>) -> Result<ControlFlow<()>> {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let (from, until) = (places.before(self.next), places.tip().map_or(0, |tip| tip.sequence));
        drop(places);
        let from = match from {
            0 => seek::beginning(&*self.remote, self.owned, self.next, until),
            remembered => remembered,
        };
        seek::read_from(from, |from| self.read_from((from, until), durable, on_frame))
    }

    fn read_from(
        &mut self,
        (from, until): (u64, u64),
        durable: Lsn,
        on_frame: &mut OnNext<'_>,
    ) -> Result<ControlFlow<()>> {
        let start = Start::After(Lsn(self.next.0 - 1));
        let mut replay = Replay::new(self.owned, self.remote.place(), start);
        let (next, mut flow) = (&mut self.next, ControlFlow::Continue(()));
        replay.read(&*self.remote, (from, until), &mut |replay, mut group| {
            flow = replay.hand_over(&mut group, &mut |frame| {
                *next = frame.meta.lsn.next();
                let has_enough = on_frame(frame)?.is_break() || *next > durable;
                Ok(if has_enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            })?;
            Ok(flow)
        })?;
        Ok(flow)
    }
}

impl Follow for ReplicatedTail {
    fn next_lsn(&self) -> Lsn {
        self.next
    }

    fn read(&mut self, durable: Lsn, on_frame: &mut OnNext<'_>) -> Result<()> {
        while self.next <= durable {
            let due = self.next;
            let recent = self.places.lock().unwrap_or_else(PoisonError::into_inner).recent(due);
            let flow = match recent {
                Some(group) => self.hand_over(&group, durable, on_frame)?,
                None => self.read_kept(durable, on_frame)?,
            };
            if flow.is_break() {
                return Ok(());
            }
            if self.next == due {
                let cause = format!("it does not show lsn {due}, and everything up to {durable} is durable");
                return Err(Fault::Remote { action: "read all of", place: self.remote.place(), cause });
            }
        }
        Ok(())
    }
}
