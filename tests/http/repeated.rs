//! The same request again under an `Idempotency-Key`.

use std::io::{Read as _, Write as _};

use serde_json::{Value, json};

use crate::fixture::{Answer, DEBITS, Fixture, JSON, NORTH};

fn post(server: &Fixture, path: &str, who: &str, (key, body): (&str, &Value)) -> Answer {
    server.call_with(
        ("POST", path),
        who,
        &[("idempotency-key", key)],
        Some((JSON, body.to_string().as_bytes())),
    )
}

#[test]
fn the_same_request_again_is_answered_as_the_first_time() {
    let server = Fixture::populated();
    let license = server.license_key("KEY-2", &[70]);
    for (path, who, body) in [
        ("/v1/organizations", &server.operator, json!({"id": "west", "name": "West"})),
        (DEBITS, &server.gateway, json!([{"camera": "cam", "epoch": 1, "seq": 1, "tokens": 10}])),
        (&format!("{NORTH}/licenses"), &server.admin, json!({"key": license})),
        (
            &format!("{NORTH}/reservations"),
            &server.gateway,
            json!({"id": "r", "tokens": 5, "ttl_ms": 60_000}),
        ),
        ("/v1/transfers", &server.admin, json!({"id": "t", "source": "north", "target": "south"})),
    ] {
        let first = post(&server, path, who, (path, &body));
        assert!((200..300).contains(&first.status), "{first:?}");
        assert_eq!(first.header("idempotency-replayed"), "");
        let again = post(&server, path, who, (&format!("\"{path}\""), &body));
        assert_eq!((again.status, &again.text), (first.status, &first.text), "{path}");
        assert_eq!(again.header("idempotency-replayed"), "true", "{path}");
        for header in ["content-type", "location"] {
            assert_eq!(again.header(header), first.header(header), "{path}");
        }
        // Nobody else's key of that name is meant.
        let stranger = post(&server, path, &server.viewer, (path, &body));
        assert!(stranger.status == 403 || stranger.header("idempotency-replayed").is_empty(), "{stranger:?}");
    }
}

#[test]
fn a_key_that_was_used_for_another_request_is_refused_and_nothing_is_done() {
    let server = Fixture::populated();
    let debit = |seq: u64| json!([{"camera": "cam", "epoch": 1, "seq": seq, "tokens": 10}]);
    post(&server, DEBITS, &server.gateway, ("k", &debit(1))).expect(200);
    post(&server, DEBITS, &server.gateway, ("k", &debit(2))).check_problem(422, "idempotency_key_reused");
    let path = format!("{DEBITS}?durability=applied");
    post(&server, &path, &server.gateway, ("k", &debit(1))).check_problem(422, "idempotency_key_reused");
    let summary = server.get(&format!("{NORTH}/summary"), &server.viewer).expect(200);
    assert_eq!(summary["used"], 10);
}

#[test]
fn what_was_refused_is_judged_anew_under_the_same_key() {
    let server = Fixture::start();
    let path = format!("{NORTH}/reservations");
    let body = json!({"id": "r", "tokens": 5, "ttl_ms": 60_000});
    post(&server, &path, &server.gateway, ("k", &body)).check_problem(402, "insufficient_tokens");
    let license = json!({"key": server.license_key("K", &[10])});
    server.post(&format!("{NORTH}/licenses"), &server.admin, &license).expect(201);
    post(&server, &path, &server.gateway, ("k", &body)).expect(200);
}

#[test]
fn a_request_that_is_being_carried_out_is_not_begun_again() {
    let server = Fixture::populated();
    let body = json!([{"camera": "cam", "epoch": 1, "seq": 1, "tokens": 10}]).to_string();
    // Many at once: each is either the one that is carried out, or told to come back, or answered as the first one.
    let mut streams: Vec<_> = (0..8).map(|_| server.connect()).collect();
    let head = format!(
        "POST {DEBITS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: {JSON}\r\nIdempotency-Key: k\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        server.gateway,
        body.len()
    );
    streams.iter_mut().for_each(|stream| stream.write_all(head.as_bytes()).expect("sent"));
    for mut stream in streams {
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        let in_use = text.starts_with("HTTP/1.1 409") && text.contains("idempotency_key_in_use");
        assert!(text.contains("\"charged\"") || in_use, "{text}");
        assert!(!text.contains("duplicate"), "{text}");
    }
}

#[test]
fn an_api_key_is_made_once_and_its_secret_is_not_shown_again() {
    let server = Fixture::start();
    let body = json!({"label": "gate", "role": "gateway", "organizations": ["north"]});
    let made = post(&server, "/v1/keys", &server.operator, ("make", &body)).expect(201);
    let before = server.get("/v1/keys", &server.operator).expect(200)["keys"].as_array().map(Vec::len);
    let again = post(&server, "/v1/keys", &server.operator, ("make", &body));
    again.check_problem(409, "api_key_made");
    assert!(again.text.contains(made["id"].as_str().expect("an id")), "{again:?}");
    assert!(!again.text.contains("weir_"), "{again:?}");
    let other = json!({"label": "gate", "role": "viewer", "organizations": ["north"]});
    post(&server, "/v1/keys", &server.operator, ("make", &other))
        .check_problem(422, "idempotency_key_reused");
    let after = server.get("/v1/keys", &server.operator).expect(200)["keys"].as_array().map(Vec::len);
    assert_eq!(before, after);
}

#[test]
fn a_key_that_is_none_is_refused() {
    let server = Fixture::start();
    let body = json!([]);
    for key in ["", "\"\"", &"x".repeat(129)] {
        post(&server, DEBITS, &server.gateway, (key, &body)).check_problem(400, "invalid");
    }
    post(&server, DEBITS, &server.gateway, (&"x".repeat(128), &body)).expect(200);
}
