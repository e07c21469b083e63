//! A gateway that embeds the meter: it opens a data directory, charges what its cameras consume, retries under the same ids, and
//! shows what is left.
//!
//! Run it with `cargo run --example embed --no-default-features`.

use tokenweir::meter::{
    CameraId, CameraRef, CameraSpec, Config, Debit, DebitBatch, Error, Identity, Meter, Name,
    NewOrganization, OrgId, Organization, Outcome, Principal, Tokens, UsageKind,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let meter = Meter::open(Config::new(directory.path()))?;
    let organization = set_up(&meter).await?;

    // One event, one debit: the reply comes when it is on the disk.
    let reply = organization.debit(analysis("gate", 1, 400)).await?;
    println!("{:?}, {} tokens left", reply.outcome, reply.available);

    // A gateway batches what arrives together. A bad debit never fails its neighbours.
    let mut batch = DebitBatch::with_capacity(3);
    batch.push(analysis("gate", 2, 350));
    batch.push(analysis("yard", 1, 900));
    batch.push(analysis("roof", 1, 100));
    let reply = organization.debit_batch(batch).await?;
    println!("{:?}, {} tokens left", reply.batch.outcomes(), reply.available);

    // The connection broke before the answer? Send the same event under the same id: it is charged once.
    let retried = organization.debit(analysis("gate", 2, 350)).await?;
    assert!(matches!(retried.outcome, Outcome::Duplicate(_)));

    // Another process takes over after a crash: the directory tells what was acknowledged.
    drop(organization);
    meter.close().await;
    let meter = Meter::open(Config::new(directory.path()))?;
    let organization = meter.organization(&Principal::Host, &OrgId::new("acme")?)?;
    let summary = organization.summary().await?;
    println!("after the restart: {} used, {} left", summary.totals.used, summary.available);
    assert_eq!(summary.totals.used, Tokens(1_650));
    drop(organization);
    meter.close().await;
    Ok(())
}

async fn set_up(meter: &Meter) -> Result<Organization, Box<dyn std::error::Error>> {
    let acme = OrgId::new("acme")?;
    meter
        .create_organization(&Principal::Host, NewOrganization::new(acme.clone(), Name::new("Acme Ltd")?))
        .await?;
    let organization = meter.organization(&Principal::Host, &acme)?;
    organization.grant(vec![Tokens(1_000_000), Tokens(500_000)]).await?;
    for camera in ["gate", "yard"] {
        register(&organization, camera).await?;
    }
    Ok(organization)
}

async fn register(organization: &Organization, camera: &str) -> Result<(), Error> {
    let (id, network) = (CameraId::new(camera)?, Name::new("head office")?);
    organization.register_camera(CameraSpec { id, network, cloud_ai: true, pro_license: false }).await?;
    Ok(())
}

fn analysis(camera: &str, seq: u64, tokens: u64) -> Debit<'_> {
    Debit {
        camera: CameraRef::Id(camera),
        identity: Identity::Seq { epoch: 1, seq },
        tokens,
        kind: UsageKind::ContextualVideoAnalytics,
        time: None,
    }
}
