//! Loads and floors that the benchmarks share.

use std::collections::{BTreeMap, VecDeque};
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokenweir::domain::batch::DebitBatch;
use tokenweir::domain::event::{Change, Event, OrganizationCreated};
use tokenweir::domain::ids::OrgNumber;
use tokenweir::domain::license::{License, LicenseStep};
use tokenweir::domain::pool::Pool;
use tokenweir::meter::{
    ActorId, CameraId, CameraRef, CameraSpec, Config, Debit, Durability, Identity, KeyId, LicenseId, Meter,
    Name, NewOrganization, OrgId, Organization, Outcome, Pending, Principal, Slot, Timestamp, Tokens,
    UsageKind,
};
use tokenweir::protocol::org::OrgProcess;
use tokenweir::storage::event_codec;

/// Cameras of the one hot organization.
pub(crate) const CAMERAS: u32 = 10_000;
/// Debits of a batch.
pub(crate) const BATCH: u32 = 512;

/// How many rounds, and how long each load runs in one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rounds {
    pub(crate) count: usize,
    pub(crate) length: Duration,
}

impl Rounds {
    pub(crate) fn from_environment() -> Self {
        if std::env::var_os("WEIR_BENCH_SMOKE").is_some() {
            Self { count: 1, length: Duration::from_millis(100) }
        } else {
            Self { count: 7, length: Duration::from_millis(1_500) }
        }
    }
}

/// Figures by name, in the order of their first round.
#[derive(Debug, Default)]
pub(crate) struct Table {
    names: Vec<&'static str>,
    figures: BTreeMap<&'static str, Vec<f64>>,
}

impl Table {
    pub(crate) fn add(&mut self, name: &'static str, figure: f64) {
        if !self.names.contains(&name) {
            self.names.push(name);
        }
        self.figures.entry(name).or_default().push(figure);
    }

    pub(crate) fn print(&self) {
        println!("{:<50} {:>10} {:>10} {:>10}", "", "median", "least", "most");
        for name in &self.names {
            let sorted = self.sorted(name);
            let (least, most) = (sorted[0], sorted[sorted.len() - 1]);
            println!("{name:<50} {:>10.2} {least:>10.2} {most:>10.2}", self.median(name));
        }
    }

    pub(crate) fn ratio(&self, ours: &'static str, floor: &'static str) {
        println!("ratio {:.2}: {ours} / {floor}", self.median(ours) / self.median(floor));
    }

    pub(crate) fn median(&self, name: &'static str) -> f64 {
        let sorted = self.sorted(name);
        sorted[sorted.len() / 2]
    }

    fn sorted(&self, name: &'static str) -> Vec<f64> {
        let mut sorted = self.figures[name].clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }
}

/// A meter with one organization that can pay everything.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) organization: Organization,
    pub(crate) runtime: tokio::runtime::Runtime,
    next: std::cell::Cell<u64>,
    #[expect(dead_code, reason = "kept for its end: the directory goes with it")]
    directory: TempDir,
}

impl Setup {
    pub(crate) fn new(threads: usize) -> Self {
        let directory = tempfile::tempdir_in(".").expect("a directory");
        let meter = Meter::open(Config::new(directory.path())).expect("a fresh directory opens");
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(threads).build().expect("a runtime");
        let organization = runtime.block_on(fill(&meter));
        Self { organization, runtime, next: std::cell::Cell::new(0), directory }
    }

    /// Debits one event after the other.
    pub(crate) fn debit_serially(&self, count: u64) -> Vec<Duration> {
        let first = self.next.replace(self.next.get() + count);
        (first..first + count)
            .map(|n| {
                let begun = Instant::now();
                let reply =
                    self.organization.send_debit(debit(n), Durability::Durable).expect("admitted").wait();
                assert_eq!(reply.expect("durable").outcome, Outcome::Charged);
                begun.elapsed()
            })
            .collect()
    }

    /// Debits `batches` of 512, up to 64 in flight, within `length`; how many debits were charged.
    pub(crate) fn debit_in_batches(&self, batches: u64, length: Duration) -> u64 {
        let first = self.next.replace(self.next.get() + batches * u64::from(BATCH));
        let (_, charged) = produce_batches(&self.organization, first, 1, batches, length * 1_000);
        charged
    }
}

/// The organization's cameras, in slot order, and enough tokens for any run.
async fn fill(meter: &Meter) -> Organization {
    let id = OrgId::new("hot").expect("valid");
    let new = NewOrganization::new(id.clone(), Name::new("Hot").expect("valid"));
    meter.create_organization(&Principal::Host, new).await.expect("created");
    let organization = meter.organization(&Principal::Host, &id).expect("it exists");
    organization.grant(vec![Tokens(9_000_000_000_000_000)]).await.expect("granted");
    let mut registered: VecDeque<_> = VecDeque::new();
    for n in 0..CAMERAS {
        let camera = CameraSpec {
            id: CameraId::new(&format!("cam-{n:06}")).expect("valid"),
            network: Name::new(&format!("net-{}", n % 16)).expect("valid"),
            cloud_ai: true,
            pro_license: false,
        };
        registered.push_back(tokio::spawn({
            let organization = organization.clone();
            async move { organization.register_camera(camera).await.expect("registered") }
        }));
        if registered.len() >= 1_000 {
            registered.pop_front().expect("there are some").await.expect("no panic");
        }
    }
    for task in registered {
        task.await.expect("no panic");
    }
    organization
}

/// Debit number `n`: cameras in a scattered order, each with a rising sequence number.
pub(crate) fn debit(n: u64) -> Debit<'static> {
    let (round, place) = (n / u64::from(CAMERAS), n % u64::from(CAMERAS));
    let slot = u32::try_from(place * 7_919 % u64::from(CAMERAS)).expect("below the cameras");
    Debit {
        camera: CameraRef::Slot(Slot(slot)),
        identity: Identity::Seq { epoch: 1, seq: round },
        tokens: 1 + n % 2_000,
        kind: UsageKind::ContextualVideoAnalytics,
        time: None,
    }
}

/// p50 of a bare write and fdatasync of 4 KiB into a preallocated and zeroed file, in microseconds.
pub(crate) fn fdatasync_floor(length: Duration) -> f64 {
    let directory = tempfile::tempdir_in(".").expect("a directory");
    let path = directory.path().join("floor");
    let file = OpenOptions::new().create_new(true).write(true).open(path).expect("a file");
    for offset in (0..16 << 20).step_by(64 << 10) {
        file.write_all_at(&[0; 64 << 10], offset).expect("zeroed");
    }
    file.sync_all().expect("synced");
    let (begun, block, mut laps) = (Instant::now(), vec![7; 4_096], Vec::new());
    let mut offset = 0;
    while begun.elapsed() < length {
        let lap = Instant::now();
        file.write_all_at(&block, offset).expect("written");
        file.sync_data().expect("synced");
        laps.push(lap.elapsed());
        offset = (offset + 4_096) % (16 << 20);
    }
    p50_us(laps)
}

/// Debits a second, in millions, of one core that judges, applies, encodes and checksums batches of 512.
pub(crate) fn plain_loop_floor(length: Duration) -> f64 {
    let mut process = OrgProcess::new(plain_pool());
    let (mut batch, mut out) = (DebitBatch::with_capacity(512), Vec::new());
    let at = Timestamp::from_ms(1_800_000_000_000).expect("in range");
    let (begun, mut n) = (Instant::now(), 0);
    while begun.elapsed() < length {
        batch.clear();
        for _ in 0..BATCH {
            batch.push(debit(n));
            n += 1;
        }
        let charges = process.debits(&mut batch, at);
        out.clear();
        let start = tokenweir::storage::frame::begin(&mut out);
        event_codec::encode_debits(&mut out, OrgNumber(0), &charges);
        let meta =
            tokenweir::storage::FrameMeta { lsn: tokenweir::meter::Lsn(1), group: 0, kind: 1, version: 1 };
        tokenweir::storage::frame::finish(&mut out, start, meta);
        std::hint::black_box(&out);
    }
    per_second_millions(n, begun.elapsed())
}

/// p50 of one debit at a time, in microseconds.
pub(crate) fn serial_load(setup: &Setup, length: Duration) -> f64 {
    setup.debit_serially(200);
    let (begun, mut laps) = (Instant::now(), Vec::new());
    while begun.elapsed() < length {
        laps.extend(setup.debit_serially(50));
    }
    p50_us(laps)
}

/// Single debits a second, in millions, with 1,024 in flight.
pub(crate) fn in_flight_load(setup: &Setup, length: Duration) -> f64 {
    let organization = setup.organization.clone();
    let (charged, took) = setup.runtime.block_on(async move {
        tokio::spawn(async move {
            let (mut window, mut n, begun) = (VecDeque::with_capacity(1_024), 0u64, Instant::now());
            let mut charged = 0;
            while begun.elapsed() < length {
                for _ in 0..256 {
                    while window.len() >= 1_024 {
                        charged += u64::from(settle_one(window.pop_front().expect("full")).await);
                    }
                    window
                        .push_back(organization.send_debit(debit(n), Durability::Durable).expect("admitted"));
                    n += 1;
                }
            }
            for pending in window {
                charged += u64::from(settle_one(pending).await);
            }
            assert_eq!(charged, n);
            (charged, begun.elapsed())
        })
        .await
        .expect("no panic")
    });
    per_second_millions(charged, took)
}

/// Debits a second, in millions, of two producers, each with up to 64 batches of 512 in flight.
pub(crate) fn batch_load(setup: &Setup, length: Duration) -> f64 {
    let begun = Instant::now();
    let produced = std::thread::scope(|scope| {
        let producers: Vec<_> = (0..2)
            .map(|producer| {
                let organization = &setup.organization;
                scope.spawn(move || produce_batches(organization, producer, 2, u64::MAX, length))
            })
            .collect();
        producers.into_iter().map(|producer| producer.join().expect("no panic").1).sum::<u64>()
    });
    per_second_millions(produced, begun.elapsed())
}

/// Sends batches of the cameras whose place is `first` modulo `step`, so that producers never share a camera.
fn produce_batches(
    organization: &Organization,
    first: u64,
    step: u64,
    batches: u64,
    length: Duration,
) -> (u64, u64) {
    let (begun, mut window, mut spare) = (Instant::now(), VecDeque::with_capacity(64), Vec::new());
    let (mut n, mut charged, mut sent) = (first, 0, 0);
    while sent < batches && begun.elapsed() < length {
        let mut batch: DebitBatch = spare.pop().unwrap_or_else(|| DebitBatch::with_capacity(512));
        batch.clear();
        for _ in 0..BATCH {
            batch.push(debit(n));
            n += step;
        }
        if window.len() >= 64 {
            settle_batch(window.pop_front().expect("full"), &mut charged, &mut spare);
        }
        window.push_back(organization.send_batch(&mut batch, Durability::Durable).expect("admitted"));
        sent += 1;
    }
    for pending in window {
        settle_batch(pending, &mut charged, &mut spare);
    }
    assert_eq!(charged, sent * u64::from(BATCH), "every debit is charged");
    (n, charged)
}

fn settle_batch(
    pending: Pending<tokenweir::meter::BatchReply>,
    charged: &mut u64,
    spare: &mut Vec<DebitBatch>,
) {
    let reply = pending.wait().expect("durable");
    let outcomes = reply.batch.outcomes().iter();
    *charged +=
        u64::try_from(outcomes.filter(|outcome| **outcome == Outcome::Charged).count()).expect("fits");
    spare.push(reply.batch);
}

async fn settle_one(pending: Pending<tokenweir::meter::DebitReply>) -> bool {
    pending.await.expect("durable").outcome == Outcome::Charged
}

/// A pool like that of [`Setup`], without an engine around it.
pub(crate) fn plain_pool() -> Pool {
    let at = Timestamp::from_ms(1_800_000_000_000).expect("in range");
    let organization = OrgId::new("hot").expect("valid");
    let name = Name::new("Hot").expect("valid");
    let created = OrganizationCreated {
        organization: organization.clone(),
        name,
        secret: (1, 2),
        retention_ms: 60_000,
    };
    let mut pool = Pool::new(created, at);
    for n in 0..CAMERAS {
        let camera = CameraId::new(&format!("cam-{n:06}")).expect("valid");
        let network = Name::new(&format!("net-{}", n % 16)).expect("valid");
        let change = Change::CameraRegistered { camera, network, cloud_ai: true, pro_license: false };
        pool.apply(&Event { at, change });
    }
    let granted = Tokens(9_000_000_000_000_000);
    let by = ActorId::new("host").expect("valid");
    let key = KeyId::new("key").expect("valid");
    let history = vec![LicenseStep { at, organization, by, transfer: None }];
    let id = LicenseId::new("key.1").expect("valid");
    let licenses = vec![License { id, key: key.clone(), granted, remaining: granted, history }];
    pool.apply(&Event { at, change: Change::LicensesAdded { key, licenses } });
    pool
}

#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "figures for people")]
fn per_second_millions(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64() / 1e6
}

fn p50_us(mut laps: Vec<Duration>) -> f64 {
    laps.sort_unstable();
    laps[laps.len() / 2].as_secs_f64() * 1e6
}
