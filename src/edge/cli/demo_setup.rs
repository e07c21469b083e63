//! What the demo makes before anything is charged: organizations, keys, cameras, licenses.

use std::path::Path;

use serde_json::json;

use crate::domain::ids::OrgId;
use crate::domain::tokens::Tokens;
use crate::edge::license_key::Issuer;
use crate::telemetry::clock::Clock;

use super::client::Client;
use super::failure::Failure;
use super::replay_target::Names;

/// The organization that is charged.
pub(super) const NORTH: &str = "north";
/// The organization that the pool is moved to.
pub(super) const SOUTH: &str = "south";
/// Cameras.
pub(super) const CAMERAS: u32 = 64;
/// The networks that the cameras belong to in turn.
pub(super) const NETWORKS: [&str; 4] = ["gatehouse", "parking", "loading dock", "perimeter"];
/// The camera under an Unlimited AI License.
pub(super) const UNLIMITED: u32 = 7;
/// The camera whose Cloud AI is off.
pub(super) const OFF: u32 = 13;
/// The file of the operator key, in the demo's own directory.
pub(super) const OPERATOR_KEY: &str = "operator.key";
/// The list of issuers whose license keys are believed, in the demo's own directory.
pub(super) const ISSUERS: &str = "issuers";
/// Tokens of the licenses that the license key expands to.
const GRANTS: [u64; 3] = [15_000_000, 10_000_000, 5_000_000];

/// The keys that were made.
#[derive(Debug)]
pub(super) struct Scene {
    /// Operator.
    pub(super) operator_key: String,
    /// Administrator of both organizations.
    pub(super) admin_key: String,
    /// Gateway of the first.
    pub(super) gateway_key: String,
}

impl Scene {
    /// The names under which the trace is replayed.
    pub(super) fn names(&self) -> Names {
        let organization = OrgId::new(NORTH).expect("a valid id");
        Names { organization, camera_prefix: "cam-".to_owned(), cameras: CAMERAS, epoch: 1 }
    }
}

/// Tokens of all licenses.
pub(super) fn granted() -> u64 {
    GRANTS.iter().sum()
}

/// Makes an issuer of license keys in the demo's own directory, and the list of issuers that trusts it.
///
/// # Errors
/// When the files cannot be written.
pub(super) fn make_issuer(own: &Path) -> Result<Issuer, Failure> {
    let name = "demo".parse().expect("a valid name");
    let issuer = Issuer::create(&own.join("issuer.jwk"), Some(name))?;
    std::fs::write(own.join(ISSUERS), issuer.public_line())?;
    Ok(issuer)
}

/// Makes everything.
///
/// # Errors
/// When the server refuses a step.
pub(super) fn prepare(url: &str, own: &Path, issuer: &Issuer) -> Result<Scene, Failure> {
    let key_file = own.join(OPERATOR_KEY);
    let operator_key = std::fs::read_to_string(&key_file)?.trim().to_owned();
    std::fs::remove_file(key_file)?;
    let operator = Client::plain(url, Some(&operator_key))?;
    for (id, name) in [(NORTH, "North Retail Park"), (SOUTH, "South Logistics")] {
        operator.post("/v1/organizations", &json!({ "id": id, "name": name }))?;
    }
    let admin_key = make_key(&operator, "admin", &[NORTH, SOUTH])?;
    let gateway_key = make_key(&operator, "gateway", &[NORTH])?;
    let admin = Client::plain(url, Some(&admin_key))?;
    register_cameras(&admin)?;
    let key = issuer.issue("2026-0001", &GRANTS.map(|tokens| (1, Tokens(tokens))), Clock::System.now())?;
    admin.post(&format!("/v1/organizations/{NORTH}/licenses"), &json!({ "key": key }))?;
    Ok(Scene { operator_key, admin_key, gateway_key })
}

fn make_key(operator: &Client, role: &str, organizations: &[&str]) -> Result<String, Failure> {
    let body = json!({ "label": format!("demo {role}"), "role": role, "organizations": organizations });
    let made = operator.post("/v1/keys", &body)?;
    let key =
        made["key"].as_str().ok_or_else(|| Failure::new("the server made a key and did not show it"))?;
    Ok(key.to_owned())
}

fn register_cameras(admin: &Client) -> Result<(), Failure> {
    let path = |camera: u32| format!("/v1/organizations/{NORTH}/cameras/cam-{camera}");
    for (camera, network) in (0..CAMERAS).zip(NETWORKS.iter().cycle()) {
        let body = json!({ "network": network, "cloud_ai": camera != OFF, "pro_license": camera % 8 == 0 });
        admin.put(&path(camera), &body)?;
    }
    let terms = json!({ "from": "2023-01-01T00:00:00Z", "until": "2024-01-01T00:00:00Z" });
    admin.put(&format!("{}/unlimited/unlimited-{UNLIMITED}", path(UNLIMITED)), &terms)?;
    Ok(())
}
