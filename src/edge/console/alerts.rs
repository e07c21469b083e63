//! Alerts: the thresholds of an organization with their state, what fired, and the webhooks that are called.
//!
//! A form changes them only as its page showed them.

use actix_web::HttpResponse;
use askama::Template;

use crate::alerts::{AlertsError, NoticeRow, Reader};
use crate::edge::http::route::Right;
use crate::edge::http::{Problem, blocking};
use crate::meter::{
    Action, AlertId, Alerts, Expected, Invalid, Measure, OrgId, Organization, Precondition, Refusal, Subject,
    Tag, Threshold, Topic,
};

use super::answer;
use super::route::{Route, form, page};
use super::session::Notice;
use super::shell::Shell;
use super::text::{Count, Span, Time};
use super::visit::{Visit, path_id};
use super::webhooks::Hook;

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[
    page(ALERTS, Right::Read, |visit| Box::pin(list(visit))),
    form(ALERTS, Right::Administer, Some("set_alerts"), |visit| Box::pin(set(visit))),
    form(
        "/console/organizations/{org}/alerts/{alert}/remove",
        Right::Administer,
        Some("set_alerts"),
        |visit| Box::pin(remove(visit)),
    ),
];

const ALERTS: &str = "/console/organizations/{org}/alerts";
/// What fired of late.
const NOTICES: usize = 20;
const MINUTE_MS: u64 = 60_000;

#[derive(Template)]
#[template(path = "console/alerts.html")]
struct AlertsPage {
    shell: Shell,
    id: String,
    name: String,
    is_admin: bool,
    tag: String,
    rows: Vec<Row>,
    hooks: Vec<Hook>,
    topics: [&'static str; 5],
    measures: Vec<(&'static str, &'static str)>,
    notices: Vec<Told>,
    lag_frames: Count,
}

/// A threshold as it is shown.
struct Row {
    id: String,
    told: String,
    rearm: String,
    fired: Option<(Time, String)>,
}

/// What was told.
struct Told {
    at: Time,
    topic: String,
    alert: Option<String>,
}

async fn list(visit: Visit) -> Result<HttpResponse, Problem> {
    let (organization, summary) = visit.organization().await?;
    let alerts = organization.alerts().await?;
    let is_admin = visit.visitor.may(Action::Administer(organization.id()));
    let set = alerts.clone();
    let find = move |reader: &Reader| {
        let (thresholds, webhooks) = set.map_or_else(Default::default, |set| (set.thresholds, set.webhooks));
        let rows: Vec<_> = thresholds.iter().map(|threshold| Row::new(reader, threshold)).collect();
        let hooks =
            webhooks.iter().map(|hook| Hook::new(reader, hook, is_admin)).collect::<Result<Vec<_>, _>>()?;
        Ok((rows, hooks, reader.notices(None, NOTICES)?.rows, reader.lag_frames()))
    };
    let (rows, hooks, notices, lag_frames) = read(&visit, organization.id(), find).await?;
    Ok(answer::page(&AlertsPage {
        shell: Shell::of(&visit.visitor, &visit.request, "Alerts"),
        id: organization.id().to_string(),
        name: summary.name.to_string(),
        is_admin,
        tag: tag_text(alerts.as_ref()),
        rows,
        hooks,
        topics: Topic::ALL.map(Topic::name),
        measures: Measure::ALL.into_iter().map(|measure| (measure.name(), measure_text(measure))).collect(),
        notices: notices.into_iter().map(Told::from).collect(),
        lag_frames: Count(lag_frames),
    }))
}

async fn set(visit: Visit) -> Result<HttpResponse, Problem> {
    let (organization, _) = visit.organization().await?;
    decided(&visit)?;
    let threshold = threshold(&visit)?;
    let id = threshold.id.clone();
    let mut thresholds = organization.alerts().await?.map_or_else(Vec::new, |alerts| alerts.thresholds);
    match thresholds.iter_mut().find(|known| known.id == id) {
        Some(known) => *known = threshold,
        None => thresholds.push(threshold),
    }
    provided(&visit, &organization)?.set_thresholds(thresholds).await?;
    visit.visitor.leave(Notice::new(format!("The threshold {id} is set.")));
    Ok(answer::see_other(&path(organization.id())))
}

async fn remove(visit: Visit) -> Result<HttpResponse, Problem> {
    let (organization, _) = visit.organization().await?;
    decided(&visit)?;
    let id: AlertId = path_id(&visit.request, "alert")?;
    let mut thresholds = organization.alerts().await?.map_or_else(Vec::new, |alerts| alerts.thresholds);
    thresholds.retain(|known| known.id != id);
    provided(&visit, &organization)?.set_thresholds(thresholds).await?;
    visit.visitor.leave(Notice::new(format!("The threshold {id} was removed.")));
    Ok(answer::see_other(&path(organization.id())))
}

/// The threshold that a form asks for. Times are in minutes there.
fn threshold(visit: &Visit) -> Result<Threshold, Problem> {
    let number = |name| match visit.form.text(name) {
        "" => Ok(None),
        text => text.replace([',', '_', ' '], "").parse::<u64>().map(Some),
    };
    let invalid = |_| Problem::invalid("a threshold is at a whole number, and so is its window");
    let (at, window) = (number("at").map_err(invalid)?.unwrap_or(0), number("window").map_err(invalid)?);
    let asked = visit.form.text("measure");
    let measure = Measure::ALL.into_iter().find(|measure| measure.name() == asked);
    let measure = measure.ok_or(Refusal::Invalid(Invalid::Syntax))?;
    let at = if measure == Measure::TimeLeft { at.saturating_mul(MINUTE_MS) } else { at };
    let at = if measure == Measure::Exhausted { 0 } else { at };
    let window_ms =
        window.filter(|_| measure == Measure::Refusals).map(|minutes| minutes.saturating_mul(MINUTE_MS));
    let id = visit.form.text("id").parse()?;
    Ok(Threshold { id, measure, at, rearm: measure.rearm_default(at), window_ms })
}

/// Whether alerts are decided at all.
pub(super) fn decided(visit: &Visit) -> Result<(), Problem> {
    visit.visitor.state.alerting().map(|_| ()).ok_or_else(Problem::alerts_are_off)
}

/// Reads the alerts of an organization, on a thread that may block.
pub(super) async fn read<T: Send + 'static>(
    visit: &Visit,
    organization: &OrgId,
    find: impl FnOnce(&Reader) -> Result<T, AlertsError> + Send + 'static,
) -> Result<T, Problem> {
    let alerting = visit.visitor.state.alerting().cloned().ok_or_else(Problem::alerts_are_off)?;
    let id = organization.clone();
    blocking(move || find(&alerting.read(&id)?)).await
}

/// The organization, in which thresholds and webhooks are changed only as the page showed them.
pub(super) fn provided(visit: &Visit, organization: &Organization) -> Result<Organization, Problem> {
    let expected = match visit.form.text("tag") {
        "none" => Expected::Absent,
        tag => {
            Expected::OneOf(vec![Tag(u64::from_str_radix(tag, 16).map_err(|_| Refusal::PreconditionFailed)?)])
        }
    };
    Ok(organization.clone().provided(Precondition { subject: Subject::Alerts, expected: vec![expected] }))
}

/// What a form of the page bears, so that it is known what the page showed.
pub(super) fn tag_text(alerts: Option<&Alerts>) -> String {
    alerts.map_or_else(|| "none".to_owned(), |alerts| format!("{:016x}", Tag::of_alerts(alerts).0))
}

/// The page of alerts.
pub(super) fn path(organization: &OrgId) -> String {
    format!("/console/organizations/{organization}/alerts")
}

fn measure_text(measure: Measure) -> &'static str {
    match measure {
        Measure::TokensLeft => "Current Available, in tokens",
        Measure::PercentLeft => "Current Available, in percent",
        Measure::TimeLeft => "Estimated Camera AI Analytics, in minutes",
        Measure::Exhausted => "Nothing left",
        Measure::Refusals => "Refused debits in a window",
    }
}

/// A value of a measure, with its unit.
fn value_text(measure: Measure, value: u64) -> String {
    match measure {
        Measure::TokensLeft | Measure::Exhausted => format!("{} tokens", Count(value)),
        Measure::PercentLeft => format!("{value} percent"),
        Measure::TimeLeft => Span(value).to_string(),
        Measure::Refusals => format!("{} debits", Count(value)),
    }
}

impl Row {
    fn new(reader: &Reader, threshold: &Threshold) -> Self {
        let Threshold { id, measure, at, rearm, window_ms } = threshold;
        let value = value_text(*measure, *at);
        let told = match measure {
            Measure::TokensLeft | Measure::PercentLeft => format!("Current Available is {value} or less"),
            Measure::TimeLeft => format!("Estimated Camera AI Analytics is {value} or less"),
            Measure::Exhausted => "nothing is left".to_owned(),
            Measure::Refusals => {
                format!("{value} or more were refused within {}", Span(window_ms.unwrap_or(0)))
            }
        };
        let rearm = match (rearm, measure) {
            (None, _) => "by tokens that come".to_owned(),
            (Some(rearm), Measure::Refusals) => format!("at {} or less", value_text(*measure, *rearm)),
            (Some(rearm), _) => format!("at {} or more", value_text(*measure, *rearm)),
        };
        let fired = reader.fired(id).map(|fired| (Time(fired.at), value_text(*measure, fired.value)));
        Self { id: id.to_string(), told, rearm, fired }
    }
}

impl From<NoticeRow> for Told {
    fn from(row: NoticeRow) -> Self {
        Self { at: Time(row.at), topic: row.topic, alert: row.alert }
    }
}
