//! Organizations whose actor panics: rebuilt from storage, exactly as acknowledged; nobody else notices.

use tokenweir::meter::{Meter, Organization, Outcome};
use tokenweir::storage::SimDisk;

use crate::gate::GatedDisk;
use crate::support::{
    answered, available, code, code_of, config, debit, event, handle, name_in, open_on, organization, summary,
};

/// Most tries of one debit while its organization is being rebuilt.
const TRIES_MAX: usize = 1_000_000;

/// Debits from `next` on until `wanted` were charged one after the other; answers with the next number. What is told to
/// retry is retried under the same number.
async fn charge(organization: &Organization, next: u64, wanted: u64) -> u64 {
    for seq in next..next + wanted {
        assert_eq!(served(organization, seq).await, Outcome::Charged, "number {seq}");
    }
    next + wanted
}

async fn served(organization: &Organization, seq: u64) -> Outcome {
    for _ in 0..TRIES_MAX {
        match answered("a debit", organization.debit(debit(seq))).await {
            Ok(reply) => return reply.outcome,
            Err(error) => assert_eq!((error.code(), error.is_retryable()), ("rebuilding", true)),
        }
    }
    panic!("it never serves again")
}

#[tokio::test]
async fn i3_i4_after_a_panic_the_organization_has_exactly_what_was_acknowledged() {
    let disk = GatedDisk::default();
    let meter = open_on(disk.clone());
    let acme = organization(&meter, "acme", 100_000).await;
    let mut next = charge(&acme, 1, 100).await;
    let now = meter.now().ms();
    assert_eq!(code_of(&acme, event(b"one", now)).await, "charged");
    for round in 0..4 {
        let before = summary(&acme).await;
        disk.shut_reads();
        acme.panic_for_test();
        assert_eq!(code_of(&acme, debit(next)).await, "rebuilding", "its callers are told to retry");
        assert_eq!(code(acme.summary().await), "rebuilding");
        disk.open_reads();
        assert!(matches!(served(&acme, next - 1).await, Outcome::Duplicate(_)), "round {round}");
        assert_eq!(code_of(&acme, event(b"one", now)).await, "duplicate");
        let after = summary(&acme).await;
        assert_eq!((after.totals, after.available), (before.totals, before.available), "round {round}");
        next = charge(&acme, next, 20).await;
        if round == 1 {
            assert!(meter.snapshot().await, "the next rebuilding begins with a snapshot");
        }
    }
    let before = summary(&acme).await;
    meter.close().await;
    let meter = open_on(disk);
    assert_eq!(summary(&handle(&meter, acme.id())).await, before);
    meter.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_organizations_of_the_partition_never_notice_a_panic() {
    let meter = open_on(SimDisk::new());
    let acme = organization(&meter, name_in(0, 0).as_str(), 100_000).await;
    let neighbour = organization(&meter, name_in(0, 1).as_str(), 100_000).await;
    let its = neighbour.clone();
    let steady = tokio::spawn(async move {
        for seq in 1..=2_000 {
            assert_eq!(code_of(&its, debit(seq)).await, "charged");
        }
    });
    let mut next = 1;
    while !steady.is_finished() {
        acme.panic_for_test();
        next = charge(&acme, next, 5).await;
    }
    steady.await.expect("the neighbour was served throughout");
    assert_eq!(available(&neighbour).await, 100_000 - 2_000);
    assert_eq!(available(&acme).await, 100_000 - (next - 1));
    meter.close().await;
}

/// The second panic meets an organization that is being rebuilt: the state that its own rebuilding gives is older than
/// what was charged after the first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i3_two_panics_in_a_row_lose_no_acknowledged_debit() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let meter = Meter::open(config(directory.path())).expect("a new directory");
    let acme = organization(&meter, "acme", 1_000_000).await;
    let mut next = charge(&acme, 1, 3_000).await;
    for round in 0..3 {
        acme.panic_for_test();
        acme.panic_for_test();
        next = charge(&acme, next, 400).await;
        assert_eq!(summary(&acme).await.totals.used.0, next - 1, "round {round}");
    }
    meter.close().await;
}

#[tokio::test]
async fn a_panic_while_a_snapshot_is_taken_costs_that_snapshot_and_nothing_else() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let meter = Meter::open(config(directory.path())).expect("a new directory");
    let acme = organization(&meter, name_in(0, 0).as_str(), 1_000).await;
    let neighbour = organization(&meter, name_in(0, 1).as_str(), 1_000).await;
    let mut next = charge(&acme, 1, 10).await;
    for _ in 0..5 {
        acme.panic_for_test();
        let (_maybe, ()) = tokio::join!(answered("a snapshot", meter.snapshot()), async {
            acme.panic_for_test();
            assert_eq!(code_of(&neighbour, debit(next)).await, "charged");
        });
        next = charge(&acme, next, 10).await;
    }
    let before = summary(&acme).await;
    assert_eq!(before.totals.used.0, next - 1);
    meter.close().await;
    let meter = Meter::open(config(directory.path())).expect("whole");
    assert_eq!(summary(&handle(&meter, acme.id())).await, before);
    assert!(meter.snapshot().await);
    meter.close().await;
}
