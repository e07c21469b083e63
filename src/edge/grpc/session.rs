//! One stream of debits: reads, judges, acknowledges in order.
//!
//! The session is the stream of answers, and reads the requests while it is polled for them: one task does both, without a
//! channel between them, and who does not read his answers is not read either. What lies ready when it looks is judged together.
//! What it holds is bounded by the credit. Every word that it read is answered before it ends, whatever ends it.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use prost::Message as _;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Sleep, sleep};
use tonic::codegen::Bytes;
use tonic::{Status, Streaming};

use crate::domain::limits::BATCH_DEBITS_MAX;
use crate::meter::{BatchReply, DebitBatch, Durability, Error, Pending, Refusal, ReservationId};
use crate::proto::v1;
use crate::proto::v1::stream_reply::Reply;
use crate::proto::v1::stream_request::Request;

use super::ack::{Acks, Part, durability};
use super::auth::Caller;
use super::columns;
use super::opening::{Opening, Organizations};
use super::plain::Plain;
use super::trouble::Trouble;
use super::unary::reservation_id;

/// Rows from which on a group is judged without looking for more. Each group costs a frame, a reply and the wakes of two threads.
const GROUP_ROWS: usize = 2_048;
/// Requests for handles that are answered at a time; no more is read meanwhile.
const OPENINGS_MAX: usize = 16;
/// How long a stream waits before it tries again to have admitted what was not, and how often before `busy` is the answer.
const RETRY_PAUSE: Duration = Duration::from_millis(1);
const RETRIES_MAX: u32 = 100;
/// Batches that are kept for reuse.
const KEPT_BATCHES: usize = 32;

/// One stream of debits.
pub(super) struct Session {
    caller: Caller,
    requests: Streaming<Bytes>,
    stopped: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// When the caller's token ends, where he bears one.
    expiry: Option<Pin<Box<Sleep>>>,
    limits: StreamLimits,
    organizations: Organizations,
    openings: VecDeque<Opening>,
    group: Group,
    /// Groups that were not admitted yet because the organization has too much in flight; nothing is read meanwhile.
    waiting: VecDeque<Group>,
    /// When what waits is looked at again, while nothing of this stream is in flight that would tell.
    retry: Option<Pin<Box<Sleep>>>,
    retries: u32,
    /// What was admitted and is not acknowledged, in order.
    window: VecDeque<Judging>,
    in_flight: u64,
    last_batch: u64,
    kept: Vec<Group>,
    acks: Acks,
    replies: VecDeque<Reply>,
    phase: Phase,
    _place: OwnedSemaphorePermit,
}

/// The bounds of one stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamLimits {
    /// Debits that may be in flight.
    pub(super) credit: u64,
    /// Most debits of a batch.
    pub(super) batch_debits_max: usize,
}

enum Phase {
    Reading,
    /// No more is read; what was read is answered, then the stream ends so.
    Draining(End),
    Ended,
}

enum End {
    /// The client said all that it had to say.
    Done,
    Trouble(Trouble),
    /// The stream itself failed.
    Broken(Status),
}

/// Client batches of one organization, paid by one reservation or by the pool, that are judged together.
#[derive(Default)]
struct Group {
    organization: u32,
    durability: Durability,
    batch: DebitBatch,
    parts: Vec<Part>,
}

struct Judging {
    group: Group,
    answer: Answer,
}

enum Answer {
    Pending(Pending<BatchReply>),
    Unjudged(Error),
}

impl Session {
    /// A stream of this caller; it holds its place among the open ones.
    pub(super) fn new(
        caller: Caller,
        requests: Streaming<Bytes>,
        limits: StreamLimits,
        stopped: Pin<Box<dyn Future<Output = ()> + Send>>,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let credit = Reply::Credit(v1::Credit { debits: limits.credit });
        let expiry = caller.expiry().map(Box::pin);
        Self {
            caller,
            requests,
            stopped,
            expiry,
            limits,
            organizations: Organizations::default(),
            openings: VecDeque::new(),
            group: Group::default(),
            waiting: VecDeque::new(),
            retry: None,
            retries: 0,
            window: VecDeque::new(),
            in_flight: 0,
            last_batch: 0,
            kept: Vec::new(),
            acks: Acks::default(),
            replies: VecDeque::from([credit]),
            phase: Phase::Reading,
            _place: place,
        }
    }

    /// Reads what lies ready, and has it judged.
    fn read(&mut self, cx: &mut Context<'_>) {
        if matches!(self.phase, Phase::Reading) && self.stopped.as_mut().poll(cx).is_ready() {
            self.end(End::Trouble(Trouble::closing()));
        }
        let expiry = self.expiry.as_mut().filter(|_| matches!(self.phase, Phase::Reading));
        if expiry.is_some_and(|expiry| expiry.as_mut().poll(cx).is_ready()) {
            self.end(End::Trouble(Trouble::expired()));
        }
        while self.may_read() {
            match Pin::new(&mut self.requests).poll_next(cx) {
                Poll::Pending => break,
                Poll::Ready(None) => self.end(End::Done),
                Poll::Ready(Some(Err(status))) => self.end(End::Broken(status)),
                Poll::Ready(Some(Ok(request))) => {
                    if let Err(end) = self.accept(&request) {
                        self.end(end);
                    }
                }
            }
        }
        self.submit_group();
    }

    fn may_read(&self) -> bool {
        matches!(self.phase, Phase::Reading) && self.waiting.is_empty() && self.openings.len() < OPENINGS_MAX
    }

    fn end(&mut self, end: End) {
        self.phase = Phase::Draining(end);
    }

    fn accept(&mut self, request: &[u8]) -> Result<(), End> {
        if Plain::of(request).is_some_and(|plain| self.accept_plain(&plain).is_some()) {
            return Ok(());
        }
        let request = v1::StreamRequest::decode(request);
        let request = request.map_err(|error| End::Broken(Status::internal(error.to_string())))?;
        self.accept_request(request).map_err(End::Trouble)
    }

    /// Accepts a plain batch that is good; of any other nothing was done.
    fn accept_plain(&mut self, plain: &Plain<'_>) -> Option<()> {
        let (rows, durability) = (plain.rows, durability(plain.durability));
        self.check_batch(plain.organization, plain.batch, rows).ok()?;
        plain.push(self.group_of(plain.organization, durability, None, rows))?;
        self.add(plain.batch, rows);
        Some(())
    }

    fn accept_request(&mut self, request: v1::StreamRequest) -> Result<(), Trouble> {
        match request.request {
            Some(Request::DebitBatch(batch)) => self.accept_batch(&batch),
            Some(Request::Open(open)) => {
                self.caller.check()?;
                let opening = self.organizations.open(&self.caller, open)?;
                self.openings.push_back(opening);
                Ok(())
            }
            None => Err(Trouble::malformed("the request holds nothing that this server knows")),
        }
    }

    fn accept_batch(&mut self, message: &v1::DebitBatch) -> Result<(), Trouble> {
        let (rows, durability) = (message.camera.len(), durability(message.durability));
        self.check_batch(message.organization, message.batch, rows)?;
        let (reservation, invalid) = match reservation_id(&message.reservation) {
            Ok(reservation) => (reservation, None),
            Err(invalid) => (None, Some(invalid)),
        };
        let batch = self.group_of(message.organization, durability, reservation, rows);
        match invalid {
            // What cannot be paid as it says is not paid by the pool instead.
            Some(invalid) => (0..rows).for_each(|_| batch.push_invalid(invalid)),
            None => columns::push(message, batch).map_err(|misfit| Trouble::malformed(misfit.to_string()))?,
        }
        self.add(message.batch, rows);
        Ok(())
    }

    /// Checks whether a batch may be judged.
    fn check_batch(&self, organization: u32, batch: u64, rows: usize) -> Result<(), Trouble> {
        let most = self.limits.batch_debits_max;
        if rows == 0 || rows > most {
            return Err(Trouble::malformed(format!("a batch has 1 to {most} rows, not {rows}")));
        }
        if self.in_flight + count(rows) > self.limits.credit {
            return Err(Trouble::over_credit(self.limits.credit));
        }
        if batch <= self.last_batch {
            return Err(Trouble::malformed("the numbers of batches rise on a stream, from 1"));
        }
        if self.organizations.get(organization).is_none() {
            return Err(Trouble::malformed("the batch bears a handle of no organization; open it first"));
        }
        Ok(())
    }

    /// Where the rows of a batch are gathered.
    fn group_of(
        &mut self,
        organization: u32,
        durability: Durability,
        reservation: Option<ReservationId>,
        rows: usize,
    ) -> &mut DebitBatch {
        let joins = self.group.organization == organization
            && self.group.durability == durability
            && self.group.batch.reservation() == reservation.as_ref();
        if !self.group.parts.is_empty() && (!joins || self.group.batch.len() + rows > BATCH_DEBITS_MAX) {
            self.submit_group();
        }
        (self.group.organization, self.group.durability) = (organization, durability);
        self.group.batch.pay_by(reservation);
        &mut self.group.batch
    }

    /// Notes a batch whose rows were gathered.
    fn add(&mut self, number: u64, rows: usize) {
        self.last_batch = number;
        self.group.parts.push(Part { number, rows });
        self.in_flight += count(rows);
        if self.group.batch.len() >= GROUP_ROWS {
            self.submit_group();
        }
    }

    /// Has judged what was gathered.
    fn submit_group(&mut self) {
        if self.group.parts.is_empty() {
            return;
        }
        let next = self.kept.pop().unwrap_or_default();
        let group = std::mem::replace(&mut self.group, next);
        if let Err(trouble) = self.caller.check() {
            // Who may no longer call is told nothing about his last debits, and they are not judged.
            self.end(End::Trouble(trouble));
            return;
        }
        self.waiting.push_back(group);
        self.submit_waiting();
    }

    /// Has judged what waits, as far as it is admitted. Other streams may have as much in flight as the organization admits: then
    /// it waits for answers of its own, else for a while; after that `busy` is the answer.
    fn submit_waiting(&mut self) {
        while let Some(mut group) = self.waiting.pop_front() {
            let organization = self.organizations.get(group.organization).expect("it was checked");
            let answer = match organization.send_batch(&mut group.batch, group.durability) {
                Ok(pending) => Answer::Pending(pending),
                Err(Error::Refused(Refusal::Busy)) if !self.window.is_empty() => {
                    self.waiting.push_front(group);
                    return;
                }
                Err(Error::Refused(Refusal::Busy)) if self.retries < RETRIES_MAX => {
                    self.waiting.push_front(group);
                    self.retries += 1;
                    self.retry = Some(Box::pin(sleep(RETRY_PAUSE)));
                    return;
                }
                Err(error) => Answer::Unjudged(error),
            };
            self.retries = 0;
            self.window.push_back(Judging { group, answer });
        }
    }

    /// Takes the answers that are there, in order. What is left was polled, and will wake the session.
    fn settle(&mut self, cx: &mut Context<'_>) {
        while let Some(Poll::Ready(opened)) =
            self.openings.front_mut().map(|opening| opening.as_mut().poll(cx))
        {
            self.openings.pop_front();
            self.replies.push_back(Reply::Opened(opened));
        }
        self.settle_window(cx);
        while self.retry.as_mut().is_some_and(|retry| retry.as_mut().poll(cx).is_ready()) {
            self.retry = None;
            self.submit_waiting();
            self.settle_window(cx);
        }
        self.replies.extend(self.acks.take().map(Reply::Ack));
    }

    fn settle_window(&mut self, cx: &mut Context<'_>) {
        while let Some(front) = self.window.front_mut() {
            let answer = match &mut front.answer {
                Answer::Pending(pending) => match Pin::new(pending).poll(cx) {
                    Poll::Ready(answer) => answer,
                    Poll::Pending => break,
                },
                Answer::Unjudged(error) => Err(error.clone()),
            };
            let Some(Judging { group, .. }) = self.window.pop_front() else { break };
            self.acknowledge(group, answer);
            self.submit_waiting();
        }
    }

    fn acknowledge(&mut self, mut group: Group, answer: Result<BatchReply, Error>) {
        let rows: usize = group.parts.iter().map(|part| part.rows).sum();
        self.in_flight -= count(rows);
        let full = match answer {
            Ok(reply) => {
                let full = self.acks.judged(group.organization, &group.parts, &reply);
                group.batch = reply.batch;
                full
            }
            Err(error) => self.acks.unjudged(group.organization, &group.parts, &error),
        };
        self.replies.extend(full.map(Reply::Ack));
        group.batch.clear();
        group.parts.clear();
        if self.kept.len() < KEPT_BATCHES {
            self.kept.push(group);
        }
    }

    /// What there is to be woken by.
    fn sources(&self) -> (usize, usize, bool) {
        (self.window.len(), self.openings.len(), self.retry.is_some())
    }

    /// How the stream ends, once all that was read is answered.
    fn finish(&mut self) -> Option<Option<Result<v1::StreamReply, Status>>> {
        let is_answered = self.window.is_empty() && self.waiting.is_empty() && self.openings.is_empty();
        if !is_answered {
            return None;
        }
        match std::mem::replace(&mut self.phase, Phase::Ended) {
            Phase::Reading => {
                self.phase = Phase::Reading;
                None
            }
            Phase::Draining(End::Trouble(trouble)) => {
                let problem = trouble.problem();
                self.phase = Phase::Draining(End::Broken(trouble.into()));
                Some(Some(Ok(reply(Reply::Problem(problem)))))
            }
            Phase::Draining(End::Broken(status)) => Some(Some(Err(status))),
            Phase::Draining(End::Done) | Phase::Ended => Some(None),
        }
    }
}

impl Stream for Session {
    type Item = Result<v1::StreamReply, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let session = &mut *self;
        if let Some(next) = session.replies.pop_front() {
            return Poll::Ready(Some(Ok(reply(next))));
        }
        loop {
            session.settle(cx);
            let before = session.sources();
            session.read(cx);
            if let Some(next) = session.replies.pop_front() {
                return Poll::Ready(Some(Ok(reply(next))));
            }
            if let Some(end) = session.finish() {
                return Poll::Ready(end);
            }
            // What was just begun must be polled once, to be woken by.
            if session.sources() == before {
                return Poll::Pending;
            }
        }
    }
}

fn reply(reply: Reply) -> v1::StreamReply {
    v1::StreamReply { reply: Some(reply) }
}

fn count(rows: usize) -> u64 {
    u64::try_from(rows).unwrap_or(u64::MAX)
}
