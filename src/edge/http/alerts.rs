//! Thresholds of an organization, which of them have fired, and what was told.
//!
//! What is set is read from the meter, where it is journaled; what came of it from the database of [`crate::alerts`], on a thread that
//! may block.

use std::sync::Arc;

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::alerts::{Alerting, AlertsError, NoticeRow, Reader};
use crate::meter::{ActorId, AlertId, Alerts, Lsn, Measure, OrgId, Refusal, Subject, Tag, Threshold};

use super::auth::{Caller, InOrganization};
use super::body::{Asks, Json, Query, administers, ok};
use super::conditions::{Conditions, TAGGED, condition_headers, tagged};
use super::describe::{Answer, Body, no_parameters, query};
use super::organizations::page_rows;
use super::problem::Problem;
use super::route::{Right, Route};
use super::state::State;
use super::time_text::TimeText;

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[
    Route {
        method: Method::GET,
        path: "/v1/organizations/{org}/alerts",
        right: Right::Read,
        summary: "List the thresholds, and which of them have fired.",
        parameters: no_parameters,
        body: None,
        answers: &[Answer::json::<List>(200, "The thresholds.").with(TAGGED)],
        problems: alerts_problems,
        handler: || web::to(list),
    },
    Route {
        method: Method::PUT,
        path: "/v1/organizations/{org}/alerts",
        right: Right::Administer,
        summary: "Set all thresholds.",
        parameters: condition_headers,
        body: Body::json::<ToSet>(),
        answers: &[Answer::json::<List>(200, "The thresholds.").with(TAGGED)],
        problems: || with_alerts(Refusal::PreconditionFailed),
        handler: || web::to(set),
    },
    Route {
        method: Method::GET,
        path: "/v1/organizations/{org}/alerts/log",
        right: Right::Read,
        summary: "What was told, newest first: thresholds that fired, and what else webhooks were called for.",
        parameters: query::<Asked>,
        body: None,
        answers: &[Answer::json::<Log>(200, "A page of the log.")],
        problems: alerts_problems,
        handler: || web::to(log),
    },
];

/// How routes may refuse that need alerts.
pub(super) fn alerts_problems() -> Vec<Problem> {
    vec![Problem::alerts_are_off(), Problem::alerts_unavailable(String::new())]
}

/// The same, and this refusal.
pub(super) fn with_alerts(refusal: Refusal) -> Vec<Problem> {
    std::iter::once(refusal.into()).chain(alerts_problems()).collect()
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewAlerts)]
pub(super) struct ToSet {
    #[schema(max_items = 32)]
    thresholds: Vec<ToWatch>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewThreshold)]
struct ToWatch {
    id: AlertId,
    measure: Measure,
    /// Fires at this and below, of refusals at this and above: tokens, percent, milliseconds, debits. Of `exhausted` it is 0.
    #[serde(default)]
    at: u64,
    /// Armed again at this and above, of refusals at this and below; left out: a tenth above (half, of refusals; for `exhausted` null).
    /// Null: armed again by tokens that come alone.
    #[serde(default, deserialize_with = "told")]
    #[schema(value_type = Option<u64>, required = false)]
    rearm: Option<Option<u64>>,
    /// For how long refusals are counted together; they alone have it.
    #[serde(default)]
    window_ms: Option<u64>,
}

/// Null is something else than nothing.
fn told<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<u64>>, D::Error> {
    Option::deserialize(from).map(Some)
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    before: Option<u64>,
    limit: Option<usize>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = AlertList)]
struct List {
    /// The version of what is set; 0 before anything was.
    version: u32,
    set_at: Option<TimeText>,
    by: Option<ActorId>,
    thresholds: Vec<ThresholdBody>,
    /// Durable frames for which it is not decided yet what fires.
    lag_frames: u64,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Threshold)]
struct ThresholdBody {
    id: AlertId,
    measure: Measure,
    at: u64,
    rearm: Option<u64>,
    window_ms: Option<u64>,
    /// `armed`, or `fired`.
    state: &'static str,
    fired_at: Option<TimeText>,
    /// What its measure was when it fired.
    fired_value: Option<u64>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = AlertLog)]
struct Log {
    notices: Vec<NoticeBody>,
    /// The `before` of the next page; null after the last.
    next: Option<u64>,
    lag_frames: u64,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Notice)]
struct NoticeBody {
    number: u64,
    /// The id of its message.
    id: String,
    lsn: Lsn,
    at: TimeText,
    topic: String,
    alert: Option<String>,
    /// The message, as webhooks get it.
    #[schema(value_type = Object)]
    message: Value,
}

impl Asks for ToSet {
    fn allow(caller: &Caller, request: &HttpRequest) -> Result<(), Problem> {
        administers(caller, request)
    }
}

/// The tag names what is set, not what has fired: so nobody is told here that nothing changed.
async fn list(request: HttpRequest, organization: InOrganization) -> Result<HttpResponse, Problem> {
    let alerts = organization.0.alerts().await?;
    show(&request, organization.0.id(), alerts).await
}

async fn set(
    request: HttpRequest,
    organization: InOrganization,
    conditions: Conditions,
    body: Json<ToSet>,
) -> Result<HttpResponse, Problem> {
    alerting(&request)?;
    let organization = conditions.apply(organization.0, Subject::Alerts);
    let thresholds = body.0.thresholds.into_iter().map(Threshold::from).collect();
    let alerts = organization.set_thresholds(thresholds).await?;
    show(&request, organization.id(), alerts).await
}

async fn log(
    request: HttpRequest,
    organization: InOrganization,
    asked: Query<Asked>,
) -> Result<HttpResponse, Problem> {
    organization.0.alerts().await?;
    let (before, rows) = (asked.0.before, page_rows(asked.0.limit)?);
    let read = move |reader: &Reader| Ok((reader.notices(before, rows)?, reader.lag_frames()));
    let (page, lag_frames) = read_alerts(&request, organization.0.id(), read).await?;
    let notices = page.rows.into_iter().map(NoticeBody::from).collect();
    Ok(ok(Log { notices, next: page.next, lag_frames }))
}

async fn show(
    request: &HttpRequest,
    organization: &OrgId,
    alerts: Option<Alerts>,
) -> Result<HttpResponse, Problem> {
    let thresholds = alerts.as_ref().map_or_else(Vec::new, |alerts| alerts.thresholds.clone());
    let read = move |reader: &Reader| {
        let state = |threshold: Threshold| {
            let fired = reader.fired(&threshold.id);
            let Threshold { id, measure, at, rearm, window_ms } = threshold;
            let state = if fired.is_some() { "fired" } else { "armed" };
            let fired_at = fired.map(|fired| fired.at.into());
            let fired_value = fired.map(|fired| fired.value);
            ThresholdBody { id, measure, at, rearm, window_ms, state, fired_at, fired_value }
        };
        Ok((thresholds.into_iter().map(state).collect(), reader.lag_frames()))
    };
    let (thresholds, lag_frames) = read_alerts(request, organization, read).await?;
    let tag = alerts.as_ref().map(Tag::of_alerts);
    let (version, set_at) =
        alerts.as_ref().map_or((0, None), |alerts| (alerts.version, Some(alerts.at.into())));
    let by = alerts.map(|alerts| alerts.by);
    let answer = ok(List { version, set_at, by, thresholds, lag_frames });
    Ok(if let Some(tag) = tag { tagged(answer, tag) } else { answer })
}

/// The alerts that the server decides.
///
/// # Errors
/// When it decides none.
pub(super) fn alerting(request: &HttpRequest) -> Result<Arc<Alerting>, Problem> {
    let state = request.app_data::<web::Data<State>>().expect("the routes are set up with their state");
    state.alerting().cloned().ok_or_else(Problem::alerts_are_off)
}

/// Reads the alerts of an organization, on a thread that may block.
pub(super) async fn read_alerts<T: Send + 'static>(
    request: &HttpRequest,
    organization: &OrgId,
    find: impl FnOnce(&Reader) -> Result<T, AlertsError> + Send + 'static,
) -> Result<T, Problem> {
    let (alerting, id) = (alerting(request)?, organization.clone());
    blocking(move || find(&alerting.read(&id)?)).await
}

/// Works on the database on a thread that may block.
pub(in crate::edge) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AlertsError> + Send + 'static,
) -> Result<T, Problem> {
    let done = web::block(work).await.map_err(|_| Problem::from(AlertsError::NotYet))?;
    done.map_err(Problem::from)
}

impl From<AlertsError> for Problem {
    fn from(error: AlertsError) -> Self {
        match error {
            AlertsError::NotYet => Self::alerts_unavailable(error.to_string()),
            fault => {
                tracing::warn!(%fault, "alerts could not be read");
                Self::alerts_unavailable("the alerts cannot be read now; the log says why".to_owned())
            }
        }
    }
}

impl From<ToWatch> for Threshold {
    fn from(ToWatch { id, measure, at, rearm, window_ms }: ToWatch) -> Self {
        let rearm = rearm.unwrap_or_else(|| measure.rearm_default(at));
        Self { id, measure, at, rearm, window_ms }
    }
}

impl From<NoticeRow> for NoticeBody {
    fn from(NoticeRow { number, id, lsn, at, topic, alert, message }: NoticeRow) -> Self {
        let message = serde_json::from_str(&message).unwrap_or_default();
        Self { number, id, lsn, at: at.into(), topic, alert, message }
    }
}
