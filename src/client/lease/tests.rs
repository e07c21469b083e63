//! The purse under threads: never more is taken than was put in, and all room comes back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use proptest::prelude::*;

use crate::domain::debit::{CameraRef, Debit, Identity, UsageKind};
use crate::domain::ids::Slot;

use super::NotPaid;
use super::purse::{Place, Purse, Term};
use super::report::Spans;
use super::row::Row;

const ENDLESS: Term = Term { ends_ns: u64::MAX, renew_ns: u64::MAX, low: 0 };

fn row(seq: u64) -> Row {
    row_of(1, seq)
}

fn row_of(epoch: u32, seq: u64) -> Row {
    let identity = Identity::Seq { epoch, seq };
    let camera = CameraRef::Slot(Slot(0));
    Row::new(&Debit { camera, identity, tokens: 1, kind: UsageKind::Other, time: None }, 0).expect("valid")
}

#[test]
fn r12_many_threads_never_take_more_than_was_installed_while_leases_follow_each_other() {
    let (purse, taken) = (Purse::new(64, 0), [AtomicU64::new(0), AtomicU64::new(0)]);
    let mut granted = [0, 0];
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !purse.is_closed() {
                    if let Ok(found) = purse.take(3, 0) {
                        taken[found.place.index()].fetch_add(3, Ordering::Relaxed);
                        purse.record(row(1));
                    }
                }
            });
        }
        let mut before = None;
        for tokens in 1..2_000 {
            let place = purse.place().other();
            let left = purse.install(tokens, ENDLESS).expect("it is open");
            granted[place.index()] += tokens;
            granted[place.other().index()] -= left;
            before = Some(place);
            while let Some(_row) = purse.next() {
                purse.give_room(1);
            }
        }
        granted[before.expect("there was one").index()] -= purse.close();
    });
    while let Some(_row) = purse.next() {
        purse.give_room(1);
    }
    assert_eq!(taken.map(|taken| taken.load(Ordering::Relaxed)), granted);
    assert_eq!(purse.unanswered(), 0);
}

#[test]
fn a_lease_is_spent_until_the_moment_it_ends_and_asks_to_be_renewed_before() {
    let purse = Purse::new(8, 0);
    assert_eq!(purse.take(1, 0), Err(NotPaid::Ended));
    assert_eq!(purse.install(10, Term { ends_ns: 100, renew_ns: 50, low: 4 }), Some(0));
    for (tokens, now_ns, is_low) in
        [(1, 0, Some(false)), (6, 0, Some(true)), (1, 99, Some(true)), (1, 100, None)]
    {
        assert_eq!(purse.take(tokens, now_ns).ok().map(|taken| taken.is_low), is_low, "{tokens} {now_ns}");
    }
    assert_eq!((purse.take(1, 100), purse.take(3, 0)), (Err(NotPaid::Ended), Err(NotPaid::Dry)));
    assert_eq!(purse.install(5, ENDLESS), Some(2));
    assert_eq!(purse.take(5, 100).expect("another lease").place, Place::First);
}

#[test]
fn a_full_record_refuses_and_spends_nothing() {
    let purse = Purse::new(2, 10);
    purse.install(10, ENDLESS);
    for seq in 1..=2 {
        purse.take(1, 0).expect("room");
        purse.record(row(seq));
    }
    assert_eq!(purse.take(1, 0), Err(NotPaid::Full));
    assert_eq!(purse.take_open(4, NotPaid::Dry), Err(NotPaid::Full));
    assert_eq!((purse.left().0, purse.open(), purse.unanswered()), (8, 10, 2));
    purse.give_room(1);
    assert_eq!(purse.take_open(11, NotPaid::Dry), Err(NotPaid::Dry));
    assert_eq!(purse.take_open(10, NotPaid::Dry), Ok(()));
    assert_eq!(
        (purse.close(), purse.install(10, ENDLESS), purse.take(1, 0)),
        (8, None, Err(NotPaid::Closed))
    );
}

#[test]
fn r13_a_round_has_only_numbers_of_a_camera_that_the_server_tells_apart_when_they_come_again() {
    for (numbers, taken) in [
        ([(1, 1), (1, 2), (1, 65), (1, 66)], 3),
        ([(1, 100), (1, 36), (1, 101), (1, 99)], 2),
        ([(1, 1), (1, 1_000), (1, 2), (1, 3)], 1),
        ([(1, 1), (1, 2), (2, 1), (2, 2)], 2),
        ([(1, u64::MAX), (1, u64::MAX - 64), (1, u64::MAX), (1, 0)], 3),
    ] {
        let mut spans = Spans::default();
        let rows = numbers.iter().map(|(epoch, seq)| row_of(*epoch, *seq));
        assert_eq!(rows.take_while(|row| spans.take(row)).count(), taken, "{numbers:?}");
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Take(u32),
    TakeOpen(u32),
    Install(u64),
    Answer,
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..20_u32).prop_map(Step::Take),
        1 => (1..20_u32).prop_map(Step::TakeOpen),
        1 => (1..60_u64).prop_map(Step::Install),
        2 => Just(Step::Answer),
        1 => (1..40_u64).prop_map(Step::Pass),
    ]
}

proptest! {
    #[test]
    fn r12_any_order_of_steps_agrees_with_a_naive_purse(steps in proptest::collection::vec(step(), 1..200)) {
        let purse = Purse::new(5, 30);
        let (mut left, mut ends, mut room, mut open, mut now) = (0, 0, 5, 30, 0);
        for step in steps {
            match step {
                Step::Take(tokens) => {
                    let expected = match () {
                        () if room == 0 => Err(NotPaid::Full),
                        () if now >= ends => Err(NotPaid::Ended),
                        () if left < u64::from(tokens) => Err(NotPaid::Dry),
                        () => Ok(()),
                    };
                    prop_assert_eq!(purse.take(tokens, now).map(drop), expected);
                    if expected.is_ok() {
                        (left, room) = (left - u64::from(tokens), room - 1);
                        purse.record(row(1));
                    }
                }
                Step::TakeOpen(tokens) => {
                    let expected = match () {
                        () if open < u64::from(tokens) => Err(NotPaid::Ended),
                        () if room == 0 => Err(NotPaid::Full),
                        () => Ok(()),
                    };
                    prop_assert_eq!(purse.take_open(tokens, NotPaid::Ended), expected);
                    if expected.is_ok() {
                        (open, room) = (open - u64::from(tokens), room - 1);
                        purse.record(row(1));
                    }
                }
                Step::Install(tokens) => {
                    let term = Term { ends_ns: now + 50, ..ENDLESS };
                    prop_assert_eq!(purse.install(tokens, term), Some(left));
                    (left, ends) = (tokens, now + 50);
                }
                Step::Answer => {
                    if purse.next().is_some() {
                        purse.give_room(1);
                        room += 1;
                    }
                }
                Step::Pass(ns) => now += ns,
            }
            prop_assert_eq!((purse.left().0, purse.open(), purse.unanswered()), (left, open, 5 - room));
        }
    }
}
