//! The trail of administrative acts, as administrators and operators read it.

use serde_json::{Value, json};
use tokenweir::edge::http::audit::act;
use tokenweir::edge::http::route::{self, Right};

use crate::fixture::{Fixture, NORTH};

/// What `field` says of each act of a trail, newest first.
fn trail(server: &Fixture, path: &str, key: &str, fields: &[&str]) -> Vec<Vec<String>> {
    let listed = server.get(path, key).expect(200);
    let told = |entry: &Value| {
        let text = |name: &&str| entry[*name].as_str().unwrap_or_default().to_owned();
        fields.iter().map(text).collect::<Vec<_>>()
    };
    listed["entries"].as_array().expect("a list").iter().map(told).collect()
}

fn of_north(server: &Fixture, fields: &[&str]) -> Vec<Vec<String>> {
    trail(server, &format!("{NORTH}/audit"), &server.admin, fields)
}

/// The acts of the newest entries of `north`, oldest of them first.
fn newest(server: &Fixture, count: usize) -> Vec<(String, String, String)> {
    let all = of_north(server, &["act", "target", "outcome"]);
    let told = all.into_iter().take(count).rev().map(|row| (row[0].clone(), row[1].clone(), row[2].clone()));
    told.collect()
}

fn rows(expected: &[(&str, &str, &str)]) -> Vec<(String, String, String)> {
    let owned = |text: &str| text.to_owned();
    expected.iter().map(|(act, target, outcome)| (owned(act), owned(target), owned(outcome))).collect()
}

#[test]
fn every_act_of_an_administrator_is_in_the_trail_of_its_organization_with_its_outcome() {
    let server = Fixture::populated();
    let camera = json!({"network": "lobby", "cloud_ai": false});
    let valid = json!({"from": 1, "until": 2});
    server.put(&format!("{NORTH}/cameras/new"), &server.admin, &camera).expect(200);
    server.put(&format!("{NORTH}/cameras/new/unlimited/U"), &server.admin, &valid).expect(200);
    server.delete(&format!("{NORTH}/cameras/new/unlimited/U"), &server.admin).expect(204);
    server.delete(&format!("{NORTH}/cameras/new"), &server.admin).expect(204);
    server.delete(&format!("{NORTH}/cameras/new"), &server.admin).check_problem(404, "unknown_camera");
    server.delete(&format!("{NORTH}/licenses/sales:KEY-1.1"), &server.admin).expect(409);
    let reservation = json!({"id": "R", "tokens": 5, "ttl_ms": 60_000});
    server.post(&format!("{NORTH}/reservations"), &server.gateway, &reservation).expect(200);
    server.delete(&format!("{NORTH}/reservations/R"), &server.admin).expect(200);
    let prices = json!({"prices": [{"kind": "video_search", "unit": "image", "millitokens": 1_500}]});
    server.put(&format!("{NORTH}/rates"), &server.admin, &prices).expect(200);
    let transfer = json!({"id": "T", "source": "north", "target": "south"});
    server.post("/v1/transfers?wait=true", &server.admin, &transfer).expect(200);
    let expected = rows(&[
        ("add_licenses", "sales:KEY-1", "done"),
        ("register_camera", "new", "done"),
        ("bind_unlimited", "new/U", "done"),
        ("unbind_unlimited", "U", "done"),
        ("remove_camera", "new", "done"),
        ("remove_camera", "new", "unknown_camera"),
        ("remove_license", "sales:KEY-1.1", "license_is_permanent"),
        ("release_reservation", "R", "done"),
        ("set_rates", "", "done"),
        ("begin_transfer", "T", "done"),
    ]);
    assert_eq!(newest(&server, 10), expected);
    let id = server.admin.split('_').nth(1).expect("a key names its id");
    let who = &of_north(&server, &["actor", "edge", "peer"])[0];
    assert_eq!(who[..], [id, "http", "127.0.0.1"]);
    let south = trail(&server, "/v1/organizations/south/audit", &server.admin, &["act", "target"]);
    assert_eq!(south[0], ["begin_transfer", "T"], "both sides have it");
}

#[test]
fn operators_read_their_own_acts_and_an_administrator_those_about_his_organization() {
    let server = Fixture::start();
    let acts = trail(&server, "/v1/audit", &server.operator, &["act", "edge", "outcome"]);
    assert_eq!(acts.len(), 7, "{acts:?}");
    assert_eq!(acts[6], ["create_api_key", "host", "done"], "the first key is made by the server itself");
    assert!(acts[3..6].iter().all(|row| row[..] == ["create_organization", "http", "done"]), "{acts:?}");
    let mine: Vec<_> = of_north(&server, &["act"]).into_iter().flatten().collect();
    assert_eq!(mine, ["create_api_key", "create_api_key", "create_api_key", "create_organization"]);
    for key in [&server.viewer, &server.gateway, &server.operator] {
        server.get(&format!("{NORTH}/audit"), key).check_problem(403, "forbidden");
    }
    server.get("/v1/audit", &server.admin).check_problem(403, "forbidden");
    server.get("/v1/organizations/other/audit", &server.admin).check_problem(403, "forbidden");
    let id = server.viewer.split('_').nth(1).expect("a key names its id");
    server.delete(&format!("/v1/keys/{id}"), &server.operator).expect(204);
    assert_eq!(newest(&server, 1), rows(&[("revoke_api_key", id, "done")]));
}

#[test]
fn what_was_refused_is_in_the_trail_by_its_code_once_and_reads_are_not() {
    let server = Fixture::populated();
    let elsewhere = server.key("admin", &["south"]);
    let camera = json!({"network": "lobby", "cloud_ai": true});
    for key in [&server.viewer, &elsewhere] {
        server.put(&format!("{NORTH}/cameras/c"), key, &camera).check_problem(403, "forbidden");
        server.get(&format!("{NORTH}/audit"), key).check_problem(403, "forbidden");
    }
    server.post(&format!("{NORTH}/licenses"), &server.admin, &json!({"key": "K"})).expect(400);
    server.post("/v1/organizations", &server.admin, &json!({"id": "x", "name": "x"})).expect(403);
    let transfer = json!({"id": "T", "source": "north", "target": "south"});
    server.post("/v1/transfers", &elsewhere, &transfer).check_problem(403, "forbidden");
    server.post("/v1/transfers", &server.viewer, &transfer).check_problem(403, "forbidden");
    assert_eq!(
        newest(&server, 4),
        rows(&[
            ("register_camera", "c", "forbidden"),
            ("register_camera", "c", "forbidden"),
            ("add_licenses", "", "unsigned_key"),
            ("begin_transfer", "T", "forbidden"),
        ])
    );
    let operators = trail(&server, "/v1/audit", &server.operator, &["act", "outcome"]);
    assert_eq!(operators[..2], [["begin_transfer", "forbidden"], ["create_organization", "forbidden"]]);
}

#[test]
fn whoever_is_refused_much_fills_no_trail_and_it_is_told_how_often_he_was() {
    let server = Fixture::start();
    for _ in 0..50 {
        server.delete(&format!("{NORTH}/cameras/c"), &server.viewer).check_problem(403, "forbidden");
    }
    let all = of_north(&server, &["act", "outcome"]);
    assert_eq!(all.iter().filter(|row| row[..] == ["remove_camera", "forbidden"]).count(), 20);
}

#[test]
fn the_trail_is_read_page_by_page_newest_first() {
    let server = Fixture::start();
    for number in 0..25 {
        let camera = json!({"network": "lobby", "cloud_ai": true});
        server.put(&format!("{NORTH}/cameras/c{number}"), &server.admin, &camera).expect(200);
    }
    let (mut targets, mut after) = (Vec::new(), String::new());
    loop {
        let page = server.get(&format!("{NORTH}/audit?limit=7{after}"), &server.admin).expect(200);
        let entries = page["entries"].as_array().expect("a list");
        targets.extend(entries.iter().map(|entry| entry["target"].as_str().unwrap_or_default().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    let expected: Vec<_> = (0..25).rev().map(|number| format!("c{number}")).collect();
    assert_eq!(targets[..25], expected[..]);
    assert_eq!(targets.len(), 29, "before them the organization and its three keys");
    server.get(&format!("{NORTH}/audit?limit=0"), &server.admin).check_problem(400, "invalid");
    server.get(&format!("{NORTH}/audit?after=x"), &server.admin).check_problem(400, "invalid");
    let alone = server.get(&format!("{NORTH}/audit?after=a~9~b~7&limit=1"), &server.admin).expect(200);
    assert_eq!(alone["incomplete"], json!([]), "a server of its own knows of no other nodes: {alone}");
    let next = alone["next"].as_str().expect("more follows");
    assert!(next.bytes().all(|digit| digit.is_ascii_digit()), "{next}");
}

#[test]
fn every_route_that_administers_has_an_act_under_which_it_is_recorded() {
    for route in route::all() {
        let administers = !matches!(
            route.right,
            Right::None | Right::AnyKey | Right::Read | Right::ReadEither | Right::Debit | Right::DebitNamed
        );
        // Whoever has seen a secret has it for good.
        let shows_secret = route.path.ends_with("/secret");
        let is_act = route.method.as_str() != "GET" || shows_secret;
        assert_eq!(act(&route.method, route.path).is_some(), administers && is_act, "{route:?}");
    }
}
