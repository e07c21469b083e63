//! Thresholds over HTTP: set, listed with their state, and what was told.

use serde_json::{Value, json};
use tokenweir::config::Config;

use crate::fixture::{DEBITS, Fixture, NORTH};

const ALERTS: &str = "/v1/organizations/north/alerts";

fn charge(server: &Fixture, seq: u64, tokens: u64) -> Value {
    let debit = json!([{"camera": "cam", "epoch": 1, "seq": seq, "tokens": tokens}]);
    server.post(DEBITS, &server.gateway, &debit).expect(200)
}

/// The thresholds, once everything that is durable is decided.
fn settled(server: &Fixture) -> Value {
    loop {
        let list = server.get(ALERTS, &server.viewer).expect(200);
        if list["lag_frames"] == 0 {
            return list;
        }
    }
}

#[test]
fn thresholds_are_set_listed_with_their_state_and_what_fired_is_in_the_log() {
    let server = Fixture::populated();
    let empty = settled(&server);
    assert_eq!((&empty["version"], &empty["thresholds"]), (&json!(0), &json!([])));
    let thresholds = json!([{"id": "low", "measure": "tokens_left", "at": 1_000},
        {"id": "empty", "measure": "exhausted"},
        {"id": "tenth", "measure": "percent_left", "at": 10, "rearm": null},
        {"id": "soon", "measure": "time_left", "at": 3_600_000, "rearm": 7_200_000},
        {"id": "refused", "measure": "refusals", "at": 100, "window_ms": 60_000}]);
    let set = server.put(ALERTS, &server.admin, &json!({"thresholds": thresholds})).expect(200);
    assert_eq!(set["version"], 1);
    let told: Vec<_> =
        set["thresholds"].as_array().expect("rows").iter().map(|one| (&one["id"], &one["rearm"])).collect();
    let expected = json!(["empty", null, "low", 1_100, "refused", 50, "soon", 7_200_000, "tenth", null]);
    let expected = expected.as_array().expect("a list");
    assert_eq!(told, expected.chunks(2).map(|pair| (&pair[0], &pair[1])).collect::<Vec<_>>());
    charge(&server, 1, 500);
    let list = settled(&server);
    let low = &list["thresholds"][1];
    assert_eq!((&low["state"], &low["fired_value"]), (&json!("fired"), &json!(1_000)), "{list}");
    assert!(low["fired_at"].is_string());
    assert_eq!(list["thresholds"][0]["state"], "armed");
    let log = server.get(&format!("{ALERTS}/log"), &server.viewer).expect(200);
    let notice = &log["notices"][log["notices"].as_array().expect("rows").len() - 1];
    assert!(log["notices"].as_array().expect("rows").iter().any(|one| one["alert"] == "low"), "{log}");
    assert_eq!(notice["message"]["data"]["organization"], "north");
    assert_eq!(notice["message"]["type"], "alert.fired");
}

#[test]
fn what_is_no_threshold_is_refused_and_so_is_who_may_not_set_one() {
    let server = Fixture::populated();
    let low = json!({"id": "low", "measure": "tokens_left", "at": 5});
    for bad in [
        json!({}),
        json!({"thresholds": [low, low]}),
        json!({"thresholds": [{"id": "low", "measure": "tokens_left"}]}),
        json!({"thresholds": [{"id": "low", "measure": "tokens_left", "at": 5, "rearm": 5}]}),
        json!({"thresholds": [{"id": "low", "measure": "tokens_left", "at": 5, "window_ms": 60_000}]}),
        json!({"thresholds": [{"id": "low", "measure": "percent_left", "at": 100}]}),
        json!({"thresholds": [{"id": "low", "measure": "time_left", "at": 59_999}]}),
        json!({"thresholds": [{"id": "low", "measure": "exhausted", "at": 1}]}),
        json!({"thresholds": [{"id": "low", "measure": "refusals", "at": 5}]}),
        json!({"thresholds": [{"id": "low", "measure": "color", "at": 5}]}),
        json!({"thresholds": [{"id": "a b", "measure": "tokens_left", "at": 5}]}),
        json!({"thresholds": [low], "more": 1}),
    ] {
        server.put(ALERTS, &server.admin, &bad).check_problem(400, "invalid");
    }
    for key in [&server.viewer, &server.gateway, &server.operator] {
        server.put(ALERTS, key, &json!({"thresholds": [low]})).check_problem(403, "forbidden");
    }
    for path in [ALERTS, &format!("{ALERTS}/log"), &format!("{NORTH}/deliveries")] {
        server.get(path, &server.operator).check_problem(403, "forbidden");
        server.get(path, &server.gateway).expect(200);
    }
    for number in ["0", "9223372036854775808", "18446744073709551615"] {
        for list in ["alerts/log", "deliveries"] {
            server.get(&format!("{NORTH}/{list}?before={number}"), &server.viewer).expect(200);
        }
        let path = format!("{NORTH}/deliveries");
        server.get(&format!("{path}/{number}"), &server.viewer).check_problem(404, "unknown_delivery");
        let replay: u64 = number.parse().expect("a number");
        let replay = json!({"replay": replay});
        server.post(&path, &server.admin, &replay).check_problem(404, "unknown_delivery");
    }
    assert_eq!(server.get(ALERTS, &server.viewer).expect(200)["version"], 0);
}

#[test]
fn a_lost_update_of_thresholds_and_webhooks_is_refused() {
    let server = Fixture::populated();
    let low = json!({"thresholds": [{"id": "low", "measure": "tokens_left", "at": 5}]});
    let first = server.put(ALERTS, &server.admin, &low);
    let tag = first.header("etag").to_owned();
    let hook = json!({"url": "https://hooks.example/a"});
    let path = format!("{NORTH}/webhooks/w");
    let put = |path: &str, body: &Value, tag: &str| {
        let body = body.to_string();
        let body = Some((crate::fixture::JSON, body.as_bytes()));
        server.call_with(("PUT", path), &server.admin, &[("if-match", tag)], body)
    };
    let second = put(&path, &hook, &tag);
    assert_eq!(second.expect(200)["state"], "on");
    put(ALERTS, &json!({"thresholds": []}), &tag).check_problem(412, "precondition_failed");
    assert_eq!(put(ALERTS, &json!({"thresholds": []}), second.header("etag")).expect(200)["version"], 3);
    // What has fired may have changed although what is set did not.
    let seen = server.get(ALERTS, &server.viewer);
    let call = ("GET", ALERTS);
    let again = server.call_with(call, &server.viewer, &[("if-none-match", seen.header("etag"))], None);
    assert_eq!((again.status, again.header("etag")), (200, seen.header("etag")));
}

#[test]
fn a_server_that_decides_no_alerts_says_so_and_serves() {
    let server = Fixture::start_with(|config: &mut Config| config.alerts.is_on = false).populate();
    for path in [ALERTS, &format!("{NORTH}/webhooks"), &format!("{NORTH}/deliveries")] {
        server.get(path, &server.viewer).check_problem(404, "alerts_are_off");
    }
    let low = json!({"thresholds": []});
    server.put(ALERTS, &server.admin, &low).check_problem(404, "alerts_are_off");
    assert_eq!(charge(&server, 1, 1)["results"][0]["outcome"], "charged");
}
