//! Cameras: which there are, whether their Cloud AI is on, and the Unlimited AI Licenses bound to them.
//!
//! A form changes a camera only as its page showed it: what somebody else changed meanwhile is not overwritten.

use actix_web::HttpResponse;
use askama::Template;

use crate::edge::http::Problem;
use crate::edge::http::route::Right;
use crate::meter::{
    Action, CameraId, CameraSpec, CameraView, Expected, LicenseId, Name, Organization, Precondition, Refusal,
    Subject, Tag, Timestamp, UnlimitedLicense, UsageKind,
};

use super::answer;
use super::route::{Route, form, page};
use super::session::Notice;
use super::shell::Shell;
use super::text::{self, Count, Data, Time};
use super::visit::{Visit, path_id};

/// What is answered here.
pub(super) const ROUTES: &[Route] = &[
    page(CAMERAS, Right::Read, |visit| Box::pin(list(visit))),
    form(CAMERAS, Right::Administer, Some("register_camera"), |visit| Box::pin(register(visit))),
    page("/console/organizations/{org}/cameras/{camera}", Right::Read, |visit| Box::pin(show(visit))),
    form(
        "/console/organizations/{org}/cameras/{camera}/cloud-ai",
        Right::Administer,
        Some("register_camera"),
        |visit| Box::pin(switch(visit)),
    ),
    form(
        "/console/organizations/{org}/cameras/{camera}/remove",
        Right::Administer,
        Some("remove_camera"),
        |visit| Box::pin(remove(visit)),
    ),
    form(
        "/console/organizations/{org}/cameras/{camera}/unlimited",
        Right::Administer,
        Some("bind_unlimited"),
        |visit| Box::pin(bind(visit)),
    ),
    form(
        "/console/organizations/{org}/cameras/{camera}/unlimited/{license}/unbind",
        Right::Administer,
        Some("unbind_unlimited"),
        |visit| Box::pin(unbind(visit)),
    ),
];

const CAMERAS: &str = "/console/organizations/{org}/cameras";
/// Cameras on a page.
const ROWS: usize = 100;

#[derive(Template)]
#[template(path = "console/cameras.html")]
struct CamerasPage {
    shell: Shell,
    id: String,
    name: String,
    is_admin: bool,
    cloud_ai: Count,
    cameras: Count,
    networks: Vec<String>,
    rows: Vec<Row>,
    first: u32,
    next: Option<u32>,
}

#[derive(Template)]
#[template(path = "console/camera.html")]
struct CameraPage {
    shell: Shell,
    org: String,
    name: String,
    is_admin: bool,
    camera: Row,
    kinds: Vec<(&'static str, &'static str)>,
}

/// A camera as it is shown.
struct Row {
    id: String,
    network: String,
    cloud_ai: bool,
    pro_license: bool,
    used: Data,
    newest: Option<(u32, Count)>,
    tag: String,
    bindings: Vec<Binding>,
    /// Until when it consumes no shared tokens, if that is so now.
    unlimited_until: Option<Time>,
}

/// An Unlimited AI License bound to a camera.
struct Binding {
    id: String,
    kind: &'static str,
    from: Time,
    until: Time,
    /// Whether it has begun, and whether it has not ended.
    has_begun: bool,
    lasts: bool,
}

impl Row {
    fn new(camera: CameraView, now: Timestamp) -> Self {
        let tag = format!("{:016x}", Tag::of_camera(&camera).0);
        let counts = |bound: &&UnlimitedLicense| bound.from <= now && now < bound.until;
        let unlimited_until = camera.unlimited.iter().filter(counts).map(|bound| bound.until).max().map(Time);
        let binding = |bound: UnlimitedLicense| Binding {
            id: bound.id.to_string(),
            kind: text::kind(bound.kind),
            from: Time(bound.from),
            until: Time(bound.until),
            has_begun: bound.from <= now,
            lasts: now < bound.until,
        };
        Self {
            id: camera.id,
            network: camera.network.to_string(),
            cloud_ai: camera.cloud_ai,
            pro_license: camera.pro_license,
            used: camera.used.into(),
            newest: camera.newest.map(|newest| (newest.epoch, Count(newest.seq))),
            tag,
            unlimited_until,
            bindings: camera.unlimited.into_iter().map(binding).collect(),
        }
    }
}

async fn list(visit: Visit) -> Result<HttpResponse, Problem> {
    let (organization, summary) = visit.organization().await?;
    let wanted = visit.form.text("camera");
    if !wanted.is_empty() {
        let camera: CameraId = wanted.parse()?;
        return Ok(answer::see_other(&path(&organization, &camera)));
    }
    let first = visit.form.text("first").parse().unwrap_or(0);
    let page = organization.cameras(first, ROWS).await?;
    let now = visit.visitor.meter.now();
    Ok(answer::page(&CamerasPage {
        shell: Shell::of(&visit.visitor, &visit.request, "Cameras"),
        id: organization.id().to_string(),
        name: summary.name.to_string(),
        is_admin: visit.visitor.may(Action::Administer(organization.id())),
        cloud_ai: Count(summary.cloud_ai_enabled.into()),
        cameras: Count(summary.cameras.into()),
        networks: summary.networks.iter().take(ROWS).map(|network| network.name.to_string()).collect(),
        rows: page.cameras.into_iter().map(|camera| Row::new(camera, now)).collect(),
        first,
        next: page.next,
    }))
}

async fn show(visit: Visit) -> Result<HttpResponse, Problem> {
    let (organization, summary) = visit.organization().await?;
    let camera = organization.camera(path_id(&visit.request, "camera")?).await?;
    Ok(answer::page(&CameraPage {
        shell: Shell::of(&visit.visitor, &visit.request, format!("Camera {}", camera.id)),
        org: organization.id().to_string(),
        name: summary.name.to_string(),
        is_admin: visit.visitor.may(Action::Administer(organization.id())),
        camera: Row::new(camera, visit.visitor.meter.now()),
        kinds: UsageKind::ALL.into_iter().map(|kind| (kind.name(), text::kind(kind))).collect(),
    }))
}

async fn register(visit: Visit) -> Result<HttpResponse, Problem> {
    let (organization, _) = visit.organization().await?;
    let id: CameraId = visit.form.text("camera").parse()?;
    let network = Name::new(visit.form.text("network"))?;
    let camera = CameraSpec {
        id: id.clone(),
        network,
        cloud_ai: visit.form.is_ticked("cloud_ai"),
        pro_license: visit.form.is_ticked("pro_license"),
    };
    provided(&organization, &id, Expected::Absent).register_camera(camera).await?;
    visit.visitor.leave(Notice::new(format!("Camera {id} was registered.")));
    Ok(answer::see_other(&path(&organization, &id)))
}

async fn switch(visit: Visit) -> Result<HttpResponse, Problem> {
    let (organization, _) = visit.organization().await?;
    let id: CameraId = path_id(&visit.request, "camera")?;
    let cloud_ai = visit.form.text("on") == "yes";
    let camera = organization.camera(id.clone()).await?;
    let changed =
        CameraSpec { id: id.clone(), network: camera.network, cloud_ai, pro_license: camera.pro_license };
    provided(&organization, &id, shown(&visit)?).register_camera(changed).await?;
    let (word, then) =
        if cloud_ai { ("on", "It may be charged now.") } else { ("off", "Its debits are refused now.") };
    visit.visitor.leave(Notice::new(format!("Cloud AI of {id} is {word}. {then}")));
    let from_list = visit.form.text("first").parse::<u32>().ok();
    let cameras = format!("/console/organizations/{}/cameras", organization.id());
    Ok(answer::see_other(&match from_list {
        Some(first) => format!("{cameras}?first={first}"),
        None => path(&organization, &id),
    }))
}

async fn remove(visit: Visit) -> Result<HttpResponse, Problem> {
    let (organization, _) = visit.organization().await?;
    let id: CameraId = path_id(&visit.request, "camera")?;
    if !visit.form.is_ticked("understood") {
        return Err(Problem::invalid("tick the box to say that you understand; nothing was removed"));
    }
    provided(&organization, &id, shown(&visit)?).remove_camera(id.clone()).await?;
    visit.visitor.leave(Notice::new(format!("Camera {id} was removed. Its debits are refused now.")));
    Ok(answer::see_other(&format!("/console/organizations/{}/cameras", organization.id())))
}

async fn bind(visit: Visit) -> Result<HttpResponse, Problem> {
    let (organization, _) = visit.organization().await?;
    let camera: CameraId = path_id(&visit.request, "camera")?;
    let is_asked = |kind: &&UsageKind| kind.name() == visit.form.text("kind");
    let license = UnlimitedLicense {
        id: visit.form.text("license").parse()?,
        kind: UsageKind::ALL.iter().find(is_asked).copied().unwrap_or_default(),
        from: text::time(visit.form.text("from"))?,
        until: text::time(visit.form.text("until"))?,
    };
    let id = license.id.clone();
    provided(&organization, &camera, shown(&visit)?).bind_unlimited(camera.clone(), license).await?;
    visit.visitor.leave(Notice::new(format!("Unlimited AI License {id} is bound to {camera}.")));
    Ok(answer::see_other(&path(&organization, &camera)))
}

async fn unbind(visit: Visit) -> Result<HttpResponse, Problem> {
    let (organization, _) = visit.organization().await?;
    let camera: CameraId = path_id(&visit.request, "camera")?;
    let license: LicenseId = path_id(&visit.request, "license")?;
    let is_bound = |view: CameraView| view.unlimited.iter().any(|bound| bound.id == license);
    if !is_bound(organization.camera(camera.clone()).await?) {
        return Err(Refusal::UnknownLicense.into());
    }
    provided(&organization, &camera, shown(&visit)?).unbind_unlimited(license.clone()).await?;
    let text = format!("Unlimited AI License {license} was unbound. {camera} falls back to the pool.");
    visit.visitor.leave(Notice::new(text));
    Ok(answer::see_other(&path(&organization, &camera)))
}

/// The organization, in which a camera is changed only as expected.
fn provided(organization: &Organization, camera: &CameraId, expected: Expected) -> Organization {
    let subject = Subject::Camera(camera.clone());
    organization.clone().provided(Precondition { subject, expected: vec![expected] })
}

/// That the camera is as the page showed it.
fn shown(visit: &Visit) -> Result<Expected, Problem> {
    let tag = u64::from_str_radix(visit.form.text("tag"), 16).map_err(|_| Refusal::PreconditionFailed)?;
    Ok(Expected::OneOf(vec![Tag(tag)]))
}

fn path(organization: &Organization, camera: &CameraId) -> String {
    format!("/console/organizations/{}/cameras/{camera}", organization.id())
}
