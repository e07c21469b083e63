//! Rate cards, looked at and set by hand.

use serde_json::json;

use super::browser::{Browser, field};
use crate::fixture::{DEBITS, Fixture, NORTH};

const RATES: &str = "/console/organizations/north/rates";

#[test]
fn prices_are_set_after_a_look_at_what_they_make_and_price_events_from_then_on() {
    let server = Fixture::populated();
    let mut browser = Browser::signed_in(&server, &server.admin);
    let page = browser.page(RATES);
    assert!(page.contains("No rate card yet"), "{page}");
    let tag = field(&page, "tag").to_owned();
    let prices = [("video_search.image", "1.5"), ("contextual_video_analytics.second", "0.25")];
    let preview =
        browser.submit(RATES, &[&[("tag", tag.as_str()), ("step", "preview")], &prices[..]].concat());
    assert_eq!(preview.status, 200, "{preview:?}");
    for told in ["What these prices make", "Video search, per image", "150 tokens", "an hour", "900 tokens"] {
        assert!(preview.text.contains(told), "{told} in {}", preview.text);
    }
    let event = json!({"camera": "cam", "epoch": 1, "seq": 1, "images": 3, "kind": "video_search"});
    let debit =
        |server: &Fixture| server.post(DEBITS, &server.gateway, &event).expect(200)["results"][0].clone();
    assert_eq!(debit(&server)["code"], "unpriced", "a preview sets nothing");
    let set = [&[("tag", field(&preview.text, "tag")), ("step", "set")], &prices[..]].concat();
    let page = browser.carry_out(RATES, &set);
    assert!(page.contains("they are version 1") && page.contains("of now</span>"), "{page}");
    assert_eq!(field(&page, "video_search.image"), "1.5", "the form begins with the newest card");
    assert_eq!(debit(&server)["outcome"], "charged");
    let summary = server.get(&format!("{NORTH}/summary"), &server.viewer).expect(200);
    assert_eq!(summary["used"], 5);
    let acts = server.get(&format!("{NORTH}/audit"), &server.admin).expect(200);
    assert!(acts.to_string().contains("set_rates"), "{acts}");
}

#[test]
fn a_card_that_somebody_else_set_meanwhile_is_not_replaced_unseen() {
    let server = Fixture::populated();
    let mut browser = Browser::signed_in(&server, &server.admin);
    let tag = field(&browser.page(RATES), "tag").to_owned();
    let others = json!({"prices": [{"kind": "other", "unit": "event", "millitokens": 7_000}]});
    server.put(&format!("{NORTH}/rates"), &server.admin, &others).expect(200);
    let form = |step| [("tag", tag.as_str()), ("step", step), ("other.event", "2")];
    let preview = browser.submit(RATES, &form("preview"));
    assert_eq!(field(&preview.text, "tag"), tag, "a preview is of what its page showed");
    let lost = browser.submit(RATES, &form("set"));
    assert_eq!(lost.status, 412, "{lost:?}");
    let rates = server.get(&format!("{NORTH}/rates"), &server.admin).expect(200);
    assert_eq!(rates["rates"].as_array().map(Vec::len), Some(1), "{rates}");
    let page = browser.page(RATES);
    let later =
        [("tag", field(&page, "tag")), ("step", "set"), ("from", "2100-01-01T00:00"), ("other.event", "2")];
    let page = browser.carry_out(RATES, &later);
    assert!(page.contains("to come</span>") && page.contains("of now</span>"), "{page}");
}

#[test]
fn what_is_no_price_is_told_on_the_page_and_sets_nothing() {
    let server = Fixture::populated();
    let mut browser = Browser::signed_in(&server, &server.admin);
    for (name, value, told) in [
        ("other.event", "-1", "Other, per event is a number"),
        ("other.event", "1.2345", "Other, per event is a number"),
        ("other.event", "\"><script>", "Other, per event is a number"),
        ("other.event", "0", "at least one price"),
        ("other.event", "1000000001", "at least one price"),
        ("mining.event", "1", "at least one price"),
        ("from", "soon", "a time lies"),
    ] {
        for step in ["preview", "set"] {
            let form = [("tag", "none"), ("step", step), (name, value)];
            let answer = browser.submit(RATES, &form);
            assert_eq!(answer.status, 400, "{name} {value}");
            assert!(answer.text.contains(told) && answer.text.contains("role=\"alert\""), "{}", answer.text);
            assert!(!answer.text.contains("><script>"), "{}", answer.text);
        }
    }
    assert_eq!(server.get(&format!("{NORTH}/rates"), &server.admin).expect(200), json!({"rates": []}));
    let page = Browser::signed_in(&server, &server.viewer).page(RATES);
    assert!(!page.contains("Set prices") && !page.contains("name=\"other.event\""), "{page}");
}
