//! Alerts of a server that is killed again and again, and the commands that set and show them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::endpoint::endpoint;
use crate::process::{PATIENCE, Server, operator_key, text, weir};
use crate::scene::Scene;

fn charge(server: &Server, gateway: &str, seq: u64) {
    let agent: ureq::Agent = ureq::Agent::config_builder().build().into();
    let debit = json!([{"camera": "cam", "epoch": 1, "seq": seq, "tokens": 100}]);
    let answer = agent
        .post(format!("{}/v1/organizations/acme/debits", server.url))
        .header("authorization", format!("Bearer {gateway}"))
        .header("content-type", "application/json")
        .send(debit.to_string());
    assert_eq!(answer.expect("an answer").status(), 200);
}

#[test]
fn thresholds_fire_once_each_though_the_server_is_killed_right_after_every_debit_that_crosses_one() {
    let scene = Scene::new();
    let (data, key_file) = (scene.data(), scene.path("operator.key"));
    let start = || Server::start(&data, &key_file, &["--webhook-private", "127.0.0.0/8"]);
    let mut server = start();
    let operator = operator_key(&key_file);
    assert_eq!(server.weir(&operator, &["orgs", "create", "acme"]).code, 0);
    let make = |server: &Server, role: &str| {
        let args = ["key", "create", "--role", role, "--label", role, "--org", "acme", "--json"];
        server.weir(&operator, &args).json()["key"].as_str().expect("a key").to_owned()
    };
    let (admin, gateway) = (make(&server, "admin"), make(&server, "gateway"));
    let license = scene.license_key("K", &[1_000]);
    let (url, taken) = endpoint();
    for args in [
        &["camera", "set", "acme", "cam", "--network", "gate"][..],
        &["license", "add", "acme", &license],
        &["webhooks", "set", "acme", "pager", "--url", &url, "--topic", "alert.fired"],
    ] {
        assert_eq!(server.weir(&admin, args).code, 0, "{args:?}");
    }
    let thresholds: Vec<_> = (1..=8).map(|n| format!("t{n}:tokens_left={}", 1_000 - n * 100)).collect();
    let mut set = vec!["alerts", "set", "acme"];
    thresholds.iter().for_each(|threshold| set.extend(["--threshold", threshold]));
    assert_eq!(server.weir(&admin, &set).code, 0);
    for seq in 1..=8 {
        charge(&server, &gateway, seq);
        server.running.kill();
        if seq % 4 == 0 {
            assert_eq!(weir(&["reports", "rebuild", text(&data), "--discard"]).code, 0);
        }
        server = start();
    }
    let mut ids: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    while ids.len() < 8 {
        let (id, message) = taken.recv_timeout(PATIENCE).expect("every threshold is told");
        let alert = message["data"]["alert"].as_str().expect("a threshold").to_owned();
        ids.entry(alert).or_default().insert(id);
    }
    let list = server.weir(&admin, &["alerts", "list", "acme", "--json"]).json();
    let fired = list["thresholds"].as_array().expect("rows").iter().filter(|one| one["state"] == "fired");
    assert_eq!(fired.count(), 8, "{list}");
    let log = server.weir(&admin, &["alerts", "log", "acme", "--json"]).json();
    assert_eq!(log["notices"].as_array().map(Vec::len), Some(8), "each once: {log}");
    // What was cut off by a kill is sent again, under the same id.
    while let Ok((id, message)) = taken.try_recv() {
        let alert = message["data"]["alert"].as_str().expect("a threshold");
        assert!(ids[alert].contains(&id), "{alert} has another id");
    }
    assert!(ids.values().all(|ids| ids.len() == 1), "{ids:?}");
}

#[test]
fn thresholds_webhooks_and_deliveries_are_set_and_shown_by_commands_in_each_form() {
    let scene = Scene::new();
    let (server, keys) = scene.server();
    let run = |args: &[&str]| {
        let ended = server.weir(&keys.admin, args);
        assert_eq!(ended.code, 0, "{ended:?}");
        ended.stdout
    };
    let set = run(&[
        "alerts",
        "set",
        "acme",
        "--threshold",
        "low:tokens_left=60000000",
        "--threshold",
        "e:exhausted",
    ]);
    assert!(set.contains("low") && set.contains("60,000,000") && set.contains("66,000,000"), "{set}");
    let hook = ["webhooks", "set", "acme", "pager", "--url", "https://127.0.0.1:9/x"];
    assert!(run(&hook).contains("all"), "it is called for everything");
    let csv = run(&["webhooks", "list", "acme", "--output", "csv"]);
    assert!(csv.starts_with("id,") && csv.contains("https://127.0.0.1:9/x"), "{csv}");
    let secret = run(&["webhooks", "secret", "acme", "pager"]);
    assert!(secret.starts_with("whsec_") && secret.lines().count() == 1, "{secret}");
    run(&["webhooks", "rotate", "acme", "pager"]);
    assert_eq!(run(&["webhooks", "secret", "acme", "pager"]).lines().count(), 2);
    run(&["license", "add", "acme", &scene.license_key("K-2", &[5])]);
    let begun = tokenweir::telemetry::clock::start();
    let listed = loop {
        let listed = server.weir(&keys.admin, &["webhooks", "deliveries", "acme", "--json"]).json();
        if listed["deliveries"][0]["attempts"].as_u64() > Some(0) {
            break listed;
        }
        assert!(begun.elapsed() < PATIENCE, "it is not tried: {listed}");
    };
    let number = listed["deliveries"][0]["number"].to_string();
    let shown = run(&["webhooks", "delivery", "acme", &number]);
    assert!(shown.contains("license.added") && shown.contains("not an address of the internet"), "{shown}");
    assert!(run(&["webhooks", "replay", "acme", &number]).contains("pending"));
    assert!(run(&["alerts", "log", "acme"]).contains("license.added"));
    assert!(run(&["webhooks", "remove", "acme", "pager"]).contains("removed"));
    assert!(run(&["alerts", "set", "acme", "--none", "--json"]).contains("\"thresholds\": []"));
    let bad = server.weir(&keys.admin, &["alerts", "set", "acme", "--threshold", "low:tokens_left=x"]);
    assert!(bad.code == 2 && bad.stderr.contains("no value of tokens_left"), "{bad:?}");
}

#[test]
fn a_restored_directory_signs_as_the_original_only_when_it_got_the_key_that_no_backup_holds() {
    let scene = Scene::new();
    let (server, keys) = scene.server();
    let hook = ["webhooks", "set", "acme", "pager", "--url", "https://hooks.example/x"];
    assert_eq!(server.weir(&keys.admin, &hook).code, 0);
    let set = ["alerts", "set", "acme", "--threshold", "low:tokens_left=60000000"];
    assert_eq!(server.weir(&keys.admin, &set).code, 0);
    let secret = |server: &Server| server.weir(&keys.admin, &["webhooks", "secret", "acme", "pager"]).stdout;
    let original = secret(&server);
    let (data, backup) = (scene.data(), scene.path("backup"));
    let made = weir(&["backup", text(&backup), "--data", text(&data)]);
    assert!(
        made.code == 0 && made.stderr.contains("data/webhooks.key") && made.stderr.contains("copy it once"),
        "{made:?}"
    );
    assert!(!backup.join("webhooks.key").exists() && !backup.join("p000/alerts.sqlite").exists());
    assert_eq!(server.running.stop(), Some(0));
    let restored = |name: &str| {
        let directory = scene.path(name);
        let ended = weir(&["restore", text(&backup), text(&directory)]);
        assert!(ended.code == 0 && ended.stderr.contains("copy its webhooks.key into it"), "{ended:?}");
        directory
    };
    let start = |directory: &std::path::Path| Server::start(directory, &scene.path("operator.key"), &[]);
    let without = start(&restored("without"));
    assert_ne!(secret(&without), original, "a copy that is started for a test does not sign as the original");
    let fired = without.weir(&keys.admin, &["alerts", "list", "acme", "--json"]).json();
    assert_eq!(fired["thresholds"][0]["state"], "fired", "{fired}");
    let log = without.weir(&keys.admin, &["webhooks", "deliveries", "acme", "--json"]).json();
    assert_eq!(log["deliveries"].as_array().map(Vec::len), Some(0), "what is past is not told again: {log}");
    let with = restored("with");
    std::fs::copy(data.join("webhooks.key"), with.join("webhooks.key")).expect("copied");
    assert_eq!(secret(&start(&with)), original);
}
