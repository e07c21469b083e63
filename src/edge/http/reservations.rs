//! Reservations (R12): made, listed and released here; what they pay is sent to `debits` below them.

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::meter::{
    Action, ActorId, Limit, OrgId, Refusal, ReservationId, ReservationStatus, ReservationView, Tokens,
};

use super::auth::{Caller, InOrganization, path_id};
use super::body::{Asks, Json, ok};
use super::describe::{Answer, Body, no_parameters, no_problems};
use super::problem::Problem;
use super::route::{Right, Route};
use super::time_text::TimeText;

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[
    Route {
        method: Method::GET,
        path: "/v1/organizations/{org}/reservations",
        right: Right::Read,
        summary: "List the reservations of an organization.",
        parameters: no_parameters,
        body: None,
        answers: &[Answer::json::<List>(200, "The reservations, open ones and those that ended of late.")],
        problems: no_problems,
        handler: || web::to(list),
    },
    Route {
        method: Method::POST,
        path: "/v1/organizations/{org}/reservations",
        right: Right::Debit,
        summary: "Hold tokens for work whose cost is known only afterwards.",
        parameters: no_parameters,
        body: Body::json::<ToReserve>(),
        answers: &[Answer::json::<ReservationBody>(200, "The reservation, made now or before.")],
        problems: || {
            vec![
                Refusal::Conflict.into(),
                Refusal::InTransfer.into(),
                Refusal::InsufficientTokens.into(),
                Refusal::UnknownReservation.into(),
                Refusal::LimitReached(Limit::Reservations).into(),
            ]
        },
        handler: || web::to(reserve),
    },
    Route {
        method: Method::GET,
        path: "/v1/organizations/{org}/reservations/{reservation}",
        right: Right::Read,
        summary: "One reservation.",
        parameters: no_parameters,
        body: None,
        answers: &[Answer::json::<ReservationBody>(200, "The reservation.")],
        problems: || vec![Refusal::UnknownReservation.into()],
        handler: || web::to(get),
    },
    Route {
        method: Method::DELETE,
        path: "/v1/organizations/{org}/reservations/{reservation}",
        right: Right::DebitOrAdminister,
        summary: "Give back what a reservation still holds.",
        parameters: no_parameters,
        body: None,
        answers: &[Answer::json::<ReservationBody>(200, "The reservation as it ended.")],
        problems: || vec![Refusal::UnknownReservation.into()],
        handler: || web::to(release),
    },
];

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewReservation)]
pub(super) struct ToReserve {
    id: ReservationId,
    tokens: Tokens,
    #[schema(minimum = 1_000, maximum = 86_400_000)]
    ttl_ms: u64,
}

impl Asks for ToReserve {
    fn allow(caller: &Caller, request: &HttpRequest) -> Result<(), Problem> {
        let organization: OrgId = path_id(request, "org")?;
        Ok(caller.principal.authorize(Action::Debit(&organization))?)
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = Reservation)]
struct ReservationBody {
    id: ReservationId,
    status: ReservationStatus,
    reserved: Tokens,
    settled: Tokens,
    held: Tokens,
    made_at: TimeText,
    expires_at: TimeText,
    ended_at: Option<TimeText>,
    by: ActorId,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ReservationList)]
struct List {
    reservations: Vec<ReservationBody>,
}

pub(super) async fn reserve(
    organization: InOrganization,
    body: Json<ToReserve>,
) -> Result<HttpResponse, Problem> {
    let ToReserve { id, tokens, ttl_ms } = body.0;
    Ok(show(organization.0.reserve(id, tokens, ttl_ms).await?))
}

pub(super) async fn list(organization: InOrganization) -> Result<HttpResponse, Problem> {
    let reservations = organization.0.reservations().await?;
    Ok(ok(List { reservations: reservations.into_iter().map(ReservationBody::from).collect() }))
}

pub(super) async fn get(request: HttpRequest, organization: InOrganization) -> Result<HttpResponse, Problem> {
    Ok(show(organization.0.reservation(path_id(&request, "reservation")?).await?))
}

pub(super) async fn release(
    request: HttpRequest,
    organization: InOrganization,
) -> Result<HttpResponse, Problem> {
    Ok(show(organization.0.release_reservation(path_id(&request, "reservation")?).await?))
}

fn show(reservation: ReservationView) -> HttpResponse {
    ok(ReservationBody::from(reservation))
}

impl From<ReservationView> for ReservationBody {
    fn from(reservation: ReservationView) -> Self {
        Self {
            id: reservation.id,
            status: reservation.status,
            reserved: reservation.reserved,
            settled: reservation.settled,
            held: reservation.held,
            made_at: reservation.made_at.into(),
            expires_at: reservation.expires_at.into(),
            ended_at: reservation.ended_at.map(TimeText::from),
            by: reservation.by,
        }
    }
}
