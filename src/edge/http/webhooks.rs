//! Webhooks of an organization: where they are, their secrets, and what was delivered to them.
//!
//! A secret is in the answer of one route alone, which an administrator asks, and which is recorded.

use std::sync::Arc;

use actix_web::http::Method;
use actix_web::http::header::{CACHE_CONTROL, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::alerts::{self, Attempt, DeliveryQuery, DeliveryRow, Reader};
use crate::edge::webhooks::WebhookKey;
use crate::meter::{Alerts, Limit, Refusal, Subject, Tag, Topic, Webhook, WebhookId, WebhookUrl};

use super::alerts::{alerting, alerts_problems, blocking, read_alerts, with_alerts};
use super::auth::{Caller, InOrganization, path_id};
use super::body::{Asks, Json, Query, administers, created, ok};
use super::conditions::{Conditions, TAGGED, condition_headers, tagged};
use super::describe::{Answer, Body, no_parameters, query};
use super::organizations::page_rows;
use super::problem::Problem;
use super::route::{Right, Route};
use super::state::State;
use super::time_text::TimeText;

/// How long two secrets count together unless something else is said, in milliseconds.
const OVERLAP_MS_DEFAULT: u64 = 24 * 60 * 60 * 1_000;

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[
    Route {
        method: Method::GET,
        path: "/v1/organizations/{org}/webhooks",
        right: Right::Read,
        summary: "List the webhooks.",
        parameters: no_parameters,
        body: None,
        answers: &[Answer::json::<List>(
            200,
            "The webhooks, without their secrets; their paths for an administrator alone.",
        )
        .with(TAGGED)],
        problems: alerts_problems,
        handler: || web::to(list),
    },
    Route {
        method: Method::PUT,
        path: "/v1/organizations/{org}/webhooks/{webhook}",
        right: Right::Administer,
        summary: "Set the address of a webhook, and what it is called for; one that was off is called again.",
        parameters: condition_headers,
        body: Body::json::<ToSet>(),
        answers: &[Answer::json::<WebhookBody>(200, "The webhook.").with(TAGGED)],
        problems: || {
            let refusals = [Refusal::PreconditionFailed, Refusal::LimitReached(Limit::Webhooks)];
            refusals.into_iter().map(Problem::from).chain(alerts_problems()).collect()
        },
        handler: || web::to(set),
    },
    Route {
        method: Method::DELETE,
        path: "/v1/organizations/{org}/webhooks/{webhook}",
        right: Right::Administer,
        summary: "Remove a webhook; what waits for it is not sent.",
        parameters: condition_headers,
        body: None,
        answers: &[Answer::empty(204, "It is removed.")],
        problems: || vec![Refusal::PreconditionFailed.into(), Refusal::UnknownWebhook.into()],
        handler: || web::to(remove),
    },
    Route {
        method: Method::GET,
        path: "/v1/organizations/{org}/webhooks/{webhook}/secret",
        right: Right::Administer,
        summary: "Show the secrets that deliveries to a webhook are signed with.",
        parameters: no_parameters,
        body: None,
        answers: &[Answer::json::<SecretBody>(200, "The secrets.")],
        problems: || with_alerts(Refusal::UnknownWebhook),
        handler: || web::to(secret),
    },
    Route {
        method: Method::POST,
        path: "/v1/organizations/{org}/webhooks/{webhook}/secret",
        right: Right::Administer,
        summary: "Give a webhook a new secret; the one before counts for a while too.",
        parameters: condition_headers,
        body: Body::json::<ToRotate>(),
        answers: &[Answer::json::<WebhookBody>(200, "The webhook.").with(TAGGED)],
        problems: || {
            let refusals = [Refusal::PreconditionFailed, Refusal::UnknownWebhook];
            refusals.into_iter().map(Problem::from).chain(alerts_problems()).collect()
        },
        handler: || web::to(rotate),
    },
    Route {
        method: Method::GET,
        path: "/v1/organizations/{org}/deliveries",
        right: Right::Read,
        summary: "List deliveries to webhooks, newest first.",
        parameters: query::<Asked>,
        body: None,
        answers: &[Answer::json::<Deliveries>(200, "A page of deliveries.")],
        problems: alerts_problems,
        handler: || web::to(deliveries),
    },
    Route {
        method: Method::GET,
        path: "/v1/organizations/{org}/deliveries/{delivery}",
        right: Right::Read,
        summary: "Show a delivery, its attempts and its message.",
        parameters: no_parameters,
        body: None,
        answers: &[Answer::json::<WholeDelivery>(200, "The delivery.")],
        problems: || with_alerts(Refusal::UnknownDelivery),
        handler: || web::to(delivery),
    },
    Route {
        method: Method::POST,
        path: "/v1/organizations/{org}/deliveries",
        right: Right::Administer,
        summary: "Send the message of a delivery again, under the same id.",
        parameters: no_parameters,
        body: Body::json::<ToReplay>(),
        answers: &[Answer::json::<WholeDelivery>(201, "The new delivery.")],
        problems: || with_alerts(Refusal::UnknownDelivery),
        handler: || web::to(replay),
    },
];

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewWebhook)]
pub(super) struct ToSet {
    url: WebhookUrl,
    /// What it is called for; everything when it is left out or empty.
    #[serde(default)]
    topics: Vec<Topic>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewSecret)]
pub(super) struct ToRotate {
    /// For how long the secret before counts too; a day when it is left out.
    #[serde(default = "overlap")]
    #[schema(maximum = 604_800_000)]
    overlap_ms: u64,
}

fn overlap() -> u64 {
    OVERLAP_MS_DEFAULT
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewDelivery)]
pub(super) struct ToReplay {
    /// The delivery whose message is sent again.
    #[schema(maximum = 4_611_686_018_427_387_903_u64)]
    replay: u64,
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = DeliveryState)]
enum StateName {
    Pending,
    Delivered,
    Failed,
    Cancelled,
    Off,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    #[param(value_type = Option<String>)]
    webhook: Option<WebhookId>,
    #[param(inline)]
    state: Option<StateName>,
    before: Option<u64>,
    limit: Option<usize>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = WebhookList)]
struct List {
    /// The version of what is set; 0 before anything was.
    version: u32,
    webhooks: Vec<WebhookBody>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Webhook)]
struct WebhookBody {
    id: WebhookId,
    url: WebhookUrl,
    topics: Vec<Topic>,
    /// `on`, or `off` after it answered that it is gone.
    state: &'static str,
    off_since: Option<TimeText>,
    /// Deliveries that wait.
    pending: u64,
    /// The version at which its secret was made.
    secret_version: u32,
    /// Until when the secret before counts too; null when it does not.
    previous_secret_until: Option<TimeText>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = WebhookSecrets)]
struct SecretBody {
    id: WebhookId,
    secret: String,
    previous: Option<String>,
    previous_until: Option<TimeText>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = DeliveryList)]
struct Deliveries {
    deliveries: Vec<DeliveryBody>,
    /// The `before` of the next page; null after the last.
    next: Option<u64>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Delivery)]
struct DeliveryBody {
    number: u64,
    webhook: String,
    /// The id of the message.
    message_id: String,
    topic: String,
    state: StateName,
    made_at: TimeText,
    /// When it is tried next, while it is pending.
    due_at: Option<TimeText>,
    attempts: u32,
    /// The delivery that it repeats.
    replays: Option<u64>,
    last: Option<AttemptBody>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = DeliveryAttempt)]
struct AttemptBody {
    at: TimeText,
    took_ms: u64,
    status: Option<u16>,
    error: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = WholeDelivery)]
struct WholeDelivery {
    #[serde(flatten)]
    delivery: DeliveryBody,
    tried: Vec<AttemptBody>,
    #[schema(value_type = Object)]
    message: Value,
}

impl Asks for ToSet {
    fn allow(caller: &Caller, request: &HttpRequest) -> Result<(), Problem> {
        administers(caller, request)
    }
}

impl Asks for ToRotate {
    fn allow(caller: &Caller, request: &HttpRequest) -> Result<(), Problem> {
        administers(caller, request)
    }
}

impl Asks for ToReplay {
    fn allow(caller: &Caller, request: &HttpRequest) -> Result<(), Problem> {
        administers(caller, request)
    }
}

async fn list(
    request: HttpRequest,
    caller: Caller,
    organization: InOrganization,
) -> Result<HttpResponse, Problem> {
    let alerts = organization.0.alerts().await?;
    let tag = alerts.as_ref().map(Tag::of_alerts);
    let version = alerts.as_ref().map_or(0, |alerts| alerts.version);
    let webhooks = alerts.map_or_else(Vec::new, |alerts| alerts.webhooks);
    let read = move |reader: &Reader| webhooks.into_iter().map(|one| shown(reader, one)).collect();
    let mut webhooks: Vec<WebhookBody> = read_alerts(&request, organization.0.id(), read).await?;
    if administers(&caller, &request).is_err() {
        // Some services take the path itself for a secret.
        webhooks.iter_mut().for_each(|one| one.url = one.url.without_path());
    }
    let answer = ok(List { version, webhooks });
    Ok(if let Some(tag) = tag { tagged(answer, tag) } else { answer })
}

async fn set(
    request: HttpRequest,
    organization: InOrganization,
    conditions: Conditions,
    body: Json<ToSet>,
) -> Result<HttpResponse, Problem> {
    let (id, alerting) = (path_id::<WebhookId>(&request, "webhook")?, alerting(&request)?);
    let organization = conditions.apply(organization.0, Subject::Alerts);
    let ToSet { url, topics } = body.0;
    let alerts = organization.set_webhook(id.clone(), url, topics).await?;
    let (org, webhook) = (organization.id().clone(), id.clone());
    let switch_on = move || alerting.read(&org).and_then(|_| alerting.switch_on(&org, &webhook));
    blocking(switch_on).await?;
    show(&request, &organization, alerts, &id).await
}

async fn remove(
    request: HttpRequest,
    organization: InOrganization,
    conditions: Conditions,
) -> Result<HttpResponse, Problem> {
    let id = path_id(&request, "webhook")?;
    conditions.apply(organization.0, Subject::Alerts).remove_webhook(id).await?;
    Ok(HttpResponse::NoContent().finish())
}

async fn secret(
    request: HttpRequest,
    caller: Caller,
    organization: InOrganization,
) -> Result<HttpResponse, Problem> {
    administers(&caller, &request)?;
    let (id, key) = (path_id::<WebhookId>(&request, "webhook")?, key(&request)?);
    let organization = organization.0;
    let find = async {
        let alerts = organization.alerts().await?;
        let webhook = alerts.and_then(|alerts| alerts.webhook(&id).cloned());
        Ok(webhook.ok_or(Refusal::UnknownWebhook)?)
    };
    let webhook = organization.administered("read_webhook_secret", id.to_string(), find).await?;
    let secrets = key.secrets(organization.id(), &webhook, caller.meter.now());
    let (previous, until) = secrets.previous.map(|(secret, until)| (secret.text(), until.into())).unzip();
    let mut answer = ok(SecretBody { id, secret: secrets.current.text(), previous, previous_until: until });
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(answer)
}

async fn rotate(
    request: HttpRequest,
    organization: InOrganization,
    conditions: Conditions,
    body: Json<ToRotate>,
) -> Result<HttpResponse, Problem> {
    let id = path_id::<WebhookId>(&request, "webhook")?;
    alerting(&request)?;
    let organization = conditions.apply(organization.0, Subject::Alerts);
    let alerts = organization.rotate_secret(id.clone(), body.0.overlap_ms).await?;
    show(&request, &organization, alerts, &id).await
}

async fn deliveries(
    request: HttpRequest,
    organization: InOrganization,
    asked: Query<Asked>,
) -> Result<HttpResponse, Problem> {
    organization.0.alerts().await?;
    let Asked { webhook, state, before, limit } = asked.0;
    let query =
        DeliveryQuery { webhook, state: state.map(alerts::State::from), before, rows: page_rows(limit)? };
    let read = move |reader: &Reader| reader.deliveries(&query);
    let page = read_alerts(&request, organization.0.id(), read).await?;
    let deliveries = page.rows.into_iter().map(DeliveryBody::from).collect();
    Ok(ok(Deliveries { deliveries, next: page.next }))
}

async fn delivery(request: HttpRequest, organization: InOrganization) -> Result<HttpResponse, Problem> {
    organization.0.alerts().await?;
    let number = request.match_info().get("delivery").and_then(|number| number.parse().ok());
    let number: u64 = number.ok_or(Refusal::UnknownDelivery)?;
    Ok(ok(whole(&request, &organization.0, number).await?))
}

async fn replay(
    request: HttpRequest,
    organization: InOrganization,
    body: Json<ToReplay>,
) -> Result<HttpResponse, Problem> {
    let (organization, alerting) = (organization.0, alerting(&request)?);
    let (org, number) = (organization.id().clone(), body.0.replay);
    let known = whole(&request, &organization, number).await?;
    let mut failed = None;
    let work = async {
        let made = blocking(move || alerting.replay(&org, known.delivery.number)).await;
        let made = made.map_err(|problem| failed = Some(problem)).unwrap_or_default();
        Ok(made.ok_or(Refusal::UnknownDelivery)?)
    };
    let made = organization.administered("replay_delivery", number.to_string(), work).await;
    if let Some(problem) = failed {
        return Err(problem);
    }
    Ok(created(whole(&request, &organization, made?).await?))
}

async fn whole(
    request: &HttpRequest,
    organization: &crate::meter::Organization,
    number: u64,
) -> Result<WholeDelivery, Problem> {
    let read = move |reader: &Reader| reader.delivery(number);
    let found = read_alerts(request, organization.id(), read).await?;
    let (row, attempts, message) = found.ok_or(Refusal::UnknownDelivery)?;
    let tried = attempts.into_iter().map(AttemptBody::from).collect();
    let message = serde_json::from_str(&message).unwrap_or_default();
    Ok(WholeDelivery { delivery: row.into(), tried, message })
}

async fn show(
    request: &HttpRequest,
    organization: &crate::meter::Organization,
    alerts: Option<Alerts>,
    id: &WebhookId,
) -> Result<HttpResponse, Problem> {
    let alerts = alerts.ok_or(Refusal::UnknownWebhook)?;
    let webhook = alerts.webhook(id).cloned().ok_or(Refusal::UnknownWebhook)?;
    let read = move |reader: &Reader| shown(reader, webhook);
    let shown = read_alerts(request, organization.id(), read).await?;
    Ok(tagged(ok(shown), Tag::of_alerts(&alerts)))
}

fn shown(reader: &Reader, webhook: Webhook) -> Result<WebhookBody, alerts::AlertsError> {
    let off_since = reader.off_since(&webhook.id, webhook.set)?;
    let pending = reader.pending(&webhook.id)?;
    let Webhook { id, url, topics, secret, previous, .. } = webhook;
    Ok(WebhookBody {
        id,
        url,
        topics,
        state: if off_since.is_some() { "off" } else { "on" },
        off_since: off_since.map(TimeText::from),
        pending,
        secret_version: secret,
        previous_secret_until: previous.map(|previous| previous.until.into()),
    })
}

fn key(request: &HttpRequest) -> Result<Arc<WebhookKey>, Problem> {
    alerting(request)?;
    let state = request.app_data::<web::Data<State>>().expect("the routes are set up with their state");
    let unavailable =
        || Problem::alerts_unavailable("the key of webhooks cannot be used; the log says why".to_owned());
    state.webhook_key().cloned().ok_or_else(unavailable)
}

impl From<StateName> for alerts::State {
    fn from(name: StateName) -> Self {
        match name {
            StateName::Pending => Self::Pending,
            StateName::Delivered => Self::Delivered,
            StateName::Failed => Self::Failed,
            StateName::Cancelled => Self::Cancelled,
            StateName::Off => Self::Off,
        }
    }
}

impl From<alerts::State> for StateName {
    fn from(state: alerts::State) -> Self {
        match state {
            alerts::State::Pending => Self::Pending,
            alerts::State::Delivered => Self::Delivered,
            alerts::State::Failed => Self::Failed,
            alerts::State::Cancelled => Self::Cancelled,
            alerts::State::Off => Self::Off,
        }
    }
}

impl From<DeliveryRow> for DeliveryBody {
    fn from(row: DeliveryRow) -> Self {
        Self {
            number: row.number,
            webhook: row.webhook,
            message_id: row.id,
            topic: row.topic,
            state: row.state.into(),
            made_at: row.made.into(),
            due_at: row.due.map(TimeText::from),
            attempts: row.attempts,
            replays: row.replays,
            last: row.last.map(AttemptBody::from),
        }
    }
}

impl From<Attempt> for AttemptBody {
    fn from(Attempt { at, took_ms, status, error }: Attempt) -> Self {
        Self { at: at.into(), took_ms, status, error }
    }
}
