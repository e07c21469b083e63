//! What is refused before the meter is asked.

use serde_json::json;

use crate::fixture::{DEBITS, Fixture, JSON, NORTH};

#[test]
fn unknown_paths_and_methods_are_problems_too() {
    let server = Fixture::start();
    server.get("/", "").check_problem(404, "not_found");
    server.get("/v1/nothing", &server.operator).check_problem(404, "not_found");
    server.get(&format!("{NORTH}/nothing"), &server.viewer).check_problem(404, "not_found");
    for (method, path, allow) in [
        ("DELETE", "/v1/organizations", "GET, HEAD, POST"),
        ("GET", DEBITS, "POST"),
        ("PUT", "/v1/organizations/north/licenses/x", "GET, HEAD, DELETE"),
        ("POST", "/v1/organizations/north/cameras/x", "GET, HEAD, PUT, DELETE"),
        ("DELETE", "/readyz", "GET, HEAD"),
    ] {
        let answer = server.call(method, path, &server.admin, None);
        answer.check_problem(405, "method_not_allowed");
        assert_eq!(answer.header("allow"), allow);
    }
}

#[test]
fn a_body_of_another_media_type_is_refused() {
    let server = Fixture::start();
    for media in ["text/plain", "application/x-www-form-urlencoded", ""] {
        let answer = server.call("POST", "/v1/organizations", &server.operator, Some((media, b"{}")));
        answer.check_problem(415, "unsupported_media_type");
        server
            .call("POST", DEBITS, &server.gateway, Some((media, b"[]")))
            .check_problem(415, "unsupported_media_type");
    }
    let head = format!(
        "POST {DEBITS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: {JSON}\r\n",
        server.gateway
    );
    let encoded = format!("{head}Content-Encoding: gzip\r\nContent-Length: 2\r\nConnection: close\r\n\r\n[]");
    assert!(server.raw(encoded.as_bytes()).starts_with("HTTP/1.1 415"));
}

#[test]
fn a_body_that_is_no_json_is_malformed_and_json_of_the_wrong_shape_is_invalid() {
    let server = Fixture::start();
    let call = |body: &str| {
        server.call("POST", "/v1/organizations", &server.operator, Some((JSON, body.as_bytes())))
    };
    for body in ["", "{", r#"{"id":"a""#, "{'id':1}", r#"{"id":"a","name":"A"} x"#] {
        call(body).check_problem(400, "malformed_body");
    }
    for (body, part) in [
        (r#"{"id":"a","name":"A","nmae":"A"}"#, "unknown field `nmae`"),
        (r#"{"id":"a"}"#, "missing field `name`"),
        (r#"{"id":"a b","name":"A"}"#, "organization id"),
        (r#"{"id":"a","name":"A","retention_ms":1.5}"#, "line 1 column"),
        ("[]", "one json object"),
        (r#"["c","C"]"#, "one json object"),
        ("7", "one json object"),
    ] {
        let answer = call(body);
        answer.check_problem(400, "invalid");
        assert!(answer.text.contains(part), "{answer:?}");
    }
}

#[test]
fn queries_hold_what_they_may_hold_and_nothing_else() {
    let server = Fixture::start();
    for query in ["limit=x", "limit=0", "limit=-1", "after=a%20b", "page=2"] {
        server.get(&format!("/v1/organizations?{query}"), &server.operator).check_problem(400, "invalid");
    }
}

#[test]
fn refusals_of_the_meter_keep_their_status_and_their_code() {
    let server = Fixture::populated();
    let taken = json!({"id": "north", "name": "Again"});
    server.post("/v1/organizations", &server.operator, &taken).check_problem(409, "organization_exists");
    let backwards = json!({"from": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"});
    server
        .put(&format!("{NORTH}/cameras/cam/unlimited/u"), &server.admin, &backwards)
        .check_problem(400, "invalid");
    let nowhere = json!({"label": "x", "role": "viewer", "organizations": ["nowhere"]});
    server.post("/v1/keys", &server.operator, &nowhere).check_problem(404, "unknown_organization");
    let misfit = json!({"label": "x", "role": "operator", "organizations": ["north"]});
    server.post("/v1/keys", &server.operator, &misfit).check_problem(400, "invalid");
    server.get(&format!("{NORTH}/cameras/none"), &server.viewer).check_problem(404, "unknown_camera");
}

/// A body of fields by place would be read by their order: it moves money as little as a body of unknown fields does.
#[test]
fn bodies_of_fields_by_place_are_refused_everywhere() {
    let server = Fixture::start();
    for (method, path, key, body) in [
        ("POST", "/v1/organizations", &server.operator, r#"["new","New"]"#),
        ("POST", "/v1/keys", &server.operator, r#"["x","viewer",["north"]]"#),
        ("POST", "/v1/organizations/north/licenses", &server.admin, r#"["KEY"]"#),
        ("POST", "/v1/transfers", &server.admin, r#"["T","north","south"]"#),
        ("PUT", "/v1/organizations/north/cameras/z", &server.admin, r#"["n",true]"#),
    ] {
        let answer = server.call(method, path, key, Some((JSON, body.as_bytes())));
        answer.check_problem(400, "invalid");
        assert!(answer.text.contains("one json object"), "{answer:?}");
    }
}

#[test]
fn text_in_another_character_set_is_refused() {
    let server = Fixture::start();
    for (media, status) in [
        ("application/json; charset=latin1", 415),
        ("application/json;CHARSET=\"utf-16\"", 415),
        ("application/json; charset=\"UTF-8\"", 200),
        ("application/json; profile=x", 200),
    ] {
        assert_eq!(
            server.call("POST", DEBITS, &server.gateway, Some((media, b"[]"))).status,
            status,
            "{media}"
        );
        let made = server.call("POST", "/v1/organizations", &server.operator, Some((media, b"{}"))).status;
        assert_eq!(made == 415, status == 415, "{media}");
    }
}

#[test]
fn an_organization_that_stands_twice_makes_no_key() {
    let server = Fixture::start();
    let body = json!({"label": "x", "role": "viewer", "organizations": ["north", "south", "north"]});
    let answer = server.post("/v1/keys", &server.operator, &body);
    answer.check_problem(400, "invalid");
    assert!(answer.text.contains("stands twice"), "{answer:?}");
}

#[test]
fn details_speak_of_the_request_and_not_of_the_program() {
    let server = Fixture::populated();
    let bind = format!("{NORTH}/cameras/cam/unlimited/u");
    let times = [json!("yesterday"), json!(-1), json!(1.5), json!(true), json!(null)];
    let mut answers: Vec<_> = times
        .iter()
        .map(|time| server.put(&bind, &server.admin, &json!({"from": time, "until": "2027-01-01T00:00:00Z"})))
        .collect();
    for answer in &answers {
        assert!(answer.text.contains("RFC 3339 with an offset, or whole milliseconds"), "{answer:?}");
    }
    answers.push(server.get("/v1/organizations?limit=x", &server.operator));
    answers.push(server.call("POST", DEBITS, &server.gateway, Some(("application/msgpack", b"\x92\x80"))));
    answers.push(server.call("POST", DEBITS, &server.gateway, Some(("application/x-ndjson", b"{}\n{]"))));
    let short = format!(
        "POST {DEBITS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: {JSON}\r\n\
         Connection: close\r\nTransfer-Encoding: chunked\r\n\r\nno length\r\n",
        server.gateway
    );
    let raw = server.raw(short.as_bytes());
    for text in answers.iter().map(|answer| answer.text.as_str()).chain([raw.as_str()]) {
        assert!(text.contains("detail") || text.starts_with("HTTP/1.1 400"), "{text}");
        for word in
            ["struct", "deserialize", "payload", "marker", "EOF", "visitor", "epoch at line 1 column 1 at"]
        {
            assert!(!text.contains(word), "{word} in {text}");
        }
    }
}
