//! Where a visitor arrives, and the organizations that he may know of.

use actix_web::HttpResponse;
use askama::Template;

use crate::edge::http::Problem;
use crate::edge::http::route::Right;
use crate::meter::{Action, Name, NewOrganization, OrgId};

use super::answer;
use super::route::{ROOT, Route, form, page};
use super::session::Notice;
use super::shell::Shell;
use super::text::{Count, Data, Span};
use super::visit::Visit;

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[
    page(ROOT, Right::AnyKey, |visit| Box::pin(arrive(visit))),
    page(ORGANIZATIONS, Right::AnyKey, |visit| Box::pin(list(visit))),
    form(ORGANIZATIONS, Right::CreateOrganization, Some("create_organization"), |visit| {
        Box::pin(create(visit))
    }),
];

const ORGANIZATIONS: &str = "/console/organizations";
/// Organizations on a page of an operator.
const ROWS: usize = 100;

#[derive(Template)]
#[template(path = "console/organizations.html")]
struct OrganizationsPage {
    shell: Shell,
    rows: Vec<Row>,
    reads_pools: bool,
    next: Option<OrgId>,
    /// Partitions whose organizations are not listed.
    incomplete: Vec<u16>,
}

/// An organization; figures where the visitor may read it.
struct Row {
    id: OrgId,
    figures: Option<RowFigures>,
}

struct RowFigures {
    name: String,
    available: Data,
    estimate: Option<Span>,
    cloud_ai: Count,
    cameras: Count,
}

async fn arrive(visit: Visit) -> Result<HttpResponse, Problem> {
    Ok(match visit.visitor.principal.only_organization() {
        Some(only) => answer::see_other(&format!("{ORGANIZATIONS}/{only}/summary")),
        _ if visit.visitor.may(Action::ManageApiKeys) => answer::see_other("/console/server"),
        _ => answer::see_other(ORGANIZATIONS),
    })
}

async fn list(visit: Visit) -> Result<HttpResponse, Problem> {
    let visitor = &visit.visitor;
    let after = Some(visit.form.text("after")).filter(|after| !after.is_empty());
    let after: Option<OrgId> = after.map(str::parse).transpose()?;
    let (who, after) = (&visitor.principal, after.as_ref());
    let (mut found, incomplete) = visitor.meter.organizations_everywhere(who, after, ROWS + 1).await;
    let next = if found.len() > ROWS { found.get(ROWS - 1).cloned() } else { None };
    found.truncate(ROWS);
    let reads_pools = !visitor.may(Action::ListOrganizations);
    let mut rows = Vec::new();
    for id in found {
        let figures = figures(&visit, &id).await?;
        rows.push(Row { id, figures });
    }
    let shell = Shell::of(visitor, &visit.request, "Organizations");
    Ok(answer::page(&OrganizationsPage { shell, rows, reads_pools, next, incomplete }))
}

async fn create(visit: Visit) -> Result<HttpResponse, Problem> {
    let visitor = &visit.visitor;
    let (id, name): (OrgId, _) = (visit.form.text("id").parse()?, Name::new(visit.form.text("name"))?);
    visitor.meter.create_organization(&visitor.principal, NewOrganization::new(id.clone(), name)).await?;
    visitor.leave(Notice::new(format!("The organization {id} was created. A license gives it tokens.")));
    Ok(answer::see_other(ORGANIZATIONS))
}

async fn figures(visit: &Visit, id: &OrgId) -> Result<Option<RowFigures>, Problem> {
    let visitor = &visit.visitor;
    if !visitor.may(Action::Read(id)) {
        return Ok(None);
    }
    let summary = visitor.meter.summary(&visitor.principal, id).await?;
    Ok(Some(RowFigures {
        name: summary.name.to_string(),
        available: summary.available.into(),
        estimate: summary.estimated_analytics_ms.map(Span),
        cloud_ai: Count(summary.cloud_ai_enabled.into()),
        cameras: Count(summary.cameras.into()),
    }))
}
