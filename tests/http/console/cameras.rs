//! Cameras, as an administrator switches and binds them by hand.

use serde_json::json;

use super::browser::{Browser, field};
use crate::fixture::{DEBITS, Fixture, NORTH};

const CAMERAS: &str = "/console/organizations/north/cameras";

/// The tag that the page of a camera bears.
fn tag(browser: &mut Browser<'_>, camera: &str) -> String {
    let page = browser.page(&format!("{CAMERAS}/{camera}"));
    field(&page, "tag").to_owned()
}

fn debit(server: &Fixture, camera: &str, seq: u64) -> String {
    let debit = json!({"camera": camera, "epoch": 1, "seq": seq, "tokens": 10});
    let answer = server.post(DEBITS, &server.gateway, &debit);
    let result = &answer.json()["results"][0];
    let code = result["code"].as_str().or_else(|| result["outcome"].as_str());
    code.unwrap_or_default().to_owned()
}

#[test]
fn r7_r8_the_switch_of_cloud_ai_decides_whether_a_camera_is_charged() {
    let server = Fixture::populated();
    let mut browser = Browser::signed_in(&server, &server.admin);
    let page = browser.page(CAMERAS);
    assert!(page.contains("aria-label=\"Cloud AI of cam\"") && page.contains("role=\"switch\""), "{page}");
    assert_eq!(debit(&server, "cam", 1), "charged");
    let seen = tag(&mut browser, "cam");
    let form = [("tag", seen.as_str()), ("on", "no"), ("first", "0")];
    let page = browser.carry_out(&format!("{CAMERAS}/cam/cloud-ai"), &form);
    assert!(page.contains("Cloud AI of cam is off"), "{page}");
    assert_eq!(debit(&server, "cam", 2), "cloud_ai_disabled");
    let stale = browser.submit(&format!("{CAMERAS}/cam/cloud-ai"), &[("tag", &seen), ("on", "yes")]);
    assert_eq!(stale.status, 412, "the page had shown something else");
    let seen = tag(&mut browser, "cam");
    browser.carry_out(&format!("{CAMERAS}/cam/cloud-ai"), &[("tag", &seen), ("on", "yes")]);
    assert_eq!(debit(&server, "cam", 3), "charged");
    let camera = server.get(&format!("{NORTH}/cameras/cam"), &server.viewer).expect(200);
    assert_eq!(
        (&camera["network"], &camera["pro_license"]),
        (&json!("lobby"), &json!(false)),
        "the rest stays"
    );
}

#[test]
fn r9_an_unlimited_license_is_bound_with_its_dates_and_unbound() {
    let server = Fixture::populated();
    let mut browser = Browser::signed_in(&server, &server.admin);
    let path = format!("{CAMERAS}/cam/unlimited");
    let seen = tag(&mut browser, "cam");
    let dates = [("from", "2026-01-01T00:00"), ("until", "9999-12-31T00:00:00")];
    let named = [("tag", seen.as_str()), ("license", "U-1"), ("kind", "contextual_video_analytics")];
    let page = browser.carry_out(&path, &[named.as_slice(), &dates].concat());
    for text in [
        "U-1",
        "Valid</span>",
        "datetime=\"2026-01-01T00:00:00.000Z\"",
        "datetime=\"9999-12-31T00:00:00.000Z\"",
    ] {
        assert!(page.contains(text), "{text} in {page}");
    }
    assert_eq!(debit(&server, "cam", 1), "exempt");
    for (from, until) in [
        ("", "2026-01-01T00:00"),
        ("yesterday", "2026-01-01T00:00"),
        ("2026-01-02T00:00", "2026-01-01T00:00"),
    ] {
        let seen = tag(&mut browser, "cam");
        let form =
            [("tag", seen.as_str()), ("license", "U-2"), ("kind", "other"), ("from", from), ("until", until)];
        assert_eq!(browser.submit(&path, &form).status, 400, "{from} {until}");
    }
    let seen = tag(&mut browser, "cam");
    let page = browser.carry_out(&format!("{path}/U-1/unbind"), &[("tag", &seen)]);
    assert!(page.contains("None is bound") && page.contains("falls back to the pool"), "{page}");
    assert_eq!(debit(&server, "cam", 2), "charged");
    let seen = tag(&mut browser, "off");
    let answer = browser.submit(&format!("{CAMERAS}/off/unlimited/sales:KEY-1.1/unbind"), &[("tag", &seen)]);
    assert_eq!(answer.status, 404);
}

#[test]
fn a_camera_is_registered_found_and_not_registered_twice() {
    let server = Fixture::populated();
    let mut browser = Browser::signed_in(&server, &server.admin);
    let form = [("camera", "dock:7"), ("network", "Süd <2>"), ("cloud_ai", "yes")];
    let page = browser.carry_out(CAMERAS, &form);
    assert!(page.contains("Camera dock:7 was registered") && page.contains("Süd &#60;2&#62;"), "{page}");
    assert_eq!(browser.submit(CAMERAS, &form).status, 412, "what is there is not replaced");
    for (camera, network) in [("", "x"), ("a b", "x"), ("c", "")] {
        assert_eq!(
            browser.submit(CAMERAS, &[("camera", camera), ("network", network)]).status,
            400,
            "{camera}"
        );
    }
    let answer = browser.get(&format!("{CAMERAS}?camera=dock:7"));
    assert_eq!((answer.status, answer.header("location")), (303, &*format!("{CAMERAS}/dock:7")));
    assert_eq!(browser.get(&format!("{CAMERAS}/nowhere")).status, 404);
}

#[test]
fn a_viewer_sees_cameras_without_their_forms() {
    let server = Fixture::populated();
    let mut browser = Browser::signed_in(&server, &server.viewer);
    for path in [CAMERAS.to_owned(), format!("{CAMERAS}/cam")] {
        let page = browser.page(&path);
        assert!(
            !page.contains("role=\"switch\"")
                && !page.contains("method=\"post\" action=\"/console/organizations"),
            "{page}"
        );
        assert!(page.contains("cam"), "{page}");
    }
}

#[test]
fn r8_r13_a_camera_is_removed_when_it_is_said_that_it_is_understood_and_comes_back_as_it_was() {
    let server = Fixture::populated();
    let mut browser = Browser::signed_in(&server, &server.admin);
    assert_eq!(debit(&server, "cam", 1), "charged");
    let path = format!("{CAMERAS}/cam/remove");
    let seen = tag(&mut browser, "cam");
    assert!(browser.page(&format!("{CAMERAS}/cam")).contains("Registered again under the same id"));
    assert_eq!(browser.submit(&path, &[("tag", &seen)]).status, 400, "the box is not ticked");
    assert_eq!(browser.submit(&path, &[("tag", "0"), ("understood", "yes")]).status, 412);
    assert_eq!(debit(&server, "cam", 2), "charged", "nothing was removed");
    let page = browser.carry_out(&path, &[("tag", &seen), ("understood", "yes")]);
    assert!(page.contains("Camera cam was removed") && !page.contains("cameras/cam\""), "{page}");
    assert_eq!(debit(&server, "cam", 3), "unknown_camera");
    assert_eq!(browser.get(&format!("{CAMERAS}/cam")).status, 404);
    let summary = server.get(&format!("{NORTH}/summary"), &server.viewer).expect(200);
    assert_eq!((&summary["used"], &summary["cameras"]), (&json!(20), &json!(1)));
    browser.carry_out(CAMERAS, &[("camera", "cam"), ("network", "lobby"), ("cloud_ai", "yes")]);
    assert_eq!(
        ["1", "3"].map(|seq| debit(&server, "cam", seq.parse().expect("a number"))),
        ["duplicate", "charged"]
    );
}
