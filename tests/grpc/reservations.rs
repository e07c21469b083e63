//! R12: reservations over gRPC: made, settled by single calls and on streams, released, listed, refused.

use std::sync::atomic::Ordering;

use tokenweir::meter::Timestamp;
use tokenweir::proto::v1::debit::Identity;
use tokenweir::proto::v1::metering_client::MeteringClient;
use tokenweir::proto::v1::stream_request::Request as Word;
use tokenweir::proto::v1::{
    Debit, DebitBatch, DebitBatchRequest, DebitRequest, Outcome, ReleaseReservationRequest, Reservation,
    ReservationStatus, ReservationsRequest, ReserveRequest, Seq, SummaryReply, SummaryRequest,
};
use tokenweir::telemetry::clock::Clock;
use tonic::{Code, Status};

use crate::fixture::Fixture;
use crate::wire::{Wire, batch, signed};

async fn reserve(server: &Fixture, key: &str, id: &str, tokens: u64) -> Result<Reservation, Status> {
    let order =
        ReserveRequest { organization: "north".to_owned(), id: id.to_owned(), tokens, ttl_ms: 60_000 };
    let reply = MeteringClient::new(server.channel()).reserve(signed(order, key)).await?;
    Ok(reply.into_inner().reservation.expect("a reservation"))
}

async fn release(server: &Fixture, key: &str, id: &str) -> Result<Reservation, Status> {
    let order = ReleaseReservationRequest { organization: "north".to_owned(), id: id.to_owned() };
    let reply = MeteringClient::new(server.channel()).release_reservation(signed(order, key)).await?;
    Ok(reply.into_inner().reservation.expect("a reservation"))
}

async fn open_ones(server: &Fixture, key: &str) -> Result<Vec<Reservation>, Status> {
    let order = ReservationsRequest { organization: "north".to_owned() };
    let reply = MeteringClient::new(server.channel()).reservations(signed(order, key)).await?;
    Ok(reply.into_inner().reservations)
}

async fn summary(server: &Fixture) -> SummaryReply {
    let order = SummaryRequest { organization: "north".to_owned() };
    let reply = MeteringClient::new(server.channel()).summary(signed(order, &server.admin)).await;
    reply.expect("an answer").into_inner()
}

async fn settle(server: &Fixture, id: &str, seq: u64, tokens: u64) -> Result<Outcome, Status> {
    let identity = Some(Identity::Seq(Seq { epoch: 1, seq }));
    let debit = Debit { camera: "a".to_owned(), identity, tokens, ..Debit::default() };
    let organization = "north".to_owned();
    let order = DebitRequest { organization, debit: Some(debit), durability: 0, reservation: id.to_owned() };
    let reply = MeteringClient::new(server.channel()).debit(signed(order, &server.gateway)).await?;
    Ok(reply.into_inner().result.expect("a result").outcome())
}

fn paid_by(id: &str, batch: DebitBatch) -> DebitBatch {
    DebitBatch { reservation: id.to_owned(), ..batch }
}

#[test]
fn r12_a_reservation_is_made_settled_in_parts_and_released() {
    let server = Fixture::start();
    server.run(async {
        let made = reserve(&server, &server.gateway, "job", 1_000).await.expect("made");
        assert_eq!((made.status(), made.reserved, made.held), (ReservationStatus::Open, 1_000, 1_000));
        assert_eq!((made.expires_at_ms - made.made_at_ms, made.ended_at_ms), (60_000, None));
        assert_eq!(made, reserve(&server, &server.gateway, "job", 1_000).await.expect("the same again"));
        let other = reserve(&server, &server.gateway, "job", 999).await.expect_err("another reservation");
        assert_eq!(other.code(), Code::AlreadyExists);
        let before = summary(&server).await;
        assert_eq!((before.available, before.held, before.reservations), (9_000, 1_000, 1));
        for (seq, tokens, outcome) in [
            (1, 300, Outcome::Charged),
            (1, 300, Outcome::DuplicateCharged),
            (2, 701, Outcome::ReservationExceeded),
        ] {
            assert_eq!(settle(&server, "job", seq, tokens).await.expect("an answer"), outcome);
        }
        let listed = open_ones(&server, &server.gateway).await.expect("listed");
        assert_eq!(listed, [Reservation { settled: 300, held: 700, ..made }]);
        let released = release(&server, &server.gateway, "job").await.expect("released");
        assert_eq!((released.status(), released.held), (ReservationStatus::Released, 0));
        assert_eq!(released, release(&server, &server.admin, "job").await.expect("it ends once"));
        assert_eq!(open_ones(&server, &server.gateway).await.expect("listed"), []);
        assert_eq!(settle(&server, "job", 3, 1).await.expect("an answer"), Outcome::ReservationEnded);
        assert_eq!(settle(&server, "none", 4, 1).await.expect("an answer"), Outcome::UnknownReservation);
        let after = summary(&server).await;
        assert_eq!((after.available, after.held, after.reservations, after.used), (9_700, 0, 0, 300));
    });
}

#[test]
fn r12_a_batch_is_paid_by_its_reservation_until_that_is_settled() {
    let server = Fixture::start();
    server.run(async {
        reserve(&server, &server.gateway, "job", 3).await.expect("made");
        let debit = |seq, tokens| {
            let identity = Some(Identity::Seq(Seq { epoch: 1, seq }));
            Debit { camera: "a".to_owned(), identity, tokens, ..Debit::default() }
        };
        let order = DebitBatchRequest {
            organization: "north".to_owned(),
            debits: vec![debit(1, 2), debit(2, 2), debit(3, 1)],
            durability: 0,
            reservation: "job".to_owned(),
        };
        let mut service = MeteringClient::new(server.channel());
        let reply =
            service.debit_batch(signed(order, &server.gateway)).await.expect("an answer").into_inner();
        let outcomes: Vec<Outcome> = reply.results.iter().map(|result| result.outcome()).collect();
        assert_eq!(outcomes, [Outcome::Charged, Outcome::ReservationExceeded, Outcome::Charged]);
        assert_eq!(settle(&server, "job", 4, 1).await.expect("an answer"), Outcome::ReservationEnded);
    });
    assert_eq!(server.available(), 9_997);
}

#[test]
fn i7_batches_of_one_stream_are_each_paid_by_what_they_name() {
    let server = Fixture::start();
    server.run(async {
        reserve(&server, &server.gateway, "one", 10).await.expect("made");
        reserve(&server, &server.gateway, "two", 20).await.expect("made");
        let mut wire = Wire::open(&server, &server.gateway).await.expect("a stream");
        let opened = wire.handles("north", &["a"]).await;
        let payers = ["one", "two", "", "two", "one", "", "two", "two", "one"];
        for (number, payer) in (1_u32..).zip(payers) {
            let rows =
                batch(number.into(), opened.organization, &[opened.cameras[0]; 2], i64::from(2 * number));
            wire.say(Word::DebitBatch(paid_by(payer, rows)));
        }
        let mut acked = 0;
        while acked < 9 {
            let ack = wire.ack().await;
            assert!(ack.exceptions.is_empty(), "{ack:?}");
            acked = ack.last_batch;
        }
        let open = open_ones(&server, &server.gateway).await.expect("listed");
        let settled = |id: &str| open.iter().find(|one| one.id == id).map(|one| one.settled);
        assert_eq!((settled("one"), settled("two")), (Some(6), Some(8)));
        let again = batch(10, opened.organization, &[opened.cameras[0]; 2], 2);
        assert_eq!(wire.outcomes(paid_by("one", again)).await, [Outcome::DuplicateCharged; 2]);
    });
    assert_eq!(server.available(), 10_000 - 30 - 4);
}

#[test]
fn r12_what_a_reservation_does_not_pay_is_not_paid_by_the_pool() {
    let server = Fixture::start();
    server.run(async {
        reserve(&server, &server.gateway, "job", 3).await.expect("made");
        let mut wire = Wire::open(&server, &server.gateway).await.expect("a stream");
        let opened = wire.handles("north", &["a"]).await;
        let rows = |number, seq| batch(number, opened.organization, &[opened.cameras[0]; 2], seq);
        let [charged, exceeded] = [Outcome::Charged, Outcome::ReservationExceeded];
        assert_eq!(wire.outcomes(paid_by("job", rows(1, 1))).await, [charged; 2]);
        let too_much = DebitBatch { tokens: vec![2; 2], ..rows(2, 3) };
        assert_eq!(wire.outcomes(paid_by("job", too_much)).await, [exceeded; 2]);
        let last = wire.outcomes(paid_by("job", rows(3, 5))).await;
        assert_eq!(last, [charged, Outcome::ReservationEnded]);
        assert_eq!(wire.outcomes(paid_by("none", rows(4, 7))).await, [Outcome::UnknownReservation; 2]);
        assert_eq!(wire.outcomes(paid_by("a b", rows(5, 9))).await, [Outcome::Invalid; 2]);
        let used = summary(&server).await.used;
        assert_eq!(used, 3);
        assert_eq!(wire.outcomes(rows(6, 11)).await, [charged; 2], "the pool pays again");
    });
    assert_eq!(server.available(), 9_995);
}

#[test]
fn what_cannot_be_reserved_is_refused_with_the_code_of_http() {
    let server = Fixture::start();
    let viewer = server.key("viewer", &["north"]);
    server.run(async {
        for (key, id, tokens, code) in [
            (&viewer, "r", 1, "forbidden"),
            (&server.gateway, "a b", 1, "invalid"),
            (&server.gateway, "r", 0, "invalid"),
            (&server.gateway, "r", 10_001, "insufficient_tokens"),
        ] {
            let refused = reserve(&server, key, id, tokens).await.expect_err("refused");
            assert_eq!(refused.metadata().get("weir-code").expect("a code"), code, "{id} {tokens}");
        }
        assert_eq!(open_ones(&server, &viewer).await.expect("a viewer reads"), []);
        let unknown = release(&server, &server.gateway, "r").await.expect_err("unknown");
        assert_eq!(unknown.code(), Code::NotFound);
        reserve(&server, &server.gateway, "r", 1).await.expect("made");
        let refused = release(&server, &viewer, "r").await.expect_err("a viewer only reads");
        assert_eq!(refused.code(), Code::PermissionDenied);
        assert_eq!(settle(&server, "a b", 1, 1).await.expect_err("no id").code(), Code::InvalidArgument);
    });
}

#[test]
fn i7_expiry_is_seen_in_every_read_at_once() {
    const START_MS: u64 = 1_750_000_000_000;
    let (clock, hand) = Clock::manual(Timestamp::from_ms(START_MS).expect("in range"));
    let server = Fixture::start_by(clock);
    server.run(async {
        let made = reserve(&server, &server.gateway, "job", 1_000).await.expect("made");
        assert_eq!(settle(&server, "job", 1, 300).await.expect("an answer"), Outcome::Charged);
        hand.store(START_MS + 59_999, Ordering::Relaxed);
        let before = summary(&server).await;
        assert_eq!((before.available, before.held, before.reservations), (9_000, 700, 1));
        assert_eq!(open_ones(&server, &server.gateway).await.expect("listed").len(), 1);
        hand.store(START_MS + 60_000, Ordering::Relaxed);
        let after = summary(&server).await;
        assert_eq!((after.available, after.held, after.reservations), (9_700, 0, 0));
        assert_eq!(open_ones(&server, &server.gateway).await.expect("listed"), []);
        assert_eq!(settle(&server, "job", 2, 1).await.expect("an answer"), Outcome::ReservationEnded);
        let again = reserve(&server, &server.gateway, "job", 1_000).await.expect("as it ended");
        assert_eq!((again.status(), again.settled, again.held), (ReservationStatus::Expired, 300, 0));
        assert_eq!(again.ended_at_ms, Some(made.expires_at_ms));
        assert_eq!(release(&server, &server.gateway, "job").await.expect("it ended once"), again);
    });
}

#[test]
fn i7_whatever_is_sent_no_more_is_settled_than_was_reserved() {
    let server = Fixture::start();
    server.run(async {
        reserve(&server, &server.gateway, "job", 40).await.expect("made");
        let mut settled = 0;
        // Each number comes several times, up and down, with other tokens at times; far more than the reservation holds.
        for step in 0..60_u64 {
            let (seq, tokens) = (step * 7 % 25, 1 + step % 5);
            let outcome = settle(&server, "job", seq, tokens).await.expect("an answer");
            settled += if outcome == Outcome::Charged { tokens } else { 0 };
            let found = summary(&server).await;
            assert!(settled <= 40, "step {step}");
            assert_eq!(
                (found.used, found.held, found.available),
                (settled, 40 - settled, 9_960),
                "step {step}"
            );
        }
        assert_eq!(settled, 40, "and all that it holds can be settled");
        let ended = release(&server, &server.gateway, "job").await.expect("it ended before");
        assert_eq!((ended.status(), ended.settled), (ReservationStatus::Settled, 40));
    });
}
