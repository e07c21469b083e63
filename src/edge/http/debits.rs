//! The main job: a body of debits in, an outcome for each out.
//!
//! The batches are reused by each worker thread, and the answer is written into one buffer: a debit on its way allocates
//! nothing of its own.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt::Write as _;

use actix_web::http::Method;
use actix_web::http::header::ContentType;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::meter::{BatchReply, Durability, FirstOutcome, Outcome, Refusal, ReservationId};

use super::auth::{InOrganization, bearer_id};
use super::body::{Query, is_encoded, is_other_charset, media_type, with_body};
use super::debit_rows::{Format, Rows};
use super::debit_shape::{Debits, Judged};
use super::describe::{Answer, Body, Shape, query};
use super::problem::Problem;
use super::route::{Right, Route};
use super::state::State;

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[
    Route {
        method: Method::POST,
        path: "/v1/organizations/{org}/debits",
        right: Right::Debit,
        summary: "Charge debits to the pool, each at most once; each is judged by itself.",
        parameters: query::<Options>,
        body: DEBITS,
        answers: &[JUDGED],
        problems: || vec![Refusal::InTransfer.into()],
        handler: || web::to(debit),
    },
    Route {
        method: Method::POST,
        path: "/v1/organizations/{org}/reservations/{reservation}/debits",
        right: Right::Debit,
        summary: "Charge debits to a reservation, each at most once; each is judged by itself.",
        parameters: query::<Options>,
        body: DEBITS,
        answers: &[JUDGED],
        problems: || vec![Refusal::InTransfer.into()],
        handler: || web::to(debit),
    },
];

const DEBITS: Option<Body> = Some(Body {
    media: &["application/json", "application/x-ndjson", "application/msgpack"],
    shape: Shape::of::<Debits>(),
});
const JUDGED: Answer = Answer::json::<Judged>(200, "What became of each debit, in their order.");
const MEDIA_TYPES: &str = "application/json, application/x-ndjson or application/msgpack";
/// Batches that each worker thread keeps for reuse.
const KEPT_BATCHES: usize = 16;
/// Bytes of an answer for each debit that was charged.
const CHARGED_BYTES: usize = r#"{"outcome":"charged"},"#.len();

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    #[serde(default)]
    #[param(inline)]
    durability: DurabilityName,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum DurabilityName {
    #[default]
    Durable,
    Applied,
}

thread_local! {
    static KEPT: RefCell<Vec<Rows>> = const { RefCell::new(Vec::new()) };
}

/// Debits that the reservation in the path pays, or the pool where the path names none.
pub(super) async fn debit(
    request: HttpRequest,
    state: web::Data<State>,
    organization: InOrganization,
    options: Query<Options>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let reservation = request.match_info().get("reservation").map(str::parse::<ReservationId>).transpose()?;
    let organization = organization.0;
    organization.check_debit()?;
    let unsupported = || Problem::unsupported_media_type(MEDIA_TYPES);
    let format = Format::of(&media_type(request.headers())).ok_or_else(unsupported)?;
    if is_encoded(request.headers()) || is_other_charset(request.headers()) {
        return Err(unsupported());
    }
    let durability = match options.0.durability {
        DurabilityName::Durable => Durability::Durable,
        DurabilityName::Applied => Durability::Applied,
    };
    let most = state.limits.batch_debits_max;
    let judge = |body: web::Bytes| async move {
        let mut rows = take_rows();
        let read = rows.read(format, &body, most);
        rows.batch.pay_by(reservation);
        let judged = match read {
            Ok(()) => organization.send_batch(&mut rows.batch, durability).map_err(Problem::from),
            Err(problem) => Err(problem),
        };
        drop(body);
        let judged = match judged {
            Ok(pending) => pending.await.map_err(Problem::from),
            Err(problem) => Err(problem),
        };
        let answered = judged.map(|reply| answer(&mut rows, reply));
        keep_rows(rows);
        answered
    };
    let key = bearer_id(&request)?;
    with_body(&state, state.limits.body_bytes_max, &request, (key, payload), judge).await
}

/// Writes the answer, and takes the batch back.
fn answer(rows: &mut Rows, reply: BatchReply) -> HttpResponse {
    let BatchReply { batch, available, lsn, durability } = reply;
    let mut json = String::with_capacity(batch.len() * CHARGED_BYTES + 128);
    json.push_str(r#"{"results":["#);
    let mut details = rows.details.iter().peekable();
    for (row, outcome) in batch.outcomes().iter().enumerate() {
        if row > 0 {
            json.push(',');
        }
        let detail = details.next_if(|(flawed, _)| *flawed == row).map(|(_, detail)| detail.clone());
        write_outcome(&mut json, *outcome, detail);
    }
    let durability = match durability {
        Durability::Durable => "durable",
        Durability::Applied => "applied",
    };
    write!(json, r#"],"available":{available},"lsn":{lsn},"durability":"{durability}"}}"#)
        .expect("a string grows");
    rows.batch = batch;
    HttpResponse::Ok().content_type(ContentType::json()).body(json)
}

fn write_outcome(json: &mut String, outcome: Outcome, detail: Option<Cow<'static, str>>) {
    json.push_str(match outcome {
        Outcome::Charged => r#"{"outcome":"charged"}"#,
        Outcome::Exempt => r#"{"outcome":"exempt"}"#,
        Outcome::Duplicate(FirstOutcome::Charged) => r#"{"outcome":"duplicate","first":"charged"}"#,
        Outcome::Duplicate(FirstOutcome::Exempt) => r#"{"outcome":"duplicate","first":"exempt"}"#,
        Outcome::Refused(refusal) => return write_refusal(json, refusal, detail),
    });
}

fn write_refusal(json: &mut String, refusal: Refusal, detail: Option<Cow<'static, str>>) {
    let detail = detail.unwrap_or_else(|| refusal.to_string().into());
    let detail = serde_json::to_string(&detail).expect("text is JSON");
    let code = refusal.code();
    write!(json, r#"{{"outcome":"refused","code":"{code}","detail":{detail}}}"#).expect("a string grows");
}

pub(super) fn take_rows() -> Rows {
    KEPT.with_borrow_mut(Vec::pop).unwrap_or_default()
}

pub(super) fn keep_rows(rows: Rows) {
    KEPT.with_borrow_mut(|kept| {
        if kept.len() < KEPT_BATCHES {
            kept.push(rows);
        }
    });
}
