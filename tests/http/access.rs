//! Who is let in, and to what.

use serde_json::{Value, json};

use crate::fixture::{Fixture, NORTH};

/// A request, and what operator, admin, viewer and gateway get for it.
type Row = (&'static str, &'static str, Value, [u16; 4]);

fn table() -> Vec<Row> {
    let none = || Value::Null;
    let camera = json!({"network": "lobby", "cloud_ai": true});
    let debit = json!([{"camera": "cam", "epoch": 1, "seq": 1, "tokens": 1}]);
    vec![
        ("POST", "/v1/organizations", json!({"id": "west", "name": "West"}), [201, 403, 403, 403]),
        ("GET", "/v1/organizations", none(), [200, 200, 200, 200]),
        ("GET", "/v1/organizations/north/summary", none(), [403, 200, 200, 200]),
        ("PUT", "/v1/organizations/north/cameras/new", camera, [403, 200, 403, 403]),
        ("GET", "/v1/organizations/north/cameras", none(), [403, 200, 200, 200]),
        ("GET", "/v1/organizations/north/cameras/new", none(), [403, 200, 200, 200]),
        (
            "PUT",
            "/v1/organizations/north/cameras/new/unlimited/u",
            json!({"from": 1, "until": 2}),
            [403, 200, 403, 403],
        ),
        ("DELETE", "/v1/organizations/north/cameras/new/unlimited/u", none(), [403, 204, 403, 403]),
        ("DELETE", "/v1/organizations/north/cameras/new", none(), [403, 204, 403, 403]),
        ("POST", "/v1/organizations/north/licenses", json!({"key": "unsigned"}), [403, 400, 403, 403]),
        ("GET", "/v1/organizations/north/licenses", none(), [403, 200, 200, 200]),
        ("GET", "/v1/organizations/north/licenses/sales:KEY-1.1", none(), [403, 200, 200, 200]),
        ("DELETE", "/v1/organizations/north/licenses/sales:KEY-1.1", none(), [403, 409, 403, 403]),
        ("POST", "/v1/organizations/north/debits", debit.clone(), [403, 403, 403, 200]),
        (
            "POST",
            "/v1/organizations/north/reservations",
            json!({"id": "r", "tokens": 1, "ttl_ms": 60_000}),
            [403, 403, 403, 200],
        ),
        ("GET", "/v1/organizations/north/reservations", none(), [403, 200, 200, 200]),
        ("GET", "/v1/organizations/north/reservations/r", none(), [403, 200, 200, 200]),
        ("POST", "/v1/organizations/north/reservations/r/debits", debit, [403, 403, 403, 200]),
        ("DELETE", "/v1/organizations/north/reservations/r", none(), [403, 200, 403, 200]),
        (
            "POST",
            "/v1/transfers?wait=true",
            json!({"id": "t", "source": "north", "target": "south"}),
            [403, 200, 403, 403],
        ),
        ("GET", "/v1/transfers/t", none(), [404, 200, 200, 200]),
        (
            "POST",
            "/v1/keys",
            json!({"label": "x", "role": "viewer", "organizations": ["north"]}),
            [201, 403, 403, 403],
        ),
        ("GET", "/v1/keys", none(), [200, 403, 403, 403]),
        ("DELETE", "/v1/keys/nobody", none(), [404, 403, 403, 403]),
    ]
}

fn call(server: &Fixture, key: &str, (method, path, body): (&str, &str, &Value)) -> crate::fixture::Answer {
    let text = body.to_string();
    let body = (!body.is_null()).then_some((crate::fixture::JSON, text.as_bytes()));
    server.call(method, path, key, body)
}

#[test]
fn every_role_gets_from_every_route_what_the_table_says() {
    let server = Fixture::populated();
    let roles = [&server.operator, &server.admin, &server.viewer, &server.gateway];
    for (method, path, body, expected) in table() {
        for (key, status) in roles.into_iter().zip(expected) {
            let answer = call(&server, key, (method, path, &body));
            assert_eq!(answer.status, status, "{method} {path} {answer:?}");
            if status == 403 {
                answer.check_problem(403, "forbidden");
            }
        }
    }
}

#[test]
fn no_route_is_open_without_a_key_that_is_known() {
    for kind in 0..5 {
        // A server of its own for each: whoever tries too many keys is told to wait.
        let server = Fixture::start();
        let wrong_secret = format!("{}g", &server.admin[..server.admin.len() - 1]);
        let unknown = format!("weir_0123456789abcdef_{}", "0".repeat(64));
        let key = ["", &wrong_secret, &unknown, "weir_", "x"][kind];
        for (method, path, body, _) in table() {
            let answer = call(&server, key, (method, path, &body));
            answer.check_problem(401, "unauthenticated");
            assert_eq!(answer.header("www-authenticate"), "Bearer");
        }
        server.get("/v1/nothing", key).check_problem(401, "unauthenticated");
    }
}

#[test]
fn no_role_reaches_another_organization_or_learns_whether_there_is_one() {
    let server = Fixture::populated();
    for key in [&server.operator, &server.admin, &server.viewer, &server.gateway] {
        let answers = ["other", "nowhere"].map(|org| {
            let path = format!("/v1/organizations/{org}/summary");
            let debits = json!([{"camera": "cam", "epoch": 1, "seq": 1, "tokens": 1}]);
            server
                .post(&format!("/v1/organizations/{org}/debits"), key, &debits)
                .check_problem(403, "forbidden");
            let answer = server.get(&path, key);
            answer.check_problem(403, "forbidden");
            answer.text
        });
        assert_eq!(answers[0], answers[1]);
    }
    let listed = server.get("/v1/organizations", &server.viewer).expect(200);
    assert_eq!(listed["organizations"], json!(["north"]));
}

#[test]
fn r1_only_an_administrator_of_the_organization_adds_licenses() {
    let server = Fixture::start();
    let elsewhere = server.key("admin", &["south"]);
    let body = json!({"key": server.license_key("K", &[10])});
    for key in [&server.operator, &server.viewer, &server.gateway, &elsewhere] {
        server.post(&format!("{NORTH}/licenses"), key, &body).check_problem(403, "forbidden");
    }
    assert_eq!(server.get(&format!("{NORTH}/licenses"), &server.viewer).expect(200)["available"], 0);
    assert_eq!(server.post(&format!("{NORTH}/licenses"), &server.admin, &body).expect(201)["available"], 10);
}

#[test]
fn r4_a_shared_license_cannot_be_unbound_by_any_route() {
    let server = Fixture::populated();
    for path in ["licenses/sales:KEY-1.1", "cameras/cam/unlimited/sales:KEY-1.1"] {
        server.delete(&format!("{NORTH}/{path}"), &server.admin).check_problem(409, "license_is_permanent");
    }
    server.delete(&format!("{NORTH}/licenses/none"), &server.admin).check_problem(404, "unknown_license");
    assert_eq!(server.get(&format!("{NORTH}/licenses"), &server.viewer).expect(200)["available"], 1_500);
}

#[test]
fn r11_a_transfer_needs_an_administrator_of_both_sides() {
    let server = Fixture::populated();
    let (of_source, of_target) = (server.key("admin", &["north"]), server.key("admin", &["south"]));
    let body = json!({"id": "t", "source": "north", "target": "south"});
    for key in [&server.operator, &server.viewer, &server.gateway, &of_source, &of_target] {
        server.post("/v1/transfers?wait=true", key, &body).check_problem(403, "forbidden");
    }
    let moved = server.post("/v1/transfers?wait=true", &server.admin, &body).expect(200);
    assert_eq!(
        (&moved["state"], &moved["tokens"], &moved["licenses"]),
        (&json!("finished"), &json!(1_500), &json!(2))
    );
}

#[test]
fn a_revoked_key_opens_nothing_from_the_answer_on() {
    let server = Fixture::start();
    let path = format!("{NORTH}/summary");
    server.get(&path, &server.viewer).expect(200);
    let id = server.viewer.split('_').nth(1).expect("a key names its id").to_owned();
    server.delete(&format!("/v1/keys/{id}"), &server.operator).expect(204);
    server.get(&path, &server.viewer).check_problem(401, "unauthenticated");
    server.get(&path, &server.admin).expect(200);
}

#[test]
fn an_address_that_guesses_is_told_to_wait_and_a_known_key_is_taken_from_it_all_the_while() {
    let server = Fixture::start();
    let path = format!("{NORTH}/summary");
    let guess = |number: u32| server.get(&path, &format!("weir_{number}_x"));
    let refused = (0..1_000).map(guess).find(|answer| answer.status != 401).expect("it is told to wait");
    refused.check_problem(429, "too_many_guesses");
    assert_eq!(refused.json()["limit"], 100);
    let seconds: u64 = refused.header("retry-after").parse().expect("seconds");
    assert!((1..=11).contains(&seconds) && refused.header("connection") == "close", "{refused:?}");
    server.get(&path, &server.viewer).expect(200);
}
