//! Reservations (R12): tokens of a pool that are held for work whose cost is known only afterwards.
//!
//! A reservation is open until it ends, once (I7): settled to its last token, released, or expired. While it is open the pool
//! cannot spend what it still holds. Debits that name it are paid from it, and never more than it holds: whatever is sent, in
//! whatever order and however often, *0 <= settled <= reserved*. Tokens leave the pool when they are settled, not before.
//!
//! Ended reservations are remembered, the newest [`RESERVATIONS_ENDED_MAX`] of them, so that a retry finds them as they ended.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use crate::planted::{self, Bug};

use super::ids::{ActorId, ReservationId};
use super::limits::RESERVATIONS_ENDED_MAX;
use super::refusal::Refusal;
use super::time::Timestamp;
use super::tokens::Tokens;

/// One reservation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// Tokens reserved.
    pub reserved: Tokens,
    /// Tokens of them that debits were charged for.
    pub settled: Tokens,
    /// When it was made.
    pub at: Timestamp,
    /// When it expires, unless it ended before.
    pub until: Timestamp,
    /// Who made it.
    pub by: ActorId,
    /// How it ended; none while it is open.
    pub ended: Option<Ended>,
}

/// How a reservation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Its place in the order in which the reservations of the pool ended.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// By what.
    pub how: HowEnded,
}

/// What ended a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HowEnded {
    /// All of it was settled.
    Settled,
    /// It was released.
    Released,
    /// Its time was over.
    Expired,
}

/// The reservations of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reservations {
    known: BTreeMap<ReservationId, Reservation>,
    held: Tokens,
    expiries: BTreeSet<(Timestamp, ReservationId)>,
    ended: VecDeque<ReservationId>,
}

impl Reservation {
    /// What it holds back from the pool.
    #[must_use]
    pub fn held(&self) -> Tokens {
        if self.ended.is_some() { Tokens::ZERO } else { self.reserved.minus(self.settled) }
    }
}

impl Reservations {
    /// What the open ones hold back from the pool.
    #[inline]
    #[must_use]
    pub fn held(&self) -> Tokens {
        self.held
    }

    /// Those that are open, in the order in which they expire.
    pub fn open_ones(&self) -> impl Iterator<Item = (&ReservationId, &Reservation)> {
        self.expiries.iter().filter_map(|(_, id)| self.known.get_key_value(id))
    }

    /// How many are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.expiries.len()
    }

    /// When the next open one expires; none when none is open.
    #[inline]
    #[must_use]
    pub fn next_expiry(&self) -> Option<Timestamp> {
        self.expiries.first().map(|(until, _)| *until)
    }

    /// Whether an open one has expired at `now`.
    #[inline]
    #[must_use]
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.next_expiry().is_some_and(|until| until <= now)
    }

    /// The reservation of this id, open or remembered.
    #[must_use]
    pub fn get(&self, id: &ReservationId) -> Option<&Reservation> {
        self.known.get(id)
    }

    /// All that are known, in the order of their ids.
    #[must_use]
    pub fn known(&self) -> &BTreeMap<ReservationId, Reservation> {
        &self.known
    }

    /// Reservations from what [`Self::known`] gave; none when they are not such.
    #[must_use]
    pub fn from_known(known: BTreeMap<ReservationId, Reservation>) -> Option<Self> {
        let mut order = BTreeMap::new();
        let mut rest = Self::default();
        for (id, reservation) in &known {
            if reservation.settled > reservation.reserved {
                return None;
            }
            rest.held = rest.held.checked_add(reservation.held())?;
            let is_new = match reservation.ended {
                None => rest.expiries.insert((reservation.until, id.clone())),
                Some(ended) => order.insert(ended.number, id.clone()).is_none(),
            };
            if !is_new {
                return None;
            }
        }
        Some(Self { known, ended: order.into_values().collect(), ..rest })
    }

    /// Whether so many tokens can be charged to it.
    ///
    /// # Errors
    /// [`Refusal::UnknownReservation`], [`Refusal::ReservationEnded`], or [`Refusal::ReservationExceeded`] when it holds less.
    pub fn check(&self, id: &ReservationId, tokens: Tokens) -> Result<(), Refusal> {
        let reservation = self.get(id).ok_or(Refusal::UnknownReservation)?;
        if reservation.ended.is_some() {
            return Err(Refusal::ReservationEnded);
        }
        if reservation.held() < tokens { Err(Refusal::ReservationExceeded) } else { Ok(()) }
    }

    /// Opens one.
    pub(super) fn open_one(&mut self, id: &ReservationId, reservation: Reservation) {
        self.held = self.held.plus(reservation.held());
        self.expiries.insert((reservation.until, id.clone()));
        self.known.insert(id.clone(), reservation);
    }

    /// Charges tokens to an open one, and ends it when that was its last.
    pub(super) fn settle(&mut self, id: &ReservationId, tokens: Tokens, at: Timestamp) {
        let reservation = self.known.get_mut(id).expect("I7: what is settled is open");
        assert!(
            reservation.ended.is_none() && tokens <= reservation.held(),
            "I7: a reservation is settled for more than it holds"
        );
        reservation.settled = reservation.settled.plus(tokens);
        self.held = self.held.minus(tokens);
        if reservation.settled == reservation.reserved {
            self.end(id, HowEnded::Settled, at);
        }
    }

    /// Ends one, if it is open.
    pub(super) fn end(&mut self, id: &ReservationId, how: HowEnded, at: Timestamp) {
        let number = self.last_number().map_or(0, |last| last + 1);
        let Some(reservation) = self.known.get_mut(id) else { return };
        if reservation.ended.is_some() && !planted::is(Bug::FreeReservationTwice) {
            return;
        }
        let freed = reservation.reserved.minus(reservation.settled);
        reservation.ended = Some(Ended { number, at, how });
        self.held = self.held.minus(freed);
        self.expiries.remove(&(reservation.until, id.clone()));
        self.ended.push_back(id.clone());
        if self.ended.len() > RESERVATIONS_ENDED_MAX
            && let Some(oldest) = self.ended.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    /// Ends all that have expired at `at`.
    pub(super) fn expire(&mut self, at: Timestamp) {
        while self.is_due(at)
            && let Some((_, id)) = self.expiries.pop_first()
        {
            self.end(&id, HowEnded::Expired, at);
        }
    }

    fn last_number(&self) -> Option<u64> {
        self.known.get(self.ended.back()?)?.ended.map(|ended| ended.number)
    }
}
