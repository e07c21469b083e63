//! I8: the journal, carried out from its beginning, gives the state that was live.

use tokenweir::domain::command::Command;
use tokenweir::domain::debit::{Debit, UsageKind};
use tokenweir::domain::registry::Registry;

use super::support::{HOUR, Org, RETENTION, at, camera, camera_id, event, key, seq, unlimited};
use super::world::World;

/// Replays the journal and compares everything that the pool shows of itself.
fn check(org: &Org) {
    assert_eq!(format!("{:?}", org.replayed()), format!("{:?}", org.pool()));
}

#[test]
fn i8_replayed_batches_and_events_give_the_live_state() {
    let mut org = Org::with_tokens("acme", 1_000);
    check(&org);
    for step in 1..60 {
        org.clock = at(step * HOUR);
        let id = format!("event-{step}");
        let old = format!("event-{}", step / 2);
        org.debits(&[
            Debit { tokens: step, ..seq("cam", step) },
            event("cam", &id, step * HOUR),
            event("cam", &old, step / 2 * HOUR),
            Debit { kind: UsageKind::Other, time: Some(at(step)), ..seq("cam", step / 2) },
            Debit { tokens: 5_000, ..seq("cam", step + 1) },
            event("other", &id, step * HOUR),
        ]);
        check(&org);
        match step % 10 {
            1 => org.register(camera("other")),
            3 => drop(org.bind("other", unlimited("u", step * HOUR, (step + 4) * HOUR))),
            5 => drop(org.add(&id, &[100, step])),
            7 => org.set_cloud_ai("cam", step % 20 == 7),
            8 => drop(org.unbind("u")),
            9 => drop(org.command(Command::RemoveCamera { camera: camera_id("other") })),
            _ => {}
        }
        check(&org);
    }
}

#[test]
fn i8_thousands_of_event_ids_past_their_retention_are_swept_alike_in_replay() {
    let mut org = Org::with_tokens("acme", 100_000);
    for day in 0..4 {
        org.clock = at(day * RETENTION);
        let ids: Vec<_> = (0..1_500).map(|n| format!("{day}-{n}")).collect();
        let debits: Vec<_> = ids.iter().map(|id| event("cam", id, day * RETENTION)).collect();
        for batch in debits.chunks(400) {
            org.debits(batch);
        }
    }
    check(&org);
}

#[test]
fn i8_both_sides_of_a_transfer_and_the_registry_replay_alike() {
    let mut world = World::new(&[("a", 10), ("b", 3)]);
    world.transfer("t1", "a", "b", 1);
    world.transfer("t2", "a", "b", 2);
    world.transfer("t3", "b", "nobody", 3);
    world.claim("b", key("k", &[4, 4]), 4);
    while !world.wire.is_empty() {
        world.deliver(0);
        world.orgs.values().for_each(check);
        let mut registry = Registry::default();
        world.events.iter().for_each(|event| registry.apply(event));
        assert_eq!(registry, *world.coordinator.registry());
    }
}
