//! CloudEvents in, as every client of the specification sends them: 204 when each of them is charged, or was before.
//!
//! They are debits like any other, of which this is one more form. An answer says that they are durable. Deliberately absent: an
//! event store; what an event holds beyond its debit is gone.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::iter::zip;

use actix_web::body::to_bytes;
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::meter::{Durability, Error, Estimate, Invalid, OrgId, Outcome, Refusal, Role};

use super::auth::Caller;
use super::body::{Query, is_encoded, is_other_charset, ok, with_body};
use super::carried::Arrival;
use super::carry;
use super::debit_shape::CloudEvents;
use super::describe::{Answer, Body, Shape, query};
use super::event_rows::{Events, Group, Mode, listed};
use super::problem::{Problem, RefusedEvent};
use super::route::{Right, Route};
use super::state::State;

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[
    Route {
        method: Method::POST,
        path: "/v1/events",
        right: Right::DebitNamed,
        summary: "Charge CloudEvents, each at most once.",
        parameters: query::<Options>,
        body: EVENTS,
        answers: &ANSWERS,
        problems: refusals,
        handler: || web::to(ingest),
    },
    Route {
        method: Method::POST,
        path: "/api/v1/events",
        right: Right::DebitNamed,
        summary: "The same, under the path that clients of OpenMeter know.",
        parameters: query::<Options>,
        body: EVENTS,
        answers: &ANSWERS,
        problems: refusals,
        handler: || web::to(ingest),
    },
];

const ANSWERS: [Answer; 2] = [
    Answer::empty(204, "Each of them is charged, or was before."),
    Answer::json::<Estimates>(
        200,
        "With dry_run: what each would cost if it came alone; nothing was charged.",
    ),
];
const EVENTS: Option<Body> = Some(Body {
    media: &["application/cloudevents+json", "application/cloudevents-batch+json", "application/json"],
    shape: Shape::of::<CloudEvents>(),
});
const MEDIA_TYPES: &str = "application/cloudevents+json, application/cloudevents-batch+json, \
                           or json with the attributes in ce- headers";

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct Options {
    /// Whether only what the events would cost is asked for.
    #[serde(default)]
    #[param(required = false)]
    dry_run: bool,
}

/// What an owner refused of several events.
#[derive(Default, Deserialize)]
struct Told {
    events: Vec<ToldEvent>,
}

#[derive(Deserialize)]
struct ToldEvent {
    index: usize,
    code: String,
    detail: String,
}

/// What events would cost.
#[derive(Default, Serialize, ToSchema)]
struct Estimates {
    /// Of those that would be charged, in all.
    tokens: u64,
    results: Vec<Estimated>,
}

#[derive(Default, Serialize, ToSchema)]
struct Estimated {
    index: usize,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    organization: Option<OrgId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_card: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<Cow<'static, str>>,
}

/// Charges the events of a body.
async fn ingest(
    request: HttpRequest,
    state: web::Data<State>,
    caller: Caller,
    options: Query<Options>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    if !caller.principal.has_somewhere(Role::Gateway) {
        return Err(Refusal::Forbidden.into());
    }
    let headers = request.headers();
    let mode = Mode::of(headers).filter(|_| !is_encoded(headers) && !is_other_charset(headers));
    let mode = mode.ok_or_else(|| Problem::unsupported_media_type(MEDIA_TYPES))?;
    let (most, key) = (state.limits.batch_debits_max, caller.principal.actor());
    let (who, is_dry) = (&caller, options.0.dry_run);
    let judge = |body: web::Bytes| async move {
        let mut events = Events::read(mode, (headers, &body), most, &who.principal)?;
        drop(body);
        if !is_dry {
            judge(&mut events, who).await;
        }
        Ok(events)
    };
    let read = with_body(&state, state.limits.body_bytes_max, &request, (key, payload), judge);
    let mut events = read.await?;
    if is_dry {
        return estimate(events, &caller).await;
    }
    ask_owners(&request, &mut events).await;
    answer(events)
}

/// Has other nodes judge the events of what they own: each owner gets all of them, and judges its own. A request of one event is carried as every other.
async fn ask_owners(request: &HttpRequest, events: &mut Events) {
    if events.count == 1 || Arrival::of(request).is_some() {
        return;
    }
    let partitions = events.refused.iter().filter_map(|(_, problem)| problem.elsewhere());
    for partition in partitions.collect::<BTreeSet<_>>() {
        let Some((answer, _)) = carry::on(request, partition, None).await else { continue };
        let is_whole = answer.status() == StatusCode::NO_CONTENT;
        let Ok(body) = to_bytes(answer.into_body()).await else { continue };
        let told = if is_whole { Ok(Told::default()) } else { serde_json::from_slice::<Told>(&body) };
        if let Ok(told) = told {
            note_owner(&mut events.refused, partition, &told);
        }
    }
}

/// Takes what an owner said of the events of its partition.
fn note_owner(refused: &mut Vec<(usize, Problem)>, partition: u16, told: &Told) {
    refused.retain_mut(|(place, problem)| {
        if problem.elsewhere() != Some(partition) {
            return true;
        }
        let Some(told) = told.events.iter().find(|event| event.index == *place) else { return false };
        let mut all = refusals().into_iter().chain([Refusal::Invalid(Invalid::Syntax).into()]);
        let known = all.find(|known| known.code() == told.code);
        if let Some(known) = known {
            *problem = known.with_detail(Some(told.detail.clone().into()));
        }
        true
    });
}

/// How one event is refused, or several of them at once.
fn refusals() -> Vec<Problem> {
    let of_debits = [
        Refusal::UnknownOrganization,
        Refusal::UnknownCamera,
        Refusal::OtherNetwork,
        Refusal::CloudAiDisabled,
        Refusal::TooOld,
        Refusal::Conflict,
        Refusal::Unpriced,
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
    for (row, outcome) in group.rows.batch.outcomes().iter().enumerate() {
        if let Outcome::Refused(refusal) = outcome {
            refused.push((group.places[row], group.rows.problem(row, *refusal)));
        }
    }
}

/// What each event would cost if it came alone.
async fn estimate(mut events: Events, caller: &Caller) -> Result<HttpResponse, Problem> {
    let mut all = Estimates::default();
    for group in &mut events.groups {
        let organization = caller.meter.organization(&caller.principal, &group.organization)?;
        let estimates = organization.estimate(std::mem::take(&mut group.rows.batch)).await?;
        for (row, (place, estimate)) in zip(&group.places, estimates).enumerate() {
            match estimate.outcome {
                Outcome::Refused(refusal) => events.refused.push((*place, group.rows.problem(row, refusal))),
                _ => all.add(*place, &group.organization, estimate),
            }
        }
    }
    let refused =
        listed(events.into_refused()).into_iter().map(|RefusedEvent { index, code, detail, .. }| {
            let (code, detail) = (Some(code), Some(detail));
            Estimated { index, outcome: "refused", code, detail, ..Estimated::default() }
        });
    all.results.extend(refused);
    all.results.sort_by_key(|result| result.index);
    Ok(ok(all))
}

impl Estimates {
    fn add(&mut self, index: usize, organization: &OrgId, estimate: Estimate) {
        let outcome = match estimate.outcome {
            Outcome::Charged => "charged",
            Outcome::Exempt => "exempt",
            Outcome::Duplicate(_) => "duplicate",
            Outcome::Refused(_) => "refused",
        };
        if estimate.outcome == Outcome::Charged {
            self.tokens += u64::from(estimate.tokens);
        }
        let (organization, tokens) = (Some(organization.clone()), Some(estimate.tokens));
        let rate_card = estimate.rate_card;
        self.results.push(Estimated {
            index,
            outcome,
            organization,
            tokens,
            rate_card,
            ..Estimated::default()
        });
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
