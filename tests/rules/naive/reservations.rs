//! Reservations of the naive pool: what each holds, until when, and for whom new ones have to wait.

use tokenweir::domain::ids::ReservationId;
use tokenweir::domain::pool::Pool;
use tokenweir::domain::refusal::Refusal;
use tokenweir::domain::reservation::Reservation;
use tokenweir::domain::time::Timestamp;

use super::Naive;

/// A reservation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    tokens: u64,
    ttl_ms: u64,
    settled: u64,
    until_ms: u64,
    is_open: bool,
}

impl Held {
    fn holds(&self) -> u64 {
        if self.is_open { self.tokens - self.settled } else { 0 }
    }
}

impl Naive {
    /// What the pool can pay.
    pub(super) fn available(&self) -> u64 {
        self.balance - self.held()
    }

    fn held(&self) -> u64 {
        self.reservations.values().map(Held::holds).sum()
    }

    /// When the last open reservation is over at the latest.
    pub(crate) fn all_expired_ms(&self) -> u64 {
        let open = self.reservations.values().filter(|held| held.is_open);
        open.map(|held| held.until_ms).max().unwrap_or(0)
    }

    /// Somebody asks for anything: what is over by then has ended.
    pub(crate) fn expire(&mut self, clock: Timestamp) {
        let now = clock.ms().max(self.last_ms);
        let mut over: Vec<_> =
            self.reservations.values_mut().filter(|held| held.is_open && held.until_ms <= now).collect();
        over.iter_mut().for_each(|held| held.is_open = false);
        if !over.is_empty() {
            self.touch(clock);
        }
    }

    pub(crate) fn reserve(
        &mut self,
        id: &str,
        (tokens, ttl_ms): (u64, u64),
        clock: Timestamp,
    ) -> Result<bool, Refusal> {
        self.expire(clock);
        if let Some(known) = self.reservations.get(id) {
            let same = (known.tokens, known.ttl_ms) == (tokens, ttl_ms);
            return if same { Ok(false) } else { Err(Refusal::Conflict) };
        }
        if self.waits.is_some() || self.frozen.is_some() {
            return Err(Refusal::InTransfer);
        }
        if self.available() < tokens {
            return Err(Refusal::InsufficientTokens);
        }
        self.touch(clock);
        let held = Held { tokens, ttl_ms, settled: 0, until_ms: self.last_ms + ttl_ms, is_open: true };
        self.reservations.insert(id.to_owned(), held);
        Ok(true)
    }

    pub(crate) fn release(&mut self, id: &str, clock: Timestamp) -> Result<bool, Refusal> {
        self.expire(clock);
        let known = self.reservations.get_mut(id).ok_or(Refusal::UnknownReservation)?;
        let was_open = std::mem::replace(&mut known.is_open, false);
        Ok(self.changed(was_open, clock))
    }

    /// Why a reservation, or the pool where none is named, cannot pay so much; none when it can.
    pub(super) fn refusal(&self, paid_by: Option<&str>, tokens: u64) -> Option<Refusal> {
        match paid_by.map(|id| self.reservations.get(id)) {
            None if self.frozen.is_some() => Some(Refusal::InTransfer),
            None => (self.available() < tokens).then_some(Refusal::InsufficientTokens),
            Some(None) => Some(Refusal::UnknownReservation),
            Some(Some(held)) if !held.is_open => Some(Refusal::ReservationEnded),
            Some(Some(held)) => (held.holds() < tokens).then_some(Refusal::ReservationExceeded),
        }
    }

    pub(super) fn settle(&mut self, id: &str, tokens: u64) {
        let held = self.reservations.get_mut(id).expect("what is unknown pays nothing");
        held.settled += tokens;
        held.is_open = held.settled < held.tokens;
    }

    /// A transfer asks for all of the pool, or asks again; whether it has to wait, and new reservations for it.
    pub(crate) fn waits_for_reservations(&mut self, transfer: &str) -> bool {
        let is_new = self.frozen.is_none() && !self.sides.contains_key(transfer);
        let waits = is_new && self.reservations.values().any(|held| held.is_open);
        if waits {
            self.waits.get_or_insert_with(|| transfer.to_owned());
        } else {
            self.stop_waiting(transfer);
        }
        waits
    }

    pub(crate) fn stop_waiting(&mut self, transfer: &str) {
        self.waits.take_if(|waits| waits == transfer);
    }

    /// It forgets for whom new reservations wait.
    pub(crate) fn crash(&mut self) {
        self.waits = None;
    }

    /// Compares all reservations with those of the pool.
    pub(super) fn compare_reservations(&self, pool: &Pool) {
        let naive = |(id, held): (&String, &Held)| (id.clone(), held.tokens, held.settled, held.is_open);
        let told = |(id, one): (&ReservationId, &Reservation)| {
            (id.to_string(), one.reserved.0, one.settled.0, one.ended.is_none())
        };
        assert_eq!((pool.reservations.held().0, pool.balance.0), (self.held(), self.balance));
        let known = pool.reservations.known().iter().map(told);
        assert_eq!(known.collect::<Vec<_>>(), self.reservations.iter().map(naive).collect::<Vec<_>>());
    }
}
