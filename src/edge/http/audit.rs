//! The trail of administrative acts: read by the administrators of an organization and by operators; and what is refused here is added to it.
//!
//! The meter records what it is asked to carry out. A caller without the right, and a license key that is not believed, are refused before
//! that; `note` records them.

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::meter::{ActorId, AuditCursor, AuditEntry, AuditPage, Deed, Lsn, OrgId};

use super::auth::{Caller, InOrganization, path_id};
use super::body::{Query, ok};
use super::describe::{Answer, no_problems, query};
use super::organizations::page_rows;
use super::problem::Problem;
use super::route::{Right, Route};
use super::time_text::TimeText;

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[
    Route {
        method: Method::GET,
        path: "/v1/organizations/{org}/audit",
        right: Right::Administer,
        summary: "List the administrative acts in an organization, newest first; in a cluster those that any node recorded.",
        parameters: query::<Page>,
        body: None,
        answers: &[Answer::json::<List>(200, "A page of the trail; it may be short, and not the last.")],
        problems: no_problems,
        handler: || web::to(of_organization),
    },
    Route {
        method: Method::GET,
        path: "/v1/audit",
        right: Right::ManageApiKeys,
        summary: "List the acts of operators, newest first; in a cluster those of all nodes.",
        parameters: query::<Page>,
        body: None,
        answers: &[Answer::json::<List>(200, "A page of the trail; it may be short, and not the last.")],
        problems: no_problems,
        handler: || web::to(of_operators),
    },
];

/// Refusals that come before the meter is asked to carry anything out.
const REFUSALS: [&str; 5] = ["forbidden", "unsigned_key", "malformed_key", "unknown_issuer", "bad_signature"];

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct Page {
    /// The `next` of the page before.
    #[param(value_type = Option<AuditCursor>)]
    after: Option<AuditCursor>,
    limit: Option<usize>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = AuditPage)]
struct List {
    entries: Vec<Entry>,
    next: Option<AuditCursor>,
    /// The names of nodes that gave no answer, so that their acts are missing on this page; mostly none.
    incomplete: Vec<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = AuditEntry)]
struct Entry {
    id: Lsn,
    /// The node that recorded it; null where there are no other nodes.
    node: Option<String>,
    at: TimeText,
    actor: ActorId,
    issuer: Option<String>,
    subject: Option<String>,
    edge: String,
    peer: Option<String>,
    act: String,
    organizations: Vec<OrgId>,
    target: Option<String>,
    outcome: String,
    unrecorded: u64,
}

/// The act that a route carries out, by the code under which it is recorded; none for a route that administers nothing.
#[must_use]
pub fn act(method: &Method, path: &str) -> Option<&'static str> {
    let place = path.strip_prefix("/v1/").unwrap_or(path);
    Some(match (method.as_str(), place.strip_prefix("organizations/{org}/").unwrap_or(place)) {
        ("POST", "organizations") => "create_organization",
        ("POST", "keys") => "create_api_key",
        ("DELETE", "keys/{key}") => "revoke_api_key",
        ("POST", "licenses") => "add_licenses",
        ("DELETE", "licenses/{license}") => "remove_license",
        ("PUT", "cameras/{camera}") => "register_camera",
        ("DELETE", "cameras/{camera}") => "remove_camera",
        ("PUT", "cameras/{camera}/unlimited/{license}") => "bind_unlimited",
        ("DELETE", "cameras/{camera}/unlimited/{license}") => "unbind_unlimited",
        ("DELETE", "reservations/{reservation}") => "release_reservation",
        ("PUT", "rates") => "set_rates",
        ("PUT", "alerts") => "set_alerts",
        ("PUT", "webhooks/{webhook}") => "set_webhook",
        ("DELETE", "webhooks/{webhook}") => "remove_webhook",
        ("GET", "webhooks/{webhook}/secret") => "read_webhook_secret",
        ("POST", "webhooks/{webhook}/secret") => "rotate_webhook_secret",
        ("POST", "deliveries") => "replay_delivery",
        ("POST", "transfers") => "begin_transfer",
        _ => return None,
    })
}

/// Records that an administrative act was refused before the meter was asked. A transfer is refused by the meter, which knows its
/// organizations, or by what reads its body.
pub(super) fn note(request: &HttpRequest, problem: &Problem) {
    let path = request.match_pattern().unwrap_or_default();
    let act = act(request.method(), &path).filter(|act| *act != "begin_transfer");
    let (Some(act), Ok(caller)) = (act, Caller::of(request)) else { return };
    if !REFUSALS.contains(&problem.code()) {
        return;
    }
    let named = request.match_info().iter().filter(|(name, _)| *name != "org");
    let target = named.map(|(_, value)| value).collect::<Vec<_>>().join("/");
    let organizations = path_id(request, "org").into_iter().collect();
    let deed = Deed { act, organizations, target: Some(target).filter(|target| !target.is_empty()) };
    caller.meter.note_refused(&caller.principal, deed, problem.code());
}

async fn of_organization(organization: InOrganization, page: Query<Page>) -> Result<HttpResponse, Problem> {
    let rows = page_rows(page.0.limit)?;
    Ok(show(organization.0.audit(page.0.after.as_ref(), rows).await?))
}

async fn of_operators(caller: Caller, page: Query<Page>) -> Result<HttpResponse, Problem> {
    let rows = page_rows(page.0.limit)?;
    Ok(show(caller.meter.audit(&caller.principal, page.0.after.as_ref(), rows).await?))
}

fn show(page: AuditPage) -> HttpResponse {
    let AuditPage { entries, next, incomplete } = page;
    ok(List { entries: entries.into_iter().map(Entry::from).collect(), next, incomplete })
}

impl From<AuditEntry> for Entry {
    fn from(entry: AuditEntry) -> Self {
        let AuditEntry { id, node, actor, issuer, subject, edge, peer, act, organizations, target, .. } =
            entry;
        let (at, outcome, unrecorded) = (entry.at.into(), entry.outcome, entry.unrecorded);
        Self {
            id,
            node,
            at,
            actor,
            issuer,
            subject,
            edge,
            peer,
            act,
            organizations,
            target,
            outcome,
            unrecorded,
        }
    }
}
