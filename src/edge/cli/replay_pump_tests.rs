//! The pump against targets that lose answers, refuse for a while, or never answer.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::domain::debit::FirstOutcome;

const CAMERAS: u32 = 2;

/// Remembers what it charged, and loses the answer of every batch at first.
#[derive(Default)]
struct Forgetful {
    charged: Mutex<BTreeMap<u64, u64>>,
    calls: AtomicU32,
    widest: Mutex<u64>,
}

fn items(rows: u64) -> impl Iterator<Item = Result<Item, TraceError>> {
    (0..rows).map(|row| {
        let camera = u32::try_from(row % u64::from(CAMERAS)).expect("small");
        let time = Timestamp::from_ms(row + 1).expect("in range");
        Ok(Item { row, camera, seq: row / u64::from(CAMERAS), time, tokens: row + 1, end: row })
    })
}

fn plan(batch: usize) -> Plan {
    Plan { cameras: CAMERAS, batch, pace: Pace::FlatOut, give_up_after: Duration::from_secs(30) }
}

impl Target for Forgetful {
    fn send(&self, items: &[Item]) -> Result<Vec<Verdict>, SendError> {
        let mut charged = self.charged.lock().expect("no panic");
        let oldest_missing = (0..).find(|row| !charged.contains_key(row)).unwrap_or(0);
        let newest = items.last().map_or(0, |item| item.row);
        let mut widest = self.widest.lock().expect("no panic");
        *widest = (*widest).max(newest.saturating_sub(oldest_missing));
        let verdicts: Vec<_> = items
            .iter()
            .map(|item| match charged.insert(item.row, item.tokens) {
                None => Verdict::Charged,
                Some(_) => Verdict::Duplicate(FirstOutcome::Charged),
            })
            .collect();
        if self.calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
            return Err(SendError::Again("the answer was lost".to_owned()));
        }
        Ok(verdicts)
    }
}

#[test]
fn r13_every_item_gets_one_verdict_though_every_second_answer_is_lost() {
    let target = Forgetful::default();
    let mut seen = BTreeMap::new();
    pump(items(1_000), &target, plan(7), &mut |item, _| *seen.entry(item.row).or_insert(0) += 1)
        .expect("ends");
    assert_eq!(seen.len(), 1_000);
    assert!(seen.values().all(|times| *times == 1));
    assert_eq!(target.charged.lock().expect("no panic").len(), 1_000);
}

#[test]
fn r13_the_newest_debit_sent_stays_within_the_window_of_the_oldest_unanswered() {
    let target = Forgetful::default();
    pump(items(2_000), &target, plan(500), &mut |_, _| {}).expect("ends");
    let widest = *target.widest.lock().expect("no panic");
    assert!(widest < UNANSWERED_MAX * u64::from(CAMERAS), "{widest}");
}

struct Busy {
    left: AtomicU32,
}

impl Target for Busy {
    fn send(&self, items: &[Item]) -> Result<Vec<Verdict>, SendError> {
        let busy = || Verdict::Refused { code: "busy".to_owned(), is_retryable: true };
        let step = |left: u32| left.checked_sub(1);
        let is_busy = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step).is_ok();
        let verdict = |(at, _)| if is_busy && at % 2 == 0 { busy() } else { Verdict::Charged };
        Ok(items.iter().enumerate().map(verdict).collect())
    }
}

#[test]
fn retryable_refusals_are_sent_again_and_the_others_of_their_batch_are_not() {
    let target = Busy { left: AtomicU32::new(3) };
    let mut verdicts = Vec::new();
    pump(items(40), &target, plan(8), &mut |item, verdict| verdicts.push((item.row, verdict.clone())))
        .expect("ends");
    verdicts.sort_by_key(|(row, _)| *row);
    assert_eq!(verdicts.len(), 40);
    assert!(verdicts.iter().all(|(_, verdict)| *verdict == Verdict::Charged));
}

struct Silent(fn() -> SendError);

impl Target for Silent {
    fn send(&self, _: &[Item]) -> Result<Vec<Verdict>, SendError> {
        Err((self.0)())
    }
}

#[test]
fn patience_with_a_silent_target_is_bounded_and_the_message_says_what_to_do() {
    let target = Silent(|| SendError::Again("connection refused".to_owned()));
    let plan = Plan { give_up_after: Duration::from_millis(100), ..plan(8) };
    let failure = pump(items(10), &target, plan, &mut |_, _| {}).expect_err("nobody answers");
    assert!(
        failure.to_string().contains("connection refused")
            && failure.to_string().contains("run the same command")
    );
}

#[test]
fn a_final_refusal_of_the_target_ends_the_pump_at_once() {
    let target = Silent(|| SendError::Final("no such organization".to_owned()));
    let failure = pump(items(10), &target, plan(8), &mut |_, _| {}).expect_err("refused");
    assert_eq!(failure.to_string(), "no such organization");
}

#[test]
fn a_malformed_row_ends_the_pump_after_all_rows_before_it_were_answered() {
    let bad = TraceError::Line { line: 12, what: "odd".to_owned() };
    let mut answered = 0;
    let target = Busy { left: AtomicU32::new(0) };
    let failure =
        pump(items(10).chain([Err(bad)]), &target, plan(3), &mut |_, _| answered += 1).expect_err("odd");
    assert_eq!(answered, 10);
    assert!(failure.to_string().starts_with("line 12 of the trace"));
}

#[test]
fn a_row_that_falls_due_between_two_looks_at_the_clock_is_sent_and_not_waited_for() {
    let target = Busy { left: AtomicU32::new(0) };
    // One row each 50 us: many fall due just then.
    let plan = Plan { pace: Pace::Thousandths(20_000), ..plan(8) };
    let (begun, mut answered) = (clock::start(), 0);
    pump(items(20_000), &target, plan, &mut |_, _| answered += 1).expect("ends");
    assert_eq!(answered, 20_000);
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
}
