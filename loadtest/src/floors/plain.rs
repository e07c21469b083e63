//! The rules alone: one core that fills a batch, judges it, applies it, encodes the frame and checksums it. Nothing is queued,
//! written or answered.

use std::time::Duration;

use tokenweir::domain::batch::DebitBatch;
use tokenweir::domain::event::{Change, Event, OrganizationCreated};
use tokenweir::domain::ids::OrgNumber;
use tokenweir::domain::license::{License, LicenseStep};
use tokenweir::domain::pool::Pool;
use tokenweir::meter::{ActorId, CameraId, KeyId, LicenseId, Lsn, Name, OrgId, Timestamp, Tokens};
use tokenweir::protocol::org::OrgProcess;
use tokenweir::storage::{FrameMeta, event_codec, frame};
use tokenweir::telemetry::clock;

use crate::load::Item;
use crate::number::{per_second, u64_of};
use crate::target::{GRANTED, camera_id, debit, network};

const BATCH: usize = 512;
const CAMERAS: u64 = 10_000;
/// A prime, so that cameras come in a scattered order.
const STRIDE: u64 = 7_919;

/// Pools in turn, without an engine around them.
pub(crate) struct PlainLoop {
    processes: Vec<OrgProcess>,
    cameras: u64,
    sent: u64,
}

impl PlainLoop {
    /// One organization of 10,000 cameras.
    pub(crate) fn new() -> Self {
        Self::of(1, CAMERAS)
    }

    /// So many organizations of so many cameras each.
    pub(crate) fn of(organizations: usize, cameras: u64) -> Self {
        let processes = (0..organizations).map(|_| OrgProcess::new(pool_of(cameras))).collect();
        Self { processes, cameras, sent: 0 }
    }

    /// Debits a second.
    pub(crate) fn rate(&mut self, length: Duration) -> f64 {
        let (mut batch, mut out) = (DebitBatch::with_capacity(BATCH), Vec::new());
        let at = time();
        let (begun, first) = (clock::start(), self.sent);
        while begun.elapsed() < length {
            for _ in 0..32 {
                self.step(&mut batch, &mut out, at);
            }
        }
        per_second(self.sent - first, begun.elapsed())
    }

    /// One batch, for one organization after the other.
    fn step(&mut self, batch: &mut DebitBatch, out: &mut Vec<u8>, at: Timestamp) {
        let turn = self.sent / u64_of(BATCH);
        let count = u64_of(self.processes.len());
        let process = &mut self.processes[usize::try_from(turn % count).expect("a place in a list")];
        let first = turn / count * u64_of(BATCH);
        batch.clear();
        for n in first..first + u64_of(BATCH) {
            let place = n % self.cameras * STRIDE % self.cameras;
            let camera = u32::try_from(place).expect("cameras are below 2^32");
            let tokens = 1 + u32::try_from(n % 2_000).expect("below its bound");
            batch.push(debit(&Item { camera, seq: n / self.cameras, tokens }));
        }
        let charges = process.debits(batch, at);
        assert_eq!(charges.charges.len(), BATCH, "every debit is charged");
        out.clear();
        let start = frame::begin(out);
        event_codec::encode_debits(out, OrgNumber(0), &charges);
        frame::finish(out, start, FrameMeta { lsn: Lsn(1), group: 0, kind: 1, version: 1 });
        std::hint::black_box(&out);
        self.sent += u64_of(BATCH);
    }
}

/// A pool with cameras and tokens.
pub(crate) fn pool_of(cameras: u64) -> Pool {
    let at = time();
    let organization = OrgId::new("plain").expect("a valid id");
    let name = Name::new("Plain").expect("a short name");
    let created = OrganizationCreated {
        organization: organization.clone(),
        name,
        secret: (1, 2),
        retention_ms: 60_000,
    };
    let mut pool = Pool::new(created, at);
    for number in 0..cameras {
        let camera = CameraId::new(&camera_id(number)).expect("a valid id");
        let change =
            Change::CameraRegistered { camera, network: network(number), cloud_ai: true, pro_license: false };
        pool.apply(&Event { at, change });
    }
    let (key, id) = (KeyId::new("key").expect("a valid id"), LicenseId::new("key.1").expect("a valid id"));
    let by = ActorId::new("host").expect("a valid id");
    let history = vec![LicenseStep { at, organization, by, transfer: None }];
    let granted = Tokens(GRANTED * 100);
    let licenses = vec![License { id, key: key.clone(), granted, remaining: granted, history }];
    pool.apply(&Event { at, change: Change::LicensesAdded { key, licenses } });
    pool
}

/// Some time; no clock is read in the loop.
fn time() -> Timestamp {
    Timestamp::from_ms(1_800_000_000_000).expect("in range")
}
