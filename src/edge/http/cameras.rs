//! Cameras, and the Unlimited AI Licenses bound to them.

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::meter::{
    CameraId, CameraSpec, CameraView, LicenseId, Limit, Name, Organization, Refusal, Subject, Tag, Tokens,
    UnlimitedLicense, UsageKind,
};

use super::auth::{Caller, InOrganization, path_id};
use super::body::{Asks, Json, Query, administers, ok};
use super::conditions::{Conditions, TAGGED, condition_headers, tagged};
use super::describe::{Answer, Body, no_problems, query};
use super::organizations::page_rows;
use super::problem::Problem;
use super::route::{Right, Route};
use super::schemas::time_read;
use super::time_text::TimeText;

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[
    Route {
        method: Method::GET,
        path: "/v1/organizations/{org}/cameras",
        right: Right::Read,
        summary: "List the cameras of an organization, page by page.",
        parameters: query::<Page>,
        body: None,
        answers: &[Answer::json::<List>(200, "A page of cameras.")],
        problems: no_problems,
        handler: || web::to(list),
    },
    Route {
        method: Method::GET,
        path: "/v1/organizations/{org}/cameras/{camera}",
        right: Right::Read,
        summary: "One camera, with what it used and the Unlimited AI Licenses bound to it.",
        parameters: condition_headers,
        body: None,
        answers: &[
            Answer::json::<CameraBody>(200, "The camera.").with(TAGGED),
            Answer::empty(304, "Its configuration is the one of If-None-Match.").with(TAGGED),
        ],
        problems: || vec![Refusal::PreconditionFailed.into(), Refusal::UnknownCamera.into()],
        handler: || web::to(get),
    },
    Route {
        method: Method::PUT,
        path: "/v1/organizations/{org}/cameras/{camera}",
        right: Right::Administer,
        summary: "Register a camera, or change it.",
        parameters: condition_headers,
        body: Body::json::<ToRegister>(),
        answers: &[Answer::json::<CameraBody>(200, "The camera as it is now.").with(TAGGED)],
        problems: || {
            vec![
                Refusal::PreconditionFailed.into(),
                Refusal::UnknownCamera.into(),
                Refusal::InTransfer.into(),
                Refusal::LimitReached(Limit::Cameras).into(),
            ]
        },
        handler: || web::to(register),
    },
    Route {
        method: Method::DELETE,
        path: "/v1/organizations/{org}/cameras/{camera}",
        right: Right::Administer,
        summary: "Remove a camera; what it used stays counted.",
        parameters: condition_headers,
        body: None,
        answers: &[Answer::empty(204, "It was removed.")],
        problems: || {
            vec![
                Refusal::PreconditionFailed.into(),
                Refusal::UnknownCamera.into(),
                Refusal::InTransfer.into(),
            ]
        },
        handler: || web::to(remove),
    },
    Route {
        method: Method::PUT,
        path: "/v1/organizations/{org}/cameras/{camera}/unlimited/{license}",
        right: Right::Administer,
        summary: "Bind an Unlimited AI License to a camera, or change its terms.",
        parameters: condition_headers,
        body: Body::json::<ToBind>(),
        answers: &[Answer::json::<CameraBody>(200, "The camera as it is now.").with(TAGGED)],
        problems: || {
            vec![
                Refusal::PreconditionFailed.into(),
                Refusal::UnknownCamera.into(),
                Refusal::LicenseInUse.into(),
                Refusal::InTransfer.into(),
                Refusal::LimitReached(Limit::Bindings).into(),
            ]
        },
        handler: || web::to(bind),
    },
    Route {
        method: Method::DELETE,
        path: "/v1/organizations/{org}/cameras/{camera}/unlimited/{license}",
        right: Right::Administer,
        summary: "Unbind an Unlimited AI License.",
        parameters: condition_headers,
        body: None,
        answers: &[Answer::empty(204, "It was unbound.")],
        problems: || {
            vec![
                Refusal::PreconditionFailed.into(),
                Refusal::UnknownCamera.into(),
                Refusal::UnknownLicense.into(),
                Refusal::LicenseIsPermanent.into(),
                Refusal::InTransfer.into(),
            ]
        },
        handler: || web::to(unbind),
    },
];

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CameraSettings)]
pub(super) struct ToRegister {
    network: Name,
    cloud_ai: bool,
    #[serde(default)]
    pro_license: bool,
}

impl Asks for ToRegister {
    fn allow(caller: &Caller, request: &HttpRequest) -> Result<(), Problem> {
        administers(caller, request)
    }
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = UnlimitedTerms)]
pub(super) struct ToBind {
    #[serde(default)]
    kind: UsageKind,
    #[schema(schema_with = time_read)]
    from: TimeText,
    #[schema(schema_with = time_read)]
    until: TimeText,
}

impl Asks for ToBind {
    fn allow(caller: &Caller, request: &HttpRequest) -> Result<(), Problem> {
        administers(caller, request)
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    first: Option<u32>,
    limit: Option<usize>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Camera)]
struct CameraBody {
    id: String,
    network: Name,
    cloud_ai: bool,
    pro_license: bool,
    used: Tokens,
    newest: Option<Newest>,
    unlimited: Vec<Unlimited>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = NewestEvent)]
struct Newest {
    epoch: u32,
    seq: u64,
}

#[derive(Serialize, ToSchema)]
#[schema(as = UnlimitedLicense)]
struct Unlimited {
    id: LicenseId,
    kind: UsageKind,
    from: TimeText,
    until: TimeText,
}

#[derive(Serialize, ToSchema)]
#[schema(as = CameraPage)]
struct List {
    cameras: Vec<CameraBody>,
    next: Option<u32>,
}

pub(super) async fn register(
    request: HttpRequest,
    organization: InOrganization,
    conditions: Conditions,
    body: Json<ToRegister>,
) -> Result<HttpResponse, Problem> {
    let id: CameraId = path_id(&request, "camera")?;
    let organization = conditions.apply(organization.0, Subject::Camera(id.clone()));
    let ToRegister { network, cloud_ai, pro_license } = body.0;
    organization.register_camera(CameraSpec { id: id.clone(), network, cloud_ai, pro_license }).await?;
    show(&organization, id).await
}

pub(super) async fn list(organization: InOrganization, page: Query<Page>) -> Result<HttpResponse, Problem> {
    let page = organization.0.cameras(page.0.first.unwrap_or(0), page_rows(page.0.limit)?).await?;
    Ok(ok(List { cameras: page.cameras.into_iter().map(CameraBody::from).collect(), next: page.next }))
}

pub(super) async fn get(
    request: HttpRequest,
    organization: InOrganization,
    conditions: Conditions,
) -> Result<HttpResponse, Problem> {
    let camera = organization.0.camera(path_id(&request, "camera")?).await?;
    let tag = Tag::of_camera(&camera);
    if conditions.have_seen(Some(tag))? {
        return Ok(tagged(HttpResponse::NotModified().finish(), tag));
    }
    Ok(shown(camera))
}

pub(super) async fn remove(
    request: HttpRequest,
    organization: InOrganization,
    conditions: Conditions,
) -> Result<HttpResponse, Problem> {
    let camera: CameraId = path_id(&request, "camera")?;
    conditions.apply(organization.0, Subject::Camera(camera.clone())).remove_camera(camera).await?;
    Ok(HttpResponse::NoContent().finish())
}

pub(super) async fn bind(
    request: HttpRequest,
    organization: InOrganization,
    conditions: Conditions,
    body: Json<ToBind>,
) -> Result<HttpResponse, Problem> {
    let camera: CameraId = path_id(&request, "camera")?;
    let organization = conditions.apply(organization.0, Subject::Camera(camera.clone()));
    let ToBind { kind, from: TimeText(from), until: TimeText(until) } = body.0;
    let license = UnlimitedLicense { id: path_id(&request, "license")?, kind, from, until };
    organization.bind_unlimited(camera.clone(), license).await?;
    show(&organization, camera).await
}

/// Unbinds an Unlimited AI License from the camera that it is bound to. A Shared AI Token License gets its own clear
/// refusal (R4).
pub(super) async fn unbind(
    request: HttpRequest,
    caller: Caller,
    organization: InOrganization,
    conditions: Conditions,
) -> Result<HttpResponse, Problem> {
    administers(&caller, &request)?;
    let id: CameraId = path_id(&request, "camera")?;
    let organization = conditions.apply(organization.0, Subject::Camera(id.clone()));
    let license: LicenseId = path_id(&request, "license")?;
    let camera = organization.camera(id).await?;
    if camera.unlimited.iter().any(|bound| bound.id == license) {
        organization.unbind_unlimited(license).await?;
        return Ok(HttpResponse::NoContent().finish());
    }
    let Err(refusal) = organization.remove_license(license).await;
    Err(refusal.into())
}

async fn show(organization: &Organization, camera: CameraId) -> Result<HttpResponse, Problem> {
    Ok(shown(organization.camera(camera).await?))
}

fn shown(camera: CameraView) -> HttpResponse {
    let tag = Tag::of_camera(&camera);
    tagged(ok(CameraBody::from(camera)), tag)
}

impl From<CameraView> for CameraBody {
    fn from(camera: CameraView) -> Self {
        Self {
            id: camera.id,
            network: camera.network,
            cloud_ai: camera.cloud_ai,
            pro_license: camera.pro_license,
            used: camera.used,
            newest: camera.newest.map(|newest| Newest { epoch: newest.epoch, seq: newest.seq }),
            unlimited: camera.unlimited.into_iter().map(Unlimited::from).collect(),
        }
    }
}

impl From<UnlimitedLicense> for Unlimited {
    fn from(license: UnlimitedLicense) -> Self {
        let UnlimitedLicense { id, kind, from, until } = license;
        Self { id, kind, from: from.into(), until: until.into() }
    }
}
