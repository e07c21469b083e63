//! The script, stopped everywhere: what a crash leaves is recovered, and checked.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tokenweir::domain::refusal::Refusal;
use tokenweir::domain::registry::TransferState;
use tokenweir::meter::status;
use tokenweir::protocol::coordinator::Answer;
use tokenweir::storage::SimDisk;
use tokenweir::storage::sim_disk::CrashPlan;

use super::ledger::{Ledger, Plant};
use super::recovery::{self, Trace, check};
use super::script::run;
use super::world::World;

/// The undisturbed run: its disk, what is known of it, and its states.
pub(crate) fn whole_run() -> (SimDisk, Ledger, Trace) {
    let disk = SimDisk::new();
    let mut ledger =
        Ledger { trace: Some([vec![recovery::empty(0)], vec![recovery::empty(1)]]), ..Ledger::default() };
    run(&disk, &mut ledger).expect("no fault is injected");
    let trace = ledger.trace.take().expect("wanted");
    (disk, ledger, trace)
}

/// Every operation of the run, and inside every write its beginning, its end and some places between.
fn stops(disk: &SimDisk) -> Vec<(u64, usize)> {
    let mut stops: Vec<_> = (0..disk.operations()).map(|operation| (operation, 0)).collect();
    for (operation, len) in disk.writes() {
        stops.extend([1, len / 3, len.saturating_sub(9), len].map(|bytes| (operation, bytes)));
    }
    stops
}

fn aftermaths(disk: &SimDisk, seed: u64, seeds: u64) -> Vec<(String, SimDisk)> {
    let mut all = vec![("restart".to_owned(), disk.restart())];
    let seeded = (0..seeds).map(|n| CrashPlan::Seeded(seed.wrapping_mul(31) + n));
    let plans = [CrashPlan::LoseUnsynced, CrashPlan::KeepUnsynced].into_iter().chain(seeded);
    all.extend(plans.map(|plan| (format!("{plan:?}"), disk.crash(plan))));
    all
}

pub(crate) fn stopped(operation: u64, bytes: usize, plant: Option<Plant>) -> (SimDisk, Ledger) {
    let (disk, mut ledger) = (SimDisk::new(), Ledger { plant, ..Ledger::default() });
    disk.stop_at(operation, bytes);
    let _ended = run(&disk, &mut ledger);
    (disk, ledger)
}

#[test]
fn i1_i3_i4_i5_i6_i8_i10_r14_a_crash_at_every_operation_and_inside_every_write_leaves_a_legal_prefix() {
    let (disk, ledger, trace) = whole_run();
    assert!(ledger.retired.snapshots > 0 && ledger.retired.segments > 2, "{:?}", ledger.retired);
    for (operation, bytes) in stops(&disk) {
        let (disk, ledger) = stopped(operation, bytes, None);
        for (aftermath, image) in aftermaths(&disk, operation, 2) {
            check(&image, &ledger, &trace, &format!("stop at {operation} after {bytes} bytes, {aftermath}"));
        }
    }
}

/// Whether the checks find what is planted at some stop.
fn is_found(plant: Plant) -> bool {
    let (disk, _, trace) = whole_run();
    let found = |(operation, bytes): &(u64, usize)| {
        let (disk, ledger) = stopped(*operation, *bytes, Some(plant));
        let image = disk.crash(CrashPlan::LoseUnsynced);
        catch_unwind(AssertUnwindSafe(|| check(&image, &ledger, &trace, "planted"))).is_err()
    };
    stops(&disk).iter().step_by(3).any(found)
}

#[test]
fn i3_i6_i10_the_checks_find_what_is_planted() {
    assert!(is_found(Plant::LeaveBeforeDurable), "I3: an early reply");
    assert!(is_found(Plant::SnapshotBeforeDurable), "I5: a snapshot ahead of the journal");
    assert!(is_found(Plant::ForgetToRecover), "I10: a recovery that forgets");
}

#[test]
fn i5_i10_r14_a_crash_during_recovery_loses_nothing_and_is_recovered_from() {
    let (disk, _, trace) = whole_run();
    for (operation, bytes) in stops(&disk).into_iter().step_by(29) {
        let (disk, ledger) = stopped(operation, bytes, None);
        let image = disk.crash(CrashPlan::Seeded(operation));
        let probe = image.restart();
        let recover = |disk: &SimDisk| {
            let mut after = Ledger { now: ledger.now, ..Ledger::default() };
            World::open(disk, &mut after).and_then(|mut world| world.pump())
        };
        recover(&probe).expect("recoverable");
        for again in (0..probe.operations()).step_by(3) {
            let second = image.restart();
            second.stop_at(again, 40);
            let _ended = recover(&second);
            for (aftermath, image) in aftermaths(&second, again, 1) {
                check_after_two(
                    &image,
                    &ledger,
                    &trace,
                    &format!("{operation}+{bytes}, then {again}, {aftermath}"),
                );
            }
        }
    }
}

/// The recovery that was cut short may have written frames of its own, so that only what it began with is in the trace.
fn check_after_two(image: &SimDisk, ledger: &Ledger, trace: &Trace, scenario: &str) {
    for partition in 0..2 {
        let place = usize::from(partition);
        let Some(found) = recovery::scan(image, partition, scenario) else { continue };
        assert!(found.last >= ledger.durable[place], "{scenario}: I3: partition {partition} lost frames");
        if found.last <= ledger.durable[place] {
            let expected = &trace[place][usize::try_from(found.last.0).expect("few")];
            assert!(found.bytes == *expected, "{scenario}: I5: partition {partition}");
        }
    }
    recovery::check_recovered(image, ledger, scenario);
}

#[test]
fn i3_i5_a_failure_at_every_sync_and_every_write_loses_nothing_that_was_acknowledged() {
    let (probe, _, trace) = whole_run();
    let writes = u64::try_from(probe.writes().len()).expect("few");
    let inject = |fail: &dyn Fn(&SimDisk), scenario: String| {
        let (disk, mut ledger) = (SimDisk::new(), Ledger::default());
        fail(&disk);
        let _ended = run(&disk, &mut ledger);
        for (aftermath, image) in aftermaths(&disk, 7, 1) {
            check(&image, &ledger, &trace, &format!("{scenario}, {aftermath}"));
        }
    };
    (0..probe.syncs()).for_each(|nth| inject(&|disk| disk.fail_sync(nth), format!("sync {nth} fails")));
    (0..writes).step_by(2).for_each(|nth| inject(&|disk| disk.fail_write(nth), format!("write {nth} fails")));
    let rooms = (0..30_000).step_by(613);
    rooms.for_each(|room| inject(&|disk| disk.limit_space(room), format!("room for {room}")));
}

#[test]
fn i8_replay_equals_live_byte_for_byte_after_every_frame() {
    let (disk, ledger, trace) = whole_run();
    for partition in [0, 1] {
        let found = recovery::scan(&disk, partition, "whole").expect("made");
        assert_eq!(found.last, ledger.offered[usize::from(partition)]);
        assert!(found.bytes == trace[usize::from(partition)][usize::try_from(found.last.0).expect("few")]);
    }
}

#[test]
fn the_script_meets_every_outcome_and_every_end_of_a_transfer() {
    let (_, ledger, _) = whole_run();
    let codes: BTreeSet<_> = ledger.debits.iter().map(|(.., outcome)| status::code(*outcome)).collect();
    let wanted =
        ["charged", "exempt", "duplicate", "unknown_camera", "cloud_ai_disabled", "too_old", "conflict"];
    let wanted = wanted.into_iter().chain([
        "in_transfer",
        "insufficient_tokens",
        "reservation_ended",
        "reservation_exceeded",
        "unknown_reservation",
    ]);
    assert_eq!(codes, wanted.collect());
    let states: Vec<_> = ledger
        .answers
        .iter()
        .filter_map(|answer| match answer {
            Answer::Transfer(transfer) => Some(transfer.state),
            _ => None,
        })
        .collect();
    let wanted = [TransferState::Begun, TransferState::Finished, TransferState::Aborted];
    assert!(wanted.iter().all(|state| states.contains(state)), "{states:?}");
    assert!(ledger.answers.contains(&Answer::Refused(Refusal::LicenseKeyClaimed)));
}
