//! Rate cards, events that they price, and what events would cost.

use serde_json::{Value, json};

use crate::fixture::{DEBITS, Fixture, JSON, NORTH};

const RATES: &str = "/v1/organizations/north/rates";

fn now(server: &Fixture) -> Value {
    server.get(&format!("{NORTH}/licenses"), &server.admin).expect(200)["licenses"][0]["added_at"].clone()
}

fn available(server: &Fixture) -> u64 {
    let summary = server.get(&format!("{NORTH}/summary"), &server.viewer).expect(200);
    summary["available"].as_u64().expect("a number")
}

#[test]
fn a_rate_card_is_set_superseded_and_listed() {
    let server = Fixture::populated();
    assert_eq!(server.get(RATES, &server.viewer).expect(200), json!({"rates": []}));
    let prices = json!([{"kind": "video_search", "unit": "image", "millitokens": 1_500},
        {"unit": "second", "millitokens": 250}]);
    let first = server.put(RATES, &server.admin, &json!({"prices": prices})).expect(200);
    assert_eq!((&first["version"], &first["from"]), (&json!(1), &first["set_at"]));
    let ordered =
        json!([{"kind": "contextual_video_analytics", "unit": "second", "millitokens": 250}, prices[0]]);
    assert_eq!(first["prices"], ordered);
    assert_eq!(
        server.put(RATES, &server.admin, &json!({"prices": ordered})).expect(200),
        first,
        "the same again"
    );
    let later = json!({"from": "2100-01-01T00:00:00+01:00", "prices": [{"unit": "event", "millitokens": 5}]});
    let second = server.put(RATES, &server.admin, &later).expect(200);
    assert_eq!((&second["version"], &second["from"]), (&json!(2), &json!("2099-12-31T23:00:00.000Z")));
    assert_eq!(server.get(RATES, &server.viewer).expect(200)["rates"], json!([first, second]));
    assert_eq!(server.get("/v1/organizations/south/rates", &server.admin).expect(200)["rates"], json!([]));
}

#[test]
fn what_is_no_rate_card_is_refused_and_so_is_who_may_not_set_one() {
    let server = Fixture::populated();
    let event = json!({"unit": "event", "millitokens": 1});
    for bad in [
        json!({}),
        json!({"prices": []}),
        json!({"prices": [event, event]}),
        json!({"prices": [{"unit": "event", "millitokens": 0}]}),
        json!({"prices": [{"unit": "event", "millitokens": 1.5}]}),
        json!({"prices": [{"unit": "event", "millitokens": 1_000_000_000_001u64}]}),
        json!({"prices": [{"unit": "frame", "millitokens": 1}]}),
        json!({"prices": [{"kind": "mining", "unit": "event", "millitokens": 1}]}),
        json!({"prices": [event], "from": "soon"}),
        json!({"prices": [event], "until": 1}),
    ] {
        server.put(RATES, &server.admin, &bad).check_problem(400, "invalid");
    }
    for key in [&server.viewer, &server.gateway, &server.operator] {
        server.put(RATES, key, &json!({"prices": [event]})).check_problem(403, "forbidden");
    }
    assert_eq!(server.get(RATES, &server.gateway).expect(200), json!({"rates": []}));
}

#[test]
fn r13_a_priced_event_is_charged_once_whatever_it_costs_when_it_comes_again() {
    let server = Fixture::populated();
    let debits = json!([{"camera": "cam", "epoch": 1, "seq": 1, "images": 3, "kind": "video_search"},
        {"camera": "cam", "event_id": "e", "time": now(&server), "duration_ms": 10_001},
        {"camera": "cam", "epoch": 1, "seq": 2}]);
    let post = || server.post(DEBITS, &server.gateway, &debits).expect(200);
    let unpriced = post();
    let codes: Vec<_> = (0..3).map(|row| unpriced["results"][row]["code"].clone()).collect();
    assert_eq!(codes, ["unpriced"; 3], "{unpriced}");
    for (factor, outcome) in [(1, "charged"), (7, "duplicate")] {
        let prices = json!([{"kind": "video_search", "unit": "image", "millitokens": 1_500 * factor},
            {"unit": "second", "millitokens": 250 * factor}, {"unit": "event", "millitokens": 9_000 * factor}]);
        let card = json!({"from": "2020-01-01T00:00:00Z", "prices": prices});
        server.put(RATES, &server.admin, &card).expect(200);
        let answer = post();
        let outcomes: Vec<_> = (0..3).map(|row| answer["results"][row]["outcome"].clone()).collect();
        assert_eq!(outcomes, [outcome; 3], "{answer}");
        assert_eq!(available(&server), 1_500 - 5 - 3 - 9);
    }
    let other = json!({"camera": "cam", "epoch": 1, "seq": 1, "images": 4, "kind": "video_search"});
    let tokens = json!({"camera": "cam", "epoch": 1, "seq": 1, "tokens": 5, "kind": "video_search"});
    let answer = server.post(DEBITS, &server.gateway, &json!([other, tokens])).expect(200);
    assert_eq!(
        (&answer["results"][0]["code"], &answer["results"][1]["code"]),
        (&json!("conflict"), &json!("conflict"))
    );
}

#[test]
fn a_dry_run_tells_what_events_would_cost_and_changes_nothing() {
    let server = Fixture::populated();
    let card = json!({"from": "2020-01-01T00:00:00Z", "prices": [{"unit": "image", "millitokens": 2_500}]});
    server.put(RATES, &server.admin, &card).expect(200);
    let event = |id: &str, subject: &str, data: Value| {
        json!({"specversion": "1.0", "type": "t", "source": "s", "id": id, "subject": subject,
            "time": now(&server), "data": data})
    };
    let events = json!([
        event("1", "cam", json!({"images": 3})),
        event("2", "cam", json!({"tokens": 5})),
        event("3", "none", json!({"tokens": 5})),
        event("4", "cam", json!({"duration_ms": 5})),
        {},
        event("5", "cam", json!({"tokens": 1_000_000}))
    ]);
    let ask = || {
        let path = "/v1/events?dry_run=true";
        server.call("POST", path, &server.gateway, Some((JSON, events.to_string().as_bytes()))).expect(200)
    };
    let before = server.get(&format!("{NORTH}/summary"), &server.viewer).text;
    for _ in 0..2 {
        let answer = ask();
        assert_eq!(answer["tokens"], 13);
        let priced =
            json!({"index": 0, "outcome": "charged", "organization": "north", "tokens": 8, "rate_card": 1});
        assert_eq!(answer["results"][0], priced);
        let codes: Vec<_> = (0..6).map(|at| answer["results"][at]["code"].clone()).collect();
        let refused = json!([null, null, "unknown_camera", "unpriced", "invalid", "insufficient_tokens"]);
        assert_eq!(json!(codes), refused, "{answer:#}");
    }
    assert_eq!(server.get(&format!("{NORTH}/summary"), &server.viewer).text, before);
    let charge =
        server.call("POST", "/v1/events", &server.gateway, Some((JSON, events[0].to_string().as_bytes())));
    charge.expect(204);
    assert_eq!(ask()["results"][0]["outcome"], "duplicate");
    server
        .call("POST", "/v1/events?dry_run=maybe", &server.gateway, Some((JSON, b"[]")))
        .check_problem(400, "invalid");
}
