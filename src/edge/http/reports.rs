//! Reports of an organization: usage, the history of its balance, and its AI event log, as JSON or CSV.
//!
//! They are read from the database of [`crate::reports`], on a thread that may block; nothing here waits for the meter but the summary
//! that stands beside usage.

use std::sync::Arc;

use actix_web::http::Method;
use actix_web::http::header::ACCEPT;
use actix_web::{HttpRequest, HttpResponse, web};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::edge::csv::{self, Csv};
use crate::meter::{Action, CameraId, FirstOutcome, Name, OrgId, Timestamp, Tokens, UsageKind};
use crate::reports::{
    BalanceRow, By, EventQuery, EventRow, Gap, Interval, Reached, Reader, ReportsError, UsageQuery, UsageRow,
    Used,
};

use super::auth::{Caller, InOrganization};
use super::body::{Query, ok};
use super::describe::{Answer, query};
use super::organizations::{Burn, page_rows};
use super::problem::Problem;
use super::route::{Right, Route};
use super::state::State;
use super::time_text::TimeText;

/// The routes of this module.
pub(super) const ROUTES: &[Route] = &[
    Route {
        method: Method::GET,
        path: "/v1/organizations/{org}/usage",
        right: Right::Read,
        summary: "What was charged and exempt, by time, network, camera, usage kind and outcome; JSON or CSV.",
        parameters: query::<UsageAsked>,
        body: None,
        answers: &[Answer::json::<UsageBody<'_>>(
            200,
            "What was used, by interval and group. With `Accept: text/csv` the rows as CSV.",
        )],
        problems: report_problems,
        handler: || web::to(usage),
    },
    Route {
        method: Method::GET,
        path: "/v1/organizations/{org}/balance-history",
        right: Right::Read,
        summary: "What the pool had at the end of each interval; JSON or CSV.",
        parameters: query::<BalanceAsked>,
        body: None,
        answers: &[Answer::json::<BalanceBody<'_>>(
            200,
            "What the pool had. With `Accept: text/csv` the rows as CSV.",
        )],
        problems: report_problems,
        handler: || web::to(balance),
    },
    Route {
        method: Method::GET,
        path: "/v1/organizations/{org}/event-log",
        right: Right::Read,
        summary: "The AI event log, newest first; JSON or CSV.",
        parameters: query::<EventsAsked>,
        body: None,
        answers: &[Answer::json::<EventsBody<'_>>(
            200,
            "A page of the log. With `Accept: text/csv` the rows as CSV.",
        )],
        problems: report_problems,
        handler: || web::to(events),
    },
];

fn report_problems() -> Vec<Problem> {
    let nothing = String::new;
    vec![
        Problem::reports_are_off(),
        Problem::reports_unavailable(nothing()),
        Problem::report_too_large(nothing()),
    ]
}

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct UsageAsked {
    from: Option<TimeText>,
    until: Option<TimeText>,
    #[param(inline)]
    interval: Option<IntervalName>,
    zone: Option<String>,
    by: Option<String>,
    network: Option<Name>,
    #[param(value_type = Option<String>)]
    camera: Option<CameraId>,
    #[param(inline)]
    kind: Option<UsageKind>,
    top: Option<usize>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct BalanceAsked {
    from: Option<TimeText>,
    until: Option<TimeText>,
    #[param(inline)]
    interval: Option<IntervalName>,
    zone: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsAsked {
    from: Option<TimeText>,
    until: Option<TimeText>,
    network: Option<Name>,
    #[param(value_type = Option<String>)]
    camera: Option<CameraId>,
    #[param(inline)]
    kind: Option<UsageKind>,
    #[param(inline)]
    outcome: Option<OutcomeName>,
    before: Option<u64>,
    limit: Option<usize>,
}

/// Into what a time is cut.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Interval)]
enum IntervalName {
    None,
    Minute,
    Hour,
    Day,
    Week,
    Month,
}

/// What became of an admitted debit.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = LoggedOutcome)]
enum OutcomeName {
    Charged,
    Exempt,
}

/// What was used.
#[derive(Serialize, ToSchema)]
#[schema(as = Used)]
struct UsedBody {
    charged: u64,
    exempt: u64,
    debits_charged: u64,
    debits_exempt: u64,
}

/// How far an answer reaches.
#[derive(Serialize, ToSchema)]
struct Reach {
    /// The time of the newest event that is in it; null before the first.
    through: Option<TimeText>,
    /// Durable frames that are not in it yet.
    lag_frames: u64,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ReportGap)]
struct GapBody {
    since: TimeText,
    until: TimeText,
    #[serde(flatten)]
    used: UsedBody,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Usage)]
struct UsageBody<'a> {
    organization: &'a OrgId,
    from: TimeText,
    until: TimeText,
    interval: &'static str,
    zone: &'a str,
    rows: Vec<UsageRowBody>,
    total: UsedBody,
    exact: bool,
    complete: bool,
    gaps: Vec<GapBody>,
    #[serde(flatten)]
    reach: Reach,
    available: Tokens,
    estimated_analytics_ms: Option<u64>,
    burn_rate: Burn,
}

#[derive(Serialize, ToSchema)]
#[schema(as = UsageRow)]
struct UsageRowBody {
    from: TimeText,
    until: TimeText,
    network: Option<String>,
    camera: Option<String>,
    kind: Option<&'static str>,
    /// Of a row that is told apart by it: what became of its debits. Refused ones are in no report.
    outcome: Option<OutcomeName>,
    rest: bool,
    #[serde(flatten)]
    used: UsedBody,
}

#[derive(Serialize, ToSchema)]
#[schema(as = BalanceHistory)]
struct BalanceBody<'a> {
    organization: &'a OrgId,
    interval: &'static str,
    zone: &'a str,
    rows: Vec<BalanceRowBody>,
    exact: bool,
    complete: bool,
    gaps: Vec<GapBody>,
    #[serde(flatten)]
    reach: Reach,
}

#[derive(Serialize, ToSchema)]
#[schema(as = BalanceRow)]
struct BalanceRowBody {
    from: TimeText,
    until: TimeText,
    balance: Option<u64>,
    granted: u64,
    received: u64,
    sent: u64,
    charged: u64,
}

#[derive(Serialize, ToSchema)]
#[schema(as = EventLog)]
struct EventsBody<'a> {
    organization: &'a OrgId,
    events: Vec<EventBody>,
    next: Option<u64>,
    oldest: Option<u64>,
    admitted: u64,
    #[serde(flatten)]
    reach: Reach,
}

#[derive(Serialize, ToSchema)]
#[schema(as = LoggedEvent)]
struct EventBody {
    number: u64,
    at: TimeText,
    time: Option<TimeText>,
    network: String,
    camera: String,
    kind: &'static str,
    tokens: u64,
    outcome: &'static str,
    license: Option<String>,
    balance: u64,
}

/// Usage by interval, network, camera, usage kind and outcome.
pub(super) async fn usage(
    request: HttpRequest,
    caller: Caller,
    organization: InOrganization,
    asked: Query<UsageAsked>,
) -> Result<HttpResponse, Problem> {
    let (asked, organization) = (asked.0, organization.0);
    let zone_name = asked.zone.as_deref().unwrap_or("UTC").to_owned();
    let (from, until) = times(&caller, asked.from, asked.until);
    let query = UsageQuery {
        from,
        until,
        interval: asked.interval.map_or(Interval::None, Interval::from),
        zone: zone(&zone_name)?,
        by: by(asked.by.as_deref())?,
        network: asked.network,
        camera: asked.camera,
        kind: asked.kind,
        top: asked.top.map(|top| page_rows(Some(top))).transpose()?,
    };
    let interval = query.interval.name();
    let id = organization.id().clone();
    let (usage, reach) = read(&request, &caller, &id, move |reader| reader.usage(&query)).await?;
    let rows = usage.rows.into_iter().map(UsageRowBody::from);
    if wants_csv(&request) {
        return Ok(in_csv(rows.map(UsageRowBody::csv), &UsageRowBody::HEAD));
    }
    let summary = organization.summary().await?;
    Ok(ok(UsageBody {
        organization: &id,
        from: usage.from.into(),
        until: usage.until.into(),
        interval,
        zone: &zone_name,
        rows: rows.collect(),
        total: usage.total.into(),
        exact: usage.is_exact,
        complete: usage.gaps.is_empty(),
        gaps: usage.gaps.into_iter().map(GapBody::from).collect(),
        reach,
        available: summary.available,
        estimated_analytics_ms: summary.estimated_analytics_ms,
        burn_rate: summary.burn_rate.into(),
    }))
}

/// What was left at the end of each interval.
pub(super) async fn balance(
    request: HttpRequest,
    caller: Caller,
    organization: InOrganization,
    asked: Query<BalanceAsked>,
) -> Result<HttpResponse, Problem> {
    let (asked, id) = (asked.0, organization.0.id().clone());
    let zone_name = asked.zone.as_deref().unwrap_or("UTC").to_owned();
    let (from, until) = times(&caller, asked.from, asked.until);
    let zone = zone(&zone_name)?;
    let interval = asked.interval.map_or(Interval::Hour, Interval::from);
    let find = move |reader: &Reader| reader.balance_history(from, until, interval, &zone);
    let (history, reach) = read(&request, &caller, &id, find).await?;
    let rows = history.rows.into_iter().map(BalanceRowBody::from);
    if wants_csv(&request) {
        return Ok(in_csv(rows.map(BalanceRowBody::csv), &BalanceRowBody::HEAD));
    }
    Ok(ok(BalanceBody {
        organization: &id,
        interval: interval.name(),
        zone: &zone_name,
        rows: rows.collect(),
        exact: history.is_exact,
        complete: history.gaps.is_empty(),
        gaps: history.gaps.into_iter().map(GapBody::from).collect(),
        reach,
    }))
}

/// A page of the AI event log, newest first.
pub(super) async fn events(
    request: HttpRequest,
    caller: Caller,
    organization: InOrganization,
    asked: Query<EventsAsked>,
) -> Result<HttpResponse, Problem> {
    let (asked, id) = (asked.0, organization.0.id().clone());
    let query = EventQuery {
        from: asked.from.map(|time| time.0),
        until: asked.until.map(|time| time.0),
        network: asked.network,
        camera: asked.camera,
        kind: asked.kind,
        is_exempt: asked.outcome.map(|outcome| outcome == OutcomeName::Exempt),
        before: asked.before,
        rows: page_rows(asked.limit)?,
    };
    let (log, reach) = read(&request, &caller, &id, move |reader| reader.events(&query)).await?;
    let rows = log.rows.into_iter().map(EventBody::from);
    if wants_csv(&request) {
        return Ok(in_csv(rows.map(EventBody::csv), &EventBody::HEAD));
    }
    let (next, oldest, admitted) = (log.next, log.oldest, log.admitted);
    Ok(ok(EventsBody { organization: &id, events: rows.collect(), next, oldest, admitted, reach }))
}

/// Reads the reports of an organization that the caller may read, on a thread that may block.
async fn read<T: Send + 'static>(
    request: &HttpRequest,
    caller: &Caller,
    id: &OrgId,
    find: impl FnOnce(&Reader) -> Result<T, ReportsError> + Send + 'static,
) -> Result<(T, Reach), Problem> {
    caller.principal.authorize(Action::Read(id))?;
    let state = request.app_data::<web::Data<State>>().expect("the routes are set up with their state");
    let (found, reached, lag_frames) = read_reports(state, id, find).await?;
    Ok((found, Reach { through: reached.at.map(TimeText::from), lag_frames }))
}

/// Reads the reports of an organization, how far they reach, and how many durable frames they do not hold yet. Whoever asks has looked at
/// the right to.
///
/// # Errors
/// When none are kept, or they cannot be read now.
pub(in crate::edge) async fn read_reports<T: Send + 'static>(
    state: &State,
    id: &OrgId,
    find: impl FnOnce(&Reader) -> Result<T, ReportsError> + Send + 'static,
) -> Result<(T, Reached, u64), Problem> {
    let reports = state.reports().map(Arc::clone).ok_or_else(Problem::reports_are_off)?;
    let id = id.clone();
    let found = web::block(move || {
        let reader = reports.read(&id)?;
        Ok((find(&reader)?, reader.reached(), reader.lag_frames()))
    });
    let found = found.await.map_err(|_| Problem::from(ReportsError::NotYet))?;
    found.map_err(|error: ReportsError| error.into())
}

/// From when until when: the last 24 hours where nothing is said.
fn times(caller: &Caller, from: Option<TimeText>, until: Option<TimeText>) -> (Timestamp, Timestamp) {
    let until = until.map_or_else(|| caller.meter.now().plus_ms(1), |time| time.0);
    (from.map_or_else(|| until.minus_ms(DAY_MS), |time| time.0), until)
}

fn zone(name: &str) -> Result<TimeZone, Problem> {
    let unknown = |_| {
        let shown: String = name.chars().take(64).collect();
        Problem::invalid(format!("there is no time zone `{shown}`; name one of IANA, like Europe/Berlin"))
    };
    TimeZone::get(name).map_err(unknown)
}

fn by(asked: Option<&str>) -> Result<By, Problem> {
    let mut by = By::default();
    for name in asked.unwrap_or_default().split(',').filter(|name| !name.is_empty()) {
        match name {
            "network" => by.network = true,
            "camera" => by.camera = true,
            "kind" => by.kind = true,
            "outcome" => by.outcome = true,
            _ => {
                return Err(Problem::invalid(
                    "usage is told apart `by` network, camera, kind and outcome, with commas",
                ));
            }
        }
    }
    Ok(by)
}

/// Whether the caller asks for CSV.
fn wants_csv(request: &HttpRequest) -> bool {
    let accepted = request.headers().get(ACCEPT).and_then(|header| header.to_str().ok()).unwrap_or_default();
    let mut types = accepted.split(',').map(|media| media.split(';').next().unwrap_or_default().trim());
    types.any(|media| media.eq_ignore_ascii_case("text/csv"))
}

/// An answer of CSV.
fn in_csv(rows: impl Iterator<Item = Csv>, head: &[&str]) -> HttpResponse {
    let mut text = csv::head(head);
    rows.for_each(|row| text.push_str(&row.end()));
    HttpResponse::Ok().content_type("text/csv; charset=utf-8; header=present").body(text)
}

impl From<ReportsError> for Problem {
    fn from(error: ReportsError) -> Self {
        match error {
            ReportsError::NotYet => Self::reports_unavailable(error.to_string()),
            ReportsError::Asked(message) => Self::invalid(message),
            ReportsError::TooMuch => Self::report_too_large(error.to_string()),
            fault => {
                tracing::warn!(%fault, "a report could not be read");
                Self::reports_unavailable("the reports cannot be read now; the log says why".to_owned())
            }
        }
    }
}

impl From<IntervalName> for Interval {
    fn from(name: IntervalName) -> Self {
        match name {
            IntervalName::None => Self::None,
            IntervalName::Minute => Self::Minute,
            IntervalName::Hour => Self::Hour,
            IntervalName::Day => Self::Day,
            IntervalName::Week => Self::Week,
            IntervalName::Month => Self::Month,
        }
    }
}

impl From<FirstOutcome> for OutcomeName {
    fn from(outcome: FirstOutcome) -> Self {
        match outcome {
            FirstOutcome::Charged => Self::Charged,
            FirstOutcome::Exempt => Self::Exempt,
        }
    }
}

impl OutcomeName {
    fn name(self) -> &'static str {
        match self {
            Self::Charged => "charged",
            Self::Exempt => "exempt",
        }
    }
}

impl From<Used> for UsedBody {
    fn from(Used { charged, exempt, debits_charged, debits_exempt }: Used) -> Self {
        Self { charged, exempt, debits_charged, debits_exempt }
    }
}

impl From<Gap> for GapBody {
    fn from(Gap { since, until, used }: Gap) -> Self {
        Self { since: since.into(), until: until.into(), used: used.into() }
    }
}

impl From<UsageRow> for UsageRowBody {
    fn from(UsageRow { from, until, group, used }: UsageRow) -> Self {
        let rest = group.is_none();
        let group = group.unwrap_or_default();
        Self {
            from: from.into(),
            until: until.into(),
            network: group.network,
            camera: group.camera,
            kind: group.kind.map(UsageKind::name),
            outcome: group.outcome.map(OutcomeName::from),
            rest,
            used: used.into(),
        }
    }
}

impl UsageRowBody {
    const HEAD: [&'static str; 11] = [
        "from",
        "until",
        "network",
        "camera",
        "kind",
        "outcome",
        "rest",
        "charged",
        "exempt",
        "debits_charged",
        "debits_exempt",
    ];

    fn csv(self) -> Csv {
        let Self { from, until, network, camera, kind, outcome, rest, used } = self;
        Csv::default()
            .field(from)
            .field(until)
            .optional(network)
            .optional(camera)
            .optional(kind)
            .optional(outcome.map(OutcomeName::name))
            .field(rest)
            .field(used.charged)
            .field(used.exempt)
            .field(used.debits_charged)
            .field(used.debits_exempt)
    }
}

impl From<BalanceRow> for BalanceRowBody {
    fn from(row: BalanceRow) -> Self {
        let BalanceRow { from, until, balance, granted, received, sent, charged } = row;
        Self { from: from.into(), until: until.into(), balance, granted, received, sent, charged }
    }
}

impl BalanceRowBody {
    const HEAD: [&'static str; 7] = ["from", "until", "balance", "granted", "received", "sent", "charged"];

    fn csv(self) -> Csv {
        let line = Csv::default().field(self.from).field(self.until).optional(self.balance);
        line.field(self.granted).field(self.received).field(self.sent).field(self.charged)
    }
}

impl From<EventRow> for EventBody {
    fn from(row: EventRow) -> Self {
        Self {
            number: row.number,
            at: row.at.into(),
            time: row.time.map(TimeText::from),
            network: row.network,
            camera: row.camera,
            kind: row.kind.name(),
            tokens: row.tokens,
            outcome: if row.is_exempt { OutcomeName::Exempt } else { OutcomeName::Charged }.name(),
            license: row.license,
            balance: row.balance,
        }
    }
}

impl EventBody {
    const HEAD: [&'static str; 10] =
        ["number", "at", "time", "network", "camera", "kind", "tokens", "outcome", "license", "balance"];

    fn csv(self) -> Csv {
        let line = Csv::default().field(self.number).field(self.at).optional(self.time);
        let line = line.field(self.network).field(self.camera).field(self.kind).field(self.tokens);
        line.field(self.outcome).optional(self.license).field(self.balance)
    }
}
