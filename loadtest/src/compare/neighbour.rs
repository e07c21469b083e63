//! What a noisy neighbour costs: the latency of a quiet organization alone, and beside one on the same partition that floods
//! it with debits that are all refused.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokenweir::meter::{Config, Durability, Error, Organization, Refusal};
use tokenweir::telemetry::clock;

use super::Probe;
use crate::drive::{Loop, Progress, drive, wait_until, wake_in_time};
use crate::failure::Outcome;
use crate::load::{Above, Choice, Item, Synthetic};
use crate::number::{fraction, median, per_second};
use crate::target::{Embedded, Fill, Scene, debit};

const CAMERAS: u64 = 100;
/// Debits a second of the quiet organization.
const QUIET_RATE: f64 = 1_000.0;
/// A flood comes in bursts, one after the other in an open loop.
const BURST_EVERY: Duration = Duration::from_millis(1);
/// Debits of a burst: some four times as many as an organization whose debits change nothing is admitted in that time. Most are refused
/// before they are judged, the others after. A sender that spun would take one of two processors from the quiet organization's own threads.
const BURST: u64 = 2_000;
/// Threads that do nothing but spin, for comparison.
const SPINNERS: usize = 2;
/// How long a turn lasts, as a part of a load.
const TURN: u32 = 2;
/// Turns of each kind in a round.
const TURNS: usize = 6;

/// What is beside the quiet organization.
#[derive(Clone, Copy)]
enum Beside {
    Nobody,
    Flood,
    Spinners,
}

const KINDS: [Beside; 3] = [Beside::Nobody, Beside::Flood, Beside::Spinners];

/// How many debits of a flood were refused: as too many, and after they were judged.
#[derive(Clone, Copy, Default)]
struct Refused {
    busy: u64,
    judged: u64,
    took: Duration,
}

/// The probe, with an engine of one partition. The kinds of turns take turns, so that what the machine does meanwhile meets all alike.
pub(super) fn probe() -> Outcome<Probe> {
    let scene = |prefix: &str| {
        let durability = Durability::Durable;
        Scene { prefix: prefix.to_owned(), organizations: 1, cameras: CAMERAS, durability }
    };
    let mut engine = Embedded::with(&scene("quiet"), |config| Config { partitions: 1, ..config })?;
    engine.add(&scene("noisy"), Fill::Empty)?;
    let mut first = 0;
    Ok(Probe::new("noisy neighbour", move |length| {
        let (mut p99s, mut refused) = (KINDS.map(|_| Vec::new()), Refused::default());
        let noisy = engine.organizations[1].clone();
        for turn in 0..TURNS * KINDS.len() {
            // Another kind begins each time, and the last turn is one without a flood: what it leaves in flight keeps its organization from being read.
            let kind = (turn + turn / KINDS.len() + 2) % KINDS.len();
            let mut quiet = || quiet_p99_us(&engine, &mut first, length / TURN);
            p99s[kind].push(match KINDS[kind] {
                Beside::Nobody => quiet()?,
                Beside::Flood => flooded_by(&noisy, &mut refused, quiet)?,
                Beside::Spinners => beside_spinners(quiet)?,
            });
        }
        if refused.busy == 0 || engine.sums_of(&noisy)?.debits > 0 {
            return Err("the flood was no flood, or was not refused".into());
        }
        let [alone, flooded, spun] = p99s.map(|p99s| median(&p99s));
        Ok(vec![
            ("p99_alone", alone),
            ("p99_flooded", flooded),
            ("p99_spun", spun),
            ("flood_refused", per_second(refused.busy + refused.judged, refused.took)),
            ("flood_not_admitted", per_second(refused.busy, refused.took)),
        ])
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

/// Does some work while threads do nothing but spin: what the processor alone costs.
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

/// Does some work while an organization without tokens sends more debits than are admitted, and waits for no answer.
fn flooded_by<T>(
    noisy: &Organization,
    refused: &mut Refused,
    work: impl FnOnce() -> Outcome<T>,
) -> Outcome<T> {
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let is_done = &is_done;
        let flood = scope.spawn(move || flood(noisy, refused, is_done));
        let done = work();
        is_done.store(true, Ordering::Release);
        flood.join().expect("the flood does not panic")?;
        done
    })
}

fn flood(noisy: &Organization, refused: &mut Refused, is_done: &AtomicBool) -> Outcome {
    wake_in_time();
    let (begun, mut due, mut last) = (clock::start(), Duration::ZERO, None);
    while !is_done.load(Ordering::Acquire) {
        for seq in 0..BURST {
            match noisy.send_debit(debit(&Item { camera: 0, seq, tokens: 1 }), Durability::Durable) {
                Ok(pending) => {
                    refused.judged += 1;
                    last = Some(pending);
                }
                Err(Error::Refused(Refusal::Busy)) => refused.busy += 1,
                Err(error) => return Err(error.into()),
            }
        }
        due += BURST_EVERY;
        wait_until(begun, due);
    }
    refused.took += begun.elapsed();
    // Answers come in order: with the last one nothing of the flood is left for the next turn.
    last.map(|pending| pending.wait()).transpose()?;
    Ok(())
}
