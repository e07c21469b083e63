//! Admission, and when a debit is acknowledged.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::{Arc, Barrier, Mutex, OnceLock};
use std::task::{Context, Wake, Waker};

use tokenweir::meter::{
    Config, DebitBatch, DebitReply, Durability, Meter, Organization, Outcome, Pending, Refusal,
};
use tokenweir::storage::sim_disk::CrashPlan;

use crate::gate::GatedDisk;
use crate::support::{
    available, code, code_of, config, debit, debit_of, handle, name_in, open_on, organization, outcome,
    summary,
};

/// What a request counts at least among the debits in flight.
const REQUEST_WEIGHT: u64 = 8;

fn is_there(pending: &mut Pending<DebitReply>) -> bool {
    Pin::new(pending).poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

#[tokio::test]
async fn what_is_over_the_bound_in_flight_is_busy_and_leaves_no_trace() {
    let disk = GatedDisk::default();
    let config = Config { in_flight_max: 64 * REQUEST_WEIGHT, ..config("d".as_ref()) };
    let meter = Meter::open_on(Arc::new(disk.clone()), config).expect("new");
    let (acme, other) =
        (organization(&meter, "acme", 1_000).await, organization(&meter, "other", 1_000).await);
    disk.shut();
    let send = |seq| acme.send_debit(debit(seq), Durability::Durable);
    let admitted: Vec<_> = (1..=64).map(|seq| send(seq).expect("admitted")).collect();
    for seq in [65, 66] {
        assert_eq!(code(send(seq)), "busy");
    }
    let mut batch = DebitBatch::default();
    batch.push(debit(67));
    assert_eq!(code(acme.send_batch(&mut batch, Durability::Durable)), "busy");
    assert_eq!(batch.len(), 1, "it was left as it is");
    assert_eq!(code(acme.summary().await), "busy");
    let elsewhere =
        other.send_debit(debit(1), Durability::Durable).expect("the bound is the organization's own");
    disk.open_again();
    for reply in admitted {
        assert_eq!(reply.await.expect("served").outcome, Outcome::Charged);
    }
    elsewhere.await.expect("served");
    assert_eq!(available(&acme).await, 1_000 - 64);
    for seq in [65, 66, 67] {
        assert_eq!(outcome(&acme, debit(seq)).await, Outcome::Charged, "it was not recorded");
    }
    meter.close().await;
}

#[tokio::test]
async fn a_batch_over_the_bound_is_admitted_when_nothing_is_in_flight() {
    let config = Config { in_flight_max: 64, ..config("d".as_ref()) };
    let meter = Meter::open_on(Arc::new(GatedDisk::default()), config).expect("new");
    let acme = organization(&meter, "acme", 1_000).await;
    assert_eq!(outcome(&acme, debit(0)).await, Outcome::Charged, "answered, so it is no longer in flight");
    let mut batch = DebitBatch::default();
    (1..=100).for_each(|seq| batch.push(debit(seq)));
    let reply = acme.debit_batch(batch).await.expect("admitted");
    assert!(reply.batch.outcomes().iter().all(|outcome| *outcome == Outcome::Charged));
    meter.close().await;
}

#[tokio::test]
async fn an_applied_reply_comes_at_once_and_a_durable_one_when_it_is_on_the_disk() {
    let disk = GatedDisk::default();
    let meter = open_on(disk.clone());
    let acme = organization(&meter, "acme", 1_000).await;
    disk.shut();
    let applied = acme.send_debit(debit(1), Durability::Applied).expect("admitted").await.expect("served");
    assert_eq!((applied.outcome, applied.durability), (Outcome::Charged, Durability::Applied));
    disk.wait_until_held();
    let mut durable = acme.send_debit(debit(2), Durability::Durable).expect("admitted");
    let later = acme.send_debit(debit(3), Durability::Applied).expect("admitted").await.expect("served");
    assert!(
        later.lsn > applied.lsn && !is_there(&mut durable),
        "the durable one was judged between, and waits"
    );
    let cut = disk.disk.crash(CrashPlan::LoseUnsynced);
    disk.open_again();
    let durable = durable.await.expect("served");
    assert_eq!((durable.outcome, durable.durability), (Outcome::Charged, Durability::Durable));
    assert_eq!(code_of(&acme, debit(1)).await, "duplicate");
    meter.close().await;
    for (disk, used) in [(cut, 0), (disk.disk.crash(CrashPlan::LoseUnsynced), 3)] {
        let meter = open_on(disk);
        assert_eq!(summary(&handle(&meter, acme.id())).await.totals.used.0, used);
        meter.close().await;
    }
}

#[tokio::test]
async fn i3_an_answer_waits_for_what_it_is_based_on() {
    let disk = GatedDisk::default();
    let meter = open_on(disk.clone());
    let acme = organization(&meter, "acme", 1_000).await;
    disk.shut();
    acme.send_debit(debit(0), Durability::Applied).expect("admitted").await.expect("served");
    disk.wait_until_held();
    let mut first = acme.send_debit(debit(1), Durability::Durable).expect("admitted");
    let mut again = acme.send_debit(debit(1), Durability::Durable).expect("admitted");
    let judged = acme.send_debit(debit(2), Durability::Applied).expect("admitted").await.expect("served");
    assert_eq!(judged.outcome, Outcome::Charged, "those before it are judged too");
    assert!(
        !is_there(&mut first) && !is_there(&mut again),
        "a duplicate of what is not durable is not told as one"
    );
    let mut reading = Box::pin(acme.summary());
    assert!(reading.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    disk.open_again();
    assert_eq!(first.await.expect("served").outcome, Outcome::Charged);
    assert!(matches!(again.await.expect("served").outcome, Outcome::Duplicate(_)));
    assert_eq!(reading.await.expect("served").totals.used.0, 3);
    meter.close().await;
}

fn assert_refused(outcome: Outcome) {
    assert_eq!(outcome, Outcome::Refused(Refusal::InsufficientTokens));
}

/// As many debits without tokens for them as are admitted at once: several looks at the queue.
fn refused_flood(poor: &Organization) -> Vec<Pending<DebitReply>> {
    let admitted = (1..).map_while(|seq| poor.send_debit(debit_of(seq, 2), Durability::Durable).ok());
    admitted.take(8_192).collect()
}

#[tokio::test]
async fn a_flood_that_changes_nothing_is_answered_to_the_last_and_others_are_served_meanwhile() {
    let meter = open_on(GatedDisk::default());
    let (poor, other) = (organization(&meter, "poor", 1).await, organization(&meter, "other", 1_000).await);
    for round in 1..=3 {
        let flood = refused_flood(&poor);
        assert_eq!(outcome(&other, debit(round)).await, Outcome::Charged);
        for pending in flood {
            assert_refused(pending.await.expect("served").outcome);
        }
    }
    assert_eq!(available(&poor).await, 1);
    meter.close().await;
}

/// Holds up the arbiter that wakes it: at the first meeting it is held, at the second it may go on.
struct Held(Barrier);

impl Wake for Held {
    fn wake(self: Arc<Self>) {
        self.0.wait();
        self.0.wait();
    }
}

/// Counts how many of a flood are answered when it is woken. The arbiter wakes it, so nothing goes on meanwhile.
struct AnsweredBefore {
    flood: Mutex<Vec<Pending<DebitReply>>>,
    answered: OnceLock<usize>,
}

impl Wake for AnsweredBefore {
    fn wake(self: Arc<Self>) {
        let mut flood = self.flood.lock().expect("nothing panicked");
        let answered = flood.iter_mut().map(is_there).filter(|is_there| *is_there).count();
        self.answered.set(answered).expect("it is woken once");
    }
}

fn is_pending(pending: &mut Pending<DebitReply>, waker: &Waker) -> bool {
    Pin::new(pending).poll(&mut Context::from_waker(waker)).is_pending()
}

#[tokio::test]
async fn a_debit_waits_for_at_most_one_look_at_the_flood_of_another_organization() {
    let meter = open_on(GatedDisk::default());
    let names = [0, 1, 2].map(|number| name_in(1, number));
    let first = organization(&meter, names[0].as_str(), 1_000_000).await;
    let poor = organization(&meter, names[1].as_str(), 1).await;
    let quiet = organization(&meter, names[2].as_str(), 1_000).await;
    let held = Arc::new(Held(Barrier::new(2)));
    let waker = Waker::from(Arc::clone(&held));
    // One that is answered before it is asked about wakes nobody.
    let mut sent = (1..).map(|seq| first.send_debit(debit(seq), Durability::Applied).expect("admitted"));
    let awaited = sent.find_map(|mut pending| is_pending(&mut pending, &waker).then_some(pending));
    held.0.wait();
    let flood = Mutex::new(refused_flood(&poor));
    let mut pending = quiet.send_debit(debit(1), Durability::Applied).expect("admitted");
    let before = Arc::new(AnsweredBefore { flood, answered: OnceLock::new() });
    assert!(is_pending(&mut pending, &Waker::from(Arc::clone(&before))));
    held.0.wait();
    assert_eq!(outcome(&quiet, debit(2)).await, Outcome::Charged);
    let answered = *before.answered.get().expect("the first is answered before the second");
    assert!(answered <= 1_024, "{answered} debits of the flood were answered before the one of another");
    for answered in [awaited.expect("there is no end of them"), pending] {
        assert_eq!(answered.await.expect("served").outcome, Outcome::Charged);
    }
    meter.close().await;
}

#[tokio::test]
async fn a_meter_that_closes_amid_a_flood_answers_all_of_it() {
    let meter = open_on(GatedDisk::default());
    let poor = organization(&meter, "poor", 1).await;
    let flood = refused_flood(&poor);
    meter.close().await;
    for pending in flood {
        assert_refused(pending.await.expect("what is queued is carried out").outcome);
    }
}
