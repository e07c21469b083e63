//! Webhooks of an organization, and the log of their deliveries.
//!
//! A secret is shown once, on the page that follows the form that asks for it; that it was read is recorded.

use actix_web::HttpResponse;
use askama::Template;

use crate::alerts::{AlertsError, DeliveryQuery, DeliveryRow, Reader, State};
use crate::edge::http::route::Right;
use crate::edge::http::{Problem, blocking};
use crate::meter::{Action, Invalid, Refusal, Topic, Webhook, WebhookId, WebhookUrl};

use super::alerts::{decided, path, provided, read};
use super::answer;
use super::route::{Route, form, page};
use super::session::Notice;
use super::shell::Shell;
use super::text::{Count, Time};
use super::visit::{Visit, path_id};

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[
    form("/console/organizations/{org}/webhooks", Right::Administer, Some("set_webhook"), |visit| {
        Box::pin(set(visit))
    }),
    form(
        "/console/organizations/{org}/webhooks/{webhook}/remove",
        Right::Administer,
        Some("remove_webhook"),
        |visit| Box::pin(remove(visit)),
    ),
    form(
        "/console/organizations/{org}/webhooks/{webhook}/secret",
        Right::Administer,
        Some("read_webhook_secret"),
        |visit| Box::pin(secret(visit)),
    ),
    form(
        "/console/organizations/{org}/webhooks/{webhook}/rotate",
        Right::Administer,
        Some("rotate_webhook_secret"),
        |visit| Box::pin(rotate(visit)),
    ),
    page("/console/organizations/{org}/deliveries", Right::Read, |visit| Box::pin(deliveries(visit))),
    form(
        "/console/organizations/{org}/deliveries/{delivery}/replay",
        Right::Administer,
        Some("replay_delivery"),
        |visit| Box::pin(replay(visit)),
    ),
];

/// Deliveries on a page.
const ROWS: usize = 100;
/// How long the secret before signs too, in milliseconds: a day.
const OVERLAP_MS: u64 = 24 * 60 * 60 * 1_000;

/// A webhook as it is shown.
pub(super) struct Hook {
    pub(super) id: String,
    pub(super) url: String,
    pub(super) topics: Vec<&'static str>,
    pub(super) off_since: Option<Time>,
    pub(super) pending: Count,
}

#[derive(Template)]
#[template(path = "console/deliveries.html")]
struct DeliveriesPage {
    shell: Shell,
    id: String,
    name: String,
    is_admin: bool,
    rows: Vec<Row>,
    next: Option<u64>,
    states: [&'static str; 5],
    webhook: String,
    state: String,
    is_first: bool,
}

/// A delivery as it is shown.
struct Row {
    number: u64,
    webhook: String,
    topic: String,
    message: String,
    state: &'static str,
    made: Time,
    due: Option<Time>,
    attempts: u32,
    /// What the last attempt was answered, and when.
    last: Option<(Time, String)>,
    replays: Option<u64>,
}

impl Hook {
    /// As an administrator sees it. Everybody else sees whom it leads to and not where there, which some services take for a secret.
    ///
    /// # Errors
    /// When its state cannot be read.
    pub(super) fn new(reader: &Reader, hook: &Webhook, is_admin: bool) -> Result<Self, AlertsError> {
        let url = if is_admin { hook.url.clone() } else { hook.url.without_path() };
        let off_since = reader.off_since(&hook.id, hook.set)?.map(Time);
        let pending = Count(reader.pending(&hook.id)?);
        let topics = hook.topics.iter().map(|topic| topic.name()).collect();
        Ok(Self { id: hook.id.to_string(), url: url.as_str().to_owned(), topics, off_since, pending })
    }
}

async fn set(visit: Visit) -> Result<HttpResponse, Problem> {
    let (organization, _) = visit.organization().await?;
    let alerting = visit.visitor.state.alerting().cloned().ok_or_else(Problem::alerts_are_off)?;
    let id: WebhookId = visit.form.text("id").parse()?;
    let url = WebhookUrl::new(visit.form.text("url"))?;
    let topics = visit.form.all("topic").map(Topic::of_name).collect::<Option<Vec<_>>>();
    let topics = topics.ok_or(Refusal::Invalid(Invalid::Syntax))?;
    provided(&visit, &organization)?.set_webhook(id.clone(), url, topics).await?;
    let (org, webhook) = (organization.id().clone(), id.clone());
    blocking(move || alerting.read(&org).and_then(|_| alerting.switch_on(&org, &webhook))).await?;
    visit
        .visitor
        .leave(Notice::new(format!("The webhook {id} is set. Read its secret to verify what it sends.")));
    Ok(answer::see_other(&path(organization.id())))
}

async fn remove(visit: Visit) -> Result<HttpResponse, Problem> {
    let (organization, _) = visit.organization().await?;
    let id: WebhookId = path_id(&visit.request, "webhook")?;
    provided(&visit, &organization)?.remove_webhook(id.clone()).await?;
    visit
        .visitor
        .leave(Notice::new(format!("The webhook {id} was removed. What waited for it is not sent.")));
    Ok(answer::see_other(&path(organization.id())))
}

async fn secret(visit: Visit) -> Result<HttpResponse, Problem> {
    let (organization, _) = visit.organization().await?;
    decided(&visit)?;
    let id: WebhookId = path_id(&visit.request, "webhook")?;
    let unavailable =
        || Problem::alerts_unavailable("the key of webhooks cannot be used; the log says why".to_owned());
    let key = visit.visitor.state.webhook_key().cloned().ok_or_else(unavailable)?;
    let find = async {
        let alerts = organization.alerts().await?;
        let webhook = alerts.and_then(|alerts| alerts.webhook(&id).cloned());
        Ok(webhook.ok_or(Refusal::UnknownWebhook)?)
    };
    let webhook = organization.administered("read_webhook_secret", id.to_string(), find).await?;
    let secrets = key.secrets(organization.id(), &webhook, visit.visitor.meter.now());
    let text = format!("The secret of the webhook {id}.");
    visit.visitor.leave(Notice { text, secret: Some(secrets.current.text()) });
    Ok(answer::see_other(&path(organization.id())))
}

async fn rotate(visit: Visit) -> Result<HttpResponse, Problem> {
    let (organization, _) = visit.organization().await?;
    decided(&visit)?;
    let id: WebhookId = path_id(&visit.request, "webhook")?;
    provided(&visit, &organization)?.rotate_secret(id.clone(), OVERLAP_MS).await?;
    let text = format!("The webhook {id} has a new secret. The one before signs beside it for 24 hours.");
    visit.visitor.leave(Notice::new(text));
    Ok(answer::see_other(&path(organization.id())))
}

async fn deliveries(visit: Visit) -> Result<HttpResponse, Problem> {
    let (organization, summary) = visit.organization().await?;
    let given = |name| Some(visit.form.text(name)).filter(|text| !text.is_empty());
    let state = given("state").and_then(|name| State::ALL.into_iter().find(|state| state.name() == name));
    let before =
        given("before").map(str::parse).transpose().map_err(|_| Refusal::Invalid(Invalid::Syntax))?;
    let webhook = given("webhook").map(str::parse).transpose()?;
    let query = DeliveryQuery { webhook, state, before, rows: ROWS };
    let page = read(&visit, organization.id(), move |reader: &Reader| reader.deliveries(&query)).await?;
    Ok(answer::page(&DeliveriesPage {
        shell: Shell::of(&visit.visitor, &visit.request, "Deliveries"),
        id: organization.id().to_string(),
        name: summary.name.to_string(),
        is_admin: visit.visitor.may(Action::Administer(organization.id())),
        rows: page.rows.into_iter().map(Row::from).collect(),
        next: page.next,
        states: State::ALL.map(State::name),
        webhook: visit.form.text("webhook").to_owned(),
        state: visit.form.text("state").to_owned(),
        is_first: before.is_none(),
    }))
}

async fn replay(visit: Visit) -> Result<HttpResponse, Problem> {
    let (organization, _) = visit.organization().await?;
    let alerting = visit.visitor.state.alerting().cloned().ok_or_else(Problem::alerts_are_off)?;
    let number = visit.request.match_info().get("delivery").and_then(|number| number.parse().ok());
    let number: u64 =
        number.filter(|number| i64::try_from(*number).is_ok()).ok_or(Refusal::UnknownDelivery)?;
    let known = read(&visit, organization.id(), move |reader: &Reader| reader.delivery(number)).await?;
    known.ok_or(Refusal::UnknownDelivery)?;
    let (org, mut failed) = (organization.id().clone(), None);
    let work = async {
        let made = blocking(move || alerting.replay(&org, number)).await;
        let made = made.map_err(|problem| failed = Some(problem)).unwrap_or_default();
        Ok(made.ok_or(Refusal::UnknownDelivery)?)
    };
    let made = organization.administered("replay_delivery", number.to_string(), work).await;
    if let Some(problem) = failed {
        return Err(problem);
    }
    let text = format!("The message of delivery {number} is sent again as delivery {}.", made?);
    visit.visitor.leave(Notice::new(text));
    Ok(answer::see_other(&format!("/console/organizations/{}/deliveries", organization.id())))
}

impl From<DeliveryRow> for Row {
    fn from(row: DeliveryRow) -> Self {
        let last = row.last.map(|attempt| {
            let told = match (attempt.status, attempt.error) {
                (Some(status), None) => format!("{status} in {} ms", attempt.took_ms),
                (Some(status), Some(error)) => format!("{status}, {error}"),
                (None, error) => error.unwrap_or_else(|| "no answer".to_owned()),
            };
            (Time(attempt.at), told)
        });
        Self {
            number: row.number,
            webhook: row.webhook,
            topic: row.topic,
            message: row.id,
            state: row.state.name(),
            made: Time(row.made),
            due: row.due.map(Time),
            attempts: row.attempts,
            last,
            replays: row.replays,
        }
    }
}
