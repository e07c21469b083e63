//! R14: opening, closing, dropping, snapshots; what was there before is there again.

use std::sync::Arc;

use tokenweir::meter::{Config, Durability, Fault, Meter, Organization, Summary, Tokens};
use tokenweir::storage::SimDisk;

use crate::gate::GatedDisk;
use crate::support::{
    HOST, answered, code_of, config, debit, debit_of, handle, name_in, open_on, organization, summary,
};

/// Organizations in both partitions, each with its own usage.
async fn many(meter: &Meter) -> Vec<Organization> {
    let mut all = Vec::new();
    for (partition, number) in (0..2).flat_map(|partition| (0..6).map(move |number| (partition, number))) {
        let one = organization(meter, name_in(partition, number).as_str(), 1_000).await;
        for seq in 0..=u64::try_from(number).expect("small") {
            assert_eq!(code_of(&one, debit_of(seq, 10 + u64::from(partition))).await, "charged");
        }
        all.push(one);
    }
    all
}

async fn summaries(meter: &Meter) -> Vec<Summary> {
    let mut all = Vec::new();
    for id in meter.organizations(HOST, None, 100) {
        all.push(summary(&handle(meter, &id)).await);
    }
    all
}

#[tokio::test]
async fn r14_after_a_close_every_organization_of_every_partition_is_as_it_was() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let meter = Meter::open(config(directory.path())).expect("a new directory");
    many(&meter).await;
    let before = summaries(&meter).await;
    meter.close().await;
    let meter = Meter::open(config(directory.path())).expect("whole");
    assert!(before.len() == 12 && summaries(&meter).await == before);
    assert!(meter.recovery().iter().all(|partition| partition.clean && partition.organizations == 6));
    assert!(meter.snapshot().await, "nothing hinders it");
    meter.close().await;
    let meter = Meter::open(config(directory.path())).expect("whole");
    assert_eq!(summaries(&meter).await, before);
    assert!(meter.recovery().iter().all(|partition| partition.snapshot.0 > 0
        && partition.journal.as_ref().is_some_and(|journal| journal.frames <= 1)));
    assert_eq!(code_of(&handle(&meter, &name_in(0, 0)), debit_of(0, 10)).await, "duplicate");
    meter.close().await;
}

#[tokio::test]
async fn r14_a_meter_that_is_dropped_without_close_gives_its_directory_back_with_everything_in_it() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let meter = Meter::open(config(directory.path())).expect("a new directory");
    let acme = organization(&meter, "acme", 100).await;
    acme.debit(debit(1)).await.expect("durable");
    let before = summary(&acme).await;
    drop(acme);
    drop(meter);
    let meter = Meter::open(config(directory.path())).expect("nobody holds the directory");
    assert_eq!(summaries(&meter).await, [before]);
    meter.close().await;
}

#[tokio::test]
async fn i9_a_second_meter_on_one_directory_is_refused_until_the_first_is_closed() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let meter = Meter::open(config(directory.path())).expect("a new directory");
    let refused = Meter::open(config(directory.path())).expect_err("held");
    assert!(matches!(refused, Fault::Locked { .. }), "{refused}");
    let acme = organization(&meter, "acme", 100).await;
    assert_eq!(code_of(&acme, debit(1)).await, "charged", "the first is not disturbed");
    meter.close().await;
    Meter::open(config(directory.path())).expect("free").close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i5_snapshots_that_are_taken_while_debits_run_hold_every_one_of_them_once() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let meter = Meter::open(config(directory.path())).expect("a new directory");
    let organizations = many(&meter).await;
    let send = |one: Organization| async move {
        for seq in 100..600 {
            assert_eq!(code_of(&one, debit(seq)).await, "charged");
        }
    };
    let senders: Vec<_> = organizations.into_iter().map(|one| tokio::spawn(send(one))).collect();
    for _ in 0..5 {
        assert!(meter.snapshot().await);
    }
    for sender in senders {
        sender.await.expect("all are charged");
    }
    let before = summaries(&meter).await;
    meter.close().await;
    let meter = Meter::open(config(directory.path())).expect("whole");
    assert_eq!(summaries(&meter).await, before);
    assert!(meter.recovery().iter().all(|partition| partition.snapshot.0 > 0));
    meter.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r14_an_ordered_close_answers_everything_that_was_sent_and_refuses_what_comes_after() {
    let disk = GatedDisk::default();
    // Nothing is busy, however long the closing takes to begin.
    let unbounded = Config { in_flight_max: u64::MAX >> 1, ..config("d".as_ref()) };
    let meter = Meter::open_on(Arc::new(disk.clone()), unbounded).expect("new");
    let (acme, other) = (organization(&meter, name_in(0, 0).as_str(), 1_000).await, name_in(1, 0));
    let other = organization(&meter, other.as_str(), 1_000).await;
    disk.shut();
    let send = |to: &Organization, seq| to.send_debit(debit(seq), Durability::Durable).expect("admitted");
    let under_way: Vec<_> = (0..100).flat_map(|seq| [send(&acme, seq), send(&other, seq)]).collect();
    let closing = tokio::spawn(meter.clone().close());
    while acme.send_debit(debit(200), Durability::Durable).map_or_else(|error| error.code(), |_| "")
        != "closing"
    {
        tokio::task::yield_now().await;
    }
    assert_eq!(code_of(&acme, debit(201)).await, "closing");
    assert_eq!(acme.grant(vec![Tokens(1)]).await.expect_err("refused").code(), "closing");
    disk.open_again();
    for reply in under_way {
        answered("a debit sent before the close", reply).await.expect("kept");
    }
    answered("close", closing).await.expect("no panic");
    let code = answered("a question after the close", acme.summary()).await.expect_err("refused").code();
    assert_eq!(code, "closing");
    let meter = open_on(disk.disk.crash(tokenweir::storage::sim_disk::CrashPlan::LoseUnsynced));
    for one in [&acme, &other] {
        assert!(summary(&handle(&meter, one.id())).await.totals.used.0 >= 100);
    }
    meter.close().await;
}

/// Adds licenses until the meter refuses; answers with the code of the refusal.
async fn grant_until_refused(organization: Organization) -> &'static str {
    loop {
        if let Err(error) = organization.grant(vec![Tokens(1)]).await {
            return error.code();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_request_that_races_with_close_is_answered() {
    for round in 0..10 {
        let meter = open_on(SimDisk::new());
        let mut organizations = Vec::new();
        for (partition, number) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            organizations.push(organization(&meter, name_in(partition, number).as_str(), 1).await);
        }
        let twice = organizations.iter().chain(&organizations).cloned();
        let tasks: Vec<_> =
            twice.map(|organization| tokio::spawn(grant_until_refused(organization))).collect();
        organizations[0].grant(vec![Tokens(1)]).await.expect("the others are at it meanwhile");
        answered("close", meter.close()).await;
        for task in tasks {
            let code = answered(&format!("round {round}, a grant"), task).await;
            assert_eq!(code.expect("no task panics"), "closing");
        }
    }
}
