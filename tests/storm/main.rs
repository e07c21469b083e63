//! The real server under load, and under every fault that a machine can do to its process: each on one directory, round
//! after round.
//!
//! `debits` and `moves` load it and record outside what was acknowledged; `faults` has an entry for each fault; `world` judges
//! every round: the directory verifies, everything that was acknowledged is there, nothing is there that was not sent, and
//! what is sent again under its id is charged once. A fault whose tool is missing is passed over, and says so.
//! `cargo xtask storm` runs more rounds, drawn from a seed.

mod client;
mod debits;
mod faults;
mod journal;
mod moves;
#[expect(dead_code, reason = "the tests of the command line use the rest of it")]
#[path = "../cli/process.rs"]
mod process;
mod server;
mod within;
mod world;

use std::collections::BTreeMap;

use tokenweir::telemetry::clock;

use faults::{CLOCKS, FULL_DISK, Fault, IO_ERRORS, KILLS, PROCESSES};
use world::{Tally, World};

/// Rounds on one directory, in a long storm.
const ROUNDS_MAX: usize = 25;

/// Each of the faults once, on one directory.
fn check(mut world: World, faults: &[Fault]) {
    let mut tallies = BTreeMap::new();
    for (fault, pick) in faults.iter().zip((11..).step_by(4)) {
        match fault.within.missing() {
            Some(missing) => println!("skipped: {} ({missing})", fault.name),
            None => {
                let tally = world.round(fault, pick);
                assert!(tally.seen == 1 || !fault.must_be_seen(), "{}: it did not happen", fault.name);
                tallies.insert(fault.name, tally);
            }
        }
    }
    world.finish();
    show(&tallies);
}

fn show(tallies: &BTreeMap<&'static str, Tally>) {
    println!("{:<42} {:>7} {:>7} {:>10} {:>7}", "fault", "rounds", "seen", "debits", "moves");
    for (name, Tally { rounds, seen, debits, moves }) in tallies {
        println!("{name:<42} {rounds:>7} {seen:>7} {debits:>10} {moves:>7}");
    }
    let sum = |of: fn(&Tally) -> usize| tallies.values().map(of).sum::<usize>();
    println!(
        "{} rounds, {} debits acknowledged, {} licenses and transfers: nothing lost, nothing twice, every directory clean",
        sum(|tally| tally.rounds),
        sum(|tally| tally.debits),
        sum(|tally| tally.moves)
    );
}

fn asked(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().expect("the variables of the storm are whole numbers"))
}

#[test]
fn r14_i3_i4_i6_nothing_acknowledged_is_lost_or_done_twice_over_kills() {
    check(World::new(), KILLS);
}

#[test]
fn r14_i3_i4_i6_nothing_acknowledged_is_lost_or_done_twice_over_failing_writes_and_syncs() {
    check(World::new(), IO_ERRORS);
}

#[test]
fn i9_i3_i4_pauses_second_servers_and_missing_resources_lose_nothing_and_do_nothing_twice() {
    check(World::new(), PROCESSES);
}

#[test]
fn i4_a_clock_that_jumps_makes_no_time_go_back_and_nothing_is_charged_twice() {
    check(World::new(), CLOCKS);
}

#[test]
fn i3_i4_a_full_disk_stops_a_partition_and_loses_nothing_acknowledged() {
    match World::on_small_disk() {
        Some(world) => check(world, FULL_DISK),
        None => println!("skipped: no small file system can be mounted here"),
    }
}

/// Rounds drawn from a seed, for as many minutes as are asked for.
#[test]
fn i3_i4_i6_a_storm_of_faults_loses_nothing_and_does_nothing_twice() {
    let Some(minutes) = asked("WEIR_STORM_MINUTES") else { return };
    let begun = clock::start();
    let mut seed = asked("WEIR_STORM_SEED").unwrap_or_else(|| tokenweir::meter::Clock::System.now().ms());
    println!("seed {seed}");
    let mut draw = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        seed >> 33
    };
    let usual = [KILLS, IO_ERRORS, PROCESSES, CLOCKS].concat();
    let mut tallies = BTreeMap::<_, Tally>::new();
    while begun.elapsed().as_secs() < minutes * 60 {
        let small = (draw() % 8 == 0).then(World::on_small_disk).flatten();
        let faults = if small.is_some() { FULL_DISK } else { &usual };
        let mut world = small.unwrap_or_else(World::new);
        for _ in 0..ROUNDS_MAX {
            let fault = &faults[usize::try_from(draw()).expect("31 bits") % faults.len()];
            if fault.within.missing().is_none() && begun.elapsed().as_secs() < minutes * 60 {
                let (of, now) = (tallies.entry(fault.name).or_default(), world.round(fault, 1 + draw() % 90));
                of.rounds += now.rounds;
                of.seen += now.seen;
                of.debits += now.debits;
                of.moves += now.moves;
            }
        }
        world.finish();
    }
    show(&tallies);
}
