//! Every bound, passed by one: what is refused, and that the bound is told.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::mpsc::channel;

use serde_json::{Value, json};

use crate::fixture::{DEBITS, Fixture, JSON, NORTH};

fn batch(debits: u64) -> Value {
    (1..=debits).map(|seq| json!({"camera": "cam", "epoch": 1, "seq": seq, "tokens": 1})).collect()
}

#[test]
fn a_batch_of_one_debit_too_many_is_refused_whole_in_every_form() {
    let server = Fixture::start_with(|config| config.batch_debits_max = 10).populate();
    let (fitting, large) = (batch(10), batch(11));
    let lines: Vec<_> = large.as_array().expect("rows").iter().map(Value::to_string).collect();
    let pack = rmp_serde::to_vec_named(&large).expect("it encodes");
    for (media, body) in [
        (JSON, large.to_string().as_bytes()),
        ("application/x-ndjson", lines.join("\n").as_bytes()),
        ("application/msgpack", &pack),
    ] {
        let answer = server.call("POST", DEBITS, &server.gateway, Some((media, body)));
        answer.check_problem(400, "invalid");
        assert_eq!(answer.json()["limit"], 10, "{media}");
    }
    let judged = server.post(DEBITS, &server.gateway, &fitting).expect(200);
    assert_eq!((judged["results"].as_array().map(Vec::len), &judged["available"]), (Some(10), &json!(1_490)));
}

#[test]
fn a_batch_of_as_many_debits_as_allowed_is_judged() {
    let server = Fixture::start().populate();
    let judged = server.post(DEBITS, &server.gateway, &batch(10_000)).expect(200);
    assert_eq!((judged["results"].as_array().map(Vec::len), &judged["available"]), (Some(10_000), &json!(0)));
    server.post(DEBITS, &server.gateway, &batch(10_001)).check_problem(400, "invalid");
}

#[test]
fn a_body_that_is_too_long_is_refused_whether_or_not_it_says_so() {
    let server = Fixture::start_with(|config| config.body_bytes_max = 1 << 10).populate();
    let long = format!("[{}]", " ".repeat(1 << 10));
    let answer = server.call("POST", DEBITS, &server.gateway, Some((JSON, long.as_bytes())));
    answer.check_problem(413, "body_too_large");
    assert_eq!(answer.json()["limit"], 1_024);
    let head = format!(
        "POST {DEBITS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: {JSON}\r\nConnection: close\r\n",
        server.gateway
    );
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{long}\r\n0\r\n\r\n", long.len());
    let answer = server.raw(chunked.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("\"limit\":1024"), "{answer}");
    let fitting = format!("{head}Transfer-Encoding: chunked\r\n\r\n1\r\n[\r\n1\r\n]\r\n0\r\n\r\n");
    assert!(server.raw(fitting.as_bytes()).starts_with("HTTP/1.1 200"));
}

/// A body of this key that has begun and does not go on, where the room of the key is that of one body: of two that begin, one
/// is refused, and then the other surely holds the room.
fn held_body(server: &Fixture, key: &str) -> TcpStream {
    let (sender, answers) = channel();
    let streams = [0, 1].map(|number| {
        let mut stream = server.connect();
        stream.write_all(head("POST", DEBITS, key).as_bytes()).expect("sent");
        let (mut reader, sender) = (stream.try_clone().expect("a handle"), sender.clone());
        std::thread::spawn(move || {
            let mut status = [0; 12];
            reader.read_exact(&mut status).expect("an answer");
            // Nobody listens any more for the answer to the one that holds the room.
            _ = sender.send((number, status));
        });
        stream
    });
    let (refused, status) = answers.recv().expect("one is refused");
    assert_eq!(&status, b"HTTP/1.1 429");
    let [first, second] = streams;
    if refused == 0 { second } else { first }
}

#[test]
fn more_bytes_of_bodies_than_are_held_at_once_are_busy() {
    let server = Fixture::start_with(|config| {
        (config.body_bytes_max, config.grpc_message_bytes_max) = (1 << 10, 1 << 10);
        config.bodies_bytes_max = 1 << 10;
    });
    let server = server.populate();
    let other = server.key("gateway", &["north"]);
    let send = || server.post(DEBITS, &other, &json!([{"camera": "cam", "epoch": 1, "seq": 1, "tokens": 1}]));
    let mut announced = server.connect();
    let announcing =
        head("POST", DEBITS, &server.gateway).replace("\r\n\r\n{", "\r\nExpect: 100-continue\r\n\r\n");
    announced.write_all(announcing.as_bytes()).expect("sent");
    // The interim answer says that the body is awaited.
    let mut interim = [0; 12];
    announced.read_exact(&mut interim).expect("an interim answer");
    assert_eq!(&interim, b"HTTP/1.1 100");
    assert_eq!(send().status, 200, "what is announced and not sent takes nothing from the others");
    let mut held = held_body(&server, &server.gateway);
    let refused = send();
    refused.check_problem(429, "busy");
    assert_eq!((refused.header("retry-after"), &refused.json()["limit"]), ("1", &json!(1_024)));
    held.write_all(&[b' '; 999]).expect("sent");
    // Its room is free a moment after it is answered.
    assert_eq!((0..10_000).map(|_| send().status).find(|status| *status == 200), Some(200));
}

#[test]
fn a_body_that_does_not_arrive_in_time_is_given_up_and_its_connection_closed() {
    let server = Fixture::start_with(|config| config.request_timeout_ms = 1_000);
    let head = |key: &str| {
        format!(
            "POST {DEBITS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Type: {JSON}\r\n"
        )
    };
    let (sized, chunked) = ("Content-Length: 9\r\n\r\n[", "Transfer-Encoding: chunked\r\n\r\n9\r\n[");
    for rest in [sized, chunked] {
        let answer = server.raw(format!("{}{rest}", head(&server.gateway)).as_bytes());
        assert!(
            answer.starts_with("HTTP/1.1 408") && answer.contains("\"code\":\"request_timeout\""),
            "{answer}"
        );
        let answer = server.raw(format!("{}{rest}", head("nobody")).as_bytes());
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    }
}

#[test]
fn one_connection_too_many_is_told_so_and_health_stays_open() {
    let server = Fixture::start_with(|config| config.connections_max = 2);
    let request = |path: &str, connection: &str| {
        let key = &server.viewer;
        format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nConnection: {connection}\r\n\r\n"
        )
    };
    let path = format!("{NORTH}/summary");
    let mut held: Vec<_> = (0..2).map(|_| server.connect()).collect();
    let mut status = [0; 12];
    for stream in &mut held {
        stream.write_all(request("/healthz", "keep-alive").as_bytes()).expect("sent");
        stream.read_exact(&mut status).expect("an answer");
    }
    let refused = server.raw(request(&path, "close").as_bytes());
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("too_many_connections"), "{refused}");
    assert!(refused.contains("\"limit\":2"), "{refused}");
    assert!(server.raw(request("/healthz", "close").as_bytes()).starts_with("HTTP/1.1 200"));
}

#[test]
fn the_bound_of_a_value_stands_in_its_problem() {
    let server = Fixture::start();
    let long = "x".repeat(65);
    let name = "x".repeat(129);
    for (path, key, body, limit) in [
        (
            format!("{NORTH}/cameras/{long}"),
            &server.admin,
            json!({"network": "n", "cloud_ai": true}),
            json!(64),
        ),
        ("/v1/organizations".to_owned(), &server.operator, json!({"id": "a", "name": name}), json!(128)),
        ("/v1/organizations".to_owned(), &server.operator, json!({"id": long, "name": "A"}), json!(64)),
        (
            "/v1/transfers".to_owned(),
            &server.admin,
            json!({"id": long, "source": "north", "target": "south"}),
            json!(64),
        ),
        (
            "/v1/organizations".to_owned(),
            &server.operator,
            json!({"id": "a", "name": "A", "retention_ms": 1}),
            json!(3_024_000_000u64),
        ),
    ] {
        let answer = if path.contains("cameras") {
            server.put(&path, key, &body)
        } else {
            server.post(&path, key, &body)
        };
        answer.check_problem(400, "invalid");
        assert_eq!(answer.json()["limit"], limit, "{answer:?}");
    }
    let answer = server.get("/v1/organizations?limit=1001", &server.operator);
    answer.check_problem(400, "invalid");
    assert_eq!(answer.json()["limit"], 1_000);
}

/// The head of a request whose body does not come yet.
fn head(method: &str, path: &str, key: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Type: {JSON}\r\n\
         Content-Length: 1000\r\n\r\n{{"
    )
}

#[test]
fn who_may_not_ask_is_refused_before_the_body_is_awaited() {
    let server = Fixture::start();
    let camera = format!("{NORTH}/cameras/c");
    for (method, path, key) in [
        ("POST", "/v1/organizations", &server.viewer),
        ("POST", "/v1/keys", &server.admin),
        ("POST", "/v1/transfers", &server.gateway),
        ("PUT", &camera, &server.viewer),
        ("PUT", &format!("{camera}/unlimited/u"), &server.gateway),
        ("POST", &format!("{NORTH}/licenses"), &server.operator),
        ("POST", "/v1/organizations/other/licenses", &server.admin),
        ("POST", DEBITS, &server.viewer),
        ("POST", DEBITS, &server.admin),
        ("POST", "/v1/organizations/other/debits", &server.gateway),
    ] {
        let mut stream = server.connect();
        stream.write_all(head(method, path, key).as_bytes()).expect("sent");
        let mut status = [0; 12];
        stream.read_exact(&mut status).expect("an answer before the body");
        assert_eq!(&status, b"HTTP/1.1 403", "{method} {path}");
    }
}

#[test]
fn the_bodies_of_one_key_never_take_the_room_of_the_others() {
    let server = Fixture::start_with(|config| {
        (config.body_bytes_max, config.grpc_message_bytes_max) = (1 << 10, 1 << 10);
        config.bodies_bytes_max = 4 << 10;
    });
    let server = server.populate();
    let mut slow = held_body(&server, &server.gateway);
    let debit = json!([{"camera": "cam", "epoch": 1, "seq": 1, "tokens": 1}]);
    let mine = || server.post(DEBITS, &server.gateway, &debit);
    let refused = mine();
    refused.check_problem(429, "busy");
    assert_eq!(refused.json()["limit"], 1_024, "a quarter of all, and at least one body");
    let other = server.key("gateway", &["north"]);
    server.post(DEBITS, &other, &debit).expect(200);
    server
        .put(&format!("{NORTH}/cameras/c"), &server.admin, &json!({"network": "n", "cloud_ai": true}))
        .expect(200);
    slow.write_all(&[b' '; 999]).expect("sent");
    // Its room is free a moment after it is answered.
    assert_eq!((0..10_000).map(|_| mine().status).find(|status| *status == 200), Some(200));
}
