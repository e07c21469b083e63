//! Shared AI Token Licenses and Unlimited AI Licenses: R2 to R5, R9 and R10.

use tokenweir::domain::debit::{Debit, FirstOutcome, Outcome, UsageKind};
use tokenweir::domain::license::LicenseStatus;
use tokenweir::domain::limits::{CAMERA_BINDINGS_MAX, POOL_TOKENS_MAX};
use tokenweir::domain::refusal::{Invalid, Limit, Refusal};
use tokenweir::domain::tokens::Tokens;

use super::support::{HOUR, Org, at, camera, seq, transfer_id, unlimited};

#[test]
fn r2_the_tokens_of_an_added_license_can_be_spent_in_the_very_next_debit() {
    let mut org = Org::with_tokens("acme", 0);
    assert_eq!(org.debit(seq("cam", 1)), Outcome::Refused(Refusal::InsufficientTokens));
    assert_eq!(org.add("k", &[1]), Ok(true));
    assert_eq!(org.debit(seq("cam", 1)), Outcome::Charged);
    assert_eq!(org.available(), 0);
}

#[test]
fn r3_a_license_pays_a_century_after_it_was_added() {
    let mut org = Org::with_tokens("acme", 5);
    org.clock = at(100 * 365 * 24 * HOUR);
    assert_eq!(org.debit(seq("cam", 1)), Outcome::Charged);
    let license = &org.pool().licenses.list()[0];
    assert_eq!((license.remaining, license.status()), (Tokens(4), LicenseStatus::Active));
}

#[test]
fn r4_unbinding_a_shared_license_is_refused_as_permanent_even_when_it_is_used_up() {
    let mut org = Org::with_tokens("acme", 1);
    assert_eq!(org.unbind("acme-key.1"), Err(Refusal::LicenseIsPermanent));
    assert_eq!(org.debit(seq("cam", 1)), Outcome::Charged);
    assert_eq!(org.unbind("acme-key.1"), Err(Refusal::LicenseIsPermanent));
    assert_eq!(org.pool().licenses.list()[0].status(), LicenseStatus::UsedUp);
    assert_eq!(org.unbind("another"), Err(Refusal::UnknownLicense));
    assert_eq!(Refusal::LicenseIsPermanent.code(), "license_is_permanent");
}

#[test]
fn r5_licenses_add_up_in_one_pool_and_the_oldest_pays_first() {
    let mut org = Org::with_tokens("acme", 10);
    org.clock = at(1);
    org.add("second", &[20, 30]).expect("it fits");
    assert_eq!(org.available(), 60);
    assert_eq!(org.debit(Debit { tokens: 25, ..seq("cam", 1) }), Outcome::Charged);
    let held: Vec<_> = org.pool().licenses.list().iter().map(|license| license.remaining.0).collect();
    assert_eq!(held, [0, 5, 30]);
    assert_eq!(org.debit(Debit { tokens: 35, ..seq("cam", 2) }), Outcome::Charged);
    assert_eq!(org.available(), 0);
}

#[test]
fn r5_tokens_past_what_a_pool_may_ever_receive_are_refused_whole() {
    let mut org = Org::with_tokens("acme", POOL_TOKENS_MAX - 1);
    assert_eq!(org.add("two-more", &[1, 1]), Err(Refusal::LimitReached(Limit::PoolTokens)));
    assert_eq!((org.available(), org.pool().licenses.len()), (POOL_TOKENS_MAX - 1, 1));
    assert_eq!(org.add("one-more", &[1]), Ok(true));
}

#[test]
fn r9_a_camera_under_a_valid_unlimited_license_consumes_no_shared_tokens() {
    let mut org = Org::with_tokens("acme", 0);
    org.bind("cam", unlimited("u", 0, 10 * HOUR)).expect("it can be bound");
    let debit = Debit { tokens: 500, ..seq("cam", 1) };
    assert_eq!(org.debit(debit), Outcome::Exempt);
    assert_eq!(org.debit(debit), Outcome::Duplicate(FirstOutcome::Exempt));
    assert_eq!((org.pool().totals.exempt, org.pool().totals.used), (Tokens(500), Tokens(0)));
}

#[test]
fn r9_the_events_time_decides_from_the_first_moment_of_validity_to_before_the_last() {
    let mut org = Org::with_tokens("acme", 100);
    org.bind("cam", unlimited("u", 100, 200)).expect("it can be bound");
    org.clock = at(5_000);
    let times =
        [(99, Outcome::Charged), (100, Outcome::Exempt), (199, Outcome::Exempt), (200, Outcome::Charged)];
    for (n, (ms, outcome)) in (1..).zip(times) {
        assert_eq!(org.debit(Debit { time: Some(at(ms)), ..seq("cam", n) }), outcome, "at {ms}");
    }
    assert_eq!(org.debit(seq("cam", 9)), Outcome::Charged, "without a time it is the time of admission");
    org.clock = at(150);
    assert_eq!(org.debit(seq("cam", 10)), Outcome::Charged, "the pool's time never falls");
}

#[test]
fn r9_usage_of_other_kinds_is_charged_to_the_pool() {
    let mut org = Org::with_tokens("acme", 100);
    org.bind("cam", unlimited("u", 0, HOUR)).expect("it can be bound");
    for (n, kind) in (1..).zip(UsageKind::ALL) {
        let exempt = kind == UsageKind::ContextualVideoAnalytics;
        let outcome = if exempt { Outcome::Exempt } else { Outcome::Charged };
        assert_eq!(org.debit(Debit { kind, ..seq("cam", n) }), outcome, "{kind:?}");
    }
    assert_eq!(org.available(), 97);
}

#[test]
fn r9_an_unlimited_license_serves_one_camera_until_it_is_unbound() {
    let mut org = Org::with_tokens("acme", 10);
    org.register(camera("other"));
    assert_eq!(org.bind("cam", unlimited("u", 0, HOUR)), Ok(true));
    assert_eq!(org.bind("cam", unlimited("u", 0, HOUR)), Ok(false), "bound already");
    assert_eq!(org.bind("other", unlimited("u", 0, HOUR)), Err(Refusal::LicenseInUse));
    assert_eq!(org.bind("nobody", unlimited("v", 0, HOUR)), Err(Refusal::UnknownCamera));
    assert_eq!(org.bind("cam", unlimited("v", 5, 5)), Err(Refusal::Invalid(Invalid::Validity)));
    assert_eq!(org.debit(seq("other", 1)), Outcome::Charged);
    assert_eq!(org.unbind("u"), Ok(true));
    assert_eq!(org.debit(seq("cam", 1)), Outcome::Charged, "it falls back to the pool");
    assert_eq!(org.bind("other", unlimited("u", 0, HOUR)), Ok(true));
    assert_eq!(org.debit(seq("other", 2)), Outcome::Exempt);
}

#[test]
fn r9_new_terms_replace_the_old_ones_and_bindings_of_a_camera_are_bounded() {
    let mut org = Org::with_tokens("acme", 0);
    org.bind("cam", unlimited("u", 0, 10)).expect("it can be bound");
    org.clock = at(10);
    assert_eq!(org.debit(seq("cam", 1)), Outcome::Refused(Refusal::InsufficientTokens));
    assert_eq!(org.bind("cam", unlimited("u", 0, 20)), Ok(true));
    assert_eq!(org.debit(seq("cam", 1)), Outcome::Exempt);
    for n in 1..CAMERA_BINDINGS_MAX {
        org.bind("cam", unlimited(&format!("more-{n}"), 0, 10)).expect("it can be bound");
    }
    let one_more = org.bind("cam", unlimited("one-more", 0, 10));
    assert_eq!(one_more, Err(Refusal::LimitReached(Limit::Bindings)));
    assert_eq!(org.bind("cam", unlimited("u", 0, 30)), Ok(true), "a bound one may still change");
}

#[test]
fn r10_the_summary_and_the_pool_tell_one_figure_at_every_moment() {
    let mut org = Org::with_tokens("acme", 10);
    let check = |org: &Org, available: u64| {
        let summary = org.pool().summary(org.clock);
        assert_eq!((summary.available, org.pool().available()), (Tokens(available), Tokens(available)));
    };
    check(&org, 10);
    org.debit(Debit { tokens: 4, ..seq("cam", 1) });
    check(&org, 6);
    org.prepare_out("t");
    check(&org, 0);
    assert_eq!(org.pool().summary(org.clock).in_transit, Tokens(6));
    org.abort("t");
    check(&org, 6);
    assert!(org.pool().transfers.contains_key(&transfer_id("t")));
}
