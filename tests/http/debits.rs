//! Bodies of debits in each of their forms, good rows and bad ones side by side.

use serde_json::{Value, json};

use crate::fixture::{Answer, DEBITS, Fixture, JSON, NORTH};

const LINES: &str = "application/x-ndjson";
const MESSAGE_PACK: &str = "application/msgpack";

fn mixed() -> Vec<Value> {
    vec![
        json!({"camera": "cam", "epoch": 1, "seq": 1, "tokens": 418}),
        json!({"camera": "cam", "epoch": 1, "seq": 2, "tokens": 0}),
        json!({"camera": "cam", "epoch": 1, "seq": 3, "tokens": -1}),
        json!({"camera": "cam", "epoch": 1, "seq": 4, "tokens": 1.5}),
        json!({"camera": "cam", "epoch": 1, "seq": 5, "tokens": 18_446_744_073_709_551_616.0}),
        json!({"camera": "cam", "epoch": 1, "seq": 6, "tokens": "7"}),
        json!({"camera": "cam", "epoch": 4_294_967_296u64, "seq": 7, "tokens": 1}),
        json!({"camera": "cam", "epoch": 1, "seq": -7, "tokens": 1}),
        json!({"camera": "cam", "epoch": 1, "tokens": 1}),
        json!({"camera": "cam", "event_id": "e", "tokens": 1}),
        json!({"camera": "cam", "event_id": "x".repeat(129), "time": 1, "tokens": 1}),
        json!({"camera": "cam", "epoch": 1, "seq": 8, "tokens": 1, "kind": "mining"}),
        json!({"camera": "cam", "epoch": 1, "seq": 9, "tokens": 1, "time": "yesterday"}),
        json!({"camera": "cam", "epoch": 1, "seq": 10, "tokens": 1, "colour": [{"deep": [1, 2, {}]}]}),
        json!({"epoch": 1, "seq": 11, "tokens": 1}),
        json!({"camera": {"id": 7}, "epoch": 1, "seq": 12, "tokens": 1}),
        json!([1, 2]),
        json!(null),
        json!("cam"),
        json!({"camera": "none", "epoch": 1, "seq": 13, "tokens": 1}),
        json!({"camera": "off", "epoch": 1, "seq": 14, "tokens": 1}),
        json!({"camera": "cam", "epoch": 1, "seq": 15, "tokens": 1_000_000}),
        json!({"camera": "cam", "epoch": 1, "seq": 1, "tokens": 418}),
        json!({"camera": "cam", "epoch": 1, "seq": 16, "tokens": 82, "kind": null, "time": null}),
    ]
}

fn expected() -> Vec<&'static str> {
    let mut expected = vec!["charged"];
    expected.extend(["invalid"; 18]);
    expected.extend(["unknown_camera", "cloud_ai_disabled", "insufficient_tokens", "duplicate", "charged"]);
    expected
}

fn check_mixed(media: &str, body: &[u8]) {
    let server = Fixture::populated();
    let answer = server.call("POST", DEBITS, &server.gateway, Some((media, body))).expect(200);
    let results = answer["results"].as_array().expect("results");
    let codes: Vec<_> =
        results.iter().map(|result| result.get("code").unwrap_or(&result["outcome"])).collect();
    assert_eq!(codes, expected(), "{answer:#}");
    assert!(results.iter().all(|result| result["outcome"] != "refused" || result["detail"].is_string()));
    assert_eq!(results[13]["detail"], "a debit has no field `colour`");
    assert_eq!(results[22], json!({"outcome": "duplicate", "first": "charged"}));
    assert_eq!((&answer["available"], &answer["durability"]), (&json!(1_000), &json!("durable")));
    assert!(answer["lsn"].is_u64());
}

#[test]
fn r12_a_json_array_is_judged_row_by_row() {
    check_mixed(JSON, json!(mixed()).to_string().as_bytes());
    check_mixed("Application/JSON; charset=utf-8", json!(mixed()).to_string().as_bytes());
}

#[test]
fn r12_lines_of_json_are_judged_row_by_row() {
    let lines: Vec<_> = mixed().iter().map(Value::to_string).collect();
    check_mixed(LINES, lines.join("\n").as_bytes());
    check_mixed(LINES, format!("\r\n{}\r\n\r\n", lines.join("\r\n")).as_bytes());
}

#[test]
fn r12_message_pack_is_judged_row_by_row() {
    for media in [MESSAGE_PACK, "application/vnd.msgpack", "application/x-msgpack"] {
        check_mixed(media, &rmp_serde::to_vec_named(&mixed()).expect("it encodes"));
    }
}

#[test]
fn integers_beyond_64_bits_are_bad_values_and_no_broken_body() {
    let server = Fixture::populated();
    for number in ["18446744073709551616", "-9223372036854775809", "1e30", "99999999999999999999999999999"] {
        let body = format!(r#"{{"camera":"cam","epoch":1,"seq":1,"tokens":{number}}}"#);
        let answer = server.call("POST", DEBITS, &server.gateway, Some((JSON, body.as_bytes()))).expect(200);
        assert_eq!(answer["results"][0]["code"], "invalid", "{number}");
    }
}

#[test]
fn a_field_that_stands_twice_makes_the_debit_invalid() {
    let server = Fixture::populated();
    let body = br#"[{"camera":"cam","epoch":1,"seq":1,"tokens":1,"tokens":2}]"#;
    let answer = server.call("POST", DEBITS, &server.gateway, Some((JSON, body))).expect(200);
    let result =
        json!([{"outcome": "refused", "code": "invalid", "detail": "the field `tokens` stands twice"}]);
    assert_eq!(answer["results"], result);
}

#[test]
fn r13_event_ids_are_charged_once_in_every_form_of_text_and_time() {
    let server = Fixture::populated();
    let now = "2099-01-01T00:00:00Z";
    let ahead = json!({"camera": "cam", "event_id": "e", "time": now, "tokens": 5});
    assert_eq!(post(&server, &ahead).expect(200)["results"][0]["code"], "invalid");
    let added = server.get(&format!("{NORTH}/licenses"), &server.viewer).expect(200);
    let time = &added["licenses"][0]["added_at"];
    let debit = json!({"camera": "cam", "event_id": "e\u{e9}\"", "time": time, "tokens": 5});
    assert_eq!(post(&server, &debit).expect(200)["results"][0]["outcome"], "charged");
    let escaped = debit.to_string().replace('\u{e9}', "\\u00e9").replace('Z', "+00:00");
    let again = server.call("POST", DEBITS, &server.gateway, Some((JSON, escaped.as_bytes()))).expect(200);
    assert_eq!(again["results"], json!([{"outcome": "duplicate", "first": "charged"}]));
    let other = json!({"camera": "cam", "event_id": "e\u{e9}\"", "time": time, "tokens": 6});
    assert_eq!(post(&server, &other).expect(200)["results"][0]["code"], "conflict");
}

#[test]
fn an_empty_batch_is_answered_with_no_results() {
    let server = Fixture::populated();
    for (media, body) in [(JSON, &b"[]"[..]), (LINES, b""), (LINES, b"\n\n"), (MESSAGE_PACK, b"\x90")] {
        let answer = server.call("POST", DEBITS, &server.gateway, Some((media, body))).expect(200);
        assert_eq!((&answer["results"], &answer["available"]), (&json!([]), &json!(1_500)), "{media}");
    }
}

#[test]
fn r14_each_answer_says_how_durable_it_is() {
    let server = Fixture::populated();
    for (seq, asked, told) in
        [(1, "", "durable"), (2, "?durability=durable", "durable"), (3, "?durability=applied", "applied")]
    {
        let debit = json!({"camera": "cam", "epoch": 1, "seq": seq, "tokens": 1});
        let answer = server.post(&format!("{DEBITS}{asked}"), &server.gateway, &debit).expect(200);
        assert_eq!(
            (&answer["durability"], &answer["results"][0]["outcome"]),
            (&json!(told), &json!("charged"))
        );
    }
    let path = format!("{DEBITS}?durability=eventual");
    server.post(&path, &server.gateway, &json!([])).check_problem(400, "invalid");
}

#[test]
fn a_body_that_cannot_be_read_charges_nothing_and_says_where() {
    let server = Fixture::populated();
    let good = r#"{"camera":"cam","epoch":1,"seq":1,"tokens":1}"#;
    let deep = format!("[{good},{}1{}]", "[".repeat(200), "]".repeat(200));
    let mut broken_pack = rmp_serde::to_vec_named(&mixed()).expect("it encodes");
    broken_pack.truncate(broken_pack.len() - 1);
    let mut long_pack = rmp_serde::to_vec_named(&mixed()).expect("it encodes");
    long_pack.push(0);
    let deep_pack = [vec![0x91; 100], vec![0xc0]].concat();
    for (media, body, place) in [
        (JSON, format!("[{good},"), "line 1 column"),
        (JSON, format!("[{good}] x"), "line 1 column"),
        (JSON, String::new(), "line 1 column"),
        (JSON, "7".to_owned(), "an array of debits, or one debit"),
        (JSON, format!("[{good}{good}]"), "line 1 column"),
        (LINES, format!("{good}\n{{"), "line 2 of the body"),
        (LINES, format!("{good}{good}"), "line 1 of the body"),
    ] {
        check_malformed(&server, media, body.as_bytes(), place);
    }
    for body in [broken_pack, long_pack, deep_pack, vec![0xc1], vec![0xdd, 0xff, 0xff, 0xff, 0xff], vec![]] {
        check_malformed(&server, MESSAGE_PACK, &body, "");
    }
    let nested = server.call("POST", DEBITS, &server.gateway, Some((JSON, deep.as_bytes())));
    assert!([200, 400].contains(&nested.status), "{nested:?}");
    let summary = server.get(&format!("{NORTH}/summary"), &server.viewer).expect(200);
    assert!(summary["used"].as_u64().expect("a number") <= 1, "{summary}");
}

fn check_malformed(server: &Fixture, media: &str, body: &[u8], place: &str) {
    let answer = server.call("POST", DEBITS, &server.gateway, Some((media, body)));
    answer.check_problem(400, "malformed_body");
    let detail = answer.json()["detail"].to_string();
    assert!(detail.contains(place), "{detail}");
    let summary = server.get(&format!("{NORTH}/summary"), &server.viewer).expect(200);
    assert_eq!(summary["used"], 0, "{media}");
}

fn post(server: &Fixture, body: &Value) -> Answer {
    server.post(DEBITS, &server.gateway, body)
}

/// A value that no number type and no text can hold is a bad value of its own row: its neighbours are judged.
#[test]
fn r12_a_value_that_cannot_be_held_never_fails_its_neighbours() {
    let good = |seq: u32| format!(r#"{{"camera":"cam","epoch":1,"seq":{seq},"tokens":1}}"#);
    let digits = "9".repeat(5_000);
    let bad = [
        r#"{"camera":"cam","epoch":1,"seq":7,"tokens":1e400}"#.to_owned(),
        format!(r#"{{"camera":"cam","epoch":1,"seq":7,"tokens":{digits}}}"#),
        r#"{"camera":"cam","epoch":1,"seq":7,"tokens":1,"time":1e400}"#.to_owned(),
        r#"{"camera":"cam","event_id":"\ud800","time":"2026-01-01T00:00:00Z","tokens":1}"#.to_owned(),
    ];
    for bad in bad {
        for media in [JSON, LINES] {
            let server = Fixture::populated();
            let rows = [good(1), bad.clone(), good(2)];
            let body = if media == JSON { format!("[{}]", rows.join(",")) } else { rows.join("\n") };
            let answer = server.call("POST", DEBITS, &server.gateway, Some((media, body.as_bytes())));
            let results = answer.expect(200)["results"].clone();
            let codes: Vec<_> = (0..3).map(|row| results[row]["outcome"].clone()).collect();
            assert_eq!(codes, ["charged", "refused", "charged"], "{bad:.80}");
            assert_eq!(results[1]["code"], "invalid", "{bad:.80}");
            server.stop();
        }
    }
}

/// An id that no camera can have is a bad value, not a camera that is missing.
#[test]
fn a_camera_id_that_no_camera_can_have_is_invalid() {
    let server = Fixture::populated();
    for (camera, code) in [
        ("a/b", "invalid"),
        ("a\u{0}", "invalid"),
        ("..", "invalid"),
        ("k\u{e9}", "invalid"),
        ("a b", "invalid"),
        ("a.b", "unknown_camera"),
        ("00:1b_6-3", "unknown_camera"),
    ] {
        let answer = post(&server, &json!({"camera": camera, "epoch": 1, "seq": 1, "tokens": 1})).expect(200);
        assert_eq!(answer["results"][0]["code"], code, "{camera:?}");
    }
}

/// What is no JSON stays malformed when a row of it holds a value that cannot be held.
#[test]
fn a_broken_body_is_malformed_whatever_else_its_rows_hold() {
    let server = Fixture::populated();
    let good = r#"{"camera":"cam","epoch":1,"seq":1,"tokens":1}"#;
    let bad = r#"{"camera":"cam","epoch":1,"seq":2,"tokens":1e400}"#;
    for (media, body) in [
        (JSON, format!("[{good},{bad},{good}")),
        (JSON, format!("[{good},{bad},]")),
        (JSON, format!("[{good},{bad}] x")),
        (JSON, format!("{bad} {good}")),
        (JSON, "1e400".to_owned()),
        (LINES, format!("{good}\n{bad}\n{{")),
        (LINES, format!("{good}\n{bad}{good}")),
    ] {
        check_malformed(&server, media, body.as_bytes(), "");
    }
    let alone = server.call("POST", DEBITS, &server.gateway, Some((JSON, bad.as_bytes()))).expect(200);
    assert_eq!(alone["results"][0]["code"], "invalid");
}
