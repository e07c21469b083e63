//! What one debit costs on one core, without an engine around it: judge and apply, encode, decode, replay.
//!
//! `WEIR_BENCH_SMOKE=1` makes it short.

#![expect(clippy::float_arithmetic, reason = "figures for people")]
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

#[path = "support/config.rs"]
mod config;
#[expect(dead_code, reason = "the loads on an engine are for another benchmark")]
mod support;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tokenweir::domain::batch::DebitBatch;
use tokenweir::domain::ids::OrgNumber;
use tokenweir::meter::{Debit, Identity, Timestamp};
use tokenweir::protocol::org::OrgProcess;
use tokenweir::storage::event_codec::{self, DecodedDebits};

use support::{BATCH, debit, plain_pool};

const NOW_MS: u64 = 1_800_000_000_000;

fn judge(criterion: &mut Criterion) {
    let at = Timestamp::from_ms(NOW_MS).expect("in range");
    let mut group = criterion.benchmark_group("judge_and_apply");
    group.throughput(Throughput::Elements(BATCH.into()));
    let (mut process, mut batch, mut n) = (OrgProcess::new(plain_pool()), DebitBatch::with_capacity(512), 0);
    group.bench_function("seq", |bencher| {
        bencher.iter(|| {
            fill(&mut batch, &mut n, debit);
            black_box(process.debits(&mut batch, at).charges.len())
        });
    });
    let (mut process, mut n) = (OrgProcess::new(plain_pool()), 0);
    group.bench_function("event_id", |bencher| {
        bencher.iter(|| {
            batch.clear();
            for _ in 0..BATCH {
                let id = u64::to_be_bytes(n);
                batch.push(Debit { identity: Identity::EventId(&id), time: Some(at), ..debit(n) });
                n += 1;
            }
            black_box(process.debits(&mut batch, at).charges.len())
        });
    });
    group.finish();
}

fn codec(criterion: &mut Criterion) {
    let at = Timestamp::from_ms(NOW_MS).expect("in range");
    let (mut process, mut batch, mut n) = (OrgProcess::new(plain_pool()), DebitBatch::with_capacity(512), 0);
    fill(&mut batch, &mut n, debit);
    let charges = process.debits(&mut batch, at);
    let mut out = Vec::new();
    let mut group = criterion.benchmark_group("debit_frame");
    group.throughput(Throughput::Elements(BATCH.into()));
    group.bench_function("encode", |bencher| {
        bencher.iter(|| {
            out.clear();
            event_codec::encode_debits(&mut out, OrgNumber(0), &charges);
            black_box(out.len())
        });
    });
    println!(
        "bytes a debit in batches of {BATCH}: {:.2}",
        f64::from(u32::try_from(out.len()).unwrap_or(0)) / 512.0
    );
    let mut decoded = DecodedDebits::new();
    group.bench_function("decode", |bencher| {
        bencher.iter(|| event_codec::decode_debits(black_box(&out), &mut decoded).expect("decodes"));
    });
    group.finish();
}

fn fill(batch: &mut DebitBatch, n: &mut u64, debit: impl Fn(u64) -> Debit<'static>) {
    batch.clear();
    for _ in 0..BATCH {
        batch.push(debit(*n));
        *n += 1;
    }
}

criterion_group! { name = benches; config = config::config(); targets = judge, codec }
criterion_main!(benches);
