//! The AI Token Summary, and its figures as they are told live.

use std::io::{BufRead as _, BufReader, Write as _};

use serde_json::{Value, json};

use super::browser::{Browser, figure};
use crate::fixture::{DEBITS, Fixture, NORTH};

const SUMMARY: &str = "/console/organizations/north/summary";

/// A stream of live figures as a browser reads it.
struct Stream(BufReader<std::net::TcpStream>);

impl Stream {
    fn open(server: &Fixture, cookie: &str) -> Self {
        let mut stream = server.connect();
        let head = format!(
            "GET /console/organizations/north/live HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nCookie: {cookie}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).expect("sent");
        stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).expect("a time");
        Self(BufReader::new(stream))
    }

    /// The next line that begins so, without its beginning; none when the stream ends before.
    fn next(&mut self, beginning: &str) -> Option<String> {
        let mut line = String::new();
        while self.0.read_line(&mut line).expect("a line in time") > 0 {
            if let Some(rest) = line.trim_end().strip_prefix(beginning) {
                return Some(rest.to_owned());
            }
            line.clear();
        }
        None
    }

    fn figures(&mut self) -> Value {
        let text = self.next("data: ").expect("the stream goes on");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }
}

fn debit(server: &Fixture, seq: u64, tokens: u64) {
    let debit = json!({"camera": "cam", "epoch": 1, "seq": seq, "tokens": tokens});
    server.post(DEBITS, &server.gateway, &debit).expect(200);
}

#[test]
fn r10_the_page_shows_the_figures_of_the_summary_in_groups_of_three_digits() {
    let server = Fixture::populated();
    let mut browser = Browser::signed_in(&server, &server.viewer);
    let page = browser.page(SUMMARY);
    assert!(
        page.contains("CURRENT ORG SHARED AI TOKEN USAGE") && page.contains("idle: nothing was charged"),
        "{page}"
    );
    assert_eq!(figure(&page, "estimate"), "—", "null when nothing burns");
    debit(&server, 1, 418);
    let summary = server.get(&format!("{NORTH}/summary"), &server.viewer).expect(200);
    let page = browser.page(SUMMARY);
    for (name, shown) in [
        ("available", "1,082"),
        ("held", "0"),
        ("used", "418"),
        ("granted", "1,500"),
        ("cloud_ai", "1"),
        ("cameras", "2"),
        ("licenses", "2"),
        ("debits_charged", "1"),
    ] {
        assert_eq!(figure(&page, name), shown, "{name}");
    }
    assert_eq!(summary["available"], 1_082);
    assert!(
        figure(&page, "burn").starts_with("at 418 tokens in the last 1 min"),
        "{}",
        figure(&page, "burn")
    );
    assert!(page.contains("lobby"), "{page}");
}

#[test]
fn text_that_somebody_chose_is_shown_and_never_run() {
    let server = Fixture::start();
    let name = "<script>alert(1)</script>\"'&";
    let body = json!({"network": name, "cloud_ai": true});
    server.put(&format!("{NORTH}/cameras/cam"), &server.admin, &body).expect(200);
    let key = json!({"key": server.license_key("KEY", &[100])});
    server.post(&format!("{NORTH}/licenses"), &server.admin, &key).expect(201);
    debit(&server, 1, 1);
    let page = Browser::signed_in(&server, &server.viewer).page(SUMMARY);
    assert!(!page.contains("<script>alert") && !page.contains("\"'&<"), "{page}");
    assert!(page.contains("alert(1)"), "{page}");
}

#[test]
fn the_stream_tells_what_changes_and_ends_when_the_key_is_revoked() {
    let server = Fixture::populated();
    let browser = Browser::signed_in(&server, &server.viewer);
    let mut stream = Stream::open(&server, &browser.cookie);
    assert_eq!(stream.figures()["available"], "1,500");
    debit(&server, 1, 100);
    assert_eq!(stream.figures()["available"], "1,400");
    let id = server.viewer.split('_').nth(1).expect("a key names its id");
    server.delete(&format!("/v1/keys/{id}"), &server.operator).expect(204);
    assert_eq!(stream.next("event: ").as_deref(), Some("end"));
    assert_eq!(stream.next("data: ").as_deref(), Some("signed_out"));
}

#[test]
fn a_session_has_so_many_streams_and_the_first_one_ends_for_the_next() {
    let server = Fixture::populated();
    let mut browser = Browser::signed_in(&server, &server.viewer);
    let open = |_| {
        let mut stream = Stream::open(&server, &browser.cookie);
        assert_eq!(stream.figures()["available"], "1,500");
        stream
    };
    let mut streams: Vec<_> = (0..5).map(open).collect();
    assert_eq!(streams[0].next("event: ").as_deref(), Some("end"));
    assert_eq!(streams[0].next("data: ").as_deref(), Some("elsewhere"));
    debit(&server, 1, 100);
    assert!(streams[1..].iter_mut().all(|stream| stream.figures()["available"] == "1,400"));
    browser.submit("/console/sign-out", &[]);
    for stream in &mut streams[1..] {
        assert_eq!(stream.next("data: ").as_deref(), Some("signed_out"));
    }
}

#[test]
fn a_server_that_stops_ends_its_streams_and_waits_for_none() {
    let server = Fixture::populated();
    let browser = Browser::signed_in(&server, &server.viewer);
    let mut stream = Stream::open(&server, &browser.cookie);
    stream.figures();
    let begun = tokenweir::telemetry::clock::start();
    drop(browser);
    drop(server);
    assert_eq!(stream.next("event: ").as_deref(), Some("end"));
    assert!(begun.elapsed() < std::time::Duration::from_secs(8), "{:?}", begun.elapsed());
}

#[test]
fn there_are_so_many_streams_on_a_server_and_one_more_is_told_to_wait() {
    let server = Fixture::start_with(|config| config.connections_max = 4).populate();
    let mut browser = Browser::signed_in(&server, &server.viewer);
    let mut stream = Stream::open(&server, &browser.cookie);
    stream.figures();
    let answer = browser.get("/console/organizations/north/live");
    assert_eq!((answer.status, answer.header("retry-after")), (429, "1"), "{answer:?}");
    assert!(answer.text.contains("<code>busy</code>"), "{answer:?}");
    drop(stream);
}
