//! The calls of the service.

use std::sync::Arc;

use tokio::time::timeout;
use tonic::codegen::Bytes;
use tonic::{Request, Response, Status, Streaming};

use crate::meter::{
    BatchReply, DebitBatch, DebitReply, Deed, Durability, Error, Invalid, OrgId, Organization, Refusal,
    ReservationId, ReservationView, Tokens, TransferId, Until,
};
use crate::proto::v1;
use crate::proto::v1::metering_server::Metering;

use super::ack::{durability, durability_number};
use super::auth::Caller;
use super::session::{Session, StreamLimits};
use super::state::State;
use super::trouble::Trouble;
use super::unary::{self, Asked};

/// The service, over what all calls share.
#[derive(Clone, Debug)]
pub(super) struct Service(pub(super) Arc<State>);

/// Who sent a request, as the front found out.
///
/// # Errors
/// When nobody stood before the call.
fn caller<T>(request: &Request<T>) -> Result<Caller, Trouble> {
    request.extensions().get().cloned().ok_or_else(Trouble::unauthenticated)
}

impl Service {
    /// A stream of debits.
    ///
    /// # Errors
    /// When nobody stood before the call, or as many streams are open as may be.
    pub(super) fn session(&self, request: Request<Streaming<Bytes>>) -> Result<Session, Trouble> {
        let caller = caller(&request)?;
        let place = self.0.take_stream()?;
        let limits = StreamLimits {
            credit: self.0.limits.credit_debits,
            batch_debits_max: self.0.limits.batch_debits_max,
        };
        Ok(Session::new(caller, request.into_inner(), limits, self.0.stopped(), place))
    }
}

fn organization<T>(request: &Request<T>, id: &str) -> Result<Organization, Trouble> {
    let caller = caller(request)?;
    Ok(caller.meter.organization(caller.principal(), &OrgId::new(id)?)?)
}

/// One debit, alone or as a batch of one, where a reservation pays it or a rate card prices it.
async fn charge(
    organization: &Organization,
    asked: Asked<'_>,
    durability: Durability,
    reservation: Option<ReservationId>,
) -> Result<DebitReply, Error> {
    let mut batch = DebitBatch::default();
    match asked {
        Asked::Debit(debit) if reservation.is_none() => {
            return organization.send_debit(debit, durability)?.await;
        }
        Asked::Debit(debit) => batch.push(debit),
        Asked::Measured(event) => batch.push_measured(event),
    }
    batch.pay_by(reservation);
    let BatchReply { batch, available, lsn, durability } =
        organization.send_batch(&mut batch, durability)?.await?;
    let outcome = *batch.outcomes().first().expect("a row has an outcome");
    Ok(DebitReply { outcome, available, lsn, durability })
}

/// Releases a reservation; that somebody was refused to is recorded.
async fn release(caller: &Caller, organization: &str, id: ReservationId) -> Result<ReservationView, Error> {
    let organization = OrgId::new(organization)?;
    let target = Some(id.to_string());
    let released = match caller.meter.organization(caller.principal(), &organization) {
        Ok(organization) => organization.release_reservation(id).await,
        Err(error) => Err(error),
    };
    if let Err(Error::Refused(refusal @ Refusal::Forbidden)) = &released {
        let deed = Deed::within(&organization, "release_reservation", target);
        caller.meter.note_refused(caller.principal(), deed, refusal.code());
    }
    released
}

#[tonic::async_trait]
impl Metering for Service {
    type StreamStream = Session;

    /// Not called: [`Calls`](super::calls::Calls) hands a stream to [`Service::session`], unread.
    async fn stream(&self, _: Request<Streaming<v1::StreamRequest>>) -> Result<Response<Session>, Status> {
        Err(Status::unimplemented("streams are read as bytes"))
    }

    async fn debit(&self, request: Request<v1::DebitRequest>) -> Result<Response<v1::DebitReply>, Status> {
        let organization = organization(&request, &request.get_ref().organization)?;
        organization.check_debit().map_err(Trouble::from)?;
        let v1::DebitRequest { debit, durability: when, reservation, .. } = request.into_inner();
        let debit = debit.unwrap_or_default();
        let asked = unary::asked(&debit).map_err(Trouble::from)?;
        let reservation = unary::reservation_id(&reservation).map_err(Trouble::from)?;
        let charged = charge(&organization, asked, durability(when), reservation).await;
        let reply = charged.map_err(Trouble::from)?;
        Ok(Response::new(v1::DebitReply {
            result: Some(unary::result(reply.outcome)),
            available: reply.available.0,
            lsn: reply.lsn.0,
            durability: durability_number(reply.durability),
        }))
    }

    async fn debit_batch(
        &self,
        request: Request<v1::DebitBatchRequest>,
    ) -> Result<Response<v1::DebitBatchReply>, Status> {
        let organization = organization(&request, &request.get_ref().organization)?;
        organization.check_debit().map_err(Trouble::from)?;
        let v1::DebitBatchRequest { debits, durability: when, reservation, .. } = request.into_inner();
        if debits.len() > self.0.limits.batch_debits_max {
            return Err(Trouble::from(Invalid::BatchSize).into());
        }
        let mut batch = DebitBatch::with_capacity(debits.len());
        batch.pay_by(unary::reservation_id(&reservation).map_err(Trouble::from)?);
        unary::push(&debits, &mut batch);
        let sent = organization.send_batch(&mut batch, durability(when)).map_err(Trouble::from)?;
        let reply = sent.await.map_err(Trouble::from)?;
        Ok(Response::new(v1::DebitBatchReply {
            results: reply.batch.outcomes().iter().copied().map(unary::result).collect(),
            available: reply.available.0,
            lsn: reply.lsn.0,
            durability: durability_number(reply.durability),
        }))
    }

    async fn summary(
        &self,
        request: Request<v1::SummaryRequest>,
    ) -> Result<Response<v1::SummaryReply>, Status> {
        let organization = organization(&request, &request.get_ref().organization)?;
        let summary = organization.summary().await.map_err(Trouble::from)?;
        Ok(Response::new(unary::summary(summary)))
    }

    async fn transfer(
        &self,
        request: Request<v1::TransferRequest>,
    ) -> Result<Response<v1::TransferReply>, Status> {
        let caller = caller(&request)?;
        let (meter, who) = (&caller.meter, caller.principal());
        let v1::TransferRequest { id, source, target, wait } = request.into_inner();
        let ids = || Ok((TransferId::new(&id)?, OrgId::new(&source)?, OrgId::new(&target)?));
        let (id, source, target) = ids().map_err(|invalid: Invalid| Trouble::from(invalid))?;
        let until = if wait { Until::Ended } else { Until::Begun };
        let transfer = meter.transfer(who, id.clone(), (source, target), until);
        // What is stuck stays unknown until it is resolved: a caller that waits is then told where it stands.
        let transfer: Result<_, Error> = match timeout(self.0.limits.transfer_wait, transfer).await {
            Ok(transfer) => transfer,
            Err(_) => meter.transfer_status(who, id).await,
        };
        Ok(Response::new(unary::transfer(transfer.map_err(Trouble::from)?)))
    }

    async fn reserve(
        &self,
        request: Request<v1::ReserveRequest>,
    ) -> Result<Response<v1::ReserveReply>, Status> {
        let organization = organization(&request, &request.get_ref().organization)?;
        organization.check_debit().map_err(Trouble::from)?;
        let v1::ReserveRequest { id, tokens, ttl_ms, .. } = request.into_inner();
        let id = ReservationId::new(&id).map_err(Trouble::from)?;
        let reserved = organization.reserve(id, Tokens(tokens), ttl_ms).await.map_err(Trouble::from)?;
        Ok(Response::new(v1::ReserveReply { reservation: Some(unary::reservation(&reserved)) }))
    }

    async fn release_reservation(
        &self,
        request: Request<v1::ReleaseReservationRequest>,
    ) -> Result<Response<v1::ReleaseReservationReply>, Status> {
        let caller = caller(&request)?;
        let message = request.get_ref();
        let id = ReservationId::new(&message.id).map_err(Trouble::from)?;
        let released = release(&caller, &message.organization, id).await.map_err(Trouble::from)?;
        Ok(Response::new(v1::ReleaseReservationReply { reservation: Some(unary::reservation(&released)) }))
    }

    async fn reservations(
        &self,
        request: Request<v1::ReservationsRequest>,
    ) -> Result<Response<v1::ReservationsReply>, Status> {
        let organization = organization(&request, &request.get_ref().organization)?;
        let open = organization.reservations().await.map_err(Trouble::from)?;
        let reservations = open.iter().map(unary::reservation).collect();
        Ok(Response::new(v1::ReservationsReply { reservations }))
    }
}
