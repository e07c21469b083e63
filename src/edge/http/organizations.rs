//! Organizations and their AI Token Summary.

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::domain::burn::BurnRate;
use crate::domain::limits::PAGE_ROWS_MAX;
use crate::meter::{Action, Limit, Name, NewOrganization, OrgId, Refusal, Summary, Tokens};

use super::auth::{Caller, InOrganization};
use super::body::{Asks, Json, Query, created, ok};
use super::describe::{Answer, Body, no_parameters, no_problems, query};
use super::problem::Problem;
use super::route::{Right, Route};
use super::time_text::TimeText;

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[
    Route {
        method: Method::GET,
        path: "/v1/organizations",
        right: Right::AnyKey,
        summary: "List the organizations that the key may know of, page by page.",
        parameters: query::<Page>,
        body: None,
        answers: &[Answer::json::<List>(200, "A page of organizations.")],
        problems: no_problems,
        handler: || web::to(list),
    },
    Route {
        method: Method::POST,
        path: "/v1/organizations",
        right: Right::CreateOrganization,
        summary: "Create an organization; the same again is answered as the first time.",
        parameters: no_parameters,
        body: Body::json::<ToCreate>(),
        answers: &[Answer::json::<Created>(201, "It was created, now or by the same request before.")],
        problems: || {
            vec![Refusal::OrganizationExists.into(), Refusal::LimitReached(Limit::Organizations).into()]
        },
        handler: || web::to(create),
    },
    Route {
        method: Method::GET,
        path: "/v1/organizations/{org}/summary",
        right: Right::Read,
        summary: "The AI Token Summary of an organization.",
        parameters: no_parameters,
        body: None,
        answers: &[Answer::json::<SummaryBody<'_>>(200, "The AI Token Summary.")],
        problems: no_problems,
        handler: || web::to(summary),
    },
];

const PAGE_ROWS_DEFAULT: usize = 100;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewOrganization)]
pub(super) struct ToCreate {
    id: OrgId,
    name: Name,
    #[schema(minimum = 60_000, maximum = 3_024_000_000u64)]
    retention_ms: Option<u64>,
}

impl Asks for ToCreate {
    fn allow(caller: &Caller, _: &HttpRequest) -> Result<(), Problem> {
        Ok(caller.principal.authorize(Action::CreateOrganization)?)
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = Organization)]
struct Created {
    id: OrgId,
    name: Name,
    created_at: TimeText,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    after: Option<OrgId>,
    limit: Option<usize>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = OrganizationPage)]
struct List {
    organizations: Vec<OrgId>,
    next: Option<OrgId>,
    /// The numbers of partitions whose organizations are not known now, and so not listed: damaged ones, and those of nodes that gave no answer; mostly none.
    incomplete: Vec<u16>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Summary)]
struct SummaryBody<'a> {
    organization: &'a OrgId,
    name: &'a Name,
    available: Tokens,
    held: Tokens,
    reservations: usize,
    in_transit: Tokens,
    granted: Tokens,
    used: Tokens,
    exempt: Tokens,
    transferred_in: Tokens,
    transferred_out: Tokens,
    debits_charged: u64,
    debits_exempt: u64,
    licenses: usize,
    estimated_analytics_ms: Option<u64>,
    burn_rate: Burn,
    cloud_ai_enabled: u32,
    cameras: u32,
    networks: Vec<Network<'a>>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = BurnRate)]
pub(super) struct Burn {
    tokens: Tokens,
    window_ms: u64,
}

#[derive(Serialize, ToSchema)]
#[schema(as = NetworkUsage)]
struct Network<'a> {
    name: &'a Name,
    used: Tokens,
    exempt: Tokens,
}

pub(super) async fn create(caller: Caller, body: Json<ToCreate>) -> Result<HttpResponse, Problem> {
    let ToCreate { id, name, retention_ms } = body.0;
    let new = NewOrganization { id: id.clone(), name: name.clone(), retention_ms };
    let created_at = caller.meter.create_organization(&caller.principal, new).await?;
    Ok(created(Created { id, name, created_at: created_at.into() }))
}

/// The organizations that the caller may know of. One row more than asked for tells whether another page follows.
pub(super) async fn list(caller: Caller, page: Query<Page>) -> Result<HttpResponse, Problem> {
    let rows = page_rows(page.0.limit)?;
    let (who, after) = (&caller.principal, page.0.after.as_ref());
    let (mut organizations, incomplete) = caller.meter.organizations_everywhere(who, after, rows + 1).await;
    let is_last = organizations.len() <= rows;
    organizations.truncate(rows);
    let next = if is_last { None } else { organizations.last().cloned() };
    Ok(ok(List { organizations, next, incomplete }))
}

pub(super) async fn summary(organization: InOrganization) -> Result<HttpResponse, Problem> {
    let summary = organization.0.summary().await?;
    Ok(ok(SummaryBody::from(&summary)))
}

/// How many rows a page gets.
///
/// # Errors
/// When more are asked for than a page may hold, or none.
pub(super) fn page_rows(asked: Option<usize>) -> Result<usize, Problem> {
    let rows = asked.unwrap_or(PAGE_ROWS_DEFAULT);
    if (1..=PAGE_ROWS_MAX).contains(&rows) {
        return Ok(rows);
    }
    let problem = Problem::invalid(format!("`limit` is 1 to {PAGE_ROWS_MAX} rows"));
    Err(problem.with_limit(u64::try_from(PAGE_ROWS_MAX).unwrap_or(u64::MAX)))
}

impl From<BurnRate> for Burn {
    fn from(BurnRate { tokens, window_ms }: BurnRate) -> Self {
        Self { tokens, window_ms }
    }
}

impl<'a> From<&'a Summary> for SummaryBody<'a> {
    fn from(summary: &'a Summary) -> Self {
        let networks = summary.networks.iter();
        let totals = &summary.totals;
        Self {
            organization: &summary.organization,
            name: &summary.name,
            available: summary.available,
            held: summary.held,
            reservations: summary.reservations,
            in_transit: summary.in_transit,
            granted: totals.granted,
            used: totals.used,
            exempt: totals.exempt,
            transferred_in: totals.transferred_in,
            transferred_out: totals.transferred_out,
            debits_charged: totals.debits_charged,
            debits_exempt: totals.debits_exempt,
            licenses: summary.licenses,
            estimated_analytics_ms: summary.estimated_analytics_ms,
            burn_rate: summary.burn_rate.into(),
            cloud_ai_enabled: summary.cloud_ai_enabled,
            cameras: summary.cameras,
            networks: networks
                .map(|usage| Network { name: &usage.name, used: usage.used, exempt: usage.exempt })
                .collect(),
        }
    }
}
