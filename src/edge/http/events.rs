//! CloudEvents in, as every client of the specification sends them: 204 when each of them is charged, or was before.
//!
//! They are debits like any other, of which this is one more form. An answer says that they are durable. Deliberately absent: an
//! event store; what an event holds beyond its debit is gone.

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, web};

use crate::meter::{Durability, Error, Outcome, Refusal, Role};

use super::auth::Caller;
use super::body::{is_encoded, is_other_charset, with_body};
use super::debit_shape::CloudEvents;
use super::describe::{Answer, Body, Shape, no_query};
use super::event_rows::{Events, Group, Mode, listed};
use super::problem::Problem;
use super::route::{Right, Route};
use super::state::State;

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[
    Route {
        method: Method::POST,
        path: "/v1/events",
        right: Right::DebitNamed,
        summary: "Charge CloudEvents, each at most once.",
        query: no_query,
        body: EVENTS,
        answers: &[Answer::empty(204, "Each of them is charged, or was before.")],
        problems: refusals,
        handler: || web::to(ingest),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/events",
        right: Right::DebitNamed,
        summary: "The same, under the path that clients of OpenMeter know.",
        query: no_query,
        body: EVENTS,
        answers: &[Answer::empty(204, "Each of them is charged, or was before.")],
        problems: refusals,
        handler: || web::to(ingest),
    },
];

const EVENTS: Option<Body> = Some(Body {
    media: &["application/cloudevents+json", "application/cloudevents-batch+json", "application/json"],
    shape: Shape::of::<CloudEvents>(),
});
const MEDIA_TYPES: &str = "application/cloudevents+json, application/cloudevents-batch+json, \
                           or json with the attributes in ce- headers";

/// Charges the events of a body.
async fn ingest(
    request: HttpRequest,
    state: web::Data<State>,
    caller: Caller,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    if !caller.principal.has_somewhere(Role::Gateway) {
        return Err(Refusal::Forbidden.into());
    }
    let headers = request.headers();
    let mode = Mode::of(headers).filter(|_| !is_encoded(headers) && !is_other_charset(headers));
    let mode = mode.ok_or_else(|| Problem::unsupported_media_type(MEDIA_TYPES))?;
    let (most, key) = (state.limits.batch_debits_max, caller.principal.actor());
    let judge = |body: web::Bytes| async move {
        let mut events = Events::read(mode, (headers, &body), most, &caller.principal)?;
        drop(body);
        judge(&mut events, &caller).await;
        answer(events)
    };
    with_body(&state, state.limits.body_bytes_max, headers, (key, payload), judge).await
}

/// How one event is refused, or several of them at once.
fn refusals() -> Vec<Problem> {
    let of_debits = [
        Refusal::UnknownOrganization,
        Refusal::UnknownCamera,
        Refusal::CloudAiDisabled,
        Refusal::TooOld,
        Refusal::Conflict,
        Refusal::InTransfer,
        Refusal::InsufficientTokens,
        Refusal::Busy,
    ];
    let of_all = [Problem::events_refused(Vec::new())];
    of_debits.into_iter().map(Problem::from).chain(of_all).collect()
}

/// Sends the batches of all organizations, and then waits for each.
async fn judge(Events { groups, refused, .. }: &mut Events, caller: &Caller) {
    let send = |group: &mut Group| {
        let organization = caller.meter.organization(&caller.principal, &group.organization)?;
        organization.send_batch(&mut group.rows.batch, Durability::Durable)
    };
    let sent: Vec<_> = groups.iter_mut().map(send).collect();
    for (group, sent) in groups.iter_mut().zip(sent) {
        let replied = match sent {
            Ok(pending) => pending.await,
            Err(error) => Err(error),
        };
        match replied {
            Ok(reply) => {
                group.rows.batch = reply.batch;
                note_refusals(group, refused);
            }
            Err(error) => note_failure(group, &error, refused),
        }
    }
}

fn note_refusals(group: &Group, refused: &mut Vec<(usize, Problem)>) {
    let mut details = group.rows.details.iter().peekable();
    for (row, outcome) in group.rows.batch.outcomes().iter().enumerate() {
        let detail = details.next_if(|(flawed, _)| *flawed == row).map(|(_, detail)| detail.clone());
        if let Outcome::Refused(refusal) = outcome {
            let problem = Problem::from(*refusal);
            refused.push((group.places[row], problem.with_detail(detail)));
        }
    }
}

/// None of a batch that was not taken is charged, or none can be told.
fn note_failure(group: &Group, error: &Error, refused: &mut Vec<(usize, Problem)>) {
    refused.extend(group.places.iter().map(|place| (*place, Problem::from(error.clone()))));
}

fn answer(events: Events) -> Result<HttpResponse, Problem> {
    let count = events.count;
    let mut refused = events.into_refused();
    match refused.pop() {
        None => Ok(HttpResponse::NoContent().finish()),
        Some((_, problem)) if count == 1 => Err(problem),
        Some(last) => {
            refused.push(last);
            Err(Problem::events_refused(listed(refused)))
        }
    }
}
