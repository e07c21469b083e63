//! `weir key`, on a server and on a stopped directory.

use crate::process::{Server, operator_key, text, weir};
use crate::scene::Scene;

#[test]
fn a_lost_operator_key_is_replaced_on_the_stopped_directory() {
    let scene = Scene::new();
    let (data, key_file) = (scene.data(), scene.path("operator.key"));
    let server = Server::start(&data, &key_file, &[]);
    let lost = operator_key(&key_file);
    let held = weir(&["key", "list", "--data", text(&data)]);
    assert!(held.code == 2 && held.stderr.contains("is held by process"), "{held:?}");
    assert_eq!(server.running.stop(), Some(0));

    let made = weir(&["key", "create", "--role", "operator", "--label", "recovered", "--data", text(&data)]);
    assert_eq!(made.code, 0, "{made:?}");
    let key = made.stdout.trim();
    let listed = weir(&["key", "list", "--data", text(&data), "--json"]).json();
    let keys = listed["keys"].as_array().expect("keys");
    assert_eq!(keys.len(), 2);
    let lost_id =
        keys.iter().find(|key| key["label"] == "first operator").expect("the lost one")["id"].clone();
    let lost_id = lost_id.as_str().expect("an id");
    assert_eq!(weir(&["key", "revoke", lost_id, "--data", text(&data)]).code, 0);

    let server = Server::start(&data, &key_file, &[]);
    assert_eq!(server.weir(key, &["orgs", "create", "acme"]).code, 0);
    let refused = server.weir(&lost, &["orgs", "list"]);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("unauthenticated") && refused.stderr.contains("WEIR_KEY"), "{refused:?}");
}

#[test]
fn a_key_command_makes_no_directory() {
    let scene = Scene::new();
    let ended = weir(&["key", "create", "--role", "operator", "--label", "x", "--data", text(&scene.data())]);
    assert!(ended.code == 2 && ended.stderr.contains("is no data directory"), "{ended:?}");
    assert!(!scene.data().exists());
}

#[test]
fn keys_of_a_server_are_made_listed_and_revoked_by_its_operator() {
    let scene = Scene::new();
    let (server, keys) = scene.server();
    let made = server
        .weir(
            &keys.operator,
            &["key", "create", "--role", "viewer", "--label", "wall", "--org", "acme", "--json"],
        )
        .json();
    let (id, key) = (made["id"].as_str().expect("an id"), made["key"].as_str().expect("a key"));
    assert_eq!(server.weir(key, &["summary", "acme"]).code, 0);
    assert_eq!(server.weir(key, &["summary", "other"]).code, 1);
    let listed = server.weir(&keys.operator, &["key", "list"]);
    assert!(listed.stdout.contains("wall") && !listed.stdout.contains(key), "{listed:?}");
    let revoked = server.weir(&keys.operator, &["key", "revoke", id, "--json"]).json();
    assert_eq!(revoked["revoked"], true);
    assert_eq!(server.weir(key, &["summary", "acme"]).code, 1);
    let forbidden = server.weir(&keys.admin, &["key", "list"]);
    assert!(forbidden.code == 1 && forbidden.stderr.contains("forbidden"), "{forbidden:?}");
}

#[test]
fn an_organization_that_is_named_twice_makes_no_key() {
    let scene = Scene::new();
    let (server, keys) = scene.server();
    let args = ["key", "create", "--role", "viewer", "--label", "x", "--org", "acme", "--org", "acme"];
    let refused = server.weir(&keys.operator, &args);
    assert!(refused.code == 2 && refused.stderr.contains("stands twice"), "{refused:?}");
}
