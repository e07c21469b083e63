//! R13: an event is charged at most once, whoever sends it again and whenever.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokenweir::meter::{
    Clock, Config, DebitBatch, Durability, FirstOutcome, Meter, NewOrganization, Organization, Outcome,
    Refusal,
};
use tokenweir::storage::SimDisk;

use crate::support::{
    HOST, START_MS, at, available, camera, camera_id, code_of, config, debit, debit_of, event, handle,
    open_on, organization, outcome, summary,
};

const MINUTE: u64 = 60_000;
const AGAIN: Outcome = Outcome::Duplicate(FirstOutcome::Charged);

#[tokio::test]
async fn r13_a_debit_is_charged_once_also_in_a_batch_after_a_restart_and_for_a_removed_camera() {
    let disk = SimDisk::new();
    let meter = open_on(disk.clone());
    let acme = organization(&meter, "acme", 1_000).await;
    let now = meter.now().ms();
    for debit in [debit(1), event(b"one", now)] {
        assert_eq!(outcome(&acme, debit).await, Outcome::Charged);
        assert_eq!(outcome(&acme, debit).await, AGAIN);
    }
    assert_eq!(code_of(&acme, debit_of(1, 2)).await, "conflict");
    assert_eq!(code_of(&acme, event(b"one", now + 1)).await, "conflict");
    let mut batch = DebitBatch::default();
    [debit(1), debit(2), debit(2), event(b"one", now), event(b"two", now), event(b"two", now)]
        .into_iter()
        .for_each(|debit| batch.push(debit));
    let reply = acme.debit_batch(batch).await.expect("served");
    let charged = Outcome::Charged;
    assert_eq!(reply.batch.outcomes(), [AGAIN, charged, AGAIN, AGAIN, charged, AGAIN]);
    meter.close().await;
    let meter = open_on(disk);
    let acme = handle(&meter, acme.id());
    acme.remove_camera(camera_id("cam")).await.expect("registered");
    for debit in [debit(1), debit(2), event(b"one", now), event(b"two", now)] {
        assert_eq!(outcome(&acme, debit).await, AGAIN);
    }
    assert_eq!(summary(&acme).await.totals.used.0, 4);
    meter.close().await;
}

#[tokio::test]
async fn r13_a_number_below_the_window_or_of_an_earlier_epoch_is_too_old() {
    let meter = open_on(SimDisk::new());
    let acme = organization(&meter, "acme", 1_000).await;
    assert_eq!(code_of(&acme, debit(100)).await, "charged");
    assert_eq!(code_of(&acme, debit(36)).await, "charged", "64 below the highest");
    assert_eq!(code_of(&acme, debit(35)).await, "too_old");
    let epoch = |epoch, seq| tokenweir::meter::Debit {
        identity: tokenweir::meter::Identity::Seq { epoch, seq },
        ..debit(0)
    };
    assert_eq!(code_of(&acme, epoch(2, 1)).await, "charged");
    assert_eq!(code_of(&acme, epoch(1, 101)).await, "too_old");
    assert_eq!(available(&acme).await, 1_000 - 3);
    meter.close().await;
}

async fn with_retention(meter: &Meter, retention_ms: u64) -> Organization {
    let name = "An organization".parse_name();
    let new = NewOrganization {
        retention_ms: Some(retention_ms),
        ..NewOrganization::new("acme".parse().expect("valid"), name)
    };
    meter.create_organization(HOST, new).await.expect("new");
    let acme = handle(meter, &"acme".parse().expect("valid"));
    acme.register_camera(camera("cam", true)).await.expect("within bounds");
    acme.grant(vec![tokenweir::meter::Tokens(1_000)]).await.expect("within bounds");
    acme
}

trait ParseName {
    fn parse_name(&self) -> tokenweir::meter::Name;
}

impl ParseName for str {
    fn parse_name(&self) -> tokenweir::meter::Name {
        tokenweir::meter::Name::new(self).expect("valid")
    }
}

/// Whatever the clock does, an id is charged once: it is known, or too old.
#[tokio::test]
async fn r13_an_event_id_is_charged_once_however_the_clock_jumps() {
    let disk = SimDisk::new();
    let (clock, hand) = Clock::manual(at(START_MS));
    let config = || Config { clock: clock.clone(), ..config("d".as_ref()) };
    let meter = Meter::open_on(Arc::new(disk.clone()), config()).expect("new");
    let acme = with_retention(&meter, MINUTE).await;
    assert_eq!(code_of(&acme, event(b"one", START_MS)).await, "charged");
    assert_eq!(
        code_of(&acme, event(b"far", START_MS + 6 * MINUTE)).await,
        "invalid",
        "more than five minutes ahead"
    );
    let is_known = |code: &str| assert!(["duplicate", "too_old"].contains(&code), "{code}");
    hand.store(START_MS + 10 * MINUTE, Ordering::Relaxed);
    is_known(code_of(&acme, event(b"one", START_MS)).await);
    assert_eq!(code_of(&acme, event(b"late", START_MS)).await, "too_old");
    assert_eq!(code_of(&acme, event(b"two", START_MS + 10 * MINUTE)).await, "charged");
    hand.store(START_MS, Ordering::Relaxed);
    is_known(code_of(&acme, event(b"one", START_MS)).await);
    assert_eq!(code_of(&acme, event(b"late", START_MS)).await, "too_old", "the horizon never falls");
    assert_eq!(code_of(&acme, event(b"two", START_MS + 10 * MINUTE)).await, "duplicate");
    assert_eq!(code_of(&acme, debit(1)).await, "charged", "a sequence number does not ask the clock");
    meter.close().await;
    let meter = Meter::open_on(Arc::new(disk), config()).expect("whole");
    let acme = handle(&meter, acme.id());
    is_known(code_of(&acme, event(b"one", START_MS)).await);
    assert_eq!(code_of(&acme, event(b"late", START_MS)).await, "too_old");
    assert_eq!(available(&acme).await, 1_000 - 3);
    meter.close().await;
}

/// Sends debits under the same ids as everybody else; counts by id what was charged.
async fn send_all(acme: Organization, ids: u64, now: u64) -> BTreeMap<u64, u32> {
    let mut charged = BTreeMap::new();
    let mut under_way = Vec::new();
    for number in 0..2 * ids {
        let name = number.to_le_bytes();
        let debit = if number % 2 == 0 { debit(number / 2) } else { event(&name, now) };
        under_way.push((number, acme.send_debit(debit, Durability::Durable).expect("admitted")));
    }
    for (number, reply) in under_way {
        match reply.await.expect("served").outcome {
            Outcome::Charged => *charged.entry(number).or_default() += 1,
            Outcome::Duplicate(FirstOutcome::Charged) | Outcome::Refused(Refusal::TooOld) => {}
            other => panic!("number {number} is {other:?}"),
        }
    }
    charged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn r13_i4_the_same_debits_from_eight_senders_at_once_are_charged_once() {
    const IDS: u64 = 400;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let meter = Meter::open(config(directory.path())).expect("a new directory");
    let acme = organization(&meter, "acme", 10_000).await;
    let now = meter.now().ms();
    let senders: Vec<_> = (0..8).map(|_| tokio::spawn(send_all(acme.clone(), IDS, now))).collect();
    let mut charged = BTreeMap::<u64, u32>::new();
    for sender in senders {
        for (number, times) in sender.await.expect("no sender panics") {
            *charged.entry(number).or_default() += times;
        }
    }
    assert!(charged.values().all(|times| *times == 1), "{charged:?}");
    assert_eq!(charged.len(), usize::try_from(2 * IDS).expect("small"));
    assert_eq!(available(&acme).await, 10_000 - 2 * IDS);
    meter.close().await;
}
