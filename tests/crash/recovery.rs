//! What must hold of whatever a crash leaves, by the ids of the invariants.

use std::path::PathBuf;

use tokenweir::domain::debit::{FirstOutcome, Outcome};
use tokenweir::domain::ids::{Lsn, OrgId};
use tokenweir::domain::invariants;
use tokenweir::domain::pool::Pool;
use tokenweir::domain::refusal::Refusal;
use tokenweir::protocol::coordinator::{Answer, Coordinator};
use tokenweir::storage::replay::PartitionState;
use tokenweir::storage::sim_disk::CrashPlan;
use tokenweir::storage::{Disk as _, Home, SimDisk, snapshot};

use super::ledger::Ledger;
use super::script::{claim, organizations, seq};
use super::world::{PARTITIONS, World, bytes_of, home};

/// By partition: the state after each frame of the undisturbed run, from frame 0 on.
pub(crate) type Trace = [Vec<Vec<u8>>; 2];

/// A partition as recovery finds it, without changing anything.
pub(crate) struct Found {
    pub(crate) last: Lsn,
    pub(crate) bytes: Vec<u8>,
    pub(crate) from_snapshot: bool,
}

/// Checks an image against what the outside world knows.
pub(crate) fn check(image: &SimDisk, ledger: &Ledger, trace: &Trace, scenario: &str) {
    let found = [0, 1].map(|partition| scan(image, partition, scenario));
    if found.iter().all(Option::is_some) {
        for (partition, found) in found.iter().flatten().enumerate() {
            check_prefix(found, partition, ledger, trace, scenario);
            check_without_snapshots(image, partition, found, scenario);
        }
    } else {
        assert_eq!(ledger.durable, [Lsn(0); 2], "{scenario}: I3: a partition is not there");
    }
    check_recovered(image, ledger, scenario);
}

/// Recovers an image, lets everything end, goes on, and recovers again.
pub(crate) fn check_recovered(image: &SimDisk, ledger: &Ledger, scenario: &str) {
    let mut after = Ledger { now: ledger.now, plant: ledger.plant, ..Ledger::default() };
    let mut world = World::open(image, &mut after).unwrap_or_else(|fault| panic!("{scenario}: {fault}"));
    check_invariants(&world, scenario);
    check_charged_once(&mut world, ledger, scenario);
    world.pump().expect(scenario);
    check_all_ended(&world, ledger, scenario);
    check_charged_once(&mut world, ledger, scenario);
    go_on(&mut world, scenario);
    let live = [0, 1].map(|partition| world.bytes(partition));
    world.close().expect(scenario);
    let durable = image.crash(CrashPlan::LoseUnsynced);
    for (partition, live) in (0..).zip(live) {
        let again = scan(&durable, partition, scenario).expect("it was opened");
        assert!(again.bytes == live, "{scenario}: I8: partition {partition} is replayed to another state");
    }
}

/// Reads a partition, or nothing when its directory was not made yet.
pub(crate) fn scan(image: &SimDisk, partition: u16, scenario: &str) -> Option<Found> {
    let (home, mut state) = (home(image, partition), PartitionState::default());
    if !image.exists(&home.layout.journal(partition)).expect("asked") {
        return None;
    }
    let (scan, base) = state.scan(&home).unwrap_or_else(|fault| panic!("{scenario}: {fault}"));
    assert!(base.skipped.is_empty(), "{scenario}: a power cut never leaves a bad snapshot: {base:?}");
    let last = Lsn(scan.next.0 - 1);
    Some(Found { last, bytes: bytes(state, partition), from_snapshot: base.snapshot > Lsn(0) })
}

/// The files of a partition, by their paths.
pub(crate) fn files(disk: &SimDisk, home: &Home) -> Vec<(PathBuf, Vec<u8>)> {
    let Home { layout, partition, .. } = home;
    let folders = [layout.journal(*partition), layout.snapshots(*partition)];
    let inside = |folder: &PathBuf| {
        disk.list(folder).expect("made").into_iter().map(|name| folder.join(name)).collect()
    };
    let paths = folders.iter().flat_map::<Vec<_>, _>(inside);
    paths.map(|path| (path.clone(), disk.read(&path).expect("there"))).collect()
}

/// A partition without anything.
pub(crate) fn empty(partition: u16) -> Vec<u8> {
    bytes(PartitionState::default(), partition)
}

pub(crate) fn bytes(state: PartitionState, partition: u16) -> Vec<u8> {
    let coordinator = (partition == 0).then(|| Coordinator::new(state.registry));
    let mut pools: Vec<Pool> = state.pools.into_iter().map(|pool| pool.expect("no gaps")).collect();
    bytes_of(coordinator.as_ref(), pools.iter_mut())
}

/// I3, I5: the state after one of the frames between the last durable and the last offered one.
fn check_prefix(found: &Found, partition: usize, ledger: &Ledger, trace: &Trace, scenario: &str) {
    let (durable, offered, last) = (ledger.durable[partition], ledger.offered[partition], found.last);
    assert!(durable <= last, "{scenario}: I3: partition {partition} lost {} to {durable}", last.next());
    assert!(last <= offered.max(durable), "{scenario}: I5: partition {partition} has {last}, never written");
    let expected = &trace[partition][usize::try_from(last.0).expect("few")];
    assert!(
        found.bytes == *expected,
        "{scenario}: I5: partition {partition} is in no state that was there at {last}"
    );
}

/// I8: from the beginning of the journal, where it is still there, the same state comes out.
fn check_without_snapshots(image: &SimDisk, partition: usize, found: &Found, scenario: &str) {
    let partition = u16::try_from(partition).expect("few");
    let (image, home) = (image.restart(), home(image, partition));
    let from_the_first = image.exists(&home.layout.segment(partition, Lsn(1))).expect("asked");
    if !found.from_snapshot || !from_the_first {
        return;
    }
    for lsn in snapshot::list(&home).expect("listed") {
        image.remove(&home.layout.snapshot(partition, lsn)).expect("removed");
    }
    let again = scan(&image, partition, scenario).expect("it is there");
    assert!(again.bytes == found.bytes, "{scenario}: I8: the journal alone gives another state");
}

pub(crate) fn check_invariants(world: &World<'_>, scenario: &str) {
    let broken = invariants::check_directory(world.coordinator.registry(), world.pools());
    assert!(broken.is_empty(), "{scenario}: {broken:?}");
}

/// I4: what was answered is never charged again.
fn check_charged_once(world: &mut World<'_>, ledger: &Ledger, scenario: &str) {
    world.expire();
    let before: Vec<_> = (0..usize::from(PARTITIONS)).map(|partition| world.bytes(partition)).collect();
    for (org, item, first) in &ledger.debits {
        let same = match first {
            Outcome::Charged => FirstOutcome::Charged,
            Outcome::Exempt => FirstOutcome::Exempt,
            Outcome::Duplicate(first) => *first,
            Outcome::Refused(_) => continue,
        };
        let again = world.debits(org, &[*item])[0];
        let known = again == Outcome::Duplicate(same) || again == Outcome::Refused(Refusal::TooOld);
        assert!(known, "{scenario}: I4: {org} {item:?} was {first:?}, sent again it is {again:?}");
    }
    let after: Vec<_> = (0..usize::from(PARTITIONS)).map(|partition| world.bytes(partition)).collect();
    assert!(before == after, "{scenario}: I4: sending again changed something");
}

/// I6, I10: everything ended, on both sides alike, and as it was answered before.
fn check_all_ended(world: &World<'_>, ledger: &Ledger, scenario: &str) {
    assert!(world.coordinator.is_idle(), "{scenario}: I10: something never ends");
    check_invariants(world, scenario);
    let registry = world.coordinator.registry();
    assert!(registry.transfers.values().all(|transfer| transfer.state.is_ended()), "{scenario}: I6");
    assert!(registry.claims.values().all(|claim| claim.applied), "{scenario}: I10: {:?}", registry.claims);
    for answer in &ledger.answers {
        match answer {
            Answer::Claimed(claim) => {
                let kept = registry.claims.values().any(|kept| kept == claim);
                assert!(kept, "{scenario}: I3: {claim:?} is gone");
            }
            Answer::Transfer(told) => {
                let same = |kept: &&tokenweir::domain::registry::Transfer| kept.begun_at == told.begun_at;
                let kept = registry.transfers.values().filter(same).find(|kept| kept.source == told.source);
                let kept = kept.unwrap_or_else(|| panic!("{scenario}: I3: {told:?} is gone"));
                assert!(!told.state.is_ended() || kept == told, "{scenario}: I6: {told:?} became {kept:?}");
            }
            Answer::Done | Answer::Refused(_) => {}
        }
    }
}

/// Whatever happened, new licenses and debits are taken.
fn go_on(world: &mut World<'_>, scenario: &str) {
    let there: Vec<OrgId> = world.pools().map(|pool| pool.id.clone()).collect();
    for org in organizations().iter().filter(|org| there.contains(org)) {
        claim(world, org, &format!("late-{org}"), &[25]);
        world.pump().expect(scenario);
        let outcome = world.debits(org, &[seq(99, 1, 25)])[0];
        let expected = [Outcome::Charged, Outcome::Exempt, Outcome::Refused(Refusal::UnknownCamera)];
        assert!(expected.contains(&outcome), "{scenario}: {org} answers {outcome:?} after recovery");
        world.pump().expect(scenario);
    }
    check_invariants(world, scenario);
}
