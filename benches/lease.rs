//! What one debit of a leased meter costs its caller: tokens taken, recorded for the report, the clock read. A server in this process
//! takes the reports meanwhile; between the timed runs everything that was recorded is reported.
//!
//! `WEIR_BENCH_SMOKE=1` makes it short.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

#[path = "support/config.rs"]
mod config;

use std::error::Error;
use std::path::Path;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use tokenweir::client::{
    CameraRef, Client, Config as ClientConfig, Debit, Identity, LeaseConfig, LeasedMeter, UsageKind,
};
use tokenweir::config::Config;
use tokenweir::meter::{
    self, CameraId, CameraSpec, KeyId, LicenseKey, Meter, Name, NewApiKey, NewOrganization, OrgId, Principal,
    Role, Tokens,
};
use tokenweir::server::Server;

const CAMERAS: u32 = 1_024;
/// Debits that are timed before the record is reported; fewer than it holds.
const RUN: u64 = 8_192;

/// One caller: it has cameras of its own, and numbers their events.
struct Caller<'a> {
    meter: &'a LeasedMeter,
    cameras: Vec<CameraRef<'static>>,
    next: u64,
}

impl<'a> Caller<'a> {
    fn new(meter: &'a LeasedMeter, cameras: impl Iterator<Item = u32>) -> Self {
        let cameras = cameras.map(|camera| meter.camera(&format!("c{camera}")).expect("an id")).collect();
        Self { meter, cameras, next: 0 }
    }

    /// How long so many debits take.
    fn run(&mut self, debits: u64) -> Duration {
        let begun = Instant::now();
        for _ in 0..debits {
            let place = usize::try_from(self.next).expect("a small number") % self.cameras.len();
            let identity = Identity::Seq { epoch: 1, seq: self.next };
            let (camera, kind) = (self.cameras[place], UsageKind::ContextualVideoAnalytics);
            let granted = self.meter.debit(&Debit { camera, identity, tokens: 3, kind, time: None });
            assert!(granted.is_ok(), "{granted:?}");
            self.next += 1;
        }
        begun.elapsed()
    }
}

/// Waits until all is reported.
fn settle(meter: &LeasedMeter) {
    while meter.status().unanswered > 0 {
        thread::yield_now();
    }
}

fn debits(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().expect("a directory");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let (server, meter) = runtime.block_on(start(directory.path())).expect("it starts");
    let mut group = criterion.benchmark_group("leased_debit");
    let mut caller = Caller::new(&meter, 0..CAMERAS);
    group.bench_function("one_thread", |bencher| {
        bencher.iter_custom(|debits| {
            let run = |first: u64| {
                settle(&meter);
                caller.run((debits - first).min(RUN))
            };
            (0..debits).step_by(usize::try_from(RUN).expect("small")).map(run).sum()
        });
    });
    let mut callers = [0, 1].map(|part| Caller::new(&meter, (0..CAMERAS).filter(move |n| n % 2 == part)));
    callers.iter_mut().for_each(|other| other.next = caller.next);
    group.bench_function("two_threads", |bencher| {
        bencher.iter_custom(|debits| {
            let run = |first: u64| {
                settle(&meter);
                together(&mut callers, (debits - first).min(RUN))
            };
            (0..debits).step_by(usize::try_from(RUN).expect("small")).map(run).sum()
        });
    });
    group.finish();
    settle(&meter);
    let status = meter.status();
    assert_eq!(status.uncharged_debits, 0, "{status:?}");
    runtime.block_on(async {
        meter.close().await.expect("it is served");
        server.stop().await.expect("it served to the end");
    });
}

/// How long the slower of the callers takes for so many debits each, at the same time.
fn together(callers: &mut [Caller<'_>; 2], debits: u64) -> Duration {
    let start = Barrier::new(callers.len());
    thread::scope(|scope| {
        let start = &start;
        let begin = |caller: &'_ mut Caller<'_>| {
            start.wait();
            caller.run(debits)
        };
        let threads: Vec<_> = callers.iter_mut().map(|caller| scope.spawn(move || begin(caller))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).max().unwrap_or_default()
    })
}

/// A server with one organization, and a leased meter that has its lease.
async fn start(directory: &Path) -> Result<(Server, LeasedMeter), Box<dyn Error>> {
    let key = prepare(directory).await?;
    let mut config = Config::new(directory);
    config.listen = "127.0.0.1:0".parse()?;
    let server = Server::bind(&config)?;
    server.open().await?;
    let address = server.grpc_address().ok_or("grpc is on")?;
    let mut client = ClientConfig::new(format!("http://{address}"), key);
    client.batch_debits = 4_096;
    let lease = LeaseConfig::new(1 << 39);
    let meter = LeasedMeter::start(&Client::connect(client)?, "hot", lease, |_| {})?;
    meter.ready().await?;
    Ok((server, meter))
}

/// An organization with cameras and tokens, and the key of a gateway.
async fn prepare(directory: &Path) -> Result<String, Box<dyn Error>> {
    let meter = Meter::open(meter::Config::new(directory))?;
    let (host, hot) = (Principal::Host, OrgId::new("hot")?);
    meter.create_organization(&host, NewOrganization::new(hot.clone(), Name::new("Hot")?)).await?;
    let organization = meter.organization(&host, &hot)?;
    let license = LicenseKey { id: KeyId::new("K-1")?, grants: vec![Tokens(1 << 45)] };
    organization.add_licenses(license).await?;
    for camera in 0..CAMERAS {
        let (id, network) = (CameraId::new(&format!("c{camera}"))?, Name::new("north")?);
        organization.register_camera(CameraSpec { id, network, cloud_ai: true, pro_license: false }).await?;
    }
    let new = NewApiKey { label: Name::new("gateway")?, role: Role::Gateway, organizations: vec![hot] };
    let (_, key) = meter.create_api_key(&host, new).await?;
    meter.close().await;
    Ok(key)
}

criterion_group! { name = benches; config = config::config(); targets = debits }
criterion_main!(benches);
