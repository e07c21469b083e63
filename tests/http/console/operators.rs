//! What operators do by hand: organizations, API keys, the audit log, the state of the server.

use serde_json::json;

use super::browser::{Browser, field};
use crate::fixture::{DEBITS, Fixture};

const KEYS: &str = "/console/keys";

/// The key that a page shows once.
fn secret(page: &str) -> &str {
    let (_, rest) = page.split_once("value=\"weir_").expect("it is shown");
    rest.split('"').next().expect("it ends")
}

#[test]
fn a_key_is_made_shown_once_and_revoked() {
    let server = Fixture::start();
    let mut browser = Browser::signed_in(&server, &server.operator);
    let id = field(&browser.page(KEYS), "id").to_owned();
    let form = [
        ("id", id.as_str()),
        ("label", "Gate 7"),
        ("role", "gateway"),
        ("organizations", "north, south north"),
    ];
    let page = browser.carry_out(KEYS, &form);
    let key = format!("weir_{}", secret(&page));
    assert!(key.starts_with(&format!("weir_{id}_")) && page.contains("Gate 7"), "{page}");
    server.get("/v1/organizations/north/summary", &key).expect(200);
    assert!(!browser.page(KEYS).contains("value=\"weir_"), "it is shown once");
    let again = browser.submit(KEYS, &form);
    assert_eq!(
        (again.status, again.text.contains("api_key_made")),
        (409, true),
        "a form that is sent twice makes one"
    );
    let page = browser.page(&format!("{KEYS}/{id}"));
    assert!(
        page.contains("<code>north</code>, <code>south</code>") && page.contains("Revoke this key"),
        "{page}"
    );
    let page = browser.carry_out(&format!("{KEYS}/{id}/revoke"), &[]);
    assert!(page.contains("Revoked</span>") && page.contains("It is refused from now on"), "{page}");
    assert_eq!(server.get("/v1/organizations/north/summary", &key).status, 401);
    assert!(!browser.page(&format!("{KEYS}/{id}")).contains("Revoke this key"));
    assert_eq!(browser.get(&format!("{KEYS}/nobody")).status, 404);
}

#[test]
fn a_key_whose_role_does_not_fit_is_not_made() {
    let server = Fixture::start();
    let mut browser = Browser::signed_in(&server, &server.operator);
    for (role, organizations, status) in [
        ("admin", "", 400),
        ("operator", "north", 400),
        ("host", "north", 400),
        ("viewer", "nowhere", 404),
        ("viewer", "a/b", 400),
    ] {
        let form = [("id", "x1"), ("label", "x"), ("role", role), ("organizations", organizations)];
        assert_eq!(browser.submit(KEYS, &form).status, status, "{role} {organizations}");
    }
    assert_eq!(browser.page(KEYS).matches("<th scope=\"row\">").count(), 4);
}

#[test]
fn an_operator_creates_organizations_and_reads_no_pool() {
    let server = Fixture::populated();
    let mut browser = Browser::signed_in(&server, &server.operator);
    assert_eq!(browser.get("/console").header("location"), "/console/server");
    let page = browser.carry_out("/console/organizations", &[("id", "west"), ("name", "West & Co")]);
    assert!(page.contains("<code>west</code>") && !page.contains("1,500"), "{page}");
    let again = browser.submit("/console/organizations", &[("id", "west"), ("name", "x")]);
    assert_eq!(again.status, 409);
    assert_eq!(browser.get("/console/organizations/north/summary").status, 403);
}

#[test]
fn many_organizations_are_listed_page_by_page() {
    let server = Fixture::start();
    for n in 0..110 {
        let body = json!({"id": format!("org-{n:03}"), "name": "x"});
        server.post("/v1/organizations", &server.operator, &body).expect(201);
    }
    let mut browser = Browser::signed_in(&server, &server.operator);
    let first = browser.page("/console/organizations");
    assert!(first.contains("org-097") && !first.contains("<code>org-100</code>"), "{first}");
    let (_, rest) = first.split_once("href=\"/console/organizations?after=").expect("there are more");
    let after = rest.split('"').next().expect("it ends").to_owned();
    let last = browser.page(&format!("/console/organizations?after={after}"));
    assert!(last.contains("org-109") && last.contains("south") && !last.contains("Next page"), "{last}");
}

#[test]
fn the_audit_log_tells_acts_of_the_console_with_their_address() {
    let server = Fixture::start();
    let mut operator = Browser::signed_in(&server, &server.operator);
    operator.carry_out("/console/organizations", &[("id", "west"), ("name", "West")]);
    let page = operator.page("/console/audit");
    for text in [
        "create_organization",
        "<code>west</code>",
        "console <small class=\"block\">127.0.0.1</small>",
        "done",
    ] {
        assert!(page.contains(text), "{text} in {page}");
    }
    let mut viewer = Browser::signed_in(&server, &server.viewer);
    assert_eq!(viewer.submit("/console/organizations/north/cameras", &[("camera", "c")]).status, 403);
    assert_eq!(viewer.get("/console/organizations/north/audit").status, 403);
    let mut admin = Browser::signed_in(&server, &server.admin);
    let page = admin.page("/console/organizations/north/audit");
    assert!(
        page.contains("register_camera") && page.contains("<span class=\"tag bad\">forbidden</span>"),
        "{page}"
    );
    assert_eq!(admin.get("/console/organizations/north/audit?after=x").status, 400);
}

#[test]
fn the_page_of_the_server_tells_partitions_rates_and_what_recovery_found() {
    let server = Fixture::populated();
    let debit = json!({"camera": "cam", "epoch": 1, "seq": 1, "tokens": 10});
    server.post(DEBITS, &server.gateway, &debit).expect(200);
    let page = Browser::signed_in(&server, &server.operator).page("/console/server");
    for text in [
        "Durable lsn",
        "Serving</span>",
        "It is new",
        "nothing to repair",
        "Charged",
        "Sync time, 99 of 100 within",
        "ready</span>",
    ] {
        assert!(page.contains(text), "{text} in {page}");
    }
    assert_eq!(page.matches("<th scope=\"row\">0</th>").count(), 2, "a row of each table: {page}");
    assert!(!page.contains("north") && !page.contains("1,490"), "no pool: {page}");
}
