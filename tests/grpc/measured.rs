//! Events without a token count: the rate card prices them, whichever way they come.

use serde_json::json;
use tokenweir::client::{CameraRef, Chargeable, Debit, Identity, Measured, ReservationId, Unit, UsageKind};
use tokenweir::proto::v1;
use tokenweir::proto::v1::Outcome;

use crate::fixture::{Fixture, NORTH};

/// A second costs a quarter of a token, an image one and a half, for search; nothing else has a price.
fn priced() -> Fixture {
    let server = Fixture::start();
    let price = |unit, millitokens| json!({"kind": "video_search", "unit": unit, "millitokens": millitokens});
    let prices = json!({"from": 1, "prices": [price("second", 250), price("image", 1_500)]});
    server.call("PUT", &format!("{NORTH}/rates"), &server.admin, &prices);
    server
}

fn event(seq: u64, unit: Unit, count: u64) -> Measured<'static> {
    let (camera, identity) = (CameraRef::Id("a"), Identity::Seq { epoch: 1, seq });
    Measured { camera, identity, unit, count, kind: UsageKind::VideoSearch, time: None }
}

fn message(seq: u64, unit: v1::Unit, count: u64) -> v1::Debit {
    v1::Debit {
        camera: "a".to_owned(),
        identity: Some(v1::debit::Identity::Seq(v1::Seq { epoch: 1, seq })),
        kind: v1::UsageKind::VideoSearch.into(),
        measured: Some(v1::Measured { unit: unit.into(), count }),
        ..v1::Debit::default()
    }
}

#[test]
fn a_stream_charges_what_the_rate_card_says_beside_debits_that_bear_tokens() {
    let mut server = priced();
    let told = |server: &Fixture| {
        let client = server.client(&server.gateway, |_| {});
        let Measured { camera, kind, time, .. } = event(0, Unit::Event, 1);
        let debit = Debit { camera, identity: Identity::Seq { epoch: 1, seq: 3 }, tokens: 7, kind, time };
        let (images, seconds) = (event(1, Unit::Image, 3), event(2, Unit::Second, 90_500));
        let unpriced = event(4, Unit::Event, 1);
        let all: [Chargeable<'_>; 4] =
            [(&images).into(), (&seconds).into(), (&debit).into(), (&unpriced).into()];
        server.run(async {
            let stream = client.stream("north");
            let mut codes = Vec::new();
            for asked in all {
                codes.push(stream.send(asked).await.expect("room"));
            }
            stream.flush().await.expect("all is answered");
            let mut told = Vec::new();
            for sent in codes {
                told.push(sent.await.expect("it is answered").code().to_owned());
            }
            told
        })
    };
    assert_eq!(told(&server), ["charged", "charged", "charged", "unpriced"]);
    assert_eq!(server.available(), 10_000 - 5 - 23 - 7);
    server.restart();
    assert_eq!(told(&server), ["duplicate", "duplicate", "duplicate", "unpriced"]);
    let over_http = json!([{"camera": "a", "epoch": 1, "seq": 1, "images": 3, "kind": "video_search"},
        {"camera": "a", "epoch": 1, "seq": 2, "duration_ms": 90_501, "kind": "video_search"}]);
    let answer = server.call("POST", &format!("{NORTH}/debits"), &server.gateway, &over_http);
    let codes = [&answer["results"][0]["outcome"], &answer["results"][1]["code"]];
    assert_eq!(codes, ["duplicate", "conflict"], "it is the same event over HTTP: {answer}");
    assert_eq!(server.available(), 10_000 - 5 - 23 - 7);
}

#[test]
fn single_calls_are_priced_too_and_a_reservation_pays_them() {
    let server = priced();
    let client = server.client(&server.gateway, |_| {});
    let organization = || "north".to_owned();
    let debit = |debit: v1::Debit, reservation: &str| {
        let (debit, reservation) = (Some(debit), reservation.to_owned());
        let request = v1::DebitRequest { organization: organization(), debit, durability: 0, reservation };
        let reply = server.run(client.debit(request)).map(|reply| reply.result.expect("a result").code);
        reply.unwrap_or_else(|error| error.to_string())
    };
    assert_eq!(debit(message(1, v1::Unit::Image, 2), ""), "charged");
    assert_eq!(debit(message(1, v1::Unit::Image, 2), ""), "duplicate");
    assert_eq!(server.available(), 9_997);
    let reserve =
        v1::ReserveRequest { organization: organization(), id: "r".to_owned(), tokens: 100, ttl_ms: 60_000 };
    server.run(client.reserve(reserve)).expect("there is enough");
    assert_eq!(debit(message(2, v1::Unit::Second, 8_000), "r"), "charged");
    let open = server.run(client.reservations("north")).expect("an answer");
    assert_eq!((open[0].settled, open[0].held), (2, 98));
    server.run(client.release("north", &ReservationId::new("r").expect("valid"))).expect("it is open");
    for (bad, code) in [
        (message(3, v1::Unit::Event, 1), "unpriced"),
        (message(3, v1::Unit::Image, 0), "invalid"),
        (message(3, v1::Unit::Image, 1 << 40), "invalid"),
    ] {
        assert_eq!(debit(bad, ""), code);
    }
    let mut of_no_unit = message(3, v1::Unit::Image, 1);
    of_no_unit.measured = Some(v1::Measured { unit: 9, count: 1 });
    let told = debit(of_no_unit.clone(), "");
    assert!(told.contains("the unit is not known"), "{told}");
    let both = v1::Debit { tokens: 40, ..message(4, v1::Unit::Image, 1) };
    let debits = vec![
        both,
        message(5, v1::Unit::Image, 1),
        of_no_unit,
        v1::Debit { measured: None, ..message(6, v1::Unit::Event, 1) },
    ];
    let request = v1::DebitBatchRequest {
        organization: organization(),
        debits,
        durability: 0,
        reservation: String::new(),
    };
    let reply = server.run(client.debit_batch(request)).expect("an answer");
    let outcomes: Vec<_> = reply.results.iter().map(v1::DebitResult::outcome).collect();
    assert_eq!(outcomes, [Outcome::Charged, Outcome::Charged, Outcome::Invalid, Outcome::Invalid]);
    assert_eq!(server.available(), 9_997 - 2 - 40 - 2);
}
