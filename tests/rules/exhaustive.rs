//! Every sequence of a few commands on one pool, each step compared with the naive pool.

use tokenweir::domain::command::{CameraSpec, Command};
use tokenweir::domain::debit::Debit;
use tokenweir::domain::transfer::TransferSide;
use tokenweir::protocol::message::ToCoordinator;

use super::naive::Naive;
use super::support::{HOUR, Org, RETENTION, camera, camera_id, event, seq, transfer_id, unlimited};

/// How many steps a sequence has.
const LENGTH: u32 = 5;

/// One step on both pools; it compares the answers.
type Step = fn(&mut Org, &mut Naive);

const MONEY: [Step; 10] = [
    add,
    |org, naive| debit(org, naive, seq("cam", 1)),
    |org, naive| debit(org, naive, Debit { tokens: 2, ..seq("cam", 1) }),
    |org, naive| debit(org, naive, Debit { tokens: 3, ..event("cam", "e", 0) }),
    |org, naive| cloud_ai(org, naive, true),
    |org, naive| cloud_ai(org, naive, false),
    bind,
    prepare_out,
    commit,
    abort,
];

const MEMORY: [Step; 10] = [
    |org, naive| debit(org, naive, event("cam", "e", 0)),
    |org, naive| debit(org, naive, event("cam", "e", HOUR)),
    |org, naive| debit(org, naive, seq("cam", 1)),
    |org, naive| debit(org, naive, seq("cam", 66)),
    |org, naive| cloud_ai(org, naive, true),
    remove,
    |org, _| org.clock = org.clock.plus_ms(RETENTION),
    |org, _| org.clock = org.clock.plus_ms(HOUR),
    |org, _| org.clock = org.clock.minus_ms(RETENTION),
    |org, _| org.crash(),
];

fn check(alphabet: &[Step; 10], tokens: u64) {
    for number in 0..10_usize.pow(LENGTH) {
        let (mut org, mut naive) = (Org::with_tokens("acme", 0), Naive::new("acme"));
        naive.register("cam", true, org.clock).expect("it fits");
        if tokens > 0 {
            assert_eq!(org.add("first", &[tokens]), naive.add("first", &[tokens], org.clock));
        }
        for place in 0..LENGTH {
            alphabet[number / 10_usize.pow(place) % 10](&mut org, &mut naive);
            naive.compare(org.pool());
        }
    }
}

#[test]
fn every_short_sequence_of_commands_and_transfers_agrees_with_the_naive_pool() {
    check(&MONEY, 0);
}

#[test]
fn r13_every_short_sequence_of_debits_clock_steps_and_crashes_agrees_with_the_naive_pool() {
    check(&MEMORY, 100);
}

fn debit(org: &mut Org, naive: &mut Naive, debit: Debit<'_>) {
    let event = (&debit, None, None);
    let allowed = naive.allowed(event, org.clock);
    let outcome = org.debit(debit);
    assert!(allowed.contains(&outcome), "{debit:?}: {outcome:?}, where {allowed:?} is allowed");
    naive.follow(event, outcome, org.clock);
}

fn add(org: &mut Org, naive: &mut Naive) {
    assert_eq!(org.add("k", &[2, 2]), naive.add("k", &[2, 2], org.clock));
}

fn cloud_ai(org: &mut Org, naive: &mut Naive, on: bool) {
    let spec = CameraSpec { cloud_ai: on, ..camera("cam") };
    assert_eq!(org.command(Command::RegisterCamera(spec)), naive.register("cam", on, org.clock));
}

fn remove(org: &mut Org, naive: &mut Naive) {
    let answer = org.command(Command::RemoveCamera { camera: camera_id("cam") });
    assert_eq!(answer, naive.remove("cam", org.clock));
}

fn bind(org: &mut Org, naive: &mut Naive) {
    let license = unlimited("u", 0, HOUR);
    assert_eq!(org.bind("cam", license.clone()), naive.bind("cam", &license, org.clock));
}

fn prepare_out(org: &mut Org, naive: &mut Naive) {
    let expected = naive.prepare_out("t", org.clock).map(|_| naive.cargo("t").map(|(tokens, _)| tokens));
    match org.prepare_out("t") {
        ToCoordinator::OutPrepared { vote, .. } => {
            assert_eq!(vote.map(|cargo| Some(cargo.tokens.0)), expected);
        }
        other => panic!("a prepare is answered with a vote, not {other:?}"),
    }
}

/// A commit comes only to who prepared.
fn commit(org: &mut Org, naive: &mut Naive) {
    let side = org.pool().transfers.get(&transfer_id("t"));
    if side.is_none_or(|side| *side == TransferSide::Aborted) {
        return;
    }
    naive.commit("t", org.clock);
    assert!(matches!(org.commit("t"), ToCoordinator::SideEnded { .. }));
}

fn abort(org: &mut Org, naive: &mut Naive) {
    naive.abort("t", org.clock);
    assert!(matches!(org.abort("t"), ToCoordinator::SideEnded { .. }));
}
