//! The org process: owns a pool, judges what is asked of it, one thing after the other.

use crate::domain::batch::{DebitBatch, DebitRow, InCommon};
use crate::domain::command::Command;
use crate::domain::debit::{Charge, Charges, Outcome};
use crate::domain::decide::{self, Verdict};
use crate::domain::event::{Change, Event};
use crate::domain::ids::TransferId;
use crate::domain::pool::Pool;
use crate::domain::refusal::Refusal;
use crate::domain::time::Timestamp;
use crate::domain::transfer::TransferSide;

use super::message::{ToCoordinator, ToOrg};

/// Of how many rows the cameras are read ahead.
const READ_AHEAD: usize = 32;

/// Owns a pool. Every method changes the pool at once; its answer may leave when what it journals is durable.
///
/// [`Self::expire`] comes before whatever else is asked at a later time, reads included.
#[derive(Debug)]
pub struct OrgProcess {
    pool: Pool,
    /// The transfer that waits until no reservation is open, and closes the pool to new ones. A restart forgets it: until the
    /// transfer asks again, new reservations only make it wait longer.
    waiting: Option<TransferId>,
    charges: Vec<Charge>,
}

impl OrgProcess {
    /// The process of this pool.
    #[must_use]
    pub fn new(pool: Pool) -> Self {
        Self { pool, waiting: None, charges: Vec::new() }
    }

    /// The pool.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The pool, for handing it to a snapshot and for noting the journal frame of its newest event.
    pub fn pool_mut(&mut self) -> &mut Pool {
        &mut self.pool
    }

    /// The time that a request at `clock` is judged at: the pool's time never falls.
    #[must_use]
    pub fn now(&self, clock: Timestamp) -> Timestamp {
        clock.max(self.pool.last_at)
    }

    /// Ends the reservations whose time is over; the event is to be journaled, none when there are none.
    pub fn expire(&mut self, clock: Timestamp) -> Option<Event> {
        let at = self.now(clock);
        let is_due = self.pool.reservations.is_due(at);
        is_due.then(|| self.carry_out(Change::ReservationsExpired, at))
    }

    /// Judges and carries out a batch; its outcomes stand in it. The charges are to be journaled when there are any.
    pub fn debits<'a>(&'a mut self, batch: &'a mut DebitBatch, clock: Timestamp) -> Charges<'a> {
        let at = self.now_expired(clock);
        self.charges.clear();
        let used = self.pool.totals.used;
        let (rows, outcomes) = batch.parts();
        outcomes.reserve(rows.plain.len() + rows.others.len());
        // Compiled for each of the two: of what a plain row does not have nothing is left.
        self.judge(rows.plain, |row| row.whole(rows.epoch), (rows.common, at), outcomes);
        self.judge(rows.others, |row| *row, (rows.common, at), outcomes);
        if !self.charges.is_empty() {
            self.pool.close_batch(at, self.pool.totals.used.minus(used).0);
        }
        Charges { at, charges: &self.charges, text: batch.text(), reservation: batch.reservation() }
    }

    #[inline]
    fn judge<R>(
        &mut self,
        rows: &[R],
        row: impl Fn(&R) -> DebitRow,
        (common, at): (InCommon<'_>, Timestamp),
        outcomes: &mut Vec<Outcome>,
    ) {
        for rows in rows.chunks(READ_AHEAD) {
            decide::read_ahead(&self.pool, rows.iter().map(&row));
            outcomes.extend(rows.iter().map(|one| match decide::debit(&self.pool, &row(one), common, at) {
                Ok(Verdict::Charge(charge)) => {
                    self.pool.apply_charge(&charge, common.reservation, at);
                    self.charges.push(charge);
                    if charge.exempt { Outcome::Exempt } else { Outcome::Charged }
                }
                Ok(Verdict::Duplicate(first)) => Outcome::Duplicate(first),
                Err(refusal) => Outcome::Refused(refusal),
            }));
        }
    }

    /// Judges and carries out a command; the event is to be journaled, none when nothing changes.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn command(&mut self, command: Command, clock: Timestamp) -> Result<Option<Event>, Refusal> {
        let at = self.now_expired(clock);
        if let (Some(_), Command::Reserve { reservation, .. }) = (&self.waiting, &command)
            && self.pool.reservations.get(reservation).is_none()
        {
            return Err(Refusal::InTransfer);
        }
        Ok(decide::command(&self.pool, command, at)?.map(|change| self.carry_out(change, at)))
    }

    /// Answers a message of the coordinator; the event, if any, is to be journaled before the answer leaves. The order to
    /// prepare the source is not answered while reservations are open: it comes again.
    pub fn message(&mut self, message: ToOrg, clock: Timestamp) -> Option<(Option<Event>, ToCoordinator)> {
        let at = self.now_expired(clock);
        match &message {
            ToOrg::PrepareOut { transfer, .. } if self.waits_for_reservations(transfer) => return None,
            ToOrg::PrepareOut { transfer, .. } | ToOrg::Abort { transfer } => {
                self.waiting.take_if(|waiting| waiting == transfer);
            }
            _ => {}
        }
        Some(self.answer(message, at))
    }

    /// Whether this transfer has to wait until no reservation is open; the pool is closed to new ones then.
    fn waits_for_reservations(&mut self, transfer: &TransferId) -> bool {
        let is_new = self.pool.outgoing.is_none() && !self.pool.transfers.contains_key(transfer);
        let waits = is_new && self.pool.reservations.open() > 0;
        if waits {
            self.waiting.get_or_insert_with(|| transfer.clone());
        }
        waits
    }

    fn answer(&mut self, message: ToOrg, at: Timestamp) -> (Option<Event>, ToCoordinator) {
        match message {
            ToOrg::ApplyKey { key, by } => {
                let id = key.id.clone();
                let (event, answer) = split(self.command(Command::AddLicenses { key, by }, at));
                (event, ToCoordinator::KeyAnswered { key: id, answer })
            }
            ToOrg::PrepareOut { transfer, target, by } => {
                let change = decide::prepare_out(&self.pool, &transfer, &target, &by);
                let (event, vote) =
                    split(change.map(|change| change.map(|change| self.carry_out(change, at))));
                let cargo = || match self.pool.transfers.get(&transfer) {
                    Some(TransferSide::OutPrepared { cargo, .. }) => Ok(cargo.clone()),
                    _ => Err(Refusal::Conflict),
                };
                let vote = vote.and_then(|()| cargo());
                (event, ToCoordinator::OutPrepared { transfer, vote })
            }
            ToOrg::PrepareIn { transfer, cargo } => {
                let change = decide::prepare_in(&self.pool, &transfer, cargo);
                let (event, vote) =
                    split(change.map(|change| change.map(|change| self.carry_out(change, at))));
                (event, ToCoordinator::InPrepared { transfer, vote })
            }
            ToOrg::Commit { transfer } => {
                let side = self.pool.transfers.get(&transfer);
                let prepared = side.is_some_and(|side| *side != TransferSide::Aborted);
                assert!(
                    prepared,
                    "I6: transfer {transfer} was committed, but not prepared by {}",
                    self.pool.id
                );
                let event = decide::commit(&self.pool, &transfer).map(|change| self.carry_out(change, at));
                (event, ToCoordinator::SideEnded { transfer, organization: self.pool.id.clone() })
            }
            ToOrg::Abort { transfer } => {
                let event = decide::abort(&self.pool, &transfer).map(|change| self.carry_out(change, at));
                (event, ToCoordinator::SideEnded { transfer, organization: self.pool.id.clone() })
            }
        }
    }

    /// The time that a request at `clock` is judged at; no reservation is open beyond its time then.
    fn now_expired(&self, clock: Timestamp) -> Timestamp {
        let at = self.now(clock);
        assert!(!self.pool.reservations.is_due(at), "I7: a reservation is open beyond its time");
        at
    }

    fn carry_out(&mut self, change: Change, at: Timestamp) -> Event {
        let event = Event { at, change };
        self.pool.apply(&event);
        event
    }
}

fn split(judged: Result<Option<Event>, Refusal>) -> (Option<Event>, Result<(), Refusal>) {
    match judged {
        Ok(event) => (event, Ok(())),
        Err(refusal) => (None, Err(refusal)),
    }
}
