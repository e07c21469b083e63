//! The audit log: of an organization for its administrators, and of operators for operators.

use actix_web::HttpResponse;
use askama::Template;

use crate::edge::http::Problem;
use crate::edge::http::route::Right;
use crate::meter::{AuditCursor, AuditEntry, AuditPage};

use super::answer;
use super::route::{Route, page};
use super::shell::Shell;
use super::text::{Count, Time};
use super::visit::Visit;

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[
    page("/console/organizations/{org}/audit", Right::Administer, |visit| Box::pin(of_organization(visit))),
    page("/console/audit", Right::ManageApiKeys, |visit| Box::pin(of_operators(visit))),
];

/// Acts on a page.
const ROWS: usize = 100;

#[derive(Template)]
#[template(path = "console/audit.html")]
struct AuditLogPage {
    shell: Shell,
    of: String,
    rows: Vec<Row>,
    /// Whether there are other nodes, whose acts are here as well.
    is_node: bool,
    next: Option<AuditCursor>,
    /// Nodes that gave no answer.
    incomplete: Vec<String>,
    is_first: bool,
}

struct Row {
    at: Time,
    node: Option<String>,
    actor: String,
    subject: Option<String>,
    act: String,
    target: Option<String>,
    organizations: Vec<String>,
    outcome: String,
    is_done: bool,
    edge: String,
    peer: Option<String>,
    unrecorded: Count,
}

async fn of_organization(visit: Visit) -> Result<HttpResponse, Problem> {
    let (organization, summary) = visit.organization().await?;
    let page = organization.audit(after(&visit)?.as_ref(), ROWS).await?;
    Ok(show(&visit, summary.name.to_string(), page))
}

async fn of_operators(visit: Visit) -> Result<HttpResponse, Problem> {
    let visitor = &visit.visitor;
    let page = visitor.meter.audit(&visitor.principal, after(&visit)?.as_ref(), ROWS).await?;
    Ok(show(&visit, "Acts of operators".to_owned(), page))
}

fn show(visit: &Visit, of: String, page: AuditPage) -> HttpResponse {
    answer::page(&AuditLogPage {
        shell: Shell::of(&visit.visitor, &visit.request, "Audit log"),
        of,
        rows: page.entries.into_iter().map(Row::from).collect(),
        is_node: visit.visitor.meter.is_node(),
        next: page.next,
        incomplete: page.incomplete,
        is_first: visit.form.text("after").is_empty(),
    })
}

fn after(visit: &Visit) -> Result<Option<AuditCursor>, Problem> {
    let text = Some(visit.form.text("after")).filter(|text| !text.is_empty());
    Ok(text.map(str::parse).transpose()?)
}

impl From<AuditEntry> for Row {
    fn from(entry: AuditEntry) -> Self {
        Self {
            at: Time(entry.at),
            node: entry.node,
            actor: entry.actor.to_string(),
            subject: entry.subject,
            act: entry.act,
            target: entry.target,
            organizations: entry.organizations.iter().map(ToString::to_string).collect(),
            is_done: entry.outcome == "done",
            outcome: entry.outcome,
            edge: entry.edge,
            peer: entry.peer,
            unrecorded: Count(entry.unrecorded),
        }
    }
}
