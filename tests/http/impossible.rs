//! Values that no request may hold, for every route that reads a body: each is refused with a clear problem, and nothing changes.
//!
//! The routes are those that are declared. One that reads a body and has no sound body here fails the test.

use std::io::{Read as _, Write as _};

use serde_json::{Value, json};
use tokenweir::edge::http::route::{self, Right, Route};

use crate::fixture::{Answer, Fixture, JSON, NORTH};

/// A body that the route takes, and the media type that it goes with.
fn sound(server: &Fixture, path: &str) -> (Value, &'static str) {
    let event = json!({"specversion": "1.0", "id": "e", "source": "/s", "type": "t", "subject": "cam",
        "time": "2026-01-02T03:04:05Z", "data": {"tokens": 1}});
    match path {
        "/v1/organizations" => (json!({"id": "west", "name": "West", "retention_ms": 60_000}), JSON),
        "/v1/organizations/{org}/cameras/{camera}" => {
            (json!({"network": "n", "cloud_ai": true, "pro_license": false}), JSON)
        }
        "/v1/organizations/{org}/cameras/{camera}/unlimited/{license}" => {
            let (from, until) = ("2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z");
            (json!({"kind": "video_search", "from": from, "until": until}), JSON)
        }
        "/v1/organizations/{org}/licenses" => {
            (json!({"key": server.license_key("NEW", &[1]), "dry_run": false}), JSON)
        }
        "/v1/organizations/{org}/debits" | "/v1/organizations/{org}/reservations/{reservation}/debits" => {
            (json!({"camera": "cam", "epoch": 1, "seq": 1, "tokens": 1, "kind": "video_search"}), JSON)
        }
        "/v1/organizations/{org}/rates" => {
            let prices = json!([{"kind": "other", "unit": "event", "millitokens": 1}]);
            (json!({"from": "2027-01-01T00:00:00Z", "prices": prices}), JSON)
        }
        "/v1/organizations/{org}/alerts" => {
            (json!({"thresholds": [{"id": "low", "measure": "tokens_left", "at": 5}]}), JSON)
        }
        "/v1/organizations/{org}/webhooks/{webhook}" => {
            (json!({"url": "https://hooks.example/", "topics": ["alert.fired"]}), JSON)
        }
        "/v1/organizations/{org}/webhooks/{webhook}/secret" => (json!({"overlap_ms": 1_000}), JSON),
        "/v1/organizations/{org}/deliveries" => (json!({"replay": 1}), JSON),
        "/v1/organizations/{org}/reservations" => (json!({"id": "r", "tokens": 1, "ttl_ms": 60_000}), JSON),
        "/v1/transfers" => (json!({"id": "t", "source": "north", "target": "south"}), JSON),
        "/v1/keys" => (json!({"label": "l", "role": "viewer", "organizations": ["north"]}), JSON),
        "/v1/events" | "/api/v1/events" => (event, "application/cloudevents+json"),
        other => panic!("{other} reads a body; give a sound one here"),
    }
}

fn bearer(server: &Fixture, right: Right) -> &str {
    match right {
        Right::CreateOrganization | Right::ManageApiKeys => &server.operator,
        Right::Debit | Right::DebitNamed | Right::DebitOrAdminister => &server.gateway,
        _ => &server.admin,
    }
}

/// Texts of JSON that cannot stand where this value of the field stands.
fn impossible(field: &str, value: &Value) -> Vec<String> {
    let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
    let mut texts: Vec<_> =
        ["-1", "1.5", "18446744073709551616", "1e400", "NaN", "[]", "{}", "\"\\u0001\"", "\"\""]
            .map(str::to_owned)
            .to_vec();
    texts.extend([deep, format!("\"{}\"", "x".repeat(129))]);
    match value {
        Value::Number(_) => texts.extend(["\"1\"".to_owned(), "true".to_owned()]),
        Value::Bool(_) => texts.extend(["0".to_owned(), "\"true\"".to_owned()]),
        Value::String(_) => texts.extend(["true".to_owned(), "null".to_owned()]),
        _ => texts.extend(["0".to_owned(), "\"north\"".to_owned(), "[1]".to_owned()]),
    }
    // A sequence may begin at 0. No kind is the default one, and no `from` may be now; an amount or a span of 0 is none.
    if ["tokens", "ttl_ms", "retention_ms"].contains(&field) {
        texts.push("0".to_owned());
    }
    texts.retain(|text| !["kind", "from"].contains(&field) || text != "null");
    // No thresholds are none, and no topics are all.
    texts.retain(|text| !["thresholds", "topics"].contains(&field) || text != "[]");
    texts
}

/// The body with this text in place of the value of `field`.
fn with(sound: &Value, field: &str, text: &str) -> String {
    let mut body = sound.clone();
    body[field] = json!("\u{1}here");
    body.to_string().replace("\"\\u0001here\"", text)
}

fn bodies(sound: &Value) -> Vec<String> {
    let whole = sound.to_string();
    let inner = &whole[1..whole.len() - 1];
    let fields = sound.as_object().expect("an object");
    let mut bodies: Vec<_> = fields
        .iter()
        .flat_map(|(field, value)| impossible(field, value).into_iter().map(|text| with(sound, field, &text)))
        .collect();
    bodies.extend(fields.iter().map(|(field, value)| format!("{{{inner},\"{field}\":{value}}}")));
    bodies.extend([
        format!("{{{inner},\"unknown\":1}}"),
        format!("{whole}]"),
        inner.to_owned(),
        "\u{0}".into(),
    ]);
    bodies
}

/// Whether nothing came of it: refused whole, or, of debits, refused in its only debit.
fn check_refused(answer: &Answer, body: &str) {
    let shown: String = body.chars().take(200).collect();
    if answer.status == 200 {
        let results = &answer.json()["results"];
        assert!(results.as_array().is_some_and(|all| all.len() <= 1), "{shown}: {answer:?}");
        assert!(
            results.as_array().is_some_and(Vec::is_empty) || results[0]["outcome"] == "refused",
            "{shown}: {answer:?}"
        );
        return;
    }
    assert!((400..500).contains(&answer.status), "{shown}: {answer:?}");
    let code = answer.json()["code"].as_str().expect("a code").to_owned();
    answer.check_problem(answer.status, &code);
    assert!(answer.json()["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{shown}: {answer:?}");
}

fn state(server: &Fixture) -> Vec<String> {
    let of_north = ["summary", "cameras", "licenses", "reservations", "rates", "webhooks"]
        .map(|part| format!("{NORTH}/{part}"));
    let read = |path: &String| server.get(path, &server.viewer).expect(200).to_string();
    let all = ["/v1/organizations", "/v1/keys"]
        .map(|path| server.get(path, &server.operator).expect(200).to_string());
    of_north.iter().map(read).chain(all).collect()
}

fn check(server: &Fixture, route: &Route) {
    let path = [
        ("{org}", "north"),
        ("{camera}", "cam"),
        ("{license}", "u"),
        ("{reservation}", "held"),
        ("{webhook}", "hook"),
    ]
    .iter()
    .fold(route.path.to_owned(), |path, (name, value)| path.replace(name, value));
    let (sound, media) = sound(server, route.path);
    let who = bearer(server, route.right);
    let before = state(server);
    let is_event = media != JSON;
    for body in bodies(&sound) {
        // What an event holds besides its debit is for others, and its id may be any text.
        let is_for_others = ["\"unknown\"", "\\u0001", "xxxx"].iter().any(|part| body.contains(part));
        if is_event && is_for_others {
            continue;
        }
        let answer = server.call(route.method.as_str(), &path, who, Some((media, body.as_bytes())));
        check_refused(&answer, &body);
    }
    let head = format!(
        "{} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {who}\r\nContent-Type: {media}\r\nContent-Length: 10485760\r\n\
         Connection: close\r\n\r\n",
        route.method
    );
    // The rest of the body is never sent, so the connection stays open for a while: the answer is read as far as it goes.
    let mut stream = server.connect();
    stream.write_all(head.as_bytes()).expect("sent");
    let (mut answer, mut part) = (Vec::new(), [0; 4_096]);
    while !answer.ends_with(b"}") {
        let length = stream.read(&mut part).expect("an answer");
        assert!(length > 0, "{path}: the answer breaks off");
        answer.extend_from_slice(&part[..length]);
    }
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("body_too_large"), "{path}: {answer}");
    assert_eq!(state(server), before, "{path}");
}

#[test]
fn impossible_values_are_refused_by_every_route_that_reads_a_body_and_change_nothing() {
    let server = Fixture::populated();
    let reservation = json!({"id": "held", "tokens": 100, "ttl_ms": 3_600_000});
    server.post(&format!("{NORTH}/reservations"), &server.gateway, &reservation).expect(200);
    let hook = json!({"url": "https://hooks.example/kept"});
    server.put(&format!("{NORTH}/webhooks/hook"), &server.admin, &hook).expect(200);
    let reads = |route: &&Route| ["POST", "PUT"].contains(&route.method.as_str());
    for route in route::all().filter(reads) {
        check(&server, route);
    }
}
