//! R12, I7: reservations on a meter that runs: swept by themselves, kept over restarts, waited for by transfers.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokenweir::domain::limits::RESERVATION_MS_MIN;
use tokenweir::meter::{
    BatchReply, Clock, Config, DebitBatch, Meter, Organization, ReservationStatus, Role, Tokens,
    TransferState, Until,
};
use tokenweir::storage::SimDisk;

use crate::support::{
    HOST, START_MS, aftermaths, answered, at, available, bearer, code, config, debit_of, open_on,
    organization, summary, transfer_id,
};

const TTL: u64 = 10_000;

async fn reserve(one: &Organization, id: &str, tokens: u64) -> ReservationStatus {
    let reserved = one.reserve(id.parse().expect("valid"), Tokens(tokens), TTL).await;
    reserved.expect("it fits").status
}

async fn status(one: &Organization, id: &str) -> ReservationStatus {
    one.reservation(id.parse().expect("valid")).await.expect("known").status
}

/// Has a reservation pay so many tokens; the stable code of what became of it.
async fn settle(one: &Organization, id: &str, seq: u64, tokens: u64) -> &'static str {
    let mut batch = DebitBatch::default();
    batch.push(debit_of(seq, tokens));
    batch.pay_by(Some(id.parse().expect("valid")));
    let BatchReply { batch, .. } = one.debit_batch(batch).await.expect("durable");
    tokenweir::meter::status::code(batch.outcomes()[0])
}

#[tokio::test]
async fn r12_i7_reservations_are_kept_over_restarts_and_expire_by_the_clock() {
    let disk = SimDisk::new();
    let (clock, hand) = Clock::manual(at(START_MS));
    let config = || Config { clock: clock.clone(), ..config("d".as_ref()) };
    let meter = Meter::open_on(Arc::new(disk.clone()), config()).expect("new");
    let acme = organization(&meter, "acme", 100).await;
    assert_eq!(reserve(&acme, "r", 60).await, ReservationStatus::Open);
    assert_eq!(settle(&acme, "r", 1, 10).await, "charged");
    for snapshot in [false, true] {
        assert!(!snapshot || meter.snapshot().await);
        let image = aftermaths(&disk).remove(0);
        let meter = Meter::open_on(Arc::new(image), config()).expect("whole");
        let acme = meter.organization(HOST, acme.id()).expect("there");
        let found = summary(&acme).await;
        assert_eq!((found.available, found.held, found.reservations), (Tokens(40), Tokens(50), 1));
        assert_eq!(settle(&acme, "r", 1, 10).await, "duplicate");
        assert_eq!(settle(&acme, "r", 2, 51).await, "reservation_exceeded");
        meter.close().await;
    }
    hand.store(START_MS + TTL, Ordering::Relaxed);
    let found = summary(&acme).await;
    assert_eq!((found.available, found.held, found.reservations), (Tokens(90), Tokens(0), 0), "at once");
    assert_eq!(status(&acme, "r").await, ReservationStatus::Expired);
    assert_eq!(settle(&acme, "r", 2, 1).await, "reservation_ended");
    assert!(acme.reservations().await.expect("served").is_empty());
    meter.close().await;
}

#[tokio::test]
async fn i7_i10_an_expired_reservation_is_swept_though_nobody_asks() {
    let (clock, hand) = Clock::manual(at(START_MS));
    let meter =
        Meter::open_on(Arc::new(SimDisk::new()), Config { clock, ..config("d".as_ref()) }).expect("new");
    let acme = organization(&meter, "acme", 100).await;
    reserve(&acme, "r", 60).await;
    let durable = || meter.status().iter().map(|partition| partition.durable.0).sum::<u64>();
    let before = durable();
    hand.store(START_MS + TTL, Ordering::Relaxed);
    let swept = async {
        while durable() == before {
            tokio::task::yield_now().await;
        }
    };
    answered("the sweep", swept).await;
    assert_eq!(durable(), before + 1, "it is journaled once");
    assert_eq!(status(&acme, "r").await, ReservationStatus::Expired);
    meter.close().await;
}

#[tokio::test]
async fn i7_i10_expired_reservations_are_swept_within_a_second_by_the_clock_of_the_machine() {
    const RESERVATIONS: u64 = 40;
    let meter = open_on(SimDisk::new());
    let mut all = Vec::new();
    for number in 0..RESERVATIONS {
        all.push(organization(&meter, &format!("org-{number}"), 100).await);
    }
    let durable = || meter.status().iter().map(|partition| partition.durable.0).sum::<u64>();
    let before = durable();
    for (one, number) in all.iter().zip(0..) {
        let ttl_ms = RESERVATION_MS_MIN + 17 * number;
        one.reserve("r".parse().expect("valid"), Tokens(1), ttl_ms).await.expect("it fits");
    }
    let swept = async {
        while durable() < before + 2 * RESERVATIONS {
            tokio::task::yield_now().await;
        }
    };
    answered("the sweeps", swept).await;
    for one in &all {
        let ended = one.reservation("r".parse().expect("valid")).await.expect("known");
        let late_ms = ended.ended_at.expect("nobody asked before").ms() - ended.expires_at.ms();
        assert!(late_ms < 1_000, "{}: {late_ms} ms", one.id());
    }
    meter.close().await;
}

#[tokio::test]
async fn r11_a_transfer_waits_until_the_source_has_no_open_reservation() {
    let meter = open_on(SimDisk::new());
    let (acme, other) = (organization(&meter, "acme", 100).await, organization(&meter, "other", 1).await);
    reserve(&acme, "r", 60).await;
    let sides = || (acme.id().clone(), other.id().clone());
    let begun = meter.transfer(HOST, transfer_id("t"), sides(), Until::Begun).await.expect("begun");
    assert_eq!(begun.state, TransferState::Begun);
    let closed = async {
        loop {
            let refused = acme.reserve("more".parse().expect("valid"), Tokens(1), TTL).await;
            if code(refused) == "in_transfer" {
                break;
            }
            acme.release_reservation("more".parse().expect("valid")).await.expect("open");
            tokio::task::yield_now().await;
        }
    };
    answered("the source closes", closed).await;
    assert_eq!(settle(&acme, "r", 1, 20).await, "charged");
    acme.release_reservation("r".parse().expect("valid")).await.expect("open");
    let ended = meter.transfer(HOST, transfer_id("t"), sides(), Until::Ended);
    let ended = answered("the transfer", ended).await.expect("it ends");
    assert_eq!((ended.state, ended.tokens), (TransferState::Finished, Tokens(80)));
    assert_eq!((available(&acme).await, available(&other).await), (0, 81));
    meter.close().await;
}

#[tokio::test]
async fn r1_gateways_reserve_and_release_administrators_release_and_viewers_look() {
    let meter = open_on(SimDisk::new());
    let acme = organization(&meter, "acme", 100).await;
    let r = || "r".parse().expect("valid");
    for (role, reserves, releases) in
        [(Role::Viewer, false, false), (Role::Admin, false, true), (Role::Gateway, true, true)]
    {
        let its = meter.organization(&bearer(&meter, role, &["acme"]).await, acme.id()).expect("its own");
        acme.reserve(r(), Tokens(1), TTL).await.expect("it fits");
        assert_eq!(its.reserve("other".parse().expect("valid"), Tokens(1), TTL).await.is_ok(), reserves);
        assert_eq!(its.release_reservation(r()).await.is_ok(), releases, "{role:?}");
        assert!(its.reservation(r()).await.is_ok() && its.reservations().await.is_ok(), "{role:?}");
    }
    meter.close().await;
}

#[tokio::test]
async fn i7_expiry_is_seen_in_every_read_at_once() {
    let (clock, hand) = Clock::manual(at(START_MS));
    let meter =
        Meter::open_on(Arc::new(SimDisk::new()), Config { clock, ..config("d".as_ref()) }).expect("new");
    let acme = organization(&meter, "acme", 100).await;
    reserve(&acme, "r", 60).await;
    assert_eq!(settle(&acme, "r", 1, 10).await, "charged");
    hand.store(START_MS + TTL - 1, Ordering::Relaxed);
    assert_eq!((available(&acme).await, acme.reservations().await.expect("served").len()), (40, 1));
    hand.store(START_MS + TTL, Ordering::Relaxed);
    assert_eq!((available(&acme).await, acme.reservations().await.expect("served").len()), (90, 0));
    let ended = acme.reservation("r".parse().expect("valid")).await.expect("known");
    assert_eq!((ended.status, ended.settled), (ReservationStatus::Expired, Tokens(10)));
    assert_eq!(reserve(&acme, "r", 60).await, ReservationStatus::Expired, "it is not made again");
    meter.close().await;
}

#[tokio::test]
async fn i7_whatever_is_sent_no_more_is_settled_than_was_reserved() {
    let meter = open_on(SimDisk::new());
    let acme = organization(&meter, "acme", 100).await;
    reserve(&acme, "r", 40).await;
    let mut settled = 0;
    // Each number comes several times, up and down, with other tokens at times; far more than the reservation holds.
    for step in 0..60_u64 {
        let (seq, tokens) = (step * 7 % 25, 1 + step % 5);
        settled += if settle(&acme, "r", seq, tokens).await == "charged" { tokens } else { 0 };
        let found = acme.reservation("r".parse().expect("valid")).await.expect("known");
        assert_eq!((found.reserved, found.settled), (Tokens(40), Tokens(settled)), "step {step}");
        assert!(settled <= 40 && available(&acme).await == 60, "step {step}");
    }
    assert_eq!(settled, 40, "and all that it holds can be settled");
    meter.close().await;
}
