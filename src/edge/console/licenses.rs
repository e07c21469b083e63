//! Inventory & License > Licenses > Cloud AI: the Shared AI Token Licenses of an organization, and adding some for good (R1 to R6).
//!
//! A key is looked at twice: once to show what it would bring, and once to add it. Nothing of it is kept in between; the page bears it.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use askama::Template;

use crate::edge::http::Problem;
use crate::edge::http::route::Right;
use crate::meter::{Action, LicenseId, LicensePreview, LicenseStatus, LicenseView};

use super::answer;
use super::route::{Route, form, page};
use super::session::Notice;
use super::shell::Shell;
use super::summary::Figures;
use super::text::{Count, Data, Time};
use super::visit::{Visit, path_id};

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[
    page("/console/organizations/{org}/licenses", Right::Read, |visit| Box::pin(list(visit))),
    page("/console/organizations/{org}/licenses/add", Right::Administer, |visit| Box::pin(ask(visit))),
    form("/console/organizations/{org}/licenses/add", Right::Administer, Some("add_licenses"), |visit| {
        Box::pin(add(visit))
    }),
    page("/console/organizations/{org}/licenses/{license}", Right::Read, |visit| Box::pin(show(visit))),
];

/// Licenses on a page.
const ROWS: usize = 100;

#[derive(Template)]
#[template(path = "console/licenses.html")]
struct LicensesPage {
    shell: Shell,
    id: String,
    name: String,
    figures: Figures,
    is_admin: bool,
    rows: Vec<Row>,
    all: Count,
    newer: Option<usize>,
    older: Option<usize>,
}

#[derive(Template)]
#[template(path = "console/license.html")]
struct LicensePage {
    shell: Shell,
    org: String,
    name: String,
    license: Row,
    steps: Vec<Step>,
}

#[derive(Template)]
#[template(path = "console/license_add.html")]
struct AddPage {
    shell: Shell,
    id: String,
    name: String,
    key: String,
    preview: Option<Preview>,
    problem: Option<String>,
}

/// A license as it is listed.
struct Row {
    id: String,
    key: String,
    is_used_up: bool,
    granted: Data,
    remaining: Data,
    added_at: Time,
    added_by: String,
    organizations: Vec<String>,
    moves: usize,
}

/// A step of its history.
struct Step {
    at: Time,
    organization: String,
    by: String,
    transfer: Option<String>,
}

/// What a key would bring.
struct Preview {
    key: String,
    licenses: Vec<(String, Data)>,
    tokens: Count,
    before: Data,
    after: Data,
}

async fn list(visit: Visit) -> Result<HttpResponse, Problem> {
    let (organization, summary) = visit.organization().await?;
    let licenses = organization.licenses().await?;
    let first: usize = visit.form.text("from").parse().unwrap_or(0);
    let all = licenses.len();
    // The newest first: what was added last is looked for most.
    let rows: Vec<_> = licenses.into_iter().rev().skip(first).take(ROWS).map(Row::from).collect();
    let older = (first + rows.len() < all).then_some(first + ROWS);
    let newer = (first > 0).then(|| first.saturating_sub(ROWS));
    let is_admin = visit.visitor.may(Action::Administer(organization.id()));
    Ok(answer::page(&LicensesPage {
        shell: Shell::of(&visit.visitor, &visit.request, "Cloud AI licenses"),
        id: organization.id().to_string(),
        name: summary.name.to_string(),
        figures: Figures::of(&summary),
        is_admin,
        rows,
        all: Count(u64::try_from(all).unwrap_or(u64::MAX)),
        newer,
        older,
    }))
}

async fn show(visit: Visit) -> Result<HttpResponse, Problem> {
    let (organization, summary) = visit.organization().await?;
    let license: LicenseId = path_id(&visit.request, "license")?;
    let license = organization.license(license).await?;
    let steps = license.history.iter().map(|step| Step {
        at: Time(step.at),
        organization: step.organization.to_string(),
        by: step.by.to_string(),
        transfer: step.transfer.as_ref().map(ToString::to_string),
    });
    Ok(answer::page(&LicensePage {
        shell: Shell::of(&visit.visitor, &visit.request, format!("License {}", license.id)),
        org: organization.id().to_string(),
        name: summary.name.to_string(),
        steps: steps.collect(),
        license: Row::from(license),
    }))
}

async fn ask(visit: Visit) -> Result<HttpResponse, Problem> {
    add_page(&visit, StatusCode::OK, None, None).await
}

async fn add(visit: Visit) -> Result<HttpResponse, Problem> {
    let (organization, _) = visit.organization().await?;
    let key = match visit.visitor.state.issuers.verify(visit.form.text("key")) {
        Ok(verified) => verified.key,
        Err(error) => return refused(&visit, &error.into()).await,
    };
    if visit.form.text("step") != "add" || !visit.form.is_ticked("understood") {
        return match organization.preview_licenses(key).await {
            Ok(preview) => add_page(&visit, StatusCode::OK, Some(preview), None).await,
            Err(error) => refused(&visit, &error.into()).await,
        };
    }
    match organization.add_licenses(key).await {
        Ok(claim) => {
            let tokens: u64 = claim.licenses.iter().map(|license| license.granted.0).sum();
            let (count, plural) = (claim.licenses.len(), plural(claim.licenses.len()));
            let text = format!(
                "Key {} brought {count} license{plural} with {} tokens. They are active, for good.",
                claim.key,
                Count(tokens)
            );
            visit.visitor.leave(Notice::new(text));
            Ok(answer::see_other(&format!("/console/organizations/{}/licenses", organization.id())))
        }
        Err(error) => refused(&visit, &error.into()).await,
    }
}

/// The page again, with why the key was refused.
async fn refused(visit: &Visit, problem: &Problem) -> Result<HttpResponse, Problem> {
    visit.note(problem);
    let status = StatusCode::from_u16(problem.status()).unwrap_or(StatusCode::BAD_REQUEST);
    add_page(visit, status, None, Some(problem.detail().to_owned())).await
}

async fn add_page(
    visit: &Visit,
    status: StatusCode,
    preview: Option<LicensePreview>,
    problem: Option<String>,
) -> Result<HttpResponse, Problem> {
    let (organization, summary) = visit.organization().await?;
    let was_asked = preview.is_some() && visit.form.text("step") == "add";
    let not_ticked = || "Tick the box to say that you understand; nothing was added yet.".to_owned();
    let page = AddPage {
        shell: Shell::of(&visit.visitor, &visit.request, "Add a license"),
        id: organization.id().to_string(),
        name: summary.name.to_string(),
        key: visit.form.text("key").to_owned(),
        preview: preview.map(Preview::from),
        problem: problem.or_else(|| was_asked.then(not_ticked)),
    };
    Ok(answer::page_with(status, &page))
}

/// What follows a noun when there is not exactly one.
pub(super) fn plural(n: usize) -> &'static str {
    if n == 1 { "" } else { "s" }
}

impl From<LicenseView> for Row {
    fn from(license: LicenseView) -> Self {
        Self {
            id: license.id.to_string(),
            key: license.key.to_string(),
            is_used_up: license.status == LicenseStatus::UsedUp,
            granted: license.granted.into(),
            remaining: license.remaining.into(),
            added_at: Time(license.added_at),
            added_by: license.added_by.to_string(),
            organizations: license.organizations.iter().map(ToString::to_string).collect(),
            moves: license.history.len().saturating_sub(1),
        }
    }
}

impl From<LicensePreview> for Preview {
    fn from(preview: LicensePreview) -> Self {
        let LicensePreview { key, licenses, available_before, available_after } = preview;
        let tokens = licenses.iter().map(|license| license.granted.0).sum();
        Self {
            key: key.to_string(),
            licenses: licenses
                .into_iter()
                .map(|license| (license.id.to_string(), license.granted.into()))
                .collect(),
            tokens: Count(tokens),
            before: available_before.into(),
            after: available_after.into(),
        }
    }
}
