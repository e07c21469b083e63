//! What is known of the leases: what each was granted and spent, what of it was answered, and when it can be given back.
//!
//! A lease is done when as many tokens of it were answered as were spent; before that it is not released, so that no debit on its
//! way finds it ended by its own gateway. There are never more than two, the one that is spent and the one before.

use crate::client::error::Error;
use crate::domain::ids::ReservationId;

use super::purse::Place;

/// What is known of the leases.
#[derive(Debug, Default)]
pub(super) struct Book {
    leases: [Option<Lease>; 2],
    pub(super) tally: Tally,
    /// Why the last call failed, if it did.
    pub(super) trouble: Option<Error>,
    /// Why nothing can be reported any more.
    pub(super) failure: Option<Error>,
    /// Nothing more will happen.
    pub(super) is_over: bool,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) leases: u64,
    pub(super) reported_debits: u64,
    pub(super) reported_tokens: u64,
    pub(super) uncharged_debits: u64,
    pub(super) uncharged_tokens: u64,
}

/// One lease.
#[derive(Debug)]
struct Lease {
    id: ReservationId,
    granted: u64,
    answered: u64,
    /// None while it is spent.
    spent: Option<u64>,
}

impl Book {
    /// Enters a lease in a place that is free.
    pub(super) fn enter(&mut self, place: Place, id: ReservationId, granted: u64) {
        self.tally.leases += 1;
        self.leases[place.index()] = Some(Lease { id, granted, answered: 0, spent: None });
    }

    /// The lease in this place is spent no more; so much of it was left.
    pub(super) fn stop(&mut self, place: Place, left: u64) {
        if let Some(lease) = &mut self.leases[place.index()] {
            lease.spent.get_or_insert(lease.granted - left);
        }
    }

    /// Tokens of the lease in this place were answered, whatever the answer.
    pub(super) fn answer(&mut self, place: Place, tokens: u32) {
        if let Some(lease) = &mut self.leases[place.index()] {
            lease.answered += u64::from(tokens);
        }
    }

    /// The id of the lease in this place.
    pub(super) fn id(&self, place: Place) -> Option<&ReservationId> {
        self.leases[place.index()].as_ref().map(|lease| &lease.id)
    }

    /// A lease that can be given back.
    pub(super) fn done(&self) -> Option<(Place, ReservationId)> {
        let done = |place: &Place| {
            self.leases[place.index()].as_ref().is_some_and(|lease| lease.spent == Some(lease.answered))
        };
        let place = [Place::First, Place::Second].into_iter().find(done)?;
        Some((place, self.id(place)?.clone()))
    }

    /// Strikes out the lease in this place.
    pub(super) fn strike(&mut self, place: Place) {
        self.leases[place.index()] = None;
    }

    /// Whether no lease is known.
    pub(super) fn is_empty(&self) -> bool {
        self.leases.iter().all(Option::is_none)
    }
}
