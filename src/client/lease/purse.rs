//! What is spent locally: one word that holds what is left of the lease and the room for debits, so that one exchange takes of both.
//!
//! Whoever takes tokens takes room with them, and room is given back only when a debit is answered: so the record never
//! overflows, and when all room is back every token that was spent is accounted for. There are two places for leases. The word
//! names the one that is spent, and a thread that saw an earlier word takes nothing, because the exchange fails.
//! Deliberately absent: who fills the places, and who reads the record.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::queue::ArrayQueue;
use crossbeam::utils::CachePadded;

use crate::domain::limits::{LEASE_DEBITS_MAX, LEASE_TOKENS_MAX};

use super::NotPaid;
use super::row::Row;

/// A lease that is spent, and the record of what it was spent for.
#[derive(Debug)]
pub(super) struct Purse {
    word: CachePadded<AtomicU64>,
    terms: CachePadded<[AtomicTerm; 2]>,
    /// Tokens that may still be granted while the meter is unreachable.
    open: AtomicU64,
    rows: ArrayQueue<Row>,
}

/// One of the two places for leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    First,
    Second,
}

/// Until when, and down to what, a lease is spent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Term {
    /// When it is spent no more, in nanoseconds of the client's clock.
    pub(super) ends_ns: u64,
    /// When it is to be renewed.
    pub(super) renew_ns: u64,
    /// Below how many tokens it is to be renewed.
    pub(super) low: u64,
}

#[derive(Debug, Default)]
struct AtomicTerm {
    ends_ns: AtomicU64,
    renew_ns: AtomicU64,
    low: AtomicU64,
}

/// Tokens that were taken from a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) place: Place,
    /// It is time to renew the lease.
    pub(super) is_low: bool,
}

/// Tokens left (40 bits), room (22), the place that is spent, whether it is closed.
#[derive(Clone, Copy)]
struct Word(u64);

const ROOM: u64 = 1 << 40;
const ROOM_BITS: u64 = (1 << 22) - 1;
const SECOND: u64 = 1 << 62;
const CLOSED: u64 = 1 << 63;

impl Purse {
    /// An empty one, with room for so many debits and these tokens to grant while the meter is unreachable.
    pub(super) fn new(debits: usize, open: u64) -> Self {
        let debits = debits.clamp(1, LEASE_DEBITS_MAX);
        let word = u64::try_from(debits).expect("it was clamped") * ROOM;
        Self {
            word: CachePadded::new(AtomicU64::new(word)),
            terms: CachePadded::default(),
            open: AtomicU64::new(open),
            rows: ArrayQueue::new(debits),
        }
    }

    /// Takes tokens from the lease, and room for one debit.
    ///
    /// # Errors
    /// When it is closed or full, or the lease holds less or has ended; then nothing is taken.
    #[inline]
    pub(super) fn take(&self, tokens: u32, now_ns: u64) -> Result<Taken, NotPaid> {
        let tokens = u64::from(tokens);
        let mut word = self.load();
        loop {
            word.check_room()?;
            let term = &self.terms[word.place().index()];
            if now_ns >= term.ends_ns.load(Ordering::Relaxed) {
                return Err(NotPaid::Ended);
            }
            if word.left() < tokens {
                return Err(NotPaid::Dry);
            }
            match self.exchange(word, word.0 - tokens - ROOM) {
                Ok(()) => {
                    let is_low = term.is_low(word.left() - tokens, now_ns);
                    return Ok(Taken { place: word.place(), is_low });
                }
                Err(found) => word = found,
            }
        }
    }

    /// Takes tokens of those that may be granted while the meter is unreachable, and room for one debit.
    ///
    /// # Errors
    /// When it is closed or full, or `why` when too few tokens may be granted; then nothing is taken.
    pub(super) fn take_open(&self, tokens: u32, why: NotPaid) -> Result<(), NotPaid> {
        let taken = self
            .open
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |open| open.checked_sub(tokens.into()));
        taken.map_err(|_| why)?;
        let mut word = self.load();
        loop {
            if let Err(full) = word.check_room() {
                self.give_open(tokens);
                return Err(full);
            }
            match self.exchange(word, word.0 - ROOM) {
                Ok(()) => return Ok(()),
                Err(found) => word = found,
            }
        }
    }

    /// Records a debit that tokens and room were taken for.
    #[inline]
    pub(super) fn record(&self, row: Row) {
        assert!(self.rows.push(row).is_ok(), "who records a debit took room for it");
    }

    /// The oldest debit that is recorded.
    pub(super) fn next(&self) -> Option<Row> {
        self.rows.pop()
    }

    /// Gives back the room of debits that were answered.
    pub(super) fn give_room(&self, debits: usize) {
        let debits = u64::try_from(debits).unwrap_or(ROOM_BITS);
        self.word.fetch_add(debits * ROOM, Ordering::AcqRel);
    }

    /// Gives back tokens that were granted while the meter was unreachable.
    pub(super) fn give_open(&self, tokens: u32) {
        self.open.fetch_add(tokens.into(), Ordering::AcqRel);
    }

    /// Has another lease be spent from now on, in the place that is not spent. What was left of the one before; none when it is
    /// closed, and then nothing changes.
    pub(super) fn install(&self, tokens: u64, term: Term) -> Option<u64> {
        let mut word = self.load();
        while !word.is_closed() {
            let place = word.place().other();
            self.terms[place.index()].store(term);
            match self.exchange(word, word.with(place, tokens)) {
                Ok(()) => return Some(word.left()),
                Err(found) => word = found,
            }
        }
        None
    }

    /// Closes it: nothing is taken from now on. What was left of the lease.
    pub(super) fn close(&self) -> u64 {
        self.empty(CLOSED)
    }

    /// Takes all that is left of the lease out of it.
    pub(super) fn drain(&self) -> u64 {
        self.empty(0)
    }

    fn empty(&self, flags: u64) -> u64 {
        let mut word = self.load();
        loop {
            match self.exchange(word, word.with(word.place(), 0) | flags) {
                Ok(()) => return word.left(),
                Err(found) => word = found,
            }
        }
    }

    /// Whether the lease that is spent is to be renewed.
    pub(super) fn is_low(&self, now_ns: u64) -> bool {
        let word = self.load();
        self.terms[word.place().index()].is_low(word.left(), now_ns)
    }

    /// The place that is spent.
    pub(super) fn place(&self) -> Place {
        self.load().place()
    }

    /// Tokens left, and when they are spent no more.
    pub(super) fn left(&self) -> (u64, u64) {
        let word = self.load();
        (word.left(), self.terms[word.place().index()].ends_ns.load(Ordering::Relaxed))
    }

    /// Tokens that may still be granted while the meter is unreachable.
    pub(super) fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// Debits that are not answered yet.
    pub(super) fn unanswered(&self) -> usize {
        self.rows.capacity() - usize::try_from(self.load().room()).unwrap_or(usize::MAX)
    }

    /// Whether nothing is taken any more.
    pub(super) fn is_closed(&self) -> bool {
        self.load().is_closed()
    }

    #[inline]
    fn load(&self) -> Word {
        Word(self.word.load(Ordering::Acquire))
    }

    #[inline]
    fn exchange(&self, found: Word, next: u64) -> Result<(), Word> {
        let exchanged = self.word.compare_exchange_weak(found.0, next, Ordering::AcqRel, Ordering::Acquire);
        exchanged.map(drop).map_err(Word)
    }
}

impl Word {
    fn left(self) -> u64 {
        self.0 & LEASE_TOKENS_MAX
    }

    fn room(self) -> u64 {
        (self.0 / ROOM) & ROOM_BITS
    }

    fn is_closed(self) -> bool {
        self.0 & CLOSED != 0
    }

    fn place(self) -> Place {
        if self.0 & SECOND == 0 { Place::First } else { Place::Second }
    }

    fn check_room(self) -> Result<(), NotPaid> {
        if self.is_closed() {
            return Err(NotPaid::Closed);
        }
        if self.room() == 0 { Err(NotPaid::Full) } else { Ok(()) }
    }

    /// The same room, with so many tokens in this place.
    fn with(self, place: Place, tokens: u64) -> u64 {
        let second = if place == Place::Second { SECOND } else { 0 };
        self.0 & !(LEASE_TOKENS_MAX | SECOND) | second | tokens.min(LEASE_TOKENS_MAX)
    }
}

impl Place {
    /// The other place.
    pub(super) fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }

    /// Its place among the two.
    pub(super) fn index(self) -> usize {
        match self {
            Self::First => 0,
            Self::Second => 1,
        }
    }
}

impl AtomicTerm {
    fn is_low(&self, left: u64, now_ns: u64) -> bool {
        left < self.low.load(Ordering::Relaxed) || now_ns >= self.renew_ns.load(Ordering::Relaxed)
    }

    fn store(&self, term: Term) {
        self.ends_ns.store(term.ends_ns, Ordering::Relaxed);
        self.renew_ns.store(term.renew_ns, Ordering::Relaxed);
        self.low.store(term.low, Ordering::Relaxed);
    }
}
