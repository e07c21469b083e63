//! Shared AI Token Licenses: added for good, by a signed key (R1 to R6).

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::edge::license_key::KeyError;
use crate::meter::{
    ActorId, Grant, KeyId, LicenseClaim, LicenseId, LicensePreview, LicenseStatus, LicenseStep, LicenseView,
    Limit, OrgId, Refusal, Tokens, TransferId,
};

use super::auth::{Caller, InOrganization, path_id};
use super::body::{Asks, Json, administers, created, ok};
use super::describe::{Answer, Body, no_parameters, no_problems};
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
        parameters: no_parameters,
        body: None,
        answers: &[Answer::json::<List>(200, "The licenses, oldest first.")],
        problems: no_problems,
        handler: || web::to(list),
    },
    Route {
        method: Method::POST,
        path: "/v1/organizations/{org}/licenses",
        right: Right::Administer,
        summary: "Add the licenses of a signed license key, or see what they would add.",
        parameters: no_parameters,
        body: Body::json::<ToAdd>(),
        answers: &[
            Answer::json::<Claimed>(201, "They were added, now or before."),
            Answer::json::<Preview>(200, "What they would add; nothing was changed."),
        ],
        problems: || {
            let of_key = [KeyError::Unsigned, KeyError::BadSignature, KeyError::Malformed(String::new())]
                .map(Problem::from);
            let refused =
                [Refusal::LicenseKeyClaimed, Refusal::InTransfer, Refusal::LimitReached(Limit::Licenses)];
            of_key
                .into_iter()
                .chain(refused.map(Problem::from))
                .chain([KeyError::UnknownIssuer("issuer".parse().expect("valid")).into()])
                .collect()
        },
        handler: || web::to(add),
    },
    Route {
        method: Method::GET,
        path: "/v1/organizations/{org}/licenses/{license}",
        right: Right::Read,
        summary: "One Shared AI Token License with its history.",
        parameters: no_parameters,
        body: None,
        answers: &[Answer::json::<LicenseBody>(200, "The license.")],
        problems: || vec![Refusal::UnknownLicense.into()],
        handler: || web::to(get),
    },
    Route {
        method: Method::DELETE,
        path: "/v1/organizations/{org}/licenses/{license}",
        right: Right::Administer,
        summary: "Refused, always: a Shared AI Token License is permanent.",
        parameters: no_parameters,
        body: None,
        answers: &[],
        problems: || vec![Refusal::UnknownLicense.into(), Refusal::LicenseIsPermanent.into()],
        handler: || web::to(remove),
    },
];

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SignedLicenseKey)]
pub(super) struct ToAdd {
    key: String,
    #[serde(default)]
    dry_run: bool,
    #[schema(ignore)]
    /// What an unsigned key would hold. Only a signed key says what it holds.
    licenses: Option<IgnoredAny>,
}

impl Asks for ToAdd {
    fn allow(caller: &Caller, request: &HttpRequest) -> Result<(), Problem> {
        administers(caller, request)
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = LicenseClaim)]
struct Claimed {
    key: KeyId,
    by: ActorId,
    claimed_at: TimeText,
    licenses: Vec<GrantBody>,
    available: Tokens,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Grant)]
struct GrantBody {
    id: LicenseId,
    granted: Tokens,
}

#[derive(Serialize, ToSchema)]
#[schema(as = LicensePreview)]
struct Preview {
    key: KeyId,
    licenses: Vec<GrantBody>,
    available_before: Tokens,
    available_after: Tokens,
}

#[derive(Serialize, ToSchema)]
#[schema(as = LicenseList)]
struct List {
    available: Tokens,
    licenses: Vec<LicenseBody>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = License)]
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

#[derive(Serialize, ToSchema)]
#[schema(as = LicenseStep)]
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
        return Ok(ok(Preview::from(organization.preview_licenses(key).await?)));
    }
    let LicenseClaim { key, by, claimed_at, licenses } = organization.add_licenses(key).await?;
    let available = organization.summary().await?.available;
    let licenses = licenses.into_iter().map(GrantBody::from).collect();
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

impl From<Grant> for GrantBody {
    fn from(grant: Grant) -> Self {
        Self { id: grant.id, granted: grant.granted }
    }
}

impl From<LicensePreview> for Preview {
    fn from(preview: LicensePreview) -> Self {
        let LicensePreview { key, licenses, available_before, available_after } = preview;
        let licenses = licenses.into_iter().map(GrantBody::from).collect();
        Self { key, licenses, available_before, available_after }
    }
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
