//! Requests with an `Idempotency-Key` across a server that is killed: what the journal holds is not done twice.

use serde_json::{Value, json};

use crate::process::{Server, license_key, operator_key};
use crate::scene::Scene;

/// The status and the body of a `POST` under a key of its own.
fn post(server: &Server, who: &str, path: &str, body: &Value) -> (u16, Value) {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut answer = agent
        .post(format!("{}{path}", server.url))
        .header("authorization", format!("Bearer {who}"))
        .header("content-type", "application/json")
        .header("idempotency-key", path)
        .send(body.to_string())
        .expect("an answer");
    let text = answer.body_mut().read_to_string().expect("text");
    (answer.status().as_u16(), serde_json::from_str(&text).expect("json"))
}

#[test]
fn r13_r14_a_request_with_a_key_is_not_carried_out_twice_though_the_server_was_killed() {
    let scene = Scene::new();
    let (data, key_file) = (scene.data(), scene.path("operator.key"));
    let server = Server::start(&data, &key_file, &[]);
    let operator = operator_key(&key_file);
    for org in ["north", "south"] {
        server.weir(&operator, &["orgs", "create", org]);
    }
    let make = |role: &str| {
        let args =
            ["key", "create", "--role", role, "--label", role, "--org", "north", "--org", "south", "--json"];
        server.weir(&operator, &args).json()["key"].as_str().expect("a key").to_owned()
    };
    let (admin, gateway) = (make("admin"), make("gateway"));
    server.weir(&admin, &["camera", "set", "north", "cam", "--network", "gate"]);
    let license = license_key(key_file.parent().expect("a folder"), "K", &[100]);
    let north = "/v1/organizations/north";
    let requests = [
        (&operator, "/v1/organizations".to_owned(), json!({"id": "west", "name": "West"})),
        (
            &operator,
            "/v1/keys".to_owned(),
            json!({"label": "x", "role": "viewer", "organizations": ["north"]}),
        ),
        (&admin, format!("{north}/licenses"), json!({"key": license})),
        (&gateway, format!("{north}/reservations"), json!({"id": "r", "tokens": 20, "ttl_ms": 600_000})),
        (&gateway, format!("{north}/debits"), json!([{"camera": "cam", "epoch": 1, "seq": 1, "tokens": 7}])),
    ];
    let send = |server: &Server| requests.each_ref().map(|(who, path, body)| post(server, who, path, body));
    let state = |server: &Server| {
        let summary = server.weir(&admin, &["summary", "north", "--json"]).json();
        let keys = server.weir(&operator, &["key", "list", "--json"]).json();
        let figures = ["available", "held", "used", "granted", "licenses"].map(|name| summary[name].clone());
        (figures, keys["keys"].as_array().map(Vec::len))
    };
    let first = send(&server);
    assert_eq!(first.each_ref().map(|(status, _)| *status), [201, 201, 201, 200, 200], "{first:?}");
    let before = state(&server);
    server.running.kill();
    let server = Server::start(&data, &key_file, &[]);
    let again = send(&server);
    assert_eq!(again.each_ref().map(|(status, _)| *status), [201, 409, 201, 200, 200], "{again:?}");
    assert_eq!((&again[0].1, &again[1].1["code"]), (&first[0].1, &json!("api_key_made")));
    assert_eq!((&again[2].1["licenses"], &again[3].1), (&first[2].1["licenses"], &first[3].1));
    assert_eq!(again[4].1["results"][0]["outcome"], "duplicate");
    assert_eq!(state(&server), before);
}
