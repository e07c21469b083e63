//! R13: an event is charged at most once, ever, whoever retries it and whenever.

use tokenweir::domain::debit::{Debit, FirstOutcome, Identity, Outcome, UsageKind};
use tokenweir::domain::limits::{EVENT_AHEAD_MS_MAX, SEQ_CONTENT_WINDOW, SEQ_WINDOW};
use tokenweir::domain::refusal::{Invalid, Refusal};

use super::support::{HOUR, Org, RETENTION, at, camera, event, seq, unlimited};

const CHARGED_BEFORE: Outcome = Outcome::Duplicate(FirstOutcome::Charged);
const EXEMPT_BEFORE: Outcome = Outcome::Duplicate(FirstOutcome::Exempt);
const TOO_OLD: Outcome = Outcome::Refused(Refusal::TooOld);
const CONFLICT: Outcome = Outcome::Refused(Refusal::Conflict);
const POOR: Outcome = Outcome::Refused(Refusal::InsufficientTokens);

/// The debit in both kinds of identity.
fn both<'a>() -> [Debit<'a>; 2] {
    [Debit { time: Some(at(0)), ..seq("cam", 1) }, event("cam", "e", 0)]
}

#[test]
fn r13_a_duplicate_answers_with_the_first_outcome() {
    for debit in both() {
        let mut org = Org::with_tokens("acme", 10);
        assert_eq!(org.debit(debit), Outcome::Charged);
        org.bind("cam", unlimited("u", 0, HOUR)).expect("it can be bound");
        assert_eq!(org.debit(debit), CHARGED_BEFORE, "though it would be exempt now");

        let mut org = Org::with_tokens("acme", 10);
        org.bind("cam", unlimited("u", 0, HOUR)).expect("it can be bound");
        assert_eq!(org.debit(debit), Outcome::Exempt);
        org.unbind("u").expect("it is bound");
        assert_eq!(org.debit(debit), EXEMPT_BEFORE, "though it would be charged now");
        assert_eq!(org.available(), 10);
    }
}

#[test]
fn r13_an_id_is_charged_once_within_one_batch_as_well() {
    for debit in both() {
        let mut org = Org::with_tokens("acme", 10);
        assert_eq!(org.debits(&[debit, debit, debit]), [Outcome::Charged, CHARGED_BEFORE, CHARGED_BEFORE]);
        assert_eq!(org.available(), 9);
    }
}

#[test]
fn r13_the_same_id_with_other_content_is_a_conflict() {
    for debit in both() {
        let mut org = Org::with_tokens("acme", 10);
        assert_eq!(org.debit(debit), Outcome::Charged);
        assert_eq!(org.debit(Debit { tokens: 2, ..debit }), CONFLICT);
        assert_eq!(org.debit(Debit { kind: UsageKind::Other, ..debit }), CONFLICT);
        assert_eq!(org.debit(Debit { time: Some(at(1)), ..debit }), CONFLICT);
        assert_eq!(org.debit(debit), CHARGED_BEFORE);
        assert_eq!(org.available(), 9);
    }
    let mut org = Org::with_tokens("acme", 10);
    assert_eq!(org.debit(seq("cam", 1)), Outcome::Charged);
    assert_eq!(
        org.debit(Debit { time: Some(at(0)), ..seq("cam", 1) }),
        CONFLICT,
        "a time that was not there"
    );
}

#[test]
fn r13_a_refused_debit_leaves_no_trace_and_is_judged_anew_after_a_top_up() {
    for debit in both() {
        let mut org = Org::with_tokens("acme", 0);
        let before = format!("{:?}", org.pool());
        assert_eq!(org.debit(debit), POOR);
        assert_eq!(format!("{:?}", org.pool()), before);
        assert!(org.journal.len() == 1, "only the camera was journaled");
        org.add("k", &[5]).expect("it fits");
        assert_eq!(org.debit(Debit { tokens: 3, ..debit }), Outcome::Charged, "other content is no conflict");
    }
}

#[test]
fn r13_ids_are_told_apart_by_camera_and_by_kind_of_identity() {
    let mut org = Org::with_tokens("acme", 10);
    org.register(camera("other"));
    for debit in [seq("cam", 1), seq("other", 1), event("cam", "1", 0), event("other", "1", 0)] {
        assert_eq!(org.debit(debit), Outcome::Charged, "{debit:?}");
    }
}

#[test]
fn r13_a_gap_inside_the_window_is_chargeable_and_below_it_nothing_is() {
    let mut org = Org::with_tokens("acme", 1_000);
    let top = 1_000;
    assert_eq!(org.debit(seq("cam", top)), Outcome::Charged);
    assert_eq!(org.debit(seq("cam", top - SEQ_WINDOW - 1)), TOO_OLD);
    for below in 1..=SEQ_WINDOW {
        assert_eq!(org.debit(seq("cam", top - below)), Outcome::Charged, "{below} below");
        assert_eq!(org.debit(seq("cam", top - below)), CHARGED_BEFORE, "{below} below");
    }
    assert_eq!(org.debit(seq("cam", top + 1)), Outcome::Charged);
    assert_eq!(org.debit(seq("cam", top - SEQ_WINDOW)), TOO_OLD, "it was charged, and can no longer be told");
}

#[test]
fn r13_content_is_compared_for_the_newest_numbers_and_older_ones_are_duplicates() {
    let mut org = Org::with_tokens("acme", 100);
    for n in 1..=SEQ_CONTENT_WINDOW + 1 {
        org.debit(seq("cam", n));
    }
    assert_eq!(org.debit(Debit { tokens: 2, ..seq("cam", 2) }), CONFLICT);
    assert_eq!(org.debit(Debit { tokens: 2, ..seq("cam", 1) }), CHARGED_BEFORE);
}

#[test]
fn r13_a_higher_epoch_begins_anew_and_a_lower_one_is_too_old() {
    let mut org = Org::with_tokens("acme", 100);
    let debit = |epoch, seq_no| Debit { identity: Identity::Seq { epoch, seq: seq_no }, ..seq("cam", 0) };
    assert_eq!(org.debit(debit(5, 900)), Outcome::Charged);
    assert_eq!(org.debit(debit(6, 0)), Outcome::Charged);
    assert_eq!(org.debit(debit(6, 0)), CHARGED_BEFORE);
    assert_eq!(org.debit(debit(5, 901)), TOO_OLD);
    assert_eq!(org.debit(debit(5, 900)), TOO_OLD);
    assert_eq!(org.debit(debit(u32::MAX, u64::MAX)), Outcome::Charged);
    assert_eq!(org.debit(debit(u32::MAX, u64::MAX - SEQ_WINDOW)), Outcome::Charged);
    assert_eq!(org.debit(debit(u32::MAX, u64::MAX)), CHARGED_BEFORE);
}

#[test]
fn r13_a_refused_higher_epoch_does_not_close_the_lower_one() {
    let mut org = Org::with_tokens("acme", 2);
    assert_eq!(org.debit(seq("cam", 1)), Outcome::Charged);
    let later = Debit { identity: Identity::Seq { epoch: 2, seq: 1 }, tokens: 100, ..seq("cam", 0) };
    assert_eq!(org.debit(later), POOR);
    assert_eq!(org.debit(seq("cam", 2)), Outcome::Charged);
}

#[test]
fn r13_an_event_id_is_accepted_up_to_the_last_millisecond_of_the_retention() {
    let mut org = Org::with_tokens("acme", 10);
    org.clock = at(RETENTION);
    assert_eq!(org.debit(event("cam", "e", 0)), Outcome::Charged);
    org.clock = at(RETENTION + 1);
    assert_eq!(org.debit(event("cam", "never-seen", 0)), TOO_OLD);
    assert_eq!(org.debit(event("cam", "never-seen", 1)), Outcome::Charged);
    assert_ne!(org.debit(event("cam", "e", 0)), Outcome::Charged);
}

#[test]
fn r13_an_event_id_is_remembered_for_the_whole_retention_and_never_charged_after_it() {
    let mut org = Org::with_tokens("acme", 1_000);
    assert_eq!(org.debit(event("cam", "e", 0)), Outcome::Charged);
    for step in 1..=4 * RETENTION / HOUR {
        org.clock = at(step * HOUR);
        let outcome = org.debit(event("cam", "e", 0));
        let remembered = step * HOUR <= RETENTION;
        assert!(
            outcome == CHARGED_BEFORE || (!remembered && outcome == TOO_OLD),
            "{outcome:?} after {step} h"
        );
        org.debit(seq("cam", step));
    }
    assert_eq!(org.debit(event("cam", "e", 0)), TOO_OLD);
}

#[test]
fn r13_a_clock_that_jumps_ahead_and_back_never_lets_an_event_id_be_charged_twice() {
    for jump in [HOUR, RETENTION, 3 * RETENTION, 1_000 * RETENTION] {
        let mut org = Org::with_tokens("acme", 100);
        assert_eq!(org.debit(event("cam", "e", 0)), Outcome::Charged);
        org.clock = at(jump);
        assert_eq!(org.debit(event("cam", "far", jump)), Outcome::Charged);
        for (back, crash) in [(0, false), (0, true), (jump / 2, true)] {
            org.clock = at(back);
            if crash {
                org.crash();
            }
            for (id, ms) in [("e", 0), ("far", jump)] {
                let outcome = org.debit(event("cam", id, ms));
                assert!(
                    matches!(outcome, CHARGED_BEFORE | TOO_OLD),
                    "{id}: {outcome:?} after a jump of {jump}"
                );
            }
        }
        assert_eq!(org.available(), 98);
    }
}

#[test]
fn r13_a_clock_that_jumps_ahead_without_a_charge_costs_nothing_when_it_is_back() {
    let mut org = Org::with_tokens("acme", 100);
    assert_eq!(org.debit(event("cam", "e", 0)), Outcome::Charged);
    org.clock = at(10 * RETENTION);
    assert_eq!(org.debit(event("cam", "late", 1)), TOO_OLD);
    org.clock = at(2);
    assert_eq!(org.debit(event("cam", "late", 1)), Outcome::Charged);
    assert_eq!(org.debit(event("cam", "e", 0)), CHARGED_BEFORE);
}

#[test]
fn r13_an_event_id_goes_with_a_time_that_is_not_far_ahead() {
    let mut org = Org::with_tokens("acme", 10);
    let timeless = Debit { time: None, ..event("cam", "e", 0) };
    assert_eq!(org.debit(timeless), Outcome::Refused(Refusal::Invalid(Invalid::EventIdWithoutTime)));
    let ahead = Outcome::Refused(Refusal::Invalid(Invalid::TimeAhead));
    assert_eq!(org.debit(event("cam", "e", EVENT_AHEAD_MS_MAX + 1)), ahead);
    assert_eq!(org.debit(Debit { time: Some(at(EVENT_AHEAD_MS_MAX + 1)), ..seq("cam", 1) }), ahead);
    assert_eq!(org.debit(event("cam", "e", EVENT_AHEAD_MS_MAX)), Outcome::Charged);
    assert_eq!(org.debit(event("cam", "e", EVENT_AHEAD_MS_MAX)), CHARGED_BEFORE);
    assert_eq!(org.available(), 9);
}

#[test]
fn r13_event_ids_are_bytes_of_a_bounded_length() {
    let mut org = Org::with_tokens("acme", 10);
    let longest = "x".repeat(128);
    let invalid = Outcome::Refused(Refusal::Invalid(Invalid::EventId));
    assert_eq!(org.debit(event("cam", "", 0)), invalid);
    assert_eq!(org.debit(event("cam", &format!("{longest}x"), 0)), invalid);
    assert_eq!(org.debit(event("cam", &longest, 0)), Outcome::Charged);
    let bytes = Debit { identity: Identity::EventId(&[0, 255, 10]), ..event("cam", "", 0) };
    assert_eq!(org.debit(bytes), Outcome::Charged);
    assert_eq!(org.debit(bytes), CHARGED_BEFORE);
}

#[test]
fn r13_many_event_ids_are_told_apart_in_any_order_of_arrival() {
    let mut org = Org::with_tokens("acme", 100_000);
    let ids: Vec<_> = (0..5_000_u64).map(|n| format!("event-{}", n * 7_919 % 5_000)).collect();
    for (expected, debits) in [(Outcome::Charged, &ids), (CHARGED_BEFORE, &ids)] {
        let debits: Vec<_> = debits.iter().map(|id| event("cam", id, 0)).collect();
        assert!(org.debits(&debits).iter().all(|outcome| *outcome == expected));
    }
    assert_eq!(org.available(), 95_000);
}
