//! Weighs what the engine keeps in memory: how much a fresh process grows by, so that neither the allocator's left-overs nor
//! anything else is counted.

use std::process::Command;

use clap::{Args, ValueEnum};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokenweir::domain::event_ids::EventIds;
use tokenweir::meter::Timestamp;

use crate::failure::Outcome;
use crate::floors::pool_of;
use crate::number::{fraction, u64_of};
use crate::process::Cost;

/// What is weighed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Weighed {
    /// The cameras of one pool, with ids of ten characters.
    Cameras,
    /// The event ids that one pool remembers.
    EventIds,
    /// The same by the engine's own count: what it holds, without what the allocator keeps around it.
    EventIdsCounted,
}

#[derive(Args, Debug)]
pub(crate) struct WeighArgs {
    /// What.
    #[arg(value_enum)]
    what: Weighed,
    /// How many.
    count: u64,
}

/// Prints the bytes of each.
pub(crate) fn weigh(args: &WeighArgs) -> Outcome {
    let resident = || Cost::of(std::process::id()).resident_bytes;
    let before = resident();
    let bytes = match args.what {
        Weighed::Cameras => {
            let pool = std::hint::black_box(pool_of(args.count));
            let after = resident();
            drop(pool);
            after.saturating_sub(before)
        }
        Weighed::EventIds => {
            let ids = std::hint::black_box(remember(args.count));
            let after = resident();
            drop(ids);
            after.saturating_sub(before)
        }
        Weighed::EventIdsCounted => u64_of(remember(args.count).bytes()),
    };
    println!("{}", fraction(bytes) / fraction(args.count.max(1)));
    Ok(())
}

/// The bytes of each, weighed in another process.
pub(crate) fn weight(what: Weighed, count: u64) -> Outcome<f64> {
    let value = what.to_possible_value().ok_or("every weight has a name")?;
    let output = Command::new(std::env::current_exe()?)
        .args(["weigh", value.get_name(), &count.to_string()])
        .output()?;
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}

fn remember(count: u64) -> EventIds {
    let time = Timestamp::from_ms(1_800_000_000_000).expect("in range");
    let (mut ids, mut random) = (EventIds::new(), StdRng::seed_from_u64(1));
    for _ in 0..count {
        ids.insert(random.random(), time, 0, false);
    }
    ids
}
