//! The client: batches, window, reconnection.

use std::net::SocketAddr;
use std::time::Duration;

use tokenweir::client::UsageKind;
use tokenweir::client::{CameraRef, Client, Debit, DebitStream, Error, Identity, Outcome, ReservationId};
use tokenweir::proto::v1::{ReservationStatus, ReserveRequest};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::fixture::Fixture;

fn debit(camera: CameraRef<'_>, seq: u64) -> Debit<'_> {
    let identity = Identity::Seq { epoch: 1, seq };
    Debit { camera, identity, tokens: 1, kind: UsageKind::default(), time: None }
}

#[test]
fn single_debits_are_gathered_and_each_is_told_its_own_outcome() {
    let server = Fixture::start();
    let client = server.client(&server.gateway, |config| config.batch_debits = 8);
    server.run(async {
        let stream = client.stream("north");
        let a = stream.camera("a").expect("an id");
        let mut sent = Vec::new();
        for seq in 1..=50 {
            sent.push(stream.send(&debit(a, seq)).await.expect("room"));
        }
        sent.push(stream.send(&debit(CameraRef::Id("off"), 1)).await.expect("room"));
        sent.push(stream.send(&debit(CameraRef::Id("nowhere"), 1)).await.expect("room"));
        let mut outcomes = Vec::new();
        for sent in sent {
            outcomes.push(sent.await.expect("an answer").outcome);
        }
        assert_eq!(outcomes[..50], [Outcome::Charged; 50]);
        assert_eq!(outcomes[50..], [Outcome::CloudAiDisabled, Outcome::UnknownCamera]);
        assert_eq!(stream.lag().unacknowledged, 0);
        stream.close().await.expect("it ends well");
    });
    assert_eq!(server.available(), 9_950);
}

#[test]
fn r12_a_debit_of_a_stream_is_paid_by_the_reservation_that_it_names_also_after_a_restart() {
    let mut server = Fixture::start();
    let client = server.client(&server.gateway, |config| {
        (config.batch_debits, config.backoff_min) = (4, Duration::from_millis(5));
    });
    let job = ReservationId::new("job").expect("an id");
    let stream = server.run(async {
        let order = ReserveRequest {
            organization: "north".to_owned(),
            id: job.to_string(),
            tokens: 30,
            ttl_ms: 60_000,
        };
        assert_eq!(client.reserve(order).await.expect("made").status(), ReservationStatus::Open);
        client.stream("north")
    });
    server.run(pay_in_turn(&stream, &job, 1));
    server.restart();
    server.run(pay_in_turn(&stream, &job, 21));
    let settled = server.run(client.reservations("north")).expect("listed").first().map(|one| one.settled);
    assert_eq!((settled, server.available()), (Some(20), 10_000 - 30 - 20));
    server.run(async {
        let again = stream.settle(&debit(CameraRef::Id("a"), 1), &job).await.expect("room");
        assert_eq!(again.await.expect("an answer").outcome, Outcome::DuplicateCharged);
        let ended = client.release("north", &job).await.expect("released");
        assert_eq!((ended.status(), ended.settled), (ReservationStatus::Released, 20));
        let late = stream.settle(&debit(CameraRef::Id("a"), 41), &job).await.expect("room");
        assert_eq!(late.await.expect("an answer").outcome, Outcome::ReservationEnded);
    });
    assert_eq!(server.available(), 10_000 - 40);
}

/// Twenty debits, every other one paid by the reservation.
async fn pay_in_turn(stream: &DebitStream, job: &ReservationId, first: u64) {
    let mut sent = Vec::new();
    for seq in first..first + 20 {
        let debit = debit(CameraRef::Id("a"), seq);
        sent.push(match seq % 2 {
            0 => stream.settle(&debit, job).await.expect("room"),
            _ => stream.send(&debit).await.expect("room"),
        });
    }
    stream.flush().await.expect("it is served");
    for sent in sent {
        assert_eq!(sent.await.expect("an answer").outcome, Outcome::Charged);
    }
}

#[test]
fn a_camera_that_is_registered_later_is_charged_from_then_on() {
    let server = Fixture::start();
    let client = server.client(&server.gateway, |_| {});
    let stream = server.run(async { client.stream("north") });
    let late = || debit(CameraRef::Id("late"), 1);
    let first = server.run(async { stream.send(&late()).await.expect("room").await.expect("an answer") });
    assert_eq!((first.outcome, first.code()), (Outcome::UnknownCamera, "unknown_camera"));
    server.camera("late");
    let second = server.run(async { stream.send(&late()).await.expect("room").await.expect("an answer") });
    assert_eq!(second.outcome, Outcome::Charged);
}

#[test]
fn a_full_window_is_an_error_at_once_or_a_wait() {
    let mut server = Fixture::bound(|_| {});
    let client = server.client("weir_a_b", |config| (config.batch_debits, config.window_debits) = (2, 4));
    let stream = server.run(async { client.stream("north") });
    let sent: Vec<_> =
        (1..=4).map(|seq| stream.try_send(&debit(CameraRef::Id("a"), seq)).expect("room")).collect();
    assert_eq!(stream.try_send(&debit(CameraRef::Id("a"), 5)).err(), Some(Error::Full));
    let lag = stream.lag();
    assert_eq!((lag.unacknowledged, lag.is_connected), (4, false));
    assert!(lag.oldest.is_some());
    // Once it serves, the key turns out to be unknown: the stream ends, and so does every wait.
    server.open();
    for sent in sent {
        let refused = server.run(sent).expect_err("the key is not known");
        assert!(matches!(&refused, Error::Refused { code, .. } if code == "unauthenticated"), "{refused}");
    }
    let waited = server.run(stream.send(&debit(CameraRef::Id("a"), 5))).err();
    assert!(matches!(waited, Some(Error::Refused { .. })), "{waited:?}");
}

#[test]
fn r13_what_a_broken_connection_left_open_is_sent_again_and_charged_once() {
    let server = Fixture::start();
    for camera in 0..200 {
        server.camera(&format!("c{camera}"));
    }
    let target: SocketAddr = server.url().trim_start_matches("http://").parse().expect("an address");
    let (cut, _) = watch::channel(0_u32);
    let proxy = server.run(proxy(target, cut.clone()));
    let client = server.client_of(&format!("http://{proxy}"), &server.gateway, |config| {
        config.batch_debits = 16;
        config.backoff_min = Duration::from_millis(5);
    });
    server.run(send_while_cutting(&client, &cut));
    assert_eq!(server.available(), 10_000 - 4_000);
}

/// Twenty debits of each of 200 cameras, with a cut after every few hundred.
async fn send_while_cutting(client: &Client, cut: &watch::Sender<u32>) {
    let stream = client.stream("north");
    let mut sent = Vec::new();
    for seq in 1..=20 {
        for camera in 0..200 {
            let id = format!("c{camera}");
            sent.push(stream.send(&debit(CameraRef::Id(&id), seq)).await.expect("room"));
        }
        if seq % 4 == 0 {
            // Some are acknowledged, the others are on their way.
            let seen = sent.len() - 150;
            drop((&mut sent[seen]).await);
            cut.send_modify(|cuts| *cuts += 1);
        }
    }
    stream.flush().await.expect("it comes back");
    assert!(stream.lag().reconnects >= 1, "{:?}", stream.lag());
    stream.close().await.expect("it ends well");
}

#[test]
fn r14_a_restart_of_the_server_is_bridged() {
    let mut server = Fixture::start();
    let client = server.client(&server.gateway, |config| config.backoff_min = Duration::from_millis(5));
    let stream = server.run(async { client.stream("north") });
    for seq in 1..=10 {
        server
            .run(async { stream.send(&debit(CameraRef::Id("a"), seq)).await.expect("room").await })
            .expect("charged");
    }
    server.restart();
    let after = server.run(async { stream.send(&debit(CameraRef::Id("a"), 11)).await.expect("room").await });
    assert_eq!(after.expect("an answer").available, Some(9_989));
    let again = server.run(async { stream.send(&debit(CameraRef::Id("a"), 10)).await.expect("room").await });
    assert_eq!(again.expect("an answer").outcome, Outcome::DuplicateCharged);
}

#[test]
fn a_stream_that_is_dropped_tells_who_still_waits() {
    let server = Fixture::bound(|_| {});
    let client = server.client("weir_a_b", |_| {});
    let stream = server.run(async { client.stream("north") });
    let sent = stream.try_send(&debit(CameraRef::Id("a"), 1)).expect("room");
    drop(stream);
    assert_eq!(server.run(sent), Err(Error::Closed));
}

/// Passes connections on to `target`, and breaks all of them whenever `cut` changes.
pub(crate) async fn proxy(target: SocketAddr, cut: watch::Sender<u32>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let mut cuts = cut.subscribe();
            tokio::spawn(async move {
                let Ok(mut far) = TcpStream::connect(target).await else { return };
                tokio::select! {
                    _ = copy_bidirectional(&mut near, &mut far) => {}
                    _ = cuts.changed() => {}
                }
            });
        }
    });
    address
}
