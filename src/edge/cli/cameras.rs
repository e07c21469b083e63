//! `weir camera`: register, show and remove cameras, and bind Unlimited AI Licenses to them.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::domain::debit::UsageKind;
use crate::domain::ids::{CameraId, LicenseId, Name, OrgId};

use super::client::{Client, OrganizationArgs, ServerArgs};
use super::failure::Failure;
use super::organizations::parse_name;
use super::output::{answer, field, number_field, rows, table, yes};

const PAGE: u32 = 1_000;

/// Register, show and remove cameras, and bind Unlimited AI Licenses to them.
#[derive(Debug, Subcommand)]
pub enum CameraCommand {
    /// Register a camera, or change one (admin).
    Set(SetArgs),
    /// List the cameras of an organization.
    List(OrganizationArgs),
    /// Show one camera.
    Show(CameraArgs),
    /// Remove a camera; what was charged for it stays known (admin).
    Remove(CameraArgs),
    /// Bind an Unlimited AI License to a camera (admin).
    Bind(BindArgs),
    /// Unbind an Unlimited AI License; the camera falls back to the pool (admin).
    Unbind(UnbindArgs),
}

/// Which camera.
#[derive(Args, Debug)]
pub struct CameraArgs {
    /// The organization.
    pub organization: OrgId,
    /// The camera.
    pub camera: CameraId,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// A camera as it is to be.
#[derive(Args, Debug)]
pub struct SetArgs {
    /// Which camera.
    #[command(flatten)]
    pub camera: CameraArgs,
    /// Its network.
    #[arg(long, value_parser = parse_name)]
    pub network: Name,
    /// Switch its Cloud AI off; it is on otherwise.
    #[arg(long)]
    pub cloud_ai_off: bool,
    /// It has a Pro License: recorded, never asked.
    #[arg(long)]
    pub pro_license: bool,
}

/// An Unlimited AI License and its terms.
#[derive(Args, Debug)]
pub struct BindArgs {
    /// Which camera.
    #[command(flatten)]
    pub camera: CameraArgs,
    /// The license.
    #[arg(long)]
    pub license: LicenseId,
    /// When it begins, as 2026-01-31T00:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub from: jiff::Timestamp,
    /// When it ends.
    #[arg(long, value_name = "TIME")]
    pub until: jiff::Timestamp,
    /// Which usage it exempts.
    #[arg(long, value_name = "KIND", value_parser = parse_kind, default_value = "contextual_video_analytics")]
    pub kind: UsageKind,
}

/// Which Unlimited AI License.
#[derive(Args, Debug)]
pub struct UnbindArgs {
    /// Which camera.
    #[command(flatten)]
    pub camera: CameraArgs,
    /// The license.
    #[arg(long)]
    pub license: LicenseId,
}

impl CameraArgs {
    fn path(&self) -> String {
        format!("/v1/organizations/{}/cameras/{}", self.organization, self.camera)
    }
}

/// Runs it.
pub(super) fn run(command: &CameraCommand) -> Result<(), Failure> {
    match command {
        CameraCommand::Set(args) => set(args),
        CameraCommand::List(args) => list(args),
        CameraCommand::Show(args) => {
            show(&args.server, &args.server.client()?.get(&args.path())?);
            Ok(())
        }
        CameraCommand::Remove(args) => remove(args),
        CameraCommand::Bind(args) => bind(args),
        CameraCommand::Unbind(args) => unbind(args),
    }
}

/// Hands over every camera of an organization.
pub(super) fn for_each(
    client: &Client,
    organization: &OrgId,
    mut on_camera: impl FnMut(&Value),
) -> Result<(), Failure> {
    let mut first = Some(0);
    while let Some(from) = first {
        let page =
            client.get(&format!("/v1/organizations/{organization}/cameras?first={from}&limit={PAGE}"))?;
        rows(&page, "cameras").iter().for_each(&mut on_camera);
        first = page["next"].as_u64();
    }
    Ok(())
}

fn set(args: &SetArgs) -> Result<(), Failure> {
    let body =
        json!({ "network": args.network, "cloud_ai": !args.cloud_ai_off, "pro_license": args.pro_license });
    let server = &args.camera.server;
    show(server, &server.client()?.put(&args.camera.path(), &body)?);
    Ok(())
}

fn list(args: &OrganizationArgs) -> Result<(), Failure> {
    let mut cameras = Vec::new();
    for_each(&args.server.client()?, &args.organization, |camera| cameras.push(camera.clone()))?;
    answer(args.server.output(), &json!({ "cameras": cameras }), |list| table_of(rows(list, "cameras")));
    Ok(())
}

fn remove(args: &CameraArgs) -> Result<(), Failure> {
    args.server.client()?.delete(&args.path())?;
    let removed = json!({ "organization": args.organization, "camera": args.camera, "removed": true });
    answer(args.server.output(), &removed, |_| {
        format!(
            "removed {}; its debits are refused from now on, what was charged for it stays known",
            args.camera
        )
    });
    Ok(())
}

fn bind(args: &BindArgs) -> Result<(), Failure> {
    let body =
        json!({ "kind": args.kind.name(), "from": args.from.to_string(), "until": args.until.to_string() });
    let server = &args.camera.server;
    let path = format!("{}/unlimited/{}", args.camera.path(), args.license);
    show(server, &server.client()?.put(&path, &body)?);
    Ok(())
}

fn unbind(args: &UnbindArgs) -> Result<(), Failure> {
    let server = &args.camera.server;
    server.client()?.delete(&format!("{}/unlimited/{}", args.camera.path(), args.license))?;
    let unbound = json!({ "camera": args.camera.camera, "license": args.license, "unbound": true });
    answer(server.output(), &unbound, |_| {
        format!("unbound {}; {} falls back to the pool", args.license, args.camera.camera)
    });
    Ok(())
}

fn show(server: &ServerArgs, camera: &Value) {
    answer(server.output(), camera, |camera| {
        let mut text = table_of(std::slice::from_ref(camera));
        for license in rows(camera, "unlimited") {
            let (from, until) = (field(license, "from"), field(license, "until"));
            text.push_str(&format!(
                "\nunlimited: {} for {} from {from} until {until}",
                field(license, "id"),
                field(license, "kind")
            ));
        }
        text
    });
}

fn table_of(cameras: &[Value]) -> String {
    let row = |camera: &Value| {
        let newest = &camera["newest"];
        let newest = if newest.is_null() {
            String::new()
        } else {
            format!("{}/{}", field(newest, "epoch"), field(newest, "seq"))
        };
        [
            field(camera, "id"),
            field(camera, "network"),
            yes(camera, "cloud_ai"),
            yes(camera, "pro_license"),
            number_field(camera, "used"),
            newest,
            rows(camera, "unlimited").len().to_string(),
        ]
    };
    let cameras: Vec<_> = cameras.iter().map(row).collect();
    table(["camera", "network", "cloud ai", "pro", "used", "newest", "unlimited"], &cameras)
}

fn parse_kind(text: &str) -> Result<UsageKind, String> {
    UsageKind::from_name(text).map_err(|_| {
        let known: Vec<_> = UsageKind::ALL.into_iter().map(UsageKind::name).collect();
        format!("it is one of {}", known.join(", "))
    })
}
