//! Webhooks over HTTP: set, signed and called; endpoints that fail, hang, redirect, or never end.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use serde_json::{Value, json};
use tokenweir::config::Config;

use crate::fixture::{Fixture, NORTH};

const PATIENCE: Duration = Duration::from_secs(30);
const HOOK: &str = "/v1/organizations/north/webhooks/w";

/// How an endpoint answers.
type Answering = fn(&mut TcpStream);

/// What an endpoint was sent.
#[derive(Debug)]
struct Sent {
    headers: Vec<(String, String)>,
    body: String,
}

impl Sent {
    fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).unwrap_or_default()
    }
}

/// An endpoint on this machine that answers every request in the same way.
fn endpoint(answer: Answering) -> (String, Receiver<Sent>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let (sender, sent) = channel();
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let sender = sender.clone();
            std::thread::spawn(move || serve(connection, answer, &sender));
        }
    });
    (format!("http://{address}/hook"), sent)
}

fn serve(mut connection: TcpStream, answer: Answering, sender: &Sender<Sent>) {
    let mut reader = BufReader::new(connection.try_clone().expect("a handle"));
    let mut headers = Vec::new();
    let mut line = String::new();
    while reader.read_line(&mut line).is_ok_and(|length| length > 2) {
        if let Some((name, value)) = line.trim_end().split_once(": ") {
            headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        line.clear();
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.and_then(|(_, length)| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    if reader.read_exact(&mut body).is_err() {
        return;
    }
    let body = String::from_utf8(body).expect("text");
    _ = sender.send(Sent { headers, body });
    answer(&mut connection);
}

fn ok(connection: &mut TcpStream) {
    _ = connection.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
}

/// A server that calls endpoints on this machine, within half a second.
fn server() -> Fixture {
    let change = |config: &mut Config| {
        config.alerts.private = "127.0.0.0/8".parse().expect("a network");
        config.alerts.timeout_ms = 500;
    };
    Fixture::start_with(change).populate()
}

fn add_tokens(server: &Fixture, key: &str) {
    let body = json!({"key": server.license_key(key, &[10])});
    server.post(&format!("{NORTH}/licenses"), &server.admin, &body).expect(201);
}

/// The newest delivery, once it stands as `is_met` says.
fn delivery(server: &Fixture, is_met: impl Fn(&Value) -> bool) -> Value {
    let begun = tokenweir::telemetry::clock::start();
    loop {
        let page = server.get(&format!("{NORTH}/deliveries?limit=1"), &server.viewer).expect(200);
        if is_met(&page["deliveries"][0]) {
            return page["deliveries"][0].clone();
        }
        assert!(begun.elapsed() < PATIENCE, "it never comes: {page}");
    }
}

fn was_tried(delivery: &Value) -> bool {
    delivery["attempts"].as_u64().is_some_and(|attempts| attempts > 0)
}

fn secrets(server: &Fixture) -> Value {
    server.get(&format!("{HOOK}/secret"), &server.admin).expect(200)
}

/// The signature of a message, computed apart from the server.
fn signature(secret: &Value, sent: &Sent) -> String {
    use base64::Engine as _;
    let engine = base64::engine::general_purpose::STANDARD;
    let secret = secret.as_str().and_then(|secret| secret.strip_prefix("whsec_")).expect("a secret");
    let secret = engine.decode(secret).expect("base64");
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &secret);
    let text = format!("{}.{}.{}", sent.header("webhook-id"), sent.header("webhook-timestamp"), sent.body);
    let signed = aws_lc_rs::hmac::sign(&key, text.as_bytes());
    format!("v1,{}", engine.encode(signed.as_ref()))
}

#[test]
fn an_endpoint_gets_a_signed_message_and_its_delivery_is_logged() {
    let server = server();
    let (url, sent) = endpoint(ok);
    server.put(HOOK, &server.admin, &json!({"url": url, "topics": ["license.added"]})).expect(200);
    add_tokens(&server, "KEY-2");
    let message = sent.recv_timeout(PATIENCE).expect("it is called");
    assert_eq!(message.header("content-type"), "application/json");
    assert!(message.header("webhook-id").starts_with("msg_"), "{message:?}");
    assert_eq!(message.header("webhook-signature"), signature(&secrets(&server)["secret"], &message));
    let body: Value = serde_json::from_str(&message.body).expect("JSON");
    assert_eq!((&body["type"], &body["data"]["tokens"]), (&json!("license.added"), &json!(10)));
    assert_eq!((&body["data"]["organization"], &body["data"]["available"]), (&json!("north"), &json!(1_510)));
    let logged = delivery(&server, was_tried);
    assert_eq!((&logged["state"], &logged["last"]["status"]), (&json!("delivered"), &json!(204)));
    assert_eq!(logged["message_id"], message.header("webhook-id"));
    let whole = server.get(&format!("{NORTH}/deliveries/{}", logged["number"]), &server.viewer).expect(200);
    assert_eq!((&whole["message"], whole["tried"].as_array().map(Vec::len)), (&body, Some(1)));
}

#[test]
fn a_message_is_sent_again_by_hand_under_the_same_id_and_once_for_each_key() {
    let server = server();
    let (url, sent) = endpoint(ok);
    server.put(HOOK, &server.admin, &json!({"url": url})).expect(200);
    add_tokens(&server, "KEY-2");
    let first = sent.recv_timeout(PATIENCE).expect("it is called");
    let number = delivery(&server, was_tried)["number"].clone();
    let (path, body) = (format!("{NORTH}/deliveries"), json!({"replay": number}).to_string());
    let headers = [("idempotency-key", "again")];
    let ask = || {
        let body = Some((crate::fixture::JSON, body.as_bytes()));
        server.call_with(("POST", &path), &server.admin, &headers, body)
    };
    let made = ask().expect(201);
    assert_eq!((&made["replays"], &made["message_id"]), (&number, &json!(first.header("webhook-id"))));
    assert_eq!(ask().expect(201), made, "the same request");
    let second = sent.recv_timeout(PATIENCE).expect("it is called");
    assert_eq!((second.header("webhook-id"), &second.body), (first.header("webhook-id"), &first.body));
    delivery(&server, |one| one["state"] == "delivered" && one["replays"] == number);
    assert!(sent.try_recv().is_err(), "it is sent once");
    let unknown = json!({"replay": 77_777});
    server.post(&path, &server.admin, &unknown).check_problem(404, "unknown_delivery");
    server.post(&path, &server.viewer, &json!({"replay": number})).check_problem(403, "forbidden");
    let audit = server.get(&format!("{NORTH}/audit"), &server.admin).expect(200);
    let acts: Vec<_> = audit["entries"].as_array().expect("rows").iter().map(|one| &one["act"]).collect();
    assert!(acts.contains(&&json!("replay_delivery")) && acts.contains(&&json!("set_webhook")), "{acts:?}");
}

#[test]
fn a_rotated_secret_signs_beside_the_one_before_and_both_are_shown() {
    let server = server();
    let (url, sent) = endpoint(ok);
    server.put(HOOK, &server.admin, &json!({"url": url})).expect(200);
    let old = secrets(&server)["secret"].clone();
    let rotated =
        server.post(&format!("{HOOK}/secret"), &server.admin, &json!({"overlap_ms": 600_000})).expect(200);
    assert!(rotated["previous_secret_until"].is_string(), "{rotated}");
    let now = secrets(&server);
    assert_eq!(now["previous"], old);
    assert_ne!(now["secret"], old);
    add_tokens(&server, "KEY-2");
    let message = sent.recv_timeout(PATIENCE).expect("it is called");
    let both = format!("{} {}", signature(&now["secret"], &message), signature(&old, &message));
    assert_eq!(message.header("webhook-signature"), both);
    server.post(&format!("{HOOK}/secret"), &server.admin, &json!({"overlap_ms": 0})).expect(200);
    assert_eq!(secrets(&server)["previous"], Value::Null);
    for key in [&server.viewer, &server.gateway, &server.operator] {
        server.get(&format!("{HOOK}/secret"), key).check_problem(403, "forbidden");
    }
    let none = format!("{NORTH}/webhooks/none/secret");
    server.get(&none, &server.admin).check_problem(404, "unknown_webhook");
}

#[test]
fn endpoints_that_fail_hang_redirect_or_never_end_hold_up_themselves_alone() {
    let server = server();
    let cases: [(&str, Answering, &str); 5] = [
        (
            "fails",
            |connection| _ = connection.write_all(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n"),
            "500",
        ),
        (
            "redirects",
            |connection| {
                let to = b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/latest/meta-data\r\ncontent-length: 0\r\n\r\n";
                _ = connection.write_all(to);
            },
            "redirects are not followed",
        ),
        ("hangs", |connection| _ = connection.read_to_end(&mut Vec::new()), "timeout"),
        (
            "drips",
            |connection| {
                _ = connection.write_all(b"HTTP/1.1 200 OK\r\n");
                while connection.write_all(b"x-more: y\r\n").is_ok() {}
            },
            "",
        ),
        ("closes", |_| {}, ""),
    ];
    for (name, answer, _) in cases {
        let (url, _) = endpoint(answer);
        server.put(&format!("{NORTH}/webhooks/{name}"), &server.admin, &json!({"url": url})).expect(200);
    }
    let (url, sent) = endpoint(|connection| {
        let begun = connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n");
        while begun.is_ok() && connection.write_all(&[b'x'; 4_096]).is_ok() {}
    });
    server.put(&format!("{NORTH}/webhooks/endless"), &server.admin, &json!({"url": url})).expect(200);
    add_tokens(&server, "KEY-2");
    sent.recv_timeout(PATIENCE).expect("it is called");
    let of = |name: &str| format!("{NORTH}/deliveries?limit=1&webhook={name}");
    let begun = tokenweir::telemetry::clock::start();
    let last = |name: &str| loop {
        let page = server.get(&of(name), &server.viewer).expect(200);
        let one = page["deliveries"][0].clone();
        if was_tried(&one) {
            return one;
        }
        assert!(begun.elapsed() < PATIENCE, "{name} never comes: {page}");
    };
    assert_eq!(last("endless")["state"], "delivered", "what it says is not read");
    for (name, _, told) in cases {
        let one = last(name);
        assert_eq!(one["state"], "pending", "{name}: {one}");
        let error = one["last"]["error"].as_str().unwrap_or_default();
        assert!(!error.is_empty() && error.contains(told), "{name}: {one}");
        assert!(one["last"]["took_ms"].as_u64().is_some_and(|ms| ms < 5_000), "{name}: {one}");
    }
    let summary = server.get(&format!("{NORTH}/summary"), &server.viewer).expect(200);
    assert_eq!(summary["available"], 1_510);
}

#[test]
fn an_address_that_only_the_server_reaches_is_not_called() {
    let server = Fixture::populated();
    let (url, sent) = endpoint(ok);
    let port = url.rsplit_once(':').map(|(_, rest)| rest.to_owned()).expect("a port");
    for (name, url) in [
        ("plain", url.clone()),
        ("named", format!("http://localhost:{port}")),
        ("tls", format!("https://127.0.0.1:{port}")),
        ("mapped", format!("https://[::ffff:127.0.0.1]:{port}")),
        ("metadata", "https://169.254.169.254/latest/meta-data".to_owned()),
        ("decimal", "https://2130706433/".to_owned()),
    ] {
        server.put(&format!("{NORTH}/webhooks/{name}"), &server.admin, &json!({"url": url})).expect(200);
        add_tokens(&server, &format!("KEY-{name}"));
        let one = delivery(&server, |one| was_tried(one) && one["webhook"] == name);
        let error = one["last"]["error"].as_str().unwrap_or_default();
        assert!(error.contains("not an address of the internet"), "{name}: {one}");
        server.delete(&format!("{NORTH}/webhooks/{name}"), &server.admin).expect(204);
    }
    assert!(sent.try_recv().is_err(), "nothing was called");
}

#[test]
fn an_endpoint_that_is_gone_is_called_no_more_until_it_is_set_again() {
    let server = server();
    let (url, sent) =
        endpoint(|connection| _ = connection.write_all(b"HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n"));
    let hook = json!({"url": url});
    server.put(HOOK, &server.admin, &hook).expect(200);
    add_tokens(&server, "KEY-2");
    sent.recv_timeout(PATIENCE).expect("it is called");
    delivery(&server, |one| one["state"] == "off");
    let list = server.get(&format!("{NORTH}/webhooks"), &server.viewer).expect(200);
    assert_eq!(list["webhooks"][0]["state"], "off", "{list}");
    add_tokens(&server, "KEY-3");
    delivery(&server, |one| one["state"] == "off" && one["attempts"] == 0);
    assert_eq!(server.put(HOOK, &server.admin, &hook).expect(200)["state"], "on");
    add_tokens(&server, "KEY-4");
    sent.recv_timeout(PATIENCE).expect("it is called again");
}

#[test]
fn what_is_no_webhook_is_refused_and_so_is_who_may_not_set_one() {
    let server = Fixture::populated();
    for bad in [
        json!({}),
        json!({"url": "ftp://example.org"}),
        json!({"url": "https://user@example.org/"}),
        json!({"url": "https://example.org/#x"}),
        json!({"url": 1}),
        json!({"url": "https://example.org/", "topics": ["license"]}),
        json!({"url": "https://example.org/", "secret": "x"}),
    ] {
        server.put(HOOK, &server.admin, &bad).check_problem(400, "invalid");
    }
    let good = json!({"url": "https://example.org/"});
    for key in [&server.viewer, &server.gateway, &server.operator] {
        server.put(HOOK, key, &good).check_problem(403, "forbidden");
        server.delete(HOOK, key).check_problem(403, "forbidden");
    }
    server.delete(HOOK, &server.admin).check_problem(404, "unknown_webhook");
    let path = format!("{NORTH}/webhooks");
    server.put(HOOK, &server.admin, &json!({"url": "https://example.org/a?b"})).expect(200);
    for (key, url) in
        [(&server.admin, "https://example.org/a?b"), (&server.viewer, "https://example.org/...")]
    {
        assert_eq!(server.get(&path, key).expect(200)["webhooks"][0]["url"], url);
    }
    server.delete(HOOK, &server.admin).expect(204);
    for n in 0..8 {
        server.put(&format!("{NORTH}/webhooks/w{n}"), &server.admin, &good).expect(200);
    }
    server.put(HOOK, &server.admin, &good).check_problem(422, "limit_reached");
    let rotate = json!({"overlap_ms": 604_800_001_u64});
    let path = format!("{NORTH}/webhooks/w0/secret");
    server.post(&path, &server.admin, &rotate).check_problem(400, "invalid");
}
