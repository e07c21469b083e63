//! The AI Token Summary of an organization.
//!
//! Its figures are those of one reading of the pool, on the page and in the stream alike (R10).

use actix_web::HttpResponse;
use askama::Template;
use serde::Serialize;

use crate::edge::http::Problem;
use crate::edge::http::route::Right;
use crate::meter::Summary;

use super::answer;
use super::route::{Route, page};
use super::shell::Shell;
use super::text::{Count, Data, Span};
use super::usage::{self, Report};
use super::visit::Visit;

/// What is answered here.
pub(super) const ROUTES: &[Route] =
    &[page("/console/organizations/{org}/summary", Right::Read, |visit| Box::pin(show(visit)))];

/// Networks that are listed; the others are told by their number.
const NETWORKS: usize = 20;

#[derive(Template)]
#[template(path = "console/summary.html")]
struct SummaryPage {
    shell: Shell,
    id: String,
    name: String,
    figures: Figures,
    networks: Vec<Network>,
    networks_beside: usize,
    report: Result<Report, String>,
}

/// The figures that are told live.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Figures {
    pub(super) available: Count,
    pub(super) held: Count,
    reservations: Count,
    used: Count,
    pub(super) granted: Count,
    exempt: Count,
    in_transit: Count,
    received: Count,
    sent: Count,
    debits_charged: Count,
    debits_exempt: Count,
    licenses: Count,
    cloud_ai: Count,
    cameras: Count,
    estimate: String,
    burn: String,
}

/// What a network used, ever.
struct Network {
    name: String,
    used: Data,
    exempt: Data,
}

impl Figures {
    /// What a summary says.
    pub(super) fn of(summary: &Summary) -> Self {
        let totals = &summary.totals;
        let size = |n: usize| Count(u64::try_from(n).unwrap_or(u64::MAX));
        let window = Span(summary.burn_rate.window_ms);
        let burned = summary.burn_rate.tokens;
        Self {
            available: summary.available.into(),
            held: summary.held.into(),
            reservations: size(summary.reservations),
            used: totals.used.into(),
            granted: totals.granted.into(),
            exempt: totals.exempt.into(),
            in_transit: summary.in_transit.into(),
            received: totals.transferred_in.into(),
            sent: totals.transferred_out.into(),
            debits_charged: Count(totals.debits_charged),
            debits_exempt: Count(totals.debits_exempt),
            licenses: size(summary.licenses),
            cloud_ai: Count(summary.cloud_ai_enabled.into()),
            cameras: Count(summary.cameras.into()),
            estimate: summary.estimated_analytics_ms.map_or("—".to_owned(), |ms| Span(ms).to_string()),
            burn: match summary.estimated_analytics_ms {
                Some(_) => format!("at {} tokens in the last {window}", Count::from(burned)),
                None => "idle: nothing was charged in the last 15 min".to_owned(),
            },
        }
    }
}

async fn show(visit: Visit) -> Result<HttpResponse, Problem> {
    let (organization, summary) = visit.organization().await?;
    let report = usage::report(&visit, organization.id()).await;
    let mut networks = summary.networks.clone();
    networks.sort_by(|a, b| (b.used, b.exempt).cmp(&(a.used, a.exempt)).then(a.name.cmp(&b.name)));
    let networks_beside = networks.len().saturating_sub(NETWORKS);
    networks.truncate(NETWORKS);
    let networks = networks.into_iter().map(|network| Network {
        name: network.name.to_string(),
        used: network.used.into(),
        exempt: network.exempt.into(),
    });
    let shell = Shell::of(&visit.visitor, &visit.request, "AI Token Summary");
    Ok(answer::page(&SummaryPage {
        shell,
        id: summary.organization.to_string(),
        name: summary.name.to_string(),
        figures: Figures::of(&summary),
        networks: networks.collect(),
        networks_beside,
        report: report.map_err(|problem| problem.detail().to_owned()),
    }))
}
