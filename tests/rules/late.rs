//! Messages that come late or twice, and bounds that hold on every way round.

use super::support;
use super::support::{Org, actor, key};
use super::world::{Letter, World};
use tokenweir::domain::debit::Debit;
use tokenweir::domain::ids::Name;
use tokenweir::domain::limits::{POOL_LICENSES_MAX, POOL_TOKENS_MAX};
use tokenweir::domain::refusal::Refusal;
use tokenweir::domain::registry::Role;
use tokenweir::protocol::coordinator::{ApiKeyOrder, Coordinator};
use tokenweir::protocol::message::ToOrg;

/// The claim is asked again (tick) while the first question is refused: the pool is on its way.
#[test]
fn r6_a_key_that_waits_for_a_transfer_is_granted_once_although_messages_come_late() {
    let mut world = World::new(&[("a", 10), ("b", 0), ("c", 0)]);
    world.transfer("t", "a", "b", 1);
    world.deliver(0);
    world.claim("a", key("k", &[5]), 2);
    world.tick();
    let late =
        world.wire.iter().rposition(|letter| matches!(letter, Letter::ToOrg(_, ToOrg::ApplyKey { .. })));
    let late = world.wire.remove(late.expect("tick asks again"));
    world.settle();
    world.wire.push(late);
    world.run();
    world.claim("c", key("k", &[5]), 3);
    world.run();
    assert_eq!(world.available("a") + world.available("c"), 5, "one key was granted twice");
    world.check_keys();
}

/// A claim that its pool refused stays with its organization, whatever comes late.
#[test]
fn r6_a_refused_claim_never_passes_to_another_organization() {
    let mut world = World::new(&[("full", POOL_TOKENS_MAX), ("b", 0), ("c", 0)]);
    world.claim("full", key("k", &[5]), 1);
    world.deliver(0);
    let late = world.wire[0].clone();
    world.run();
    world.claim("b", key("k", &[5]), 2);
    world.wire.insert(0, late);
    world.run();
    world.claim("c", key("k", &[5]), 3);
    world.run();
    assert_eq!(world.available("b") + world.available("c"), 0, "the key is claimed by another");
}

/// An organization is created after a transfer out of it was refused; the doubled prepare comes late.
#[test]
fn i10_a_late_prepare_of_an_ended_transfer_never_freezes_a_pool_for_ever() {
    let mut world = World::new(&[("a", 0), ("b", 0)]);
    world.transfer("t", "late", "b", 1);
    let late = world.wire[0].clone();
    world.settle();
    world.orgs.insert(support::org_id("late"), Org::with_tokens("late", 10));
    world.note_claim("late", key("late-key", &[10]));
    world.wire.push(late);
    world.run();
    world.tick();
    world.run();
    assert_eq!(world.org("late").pool().outgoing, None, "frozen, and nobody will ever end it");
}

/// Licenses that left may come back when the transfer aborts; others came meanwhile.
#[test]
fn a_pool_never_holds_more_licenses_than_the_bound() {
    let mut world = World::new(&[("a", 0), ("b", 0)]);
    for (org, keys) in [("a", 20), ("b", 1)] {
        for n in 0..keys {
            world.claim(org, key(&format!("{org}-{n}"), &[1; 1_000]), 0);
            world.run();
        }
    }
    world.transfer("out", "a", "nobody", 1);
    world.deliver(0);
    let parked = std::mem::take(&mut world.wire);
    world.transfer("in", "b", "a", 2);
    world.run();
    world.wire = parked;
    world.settle();
    let held = world.org("a").pool().licenses.len();
    assert!(held <= POOL_LICENSES_MAX, "{held} licenses");
}

#[test]
fn a_new_api_key_never_takes_the_place_of_another() {
    let mut coordinator = Coordinator::default();
    let mut out = Vec::new();
    let order = |hash| ApiKeyOrder {
        id: actor(),
        hash: [hash; 32],
        label: Name::new("a key").expect("a good name"),
        role: Role::Operator,
        organizations: Vec::new(),
        by: actor(),
    };
    coordinator.create_api_key(order(1), 1, support::at(0), &mut out);
    coordinator.revoke_api_key(actor(), 2, support::at(1), &mut out);
    coordinator.create_api_key(order(2), 3, support::at(2), &mut out);
    let key = &coordinator.registry().api_keys[&actor()];
    assert_eq!((key.hash, key.revoked_at), ([1; 32], Some(support::at(1))), "a revoked key was replaced");
}

#[test]
fn r4_a_shared_license_in_transit_is_permanent_as_well() {
    let mut org = Org::with_tokens("acme", 5);
    org.prepare_out("t");
    assert_eq!(org.unbind("acme-key.1"), Err(Refusal::LicenseIsPermanent));
}

#[test]
fn r4_a_shared_license_cannot_be_bound_as_an_unlimited_one_and_so_not_be_unbound() {
    let mut org = Org::with_tokens("acme", 5);
    assert!(org.bind("cam", support::unlimited("acme-key.1", 0, 1_000)).is_err());
    assert_eq!(org.unbind("acme-key.1"), Err(Refusal::LicenseIsPermanent));
}

/// The bound is declared beside `POOL_TOKENS_MAX`: every total stays exact in a JSON number.
#[test]
fn totals_of_exempt_tokens_stay_exact_in_a_json_number() {
    let mut org = Org::with_tokens("acme", 0);
    org.bind("cam", support::unlimited("u", 0, 1_000)).expect("it can be bound");
    let mut number = 0;
    for _ in 0..910 {
        let debits: Vec<_> =
            (0..10_000).map(|n| Debit { tokens: 1_000_000_000, ..support::seq("cam", number + n) }).collect();
        org.debits(&debits);
        org.journal.clear();
        number += 10_000;
    }
    assert!(org.pool().totals.exempt.0 <= POOL_TOKENS_MAX, "{}", org.pool().totals.exempt);
}
