//! The task that reports what was spent.
//!
//! It sends one batch and waits for its answers before it sends the next, so debits are judged in the order in which they were taken,
//! also when some are sent again. A round has one payer, and of a camera only sequence numbers that the server tells apart:
//! whatever is sent again is told exactly, as charged or not.

use std::collections::VecDeque;
use std::time::Duration;

use hashbrown::HashMap;
use tokio::time::sleep;

use crate::client::answer::{Answer, Sent};
use crate::client::error::Error;
use crate::client::pump::jittered;
use crate::client::stream::DebitStream;
use crate::client::{Client, code};
use crate::domain::debit::CameraRef;
use crate::domain::ids::Slot;
use crate::domain::limits::{BATCH_DEBITS_MAX, SEQ_WINDOW};
use crate::proto::v1::Outcome;

use super::purse::Place;
use super::row::{Payer, Row};
use super::shared::Shared;

/// Reports what was spent.
pub(super) struct Reporter {
    stream: DebitStream,
    round_debits: usize,
    backoff: (Duration, Duration),
    /// What is to be sent before what is recorded.
    first: VecDeque<Row>,
    spans: Spans,
}

/// Of each camera of a round: its epoch, its lowest and its highest number.
#[derive(Debug, Default)]
pub(super) struct Spans(HashMap<u32, (u32, u64, u64), foldhash::fast::RandomState>);

impl Reporter {
    pub(super) fn new(client: &Client, stream: DebitStream) -> Self {
        let config = &client.config;
        let round_debits = config.batch_debits.clamp(1, BATCH_DEBITS_MAX);
        let backoff = (config.backoff_min, config.backoff_max);
        Self { stream, round_debits, backoff, first: VecDeque::new(), spans: Spans::default() }
    }

    /// Works until the purse is closed and all that was taken is answered.
    pub(super) async fn run(mut self, shared: &Shared) {
        let mut pause = self.backoff.0;
        while !(shared.purse.is_closed() && shared.purse.unanswered() == 0) {
            let round = self.gather(shared);
            if round.is_empty() {
                self.rest(shared).await;
                continue;
            }
            let is_put_off = self.report(shared, round).await;
            pause = if is_put_off { (pause * 2).min(self.backoff.1) } else { self.backoff.0 };
            if is_put_off {
                sleep(jittered(pause)).await;
            }
        }
        drop(self.stream.close().await);
    }

    /// Debits are gathered for a while; those that were taken when it was closed are not far.
    async fn rest(&self, shared: &Shared) {
        if shared.purse.is_closed() {
            return tokio::task::yield_now().await;
        }
        tokio::select! {
            () = sleep(shared.config.report_every) => {}
            () = shared.closed() => {}
        }
    }

    fn gather(&mut self, shared: &Shared) -> Vec<Row> {
        self.spans.0.clear();
        let mut round: Vec<Row> = Vec::new();
        while round.len() < self.round_debits
            && let Some(row) = self.first.pop_front().or_else(|| shared.purse.next())
        {
            let payer = reservation_of(round.first().unwrap_or(&row));
            if payer != reservation_of(&row) || !self.spans.take(&row) {
                self.first.push_front(row);
                break;
            }
            round.push(row);
        }
        round
    }

    /// Sends a round and takes its answers; whether some debits are to be sent again after a pause.
    async fn report(&mut self, shared: &Shared, round: Vec<Row>) -> bool {
        let payer = match round.first().and_then(reservation_of) {
            Some(place) => shared.book().id(place).cloned(),
            None => None,
        };
        let send = |row: &Row| {
            let debit = row.debit(CameraRef::Slot(Slot(row.camera)));
            match &payer {
                Some(id) => self.stream.try_settle(&debit, id),
                None => self.stream.try_send(&debit),
            }
        };
        let sent: Vec<Result<Sent, Error>> = round.iter().map(send).collect();
        if let Err(error) = self.stream.flush().await {
            shared.fail(error);
        }
        let (debits, mut again, mut is_put_off) = (round.len(), VecDeque::new(), false);
        for (mut row, sent) in round.into_iter().zip(sent) {
            let answer = match sent {
                Ok(sent) => sent.await,
                Err(error) => Err(error),
            };
            match verdict(&row, &answer) {
                Verdict::Charged => shared.charged(&row),
                Verdict::Uncharged(why) => {
                    shared.uncharged(&row, &self.stream.camera_id(row.camera), &why);
                }
                Verdict::Again => {
                    is_put_off = true;
                    again.push_back(row);
                }
                Verdict::ByPool => {
                    shared.leave_to_pool(&mut row);
                    again.push_back(row);
                }
            }
        }
        shared.round_ended(debits - again.len());
        again.append(&mut self.first);
        self.first = again;
        is_put_off
    }
}

impl Spans {
    /// Takes a debit into the round; whether the server will tell it apart from the others when all are sent again.
    pub(super) fn take(&mut self, row: &Row) -> bool {
        let Some((epoch, seq)) = row.seq() else { return true };
        let span = self.0.entry(row.camera).or_insert((epoch, seq, seq));
        *span = (span.0, span.1.min(seq), span.2.max(seq));
        span.0 == epoch && span.2 - span.1 <= SEQ_WINDOW
    }
}

/// What follows from an answer.
enum Verdict {
    Charged,
    Uncharged(String),
    Again,
    ByPool,
}

fn verdict(row: &Row, answer: &Result<Answer, Error>) -> Verdict {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return Verdict::Uncharged(error.code().to_owned()),
    };
    if answer.is_admitted() {
        return Verdict::Charged;
    }
    let is_over = matches!(
        answer.outcome,
        Outcome::UnknownReservation | Outcome::ReservationEnded | Outcome::ReservationExceeded
    );
    match row.payer {
        Payer::Lease(_) if is_over => Verdict::ByPool,
        _ if answer.is_retryable() => Verdict::Again,
        _ => Verdict::Uncharged(code(answer.outcome).to_owned()),
    }
}

fn reservation_of(row: &Row) -> Option<Place> {
    match row.payer {
        Payer::Lease(place) => Some(place),
        Payer::Pool | Payer::Open => None,
    }
}
