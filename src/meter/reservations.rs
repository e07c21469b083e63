//! Reservations of an organization (R12): made, settled by debits, released, listed.

use serde::Serialize;

use crate::domain::command::Command;
use crate::domain::ids::{ActorId, ReservationId};
use crate::domain::pool::Pool;
use crate::domain::refusal::Refusal;
use crate::domain::reservation::{HowEnded, Reservation};
use crate::domain::time::Timestamp;
use crate::domain::tokens::Tokens;

use super::error::Error;
use super::organization::{Organization, allow};

/// A reservation as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReservationView {
    /// Its id.
    pub id: ReservationId,
    /// Where it stands.
    pub status: ReservationStatus,
    /// Tokens reserved.
    pub reserved: Tokens,
    /// Tokens of them that debits were charged for.
    pub settled: Tokens,
    /// Tokens that it holds back from the pool now: none when it ended.
    pub held: Tokens,
    /// When it was made.
    pub made_at: Timestamp,
    /// When it expires, unless it ends before.
    pub expires_at: Timestamp,
    /// When it ended; none while it is open.
    pub ended_at: Option<Timestamp>,
    /// Who made it.
    pub by: ActorId,
}

/// Where a reservation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReservationStatus {
    /// It holds tokens, and pays debits with them.
    Open,
    /// All of it was settled.
    Settled,
    /// It was released.
    Released,
    /// Its time was over.
    Expired,
}

impl ReservationView {
    fn of((id, reservation): (&ReservationId, &Reservation)) -> Self {
        let status = match reservation.ended.map(|ended| ended.how) {
            None => ReservationStatus::Open,
            Some(HowEnded::Settled) => ReservationStatus::Settled,
            Some(HowEnded::Released) => ReservationStatus::Released,
            Some(HowEnded::Expired) => ReservationStatus::Expired,
        };
        Self {
            id: id.clone(),
            status,
            reserved: reservation.reserved,
            settled: reservation.settled,
            held: reservation.held(),
            made_at: reservation.at,
            expires_at: reservation.until,
            ended_at: reservation.ended.map(|ended| ended.at),
            by: reservation.by.clone(),
        }
    }
}

impl Organization {
    /// Holds tokens back for `ttl_ms` milliseconds: no debit spends them but those of a batch that
    /// [names the reservation](crate::meter::DebitBatch::pay_by). What is not settled by then can be spent again. The same
    /// id with the same tokens and time is answered with where that reservation stands.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`] without the right to debit, [`Refusal::InsufficientTokens`] when less is available,
    /// [`Refusal::Conflict`] when the id is another reservation's, [`Refusal::InTransfer`], a value out of bounds, or a bound is
    /// reached.
    pub async fn reserve(
        &self,
        reservation: ReservationId,
        tokens: Tokens,
        ttl_ms: u64,
    ) -> Result<ReservationView, Error> {
        let (id, by) = (reservation.clone(), self.by());
        self.command(self.rights.debit, Command::Reserve { reservation, tokens, ttl_ms, by }).await?;
        self.look_up(id).await
    }

    /// Gives back what a reservation still holds. One that ended is left as it ended.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`] unless an administrator asks or one with the right to debit, [`Refusal::UnknownReservation`].
    pub async fn release_reservation(&self, reservation: ReservationId) -> Result<ReservationView, Error> {
        let id = reservation.clone();
        let release = self.command(true, Command::ReleaseReservation { reservation });
        if self.rights.debit {
            release.await?;
        } else {
            allow(self.rights.administer)?;
            self.witnessed("release_reservation", id.to_string(), release).await?;
        }
        self.look_up(id).await
    }

    /// One reservation, open or ended; those that ended long ago are forgotten.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`] without the right to read, [`Refusal::UnknownReservation`].
    pub async fn reservation(&self, reservation: ReservationId) -> Result<ReservationView, Error> {
        allow(self.rights.read)?;
        self.look_up(reservation).await
    }

    /// The open reservations, those that expire first first.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`] without the right to read.
    pub async fn reservations(&self) -> Result<Vec<ReservationView>, Error> {
        allow(self.rights.read)?;
        let open =
            |pool: &Pool, _: Timestamp| pool.reservations.open_ones().map(ReservationView::of).collect();
        self.ask(open).await
    }

    async fn look_up(&self, id: ReservationId) -> Result<ReservationView, Error> {
        let find = move |pool: &Pool, _: Timestamp| {
            pool.reservations.get(&id).map(|reservation| ReservationView::of((&id, reservation)))
        };
        Ok(self.ask(find).await?.ok_or(Refusal::UnknownReservation)?)
    }
}
