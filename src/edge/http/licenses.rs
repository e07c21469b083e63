//! Shared AI Token Licenses: added for good, by a signed key (R1 to R6).

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::edge::license_key::KeyError;
use crate::meter::{
    ActorId, Grant, KeyId, LicenseClaim, LicenseId, LicensePreview, LicenseStatus, LicenseStep, LicenseView,
    OrgId, Tokens, TransferId,
};

use super::auth::{Caller, InOrganization, path_id};
use super::body::{Asks, Json, administers, created, ok};
use super::problem::Problem;
use super::route::{Right, Route};
use super::state::State;
use super::time_text::TimeText;

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[
    Route {
        method: Method::GET,
        path: "/v1/organizations/{org}/licenses",
        right: Right::Read,
        summary: "List the Shared AI Token Licenses of an organization.",
        handler: || web::to(list),
    },
    Route {
        method: Method::POST,
        path: "/v1/organizations/{org}/licenses",
        right: Right::Administer,
        summary: "Add the licenses of a signed license key, or see what they would add.",
        handler: || web::to(add),
    },
    Route {
        method: Method::GET,
        path: "/v1/organizations/{org}/licenses/{license}",
        right: Right::Read,
        summary: "One Shared AI Token License with its history.",
        handler: || web::to(get),
    },
    Route {
        method: Method::DELETE,
        path: "/v1/organizations/{org}/licenses/{license}",
        right: Right::Administer,
        summary: "Refused, always: a Shared AI Token License is permanent.",
        handler: || web::to(remove),
    },
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ToAdd {
    key: String,
    #[serde(default)]
    dry_run: bool,
    /// What an unsigned key would hold. Only a signed key says what it holds.
    licenses: Option<IgnoredAny>,
}

impl Asks for ToAdd {
    fn allow(caller: &Caller, request: &HttpRequest) -> Result<(), Problem> {
        administers(caller, request)
    }
}

#[derive(Serialize)]
struct Claimed {
    key: KeyId,
    by: ActorId,
    claimed_at: TimeText,
    licenses: Vec<Grant>,
    available: Tokens,
}

#[derive(Serialize)]
struct List {
    available: Tokens,
    licenses: Vec<LicenseBody>,
}

#[derive(Serialize)]
struct LicenseBody {
    id: LicenseId,
    key: KeyId,
    granted: Tokens,
    remaining: Tokens,
    status: LicenseStatus,
    added_at: TimeText,
    added_by: ActorId,
    organizations: Vec<OrgId>,
    history: Vec<Step>,
}

#[derive(Serialize)]
struct Step {
    at: TimeText,
    organization: OrgId,
    by: ActorId,
    transfer: Option<TransferId>,
}

pub(super) async fn add(
    state: web::Data<State>,
    organization: InOrganization,
    body: Json<ToAdd>,
) -> Result<HttpResponse, Problem> {
    let ToAdd { key, dry_run, licenses } = body.0;
    if licenses.is_some() {
        return Err(KeyError::Unsigned.into());
    }
    let (organization, key) = (organization.0, state.issuers.verify(&key)?.key);
    if dry_run {
        let preview: LicensePreview = organization.preview_licenses(key).await?;
        return Ok(ok(preview));
    }
    let LicenseClaim { key, by, claimed_at, licenses } = organization.add_licenses(key).await?;
    let available = organization.summary().await?.available;
    Ok(created(Claimed { key, by, claimed_at: claimed_at.into(), licenses, available }))
}

pub(super) async fn list(organization: InOrganization) -> Result<HttpResponse, Problem> {
    let licenses = organization.0.licenses().await?.into_iter().map(LicenseBody::from).collect();
    Ok(ok(List { available: organization.0.summary().await?.available, licenses }))
}

pub(super) async fn get(request: HttpRequest, organization: InOrganization) -> Result<HttpResponse, Problem> {
    let license = organization.0.license(path_id(&request, "license")?).await?;
    Ok(ok(LicenseBody::from(license)))
}

/// Refuses, always: a Shared AI Token License is permanent (R4).
pub(super) async fn remove(
    request: HttpRequest,
    organization: InOrganization,
) -> Result<HttpResponse, Problem> {
    let Err(refusal) = organization.0.remove_license(path_id(&request, "license")?).await;
    Err(refusal.into())
}

impl From<LicenseView> for LicenseBody {
    fn from(license: LicenseView) -> Self {
        let LicenseView { id, key, granted, remaining, status, added_by, organizations, .. } = license;
        let (added_at, history) =
            (license.added_at.into(), license.history.into_iter().map(Step::from).collect());
        Self { id, key, granted, remaining, status, added_at, added_by, organizations, history }
    }
}

impl From<LicenseStep> for Step {
    fn from(step: LicenseStep) -> Self {
        let LicenseStep { at, organization, by, transfer } = step;
        Self { at: at.into(), organization, by, transfer }
    }
}
