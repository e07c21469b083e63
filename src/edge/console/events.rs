//! The AI event log of an organization, newest first, filtered and paged.

use actix_web::HttpResponse;
use askama::Template;

use crate::edge::http::route::Right;
use crate::edge::http::{Problem, read_reports};
use crate::meter::{CameraId, Invalid, Name, Refusal, UsageKind};
use crate::reports::{EventLog, EventQuery, Reader};

use super::answer;
use super::form::Form;
use super::route::{Route, page};
use super::shell::Shell;
use super::text::{self, Count};
use super::usage::Event;
use super::visit::Visit;

/// What is answered here.
pub(super) const ROUTES: &[Route] =
    &[page("/console/organizations/{org}/events", Right::Read, |visit| Box::pin(show(visit)))];

/// Events on a page.
const ROWS: usize = 100;

#[derive(Template)]
#[template(path = "console/events.html")]
struct EventsPage {
    shell: Shell,
    id: String,
    name: String,
    asked: Asked,
    kinds: Vec<(&'static str, &'static str)>,
    log: Result<Log, String>,
}

/// What the filter says.
#[derive(Clone, Default)]
struct Asked {
    network: String,
    camera: String,
    kind: String,
    outcome: String,
    is_first: bool,
}

struct Log {
    rows: Vec<Event>,
    next: Option<u64>,
    admitted: Count,
    oldest: Option<Count>,
    lag_frames: Count,
}

impl Asked {
    fn of(form: &Form) -> Self {
        let text = |name| form.text(name).to_owned();
        Self {
            network: text("network"),
            camera: text("camera"),
            kind: text("kind"),
            outcome: text("outcome"),
            is_first: form.text("before").is_empty(),
        }
    }

    /// Whether anything is left out.
    fn is_all(&self) -> bool {
        [&self.network, &self.camera, &self.kind, &self.outcome].iter().all(|field| field.is_empty())
    }

    fn query(&self, before: &str) -> Result<EventQuery, Problem> {
        let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let number = |text: String| text.parse().map_err(|_| Refusal::Invalid(Invalid::Syntax));
        let is_known = |kind: &&UsageKind| kind.name() == self.kind;
        Ok(EventQuery {
            network: given(&self.network).map(|name| Name::new(&name)).transpose()?,
            camera: given(&self.camera).map(|id| CameraId::new(&id)).transpose()?,
            kind: UsageKind::ALL.iter().find(is_known).copied(),
            is_exempt: given(&self.outcome).map(|outcome| outcome == "exempt"),
            before: given(before).map(number).transpose()?,
            rows: ROWS,
            ..EventQuery::default()
        })
    }
}

async fn show(visit: Visit) -> Result<HttpResponse, Problem> {
    let (organization, summary) = visit.organization().await?;
    let asked = Asked::of(&visit.form);
    let query = asked.query(visit.form.text("before"))?;
    let read =
        read_reports(&visit.visitor.state, organization.id(), move |reader: &Reader| reader.events(&query));
    let log = match read.await {
        Ok((log, _, lag_frames)) => Ok(Log::new(log, lag_frames)),
        Err(problem) => Err(problem.detail().to_owned()),
    };
    Ok(answer::page(&EventsPage {
        shell: Shell::of(&visit.visitor, &visit.request, "AI event log"),
        id: organization.id().to_string(),
        name: summary.name.to_string(),
        kinds: UsageKind::ALL.into_iter().map(|kind| (kind.name(), text::kind(kind))).collect(),
        asked,
        log,
    }))
}

impl Log {
    fn new(log: EventLog, lag_frames: u64) -> Self {
        Self {
            rows: log.rows.into_iter().map(Event::from).collect(),
            next: log.next,
            admitted: Count(log.admitted),
            oldest: log.oldest.map(Count),
            lag_frames: Count(lag_frames),
        }
    }
}
