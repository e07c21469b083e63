//! What storage costs: frames and snapshots as bytes, a group made durable on a real directory, a journal replayed.
//!
//! `WEIR_BENCH_SMOKE=1` makes it short.

#![expect(clippy::float_arithmetic, reason = "figures for people")]
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

#[path = "support/config.rs"]
mod config;
#[expect(dead_code, reason = "the loads on an engine are for another benchmark")]
mod support;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tempfile::TempDir;
use tokenweir::domain::batch::DebitBatch;
use tokenweir::domain::ids::OrgNumber;
use tokenweir::meter::{Lsn, Timestamp};
use tokenweir::protocol::org::OrgProcess;
use tokenweir::storage::event_codec::{self, DecodedDebits};
use tokenweir::storage::frame::{self, Next};
use tokenweir::storage::pool_codec::PoolImage;
use tokenweir::storage::replay::PartitionState;
use tokenweir::storage::snapshot_codec::{self, PartitionImage};
use tokenweir::storage::{
    DirectoryId, FrameMeta, Home, Journal, JournalConfig, Layout, RealDisk, Start, open_partition,
    scan_partition,
};

use support::{BATCH, CAMERAS, debit, plain_pool};

/// Groups of the journal that is replayed: 204,800 debits.
const REPLAYED_GROUPS: u64 = 400;

fn frames(criterion: &mut Criterion) {
    let (mut writer, mut out) = (Writer::new(), Vec::new());
    let charges = writer.process.debits(&mut writer.batch, now());
    let mut group = criterion.benchmark_group("whole_debit_frame");
    group.throughput(Throughput::Elements(BATCH.into()));
    group.bench_function("encode", |bencher| {
        bencher.iter(|| {
            out.clear();
            let start = frame::begin(&mut out);
            event_codec::encode_debits(&mut out, OrgNumber(0), black_box(&charges));
            frame::finish(&mut out, start, meta(Lsn(1)));
            black_box(out.len())
        });
    });
    let mut decoded = DecodedDebits::new();
    group.bench_function("decode", |bencher| {
        bencher.iter(|| {
            let Next::Frame(frame) = frame::next(black_box(&out), 0) else { panic!("it was just written") };
            event_codec::decode_debits(frame.body, &mut decoded).expect("decodes");
        });
    });
    group.finish();
}

fn snapshots(criterion: &mut Criterion) {
    let mut writer = Writer::new();
    for frame in 0..CAMERAS.div_ceil(BATCH) {
        writer.frame(Lsn(1 + u64::from(frame)));
    }
    let pools = vec![PoolImage::take(writer.process.pool_mut(), OrgNumber(0))];
    let image = PartitionImage { registry: None, pools };
    let bytes = snapshot_codec::encode(&image);
    let mut group = criterion.benchmark_group("snapshot_of_10k_cameras");
    group.throughput(Throughput::Elements(CAMERAS.into()));
    group.bench_function("encode", |bencher| {
        bencher.iter(|| snapshot_codec::encode(black_box(&image)));
    });
    group.bench_function("decode", |bencher| {
        bencher
            .iter_with_large_drop(|| snapshot_codec::decode(black_box(&bytes)).expect("it was just encoded"));
    });
    group.finish();
}

/// One frame of 512 debits a group; the next segment is prepared between two, as it is beside the committer.
fn append(criterion: &mut Criterion) {
    let (_directory, home) = home();
    let (mut journal, mut writer) = (open(&home), Writer::new());
    let mut group = criterion.benchmark_group("journal");
    group.throughput(Throughput::Elements(BATCH.into()));
    group.bench_function("append_and_sync", |bencher| {
        bencher.iter_custom(|groups| {
            let durable = |_| {
                let lsn = journal.next_lsn();
                let bytes = writer.frame(lsn);
                let begun = Instant::now();
                journal.append_group(lsn, 1, bytes).expect("the disk is sound");
                let took = begun.elapsed();
                prepare(&mut journal);
                took
            };
            (0..groups).map(durable).sum()
        });
    });
    group.finish();
}

fn replay(criterion: &mut Criterion) {
    let (_directory, home) = home();
    let (mut journal, mut writer) = (open(&home), Writer::new());
    let pools = vec![PoolImage::take(&mut plain_pool(), OrgNumber(0))];
    let before = snapshot_codec::encode(&PartitionImage { registry: None, pools });
    for _ in 0..REPLAYED_GROUPS {
        let lsn = journal.next_lsn();
        journal.append_group(lsn, 1, writer.frame(lsn)).expect("the disk is sound");
    }
    let debits = REPLAYED_GROUPS * u64::from(BATCH);
    let mut group = criterion.benchmark_group("recovery");
    group.throughput(Throughput::Elements(debits)).sample_size(10);
    group.bench_function("replay", |bencher| {
        let restored =
            || PartitionState::of_snapshot(snapshot_codec::decode(&before).expect("it was just encoded"));
        let replayed = |mut state: PartitionState| {
            let scan = scan_partition(&home, Start::After(Lsn(0)), &mut |frame| state.replay_frame(frame));
            assert_eq!(scan.expect("the journal is sound").frames, REPLAYED_GROUPS);
            state
        };
        bencher.iter_batched(restored, replayed, BatchSize::PerIteration);
    });
    group.finish();
}

/// Makes one frame of 512 debits after the other.
struct Writer {
    process: OrgProcess,
    batch: DebitBatch,
    debits: u64,
    bytes: Vec<u8>,
}

impl Writer {
    /// One whose first batch is filled.
    fn new() -> Self {
        let batch = DebitBatch::with_capacity(512);
        let mut writer = Self { process: OrgProcess::new(plain_pool()), batch, debits: 0, bytes: Vec::new() };
        writer.fill();
        writer
    }

    fn fill(&mut self) {
        self.batch.clear();
        for _ in 0..BATCH {
            self.batch.push(debit(self.debits));
            self.debits += 1;
        }
    }

    fn frame(&mut self, lsn: Lsn) -> &[u8] {
        self.bytes.clear();
        let start = frame::begin(&mut self.bytes);
        let charges = self.process.debits(&mut self.batch, now());
        event_codec::encode_debits(&mut self.bytes, OrgNumber(0), &charges);
        frame::finish(&mut self.bytes, start, meta(lsn));
        self.fill();
        &self.bytes
    }
}

/// A partition on a real directory, on the disk of the checkout.
fn home() -> (TempDir, Home) {
    let directory = tempfile::tempdir_in(".").expect("a directory");
    let layout = Layout::new(directory.path());
    let home = Home { disk: Arc::new(RealDisk), layout, partition: 0, directory: DirectoryId([0xD1; 16]) };
    (directory, home)
}

fn open(home: &Home) -> Journal {
    let opened = open_partition(home, JournalConfig::default(), Lsn(0), &mut |_| Ok(()));
    let (mut journal, _) = opened.expect("an empty directory opens");
    prepare(&mut journal);
    journal
}

fn prepare(journal: &mut Journal) {
    if let Some(segment) = journal.preparation() {
        journal.provide(segment.run());
    }
}

fn meta(lsn: Lsn) -> FrameMeta {
    FrameMeta { lsn, group: 0, kind: event_codec::DEBITS, version: event_codec::DEBITS_VERSION }
}

fn now() -> Timestamp {
    Timestamp::from_ms(1_800_000_000_000).expect("in range")
}

criterion_group! { name = benches; config = config::config(); targets = frames, snapshots, append, replay }
criterion_main!(benches);
