//! R12: reservations over HTTP: made, settled, released, listed, refused.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use tokenweir::meter::Timestamp;
use tokenweir::telemetry::clock::Clock;

use crate::fixture::{Fixture, NORTH};

const START_MS: u64 = 1_750_000_000_000;

fn path(rest: &str) -> String {
    format!("{NORTH}/reservations{rest}")
}

fn debit(seq: u64, tokens: u64) -> Value {
    json!({"camera": "cam", "epoch": 1, "seq": seq, "tokens": tokens})
}

#[test]
fn r12_a_reservation_is_made_settled_in_parts_and_released() {
    let server = Fixture::populated();
    let order = json!({"id": "job-1", "tokens": 1_000, "ttl_ms": 60_000});
    let made = server.post(&path(""), &server.gateway, &order).expect(200);
    assert_eq!(made, server.post(&path(""), &server.gateway, &order).expect(200), "the same again");
    for (field, value) in [("id", json!("job-1")), ("status", json!("open")), ("reserved", json!(1_000))] {
        assert_eq!(made[field], value, "{made}");
    }
    let summary = server.get(&format!("{NORTH}/summary"), &server.viewer).expect(200);
    let figures = ["available", "held", "reservations"].map(|field| summary[field].clone());
    assert_eq!(figures, [json!(500), json!(1_000), json!(1)]);
    let judged = server.post(&path("/job-1/debits"), &server.gateway, &debit(1, 300)).expect(200);
    assert_eq!(judged["results"], json!([{"outcome": "charged"}]));
    assert_eq!(judged["available"], 500, "what is settled was not available before");
    let judged = server.post(&path("/job-1/debits"), &server.gateway, &debit(2, 701)).expect(200);
    assert_eq!(judged["results"][0]["code"], "reservation_exceeded");
    let listed = server.get(&path(""), &server.viewer).expect(200);
    assert_eq!(
        (&listed["reservations"][0]["settled"], &listed["reservations"][0]["held"]),
        (&json!(300), &json!(700))
    );
    let released = server.delete(&path("/job-1"), &server.gateway).expect(200);
    assert_eq!((&released["status"], &released["held"]), (&json!("released"), &json!(0)));
    assert_eq!(released, server.delete(&path("/job-1"), &server.admin).expect(200), "it ends once");
    assert_eq!(released, server.get(&path("/job-1"), &server.viewer).expect(200));
    assert_eq!(server.get(&path(""), &server.viewer).expect(200), json!({"reservations": []}));
    let judged = server.post(&path("/job-1/debits"), &server.gateway, &debit(3, 1)).expect(200);
    assert_eq!(judged["results"][0]["code"], "reservation_ended");
    assert_eq!(server.get(&format!("{NORTH}/summary"), &server.viewer).expect(200)["available"], 1_200);
}

#[test]
fn what_cannot_be_reserved_is_refused_and_changes_nothing() {
    let server = Fixture::populated();
    let order = |tokens: Value, ttl: Value| json!({"id": "r", "tokens": tokens, "ttl_ms": ttl});
    for (body, status, code) in [
        (order(json!(0), json!(1_000)), 400, "invalid"),
        (order(json!(1), json!(999)), 400, "invalid"),
        (order(json!(1), json!(86_400_001)), 400, "invalid"),
        (order(json!(-1), json!(1_000)), 400, "invalid"),
        (order(json!(1.5), json!(1_000)), 400, "invalid"),
        (order(json!(18_446_744_073_709_551_616_f64), json!(1_000)), 400, "invalid"),
        (json!({"id": "a b", "tokens": 1, "ttl_ms": 1_000}), 400, "invalid"),
        (json!({"id": "r", "tokens": 1, "ttl_ms": 1_000, "more": 1}), 400, "invalid"),
        (order(json!(1_501), json!(1_000)), 402, "insufficient_tokens"),
    ] {
        server.post(&path(""), &server.gateway, &body).check_problem(status, code);
    }
    server.get(&path("/r"), &server.viewer).check_problem(404, "unknown_reservation");
    server.delete(&path("/r"), &server.gateway).check_problem(404, "unknown_reservation");
    let order = order(json!(1), json!(1_000));
    server.post(&path(""), &server.gateway, &order).expect(200);
    let other = json!({"id": "r", "tokens": 2, "ttl_ms": 1_000});
    server.post(&path(""), &server.gateway, &other).check_problem(409, "conflict");
}

#[test]
fn i7_expiry_is_seen_in_every_read_at_once() {
    let (clock, hand) = Clock::manual(Timestamp::from_ms(START_MS).expect("in range"));
    let server = Fixture::populated_by(clock);
    let order = json!({"id": "job", "tokens": 1_000, "ttl_ms": 60_000});
    server.post(&path(""), &server.gateway, &order).expect(200);
    server.post(&path("/job/debits"), &server.gateway, &debit(1, 300)).expect(200);
    let seen = || {
        let summary = server.get(&format!("{NORTH}/summary"), &server.viewer).expect(200);
        let open = server.get(&path(""), &server.viewer).expect(200)["reservations"].as_array().map(Vec::len);
        (summary["available"].as_u64(), summary["held"].as_u64(), summary["reservations"].as_u64(), open)
    };
    hand.store(START_MS + 59_999, Ordering::Relaxed);
    assert_eq!(seen(), (Some(500), Some(700), Some(1), Some(1)));
    hand.store(START_MS + 60_000, Ordering::Relaxed);
    assert_eq!(seen(), (Some(1_200), Some(0), Some(0), Some(0)));
    let found = server.get(&path("/job"), &server.viewer).expect(200);
    assert_eq!(
        (&found["status"], &found["settled"], &found["held"]),
        (&json!("expired"), &json!(300), &json!(0))
    );
    let late = server.post(&path("/job/debits"), &server.gateway, &debit(2, 1)).expect(200);
    assert_eq!(late["results"][0]["code"], "reservation_ended");
    assert_eq!(server.delete(&path("/job"), &server.gateway).expect(200), found, "it ended once");
    assert_eq!(server.post(&path(""), &server.gateway, &order).expect(200), found, "nor is it made again");
}

#[test]
fn i7_whatever_is_sent_no_more_is_settled_than_was_reserved() {
    let server = Fixture::populated();
    server
        .post(&path(""), &server.gateway, &json!({"id": "job", "tokens": 40, "ttl_ms": 60_000}))
        .expect(200);
    let mut settled = 0;
    // Each number comes several times, up and down, with other tokens at times; far more than the reservation holds.
    for step in 0..60_u64 {
        let (seq, tokens) = (step * 7 % 25, 1 + step % 5);
        let judged = server.post(&path("/job/debits"), &server.gateway, &debit(seq, tokens)).expect(200);
        if judged["results"][0]["outcome"] == "charged" {
            settled += tokens;
        }
        let found = server.get(&path("/job"), &server.viewer).expect(200);
        assert_eq!((&found["reserved"], &found["settled"]), (&json!(40), &json!(settled)), "step {step}");
        let summary = server.get(&format!("{NORTH}/summary"), &server.viewer).expect(200);
        let held = summary["held"].as_u64().expect("a number");
        assert!(settled <= 40 && held == 40 - settled && summary["available"] == 1_460, "{step}: {summary}");
    }
    assert_eq!(settled, 40, "and all that it holds can be settled");
}
