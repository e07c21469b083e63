//! Has the owner of an organization carry out a request that came to this node.
//!
//! The request is tried here first, so what is here costs nothing more. An answer `elsewhere` stands only when no owner gave one within
//! [`CARRIED_WAIT_MS`](crate::domain::limits::CARRIED_WAIT_MS): while a partition moves, the request waits. It may be carried more than once, under the ids that it bears, when an owner goes away
//! before it answered; whoever sends it again after `elsewhere` does the same. What is carried at a time is bounded, and its bodies
//! keep their room. Deliberately absent: who owns what, and what the owner may answer.

use actix_web::body::MessageBody as _;
use actix_web::web::{Bytes, Data, Payload};
use actix_web::{FromRequest as _, HttpMessage as _, HttpRequest, HttpResponse, ResponseError as _};

use crate::domain::limits::CARRIED_BYTES_MAX;
use crate::edge::carrying::{self, HTTP};
use crate::meter::Meter;
use crate::telemetry::{clock, cluster};

use super::auth::bearer_id;
use super::body::{self, Kept};
use super::carried::{Answered, Arrival, Asked, Guest, Told};
use super::problem::Problem;
use super::state::State;

/// Has the owner of a partition answer a request that was answered `elsewhere` here; none where that stays the answer. With the answer comes what it leaves for
/// the next page of a guest.
pub(in crate::edge) async fn on(
    request: &HttpRequest,
    partition: u16,
    guest: Option<Guest>,
) -> Option<(HttpResponse, Option<Told>)> {
    if let Some(arrival) = Arrival::of(request) {
        arrival.ask_again();
        return None;
    }
    let state = request.app_data::<Data<State>>().expect("the routes are set up with their state");
    let meter = state.meter().filter(|meter| meter.is_node())?;
    let begun = clock::start();
    let answered = async {
        let _place = state.carrying.try_acquire().ok()?;
        let body = match body_of(request, state).await {
            Ok(body) => body,
            Err(problem) => return Some((problem.error_response(), None)),
        };
        let message = carrying::encode(HTTP, &Asked::new(request, guest), &body);
        if message.len() > CARRIED_BYTES_MAX {
            return Some((too_long(meter, partition).error_response(), None));
        }
        let read =
            |answer: &[u8]| Answered::read(answer).map(|(answered, response)| (response, answered.notice));
        carrying::ask((meter, &state.carrying), partition, &message, read).await
    };
    let answered = answered.await;
    cluster::carried(answered.is_some(), begun.elapsed().as_secs_f64());
    answered
}

/// Has all other nodes answer another path than the one that was asked for here, as the same caller; none for one that gave no answer, or no success, in time.
pub(in crate::edge) async fn ask_others(
    request: &HttpRequest,
    path: &str,
    guest: Guest,
) -> Vec<(String, Option<Bytes>)> {
    let state = request.app_data::<Data<State>>().expect("the routes are set up with their state");
    let Some(meter) = state.meter().filter(|meter| meter.is_node()) else { return Vec::new() };
    let message = carrying::encode(HTTP, &Asked::new(request, Some(guest)).of_path(path), &[]);
    let read = |answer: Option<Vec<u8>>| {
        let (_, response) = Answered::read(&answer?)?;
        Some(response).filter(|response| response.status().is_success())?.into_body().try_into_bytes().ok()
    };
    let answers = meter.carry_to_others(&message).await;
    answers.into_iter().map(|(node, answer)| (node, read(answer))).collect()
}

/// What the request sends. It keeps it, and the room that it takes.
async fn body_of(request: &HttpRequest, state: &State) -> Result<Bytes, Problem> {
    let kept = request.extensions_mut().remove::<Kept>();
    let (body, room) = match kept {
        None => return Ok(Bytes::new()),
        Some(Kept::Read(body, room)) => (body, room),
        Some(Kept::Unread(mut payload)) => {
            let payload = Payload::from_request(request, &mut payload).await;
            let payload = payload.map_err(|_| Problem::malformed_body("it cannot be taken"))?;
            let (most, key) = (state.limits.body_bytes_max, bearer_id(request)?);
            body::read(state, most, request, (key, payload)).await?
        }
    };
    request.extensions_mut().insert(Kept::Read(body.clone(), room));
    Ok(body)
}

fn too_long(meter: &Meter, partition: u16) -> Problem {
    let owner = meter.owner(partition).and_then(|owner| owner.http);
    let owner = owner.unwrap_or_else(|| "its owner".to_owned());
    let limit = u64::try_from(CARRIED_BYTES_MAX).unwrap_or(u64::MAX);
    let detail = format!(
        "a request of more than {limit} bytes is not carried to another node; nothing was done, send it to {owner}"
    );
    Problem::body_too_large(limit).with_detail(Some(detail.into()))
}
