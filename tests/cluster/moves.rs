//! Partitions that come and go: under load, by force, with many organizations.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokenweir::meter::{Durability, Name, NewOrganization, Outcome, status};
use tokenweir::telemetry::clock;

use crate::nodes::{Cluster, HOST, PARTITIONS, code, debit, name_in};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i9_an_organization_is_served_by_the_owner_of_its_partition_and_elsewhere_everywhere_else() {
    let cluster = Cluster::of(3);
    for partition in 0..PARTITIONS {
        let id = name_in(partition, 0);
        cluster.organization(&id, 100).await;
        for (node, meter) in cluster.nodes.iter().enumerate() {
            let is_owner = node == usize::from(partition);
            assert_eq!(meter.serves(partition), is_owner);
            if is_owner {
                assert_eq!(
                    meter.organization(HOST, &id).expect("here").summary().await.expect("served").available.0,
                    100
                );
            } else {
                assert_eq!(code(meter.organization(HOST, &id)), "elsewhere");
                let new = NewOrganization::new(name_in(partition, 1), Name::new("x").expect("valid"));
                assert_eq!(code(meter.create_organization(HOST, new).await), "elsewhere");
            }
        }
    }
    assert!(
        cluster.nodes.iter().all(|meter| meter.status().len() == 1 && meter.status()[0].failure.is_none())
    );
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn i3_i4_i9_a_partition_that_moves_under_load_loses_and_doubles_nothing() {
    const SENDERS: usize = 6;
    let cluster = Arc::new(Cluster::of(3));
    let ids: Vec<_> = (0..SENDERS).map(|number| name_in(1, number)).collect();
    for id in &ids {
        cluster.organization(id, 1_000_000).await;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let send = |id| {
        let (cluster, stop) = (Arc::clone(&cluster), Arc::clone(&stop));
        tokio::spawn(async move {
            let mut sent = 0_u64;
            while !stop.load(Ordering::Acquire) {
                sent += 1;
                let outcome = cluster.debit(&id, sent).await;
                assert!(
                    matches!(outcome, Outcome::Charged | Outcome::Duplicate(_)),
                    "{}",
                    status::code(outcome)
                );
            }
            sent
        })
    };
    let senders: Vec<_> = ids.iter().cloned().map(send).collect();
    let mut at = 1;
    for round in 0..30 {
        let to = (at + 1) % 3;
        if round % 3 == 2 {
            // Nobody told the old owner.
            cluster.take(to, 1).expect("whole");
            tokio::task::yield_now().await;
            cluster.leave(at, 1);
        } else {
            cluster.move_to(at, to, 1);
        }
        at = to;
        let before = cluster.nodes[at].durable(1);
        cluster.until(|| async { (cluster.nodes[at].durable(1).0 > before.0 + 20).then_some(()) }).await;
    }
    stop.store(true, Ordering::Release);
    let mut all = 0;
    for (sender, id) in senders.into_iter().zip(&ids) {
        let sent = sender.await.expect("no panic");
        assert_eq!(cluster.available(id).await, 1_000_000 - sent, "{id}");
        all += sent;
    }
    println!("{all} debits while a partition moved 30 times");
    Arc::into_inner(cluster).expect("all ended").close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i9_a_deposed_owner_answers_elsewhere_and_can_take_the_partition_again() {
    let cluster = Cluster::of(3);
    let id = name_in(1, 0);
    let old = cluster.organization(&id, 100).await;
    old.debit(debit(1)).await.expect("served");
    cluster.take(2, 1).expect("whole");
    assert!(cluster.nodes[1].serves(1), "it does not know yet");
    assert_eq!(code(old.summary().await), "elsewhere", "nothing old is told");
    assert!(!cluster.nodes[1].serves(1));
    assert_eq!(code(old.debit(debit(2)).await), "elsewhere");
    assert_eq!(code(cluster.nodes[1].organization(HOST, &name_in(1, 1))), "elsewhere");
    assert!(matches!(cluster.debit(&id, 2).await, Outcome::Charged));
    cluster.leave(1, 1);
    cluster.move_to(2, 1, 1);
    assert_eq!(code(old.debit(debit(3)).await), "elsewhere", "a handle is of the time when it was made");
    assert!(matches!(cluster.debit(&id, 2).await, Outcome::Duplicate(_)));
    assert_eq!(cluster.available(&id).await, 98);
    let twice = cluster.take(1, 1).expect_err("it is here").to_string();
    assert!(twice.contains("this very process"), "{twice}");
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_is_told_that_an_organization_does_not_exist_because_its_partition_moves() {
    let cluster = Arc::new(Cluster::of(3));
    let id = name_in(1, 0);
    cluster.organization(&id, 1).await;
    let stop = Arc::new(AtomicBool::new(false));
    let ask = |node: usize| {
        let (meter, stop, id) = (cluster.nodes[node].clone(), Arc::clone(&stop), id.clone());
        std::thread::spawn(move || {
            let mut found = 0;
            while !stop.load(Ordering::Acquire) {
                match meter.organization(HOST, &id) {
                    Ok(_) => found += 1,
                    Err(error) => assert_eq!(error.code(), "elsewhere"),
                }
            }
            found
        })
    };
    let askers: Vec<_> = (0..2).map(ask).collect();
    for _ in 0..100 {
        cluster.move_to(1, 0, 1);
        cluster.move_to(0, 1, 1);
    }
    stop.store(true, Ordering::Release);
    for asker in askers {
        assert!(asker.join().expect("nobody was told so") > 0);
    }
    Arc::into_inner(cluster).expect("all ended").close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_of_a_thousand_organizations_with_work_in_flight_leaves_in_less_than_a_second() {
    let cluster = Cluster::of(3);
    let mut handles = Vec::new();
    for number in 0..1_000 {
        let id = name_in(1, number);
        let new = NewOrganization::new(id.clone(), Name::new("x").expect("valid"));
        cluster.nodes[1].create_organization(HOST, new).await.expect("new");
        handles.push(cluster.handle(&id).expect("here"));
    }
    let sent =
        handles.iter().map(|handle| handle.send_debit(debit(1), Durability::Durable).expect("admitted"));
    let sent: Vec<_> = sent.collect();
    let begun = clock::start();
    cluster.leave(1, 1);
    let took = begun.elapsed();
    println!("left in {took:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
    for reply in sent {
        assert_eq!(status::code(reply.await.expect("it was queued before").outcome), "unknown_camera");
    }
    assert_eq!(code(handles[0].send_debit(debit(2), Durability::Durable)), "elsewhere");
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r14_who_is_handed_a_partition_replays_what_came_behind_a_snapshot_that_was_written_while_it_was_served()
 {
    let cluster = Cluster::of(2);
    let id = name_in(1, 0);
    cluster.organization(&id, 10_000).await;
    assert!(!cluster.save(1, 1), "so little is replayed at once");
    for seq in 1..=600 {
        assert_eq!(cluster.debit(&id, seq).await, Outcome::Charged);
    }
    assert!(cluster.save(1, 1));
    assert!(!cluster.save(1, 1), "there is one");
    assert!(!cluster.save(0, 1), "it is not there");
    assert_eq!(cluster.debit(&id, 601).await, Outcome::Charged, "it is served until it is left");
    cluster.leave(1, 1);
    let found = cluster.recover(0, 1).expect("whole");
    let journal = found.journal.expect("whole");
    assert!(found.snapshot.0 >= 600 && journal.frames <= 3, "{:?} and {journal:?}", found.snapshot);
    assert_eq!(cluster.available(&id).await, 10_000 - 601);
    assert!(matches!(cluster.debit(&id, 600).await, Outcome::Duplicate(_)));
    cluster.close().await;
}
