//! What the reports say on the summary, and the AI event log.

use serde_json::json;
use tokenweir::meter::Timestamp;
use tokenweir::telemetry::clock::Clock;

use super::browser::{Browser, encode};
use crate::fixture::{DEBITS, Fixture, NORTH};

const SUMMARY: &str = "/console/organizations/north/summary";
const EVENTS: &str = "/console/organizations/north/events";

fn charged() -> Fixture {
    let server = Fixture::populated();
    let body = json!({"network": "yard & gate", "cloud_ai": true});
    server.put(&format!("{NORTH}/cameras/gate"), &server.admin, &body).expect(200);
    let free = json!({"from": 1, "until": "9999-12-31T00:00:00Z"});
    server.put(&format!("{NORTH}/cameras/gate/unlimited/FREE"), &server.admin, &free).expect(200);
    for (seq, camera, tokens, kind) in [
        (1, "cam", 100, "contextual_video_analytics"),
        (2, "cam", 20, "video_search"),
        (3, "gate", 7, "contextual_video_analytics"),
        (4, "gate", 5, "video_summary"),
    ] {
        let debit = json!({"camera": camera, "epoch": 1, "seq": seq, "tokens": tokens, "kind": kind});
        server.post(DEBITS, &server.gateway, &debit).expect(200);
    }
    server.report();
    server
}

#[test]
fn the_summary_draws_the_balance_and_the_usage_and_tells_both_as_a_table() {
    let server = charged();
    let mut browser = Browser::signed_in(&server, &server.viewer);
    for window in ["hour", "day", "week", "month", "nonsense"] {
        let page = browser.page(&format!("{SUMMARY}?window={window}"));
        assert!(page.contains("125 tokens used and 7 exempt"), "{window}: {page}");
        assert!(page.contains("Balance from 1,375 to 1,375 tokens"), "{window}: {page}");
        assert!(
            page.contains("<rect class=\"charged\"") && page.contains("<rect class=\"exempt\""),
            "{window}"
        );
        assert!(page.contains("<path class=\"line\" d=\"M"), "{window}");
        assert!(
            page.contains("<td class=\"number\"><data value=\"125\">125</data></td>"),
            "{window}: {page}"
        );
        assert_eq!(page.matches("aria-current=\"true\"").count(), 1, "{window}");
        assert!(page.contains("yard &#38; gate") && page.contains("lobby"), "{window}: {page}");
    }
}

#[test]
fn days_are_those_of_the_zone_that_the_browser_tells_and_of_utc_where_it_tells_none() {
    let server = charged();
    let mut browser = Browser::signed_in(&server, &server.viewer);
    assert!(browser.page(SUMMARY).contains("Intervals of UTC"));
    let session = browser.cookie.clone();
    for (zone, told) in [
        ("Asia/Kolkata", "Asia/Kolkata"),
        ("Nowhere/Land", "UTC"),
        ("../../etc/passwd", "UTC"),
        ("", "UTC"),
        (&*"a".repeat(2_000), "UTC"),
    ] {
        browser.cookie = format!("{session}; weir-zone={zone}");
        assert!(
            browser.page(&format!("{SUMMARY}?window=month")).contains(&format!("Intervals of {told}<")),
            "{zone}"
        );
    }
}

#[test]
fn the_event_log_is_filtered_by_what_the_form_says() {
    let server = charged();
    let mut browser = Browser::signed_in(&server, &server.viewer);
    let count = |page: &str| page.matches("<th scope=\"row\">").count();
    assert_eq!(count(&browser.page(EVENTS)), 4);
    for (fields, rows) in [
        (vec![("camera", "gate")], 2),
        (vec![("network", "yard & gate"), ("outcome", "exempt")], 1),
        (vec![("kind", "video_search")], 1),
        (vec![("kind", "video_search"), ("camera", "gate")], 0),
        (vec![("outcome", "charged"), ("network", "")], 3),
        (vec![("before", "3")], 2),
        (vec![("network", "no such network")], 0),
        (vec![("before", "99999999999999999999")], 4),
    ] {
        let answer = browser.get(&format!("{EVENTS}?{}", encode(&fields)));
        let is_number = fields.iter().all(|(name, value)| *name != "before" || value.parse::<u64>().is_ok());
        assert_eq!(answer.status, if is_number { 200 } else { 400 }, "{fields:?} {answer:?}");
        assert!(!is_number || count(&answer.text) == rows, "{fields:?} {}", answer.text);
    }
    let page = browser.page(&format!("{EVENTS}?outcome=exempt"));
    assert!(
        page.contains("under <code>FREE</code>") && page.contains("Contextual video analytics"),
        "{page}"
    );
    assert_eq!(browser.get(&format!("{EVENTS}?camera=a%20b")).status, 400);
}

#[test]
fn the_event_log_is_paged_from_the_newest_to_the_oldest() {
    let server = Fixture::populated();
    let debits: Vec<_> =
        (1..=120).map(|seq| json!({"camera": "cam", "epoch": 1, "seq": seq, "tokens": 1})).collect();
    server.post(DEBITS, &server.gateway, &json!(debits)).expect(200);
    server.report();
    let mut browser = Browser::signed_in(&server, &server.viewer);
    let first = browser.page(EVENTS);
    assert!(first.contains("name=\"before\" value=\"21\"") && first.contains("Older events"), "{first}");
    let last = browser.page(&format!("{EVENTS}?before=21"));
    assert!(last.contains(">1,499</data>") && !last.contains("Older events"), "{last}");
    assert!(
        first.contains("data-refresh")
            && !last.contains("id=\"log\" aria-labelledby=\"log-heading\" data-refresh")
    );
}

#[test]
fn without_reports_the_summary_stands_and_says_why_there_are_no_charts() {
    let server = Fixture::start_with(|config| config.reports = false).populate();
    let debit = json!({"camera": "cam", "epoch": 1, "seq": 1, "tokens": 5});
    server.post(DEBITS, &server.gateway, &debit).expect(200);
    let mut browser = Browser::signed_in(&server, &server.viewer);
    let page = browser.page(SUMMARY);
    assert!(page.contains("No charts now") && page.contains("1,495"), "{page}");
    assert!(page.contains("<th scope=\"row\">lobby</th>"), "what the pool itself counts is there: {page}");
    assert!(browser.page(EVENTS).contains("cannot be shown now"));
}

#[test]
fn an_estimate_goes_when_nothing_was_charged_for_a_quarter_of_an_hour() {
    let begun = Timestamp::from_ms(1_767_225_600_000).expect("valid");
    let (clock, hand) = Clock::manual(begun);
    let server = Fixture::populated_by(clock);
    let debit = json!({"camera": "cam", "epoch": 1, "seq": 1, "tokens": 100});
    server.post(DEBITS, &server.gateway, &debit).expect(200);
    let mut browser = Browser::signed_in(&server, &server.viewer);
    let estimate = |page: &str| super::browser::figure(page, "estimate").to_owned();
    assert_eq!(estimate(&browser.page(SUMMARY)), "14 min", "1,400 tokens at 100 a minute");
    hand.store(begun.ms() + 16 * 60_000, std::sync::atomic::Ordering::Relaxed);
    let page = browser.page(SUMMARY);
    assert_eq!((estimate(&page).as_str(), page.contains("idle: nothing was charged")), ("—", true));
}
