//! The cases: what a committer, recovery and snapshots rely on.

use std::ops::ControlFlow;
use std::sync::Arc;

use tokenweir::domain::ids::Lsn;
use tokenweir::storage::fixture::{SMALL, check_body, group};
use tokenweir::storage::frame::{self, FrameMeta};
use tokenweir::storage::reader::Start;
use tokenweir::storage::store::newest_snapshot_as;
use tokenweir::storage::{Fault, Follow, GroupLog, Hold, HoldReader, SnapshotHeader, Store};

/// A place: each store that it gives is of the same partition, as a process has it that opens it next.
pub(crate) trait Place {
    fn store(&self) -> Arc<dyn Store>;
}

/// Runs every case, each in a place of its own.
pub(crate) fn check(make: &dyn Fn() -> Box<dyn Place>) {
    for case in [
        groups_read_back_in_order,
        a_replay_begins_after_the_snapshot,
        what_is_appended_can_be_read_meanwhile,
        a_group_longer_than_any_message_reads_back,
        an_owner_knows_when_another_has_taken_over,
        snapshots_are_listed_loaded_and_the_newest_is_found,
        nothing_is_removed_before_two_snapshots_hold_it,
        a_gap_above_the_snapshot_is_missing_and_never_passed_over,
        who_follows_gets_each_durable_frame_once,
        what_a_follower_has_not_read_stays_up_to_a_bound,
    ] {
        case(&*make());
    }
}

fn open(store: &Arc<dyn Store>, after: u64) -> (Box<dyn GroupLog>, Vec<u64>) {
    let mut lsns = Vec::new();
    let (log, report) = store
        .open(SMALL, Lsn(after), &mut |frame| {
            lsns.push(frame.meta.lsn.0);
            check_body(frame)
        })
        .expect("it opens");
    assert_eq!(report.next, log.next_lsn());
    assert_eq!(report.frames, u64::try_from(lsns.len()).expect("few"));
    (log, lsns)
}

fn append(log: &mut dyn GroupLog, frames: u32) -> Result<(), Fault> {
    let first = log.next_lsn();
    log.append_group(first, frames, &group(first, frames))
}

fn all(from: u64, to: u64) -> Vec<u64> {
    (from..=to).collect()
}

fn snapshot(store: &dyn Store, lsn: u64) {
    let header = SnapshotHeader { lsn: Lsn(lsn), version: 1 };
    store.write_snapshot(header, &lsn.to_le_bytes()).expect("written");
}

fn groups_read_back_in_order(place: &dyn Place) {
    let mut due = 0;
    for frames in [1, 2, 3, 7, 1] {
        let (mut log, lsns) = open(&place.store(), 0);
        assert_eq!((lsns, log.durable()), (all(1, due), Lsn(due)));
        check_oldest(&*place.store(), Lsn(due + 1));
        for _ in 0..3 {
            append(&mut *log, frames).expect("durable");
            due += u64::from(frames);
            assert_eq!((log.durable(), log.next_lsn()), (Lsn(due), Lsn(due + 1)));
            log.confirm().expect("nobody else is there");
        }
    }
    assert!(place.store().is_begun().expect("told"));
}

fn a_replay_begins_after_the_snapshot(place: &dyn Place) {
    let (mut log, _) = open(&place.store(), 0);
    [3, 3, 3].iter().for_each(|frames| append(&mut *log, *frames).expect("durable"));
    for after in 0..=9 {
        drop(log);
        (log, _) = open(&place.store(), after);
        assert_eq!(log.next_lsn(), Lsn(10), "after {after}");
    }
    let told = place.store().open(SMALL, Lsn(10), &mut |_| Ok(())).expect_err("a snapshot holds more");
    assert!(told.is_damage(), "{told}");
}

fn what_is_appended_can_be_read_meanwhile(place: &dyn Place) {
    let store = place.store();
    let (mut log, _) = open(&store, 0);
    for last in 1..=5 {
        append(&mut *log, 1).expect("durable");
        let mut lsns = Vec::new();
        let next = store.read(Start::After(Lsn(2)), &mut |frame| {
            lsns.push(frame.meta.lsn.0);
            check_body(frame)
        });
        if last > 2 {
            assert_eq!((next.expect("read").next, lsns), (Lsn(last + 1), all(3, last)));
        }
    }
}

fn a_group_longer_than_any_message_reads_back(place: &dyn Place) {
    let (mut log, _) = open(&place.store(), 0);
    append(&mut *log, 1).expect("durable");
    let body: Vec<u8> = (0..3_000_000_u32).map(|at| u8::try_from(at % 251).expect("small")).collect();
    let mut bytes = Vec::new();
    for group in 0..2 {
        let start = frame::begin(&mut bytes);
        bytes.extend_from_slice(&body);
        let lsn = Lsn(2 + u64::from(group));
        frame::finish(&mut bytes, start, FrameMeta { lsn, group, kind: 1, version: 1 });
    }
    log.append_group(Lsn(2), 2, &bytes).expect("durable");
    append(&mut *log, 1).expect("durable");
    let mut lens = Vec::new();
    let read = place.store().open(SMALL, Lsn(0), &mut |frame| {
        assert!(frame.body.len() < 200 || frame.body == body);
        lens.push(frame.body.len());
        Ok(())
    });
    assert_eq!(read.expect("whole").0.next_lsn(), Lsn(5));
    assert_eq!(lens[1..3], [body.len(); 2]);
}

fn an_owner_knows_when_another_has_taken_over(place: &dyn Place) {
    let (mut first, _) = open(&place.store(), 0);
    append(&mut *first, 2).expect("durable");
    if !first.is_shared() {
        return;
    }
    let (mut second, lsns) = open(&place.store(), 0);
    assert_eq!(lsns, [1, 2]);
    let told = append(&mut *first, 1).expect_err("deposed");
    assert!(matches!(told, Fault::Deposed { .. }), "{told}");
    append(&mut *second, 3).expect("durable");
    let (mut third, lsns) = open(&place.store(), 0);
    assert_eq!(lsns, all(1, 5), "nothing of the first one's");
    assert!(second.confirm().is_err(), "it owns nothing any more");
    assert!(append(&mut *second, 1).is_err() && append(&mut *first, 1).is_err(), "and never again");
    append(&mut *third, 1).expect("durable");
}

/// The oldest frame that is kept is told, and a reading of all begins with it.
fn check_oldest(store: &dyn Store, next: Lsn) {
    let mut first = None;
    let all = store.read(Start::Oldest, &mut |frame| {
        first.get_or_insert(frame.meta.lsn);
        check_body(frame)
    });
    assert_eq!(all.expect("whole").next, next);
    assert_eq!(store.first().expect("told"), first);
}

fn snapshots_are_listed_loaded_and_the_newest_is_found(place: &dyn Place) {
    let store = place.store();
    let (mut log, _) = open(&store, 0);
    append(&mut *log, 9).expect("durable");
    assert!(newest_snapshot_as(&*store, Ok).expect("listed").snapshot.is_none());
    [3, 9, 5].into_iter().for_each(|lsn| snapshot(&*store, lsn));
    snapshot(&*store, 5);
    let store = place.store();
    assert_eq!(store.snapshots().expect("listed"), [Lsn(3), Lsn(5), Lsn(9)]);
    let loaded = store.load_snapshot(Lsn(5)).expect("loaded");
    assert_eq!((loaded.header.version, loaded.body), (1, 5_u64.to_le_bytes().to_vec()));
    assert!(store.load_snapshot(Lsn(4)).is_err());
    let newest = newest_snapshot_as(&*store, |snapshot| {
        let what = "not this one".to_owned();
        let refused = Fault::Undecodable { lsn: snapshot.header.lsn, what };
        if snapshot.header.lsn == Lsn(9) { Err(refused) } else { Ok(snapshot.header.lsn) }
    });
    let newest = newest.expect("listed");
    assert_eq!((newest.snapshot, newest.skipped.len()), (Some(Lsn(5)), 1));
}

fn nothing_is_removed_before_two_snapshots_hold_it(place: &dyn Place) {
    let store = place.store();
    let (mut log, _) = open(&store, 0);
    let (mut taken, mut retired) = (Vec::new(), 0);
    for round in 0..6 {
        (0..12).for_each(|_| append(&mut *log, 2).expect("durable"));
        taken.push(log.durable().0);
        snapshot(&*store, log.durable().0);
        retired += store.retire(0, None).expect("retired").segments;
        assert!(round > 0 || retired == 0, "one snapshot is not enough");
        let older = if round == 0 { 0 } else { taken[taken.len() - 2] };
        let read = store.read(Start::After(Lsn(older)), &mut check_body);
        assert_eq!(read.expect("everything above the older one").next, log.next_lsn());
        check_oldest(&*store, log.next_lsn());
    }
    assert!(retired > 0, "something went");
    assert_eq!(store.snapshots().expect("listed").last(), Some(&Lsn(taken[5])));
    assert!(store.retire(u64::MAX, None).expect("retired").segments == 0, "all that is there is to be kept");
    drop(log);
    let (mut log, lsns) = open(&place.store(), taken[4]);
    assert_eq!(lsns, all(taken[4] + 1, taken[5]));
    append(&mut *log, 1).expect("durable");
}

fn a_gap_above_the_snapshot_is_missing_and_never_passed_over(place: &dyn Place) {
    let store = place.store();
    let (mut log, _) = open(&store, 0);
    for _ in 0..4 {
        (0..12).for_each(|_| append(&mut *log, 2).expect("durable"));
        snapshot(&*store, log.durable().0);
        store.retire(0, None).expect("retired");
    }
    drop(log);
    let told = place.store().open(SMALL, Lsn(0), &mut |_| Ok(())).expect_err("the beginning is gone");
    assert!(matches!(told, Fault::Missing { .. }), "{told}");
}

/// The frames that a follower is given up to `durable`, `most` at a time.
fn follow(follower: &mut dyn Follow, durable: u64, most: usize) -> Vec<u64> {
    let mut lsns = Vec::new();
    while follower.next_lsn() <= Lsn(durable) {
        let before = lsns.len();
        let read = follower.read(Lsn(durable), &mut |frame| {
            lsns.push(frame.meta.lsn.0);
            check_body(frame)?;
            let has_enough = lsns.len() - before >= most;
            Ok(if has_enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        });
        read.expect("it is durable");
        assert!(lsns.len() > before, "it goes on");
    }
    lsns
}

/// Longer groups than a store may keep in memory lie between, so that a follower that lags reads them from where the log is kept.
fn who_follows_gets_each_durable_frame_once(place: &dyn Place) {
    let store = place.store();
    let (mut log, _) = open(&store, 0);
    (0..5).for_each(|_| append(&mut *log, 3).expect("durable"));
    let (mut every, mut behind, mut seen) = (store.follow(Lsn(0)), store.follow(Lsn(7)), Vec::new());
    assert_eq!((every.next_lsn(), behind.next_lsn()), (Lsn(1), Lsn(8)));
    for frames in [1, 7, 40_000, 2, 40_000, 3] {
        append(&mut *log, frames).expect("durable");
        seen.extend(follow(&mut *every, log.durable().0, 9_000));
    }
    assert_eq!(seen, all(1, log.durable().0));
    assert_eq!(follow(&mut *behind, 20, 1), all(8, 20), "nothing above what is said to be durable");
    assert_eq!(follow(&mut *behind, log.durable().0, 50_000), all(21, log.durable().0));
    drop(log);
    let next = place.store();
    let (mut log, _) = open(&next, 0);
    append(&mut *log, 2).expect("durable");
    let mut after = next.follow(Lsn(4));
    assert_eq!(
        follow(&mut *after, log.durable().0, 70_000),
        all(5, log.durable().0),
        "of the owner before too"
    );
}

fn what_a_follower_has_not_read_stays_up_to_a_bound(place: &dyn Place) {
    let store = place.store();
    let (mut log, _) = open(&store, 0);
    let mut round = |hold: &Hold| {
        for _ in 0..3 {
            (0..12).for_each(|_| append(&mut *log, 2).expect("durable"));
            snapshot(&*store, log.durable().0);
            store.retire(0, Some(hold)).expect("retired");
        }
        (store.first().expect("told").expect("there"), log.durable())
    };
    let hold = Hold::new(1 << 30, &[HoldReader::Reports]);
    assert_eq!(round(&hold).0, Lsn(1), "nothing was read");
    hold.note(HoldReader::Reports, store.partition(), Lsn(40));
    let (first, _) = round(&hold);
    assert!(first > Lsn(1) && first <= Lsn(41), "{first}");
    let mut behind = store.follow(Lsn(40));
    let (first, durable) = round(&Hold::new(1, &[HoldReader::Reports]));
    assert!(first > Lsn(41), "{first}: who is too slow loses frames, and the place does not fill up");
    let told = behind.read(durable, &mut |_| Ok(ControlFlow::Continue(()))).expect_err("they are gone");
    assert!(matches!(told, Fault::Missing { .. }), "{told}");
}
