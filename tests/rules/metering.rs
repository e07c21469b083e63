//! Who consumes and what is paid: R7, R8, R12, R14, and the figures of the summary.

use tokenweir::domain::command::{CameraSpec, Command};
use tokenweir::domain::debit::{CameraRef, Debit, FirstOutcome, Outcome};
use tokenweir::domain::ids::{Name, Slot};
use tokenweir::domain::limits::DEBIT_TOKENS_MAX;
use tokenweir::domain::refusal::{Invalid, Refusal};
use tokenweir::domain::tokens::Tokens;

use super::support::{Org, at, camera, camera_id, seq, unlimited};

#[test]
fn r7_a_camera_consumes_from_the_pool_with_and_without_a_pro_license() {
    let mut org = Org::with_tokens("acme", 2);
    org.register(CameraSpec { pro_license: true, ..camera("pro") });
    assert_eq!(org.debit(seq("cam", 1)), Outcome::Charged);
    assert_eq!(org.debit(seq("pro", 1)), Outcome::Charged);
    assert_eq!(org.available(), 0);
}

#[test]
fn r8_a_camera_that_is_off_or_unknown_consumes_nothing() {
    let mut org = Org::with_tokens("acme", 5);
    org.set_cloud_ai("cam", false);
    assert_eq!(org.debit(seq("cam", 1)), Outcome::Refused(Refusal::CloudAiDisabled));
    assert_eq!(org.debit(seq("nobody", 1)), Outcome::Refused(Refusal::UnknownCamera));
    let by_slot = Debit { camera: CameraRef::Slot(Slot(77)), ..seq("", 1) };
    assert_eq!(org.debit(by_slot), Outcome::Refused(Refusal::UnknownCamera));
    assert_eq!(org.available(), 5);
    org.set_cloud_ai("cam", true);
    assert_eq!(org.debit(seq("cam", 1)), Outcome::Charged, "the refusal left no trace");
}

#[test]
fn r8_a_bound_camera_that_is_off_consumes_nothing_and_is_not_exempt_either() {
    let mut org = Org::with_tokens("acme", 5);
    org.bind("cam", unlimited("u", 0, 1_000)).expect("it can be bound");
    org.set_cloud_ai("cam", false);
    assert_eq!(org.debit(seq("cam", 1)), Outcome::Refused(Refusal::CloudAiDisabled));
}

#[test]
fn r8_a_removed_camera_consumes_nothing_and_comes_back_with_its_memory() {
    let mut org = Org::with_tokens("acme", 5);
    assert_eq!(org.debit(seq("cam", 1)), Outcome::Charged);
    let remove = Command::RemoveCamera { camera: camera_id("cam") };
    assert_eq!(org.command(remove.clone()), Ok(true));
    assert_eq!(org.command(remove), Err(Refusal::UnknownCamera));
    assert_eq!(org.debit(seq("cam", 2)), Outcome::Refused(Refusal::UnknownCamera));
    assert_eq!(org.debit(seq("cam", 1)), Outcome::Duplicate(FirstOutcome::Charged));
    assert_eq!(org.pool().summary(at(0)).cameras, 0);
    org.register(camera("cam"));
    assert_eq!(org.debit(seq("cam", 1)), Outcome::Duplicate(FirstOutcome::Charged));
    assert_eq!(org.debit(seq("cam", 2)), Outcome::Charged);
}

#[test]
fn r12_a_pool_that_cannot_pay_a_whole_debit_pays_nothing_of_it() {
    let mut org = Org::with_tokens("acme", 10);
    let eleven = Debit { tokens: 11, ..seq("cam", 1) };
    assert_eq!(org.debit(eleven), Outcome::Refused(Refusal::InsufficientTokens));
    assert_eq!(org.available(), 10);
    assert_eq!(org.debit(Debit { tokens: 10, ..seq("cam", 2) }), Outcome::Charged);
    assert_eq!(org.debit(seq("cam", 3)), Outcome::Refused(Refusal::InsufficientTokens));
    assert_eq!(org.available(), 0);
}

#[test]
fn r12_one_bad_debit_never_fails_its_neighbours() {
    let mut org = Org::with_tokens("acme", 10);
    let outcomes = org.debits(&[
        Debit { tokens: 6, ..seq("cam", 1) },
        Debit { tokens: 0, ..seq("cam", 2) },
        Debit { tokens: 5, ..seq("cam", 3) },
        Debit { tokens: u64::from(DEBIT_TOKENS_MAX) + 1, ..seq("cam", 4) },
        Debit { tokens: 6, ..seq("cam", 1) },
        Debit { tokens: 4, ..seq("cam", 5) },
    ]);
    let invalid = Outcome::Refused(Refusal::Invalid(Invalid::Tokens));
    let first = Outcome::Duplicate(FirstOutcome::Charged);
    let poor = Outcome::Refused(Refusal::InsufficientTokens);
    assert_eq!(outcomes, [Outcome::Charged, invalid, poor, invalid, first, Outcome::Charged]);
    assert_eq!(org.available(), 0);
}

#[test]
fn r14_what_was_journaled_is_there_after_a_crash_and_what_was_not_is_wholly_absent() {
    let mut org = Org::with_tokens("acme", 10);
    org.debit(Debit { tokens: 3, ..seq("cam", 1) });
    let durable = format!("{:?}", org.pool());
    org.debits(&[Debit { tokens: 2, ..seq("cam", 2) }, Debit { tokens: 2, ..seq("cam", 3) }]);
    org.journal.pop();
    org.crash();
    assert_eq!(format!("{:?}", org.pool()), durable);
    assert_eq!(org.debit(Debit { tokens: 3, ..seq("cam", 1) }), Outcome::Duplicate(FirstOutcome::Charged));
    assert_eq!(
        org.debit(Debit { tokens: 2, ..seq("cam", 2) }),
        Outcome::Charged,
        "it was never acknowledged"
    );
    assert_eq!(org.available(), 5);
}

#[test]
fn usage_is_told_by_camera_and_by_the_network_that_the_camera_was_in() {
    let mut org = Org::with_tokens("acme", 100);
    org.debit(Debit { tokens: 5, ..seq("cam", 1) });
    org.register(CameraSpec { network: Name::new("south").expect("a good name"), ..camera("cam") });
    org.debit(Debit { tokens: 7, ..seq("cam", 2) });
    let summary = org.pool().summary(at(0));
    let used: Vec<_> = summary.networks.iter().map(|network| (network.name.as_str(), network.used)).collect();
    assert_eq!(used, [("north", Tokens(5)), ("south", Tokens(7))]);
    let view = org.pool().camera_view(Slot(0)).expect("it is registered");
    assert_eq!((view.used, view.network.as_str()), (Tokens(12), "south"));
}

#[test]
fn the_summary_counts_cameras_and_estimates_the_time_left_only_when_something_burns() {
    let mut org = Org::with_tokens("acme", 130);
    org.register(CameraSpec { cloud_ai: false, ..camera("off") });
    let summary = org.pool().summary(at(0));
    assert_eq!((summary.cameras, summary.cloud_ai_enabled), (2, 1));
    assert_eq!(summary.estimated_analytics_ms, None);
    org.debit(Debit { tokens: 30, ..seq("cam", 1) });
    org.clock = at(3 * 60_000);
    let summary = org.pool().summary(org.clock);
    assert_eq!(summary.estimated_analytics_ms, Some(10 * 60_000), "30 tokens in 3 minutes, 100 left");
    assert_eq!(org.pool().summary(at(60 * 60_000)).estimated_analytics_ms, None);
}
