//! Alerts and webhooks, as an administrator sets them by hand.

use serde_json::json;

use super::browser::{Browser, encode, field};
use crate::fixture::{Answer, DEBITS, Fixture, NORTH};

const ALERTS: &str = "/console/organizations/north/alerts";
const WEBHOOKS: &str = "/console/organizations/north/webhooks";
const DELIVERIES: &str = "/console/organizations/north/deliveries";

/// Sends a form with the tag that the page of alerts shows now.
fn submit(browser: &mut Browser<'_>, path: &str, fields: &[(&str, &str)]) -> Answer {
    let tag = field(&browser.page(ALERTS), "tag").to_owned();
    browser.submit(path, &[&[("tag", tag.as_str())], fields].concat())
}

/// The page at this path, once it holds this.
fn awaited(browser: &mut Browser<'_>, path: &str, text: &str) -> String {
    let begun = tokenweir::telemetry::clock::start();
    loop {
        let page = browser.page(path);
        if page.contains(text) {
            return page;
        }
        assert!(begun.elapsed() < std::time::Duration::from_secs(30), "{text} never comes: {page}");
    }
}

#[test]
fn a_threshold_is_set_fires_and_is_removed() {
    let server = Fixture::populated();
    let mut browser = Browser::signed_in(&server, &server.admin);
    let form = [("id", "low"), ("measure", "tokens_left"), ("at", "1,000")];
    assert_eq!(submit(&mut browser, ALERTS, &form).status, 303);
    let page = browser.page(ALERTS);
    for text in ["Current Available is 1,000 tokens or less", "at 1,100 tokens or more", "Armed</span>"] {
        assert!(page.contains(text), "{text} in {page}");
    }
    for (measure, at, window, told) in [
        ("time_left", "90", "", "Estimated Camera AI Analytics is 1 h 30 min or less"),
        ("percent_left", "10", "", "Current Available is 10 percent or less"),
        ("refusals", "5", "15", "5 debits or more were refused within 15 min"),
        ("exhausted", "7", "3", "nothing is left"),
    ] {
        let form = [("id", measure), ("measure", measure), ("at", at), ("window", window)];
        assert_eq!(submit(&mut browser, ALERTS, &form).status, 303, "{measure}");
        assert!(browser.page(ALERTS).contains(told), "{told}");
    }
    let debit = json!({"camera": "cam", "epoch": 1, "seq": 1, "tokens": 600});
    server.post(DEBITS, &server.gateway, &debit).expect(200);
    let page = awaited(&mut browser, ALERTS, "Fired</span>");
    assert!(page.contains("at 900 tokens") && page.contains("<code>alert.fired</code>"), "{page}");
    assert_eq!(submit(&mut browser, &format!("{ALERTS}/low/remove"), &[]).status, 303);
    assert!(!browser.page(ALERTS).contains("1,000 tokens or less"));
}

#[test]
fn what_is_no_threshold_is_refused_and_what_somebody_else_set_is_not_overwritten() {
    let server = Fixture::populated();
    let mut browser = Browser::signed_in(&server, &server.admin);
    for (id, measure, at) in [
        ("a b", "tokens_left", "5"),
        ("low", "color", "5"),
        ("low", "tokens_left", ""),
        ("low", "tokens_left", "many"),
        ("low", "percent_left", "100"),
        ("low", "refusals", "5"),
        ("low", "time_left", "99999999999999999999"),
    ] {
        let answer = submit(&mut browser, ALERTS, &[("id", id), ("measure", measure), ("at", at)]);
        assert_eq!(answer.status, 400, "{id} {measure} {at}");
    }
    let form = [("id", "low"), ("measure", "tokens_left"), ("at", "5")];
    let stale = field(&browser.page(ALERTS), "tag").to_owned();
    let body = json!({"thresholds": [{"id": "other", "measure": "exhausted"}]});
    server.put(&format!("{NORTH}/alerts"), &server.admin, &body).expect(200);
    let answer = browser.submit(ALERTS, &[&[("tag", stale.as_str())], form.as_slice()].concat());
    assert_eq!(answer.status, 412, "{answer:?}");
    assert!(browser.page(ALERTS).contains("<code>other</code>"));
}

#[test]
fn a_webhook_is_set_its_secret_shown_once_and_its_deliveries_are_sent_again() {
    let server = Fixture::populated();
    let mut browser = Browser::signed_in(&server, &server.admin);
    let form = [
        ("id", "pager"),
        ("url", "https://127.0.0.1/hook"),
        ("topic", "license.added"),
        ("topic", "alert.fired"),
    ];
    assert_eq!(submit(&mut browser, WEBHOOKS, &form).status, 303);
    let page = browser.page(ALERTS);
    for text in
        ["https://127.0.0.1/hook", "<code>license.added</code>", "<code>alert.fired</code>", "On</span>"]
    {
        assert!(page.contains(text), "{text} in {page}");
    }
    let page = browser.carry_out(&format!("{WEBHOOKS}/pager/secret"), &[]);
    let shown =
        page.split("value=\"whsec_").nth(1).and_then(|rest| rest.split('"').next()).expect("it is shown");
    let known = server.get(&format!("{NORTH}/webhooks/pager/secret"), &server.admin).expect(200);
    assert_eq!(known["secret"], format!("whsec_{}", shown.replace("&#43;", "+").replace("&#x2F;", "/")));
    assert!(!browser.page(ALERTS).contains("whsec_"), "it is shown once");
    let trail = server.get(&format!("{NORTH}/audit"), &server.admin).expect(200);
    assert_eq!(
        (&trail["entries"][1]["act"], &trail["entries"][1]["edge"]),
        (&json!("read_webhook_secret"), &json!("console"))
    );
    assert_eq!(submit(&mut browser, &format!("{WEBHOOKS}/pager/rotate"), &[]).status, 303);
    let rotated = server.get(&format!("{NORTH}/webhooks/pager/secret"), &server.admin).expect(200);
    assert_eq!(rotated["previous"], known["secret"]);
    let key = json!({"key": server.license_key("KEY-2", &[10])});
    server.post(&format!("{NORTH}/licenses"), &server.admin, &key).expect(201);
    let page = awaited(&mut browser, DELIVERIES, "attempt 1");
    assert!(page.contains("pending</span>") && page.contains("Send again"), "{page}");
    assert!(
        browser
            .page(&format!("{DELIVERIES}?{}", encode(&[("state", "delivered")])))
            .contains("No delivery here")
    );
    let page = browser.carry_out(&format!("{DELIVERIES}/1/replay"), &[]);
    assert!(page.contains("is sent again as delivery 2") && page.contains("again after 1"), "{page}");
    assert_eq!(browser.submit(&format!("{DELIVERIES}/99/replay"), &[]).status, 404);
    assert_eq!(submit(&mut browser, &format!("{WEBHOOKS}/pager/remove"), &[]).status, 303);
    assert!(browser.page(ALERTS).contains("No webhook yet"));
}

#[test]
fn a_viewer_sees_alerts_without_their_forms_and_no_secret() {
    let server = Fixture::populated();
    let body = json!({"url": "https://hooks.example/deep/secret", "topics": []});
    server.put(&format!("{NORTH}/webhooks/w"), &server.admin, &body).expect(200);
    let mut browser = Browser::signed_in(&server, &server.viewer);
    let page = browser.page(ALERTS);
    assert!(
        page.contains("https://hooks.example/...") && !page.contains("deep"),
        "the path may be a secret: {page}"
    );
    for path in [ALERTS, DELIVERIES] {
        let page = browser.page(path);
        assert!(!page.contains("method=\"post\" action=\"/console/organizations"), "{page}");
    }
    for path in
        [format!("{WEBHOOKS}/w/secret"), format!("{WEBHOOKS}/w/rotate"), format!("{DELIVERIES}/1/replay")]
    {
        assert_eq!(browser.submit(&path, &[("tag", "none")]).status, 403, "{path}");
    }
}

#[test]
fn without_alerts_the_page_says_that_they_are_switched_off() {
    let server = Fixture::start_with(|config| config.alerts.is_on = false).populate();
    let answer = Browser::signed_in(&server, &server.viewer).get(ALERTS);
    assert_eq!((answer.status, answer.text.contains("This is switched off on this server")), (404, true));
}
