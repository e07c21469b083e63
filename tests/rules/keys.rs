//! R6: a license key expands to licenses, is previewed without effect, and is claimed once over all organizations.

use tokenweir::domain::decide;
use tokenweir::domain::limits::{KEY_LICENSES_MAX, POOL_TOKENS_MAX};
use tokenweir::domain::refusal::{Invalid, Limit, Refusal};
use tokenweir::domain::tokens::Tokens;
use tokenweir::protocol::coordinator::Answer;

use super::support::{Org, actor, at, key};
use super::world::World;

/// Claims a key, lets all messages arrive, and answers with what the caller was told.
fn claim(world: &mut World, org: &str, id: &str, grants: &[u64]) -> Result<(), Refusal> {
    world.answers.clear();
    world.claim(org, key(id, grants), 1);
    world.run();
    world.check_keys();
    match world.answers.as_slice() {
        [(1, Answer::Claimed(claim))] => {
            assert!(claim.applied && claim.organization.as_str() == org, "{claim:?}");
            Ok(())
        }
        [(1, Answer::Refused(refusal))] => Err(*refusal),
        other => panic!("one caller gets one answer, not {other:?}"),
    }
}

#[test]
fn r6_a_key_expands_to_its_licenses_and_a_preview_changes_nothing() {
    let mut org = Org::with_tokens("acme", 5);
    let before = format!("{:?}", org.pool());
    let licenses =
        decide::expand_key(org.pool(), &key("k", &[10, 20, 30]), &actor(), at(9)).expect("it fits");
    let shown: Vec<_> = licenses.iter().map(|license| (license.id.as_str(), license.granted.0)).collect();
    assert_eq!(shown, [("k.1", 10), ("k.2", 20), ("k.3", 30)]);
    assert_eq!(format!("{:?}", org.pool()), before);
    org.clock = at(9);
    org.add("k", &[10, 20, 30]).expect("it fits");
    assert_eq!(org.pool().licenses.list()[1..], licenses, "what is applied is what was previewed");
    assert_eq!(org.available(), 65);
}

#[test]
fn r6_a_key_out_of_bounds_is_invalid_before_anything_is_claimed() {
    let mut world = World::new(&[("a", 0)]);
    let invalid = Err(Refusal::Invalid(Invalid::Grant));
    let many = vec![1; KEY_LICENSES_MAX + 1];
    for grants in [&[][..], &[0], &[5, 0], &many, &[POOL_TOKENS_MAX, 1], &[u64::MAX]] {
        assert_eq!(claim(&mut world, "a", "k", grants), invalid);
    }
    assert!(world.events.is_empty());
    assert_eq!(claim(&mut world, "a", "k", &many[1..]), Ok(()));
    assert_eq!(world.available("a"), 1_000);
}

#[test]
fn r6_a_key_is_claimed_once_over_all_organizations() {
    let mut world = World::new(&[("a", 0), ("b", 0)]);
    assert_eq!(claim(&mut world, "a", "k", &[10, 5]), Ok(()));
    assert_eq!(claim(&mut world, "b", "k", &[10, 5]), Err(Refusal::LicenseKeyClaimed));
    assert_eq!((world.available("a"), world.available("b")), (15, 0));
}

#[test]
fn r6_the_same_organization_asking_again_is_answered_alike_and_gains_nothing() {
    let mut world = World::new(&[("a", 0)]);
    for _ in 0..3 {
        assert_eq!(claim(&mut world, "a", "k", &[10]), Ok(()));
    }
    assert_eq!(claim(&mut world, "a", "k", &[11]), Err(Refusal::LicenseKeyClaimed), "with other licenses");
    assert_eq!(world.available("a"), 10);
}

#[test]
fn r6_all_who_wait_for_one_claim_are_answered() {
    let mut world = World::new(&[("a", 0), ("b", 0)]);
    world.claim("a", key("k", &[10]), 1);
    world.claim("b", key("k", &[10]), 2);
    world.claim("a", key("k", &[10]), 3);
    world.run();
    let refused = world.answers.iter().filter(|(_, answer)| matches!(answer, Answer::Refused(_)));
    assert_eq!(refused.map(|(ticket, _)| *ticket).collect::<Vec<_>>(), [2]);
    let claimed = world.answers.iter().filter(|(_, answer)| matches!(answer, Answer::Claimed(_)));
    assert_eq!(claimed.map(|(ticket, _)| *ticket).collect::<Vec<_>>(), [1, 3]);
}

#[test]
fn r6_a_key_that_its_pool_refused_stays_claimed_and_is_judged_anew_when_asked_again() {
    let mut world = World::new(&[("full", POOL_TOKENS_MAX), ("b", 0)]);
    let full = Err(Refusal::LimitReached(Limit::PoolTokens));
    for _ in 0..2 {
        assert_eq!(claim(&mut world, "full", "k", &[10]), full);
        assert_eq!(claim(&mut world, "b", "k", &[10]), Err(Refusal::LicenseKeyClaimed));
        assert!(world.coordinator.is_idle());
    }
    assert_eq!(world.available("b"), 0);
}

#[test]
fn r6_a_key_waits_until_the_transfer_of_its_pool_ended() {
    let mut world = World::new(&[("a", 10), ("b", 0)]);
    world.transfer("t", "a", "b", 7);
    world.deliver(0);
    let parked = std::mem::take(&mut world.wire);
    world.claim("a", key("k", &[5]), 1);
    world.run();
    assert_eq!(world.answers, [], "the caller waits");
    world.wire = parked;
    world.settle();
    assert!(
        world.answers.iter().any(|(ticket, answer)| *ticket == 1 && matches!(answer, Answer::Claimed(_)))
    );
    assert_eq!((world.available("a"), world.available("b")), (5, 10));
}

#[test]
fn r6_a_claim_survives_a_crash_of_the_coordinator_and_of_the_pool_at_every_step() {
    for (crash_at, kept) in (0..3).flat_map(|step| (0..3).map(move |kept| (step, kept))) {
        let mut world = World::new(&[("a", 0)]);
        let order = key("k", &[10]);
        world.claim_keeping("a", order.clone(), 1, if crash_at == 0 { kept } else { usize::MAX });
        for step in 1..3 {
            if !world.wire.is_empty() {
                world.deliver_keeping(0, if crash_at == step { kept } else { usize::MAX });
            }
        }
        world.settle();
        world.check_keys();
        world.answers.clear();
        assert_eq!(claim(&mut world, "a", "k", &[10]), Ok(()), "retried after step {crash_at}, {kept} kept");
        assert_eq!(world.available("a"), 10);
        assert_eq!(world.org("a").pool().totals.granted, Tokens(10));
    }
}
