//! CloudEvents in each content mode of the HTTP binding: <https://github.com/cloudevents/spec>, version 1.0.

use std::io::{Read as _, Write as _};

use serde_json::{Value, json};

use crate::fixture::{Answer, Fixture, JSON, NORTH};

const EVENTS: &str = "/v1/events";
const STRUCTURED: &str = "application/cloudevents+json";
const BATCHED: &str = "application/cloudevents-batch+json";
/// `{"tokens":7}`.
const SEVEN_TOKENS_BASE64: &str = "eyJ0b2tlbnMiOjd9";

/// An event of `cam` within the retention.
fn event(server: &Fixture, id: &str, tokens: u64) -> Value {
    json!({"specversion": "1.0", "type": "tokenweir.analysis", "source": "//nvr/lobby", "id": id,
        "subject": "cam", "time": time(server), "datacontenttype": "application/json",
        "data": {"tokens": tokens, "kind": "video_search", "network": "lobby", "zone": [{"deep": {}}]}})
}

fn time(server: &Fixture) -> Value {
    server.get(&format!("{NORTH}/licenses"), &server.admin).expect(200)["licenses"][0]["added_at"].clone()
}

fn send(server: &Fixture, media: &str, body: &Value) -> Answer {
    server.call("POST", EVENTS, &server.gateway, Some((media, body.to_string().as_bytes())))
}

fn used(server: &Fixture) -> u64 {
    let summary = server.get(&format!("{NORTH}/summary"), &server.viewer).expect(200);
    summary["used"].as_u64().expect("a number")
}

/// The event with some members replaced.
fn with(event: &Value, members: &Value) -> Value {
    let mut event = event.clone();
    for (name, value) in members.as_object().expect("members") {
        event[name] = value.clone();
    }
    event
}

/// A request as text, for headers that no client would send.
fn binary(server: &Fixture, headers: &[(&str, &str)], body: &str) -> String {
    let mut head = format!(
        "POST {EVENTS} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n",
        server.gateway,
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    server.raw(format!("{head}\r\n{body}").as_bytes())
}

#[test]
fn r13_an_event_is_charged_once_in_whatever_mode_and_form_it_comes() {
    let server = Fixture::populated();
    let one = event(&server, "caf\u{e9} 1", 7);
    for media in [STRUCTURED, "application/cloudevents+json; charset=utf-8", JSON] {
        send(&server, media, &one).expect(204);
        assert_eq!(used(&server), 7, "{media}");
    }
    for media in [BATCHED, "Application/CloudEvents-Batch+JSON; Charset=\"UTF-8\"", JSON] {
        send(&server, media, &json!([one, one])).expect(204);
        assert_eq!(used(&server), 7, "{media}");
    }
    let encoded = with(&one, &json!({"data": null, "data_base64": SEVEN_TOKENS_BASE64}));
    send(&server, STRUCTURED, &encoded).check_problem(400, "invalid");
    let mut encoded = encoded;
    encoded.as_object_mut().expect("an event").remove("data");
    send(&server, STRUCTURED, &encoded).check_problem(409, "conflict");
    let time = time(&server);
    let time = time.as_str().expect("text");
    for id in ["caf%C3%A9%201", "\"caf%c3%a9 1\"", "%63af\u{e9}%201"] {
        let answer = binary(
            &server,
            &[
                ("CE-SpecVersion", "1.0"),
                ("ce-type", "tokenweir.analysis"),
                ("ce-source", "//nvr/lobby"),
                ("ce-id", id),
                ("ce-subject", "cam"),
                ("ce-time", time),
                ("ce-traceparent", "00-1"),
                ("content-type", "application/json; charset=utf-8"),
            ],
            r#"{"tokens": 7, "kind": "video_search"}"#,
        );
        assert!(answer.starts_with("HTTP/1.1 204 "), "{id}: {answer}");
        assert_eq!(used(&server), 7, "{id}");
    }
}

#[test]
fn r13_clients_of_openmeter_send_to_the_path_they_know() {
    let server = Fixture::populated();
    let events = json!([event(&server, "a", 3), event(&server, "b", 4)]);
    for _ in 0..2 {
        let answer = server.call(
            "POST",
            "/api/v1/events",
            &server.gateway,
            Some((BATCHED, events.to_string().as_bytes())),
        );
        assert_eq!((answer.expect(204), used(&server)), (Value::Null, 7));
    }
    server.get("/api/v1/events", &server.gateway).check_problem(405, "method_not_allowed");
    server.get("/api/v1/meters", &server.gateway).check_problem(404, "not_found");
    server.call("POST", "/api/v1/events", "", Some((BATCHED, b"[]"))).check_problem(401, "unauthenticated");
}

#[test]
fn r13_source_and_id_identify_an_event_however_long_they_are() {
    let server = Fixture::populated();
    let one = event(&server, "7", 1);
    let long = format!("{}7", "x".repeat(400));
    for other in [
        json!({}),
        json!({"source": "//nvr/hall"}),
        json!({"id": "8"}),
        json!({"id": long}),
        json!({"id": format!("{long}8")}),
        json!({"source": format!("//{long}")}),
    ] {
        for _ in 0..2 {
            send(&server, STRUCTURED, &with(&one, &other)).expect(204);
        }
    }
    assert_eq!(used(&server), 6);
    let other_content = with(&one, &json!({"id": long, "data": {"tokens": 2}}));
    send(&server, STRUCTURED, &other_content).check_problem(409, "conflict");
}

#[test]
fn r12_of_a_batch_each_refused_event_is_listed_and_the_rest_is_charged() {
    let server = Fixture::populated();
    let good = event(&server, "good", 5);
    let bad = [
        (json!({"subject": "none"}), "unknown_camera"),
        (json!({"subject": "off"}), "cloud_ai_disabled"),
        (json!({"data": {"tokens": 1_000_000}}), "insufficient_tokens"),
        (json!({"data": {"tokens": "5"}}), "invalid"),
        (json!({"data": {"tokens": 5, "kind": "mining"}}), "invalid"),
        (json!({"data": {}}), "unpriced"),
        (json!({"data": {"images": 0}}), "invalid"),
        (json!({"data": "tokens"}), "invalid"),
        (json!({"data_base64": "!"}), "invalid"),
        (json!({"specversion": "0.3"}), "invalid"),
        (json!({"type": ""}), "invalid"),
        (json!({"id": 7}), "invalid"),
        (json!({"source": "two words"}), "invalid"),
        (json!({"time": null}), "invalid"),
        (json!({"time": "2001-01-01T00:00:00Z"}), "too_old"),
        (json!({"organization": "south"}), "forbidden"),
        (json!({"organization": "nowhere"}), "forbidden"),
        (json!({"organization": "a/b"}), "invalid"),
        (json!({"organization": "north", "data": {"tokens": 5, "organization": "south"}}), "invalid"),
    ];
    let mut events: Vec<_> = bad.iter().map(|(members, _)| with(&event(&server, "x", 5), members)).collect();
    events.insert(3, good.clone());
    events.push(json!([1]));
    for _ in 0..2 {
        let answer = send(&server, BATCHED, &json!(events));
        answer.check_problem(422, "events_refused");
        let listed = answer.json()["events"].clone();
        let codes: Vec<_> = listed
            .as_array()
            .expect("a list")
            .iter()
            .map(|refused| (refused["index"].clone(), refused["code"].clone()))
            .collect();
        let places = (0..events.len()).filter(|place| *place != 3);
        let expected = bad.iter().map(|(_, code)| *code).chain(["invalid"]);
        let expected: Vec<_> =
            places.zip(expected).map(|(place, code)| (json!(place), json!(code))).collect();
        assert_eq!(codes, expected, "{listed:#}");
        assert_eq!(used(&server), 5);
    }
    for (members, code) in bad {
        let answer = send(&server, STRUCTURED, &with(&event(&server, "x", 5), &members));
        assert_eq!(answer.json()["code"], code, "{members}");
    }
}

#[test]
fn an_event_names_its_organization_where_the_key_is_for_several() {
    let server = Fixture::populated();
    let both = server.key("gateway", &["north", "south"]);
    let post =
        |event: &Value| server.call("POST", EVENTS, &both, Some((STRUCTURED, event.to_string().as_bytes())));
    let one = event(&server, "1", 5);
    post(&one).check_problem(400, "invalid");
    post(&with(&one, &json!({"organization": "north"}))).expect(204);
    post(&with(&one, &json!({"data": {"tokens": 5, "organization": "north", "kind": "video_search"}})))
        .expect(204);
    post(&with(&one, &json!({"organization": "south"}))).check_problem(404, "unknown_camera");
    assert_eq!(used(&server), 5);
    let events =
        json!([with(&one, &json!({"organization": "south"})), with(&one, &json!({"organization": "north"}))]);
    let answer = server.call("POST", EVENTS, &both, Some((BATCHED, events.to_string().as_bytes())));
    answer.check_problem(422, "events_refused");
    assert_eq!(answer.json()["events"][0]["index"], 0);
}

#[test]
fn a_body_that_is_no_event_charges_nothing() {
    let server = Fixture::populated();
    let one = event(&server, "1", 5).to_string();
    for (media, body, status, code) in [
        (STRUCTURED, "{", 400, "malformed_body"),
        (STRUCTURED, "", 400, "malformed_body"),
        (STRUCTURED, &*format!("[{one}]"), 400, "invalid"),
        (BATCHED, &*one, 400, "malformed_body"),
        (BATCHED, &*format!("[{one}"), 400, "malformed_body"),
        (BATCHED, &*format!("[{one}] 1"), 400, "malformed_body"),
        (JSON, "7", 400, "invalid"),
        (JSON, "", 400, "malformed_body"),
        ("text/plain", &*one, 415, "unsupported_media_type"),
        ("application/cloudevents+avro", &*one, 415, "unsupported_media_type"),
        ("application/cloudevents+json; charset=latin-1", &*one, 415, "unsupported_media_type"),
    ] {
        let answer = server.call("POST", EVENTS, &server.gateway, Some((media, body.as_bytes())));
        answer.check_problem(status, code);
    }
    assert_eq!(used(&server), 0);
    send(&server, BATCHED, &json!([])).expect(204);
    for key in [&server.viewer, &server.admin, &server.operator] {
        server.call("POST", EVENTS, key, Some((BATCHED, b"["))).check_problem(403, "forbidden");
    }
}

#[test]
fn a_batch_beyond_the_bound_charges_nothing() {
    let server = Fixture::start_with(|config| config.batch_debits_max = 2).populate();
    let events: Vec<_> = ["a", "b", "c"].iter().map(|id| event(&server, id, 1)).collect();
    let answer = send(&server, BATCHED, &json!(events));
    answer.check_problem(400, "invalid");
    assert_eq!((&answer.json()["limit"], used(&server)), (&json!(2), 0));
    send(&server, BATCHED, &json!(events[1..])).expect(204);
}

#[test]
fn the_body_of_an_event_may_come_in_chunks() {
    let server = Fixture::populated();
    let one = event(&server, "1", 5).to_string();
    let mut stream = server.connect();
    let head = format!(
        "POST {EVENTS} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {}\r\n\
         content-type: {STRUCTURED}\r\ntransfer-encoding: chunked\r\n\r\n",
        server.gateway
    );
    stream.write_all(head.as_bytes()).expect("sent");
    for part in one.as_bytes().chunks(11) {
        write!(stream, "{:x}\r\n", part.len()).expect("sent");
        stream.write_all(part).expect("sent");
        stream.write_all(b"\r\n").expect("sent");
    }
    stream.write_all(b"0\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    assert_eq!(used(&server), 5);
}

#[test]
fn the_attributes_of_a_binary_event_are_told_apart() {
    let server = Fixture::populated();
    let time = time(&server);
    let sound = [
        ("ce-specversion", "1.0"),
        ("ce-type", "t"),
        ("ce-source", "s"),
        ("ce-id", "1"),
        ("ce-subject", "cam"),
        ("ce-time", time.as_str().expect("text")),
        ("content-type", JSON),
    ];
    let data = r#"{"tokens": 5}"#;
    for (number, missing) in sound.iter().enumerate() {
        let mut headers = sound.to_vec();
        headers.remove(number);
        let answer = binary(&server, &headers, data);
        let expected = if missing.0 == "content-type" { "HTTP/1.1 204 " } else { "HTTP/1.1 400 " };
        assert!(answer.starts_with(expected), "without {missing:?}: {answer}");
    }
    for (extra, status) in [
        (("ce-id", "2"), 400),
        (("ce-source", "s"), 400),
        (("ce-organization", "north"), 204),
        (("ce-organization", "south"), 403),
        (("ce-other", "%C0%A0"), 400),
    ] {
        let answer = binary(&server, &[&sound[..], &[extra]].concat(), data);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{extra:?}: {answer}");
    }
    for (body, status) in [("tokens", 400), ("[5]", 400), ("{", 400), ("", 409)] {
        let answer = binary(&server, &sound, body);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{body}: {answer}");
    }
    let mut plain = sound.to_vec();
    plain[6].1 = "text/plain";
    assert!(binary(&server, &plain, data).starts_with("HTTP/1.1 415 "));
    assert_eq!(used(&server), 5);
}

#[test]
fn r8_an_event_that_names_another_network_than_its_cameras_is_refused_in_every_mode() {
    let server = Fixture::populated();
    let of = |id: &str, network: Value| {
        with(&event(&server, id, 5), &json!({"data": {"tokens": 5, "network": network}}))
    };
    let garden = of("1", json!("garden"));
    send(&server, STRUCTURED, &garden).check_problem(409, "other_network");
    let moved = of("2", Value::Null);
    let answer = send(&server, BATCHED, &json!([garden, of("1", json!("lobby")), moved]));
    answer.check_problem(422, "events_refused");
    let events = &answer.json()["events"];
    assert_eq!(events.as_array().map(Vec::len), Some(1), "{events}");
    assert_eq!((&events[0]["index"], &events[0]["code"]), (&json!(0), &json!("other_network")));
    assert_eq!(used(&server), 10, "a network that is null or left out is not held against the camera's");
    for no_name in [json!(""), json!(7), json!({"ip": "10.0.0.1"}), json!("a\nb"), json!("x".repeat(129))] {
        send(&server, STRUCTURED, &of("3", no_name)).check_problem(400, "invalid");
    }
    let twice =
        event(&server, "4", 5).to_string().replace("\"network\"", "\"network\":\"lobby\",\"network\"");
    server
        .call("POST", EVENTS, &server.gateway, Some((STRUCTURED, twice.as_bytes())))
        .check_problem(400, "invalid");
    // What was charged stays charged when the camera moves; what comes anew is held against where it is now.
    let south = json!({"network": "garden", "cloud_ai": true});
    server.put(&format!("{NORTH}/cameras/cam"), &server.admin, &south).expect(200);
    send(&server, STRUCTURED, &of("1", json!("lobby"))).expect(204);
    send(&server, STRUCTURED, &of("5", json!("lobby"))).check_problem(409, "other_network");
    assert_eq!(used(&server), 10);
    let dry = server.call(
        "POST",
        "/v1/events?dry_run=true",
        &server.gateway,
        Some((STRUCTURED, of("5", json!("lobby")).to_string().as_bytes())),
    );
    assert_eq!(dry.expect(200)["results"][0]["code"], "other_network");
    let bare: Vec<_> = time(&server).as_str().into_iter().map(str::to_owned).collect();
    let headers = [
        ("ce-specversion", "1.0"),
        ("ce-type", "t"),
        ("ce-source", "s"),
        ("ce-id", "6"),
        ("ce-subject", "cam"),
        ("ce-time", bare[0].as_str()),
        ("content-type", JSON),
    ];
    for (network, status) in [("lobby", 409), ("garden", 204)] {
        let answer = binary(&server, &headers, &json!({"tokens": 5, "network": network}).to_string());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{network}: {answer}");
    }
}
