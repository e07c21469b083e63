//! Shared AI Token Licenses: added for good (R1 to R6).

use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};

use crate::meter::{
    ActorId, KeyId, LicenseId, LicenseKey, LicenseStatus, LicenseStep, LicenseView, OrgId, Tokens, TransferId,
};

use super::auth::{Caller, InOrganization, path_id};
use super::body::{Asks, Json, administers, created, ok};
use super::problem::Problem;
use super::time_text::TimeText;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ToAdd {
    key: KeyId,
    licenses: Vec<Tokens>,
    #[serde(default)]
    dry_run: bool,
}

impl Asks for ToAdd {
    fn allow(caller: &Caller, request: &HttpRequest) -> Result<(), Problem> {
        administers(caller, request)
    }
}

#[derive(Serialize)]
struct List {
    available: Tokens,
    licenses: Vec<LicenseBody>,
}

#[derive(Serialize)]
struct Preview {
    licenses: Vec<LicenseBody>,
    available_before: Tokens,
    available_after: Tokens,
}

#[derive(Serialize)]
struct LicenseBody {
    id: LicenseId,
    key: KeyId,
    granted: Tokens,
    remaining: Tokens,
    status: LicenseStatus,
    added_at: TimeText,
    history: Vec<Step>,
}

#[derive(Serialize)]
struct Step {
    at: TimeText,
    organization: OrgId,
    by: ActorId,
    transfer: Option<TransferId>,
}

pub(super) async fn add(organization: InOrganization, body: Json<ToAdd>) -> Result<HttpResponse, Problem> {
    let ToAdd { key, licenses: grants, dry_run } = body.0;
    if let Some(problem) = Problem::of_grants(&grants) {
        return Err(problem);
    }
    let (organization, key) = (organization.0, LicenseKey { id: key, grants });
    if dry_run {
        let preview = organization.preview_licenses(key).await?;
        return Ok(ok(Preview {
            licenses: bodies(preview.licenses),
            available_before: preview.available_before,
            available_after: preview.available_after,
        }));
    }
    let licenses = bodies(organization.add_licenses(key).await?);
    Ok(created(List { available: organization.summary().await?.available, licenses }))
}

pub(super) async fn list(organization: InOrganization) -> Result<HttpResponse, Problem> {
    let licenses = bodies(organization.0.licenses().await?);
    Ok(ok(List { available: organization.0.summary().await?.available, licenses }))
}

/// Refuses, always: a Shared AI Token License is permanent (R4).
pub(super) async fn remove(
    request: HttpRequest,
    organization: InOrganization,
) -> Result<HttpResponse, Problem> {
    let Err(refusal) = organization.0.remove_license(path_id(&request, "license")?).await;
    Err(refusal.into())
}

fn bodies(licenses: Vec<LicenseView>) -> Vec<LicenseBody> {
    licenses.into_iter().map(LicenseBody::from).collect()
}

impl From<LicenseView> for LicenseBody {
    fn from(license: LicenseView) -> Self {
        let LicenseView { id, key, granted, remaining, status, added_at, history } = license;
        let history = history.into_iter().map(Step::from).collect();
        Self { id, key, granted, remaining, status, added_at: added_at.into(), history }
    }
}

impl From<LicenseStep> for Step {
    fn from(step: LicenseStep) -> Self {
        let LicenseStep { at, organization, by, transfer } = step;
        Self { at: at.into(), organization, by, transfer }
    }
}
