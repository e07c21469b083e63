//! A gateway that spends a lease: debits in nanoseconds, reported in batches, through a restart of the server.
//!
//! `cargo run --example lease --features client` starts a server of its own on free ports and a temporary directory, and stops it in
//! the middle.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use tokenweir::client::{
    CameraRef, Client, Config, Debit, Identity, LeaseConfig, LeasedMeter, NotPaid, UsageKind, WhenUnreachable,
};
use tokenweir::config::{self, GrpcListen};
use tokenweir::meter::{CameraId, CameraSpec, KeyId, LicenseKey, Meter, Name, NewApiKey, NewOrganization};
use tokenweir::meter::{OrgId, Principal, Role, Tokens};
use tokenweir::server::Server;

const EVENTS: u64 = 10_000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let key = prepare(directory.path()).await?;
    let mut config = config::Config::new(directory.path());
    config.listen = "127.0.0.1:0".parse()?;
    let server = Server::bind(&config)?;
    server.open().await?;
    let grpc = server.grpc_address().ok_or("grpc is on unless it is switched off")?;
    config.listen = server.address();
    config.grpc_listen = GrpcListen::At(grpc);

    let client = Client::connect(Config::new(format!("http://{grpc}"), key))?;
    let lease = LeaseConfig {
        // While the meter cannot be reached, and no lease is left, at most so much is granted on trust.
        when_unreachable: WhenUnreachable::Grant { tokens_max: 3_000 },
        renew_below: 20_000,
        ..LeaseConfig::new(50_000)
    };
    let meter = LeasedMeter::start(&client, "acme", lease, |lost| {
        println!("used and not charged, {}: {:?}", lost.why, lost.debit.identity);
    })?;
    meter.ready().await?;
    let camera = meter.camera("gate")?;

    let mut granted = analyse(&meter, camera, 1..EVENTS + 1).await?;
    server.stop().await?;
    println!("the server is away; {} tokens are left of the lease", meter.status().left);
    granted += analyse(&meter, camera, EVENTS + 1..EVENTS + 101).await?;
    let server = Server::bind(&config)?;
    server.open().await?;

    meter.close().await?;
    let (status, summary) = (meter.status(), client.summary("acme").await?);
    println!(
        "granted {granted} debits, {} of them charged, over {} leases",
        status.reported_debits, status.leases
    );
    println!("used {} tokens, {} held, {} available", summary.used, summary.held, summary.available);
    server.stop().await?;
    if status.reported_debits != granted || summary.used != 3 * granted {
        return Err("what was granted is not what was charged".into());
    }
    Ok(())
}

/// Meters events of a camera, and waits a moment where the lease is dry or the record full; how many were granted.
async fn analyse(
    meter: &LeasedMeter,
    camera: CameraRef<'static>,
    events: std::ops::Range<u64>,
) -> Result<u64, NotPaid> {
    // The epoch rises with every start of the gateway, so that its numbers may begin anew.
    let epoch =
        u32::try_from(tokenweir::telemetry::clock::Clock::System.now().ms() / 1_000).unwrap_or(u32::MAX);
    let mut granted = 0;
    for seq in events {
        let (identity, kind) = (Identity::Seq { epoch, seq }, UsageKind::VideoSearch);
        let debit = Debit { camera, identity, tokens: 3, kind, time: None };
        loop {
            match meter.debit(&debit) {
                Ok(_paid) => break,
                Err(NotPaid::Dry | NotPaid::Ended | NotPaid::Full) => {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                Err(other) => return Err(other),
            }
        }
        granted += 1;
    }
    Ok(granted)
}

/// An organization with a camera and a license, and the key of a gateway.
async fn prepare(directory: &Path) -> Result<String, Box<dyn Error>> {
    let meter = Meter::open(tokenweir::meter::Config::new(directory))?;
    let (host, acme) = (Principal::Host, OrgId::new("acme")?);
    meter.create_organization(&host, NewOrganization::new(acme.clone(), Name::new("Acme Ltd")?)).await?;
    let organization = meter.organization(&host, &acme)?;
    let license = LicenseKey { id: KeyId::new("K-1")?, grants: vec![Tokens(1_000_000)] };
    organization.add_licenses(license).await?;
    let (id, network) = (CameraId::new("gate")?, Name::new("north")?);
    organization.register_camera(CameraSpec { id, network, cloud_ai: true, pro_license: false }).await?;
    let new = NewApiKey { label: Name::new("gateway")?, role: Role::Gateway, organizations: vec![acme] };
    let (_, key) = meter.create_api_key(&host, new).await?;
    meter.close().await;
    Ok(key)
}
