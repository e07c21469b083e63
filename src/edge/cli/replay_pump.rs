//! Sends debits in batches, several at a time, and repeats what got no answer.
//!
//! Invariants:
//!
//! - From the oldest debit without an answer to the newest that was sent lie fewer than [`UNANSWERED_MAX`] debits of any
//!   one camera. A camera's window tells 64 apart, so a repeated debit is always known for what it is (R13).
//! - A batch is repeated under the same ids. Every item gets exactly one verdict.
//! - Patience is bounded: when nothing at all was answered for a while, the pump gives up.

use std::collections::{BTreeSet, VecDeque};
use std::iter::Peekable;
use std::time::{Duration, Instant};

use crossbeam::channel::{self, Receiver, Sender};

use crate::domain::time::Timestamp;
use crate::telemetry::clock;

use super::failure::Failure;
use super::replay_pace::Pace;
use super::replay_target::{Item, SendError, Target, Verdict};
use super::trace::TraceError;

/// Batches in flight at a time.
const IN_FLIGHT_MAX: usize = 4;
/// Debits of one camera that may be without an answer: half of what its window tells apart.
const UNANSWERED_MAX: u64 = 32;
const BACKOFF_FIRST: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_millis(500);

/// How to send.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// Cameras that the rows are dealt to in turn.
    pub(super) cameras: u32,
    /// Debits in a batch.
    pub(super) batch: usize,
    /// How fast.
    pub(super) pace: Pace,
    /// How long to go on without any answer.
    pub(super) give_up_after: Duration,
}

/// Sends all of `items` and hands over each verdict.
///
/// # Errors
/// When the items end with a fault, the target refuses for good, or nothing was answered for too long. Every verdict until
/// then was handed over.
pub(super) fn pump(
    items: impl Iterator<Item = Result<Item, TraceError>>,
    target: &dyn Target,
    plan: Plan,
    on_verdict: &mut dyn FnMut(&Item, &Verdict),
) -> Result<(), Failure> {
    let (jobs, for_workers) = channel::bounded::<Batch>(IN_FLIGHT_MAX);
    let (from_workers, answers) = channel::bounded(IN_FLIGHT_MAX);
    std::thread::scope(|scope| {
        for _ in 0..IN_FLIGHT_MAX {
            let (jobs, answers) = (for_workers.clone(), from_workers.clone());
            scope.spawn(move || work(target, &jobs, &answers));
        }
        let pump = Pump {
            items: items.peekable(),
            plan,
            window: UNANSWERED_MAX.saturating_mul(u64::from(plan.cameras)),
            jobs,
            answers,
            unanswered: BTreeSet::new(),
            in_flight: 0,
            again: VecDeque::new(),
            started: clock::start(),
            first: None,
            last_answer: clock::start(),
        };
        pump.run(on_verdict)
    })
}

/// Items that are sent together.
struct Batch {
    items: Vec<Item>,
    attempts: u32,
}

type Answer = (Batch, Result<Vec<Verdict>, SendError>);

fn work(target: &dyn Target, jobs: &Receiver<Batch>, answers: &Sender<Answer>) {
    for batch in jobs {
        let verdicts = target.send(&batch.items);
        if answers.send((batch, verdicts)).is_err() {
            return;
        }
    }
}

struct Pump<I: Iterator> {
    items: Peekable<I>,
    plan: Plan,
    /// Rows that may lie between the oldest without an answer and the newest sent.
    window: u64,
    jobs: Sender<Batch>,
    answers: Receiver<Answer>,
    /// The first row of every batch without an answer, in flight or waiting.
    unanswered: BTreeSet<u64>,
    in_flight: usize,
    /// Batches that wait to be sent again, with the time since the start at which they are.
    again: VecDeque<(Duration, Batch)>,
    started: Instant,
    first: Option<Timestamp>,
    last_answer: Instant,
}

impl<I: Iterator<Item = Result<Item, TraceError>>> Pump<I> {
    fn run(mut self, on_verdict: &mut dyn FnMut(&Item, &Verdict)) -> Result<(), Failure> {
        loop {
            // One look at the clock: what falls due after it is waited for, and not taken for what waits for an answer.
            let elapsed = self.started.elapsed();
            self.send_what_is_due(elapsed);
            if self.unanswered.is_empty() && self.is_at_end()? {
                return Ok(());
            }
            let wait = self.time_to_wait(elapsed);
            match self.answers.recv_timeout(wait) {
                Ok((batch, Ok(verdicts))) => self.settle(&batch, &verdicts, on_verdict)?,
                Ok((batch, Err(SendError::Again(why)))) => {
                    self.in_flight -= 1;
                    self.wait_and_repeat(batch, &why)?;
                }
                Ok((_, Err(SendError::Final(why)))) => return Err(Failure::new(why)),
                Err(_) => {}
            }
        }
    }

    fn is_at_end(&mut self) -> Result<bool, Failure> {
        match self.items.next_if(Result::is_err) {
            Some(Err(error)) => Err(error.into()),
            _ => Ok(self.items.peek().is_none()),
        }
    }

    fn send_what_is_due(&mut self, elapsed: Duration) {
        while self.in_flight < IN_FLIGHT_MAX {
            let Some(batch) = self.next_repeated(elapsed).or_else(|| self.next_new(elapsed)) else { return };
            self.in_flight += 1;
            self.jobs.send(batch).expect("the workers live as long as the pump");
        }
    }

    fn next_repeated(&mut self, elapsed: Duration) -> Option<Batch> {
        let due = self.again.iter().position(|(due, _)| *due <= elapsed)?;
        self.again.remove(due).map(|(_, batch)| batch)
    }

    fn next_new(&mut self, elapsed: Duration) -> Option<Batch> {
        let mut items: Vec<Item> = Vec::new();
        // With few cameras the window is small: it is shared by all batches in flight.
        let share = usize::try_from(self.window).unwrap_or(usize::MAX) / IN_FLIGHT_MAX;
        while items.len() < self.plan.batch.min(share.max(1)) {
            let Some(Ok(next)) = self.items.peek() else { break };
            let first = *self.first.get_or_insert(next.time);
            let oldest = self.unanswered.first().copied().or(items.first().map(|item| item.row));
            let fits = oldest.is_none_or(|oldest| next.row - oldest < self.window);
            if !fits || self.plan.pace.due(first, next.time) > elapsed {
                break;
            }
            items.extend(self.items.next().and_then(Result::ok));
        }
        let first = items.first()?.row;
        if self.unanswered.is_empty() {
            self.last_answer = clock::start();
        }
        self.unanswered.insert(first);
        Some(Batch { items, attempts: 0 })
    }

    /// Until the next row or the next repetition is due after `elapsed`; an answer ends the wait at once.
    fn time_to_wait(&mut self, elapsed: Duration) -> Duration {
        const LONG: Duration = Duration::from_secs(60);
        if self.in_flight == IN_FLIGHT_MAX {
            return LONG;
        }
        let mut due = self.again.iter().map(|(due, _)| *due).min().unwrap_or(LONG + elapsed);
        if let (Some(first), Some(Ok(next))) = (self.first, self.items.peek()) {
            let next = self.plan.pace.due(first, next.time);
            // A row that is overdue waits for the window, and so for an answer.
            due = if next > elapsed { due.min(next) } else { due };
        }
        due.saturating_sub(elapsed).min(LONG)
    }

    fn settle(
        &mut self,
        batch: &Batch,
        verdicts: &[Verdict],
        on_verdict: &mut dyn FnMut(&Item, &Verdict),
    ) -> Result<(), Failure> {
        let mut left = Vec::new();
        let mut why = "";
        for (item, verdict) in batch.items.iter().zip(verdicts) {
            match verdict {
                Verdict::Refused { is_retryable: true, code } => {
                    left.push(*item);
                    why = code;
                }
                _ => on_verdict(item, verdict),
            }
        }
        if left.len() < batch.items.len() {
            self.last_answer = clock::start();
        }
        self.in_flight -= 1;
        self.unanswered.remove(&batch.items[0].row);
        let Some(first) = left.first() else { return Ok(()) };
        self.unanswered.insert(first.row);
        self.wait_and_repeat(Batch { items: left, attempts: batch.attempts }, why)
    }

    /// Puts a batch aside until it is sent again. Giving up instead leaves it in the window, where a later run finds it.
    fn wait_and_repeat(&mut self, batch: Batch, why: &str) -> Result<(), Failure> {
        if self.last_answer.elapsed() >= self.plan.give_up_after {
            let seconds = self.plan.give_up_after.as_secs();
            return Err(Failure::new(format!(
                "nothing was judged for {seconds} s (last: {why}); what was judged before is kept; run the same command \
                 again to go on: nothing is charged twice"
            )));
        }
        let backoff = BACKOFF_FIRST.saturating_mul(1 << batch.attempts.min(8)).min(BACKOFF_MAX);
        let batch = Batch { items: batch.items, attempts: batch.attempts + 1 };
        self.again.push_back((self.started.elapsed() + backoff, batch));
        Ok(())
    }
}

#[cfg(test)]
#[path = "replay_pump_tests.rs"]
mod tests;
