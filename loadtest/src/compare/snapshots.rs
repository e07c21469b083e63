//! What snapshots cost those who wait: the latency of batches at half of the saturated rate, without and with snapshots.
//!
//! Short turns with and without snapshots follow each other, and the median of the turns of either side counts: one stall of the machine
//! decides one turn. Beside either load a file of its own is written and synced: a debit that waited longer than the slowest of these syncs did not
//! wait for the disk alone.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokenweir::meter::{Config, Durability};

use super::Probe;
use crate::drive::{Loop, Progress, Tally, drive};
use crate::failure::Outcome;
use crate::floors::BareDisk;
use crate::load::{Above, Choice, Source, Synthetic};
use crate::number::{fraction, median, per_second};
use crate::process::pause;
use crate::target::{Embedded, Scene};

const CAMERAS: u64 = 100_000;
const BATCH: usize = 512;
const PRODUCERS: u64 = 2;
const WINDOW: usize = 64;
const IN_FLIGHT_MAX: u64 = 64 << 20;
/// How long a turn lasts, as a part of a load. A snapshot begins with each turn that is with snapshots, and others follow while it lasts.
const TURN: u32 = 3;
/// How long after a snapshot the next one is asked for: sooner than the journal's growth would ask for one.
const SNAPSHOT_EVERY: Duration = Duration::from_millis(250);
/// The bare file is synced this often: enough to meet a stall that lasts, too seldom to be a load.
const SYNC_EVERY: Duration = Duration::from_millis(20);

/// Whether snapshots are taken, turn by turn, over and over: neither side is always the first, and what the machine does meanwhile meets
/// both alike.
const TURNS: [bool; 4] = [false, true, true, false];
/// How often.
const REPEATS: usize = 6;

/// Either side.
#[derive(Default)]
struct Side {
    /// The p99 of each turn, in microseconds.
    p99s: Vec<f64>,
    /// The longest latency of all turns.
    longest_us: f64,
    /// The slowest bare sync of all turns.
    slowest_sync_us: f64,
    /// How much longer than the slowest bare sync of its turn a request took at most.
    beyond_us: f64,
}

impl Side {
    fn note(&mut self, tally: &Tally, slowest_sync: Duration) {
        let (longest_us, sync_us) = (fraction(tally.latencies.max()) / 1e3, slowest_sync.as_secs_f64() * 1e6);
        self.p99s.push(fraction(tally.latencies.value_at_percentile(99.0)) / 1e3);
        self.longest_us = self.longest_us.max(longest_us);
        self.slowest_sync_us = self.slowest_sync_us.max(sync_us);
        self.beyond_us = self.beyond_us.max(longest_us - sync_us);
    }
}

/// The probe. It has one engine, and cameras of its own for each load.
pub(super) fn probe() -> Outcome<Probe> {
    let scene = Scene {
        prefix: "snapshots".to_owned(),
        organizations: 1,
        cameras: CAMERAS,
        durability: Durability::Durable,
    };
    // A disk that stalls makes requests wait, not fail: that they waited is what is measured.
    let engine = Embedded::with(&scene, |config| Config { in_flight_max: IN_FLIGHT_MAX, ..config })?;
    let (mut loads, mut disk) = (Loads { epoch: 0 }, BareDisk::new()?);
    Ok(Probe::new("p99 with snapshots", move |length| {
        let saturated = loads.flat_out(&engine, length)?;
        let half = per_second(saturated.debits(), saturated.took) / 2.0;
        let (mut without, mut with) = (Side::default(), Side::default());
        for takes_snapshots in TURNS.repeat(REPEATS) {
            let load = || loads.at_rate(&engine, half, length / TURN);
            if takes_snapshots {
                let (tally, sync) = beside_syncs(&mut disk, || with_snapshots(&engine, load))?;
                with.note(&tally, sync);
            } else {
                let (tally, sync) = beside_syncs(&mut disk, load)?;
                without.note(&tally, sync);
            }
        }
        Ok(vec![
            ("p99_no_snapshots", median(&without.p99s)),
            ("p99_snapshots", median(&with.p99s)),
            ("max_no_snapshots", without.longest_us),
            ("max_snapshots", with.longest_us),
            ("slowest_sync", with.slowest_sync_us),
            ("beyond_the_disk", with.beyond_us),
        ])
    }))
}

/// Loads one after the other: each sends numbers above those of the last.
struct Loads {
    epoch: u64,
}

impl Loads {
    fn flat_out(&mut self, engine: &Embedded, length: Duration) -> Outcome<Tally> {
        self.drive(engine, None, length, Loop::Closed { window: WINDOW, length })
    }

    fn at_rate(&mut self, engine: &Embedded, rate: f64, length: Duration) -> Outcome<Tally> {
        self.drive(engine, Some(rate), length, Loop::Open)
    }

    fn drive(&mut self, engine: &Embedded, rate: Option<f64>, length: Duration, how: Loop) -> Outcome<Tally> {
        let load = Synthetic {
            organizations: 1,
            cameras: CAMERAS,
            batch: BATCH,
            rate,
            ramp: Duration::ZERO,
            length,
            choice: Choice::Hot,
        };
        let sources = (0..PRODUCERS).map(|producer| -> Box<dyn Source> {
            Box::new(Above { source: load.source(producer, PRODUCERS), base: self.epoch << 32 })
        });
        let tally = drive(engine, sources.collect(), how, &Progress::default())?;
        self.epoch += 1;
        if tally.charged() == tally.debits() {
            Ok(tally)
        } else {
            Err(format!("not every debit was charged: {:?}", tally.outcomes).into())
        }
    }
}

/// Does some work while snapshots are taken.
fn with_snapshots<T>(engine: &Embedded, work: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (meter, is_done) = (&engine.meter, &is_done);
        scope.spawn(move || {
            while !is_done.load(Ordering::Acquire) {
                engine.runtime.block_on(meter.snapshot());
                pause(SNAPSHOT_EVERY);
            }
        });
        let done = work();
        is_done.store(true, Ordering::Release);
        done
    })
}

/// Does some work while the bare file is synced now and then; also how long the slowest of these syncs took.
fn beside_syncs<T>(disk: &mut BareDisk, work: impl FnOnce() -> Outcome<T>) -> Outcome<(T, Duration)> {
    let is_done = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        let syncs = scope.spawn(move || {
            let mut slowest = Duration::ZERO;
            while !is_done.load(Ordering::Acquire) {
                slowest = slowest.max(disk.sync_once()?);
                pause(SYNC_EVERY);
            }
            Outcome::Ok(slowest)
        });
        let done = work();
        is_done.store(true, Ordering::Release);
        let slowest = syncs.join().expect("no panic")?;
        Ok((done?, slowest))
    })
}
