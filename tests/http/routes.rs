//! What every route answers when all is well.

use serde_json::{Value, json};

use crate::fixture::{DEBITS, Fixture, NORTH};

#[test]
fn organizations_are_created_and_listed_page_by_page() {
    let server = Fixture::start();
    let body = json!({"id": "west", "name": "West", "retention_ms": 60_000});
    let created = server.post("/v1/organizations", &server.operator, &body).expect(201);
    assert_eq!((&created["id"], &created["name"]), (&json!("west"), &json!("West")));
    check_time(&created["created_at"]);
    let first = server.get("/v1/organizations?limit=3", &server.operator).expect(200);
    assert_eq!(
        first,
        json!({"organizations": ["north", "other", "south"], "next": "south", "incomplete": []})
    );
    let last = server.get("/v1/organizations?limit=3&after=south", &server.operator).expect(200);
    assert_eq!(last, json!({"organizations": ["west"], "next": null, "incomplete": []}));
}

#[test]
fn a_camera_is_registered_shown_listed_changed_and_removed() {
    let server = Fixture::start();
    let path = format!("{NORTH}/cameras/00:1b:63");
    let body = json!({"network": "lobby", "cloud_ai": true, "pro_license": true});
    let shown = json!({"id": "00:1b:63", "network": "lobby", "cloud_ai": true, "pro_license": true, "used": 0,
        "newest": null, "unlimited": []});
    assert_eq!(server.put(&path, &server.admin, &body).expect(200), shown);
    assert_eq!(server.get(&path, &server.viewer).expect(200), shown);
    assert_eq!(server.get(&path.replace(':', "%3A"), &server.viewer).expect(200), shown);
    server
        .put(&format!("{NORTH}/cameras/b"), &server.admin, &json!({"network": "roof", "cloud_ai": false}))
        .expect(200);
    let page = server.get(&format!("{NORTH}/cameras?limit=1"), &server.viewer).expect(200);
    assert_eq!(page, json!({"cameras": [shown], "next": 1}));
    let page = server.get(&format!("{NORTH}/cameras?first=1&limit=1"), &server.viewer).expect(200);
    assert_eq!((&page["cameras"][0]["network"], &page["next"]), (&json!("roof"), &Value::Null));
    assert_eq!(server.delete(&path, &server.admin).expect(204), Value::Null);
    server.get(&path, &server.viewer).check_problem(404, "unknown_camera");
}

#[test]
fn r9_an_unlimited_license_is_bound_shown_and_unbound() {
    let server = Fixture::populated();
    let path = format!("{NORTH}/cameras/cam/unlimited/free-1");
    let body = json!({"from": 1_767_225_600_000u64, "until": "9999-12-31T23:59:59.999+00:00"});
    let camera = server.put(&path, &server.admin, &body).expect(200);
    let bound = json!([{"id": "free-1", "kind": "contextual_video_analytics", "from": "2026-01-01T00:00:00.000Z",
        "until": "9999-12-31T23:59:59.999Z"}]);
    assert_eq!(camera["unlimited"], bound);
    let debits = json!([{"camera": "cam", "epoch": 1, "seq": 1, "tokens": 10},
        {"camera": "cam", "epoch": 1, "seq": 2, "tokens": 10, "kind": "video_search"}]);
    let judged = server.post(DEBITS, &server.gateway, &debits).expect(200);
    assert_eq!(judged["results"], json!([{"outcome": "exempt"}, {"outcome": "charged"}]));
    server
        .delete(&format!("{NORTH}/cameras/off/unlimited/free-1"), &server.admin)
        .check_problem(404, "unknown_license");
    server.delete(&path, &server.admin).expect(204);
    server.delete(&path, &server.admin).check_problem(404, "unknown_license");
}

#[test]
fn r10_summary_and_license_list_show_one_figure() {
    let server = Fixture::populated();
    server
        .post(DEBITS, &server.gateway, &json!({"camera": "cam", "epoch": 1, "seq": 1, "tokens": 418}))
        .expect(200);
    let summary = server.get(&format!("{NORTH}/summary"), &server.viewer).expect(200);
    let licenses = server.get(&format!("{NORTH}/licenses"), &server.viewer).expect(200);
    assert_eq!(summary["available"], 1_082);
    assert_eq!(licenses["available"], 1_082);
    for (field, value) in [
        ("organization", json!("north")),
        ("name", json!("Organization north")),
        ("in_transit", json!(0)),
        ("granted", json!(1_500)),
        ("used", json!(418)),
        ("exempt", json!(0)),
        ("transferred_in", json!(0)),
        ("transferred_out", json!(0)),
        ("debits_charged", json!(1)),
        ("debits_exempt", json!(0)),
        ("licenses", json!(2)),
        ("cloud_ai_enabled", json!(1)),
        ("cameras", json!(2)),
        ("networks", json!([{"name": "lobby", "used": 418, "exempt": 0}])),
    ] {
        assert_eq!(summary[field], value, "{field}");
    }
    assert_eq!(summary["burn_rate"]["tokens"], 418);
    assert!(
        summary["burn_rate"]["window_ms"].is_u64() && summary["estimated_analytics_ms"].is_u64(),
        "{summary}"
    );
    let camera = server.get(&format!("{NORTH}/cameras/cam"), &server.viewer).expect(200);
    assert_eq!((&camera["used"], &camera["newest"]), (&json!(418), &json!({"epoch": 1, "seq": 1})));
}

#[test]
fn api_keys_are_made_listed_and_revoked() {
    let server = Fixture::start();
    let body = json!({"label": "Gate 7", "role": "gateway", "organizations": ["north"]});
    let made = server.post("/v1/keys", &server.operator, &body).expect(201);
    let (id, key) = (made["id"].as_str().expect("an id"), made["key"].as_str().expect("a key"));
    assert!(key.starts_with(&format!("weir_{id}_")), "{key}");
    server.get(&format!("{NORTH}/summary"), key).expect(200);
    server.delete(&format!("/v1/keys/{id}"), &server.operator).expect(204);
    let listed = server.get("/v1/keys", &server.operator);
    assert!(!listed.text.contains(&key[key.len() - 64..]), "a secret is shown once");
    let listed = listed.expect(200);
    let revoked =
        listed["keys"].as_array().expect("keys").iter().find(|key| key["id"] == id).expect("it is listed");
    assert_eq!((&revoked["label"], &revoked["role"]), (&json!("Gate 7"), &json!("gateway")));
    check_time(&revoked["created_at"]);
    check_time(&revoked["revoked_at"]);
    server.delete("/v1/keys/nobody", &server.operator).check_problem(404, "unknown_key");
}

#[test]
fn metrics_are_prometheus_text_and_need_no_key() {
    let server = Fixture::populated();
    server
        .post(DEBITS, &server.gateway, &json!({"camera": "cam", "epoch": 1, "seq": 1, "tokens": 1}))
        .expect(200);
    let metrics = server.get("/metrics", "");
    assert_eq!(
        (metrics.status, metrics.header("content-type")),
        (200, "text/plain; version=0.0.4; charset=utf-8")
    );
    for line in
        ["# TYPE tokenweir_debits_total counter", "outcome=\"charged\"", "tokenweir_commit_seconds_bucket"]
    {
        assert!(metrics.text.contains(line), "{line} in {}", metrics.text);
    }
    let value = |name: &str| {
        let lines = metrics.text.lines().filter(move |line| line.starts_with(name));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).fold(-1.0, f64::max)
    };
    assert!(value("tokenweir_durable_lsn{") > 1.0, "{}", metrics.text);
    assert!(value("tokenweir_partition_poisoned{").abs() < f64::EPSILON, "{}", metrics.text);
    assert!(
        !metrics.text.contains("north") && !metrics.text.contains("\"cam\""),
        "no organization, no camera"
    );
}

#[test]
fn head_is_answered_as_get_is_without_the_body() {
    let server = Fixture::populated();
    let summary = format!("{NORTH}/summary");
    for path in
        ["/healthz", "/readyz", "/metrics", "/v1/organizations", &summary, "/v1/organizations/other/summary"]
    {
        let (get, head) = (server.get(path, &server.viewer), server.call("HEAD", path, &server.viewer, None));
        assert_eq!(
            (head.status, head.header("content-type")),
            (get.status, get.header("content-type")),
            "{path}"
        );
        assert_eq!(head.text, "", "{path}");
    }
}

fn check_time(value: &Value) {
    let text = value.as_str().expect("a time");
    assert!(text.len() == 24 && text.ends_with('Z') && &text[10..11] == "T", "{text}");
}
