//! What became of a debit that was sent, and the future of it.
//!
//! The debits of a batch share one cell: the acknowledgement of the batch is kept once, and each future looks up its row.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::proto::v1::{Durability, Outcome, RowDetail};

use super::error::Error;

/// What became of a debit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What became of it.
    pub outcome: Outcome,
    /// What is wrong with it, where it is invalid.
    pub detail: Option<String>,
    /// What the pool could pay after its batch; none where it was not judged.
    pub available: Option<u64>,
    /// The journal frame that it is in; none where it was not judged.
    pub lsn: Option<u64>,
    /// Whether it was on the disk when it was acknowledged.
    pub durability: Durability,
    /// It was sent more than once, because a connection broke. Then `duplicate` is the ordinary answer to what was charged,
    /// and so is `too_old` when many later debits of its camera were charged meanwhile.
    pub resent: bool,
}

impl Answer {
    /// The stable code of the outcome.
    #[must_use]
    pub fn code(&self) -> &'static str {
        code(self.outcome)
    }

    /// Whether the debit stands, now or since before: charged, exempt, or a duplicate.
    #[must_use]
    pub fn is_admitted(&self) -> bool {
        matches!(
            self.outcome,
            Outcome::Charged | Outcome::Exempt | Outcome::DuplicateCharged | Outcome::DuplicateExempt
        )
    }

    /// Whether the same, under the same id, may succeed later without any change.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(
            self.outcome,
            Outcome::Busy
                | Outcome::InTransfer
                | Outcome::Poisoned
                | Outcome::Rebuilding
                | Outcome::Closing
                | Outcome::Elsewhere
        )
    }
}

/// The stable code of an outcome, as in the HTTP API.
#[must_use]
pub fn code(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Unspecified => "unspecified",
        Outcome::Charged => "charged",
        Outcome::Exempt => "exempt",
        Outcome::DuplicateCharged | Outcome::DuplicateExempt => "duplicate",
        Outcome::Invalid => "invalid",
        Outcome::UnknownOrganization => "unknown_organization",
        Outcome::UnknownCamera => "unknown_camera",
        Outcome::CloudAiDisabled => "cloud_ai_disabled",
        Outcome::TooOld => "too_old",
        Outcome::Conflict => "conflict",
        Outcome::InTransfer => "in_transfer",
        Outcome::InsufficientTokens => "insufficient_tokens",
        Outcome::Busy => "busy",
        Outcome::Forbidden => "forbidden",
        Outcome::UnknownReservation => "unknown_reservation",
        Outcome::ReservationEnded => "reservation_ended",
        Outcome::ReservationExceeded => "reservation_exceeded",
        Outcome::Unpriced => "unpriced",
        Outcome::Refused => "refused",
        Outcome::Poisoned => "poisoned",
        Outcome::Rebuilding => "rebuilding",
        Outcome::Closing => "closing",
        Outcome::Elsewhere => "elsewhere",
    }
}

/// A debit on its way: await it for what became of it. Dropping it takes nothing back.
#[derive(Debug)]
#[must_use = "the future tells what became of the debit"]
pub struct Sent {
    cell: Arc<Cell>,
    row: u32,
    waker: Option<usize>,
}

impl Sent {
    pub(super) fn new(cell: &Arc<Cell>, row: u32) -> Self {
        Self { cell: Arc::clone(cell), row, waker: None }
    }
}

impl Future for Sent {
    type Output = Result<Answer, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let sent = &mut *self;
        let mut cell = sent.cell.lock();
        if let Some(answers) = &cell.answers {
            return Poll::Ready(answers.as_ref().map(|answers| answers.of(sent.row)).map_err(Error::clone));
        }
        match sent.waker.and_then(|place| cell.wakers.get_mut(place)) {
            Some(waker) => waker.clone_from(cx.waker()),
            None => {
                sent.waker = Some(cell.wakers.len());
                cell.wakers.push(cx.waker().clone());
            }
        }
        Poll::Pending
    }
}

/// What became of the rows of one batch; empty until it is acknowledged.
#[derive(Debug, Default)]
pub(super) struct Cell(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    answers: Option<Result<Answers, Error>>,
    wakers: Vec<Waker>,
}

/// What became of the rows of one batch.
#[derive(Debug)]
pub(super) struct Answers {
    /// Of every row that is not listed.
    pub(super) others: Outcome,
    /// Rows with another outcome, rising.
    pub(super) rows: Vec<u32>,
    /// Their outcomes.
    pub(super) outcomes: Vec<i32>,
    pub(super) details: Vec<RowDetail>,
    pub(super) available: Option<u64>,
    pub(super) lsn: Option<u64>,
    pub(super) durability: Durability,
    pub(super) resent: bool,
}

impl Cell {
    /// Tells all who wait.
    pub(super) fn fill(&self, answers: Result<Answers, Error>) {
        let wakers = {
            let mut cell = self.lock();
            cell.answers = Some(answers);
            std::mem::take(&mut cell.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Answers {
    fn of(&self, row: u32) -> Answer {
        let listed = self.rows.binary_search(&row).ok().and_then(|place| self.outcomes.get(place));
        let detail = self.details.iter().find(|detail| detail.row == row);
        Answer {
            outcome: listed
                .map_or(self.others, |number| Outcome::try_from(*number).unwrap_or(Outcome::Refused)),
            detail: detail.map(|detail| detail.detail.clone()),
            available: self.available,
            lsn: self.lsn,
            durability: self.durability,
            resent: self.resent,
        }
    }
}
