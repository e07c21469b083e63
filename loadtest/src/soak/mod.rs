//! `loadtest soak`: a steady rate for a long time, with snapshots and transfers; the end must look like the beginning.
//!
//! The time is cut into windows, each an open loop of its own over the same server. Between them the server's process and its
//! directory are sampled. The first fifth is a warm-up. At the end the last quarter of the rest is held against its first, the
//! sums of both sides are compared, and the stopped directory is verified. Transfers are paced as people make them: what each
//! leaves behind is kept for ever, and its whole history is copied by the next. Deliberately absent: bounds that a slow machine
//! would not keep; what must be flat is a ratio.

mod sample;
mod transfers;

use std::time::Duration;

use clap::{Args, Parser as _};
use tokenweir::edge::cli::{self, Cli};
use tokenweir::meter::Durability;

use crate::audit::audit;
use crate::drive::{Loop, Progress, Tally, drive};
use crate::failure::{Outcome, tell};
use crate::load::{Above, Choice, Source, Synthetic};
use crate::number::{fraction, usize_of};
use crate::target::{Grpc, Http, Scene, Target, start_server_with};

use sample::{Reported, Sample, WINDOWS, verdict};
use transfers::Transfers;

const ORGANIZATIONS: usize = 8;
const CAMERAS: u64 = 500;
const BATCH: u64 = 50;
const PRODUCERS: u64 = 2;
/// Debits that the log of an organization keeps: the default of `reports_events_max`.
const LOGGED_MAX: u64 = 20_000;
/// Small segments and snapshots, so that there are many of both.
const SETTINGS: [&str; 8] = [
    "--snapshot-bytes",
    "1048576",
    "--snapshot-period-ms",
    "5000",
    "--segment-bytes-min",
    "1048576",
    "--segment-bytes-max",
    "1048576",
];

#[derive(Args, Debug)]
pub(crate) struct SoakArgs {
    /// How long, in seconds.
    #[arg(long, default_value_t = 3_600, value_parser = clap::value_parser!(u64).range(6..))]
    seconds: u64,
    /// Debits a second, half of them over HTTP and half over gRPC.
    #[arg(long, default_value_t = 20_000.0)]
    rate: f64,
    /// Seconds between two transfers of a whole pool.
    #[arg(long, default_value_t = 30.0)]
    transfer_every: f64,
}

/// Runs it.
pub(crate) fn run(args: &SoakArgs) -> Outcome {
    let server = start_server_with(None, &SETTINGS)?;
    let scene = |edge: &str| Scene {
        prefix: format!("soak-{edge}"),
        organizations: ORGANIZATIONS,
        cameras: CAMERAS,
        durability: Durability::Durable,
    };
    let plan = server.plan();
    let (http, grpc) = (scene("http"), scene("grpc"));
    let targets: [Box<dyn Target>; 2] =
        [Box::new(Http::new(&plan, &http)?), Box::new(Grpc::new(&plan, Some(&server.grpc_url), &grpc)?)];
    let transfers = Transfers::start(&server, Duration::try_from_secs_f64(args.transfer_every)?)?;
    let (mut samples, mut tallies) = (Vec::new(), [Tally::default(), Tally::default()]);
    let length = Duration::from_secs(args.seconds) / WINDOWS;
    tell(sample::HEAD);
    for window in 0..WINDOWS {
        let both = window_of(&targets, length, args.rate / 2.0, u64::from(window))?;
        let sample = Sample::take(&server, &both)?;
        tell(&sample.line(length * (window + 1)));
        samples.push(sample);
        tallies.iter_mut().zip(&both).for_each(|(all, tally)| all.merge(tally));
    }
    let moved = transfers.end()?;
    for (tally, target) in tallies.iter().zip(&targets) {
        audit(&tally.acknowledged, &target.sums()?).require()?;
    }
    drop(targets);
    let directory = server.stop()?;
    let verify = ["weir".into(), "verify".into(), directory.path().join("data")];
    cli::run(Cli::try_parse_from(verify)?.command).map_err(|failure| failure.to_string())?;
    let debits: u64 = tallies.iter().map(Tally::charged).sum();
    println!("{debits} debits charged, {moved} transfers, {} s: every sum agrees", args.seconds);
    let organizations = 2 * crate::number::u64_of(ORGANIZATIONS);
    let reported = Reported { cameras: organizations * CAMERAS, logged_max: organizations * LOGGED_MAX };
    verdict(&samples, length, reported)
}

/// One window: both targets at once, with numbers above those of the windows before.
fn window_of(
    targets: &[Box<dyn Target>; 2],
    length: Duration,
    rate: f64,
    window: u64,
) -> Outcome<[Tally; 2]> {
    let load = Synthetic {
        organizations: ORGANIZATIONS,
        cameras: CAMERAS,
        batch: usize_of(BATCH),
        rate: Some(rate),
        ramp: Duration::ZERO,
        length,
        choice: Choice::Even,
    };
    // Of no camera as many debits are sent in a window.
    let base = window * crate::number::whole(rate * length.as_secs_f64() + fraction(BATCH) * 1e4);
    let sources = || {
        let above = |producer| Above { source: load.source(producer, PRODUCERS), base };
        (0..PRODUCERS).map(|producer| -> Box<dyn Source> { Box::new(above(producer)) }).collect()
    };
    std::thread::scope(|scope| {
        let running = targets.each_ref().map(|target| {
            let sources = sources();
            scope.spawn(move || drive(&**target, sources, Loop::Open, &Progress::default()))
        });
        let [http, grpc] = running.map(|target| target.join().expect("the drivers do not panic"));
        Ok([http?, grpc?])
    })
}
