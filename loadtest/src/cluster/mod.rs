//! `loadtest cluster`: the engine on three servers of NATS JetStream, beside a bare publisher and the journal in files, and what a node costs.
//!
//! The servers run on this machine, each syncing every write; streams have three copies in files. Ours, the bare publisher and files take turns, with the
//! same number of partitions and subjects. A bare publisher does nothing but what a log must: one message of a subject in flight, which names the
//! sequence of the one before it, its acknowledgement awaited. Its messages are as long as ours were in that turn. All that ours acknowledged is
//! compared with the summaries at the end.
//!
//! Where all share the cores the publisher leaves to the servers what ours needs to make, judge and encode debits. So it is also measured with the servers on
//! cores of their own, as on machines of their own, and what each took of the processor is told.

mod bare;
mod engine;
mod node;
mod rows;
mod servers;

use std::time::{Duration, Instant};

use clap::Args;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tokenweir::telemetry::clock;

use crate::compare::{Figures, Place, RowsArgs};
use crate::failure::{Outcome, tell};
use crate::number::{fraction, p50_us};
use crate::process::Cost;

use bare::Bare;
use engine::{Engine, Turn};
use servers::Servers;

#[derive(Args, Debug)]
pub(crate) struct ClusterArgs {
    #[command(flatten)]
    rows: RowsArgs,
}

/// What is measured together: the load, and the names of its figures.
struct Case {
    partitions: u16,
    /// Batches of an organization in flight.
    window: usize,
    /// Whether the servers have cores of their own.
    is_apart: bool,
    names: Names,
}

struct Names {
    /// Of its streams.
    name: &'static str,
    ours: &'static str,
    bare: &'static str,
    files: &'static str,
    /// A partition's share of ours, its appends, and the bytes of one.
    each: &'static str,
    appends: &'static str,
    bytes: &'static str,
    /// Of the processor: of this process and of the servers, while ours runs and while the publisher does.
    ours_cpu: [&'static str; 2],
    bare_cpu: [&'static str; 2],
}

/// Half of what is in flight is a record of some 32 KiB, while the other half gathers.
const LARGE: usize = 48;
/// The same with records of some 3 KiB, so that the engine does little for each.
const SMALL: usize = 4;

macro_rules! case {
    ($partitions:literal, $window:ident, $is_apart:literal, $name:literal) => {
        Case {
            partitions: $partitions,
            window: $window,
            is_apart: $is_apart,
            names: Names {
                name: $name,
                ours: concat!("ours_", $name),
                bare: concat!("bare_", $name),
                files: concat!("files_", $name),
                each: concat!("each_", $name),
                appends: concat!("appends_", $name),
                bytes: concat!("bytes_", $name),
                ours_cpu: [concat!("ours_cpu_", $name), concat!("ours_servers_cpu_", $name)],
                bare_cpu: [concat!("bare_cpu_", $name), concat!("bare_servers_cpu_", $name)],
            },
        }
    };
}

const CASES: [Case; 10] = [
    case!(1, LARGE, false, "1"),
    case!(2, LARGE, false, "2"),
    case!(4, LARGE, false, "4"),
    case!(8, LARGE, false, "8"),
    case!(1, SMALL, false, "small_1"),
    case!(4, SMALL, false, "small_4"),
    case!(1, LARGE, true, "apart_1"),
    case!(2, LARGE, true, "apart_2"),
    case!(4, LARGE, true, "apart_4"),
    case!(8, LARGE, true, "apart_8"),
];

/// Processor time that was spent so far.
struct Spent {
    at: Instant,
    /// By this process, and by all servers.
    seconds: [f64; 2],
}

/// Cores: of the servers, and of all that is not theirs.
struct Halves {
    all: CpuSet,
    servers: CpuSet,
    others: CpuSet,
}

/// How long a turn takes.
const TURN: Duration = Duration::from_millis(1_500);
const TURN_QUICK: Duration = Duration::from_millis(200);
/// How long a node is looked at.
const LOOKED: Duration = Duration::from_secs(10);
const LOOKED_QUICK: Duration = Duration::from_millis(500);

/// Runs it.
pub(crate) fn run(args: &ClusterArgs) -> Outcome {
    let (turn, looked) = if args.rows.quick { (TURN_QUICK, LOOKED_QUICK) } else { (TURN, LOOKED) };
    let place = Place::here();
    let (mut figures, mut skipped) = (Figures::new(), Vec::new());
    let rounds = (args.rows.rounds(), turn);
    match Servers::start()? {
        Some(servers) => {
            for case in CASES.iter().filter(|case| !case.is_apart) {
                rate(&servers, case, rounds, &mut figures)?;
            }
            tell("what a node costs");
            node::costs(&servers, looked, &mut figures)?;
        }
        None => skipped.push(servers::MISSING.to_owned()),
    }
    apart(rounds, &mut figures)?;
    let mut missing = Vec::new();
    let rows: Vec<_> = rows::ROWS.iter().filter_map(|row| row.fill(&figures, &mut missing)).collect();
    args.rows.tell(&rows, &place, &skipped, &[]);
    Ok(())
}

/// The cases in which the servers have cores of their own; none of them where there is one core.
fn apart(rounds: (u32, Duration), figures: &mut Figures) -> Outcome {
    let Some(halves) = Halves::new()? else { return Ok(()) };
    halves.servers()?;
    let Some(servers) = Servers::start()? else { return halves.all() };
    halves.others()?;
    for case in CASES.iter().filter(|case| case.is_apart) {
        rate(&servers, case, rounds, figures)?;
    }
    halves.all()
}

/// Ours, bare and files with so many partitions, in turns; then what was acknowledged beside what was charged.
fn rate(
    servers: &Servers,
    Case { partitions, window, is_apart, names }: &Case,
    (rounds, turn): (u32, Duration),
    figures: &mut Figures,
) -> Outcome {
    let (partitions, window) = (*partitions, *window);
    tell(&format!("{partitions} partitions, {window} batches in flight ({})", names.name));
    let name = format!("rate-{}", names.name);
    let mut ours = Engine::on_streams(servers, &name, partitions)?;
    let mut files = Engine::on_files(partitions)?;
    let mut bare = Bare::new(servers, &name, partitions)?;
    for _ in 0..rounds {
        let (of_turn, [before, after]) = ours.turn(turn, window, &|| Spent::now(servers))?;
        let Turn { debits, records, bytes: written, took } = of_turn;
        let of_ours = after.since(&before);
        let of_record = |count: u64| fraction(count) / fraction(records.max(1));
        let second = took.as_secs_f64();
        let before = Spent::now(servers);
        let published = bare.rate(turn, crate::number::usize_of(written / records.max(1)))?;
        let of_bare = Spent::now(servers).since(&before);
        let mut note = |name, figure| figures.entry(name).or_default().push(figure);
        note(names.ours, fraction(debits) / second);
        note(names.bare, published * of_record(debits));
        note(names.each, fraction(debits) / second / f64::from(partitions));
        note(names.appends, fraction(records) / second / f64::from(partitions));
        note(names.bytes, of_record(written));
        names.ours_cpu.into_iter().zip(of_ours).for_each(|(name, percent)| note(name, percent));
        names.bare_cpu.into_iter().zip(of_bare).for_each(|(name, percent)| note(name, percent));
        if !is_apart {
            let (local, _) = files.turn(turn, window, &|| ())?;
            note(names.files, fraction(local.debits) / local.took.as_secs_f64());
        }
    }
    if names.name == "small_1" {
        one_at_a_time((&mut ours, &mut bare), (rounds, turn), figures)?;
    }
    ours.audit()?;
    files.audit()
}

/// A debit at a time, beside a bare message at a time.
fn one_at_a_time(
    (ours, bare): (&mut Engine, &mut Bare),
    (rounds, turn): (u32, Duration),
    figures: &mut Figures,
) -> Outcome {
    for _ in 0..rounds {
        let begun = clock::start();
        let (mut laps, mut published) = (Vec::new(), Vec::new());
        while begun.elapsed() < turn {
            laps.push(ours.one()?);
            published.push(bare.one()?);
        }
        figures.entry("ours_p50").or_default().push(p50_us(laps));
        figures.entry("bare_p50").or_default().push(p50_us(published));
    }
    Ok(())
}

impl Spent {
    fn now(servers: &Servers) -> Self {
        let cost = |cost: Cost| cost.cpu_seconds;
        Self { at: clock::start(), seconds: [cost(Cost::of(std::process::id())), cost(servers.cost())] }
    }

    /// Since `before`, of this process and of all servers, in percent of a core.
    fn since(&self, before: &Self) -> [f64; 2] {
        let took = self.at.duration_since(before.at).as_secs_f64();
        [0, 1].map(|of| (self.seconds[of] - before.seconds[of]) / took * 100.0)
    }
}

impl Halves {
    /// The cores that this process may use, in halves; none where there is one.
    fn new() -> Outcome<Option<Self>> {
        let all = sched_getaffinity(None)?;
        let (mut servers, mut others) = (CpuSet::new(), CpuSet::new());
        let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| all.is_set(*core)).collect();
        for (number, core) in cores.iter().enumerate() {
            if number < cores.len() / 2 { servers.set(*core) } else { others.set(*core) }
        }
        Ok((cores.len() > 1).then_some(Self { all, servers, others }))
    }

    /// From now on what this thread starts runs on the cores of the servers.
    fn servers(&self) -> Outcome {
        Ok(sched_setaffinity(None, &self.servers)?)
    }

    /// From now on this thread and what it starts runs on the cores of the others.
    fn others(&self) -> Outcome {
        Ok(sched_setaffinity(None, &self.others)?)
    }

    fn all(&self) -> Outcome {
        Ok(sched_setaffinity(None, &self.all)?)
    }
}
