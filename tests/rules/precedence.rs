//! The order of refusals is part of the contract: of all that apply to a debit, the first is the answer.

use tokenweir::domain::batch::DebitBatch;
use tokenweir::domain::command::{CameraSpec, Command};
use tokenweir::domain::debit::{Debit, FirstOutcome, Outcome};
use tokenweir::domain::ids::Name;
use tokenweir::domain::refusal::{Invalid, Refusal};

use super::support::{Org, RETENTION, at, camera, camera_id, event, seq, unlimited};

/// What can be wrong with a debit, in the order of precedence.
const WRONGS: [Refusal; 8] = [
    Refusal::Invalid(Invalid::Tokens),
    Refusal::UnknownCamera,
    Refusal::OtherNetwork,
    Refusal::CloudAiDisabled,
    Refusal::TooOld,
    Refusal::Conflict,
    Refusal::InTransfer,
    Refusal::InsufficientTokens,
];

/// Every choice of wrongs, the pairs among them; none at all comes first.
fn every_choice() -> impl Iterator<Item = Vec<Refusal>> {
    (0_u32..1 << WRONGS.len()).map(|bits| {
        let chosen = WRONGS.iter().enumerate().filter(|(place, _)| bits >> place & 1 == 1);
        chosen.map(|(_, wrong)| *wrong).collect()
    })
}

/// Brings the organization into the state in which these wrongs apply to a debit of time 0.
fn spoil(org: &mut Org, wrongs: &[Refusal]) {
    if wrongs.contains(&Refusal::TooOld) {
        org.clock = at(RETENTION + 1);
    }
    if wrongs.contains(&Refusal::CloudAiDisabled) {
        org.set_cloud_ai("cam", false);
    }
    if wrongs.contains(&Refusal::UnknownCamera) {
        org.command(Command::RemoveCamera { camera: camera_id("cam") }).expect("it is registered");
    }
    if wrongs.contains(&Refusal::InTransfer) {
        org.prepare_out("t");
    }
}

#[test]
fn of_all_refusals_that_apply_the_first_in_the_order_is_the_answer() {
    for wrongs in every_choice() {
        let mut org = Org::with_tokens("acme", 5);
        if wrongs.contains(&Refusal::Conflict) {
            assert_eq!(org.debit(Debit { tokens: 2, ..event("cam", "e", 0) }), Outcome::Charged);
        }
        spoil(&mut org, &wrongs);
        let tokens = match (wrongs.first(), wrongs.last()) {
            (Some(Refusal::Invalid(_)), _) => u64::MAX,
            (_, Some(Refusal::InsufficientTokens)) => 100,
            _ => 1,
        };
        let before = format!("{:?}", org.pool());
        let network = if wrongs.contains(&Refusal::OtherNetwork) { "south" } else { "north" };
        let outcome = org.debit_in(network, Debit { tokens, ..event("cam", "e", 0) });
        let expected = wrongs.first().map_or(Outcome::Charged, |wrong| Outcome::Refused(*wrong));
        assert_eq!(outcome, expected, "{wrongs:?}");
        let unchanged = format!("{:?}", org.pool()) == before;
        assert_eq!(unchanged, outcome != Outcome::Charged, "a refused debit leaves no trace: {wrongs:?}");
    }
}

#[test]
fn a_duplicate_is_told_before_everything_that_may_have_become_of_camera_and_pool() {
    for wrongs in every_choice() {
        let checked = |wrong: &Refusal| matches!(wrong, Refusal::Invalid(_) | Refusal::Conflict);
        if wrongs.iter().any(checked) {
            continue;
        }
        let mut org = Org::with_tokens("acme", 5);
        let tokens = if wrongs.contains(&Refusal::InsufficientTokens) { 5 } else { 1 };
        for debit in [seq("cam", 7), event("cam", "e", 0)] {
            assert_eq!(org.debit(debit), Outcome::Charged);
        }
        org.debit(Debit { tokens: tokens - 2.min(tokens - 1), ..seq("cam", 8) });
        spoil(&mut org, &wrongs);
        for debit in [seq("cam", 7), event("cam", "e", 0)] {
            let outcome = if wrongs.contains(&Refusal::OtherNetwork) {
                org.debit_in("south", debit)
            } else {
                org.debit(debit)
            };
            assert_eq!(outcome, Outcome::Duplicate(FirstOutcome::Charged), "{debit:?} {wrongs:?}");
        }
    }
}

#[test]
fn a_time_ahead_is_invalid_before_the_camera_is_looked_up() {
    let mut org = Org::with_tokens("acme", 5);
    let ahead = Debit { time: Some(at(300_001)), ..seq("nobody", 1) };
    assert_eq!(org.debit(ahead), Outcome::Refused(Refusal::Invalid(Invalid::TimeAhead)));
}

#[test]
fn a_sequence_number_below_the_window_is_too_old_only_when_the_camera_is_known_and_on() {
    let mut org = Org::with_tokens("acme", 5);
    org.debit(seq("cam", 100));
    assert_eq!(org.debit(Debit { tokens: 99, ..seq("cam", 1) }), Outcome::Refused(Refusal::TooOld));
    org.set_cloud_ai("cam", false);
    assert_eq!(org.debit(seq("cam", 1)), Outcome::Refused(Refusal::CloudAiDisabled));
    org.command(Command::RemoveCamera { camera: camera_id("cam") }).expect("it is registered");
    assert_eq!(org.debit(seq("cam", 1)), Outcome::Refused(Refusal::UnknownCamera));
}

#[test]
fn an_exempt_debit_needs_no_funds_and_so_passes_while_the_pool_is_moved() {
    let mut org = Org::with_tokens("acme", 5);
    org.bind("cam", unlimited("u", 0, 1_000)).expect("it can be bound");
    org.prepare_out("t");
    assert_eq!(org.debit(Debit { tokens: 100, ..seq("cam", 1) }), Outcome::Exempt);
}

#[test]
fn r8_a_camera_of_another_network_is_another_camera_and_its_neighbours_in_the_batch_are_charged() {
    let mut org = Org::with_tokens("acme", 10);
    let name = |text: &str| Name::new(text).expect("a good name");
    let mut batch = DebitBatch::default();
    for (number, network) in (1..).zip(["north", "south", "north", "northern", "nort"]) {
        batch.push(seq("cam", number));
        batch.expect_network(&name(network));
        batch.push(seq("cam", number + 100));
    }
    let elsewhere = Outcome::Refused(Refusal::OtherNetwork);
    let outcomes = org.judge(batch);
    let named: Vec<_> = outcomes.iter().step_by(2).collect();
    // Number 1 was charged before 101 was, the others are below its window by now.
    assert_eq!(
        named,
        [&Outcome::Charged, &elsewhere, &Outcome::Refused(Refusal::TooOld), &elsewhere, &elsewhere]
    );
    assert!(outcomes.iter().skip(1).step_by(2).all(|outcome| *outcome == Outcome::Charged), "{outcomes:?}");
    org.register(CameraSpec { network: name("south"), ..camera("cam") });
    assert_eq!(
        org.debit_in("north", seq("cam", 101)),
        Outcome::Duplicate(FirstOutcome::Charged),
        "it moved since"
    );
    assert_eq!(org.debit_in("north", seq("cam", 200)), elsewhere);
    assert_eq!(org.debit_in("south", seq("cam", 200)), Outcome::Charged);
}
