//! The client commands against a real server: what they print, and how they tell a refusal.

use crate::process::{text, weir};
use crate::scene::Scene;

#[test]
fn r9_an_unlimited_license_is_bound_shown_and_unbound() {
    let scene = Scene::new();
    let (server, keys) = scene.server();
    let admin = |args: &[&str]| server.weir(&keys.admin, args);
    assert_eq!(admin(&["camera", "set", "acme", "cam-1", "--network", "gate"]).code, 0);
    let terms =
        ["--license", "U-1", "--from", "2026-01-01T00:00:00Z", "--until", "2027-01-01T01:00:00+01:00"];
    let bound = admin(&[&["camera", "bind", "acme", "cam-1", "--json"], &terms[..]].concat()).json();
    assert_eq!(bound["unlimited"][0]["id"], "U-1");
    assert_eq!(bound["unlimited"][0]["until"], "2027-01-01T00:00:00.000Z");
    assert!(admin(&["camera", "show", "acme", "cam-1"]).stdout.contains("unlimited: U-1"));
    assert_eq!(admin(&["camera", "unbind", "acme", "cam-1", "--license", "U-1"]).code, 0);
    let listed = admin(&["camera", "list", "acme", "--json"]).json();
    assert_eq!(listed["cameras"][0]["unlimited"].as_array().map(Vec::len), Some(0));
    assert_eq!(admin(&["camera", "remove", "acme", "cam-1"]).code, 0);
    let gone = admin(&["camera", "show", "acme", "cam-1"]);
    assert!(gone.code == 1 && gone.stderr.contains("unknown_camera"), "{gone:?}");
}

#[test]
fn r6_a_license_key_is_previewed_and_then_added() {
    let scene = Scene::new();
    let (server, keys) = scene.server();
    let key = scene.license_key("K-2", &[500, 700]);
    let add = ["license", "add", "acme", &key];
    let preview = server.weir(&keys.admin, &[&add[..], &["--dry-run"]].concat());
    assert!(preview.stdout.contains("available is 50,001,000 tokens and would be 50,002,200"), "{preview:?}");
    let added = server.weir(&keys.admin, &[&add[..], &["--json"]].concat()).json();
    assert_eq!(added["available"], 50_002_200);
    let listed = server.weir(&keys.admin, &["license", "list", "acme"]);
    assert!(listed.stdout.contains("sales:K-2.2") && listed.stdout.contains("50,002,200"), "{listed:?}");
}

#[test]
fn r4_removing_a_license_is_refused_and_says_why() {
    let scene = Scene::new();
    let (server, keys) = scene.server();
    let refused = server.weir(&keys.admin, &["license", "remove", "acme", "sales:K-1.1"]);
    assert_eq!(refused.code, 1);
    assert!(
        refused.stderr.contains("permanent") && refused.stderr.contains("license_is_permanent"),
        "{refused:?}"
    );
}

#[test]
fn r12_tokens_are_reserved_shown_and_released() {
    let scene = Scene::new();
    let (server, keys) = scene.server();
    let gateway = |args: &[&str]| server.weir(&keys.gateway, &[&["reservation"], args].concat());
    let made = gateway(&["make", "acme", "job-1", "--tokens", "1000000", "--ttl", "3600", "--json"]).json();
    assert_eq!((&made["status"], &made["held"]), (&"open".into(), &1_000_000.into()));
    let listed = server.weir(&keys.admin, &["reservation", "list", "acme"]);
    assert!(listed.stdout.contains("job-1") && listed.stdout.contains("1,000,000"), "{listed:?}");
    let summary = server.weir(&keys.admin, &["summary", "acme"]);
    assert!(
        summary.stdout.contains("held by reservations") && summary.stdout.contains("49,001,000"),
        "{summary:?}"
    );
    let released = server.weir(&keys.admin, &["reservation", "release", "acme", "job-1", "--json"]).json();
    assert_eq!((&released["status"], &released["held"]), (&"released".into(), &0.into()));
    assert_eq!(gateway(&["show", "acme", "job-1", "--json"]).json(), released);
    let much = gateway(&["make", "acme", "job-2", "--tokens", "50001001"]);
    assert!(much.code == 1 && much.stderr.contains("insufficient_tokens"), "{much:?}");
}

#[test]
fn r11_a_pool_is_transferred_and_the_transfer_can_be_asked_for() {
    let scene = Scene::new();
    let (server, keys) = scene.server();
    let start = ["transfer", "start", "T-1", "--from", "acme", "--to", "other", "--wait"];
    let moved = server.weir(&keys.admin, &start);
    assert!(
        moved.code == 0 && moved.stdout.contains("50,001,000 tokens and 2 licenses were moved"),
        "{moved:?}"
    );
    let status = server.weir(&keys.admin, &["transfer", "status", "T-1", "--json"]).json();
    assert_eq!(status["state"], "finished");
    let summary = server.weir(&keys.admin, &["summary", "other"]);
    assert!(
        summary.stdout.contains("Current Available") && summary.stdout.contains("50,001,000"),
        "{summary:?}"
    );
    let empty =
        server.weir(&keys.admin, &["transfer", "start", "T-2", "--from", "acme", "--to", "other", "--wait"]);
    assert!(empty.code == 1 && empty.stderr.contains("the source kept"), "{empty:?}");
}

#[test]
fn organizations_are_listed_for_their_operator() {
    let scene = Scene::new();
    let (server, keys) = scene.server();
    let listed = server.weir(&keys.operator, &["orgs", "list"]);
    assert_eq!(listed.stdout, "acme\nother\n");
    let again = server.weir(&keys.operator, &["orgs", "create", "acme", "--name", "Another"]);
    assert!(again.code == 1 && again.stderr.contains("organization_exists"), "{again:?}");
}

#[test]
fn a_server_that_does_not_answer_is_told_with_what_to_do() {
    let ended = weir(&["summary", "acme", "--server", "http://127.0.0.1:1", "--key", "weir_a_b"]);
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains("no answer from http://127.0.0.1:1"), "{}", ended.stderr);
    assert!(ended.stderr.contains("check that the server runs"), "{}", ended.stderr);
}

#[test]
fn a_setting_that_does_not_fit_is_a_usage_error_of_serve() {
    let scene = Scene::new();
    let ended = weir(&["serve", "--data", text(&scene.data()), "--partitions", "0"]);
    assert!(ended.code == 2 && ended.stderr.contains("--partitions"), "{ended:?}");
    assert!(!scene.data().exists(), "nothing was started");
}

/// A key copied with a line end works; one with anything else in it is refused before anything is sent.
#[test]
fn a_key_with_characters_that_no_key_has_is_refused_in_words() {
    for key in ["weir_a\u{7}b", "weir_a\nb", "wéir"] {
        let ended = weir(&["summary", "acme", "--server", "http://127.0.0.1:1", "--key", key]);
        assert!(ended.stderr.contains("the api key has characters that no key has"), "{ended:?}");
        assert_eq!(ended.code, 2, "{ended:?}");
    }
}

#[test]
fn a_failure_is_json_on_standard_error_when_json_is_asked_for() {
    for (args, code, part) in [
        (&["summary", "acme", "--server", "http://127.0.0.1:1", "--json"][..], 1, "no answer from"),
        (&["summary", "acme", "--server", "ftp://x", "--json"], 2, "is no url"),
        (&["summary", "acme", "--server", "http://a b", "--json"], 2, "characters that no url has"),
        (&["summary", "--json", "--colour"], 2, "--colour"),
    ] {
        let ended = weir(args);
        let error: serde_json::Value = serde_json::from_str(&ended.stderr).expect("one object");
        assert!(error["error"].as_str().is_some_and(|text| text.contains(part)), "{error}");
        assert_eq!((ended.code, &error["exit_code"]), (code, &code.into()));
        assert_eq!(ended.stdout, "");
    }
}
