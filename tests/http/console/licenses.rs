//! Licenses and transfers, as an administrator carries them out by hand.

use serde_json::json;

use super::browser::{Browser, field, figure};
use crate::fixture::{DEBITS, Fixture, NORTH};

const LICENSES: &str = "/console/organizations/north/licenses";
const ADD: &str = "/console/organizations/north/licenses/add";
const TRANSFER: &str = "/console/organizations/north/transfer";
const SUMMARY: &str = "/console/organizations/north/summary";

fn acts(server: &Fixture) -> Vec<(String, String, String, String)> {
    let listed = server.get(&format!("{NORTH}/audit"), &server.admin).expect(200);
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let rows = listed["entries"].as_array().expect("entries").iter();
    rows.map(|row| (text(&row["act"]), text(&row["outcome"]), text(&row["edge"]), text(&row["actor"])))
        .collect()
}

fn id_of(key: &str) -> &str {
    key.split('_').nth(1).expect("a key names its id")
}

#[test]
fn r10_both_screens_show_one_figure() {
    let server = Fixture::populated();
    let mut browser = Browser::signed_in(&server, &server.viewer);
    for seq in 1..4 {
        let debit = json!({"camera": "cam", "epoch": 1, "seq": seq, "tokens": 111});
        server.post(DEBITS, &server.gateway, &debit).expect(200);
        let [summary, licenses] = [SUMMARY, LICENSES].map(|path| browser.page(path));
        assert_eq!(figure(&summary, "available"), figure(&licenses, "available"));
        assert!(licenses.contains("<dt>Org Available AI Tokens</dt>"), "{licenses}");
    }
    assert_eq!(figure(&browser.page(LICENSES), "available"), "1,167");
}

#[test]
fn r1_r2_r6_a_key_is_shown_then_added_once_and_its_tokens_are_there_at_once() {
    let server = Fixture::populated();
    let mut browser = Browser::signed_in(&server, &server.admin);
    let key = server.license_key("KEY-2", &[2_000, 300]);
    let shown = browser.submit(ADD, &[("step", "preview"), ("key", &key)]);
    assert_eq!(shown.status, 200, "{shown:?}");
    for text in ["sales:KEY-2", "2,300", "1,500", "3,800", "This cannot be undone", "Add 2 licenses for good"]
    {
        assert!(shown.text.contains(text), "{text} in {}", shown.text);
    }
    assert_eq!(figure(&browser.page(LICENSES), "available"), "1,500", "a preview adds nothing");
    let kept = field(&shown.text, "key").to_owned();
    let not_ticked = browser.submit(ADD, &[("step", "add"), ("key", &kept)]);
    assert!(not_ticked.text.contains("nothing was added yet"), "{not_ticked:?}");
    assert_eq!(figure(&browser.page(LICENSES), "available"), "1,500");
    let page = browser.carry_out(ADD, &[("step", "add"), ("key", &kept), ("understood", "yes")]);
    assert_eq!(figure(&page, "available"), "3,800");
    assert!(page.contains("role=\"status\"") && page.contains("2 licenses with 2,300 tokens"), "{page}");
    assert!(!browser.page(LICENSES).contains("2 licenses with"), "it is told once");
    assert_eq!(
        acts(&server)[0],
        ("add_licenses".into(), "done".into(), "console".into(), id_of(&server.admin).into())
    );
    let again = browser.submit(ADD, &[("step", "preview"), ("key", &key)]);
    assert_eq!(again.status, 409);
    assert!(again.text.contains("role=\"alert\""), "{again:?}");
}

#[test]
fn a_key_that_is_not_believed_is_refused_on_the_page_and_recorded() {
    let server = Fixture::populated();
    let mut browser = Browser::signed_in(&server, &server.admin);
    let genuine = server.license_key("KEY-2", &[1]);
    let (head, _) = genuine.rsplit_once('.').expect("three parts");
    for (key, status, outcome) in
        [("nonsense", 400, "unsigned_key"), (&*format!("{head}.{}", "A".repeat(86)), 422, "bad_signature")]
    {
        let answer = browser.submit(ADD, &[("step", "preview"), ("key", key)]);
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.text.contains("nothing was added"), "{answer:?}");
        assert_eq!(acts(&server)[0].1, outcome);
    }
}

#[test]
fn r1_a_viewer_adds_and_moves_nothing_and_that_is_recorded() {
    let server = Fixture::populated();
    let mut browser = Browser::signed_in(&server, &server.viewer);
    let page = browser.page(LICENSES);
    assert!(!page.contains("Add a license") && !page.contains("Transfer Shared AI"), "{page}");
    let key = server.license_key("KEY-2", &[2_000]);
    for (path, fields, act) in [
        (ADD, vec![("step", "add"), ("key", key.as_str()), ("understood", "yes")], "add_licenses"),
        (TRANSFER, vec![("id", "T"), ("target", "south"), ("name", "Organization south")], "begin_transfer"),
    ] {
        assert_eq!(browser.get(path).status, 403);
        assert_eq!(browser.submit(path, &fields).status, 403);
        let expected = (act.into(), "forbidden".into(), "console".into(), id_of(&server.viewer).into());
        assert_eq!(acts(&server)[0], expected);
    }
    assert_eq!(figure(&browser.page(LICENSES), "available"), "1,500");
}

#[test]
fn a_license_is_shown_with_its_history_and_what_it_still_holds() {
    let server = Fixture::populated();
    let debit = json!({"camera": "cam", "epoch": 1, "seq": 1, "tokens": 1_200});
    server.post(DEBITS, &server.gateway, &debit).expect(200);
    let mut browser = Browser::signed_in(&server, &server.viewer);
    let page = browser.page(LICENSES);
    assert!(page.contains("Used up") && page.contains("Active"), "{page}");
    let page = browser.page(&format!("{LICENSES}/sales:KEY-1.2"));
    for text in ["sales:KEY-1.2", ">300</data>", ">500</data>", "Added", "Perpetual", "Permanent"] {
        assert!(page.contains(text), "{text} in {page}");
    }
    assert_eq!(browser.get(&format!("{LICENSES}/nothing")).status, 404);
}

#[test]
fn r11_a_transfer_shows_what_moves_asks_for_the_name_and_moves_all_of_it() {
    let server = Fixture::populated();
    let mut browser = Browser::signed_in(&server, &server.admin);
    let page = browser.page(TRANSFER);
    assert!(page.contains("<option value=\"south\">Organization south (south)</option>"), "{page}");
    assert!(!page.contains("value=\"north\"") && !page.contains("value=\"other\""), "{page}");
    let page = browser.page(&format!("{TRANSFER}?target=south"));
    for text in ["<dd><data value=\"1500\">1,500</data></dd>", "sales:KEY-1.1", "sales:KEY-1.2"] {
        assert!(page.contains(text), "{text} in {page}");
    }
    let (id, target) = (field(&page, "id").to_owned(), field(&page, "target").to_owned());
    for name in ["", "south", "organization south", "Organization north"] {
        let answer = browser.submit(TRANSFER, &[("id", &id), ("target", &target), ("name", name)]);
        assert_eq!(answer.status, 400, "{name}");
        assert!(answer.text.contains("Nothing was moved"), "{answer:?}");
        assert_eq!(field(&answer.text, "id"), id, "the same transfer is asked for");
    }
    let form = [("id", id.as_str()), ("target", "south"), ("name", "Organization south")];
    let page = browser.carry_out(TRANSFER, &form);
    for text in ["Finished", "<data value=\"1500\">1,500</data>", "The whole pool has moved"] {
        assert!(page.contains(text), "{text} in {page}");
    }
    assert!(!page.contains("data-refresh"), "there is nothing more to wait for");
    assert!(
        page.contains("<a href=\"/console/organizations/north/cameras\""),
        "the way back is there: {page}"
    );
    assert_eq!(figure(&browser.page(LICENSES), "available"), "0");
    let south = browser.page("/console/organizations/south/licenses");
    assert_eq!(figure(&south, "available"), "1,500");
    assert!(south.contains("<code>north</code>") && south.contains("moved 1 time<"), "{south}");
    assert_eq!(acts(&server)[0].0, "begin_transfer");
    let count = acts(&server).len();
    browser.carry_out(TRANSFER, &form);
    assert_eq!(
        figure(&browser.page("/console/organizations/south/licenses"), "available"),
        "1,500",
        "sent twice"
    );
    assert!(acts(&server).len() <= count + 1);
}

#[test]
fn r11_a_transfer_to_an_organization_that_the_key_does_not_administer_is_refused_and_recorded_once() {
    let server = Fixture::populated();
    let mut browser = Browser::signed_in(&server, &server.admin);
    assert_eq!(browser.get(&format!("{TRANSFER}?target=other")).status, 403);
    let before = acts(&server).len();
    let form = [("id", "T"), ("target", "other"), ("name", "Organization other")];
    assert_eq!(browser.submit(TRANSFER, &form).status, 403);
    let after = acts(&server);
    assert_eq!(
        (after.len(), after[0].0.as_str(), after[0].1.as_str()),
        (before + 1, "begin_transfer", "forbidden")
    );
    assert_eq!(figure(&browser.page(LICENSES), "available"), "1,500");
}

#[test]
fn r11_a_transfer_that_waits_for_a_reservation_says_so_until_it_has_ended() {
    let server = Fixture::populated();
    let reservation = json!({"id": "R", "tokens": 100, "ttl_ms": 3_600_000});
    server.post(&format!("{NORTH}/reservations"), &server.gateway, &reservation).expect(200);
    let mut browser = Browser::signed_in(&server, &server.admin);
    let page = browser.page(&format!("{TRANSFER}?target=south"));
    assert!(
        page.contains("<data value=\"1500\">1,500</data>"),
        "what is held moves as well when it is given back: {page}"
    );
    let form = [("id", "T-1"), ("target", "south"), ("name", "Organization south")];
    let page = browser.carry_out(TRANSFER, &form);
    assert!(
        page.contains("data-refresh=\"1000\"") && page.contains("It waits for the open reservations"),
        "{page}"
    );
    server.delete(&format!("{NORTH}/reservations/R"), &server.gateway).expect(200);
    server.get("/v1/transfers/T-1", &server.admin).expect(200);
    let transfer = json!({"id": "T-1", "source": "north", "target": "south"});
    server.post("/v1/transfers?wait=true", &server.admin, &transfer).expect(200);
    assert!(browser.page("/console/transfers/T-1").contains("Finished"));
    let mut stranger = Browser::signed_in(&server, &server.key("viewer", &["other"]));
    assert_eq!(stranger.get("/console/transfers/T-1").status, 404);
}
