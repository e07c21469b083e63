//! A gateway with a lease: a reservation that it spends by itself, and reports in identified batches.
//!
//! It spends no more than it was granted, nothing after the lease's end, and keeps what it spent until that is answered. When it crashes it
//! forgets its lease and what it did not report: that was never charged, and must return to the pool when the lease expires.

use tokenweir::domain::debit::Outcome;
use tokenweir::domain::refusal::Refusal;
use tokenweir::domain::time::Timestamp;

use crate::net::{Item, Order, Reply, Request};

/// Most debits of a report.
const REPORT_MAX: usize = 8;

/// A gateway, which has a lease or none.
#[derive(Default)]
pub(crate) struct Gateway {
    lease: Option<Lease>,
}

struct Lease {
    order: Order,
    /// Until when it may be spent; none before it was granted.
    until: Option<Timestamp>,
    spent: u64,
    unreported: Vec<Item>,
}

impl Gateway {
    /// Asks for a lease, or again for the one that was not granted yet.
    pub(crate) fn take(&mut self, order: Order) -> Option<Request> {
        let new = Lease { order, until: None, spent: 0, unreported: Vec::new() };
        let lease = self.lease.get_or_insert(new);
        lease.until.is_none().then_some(Request::Reserve(lease.order))
    }

    /// The order whose tokens it may spend so many of now.
    pub(crate) fn may_spend(&self, tokens: u64, now: Timestamp) -> Option<Order> {
        let lease = self.lease.as_ref()?;
        let room = lease.unreported.len() < REPORT_MAX && lease.spent + tokens <= lease.order.tokens;
        (room && lease.until.is_some_and(|until| now < until)).then_some(lease.order)
    }

    /// Spends what it [may](Self::may_spend).
    pub(crate) fn spend(&mut self, item: Item) {
        let lease = self.lease.as_mut().expect("it may spend");
        lease.spent += item.tokens;
        lease.unreported.push(item);
    }

    /// Reports what it spent, again and again until that is answered.
    pub(crate) fn report(&self) -> Option<Request> {
        let lease = self.lease.as_ref().filter(|lease| !lease.unreported.is_empty())?;
        Some(Request::Debits { org: lease.order.org, items: lease.unreported.clone(), applied: false })
    }

    /// Gives a lease back of which everything was reported; the next one is a new one.
    pub(crate) fn give_back(&mut self) -> Option<Request> {
        let lease = self.lease.take_if(|lease| lease.until.is_some() && lease.unreported.is_empty())?;
        Some(Request::Release { org: lease.order.org, reservation: lease.order.reservation })
    }

    /// It forgets everything; whether it had spent what it did not report.
    pub(crate) fn crash(&mut self) -> bool {
        self.lease.take().is_some_and(|lease| !lease.unreported.is_empty())
    }

    /// A reply comes, to it or to somebody else.
    pub(crate) fn hear(&mut self, reply: &Reply) {
        let Some(lease) = &mut self.lease else { return };
        let keeps = match reply {
            Reply::Reservation { reservation, answer, .. } if *reservation == lease.order.reservation => {
                lease.until = answer.as_ref().ok().map(|told| told.until);
                answer.as_ref().is_ok_and(|told| told.ended.is_none())
            }
            Reply::Debits { items, outcomes, durable: true, .. } => {
                let ended = Outcome::Refused(Refusal::ReservationEnded);
                let is_mine = |item: &Item| item.paid_by == Some(lease.order.reservation);
                let answered = || items.iter().zip(outcomes).filter(|(item, _)| is_mine(item));
                let has_ended = answered().any(|(_, outcome)| *outcome == ended);
                lease.unreported.retain(|spent| !answered().any(|(item, _)| item == spent));
                !has_ended
            }
            _ => true,
        };
        if !keeps {
            self.lease = None;
        }
    }
}
