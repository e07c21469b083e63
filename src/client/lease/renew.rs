//! The task that takes leases and gives them back.
//!
//! A lease is asked for under one id until it is answered, so that an answer that is lost costs no second one. It counts from before
//! it was first asked for, and is spent for seven eighths of the time that the server gave it; the last eighth is for its reports.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::client::Client;
use crate::client::credential::is_of_credential;
use crate::client::error::Error;
use crate::client::pump::jittered;
use crate::domain::ids::ReservationId;
use crate::proto::v1;
use crate::telemetry::clock::ns;

use super::purse::Term;
use super::shared::Shared;

/// What part of a lease's time is for its reports alone.
const REPORTING_PART: u64 = 8;

/// A lease that is asked for.
#[derive(Clone, Debug)]
struct Order {
    id: ReservationId,
    tokens: u64,
    first_sent_ns: u64,
}

/// Takes leases and gives them back.
pub(super) struct Renewal {
    client: Client,
    name: String,
    number: u64,
    /// Tokens to ask for next.
    asks: u64,
    /// What was asked for and not answered.
    open: Option<Order>,
    pause: Duration,
}

impl Renewal {
    pub(super) fn new(client: Client, asks: u64) -> Result<Self, Error> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| Error::Random(error.to_string()))?;
        let name = format!("lease-{:016x}", u64::from_be_bytes(random));
        let pause = client.config.backoff_min;
        Ok(Self { client, name, number: 0, asks, open: None, pause })
    }

    /// Works until the purse is closed, all is reported, and nothing is held any more.
    pub(super) async fn run(mut self, shared: &Shared) {
        loop {
            shared.drain_ended();
            let done = shared.book().done();
            if let Some((place, id)) = done {
                self.give_back(shared, &id).await;
                shared.book().strike(place);
            } else if shared.purse.is_closed() {
                if shared.purse.unanswered() == 0 && shared.book().is_empty() {
                    return shared.is_over();
                }
                shared.wake.notified().await;
            } else if shared.wants_lease() {
                self.take(shared).await;
            } else {
                shared.wait_for_wish().await;
            }
        }
    }

    async fn take(&mut self, shared: &Shared) {
        let order = self.order(shared);
        let answer = self.ask(shared, &order).await;
        let is_unreachable = answer.as_ref().is_err_and(is_unreachable);
        shared.is_unreachable.store(is_unreachable, Ordering::Release);
        match answer {
            Ok(reservation) => {
                self.pause = self.client.config.backoff_min;
                self.asks = shared.config.tokens;
                install(shared, order, &reservation);
            }
            Err(error) => {
                if is_unreachable {
                    self.open = Some(order);
                }
                self.put_off(shared, error).await;
            }
        }
    }

    /// What was asked for and not answered while it is fresh, else a new order.
    fn order(&mut self, shared: &Shared) -> Order {
        let now_ns = shared.config.clock.now_ns();
        let is_fresh = |order: &Order| now_ns.saturating_sub(order.first_sent_ns) < ns(shared.config.ttl) / 2;
        self.open.take().filter(is_fresh).unwrap_or_else(|| {
            self.number += 1;
            let id = format!("{}-{}", self.name, self.number);
            let id = ReservationId::new(&id).expect("short, and made of letters, digits and dashes");
            Order { id, tokens: self.asks, first_sent_ns: now_ns }
        })
    }

    async fn ask(&self, shared: &Shared, order: &Order) -> Result<v1::Reservation, Error> {
        let request = v1::ReserveRequest {
            organization: shared.organization.clone(),
            id: order.id.to_string(),
            tokens: order.tokens,
            ttl_ms: ns(shared.config.ttl) / 1_000_000,
        };
        within(shared, self.client.reserve(request)).await
    }

    /// Waits before the next attempt. A pool that has less than a lease is asked for what it has.
    async fn put_off(&mut self, shared: &Shared, error: Error) {
        tracing::debug!(%error, "no lease; what is left of the last one is spent meanwhile");
        let is_short = matches!(&error, Error::Refused { code, .. } if code == "insufficient_tokens");
        shared.book().trouble = Some(error);
        if is_short {
            let summary = within(shared, self.client.summary(&shared.organization)).await;
            let available = summary.map_or(0, |summary| summary.available);
            if available > 0 {
                self.asks = shared.config.tokens.min(available);
                return;
            }
        }
        tokio::select! {
            () = sleep(jittered(self.pause)) => {}
            () = shared.closed() => {}
        }
        self.pause = (self.pause * 2).min(self.client.config.backoff_max);
    }

    /// A lease that cannot be given back now expires by itself.
    async fn give_back(&self, shared: &Shared, id: &ReservationId) {
        if let Err(error) = within(shared, self.client.release(&shared.organization, id)).await {
            tracing::debug!(%error, lease = %id, "a lease was not given back; what is left of it comes back when it expires");
        }
    }
}

fn install(shared: &Shared, order: Order, reservation: &v1::Reservation) {
    if reservation.status() != v1::ReservationStatus::Open {
        return;
    }
    let time_ns = reservation.expires_at_ms.saturating_sub(reservation.made_at_ms).saturating_mul(1_000_000);
    let spent_ns = (time_ns - time_ns / REPORTING_PART).saturating_add(ns(shared.config.grace));
    let term = Term {
        ends_ns: order.first_sent_ns.saturating_add(spent_ns),
        renew_ns: order.first_sent_ns.saturating_add(time_ns / 2),
        low: shared.config.renew_below.min(reservation.held / 2),
    };
    shared.install(order.id, reservation.held, term);
}

async fn within<T>(shared: &Shared, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let late = |_| Error::Unavailable {
        code: "deadline_exceeded".to_owned(),
        detail: "the server did not answer in time".to_owned(),
    };
    timeout(shared.config.answer_timeout, call).await.map_err(late)?
}

/// Whether a call failed because the meter does not answer, or does not serve. A refusal is an answer, that of a token too.
fn is_unreachable(error: &Error) -> bool {
    let refusals = ["in_transfer", "busy", "limit_reached", "too_many_guesses"];
    matches!(error, Error::Unavailable { code, .. } if !refusals.contains(&code.as_str()) && !is_of_credential(code))
}
