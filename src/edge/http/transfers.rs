//! Transfers of whole pools (R11): begun under a caller's id, then polled or waited for.

use std::time::Duration;

use actix_web::http::Method;
use actix_web::http::header::LOCATION;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::meter::{
    ActorId, Deed, OrgId, Refusal, Role, Tokens, TransferId, TransferState, TransferView, Until,
};

use super::auth::{Caller, path_id};
use super::body::{Asks, Json, Query, ok};
use super::describe::{Answer, Body, no_parameters, query};
use super::problem::Problem;
use super::route::{Right, Route};
use super::state::State;
use super::time_text::TimeText;

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[
    Route {
        method: Method::POST,
        path: "/v1/transfers",
        right: Right::AdministerBoth,
        summary: "Move all tokens and licenses of one organization to another.",
        parameters: query::<Wait>,
        body: Body::json::<ToBegin>(),
        answers: &[
            Answer::json::<TransferBody>(200, "It has ended."),
            Answer::json::<TransferBody>(202, "It has begun.").with(&[("Location", "Where it stands.")]),
        ],
        problems: || {
            vec![
                Refusal::Conflict.into(),
                Refusal::UnknownOrganization.into(),
                Refusal::UnknownTransfer.into(),
                Refusal::Busy.into(),
            ]
        },
        handler: || web::to(begin),
    },
    Route {
        method: Method::GET,
        path: "/v1/transfers/{transfer}",
        right: Right::ReadEither,
        summary: "Where a transfer stands.",
        parameters: no_parameters,
        body: None,
        answers: &[Answer::json::<TransferBody>(200, "The transfer.")],
        problems: || vec![Refusal::UnknownTransfer.into()],
        handler: || web::to(get),
    },
];

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewTransfer)]
pub(super) struct ToBegin {
    id: TransferId,
    source: OrgId,
    target: OrgId,
}

impl Asks for ToBegin {
    fn allow(caller: &Caller, _: &HttpRequest) -> Result<(), Problem> {
        // Of which organizations is in the body; no other role moves a pool at all.
        if caller.principal.has_somewhere(Role::Admin) {
            return Ok(());
        }
        let deed = Deed { act: "begin_transfer", organizations: Vec::new(), target: None };
        caller.meter.note_refused(&caller.principal, deed, Refusal::Forbidden.code());
        Err(Refusal::Forbidden.into())
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Wait {
    #[serde(default)]
    wait: bool,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Transfer)]
struct TransferBody {
    id: TransferId,
    source: OrgId,
    target: OrgId,
    by: ActorId,
    state: TransferState,
    tokens: Tokens,
    licenses: u32,
    refusal: Option<String>,
    begun_at: TimeText,
    ended_at: Option<TimeText>,
}

pub(super) async fn begin(
    state: web::Data<State>,
    caller: Caller,
    wait: Query<Wait>,
    body: Json<ToBegin>,
) -> Result<HttpResponse, Problem> {
    let ToBegin { id, source, target } = body.0;
    let until = if wait.0.wait { Until::Ended } else { Until::Begun };
    let transfer = caller.meter.transfer(&caller.principal, id.clone(), (source, target), until);
    // What is stuck stays unknown until it is resolved: a caller that waits is then told where it stands.
    match actix_rt::time::timeout(Duration::from_millis(state.limits.transfer_wait_ms), transfer).await {
        Ok(transfer) => Ok(answer(transfer?)),
        Err(_) => Ok(answer(caller.meter.transfer_status(&caller.principal, id).await?)),
    }
}

pub(super) async fn get(request: HttpRequest, caller: Caller) -> Result<HttpResponse, Problem> {
    let id: TransferId = path_id(&request, "transfer")?;
    Ok(ok(TransferBody::from(caller.meter.transfer_status(&caller.principal, id).await?)))
}

fn answer(transfer: TransferView) -> HttpResponse {
    if transfer.state.is_ended() {
        return ok(TransferBody::from(transfer));
    }
    let location = format!("/v1/transfers/{}", transfer.id);
    HttpResponse::Accepted().insert_header((LOCATION, location)).json(TransferBody::from(transfer))
}

impl From<TransferView> for TransferBody {
    fn from(transfer: TransferView) -> Self {
        Self {
            id: transfer.id,
            source: transfer.source,
            target: transfer.target,
            by: transfer.by,
            state: transfer.state,
            tokens: transfer.tokens,
            licenses: transfer.licenses,
            refusal: transfer.refusal,
            begun_at: transfer.begun_at.into(),
            ended_at: transfer.ended_at.map(TimeText::from),
        }
    }
}
