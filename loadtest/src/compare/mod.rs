//! `loadtest compare`: ours beside floors and peers, every row measured in one run.
//!
//! Every round measures each figure once, one after the other, so that a machine that slows down slows down all of them, and each
//! begins with nothing left to be written. A ratio is the median of the rounds' own ratios. What is measured stands in the probes;
//! what is compared with what, and how far ahead it has to be, stands in `rows`. Another edge adds probes and rows.

pub(crate) mod grpc_load;
pub(crate) mod http_load;
pub(crate) mod rows;

mod embedded;
mod neighbour;
mod recovery;
mod sizes;
mod snapshots;
mod table;

use std::collections::BTreeMap;
use std::time::Duration;

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::failure::{Outcome, tell};
use crate::floors::{Echo, GrpcEcho, PlainLoop};
use crate::number::u64_of;
use crate::peers;
use crate::process::output;

use rows::Row;

/// How often rows are measured, and how they are told.
#[derive(Args, Debug)]
pub(crate) struct RowsArgs {
    /// Print the one JSON object alone; it is the last line in any case.
    #[arg(long)]
    json: bool,
    /// How many rounds.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// One short round of small sizes: whether it works, not how fast.
    #[arg(long)]
    pub(crate) quick: bool,
}

#[derive(Args, Debug)]
pub(crate) struct CompareArgs {
    #[command(flatten)]
    rows: RowsArgs,
    /// Measure these parts alone, as `grpc,redis`; rows that need others are left out.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
}

/// What is measured together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The plain loop, and the engine in this process.
    Embedded,
    /// Redis.
    Redis,
    /// HTTP, ours and the echo.
    Http,
    /// gRPC, ours and the echo.
    Grpc,
    /// PostgreSQL.
    Postgres,
    /// TigerBeetle.
    Tigerbeetle,
    /// Latency while snapshots are taken.
    Snapshots,
    /// Latency beside a flood.
    Neighbour,
    /// Recovery, and how soon a server is ready.
    Recovery,
    /// Memory, and cost against size.
    Sizes,
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// How long a load runs in one round.
    pub(crate) length: Duration,
    /// Debits that are replayed.
    pub(crate) replayed: u64,
    /// Cameras of the large pools.
    pub(crate) cameras: u64,
    /// Event ids that are weighed.
    pub(crate) event_ids: u64,
}

impl Effort {
    const FULL: Self = Self {
        length: Duration::from_millis(1_500),
        replayed: 10_000_000,
        cameras: 1_000_000,
        event_ids: 10_000_000,
    };
    const QUICK: Self =
        Self { length: Duration::from_millis(150), replayed: 100_000, cameras: 10_000, event_ids: 100_000 };
}

/// Figures by name, one for each round.
pub(crate) type Figures = BTreeMap<&'static str, Vec<f64>>;

/// What one measurement gave.
pub(crate) type Measured = Outcome<Vec<(&'static str, f64)>>;

/// Something that is measured once in each round.
pub(crate) struct Probe {
    name: &'static str,
    /// It takes long and hardly varies: the first round is enough.
    once: bool,
    measure: Box<dyn FnMut(Duration) -> Measured>,
}

impl Probe {
    /// A probe of every round.
    pub(crate) fn new(name: &'static str, measure: impl FnMut(Duration) -> Measured + 'static) -> Self {
        Self { name, once: false, measure: Box::new(measure) }
    }

    /// A probe of the first round.
    pub(crate) fn once(name: &'static str, measure: impl FnMut(Duration) -> Measured + 'static) -> Self {
        Self { once: true, ..Self::new(name, measure) }
    }
}

impl RowsArgs {
    /// How many rounds there are.
    pub(crate) fn rounds(&self) -> u32 {
        if self.quick { 1 } else { self.rounds }
    }

    /// Prints what was measured; `peers` says how others were set up.
    pub(crate) fn tell(&self, rows: &[Row], on: &Place, skipped: &[String], peers: &[&str]) {
        let Place { machine, commit } = on;
        if !self.json {
            println!("{}", table::text(rows));
            println!("machine {machine}\ncommit {commit}");
            peers.iter().for_each(|line| println!("{line}"));
            skipped.iter().for_each(|line| println!("skipped: {line}"));
        }
        let mut result = json!({
            "rows": rows,
            "machine": machine,
            "commit": commit,
            "skipped": skipped,
            "effort": if self.quick { "quick: the figures say nothing" } else { "full" },
        });
        if !peers.is_empty() {
            result["peers"] = json!(peers);
        }
        println!("{result}");
    }
}

/// Where rows were measured.
pub(crate) struct Place {
    machine: String,
    commit: String,
}

impl Place {
    /// As it is before anything is measured.
    pub(crate) fn here() -> Self {
        Self { machine: machine(&load_average()), commit: commit() }
    }
}

/// Runs it.
pub(crate) fn run(args: &CompareArgs) -> Outcome {
    let effort = if args.rows.quick { Effort::QUICK } else { Effort::FULL };
    let place = Place::here();
    let mut skipped = Vec::new();
    let mut probes = probes(effort, &args.only, &mut skipped)?;
    let figures = measure(&mut probes, args.rows.rounds(), effort.length, &mut skipped)?;
    drop(probes);
    let mut missing = Vec::new();
    let rows: Vec<_> = rows::ROWS.iter().filter_map(|row| row.fill(&figures, &mut missing)).collect();
    if args.only.is_empty() {
        skipped.extend(missing);
    }
    args.rows.tell(&rows, &place, &skipped, peers::CONFIGURATION);
    Ok(())
}

/// Everything that is measured, in the order of a round: a floor or a peer stands next to what is compared with it.
fn probes(effort: Effort, only: &[Part], skipped: &mut Vec<String>) -> Outcome<Vec<Probe>> {
    tell("starting servers and making organizations");
    let mut probes = Vec::new();
    let mut peer =
        |found: Result<Vec<Probe>, String>| found.map_err(|reason| skipped.push(reason)).unwrap_or_default();
    for part in Part::value_variants() {
        if !only.is_empty() && !only.contains(part) {
            continue;
        }
        probes.extend(match part {
            Part::Embedded => [plain_loop()].into_iter().chain(embedded::probes()?).collect(),
            Part::Redis => peer(peers::redis_probes()?),
            Part::Http => http_load::probes(Echo::start()?)?,
            Part::Grpc => grpc_load::probes(GrpcEcho::start()?)?,
            Part::Postgres => peer(peers::postgres_probes()?),
            Part::Tigerbeetle => peer(peers::tigerbeetle_probes()),
            Part::Snapshots => vec![snapshots::probe()?],
            Part::Neighbour => vec![neighbour::probe()?],
            Part::Recovery => recovery::probes(effort)?,
            Part::Sizes => vec![sizes::weights(effort), sizes::costs(effort)],
        });
    }
    Ok(probes)
}

fn plain_loop() -> Probe {
    let mut plain = PlainLoop::new();
    Probe::new("plain loop", move |length| Ok(vec![("plain_loop", plain.rate(length))]))
}

/// Measures round after round. A probe that fails is told and left out from then on; the others go on.
fn measure(
    probes: &mut Vec<Probe>,
    rounds: u32,
    length: Duration,
    skipped: &mut Vec<String>,
) -> Outcome<Figures> {
    let mut figures = Figures::new();
    let bar = ProgressBar::new(u64::from(rounds) * u64_of(probes.len()));
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} {msg}")?);
    for round in 0..rounds {
        probes.retain_mut(|probe| {
            bar.inc(1);
            if probe.once && round > 0 {
                return true;
            }
            bar.set_message(probe.name);
            // What the last load left to be written, a peer's or ours, is not written at the cost of this one.
            rustix::fs::sync();
            match (probe.measure)(length) {
                Ok(measured) => {
                    for (name, figure) in measured {
                        figures.entry(name).or_default().push(figure);
                    }
                    true
                }
                Err(failure) => {
                    skipped.push(format!("{}: {failure}", probe.name));
                    false
                }
            }
        });
    }
    bar.finish_and_clear();
    Ok(figures)
}

/// The machine, and how busy it was before: this program is the load of its own end.
pub(crate) fn machine(load_before: &str) -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("an unknown processor", |(_, model)| model);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{cores} cores, {model}, linux {}, load average at the start {load_before}", kernel.trim())
}

/// How busy it is.
pub(crate) fn load_average() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// What is measured.
pub(crate) fn commit() -> String {
    let head = output("git", &["rev-parse", "--short", "HEAD"]).unwrap_or_else(|| "unknown".to_owned());
    let changed = output("git", &["status", "--porcelain", "--", "src", "loadtest", "Cargo.toml"]);
    if changed.is_some_and(|lines| !lines.is_empty()) { format!("{head} with changes") } else { head }
}
