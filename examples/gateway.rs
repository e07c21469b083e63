//! A gateway that debits over gRPC: single debits in, batches on the wire, a lost connection bridged.
//!
//! `cargo run --example gateway --features client -- URL KEY ORGANIZATION CAMERA` debits at a running server. Without arguments it
//! starts a server of its own on free ports and a temporary directory, and ends with it.

use std::error::Error;

use tokenweir::client::{CameraRef, Client, Config, Debit, DebitStream, Identity, Outcome, UsageKind};
use tokenweir::config;
use tokenweir::meter::{CameraId, CameraSpec, KeyId, LicenseKey, Name, OrgId, Principal, Role, Tokens};
use tokenweir::meter::{Meter, NewApiKey, NewOrganization};
use tokenweir::server::Server;

const EVENTS: u64 = 10_000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [url, key, organization, camera] = arguments.as_slice() {
        return meter_events(url, key, organization, camera).await;
    }
    let directory = tempfile::tempdir()?;
    let key = prepare(directory.path()).await?;
    let mut config = config::Config::new(directory.path());
    config.listen = "127.0.0.1:0".parse()?;
    let server = Server::bind(&config)?;
    server.open().await?;
    let address = server.grpc_address().ok_or("grpc is on unless it is switched off")?;
    meter_events(&format!("http://{address}"), &key, "acme", "gate").await?;
    server.stop().await?;
    Ok(())
}

/// What the analysis of one camera costs, debit by debit.
async fn meter_events(url: &str, key: &str, organization: &str, camera: &str) -> Result<(), Box<dyn Error>> {
    let client = Client::connect(Config::new(url, key))?;
    let stream = client.stream(organization);
    let camera = stream.camera(camera)?;
    // The epoch rises with every start of the gateway, so that its numbers may begin anew.
    let epoch = u32::try_from(tokenweir::telemetry::clock::Clock::System.now().ms() / 1_000)?;
    let mut sent = Vec::new();
    for seq in 1..=EVENTS {
        // Waits when the window is full; a gateway that must not wait uses `try_send`.
        sent.push(stream.send(&event(camera, epoch, seq)).await?);
    }
    println!("taken: {EVENTS} debits; {:?}", stream.lag());
    let (mut charged, mut others) = (0_u64, 0_u64);
    for sent in sent {
        match sent.await?.outcome {
            Outcome::Charged => charged += 1,
            _ => others += 1,
        }
    }
    println!("charged: {charged}, otherwise: {others}");
    retry(&stream, camera, epoch).await?;
    stream.close().await?;
    let summary = client.summary(organization).await?;
    println!("available: {} tokens", summary.available);
    Ok(())
}

/// A debit that is sent again under its id is not charged again.
async fn retry(stream: &DebitStream, camera: CameraRef<'static>, epoch: u32) -> Result<(), Box<dyn Error>> {
    let again = stream.send(&event(camera, epoch, EVENTS)).await?;
    stream.flush().await?;
    println!("the last one again: {}", again.await?.code());
    Ok(())
}

fn event(camera: CameraRef<'static>, epoch: u32, seq: u64) -> Debit<'static> {
    let identity = Identity::Seq { epoch, seq };
    Debit { camera, identity, tokens: 3, kind: UsageKind::ContextualVideoAnalytics, time: None }
}

/// An organization with a camera and a license, and the key of a gateway.
async fn prepare(directory: &std::path::Path) -> Result<String, Box<dyn Error>> {
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
