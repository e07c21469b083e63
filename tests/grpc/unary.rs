//! Single calls.

use tokenweir::client::Error;
use tokenweir::proto::v1::{
    Debit, DebitBatchRequest, DebitRequest, Outcome, Seq, TransferRequest, TransferState, debit::Identity,
};

use crate::fixture::Fixture;

fn debit(camera: &str, seq: u64, tokens: u64) -> Debit {
    let identity = Some(Identity::Seq(Seq { epoch: 1, seq }));
    Debit { camera: camera.to_owned(), identity, tokens, ..Debit::default() }
}

#[test]
fn a_debit_is_charged_and_the_same_again_is_a_duplicate() {
    let server = Fixture::start();
    let client = server.client(&server.gateway, |_| {});
    for (outcome, code) in [(Outcome::Charged, "charged"), (Outcome::DuplicateCharged, "duplicate")] {
        let request = DebitRequest {
            organization: "north".to_owned(),
            debit: Some(debit("a", 1, 40)),
            durability: 0,
            reservation: String::new(),
        };
        let reply = server.run(client.debit(request)).expect("an answer");
        let result = reply.result.clone().expect("a result");
        assert_eq!((result.outcome(), result.code.as_str(), reply.available), (outcome, code, 9_960));
    }
}

#[test]
fn a_batch_is_answered_debit_by_debit_with_the_codes_of_http() {
    let server = Fixture::start();
    let client = server.client(&server.gateway, |_| {});
    let debits = vec![
        debit("a", 1, 40),
        debit("off", 1, 1),
        debit("nowhere", 1, 1),
        debit("a", 2, 0),
        debit("a", 3, 1_000_000),
        debit("a", 1, 41),
        Debit { identity: None, ..debit("a", 1, 1) },
        debit("free", 1, 7),
    ];
    let over_http: Vec<serde_json::Value> = debits
        .iter()
        .map(|debit| match &debit.identity {
            Some(Identity::Seq(Seq { epoch, seq })) => serde_json::json!(
                {"camera": debit.camera, "epoch": epoch, "seq": seq, "tokens": debit.tokens}),
            _ => serde_json::json!({"camera": debit.camera, "tokens": debit.tokens}),
        })
        .collect();
    let request = DebitBatchRequest {
        organization: "north".to_owned(),
        debits,
        durability: 0,
        reservation: String::new(),
    };
    let reply = server.run(client.debit_batch(request)).expect("an answer");
    let codes: Vec<&str> = reply.results.iter().map(|result| result.code.as_str()).collect();
    let path = "/v1/organizations/north/debits";
    let answer = server.call("POST", path, &server.gateway, &serde_json::json!(over_http));
    let of_http = |result: &serde_json::Value| {
        result.get("code").or(result.get("outcome")).and_then(|code| code.as_str().map(str::to_owned))
    };
    let http: Vec<String> =
        answer["results"].as_array().expect("results").iter().filter_map(of_http).collect();
    assert_eq!(codes[1..7], http[1..7], "refusals have one code on both edges");
    assert_eq!((codes[0], codes[7]), ("charged", "exempt"));
    assert_eq!((http[0].as_str(), http[7].as_str()), ("duplicate", "duplicate"));
    assert!(reply.results[3].detail.contains("tokens"));
}

#[test]
fn the_summary_is_that_of_http() {
    let server = Fixture::start();
    let client = server.client(&server.admin, |_| {});
    let summary = server.run(client.summary("north")).expect("an answer");
    assert_eq!((summary.available, summary.granted, summary.used), (10_000, 10_000, 0));
    assert_eq!((summary.cameras, summary.cloud_ai_enabled, summary.licenses), (4, 3, 1));
    assert_eq!(summary.estimated_analytics_ms, None);
    assert_eq!(summary.networks[0].name, "lobby");
}

#[test]
fn r11_a_transfer_moves_everything_and_the_same_id_tells_where_it_stands() {
    let server = Fixture::start();
    let client = server.client(&server.admin, |_| {});
    for _ in 0..2 {
        let request = TransferRequest {
            id: "T-1".to_owned(),
            source: "north".to_owned(),
            target: "other".to_owned(),
            wait: true,
        };
        let reply = server.run(client.transfer(request)).expect("an answer");
        assert_eq!((reply.state(), reply.tokens, reply.licenses), (TransferState::Finished, 10_000, 1));
        assert!(reply.ended_at_ms.is_some());
    }
    assert_eq!(server.available(), 0);
}

#[test]
fn refused_calls_bear_the_code_of_http() {
    let server = Fixture::start();
    let client = server.client(&server.gateway, |_| {});
    let codes = [("other", "forbidden"), ("!", "invalid")];
    for (organization, expected) in codes {
        let refused = server.run(client.summary(organization)).expect_err("refused");
        let Error::Refused { code, .. } = refused else { panic!("a refusal, not {refused}") };
        assert_eq!(code, expected);
    }
}
