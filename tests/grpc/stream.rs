//! The stream of debits: handles, order, exceptions, credit.

use tokenweir::proto::v1::stream_reply::Reply;
use tokenweir::proto::v1::stream_request::Request as Word;
use tokenweir::proto::v1::{DebitBatch, Durability, Outcome};
use tonic::Code;

use crate::fixture::Fixture;
use crate::wire::{Wire, batch};

/// Milliseconds since the Unix epoch, of this machine.
fn now_ms() -> u64 {
    tokenweir::telemetry::clock::Clock::System.now().ms()
}

#[test]
fn a_charged_batch_is_acknowledged_with_nothing_but_its_range() {
    let server = Fixture::start();
    server.run(async {
        let mut wire = Wire::open(&server, &server.gateway).await.expect("a stream");
        let opened = wire.handles("north", &["a", "b", "nowhere"]).await;
        let (a, b) = (opened.cameras[0], opened.cameras[1]);
        assert!(a > 0 && b > 0 && a != b && opened.problem.is_none());
        assert_eq!(opened.cameras[2], 0, "a camera that is not there has no handle");
        wire.say(Word::DebitBatch(batch(7, opened.organization, &[a, b, a], 1)));
        let ack = wire.ack().await;
        assert_eq!((ack.first_batch, ack.last_batch, ack.available), (7, 7, Some(9_997)));
        assert!(ack.exceptions.is_empty() && ack.lsn > Some(0));
        assert_eq!(ack.durability(), Durability::Durable);
        wire.end();
        assert_eq!(wire.next().await.expect("it ends well"), None);
    });
    assert_eq!(server.available(), 9_997);
}

#[test]
fn r13_rows_that_were_not_charged_are_listed_with_their_codes() {
    let server = Fixture::start();
    server.run(async {
        let mut wire = Wire::open(&server, &server.gateway).await.expect("a stream");
        let opened = wire.handles("north", &["a", "free", "off"]).await;
        let [a, free, off] = opened.cameras[..] else { panic!("three handles") };
        let rows = DebitBatch {
            camera: vec![a, a, a, free, free, off, 0, 999, a, a],
            seq_delta: vec![5, 0, 0, 0, 0, 0, 0, 0, 1, 1],
            tokens: vec![3, 3, 4, 1, 1, 1, 1, 1, 0, 1_000_000],
            ..batch(1, opened.organization, &[], 0)
        };
        let outcomes = wire.outcomes(rows).await;
        let expected = [
            Outcome::Charged,
            Outcome::DuplicateCharged,
            Outcome::Conflict,
            Outcome::Exempt,
            Outcome::DuplicateExempt,
            Outcome::CloudAiDisabled,
            Outcome::UnknownCamera,
            Outcome::UnknownCamera,
            Outcome::Invalid,
            Outcome::InsufficientTokens,
        ];
        assert_eq!(outcomes, expected);
        let old = DebitBatch { epoch: vec![0], ..batch(2, opened.organization, &[a, a], 1) };
        assert_eq!(wire.outcomes(old).await, [Outcome::TooOld; 2]);
    });
    assert_eq!(server.available(), 9_997);
}

#[test]
fn batches_sent_at_once_are_acknowledged_in_their_order() {
    let server = Fixture::start();
    server.run(async {
        let mut wire = Wire::open(&server, &server.gateway).await.expect("a stream");
        let opened = wire.handles("north", &["a"]).await;
        for number in 1..=200_u32 {
            let seq = i64::from(number);
            wire.say(Word::DebitBatch(batch(number.into(), opened.organization, &opened.cameras, seq)));
        }
        let mut next = 1;
        while next <= 200 {
            let ack = wire.ack().await;
            assert_eq!(ack.first_batch, next);
            assert_eq!(ack.available, Some(10_000 - ack.last_batch));
            next = ack.last_batch + 1;
        }
    });
}

#[test]
fn event_ids_times_kinds_and_epochs_are_mixed_in_one_batch() {
    let server = Fixture::start();
    server.run(async {
        let mut wire = Wire::open(&server, &server.gateway).await.expect("a stream");
        let opened = wire.handles("north", &["a", "free"]).await;
        let [a, free] = opened.cameras[..] else { panic!("two handles") };
        let now = now_ms();
        let rows = |number| DebitBatch {
            camera: vec![a, a, free, a, free, a],
            epoch: vec![1, 0, 2, 0, 2, 1],
            seq_delta: vec![1, 0, 0, 0, 1, 0],
            kind: vec![0, 0, 0, 3, 1, 9],
            time_ms: vec![now, now, 0, 0, 0, 0],
            event_ids: b"firstsecond".to_vec(),
            event_id_length: vec![0, 5, 0, 6, 0, 0],
            ..batch(number, opened.organization, &[1; 6], 0)
        };
        let expected = [
            Outcome::Charged,
            Outcome::Charged,
            Outcome::Exempt,
            Outcome::Invalid,
            Outcome::Charged,
            Outcome::Invalid,
        ];
        let with_tokens = |number| DebitBatch { tokens: vec![1; 6], ..rows(number) };
        assert_eq!(wire.outcomes(with_tokens(1)).await, expected);
        let again = wire.outcomes(with_tokens(2)).await;
        assert_eq!(again[1], Outcome::DuplicateCharged, "the event id is known");
        assert_eq!((again[0], again[2]), (Outcome::DuplicateCharged, Outcome::DuplicateExempt));
    });
    assert_eq!(server.available(), 9_997);
}

#[test]
fn more_than_the_credit_in_flight_ends_the_stream() {
    let server = Fixture::start_with(|config| config.grpc_credit_debits = 4);
    server.run(async {
        let mut wire = Wire::open(&server, &server.gateway).await.expect("a stream");
        assert_eq!(wire.credit, 4);
        let opened = wire.handles("north", &["a"]).await;
        let a = opened.cameras[0];
        assert_eq!(wire.outcomes(batch(1, opened.organization, &[a; 4], 1)).await, [Outcome::Charged; 4]);
        wire.say(Word::DebitBatch(batch(2, opened.organization, &[a; 5], 5)));
        let (code, status) = wire.failure().await;
        assert_eq!((code.as_str(), status.code()), ("over_credit", Code::ResourceExhausted));
    });
    assert_eq!(server.available(), 9_996);
}

#[test]
fn what_was_read_before_a_malformed_batch_is_acknowledged_before_the_stream_ends() {
    let server = Fixture::start();
    server.run(async {
        for spoil in [
            |batch: &mut DebitBatch| batch.tokens.clear(),
            |batch: &mut DebitBatch| batch.batch = 1,
            |batch: &mut DebitBatch| batch.organization = 9,
            |batch: &mut DebitBatch| batch.camera.clear(),
        ] {
            let mut wire = Wire::open(&server, &server.gateway).await.expect("a stream");
            let opened = wire.handles("north", &["a"]).await;
            wire.say(Word::DebitBatch(batch(1, opened.organization, &opened.cameras, 1)));
            let mut spoiled = batch(2, opened.organization, &opened.cameras, 2);
            spoil(&mut spoiled);
            wire.say(Word::DebitBatch(spoiled));
            assert_eq!(wire.ack().await.last_batch, 1);
            let (code, status) = wire.failure().await;
            assert_eq!((code.as_str(), status.code()), ("malformed_message", Code::InvalidArgument));
        }
    });
    assert_eq!(server.available(), 9_999);
}

#[test]
fn an_applied_batch_says_that_it_was_only_applied() {
    let server = Fixture::start();
    server.run(async {
        let mut wire = Wire::open(&server, &server.gateway).await.expect("a stream");
        let opened = wire.handles("north", &["a"]).await;
        let mut applied = batch(1, opened.organization, &opened.cameras, 1);
        applied.set_durability(Durability::Applied);
        wire.say(Word::DebitBatch(applied));
        match wire.next().await {
            Ok(Some(Reply::Ack(ack))) => assert_eq!(ack.durability(), Durability::Applied),
            other => panic!("an acknowledgement, not {other:?}"),
        }
    });
}

#[test]
fn streams_that_ask_for_more_than_an_organization_admits_take_turns() {
    let server = Fixture::start_with(|config| {
        config.in_flight_max = 16;
        config.grpc_credit_debits = 64;
    });
    server.run(async {
        let mut wires = Vec::new();
        for camera in ["a", "b", "a", "b"] {
            let mut wire = Wire::open(&server, &server.gateway).await.expect("a stream");
            let opened = wire.handles("north", &[camera]).await;
            wires.push((wire, opened));
        }
        let rounds = (1..=4_u32).flat_map(|number| (0..4_u32).map(move |stream| (number, stream)));
        for (number, stream) in rounds {
            let (wire, opened) = &wires[usize::try_from(stream).expect("a stream")];
            let seq = i64::from(number * 16 + (stream / 2) * 1_000);
            let epoch = vec![1 + stream / 2];
            let camera = opened.cameras[0];
            let message =
                DebitBatch { epoch, ..batch(number.into(), opened.organization, &[camera; 16], seq) };
            wire.say(Word::DebitBatch(message));
        }
        for (wire, _) in &mut wires {
            let mut acked = 0;
            while acked < 4 {
                let ack = wire.ack().await;
                let is_busy = ack.exceptions.iter().any(|exceptions| exceptions.every_row() == Outcome::Busy);
                assert!(!is_busy, "{ack:?}");
                acked = ack.last_batch;
            }
        }
    });
}
