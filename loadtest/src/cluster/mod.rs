//! `loadtest cluster`: the engine on three servers of NATS JetStream, beside a bare publisher and the journal in files, and what a node costs.
//!
//! The servers run on this machine, each syncing every write; streams have three copies in files. Ours, the bare publisher and files take turns, with the
//! same number of partitions and subjects. A bare publisher does nothing but what a log must: one message of a subject in flight, which names the
//! sequence of the one before it, its acknowledgement awaited. Its messages are as long as ours were in that turn. All that ours acknowledged is
//! compared with the summaries at the end.

mod bare;
mod engine;
mod node;
mod rows;
mod servers;

use std::time::Duration;

use clap::Args;
use tokenweir::telemetry::clock;

use crate::compare::{Figures, Place, RowsArgs};
use crate::failure::{Outcome, tell};
use crate::number::{fraction, p50_us};

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
    /// Ours, the bare publisher's, files', a partition's share of ours, its appends, and the bytes of one.
    names: [&'static str; 6],
}

/// Half of what is in flight is a record of some 32 KiB, while the other half gathers.
const LARGE: usize = 48;
/// The same with records of some 3 KiB, so that the engine does little for each.
const SMALL: usize = 4;

const CASES: [Case; 6] = [
    case(1, LARGE, ["ours_1", "bare_1", "files_1", "each_1", "appends_1", "bytes_1"]),
    case(2, LARGE, ["ours_2", "bare_2", "files_2", "each_2", "appends_2", "bytes_2"]),
    case(4, LARGE, ["ours_4", "bare_4", "files_4", "each_4", "appends_4", "bytes_4"]),
    case(8, LARGE, ["ours_8", "bare_8", "files_8", "each_8", "appends_8", "bytes_8"]),
    case(
        1,
        SMALL,
        ["small_1", "bare_small_1", "files_small_1", "each_small_1", "appends_small_1", "bytes_small_1"],
    ),
    case(
        4,
        SMALL,
        ["small_4", "bare_small_4", "files_small_4", "each_small_4", "appends_small_4", "bytes_small_4"],
    ),
];

const fn case(partitions: u16, window: usize, names: [&'static str; 6]) -> Case {
    Case { partitions, window, names }
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
    match Servers::start()? {
        Some(servers) => {
            for case in CASES {
                tell(&format!("{} partitions, {} batches in flight", case.partitions, case.window));
                rate(&servers, &case, (args.rows.rounds(), turn), &mut figures)?;
            }
            tell("what a node costs");
            node::costs(&servers, looked, &mut figures)?;
        }
        None => skipped.push(servers::MISSING.to_owned()),
    }
    let mut missing = Vec::new();
    let rows: Vec<_> = rows::ROWS.iter().filter_map(|row| row.fill(&figures, &mut missing)).collect();
    args.rows.tell(&rows, &place, &skipped, &[]);
    Ok(())
}

/// Ours, bare and files with so many partitions, in turns; then what was acknowledged beside what was charged.
fn rate(
    servers: &Servers,
    &Case { partitions, window, names }: &Case,
    (rounds, turn): (u32, Duration),
    figures: &mut Figures,
) -> Outcome {
    let name = format!("rate-{partitions}-{window}");
    let mut ours = Engine::on_streams(servers, &name, partitions)?;
    let mut files = Engine::on_files(partitions)?;
    let mut bare = Bare::new(servers, &name, partitions)?;
    let [ours_name, bare_name, files_name, each, appends, bytes] = names;
    for _ in 0..rounds {
        let Turn { debits, records, bytes: written, took } = ours.turn(turn, window)?;
        let of_record = |count: u64| fraction(count) / fraction(records.max(1));
        let second = took.as_secs_f64();
        let published = bare.rate(turn, crate::number::usize_of(written / records.max(1)))?;
        let local = files.turn(turn, window)?;
        let mut note = |name, figure| figures.entry(name).or_default().push(figure);
        note(ours_name, fraction(debits) / second);
        note(bare_name, published * of_record(debits));
        note(files_name, fraction(local.debits) / local.took.as_secs_f64());
        note(each, fraction(debits) / second / f64::from(partitions));
        note(appends, fraction(records) / second / f64::from(partitions));
        note(bytes, of_record(written));
    }
    if partitions == 1 && window == SMALL {
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
