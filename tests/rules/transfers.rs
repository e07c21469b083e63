//! R11: all tokens and all licenses of the source go to the target, all or nothing; each license keeps its history.

use tokenweir::domain::debit::{Debit, Outcome};
use tokenweir::domain::ids::TransferId;
use tokenweir::domain::limits::POOL_TOKENS_MAX;
use tokenweir::domain::refusal::{Invalid, Refusal};
use tokenweir::domain::registry::TransferState;
use tokenweir::domain::tokens::Tokens;
use tokenweir::domain::transfer::TransferSide;
use tokenweir::protocol::coordinator::Answer;

use super::support::{org_id, seq, transfer_id, unlimited};
use super::world::World;

/// The code of the refusal that aborted the transfer.
fn refusal(world: &World, transfer: &str) -> Option<String> {
    assert_eq!(world.state(transfer), Some(TransferState::Aborted));
    world.known(transfer).refusal.clone()
}

#[test]
fn r11_a_transfer_moves_all_remaining_tokens_and_all_licenses() {
    let mut world = World::new(&[("a", 100), ("b", 7)]);
    world.org("a").debit(Debit { tokens: 30, ..seq("cam", 1) });
    world.transfer("t", "a", "b", 1);
    world.settle();
    assert_eq!((world.available("a"), world.available("b")), (0, 77));
    let licenses = |world: &mut World, org| world.org(org).pool().licenses.len();
    assert_eq!((licenses(&mut world, "a"), licenses(&mut world, "b")), (0, 2));
    let known = world.known("t").clone();
    assert_eq!((known.state, known.tokens, known.licenses), (TransferState::Finished, Tokens(70), 1));
    assert_eq!(world.answers, [(1, Answer::Transfer(known))]);
    assert_eq!(world.org("a").debit(seq("cam", 2)), Outcome::Refused(Refusal::InsufficientTokens));
}

#[test]
fn r11_a_license_keeps_its_history_through_every_transfer() {
    let mut world = World::new(&[("a", 100), ("b", 0), ("c", 0)]);
    let before = world.org("a").pool().licenses.list().remove(0);
    for (transfer, source, target) in [("t1", "a", "b"), ("t2", "b", "c"), ("t3", "c", "a")] {
        world.transfer(transfer, source, target, 1);
        world.settle();
    }
    let after = world.org("a").pool().licenses.list().remove(0);
    let stops: Vec<_> = after.history.iter().map(|step| step.organization.as_str()).collect();
    assert_eq!(stops, ["a", "b", "c", "a"]);
    let moved: Vec<_> =
        after.history.iter().map(|step| step.transfer.as_ref().map(TransferId::as_str)).collect();
    assert_eq!(moved, [None, Some("t1"), Some("t2"), Some("t3")]);
    assert!(after.history.is_sorted_by_key(|step| step.at));
    assert_eq!(
        (&after.id, &after.key, after.granted, after.added_at()),
        (&before.id, &before.key, before.granted, before.added_at())
    );
    assert_eq!(after.remaining, Tokens(100));
}

#[test]
fn r11_used_up_licenses_move_as_well_and_unlimited_ones_stay() {
    let mut world = World::new(&[("a", 5), ("b", 0)]);
    world.org("a").debit(Debit { tokens: 5, ..seq("cam", 1) });
    world.org("a").bind("cam", unlimited("u", 0, 1_000)).expect("it can be bound");
    world.transfer("t", "a", "b", 1);
    world.settle();
    assert_eq!(world.known("t").licenses, 1);
    assert_eq!(world.org("b").pool().licenses.len(), 1);
    assert_eq!(world.org("a").pool().bindings.iter().count(), 1);
}

#[test]
fn r11_an_older_license_that_arrives_pays_before_the_younger_ones() {
    let mut world = World::new(&[("a", 10), ("b", 10)]);
    world.org("b").debit(Debit { tokens: 4, ..seq("cam", 1) });
    world.transfer("t", "a", "b", 1);
    world.settle();
    world.org("b").debit(Debit { tokens: 11, ..seq("cam", 2) });
    let licenses = world.org("b").pool().licenses.list();
    let held: Vec<_> = licenses.iter().map(|license| (license.id.as_str(), license.remaining.0)).collect();
    assert_eq!(held, [("a-key.1", 0), ("b-key.1", 5)]);
}

#[test]
fn r11_while_a_pool_is_moved_its_debits_are_to_be_retried_and_its_target_goes_on() {
    let mut world = World::new(&[("a", 10), ("b", 10)]);
    world.transfer("t", "a", "b", 1);
    world.deliver(0);
    assert_eq!(world.org("a").debit(seq("cam", 1)), Outcome::Refused(Refusal::InTransfer));
    assert!(Refusal::InTransfer.is_retryable());
    assert_eq!(world.org("b").debit(seq("cam", 1)), Outcome::Charged);
    world.settle();
    assert_eq!(world.available("b"), 19);
}

#[test]
fn r11_a_transfer_to_nobody_restores_the_source() {
    let mut world = World::new(&[("a", 10)]);
    world.transfer("t", "a", "nobody", 1);
    world.settle();
    assert_eq!(refusal(&world, "t").as_deref(), Some("unknown_organization"));
    assert_eq!(world.available("a"), 10);
    let licenses = world.org("a").pool().licenses.list();
    assert_eq!((licenses.len(), licenses[0].history.len()), (1, 1));
    assert_eq!(world.org("a").debit(seq("cam", 1)), Outcome::Charged);
}

#[test]
fn r11_nothing_to_transfer_and_nobody_to_transfer_from_are_told() {
    let mut world = World::new(&[("a", 0), ("b", 10)]);
    world.transfer("t1", "a", "b", 1);
    world.transfer("t2", "nobody", "b", 2);
    world.settle();
    assert_eq!(refusal(&world, "t1").as_deref(), Some("nothing_to_transfer"));
    assert_eq!(refusal(&world, "t2").as_deref(), Some("unknown_organization"));
    assert_eq!(world.available("b"), 10);
}

#[test]
fn r11_a_target_that_cannot_hold_the_tokens_restores_the_source() {
    let mut world = World::new(&[("a", 2), ("b", POOL_TOKENS_MAX - 1)]);
    world.transfer("t", "a", "b", 1);
    world.settle();
    assert_eq!(refusal(&world, "t").as_deref(), Some("limit_reached"));
    assert_eq!((world.available("a"), world.available("b")), (2, POOL_TOKENS_MAX - 1));
}

#[test]
fn r11_tokens_that_are_coming_count_against_what_a_pool_may_receive() {
    let mut world = World::new(&[("a", 2), ("b", POOL_TOKENS_MAX - 2)]);
    world.transfer("t", "a", "b", 1);
    world.deliver(0);
    world.deliver(0);
    world.deliver(0);
    let one_more = world.org("b").add("k", &[1]);
    assert_eq!(one_more.expect_err("no room is left").code(), "limit_reached");
    world.settle();
    assert_eq!(world.available("b"), POOL_TOKENS_MAX);
}

#[test]
fn r11_the_same_transfer_again_is_answered_with_where_it_stands() {
    let mut world = World::new(&[("a", 10), ("b", 0)]);
    world.transfer("t", "a", "b", 1);
    world.transfer("t", "a", "b", 2);
    assert_eq!(world.wire.len(), 1, "asking twice sends once");
    world.settle();
    world.transfer("t", "a", "b", 3);
    assert!(world.wire.is_empty());
    let known = Answer::Transfer(world.known("t").clone());
    assert_eq!(world.answers, [(1, known.clone()), (2, known.clone()), (3, known)]);
    assert_eq!(world.available("b"), 10);
}

#[test]
fn r11_the_same_id_for_another_transfer_is_a_conflict() {
    let mut world = World::new(&[("a", 10), ("b", 0), ("c", 0)]);
    world.transfer("t", "a", "b", 1);
    world.transfer("t", "a", "c", 2);
    world.transfer("t", "b", "a", 3);
    world.transfer("t2", "a", "a", 4);
    let conflict = Answer::Refused(Refusal::Conflict);
    let same = Answer::Refused(Refusal::Invalid(Invalid::SameOrganization));
    assert_eq!(world.answers, [(2, conflict.clone()), (3, conflict), (4, same)]);
    world.settle();
    assert_eq!((world.available("b"), world.available("c")), (10, 0));
}

#[test]
fn r11_of_two_transfers_out_of_one_pool_one_moves_everything_and_the_other_is_refused() {
    let mut world = World::new(&[("a", 10), ("b", 0), ("c", 0)]);
    world.transfer("t1", "a", "b", 1);
    world.transfer("t2", "a", "c", 2);
    world.settle();
    assert_eq!(world.state("t1"), Some(TransferState::Finished));
    assert_eq!(refusal(&world, "t2").as_deref(), Some("in_transfer"));
    assert_eq!((world.available("a"), world.available("b"), world.available("c")), (0, 10, 0));
    assert_eq!(world.org("a").pool().transfers[&transfer_id("t2")], TransferSide::Aborted);
}

#[test]
fn r11_a_chain_of_transfers_under_way_at_once_loses_nothing() {
    let mut world = World::new(&[("a", 10), ("b", 5), ("c", 1)]);
    world.transfer("t1", "a", "b", 1);
    world.transfer("t2", "b", "c", 2);
    world.settle();
    assert_eq!((world.available("a"), world.available("b"), world.available("c")), (0, 10, 6));
}

#[test]
fn r11_two_pools_may_be_exchanged_at_once() {
    let mut world = World::new(&[("a", 10), ("b", 5)]);
    world.transfer("t1", "a", "b", 1);
    world.transfer("t2", "b", "a", 2);
    world.settle();
    assert_eq!((world.available("a"), world.available("b")), (5, 10));
}

#[test]
fn a_stuck_transfer_never_blocks_another() {
    let mut world = World::new(&[("a", 10), ("b", 0), ("c", 3)]);
    world.transfer("stuck", "a", "b", 1);
    world.wire.clear();
    world.transfer("t", "c", "b", 2);
    world.run();
    assert_eq!(world.state("t"), Some(TransferState::Finished));
    assert_eq!(world.state("stuck"), Some(TransferState::Begun));
    world.settle();
    assert_eq!(world.available("b"), 13);
}

#[test]
fn a_late_message_of_an_ended_transfer_changes_nothing() {
    let mut world = World::new(&[("a", 10), ("b", 0)]);
    world.transfer("t", "a", "b", 1);
    let mut seen = Vec::new();
    while !world.wire.is_empty() {
        seen.push(world.wire[0].clone());
        world.deliver(0);
    }
    let figures =
        |world: &World| [org_id("a"), org_id("b")].map(|id| format!("{:?}", world.orgs[&id].pool()));
    let before = figures(&world);
    for letter in seen {
        world.wire.push(letter);
        world.run();
    }
    assert_eq!(figures(&world), before);
}
