//! What a noisy neighbour costs: the latency of a quiet organization alone, and beside one on the same partition that floods
//! it with debits that are all refused.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokenweir::meter::{Config, Durability, Error, Organization, Refusal};

use super::Probe;
use crate::drive::{Loop, Progress, drive};
use crate::failure::Outcome;
use crate::load::{Above, Choice, Item, Synthetic};
use crate::number::fraction;
use crate::target::{Embedded, Fill, Scene, debit};

const CAMERAS: u64 = 100;
/// Debits a second of the quiet organization.
const QUIET_RATE: f64 = 1_000.0;
/// Threads that a flood keeps busy: its sender and the arbiter.
const SPINNERS: usize = 2;

/// The probe, with an engine of one partition.
pub(super) fn probe() -> Outcome<Probe> {
    let scene = |prefix: &str| {
        let durability = Durability::Durable;
        Scene { prefix: prefix.to_owned(), organizations: 1, cameras: CAMERAS, durability }
    };
    let mut engine = Embedded::with(&scene("quiet"), |config| Config { partitions: 1, ..config })?;
    engine.add(&scene("noisy"), Fill::Empty)?;
    let mut first = 0;
    Ok(Probe::new("noisy neighbour", move |length| {
        let alone = quiet_p99_us(&engine, &mut first, length)?;
        let noisy = engine.organizations[1].clone();
        let flooded = flooded_by(&noisy, || quiet_p99_us(&engine, &mut first, length))?;
        let spun = beside_spinners(|| quiet_p99_us(&engine, &mut first, length))?;
        Ok(vec![("p99_alone", alone), ("p99_flooded", flooded), ("p99_spun", spun)])
    }))
}

fn quiet_p99_us(engine: &Embedded, first: &mut u64, length: Duration) -> Outcome<f64> {
    let load = Synthetic {
        organizations: 1,
        cameras: CAMERAS,
        batch: 1,
        rate: Some(QUIET_RATE),
        ramp: Duration::ZERO,
        length,
        choice: Choice::Hot,
    };
    let source = Box::new(Above { source: load.source(0, 1), base: *first });
    *first += 1 << 32;
    let tally = drive(engine, vec![source], Loop::Open, &Progress::default())?;
    if tally.charged() != tally.debits() {
        return Err(format!("the quiet organization was refused: {:?}", tally.outcomes).into());
    }
    Ok(fraction(tally.latencies.value_at_percentile(99.0)) / 1e3)
}

/// Does some work while as many threads as a flood keeps busy do nothing but spin: what of a flood is the processor alone.
fn beside_spinners<T>(work: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..SPINNERS {
            scope.spawn(|| {
                while !is_done.load(Ordering::Acquire) {
                    std::hint::spin_loop();
                }
            });
        }
        let done = work();
        is_done.store(true, Ordering::Release);
        done
    })
}

/// Does some work while an organization without tokens sends as many debits as are admitted.
fn flooded_by<T>(noisy: &Organization, work: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let is_done = &is_done;
        let flood = scope.spawn(move || flood(noisy, is_done));
        let done = work();
        is_done.store(true, Ordering::Release);
        flood.join().expect("the flood does not panic")?;
        done
    })
}

fn flood(noisy: &Organization, is_done: &AtomicBool) -> Outcome {
    let (mut window, mut seq) = (VecDeque::new(), 0);
    while !is_done.load(Ordering::Acquire) {
        seq += 1;
        match noisy.send_debit(debit(&Item { camera: 0, seq, tokens: 1 }), Durability::Durable) {
            Ok(pending) => window.push_back(pending),
            Err(Error::Refused(Refusal::Busy)) => {
                if let Some(oldest) = window.pop_front() {
                    oldest.wait()?;
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    for pending in window {
        pending.wait()?;
    }
    Ok(())
}
