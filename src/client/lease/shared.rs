//! What the handle of a leased meter and its two tasks share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::sleep;

use crate::client::error::Error;
use crate::domain::debit::CameraRef;
use crate::domain::ids::ReservationId;

use super::book::Book;
use super::config::LeaseConfig;
use super::purse::{Purse, Term};
use super::row::{Payer, Row};
use super::{Uncharged, UnchargedHook};

/// What the handle and the tasks share.
pub(super) struct Shared {
    pub(super) organization: String,
    pub(super) config: LeaseConfig,
    pub(super) purse: Purse,
    /// The last call failed because the meter does not answer, or does not serve.
    pub(super) is_unreachable: AtomicBool,
    /// Wakes the task that takes leases.
    pub(super) wake: Notify,
    /// Tells all others that something changed.
    changed: Notify,
    /// A debit found the lease low.
    is_wanted: AtomicBool,
    book: Mutex<Book>,
    on_uncharged: UnchargedHook,
}

impl Shared {
    pub(super) fn new(organization: &str, config: LeaseConfig, on_uncharged: UnchargedHook) -> Self {
        Self {
            organization: organization.to_owned(),
            purse: Purse::new(config.record_debits, config.when_unreachable.tokens_max()),
            config,
            is_unreachable: AtomicBool::new(false),
            wake: Notify::new(),
            changed: Notify::new(),
            is_wanted: AtomicBool::new(false),
            book: Mutex::default(),
            on_uncharged,
        }
    }

    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for another lease; costs next to nothing while one is asked for already.
    #[inline]
    pub(super) fn want_lease(&self) {
        if !self.is_wanted.load(Ordering::Relaxed) && !self.is_wanted.swap(true, Ordering::AcqRel) {
            self.wake.notify_one();
        }
    }

    /// Whether another lease is to be taken now: it is time, and there is a free place for it.
    pub(super) fn wants_lease(&self) -> bool {
        let is_low = self.is_wanted.load(Ordering::Acquire) || self.purse.is_low(self.config.clock.now_ns());
        is_low && self.book().id(self.purse.place().other()).is_none()
    }

    /// Until a debit asks for a lease, a lease is done, or it is time to look at the clock.
    pub(super) async fn wait_for_wish(&self) {
        tokio::select! {
            () = self.wake.notified() => {}
            () = sleep(self.config.report_every) => {}
        }
    }

    /// Has a lease that was granted be spent from now on.
    pub(super) fn install(&self, id: ReservationId, tokens: u64, term: Term) {
        let mut book = self.book();
        let before = self.purse.place();
        book.enter(before.other(), id, tokens);
        match self.purse.install(tokens, term) {
            Some(left) => book.stop(before, left),
            None => book.stop(before.other(), tokens),
        }
        book.trouble = None;
        drop(book);
        self.is_wanted.store(false, Ordering::Release);
        self.changed.notify_waiters();
    }

    /// Stops to spend a lease that ended, so that what is left of it can be given back.
    pub(super) fn drain_ended(&self) {
        if self.config.clock.now_ns() >= self.purse.left().1 {
            let mut book = self.book();
            let left = self.purse.drain();
            book.stop(self.purse.place(), left);
        }
    }

    /// Takes no debits from now on.
    pub(super) fn close(&self) {
        let mut book = self.book();
        let left = self.purse.close();
        book.stop(self.purse.place(), left);
        drop(book);
        self.wake.notify_one();
        self.changed.notify_waiters();
    }

    /// A debit was admitted.
    pub(super) fn charged(&self, row: &Row) {
        let mut book = self.book();
        book.tally.reported_debits += 1;
        book.tally.reported_tokens += u64::from(row.tokens);
        self.answered(&mut book, row);
    }

    /// A debit was refused for good, or cannot be sent any more.
    pub(super) fn uncharged(&self, row: &Row, camera: &str, why: &str) {
        let debit = row.debit(CameraRef::Id(camera));
        (self.on_uncharged)(&Uncharged { debit, why });
        let mut book = self.book();
        book.tally.uncharged_debits += 1;
        book.tally.uncharged_tokens += u64::from(row.tokens);
        self.answered(&mut book, row);
    }

    /// The lease of a debit ended before it was reported: the pool is to pay.
    pub(super) fn leave_to_pool(&self, row: &mut Row) {
        if let Payer::Lease(place) = row.payer {
            self.book().answer(place, row.tokens);
        }
        row.payer = Payer::Pool;
    }

    fn answered(&self, book: &mut Book, row: &Row) {
        match row.payer {
            Payer::Lease(place) => book.answer(place, row.tokens),
            Payer::Open => self.purse.give_open(row.tokens),
            Payer::Pool => {}
        }
    }

    /// Debits of one round were answered.
    pub(super) fn round_ended(&self, answered: usize) {
        self.purse.give_room(answered);
        self.wake.notify_one();
        self.changed.notify_waiters();
    }

    /// The stream ended for good: nothing can be reported any more.
    pub(super) fn fail(&self, error: Error) {
        let mut book = self.book();
        book.trouble = Some(error.clone());
        book.failure = Some(error);
        drop(book);
        self.close();
    }

    /// Nothing more will happen.
    pub(super) fn is_over(&self) {
        self.book().is_over = true;
        self.changed.notify_waiters();
    }

    /// Waits until `found` finds something; it looks again after every change.
    pub(super) async fn until<T>(&self, found: impl Fn() -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(found) = found() {
                return found;
            }
            changed.await;
        }
    }

    /// Ends when it takes no debits any more.
    pub(super) async fn closed(&self) {
        self.until(|| self.purse.is_closed().then_some(())).await;
    }
}
