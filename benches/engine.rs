//! The embedded engine, durable, beside its floors, in one run.
//!
//! Every round measures each floor and each load once, one after the other, so that a machine that slows down slows down all of
//! them. The table at the end gives medians, the spread, and the ratio of ours to its floor. `WEIR_BENCH_SMOKE=1`
//! makes the rounds short.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![expect(clippy::float_arithmetic, reason = "figures for people")]

mod support;

use std::time::{Duration, Instant};

use criterion::Criterion;
use support::{Rounds, Setup, batch_load, fdatasync_floor, in_flight_load, plain_loop_floor, serial_load};

fn main() {
    let rounds = Rounds::from_environment();
    let criterion = Criterion::default().without_plots().sample_size(10).configure_from_args();
    let (warm_up, measured) = (rounds.length, rounds.length * 2);
    let mut criterion = criterion.warm_up_time(warm_up).measurement_time(measured);
    let mut table = support::Table::default();
    for _ in 0..rounds.count {
        table.add("bare fdatasync, p50 us", fdatasync_floor(rounds.length));
        table.add("plain loop of apply + encode, M/s", plain_loop_floor(rounds.length));
        table.add("one at a time, p50 us", serial_load(&Setup::new(1), rounds.length));
        table.add("single debits, 1,024 in flight, M/s", in_flight_load(&Setup::new(1), rounds.length));
        table.add(
            "batches of 512, 2 producers x 64 in flight, M/s",
            batch_load(&Setup::new(2), rounds.length),
        );
    }
    table.print();
    table.ratio("one at a time, p50 us", "bare fdatasync, p50 us");
    table.ratio("batches of 512, 2 producers x 64 in flight, M/s", "plain loop of apply + encode, M/s");
    criterion_view(&mut criterion, rounds.length);
}

/// The same loads as criterion sees them: time an item.
fn criterion_view(criterion: &mut Criterion, length: Duration) {
    let setup = Setup::new(1);
    criterion.bench_function("embedded/one_at_a_time", |bencher| {
        bencher.iter_custom(|iterations| {
            let begun = Instant::now();
            setup.debit_serially(iterations);
            begun.elapsed()
        });
    });
    criterion.bench_function("embedded/batch_of_512", |bencher| {
        bencher.iter_custom(|iterations| {
            let begun = Instant::now();
            setup.debit_in_batches(iterations, length);
            begun.elapsed()
        });
    });
    criterion.final_summary();
}
