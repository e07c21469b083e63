//! Conditional changes of cameras: who overwrites what they have not seen is refused.

use serde_json::{Value, json};

use crate::fixture::{Answer, DEBITS, Fixture, JSON, NORTH};

fn camera() -> String {
    format!("{NORTH}/cameras/cam")
}

fn call(server: &Fixture, (method, path): (&str, &str), header: (&str, &str), body: &Value) -> Answer {
    let text = body.to_string();
    let body = (!body.is_null()).then_some((JSON, text.as_bytes()));
    server.call_with((method, path), &server.admin, &[header], body)
}

fn settings(network: &str) -> Value {
    json!({"network": network, "cloud_ai": true})
}

#[test]
fn a_lost_update_is_refused_and_changes_nothing() {
    let server = Fixture::populated();
    let path = camera();
    let seen = server.get(&path, &server.viewer);
    let tag = seen.header("etag").to_owned();
    assert!(tag.len() == 18 && tag.starts_with('"'), "{seen:?}");
    let first = call(&server, ("PUT", &path), ("if-match", &tag), &settings("first"));
    assert_eq!(first.expect(200)["network"], "first");
    assert_ne!(first.header("etag"), tag);
    let unlimited = format!("{path}/unlimited/u");
    let terms = json!({"from": 1, "until": 2});
    for (method, path, body) in [
        ("PUT", &path, settings("second")),
        ("DELETE", &path, Value::Null),
        ("PUT", &unlimited, terms.clone()),
    ] {
        call(&server, (method, path), ("if-match", &tag), &body).check_problem(412, "precondition_failed");
    }
    let now = server.get(&path, &server.viewer);
    assert_eq!((&now.expect(200)["network"], now.header("etag")), (&json!("first"), first.header("etag")));
    let bound = call(&server, ("PUT", &unlimited), ("if-match", now.header("etag")), &terms);
    bound.expect(200);
    call(&server, ("DELETE", &unlimited), ("if-match", now.header("etag")), &Value::Null)
        .check_problem(412, "precondition_failed");
    call(&server, ("DELETE", &unlimited), ("if-match", bound.header("etag")), &Value::Null).expect(204);
    call(&server, ("DELETE", &path), ("if-match", "*"), &Value::Null).expect(204);
    call(&server, ("PUT", &path), ("if-match", "*"), &settings("x"))
        .check_problem(412, "precondition_failed");
}

#[test]
fn a_camera_is_made_only_where_there_is_none() {
    let server = Fixture::populated();
    let new = format!("{NORTH}/cameras/new");
    call(&server, ("PUT", &new), ("if-none-match", "*"), &settings("a")).expect(200);
    call(&server, ("PUT", &new), ("if-none-match", "*"), &settings("b"))
        .check_problem(412, "precondition_failed");
    assert_eq!(server.get(&new, &server.viewer).expect(200)["network"], "a");
}

#[test]
fn who_has_seen_a_configuration_is_told_that_it_is_the_same() {
    let server = Fixture::populated();
    let path = camera();
    let tag = server.get(&path, &server.viewer).header("etag").to_owned();
    // What is charged for a camera is no part of its configuration.
    let debit = json!({"camera": "cam", "epoch": 1, "seq": 1, "tokens": 1});
    server.post(DEBITS, &server.gateway, &debit).expect(200);
    for list in [tag.clone(), format!("\"x\", {tag}"), format!("W/{tag}"), "*".to_owned()] {
        let seen = call(&server, ("GET", &path), ("if-none-match", &list), &Value::Null);
        assert_eq!((seen.status, seen.header("etag"), seen.text.as_str()), (304, tag.as_str(), ""), "{list}");
    }
    call(&server, ("GET", &path), ("if-none-match", "\"0000000000000000\""), &Value::Null).expect(200);
    call(&server, ("GET", &path), ("if-match", "\"0000000000000000\""), &Value::Null)
        .check_problem(412, "precondition_failed");
}

#[test]
fn of_many_that_saw_the_same_one_changes_it() {
    let server = Fixture::populated();
    let path = camera();
    let tag = server.get(&path, &server.viewer).header("etag").to_owned();
    let change =
        |n: u64| call(&server, ("PUT", &path), ("if-match", &tag), &settings(&format!("n{n}"))).status;
    let statuses: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|n| scope.spawn(move || change(n))).collect();
        threads.into_iter().map(|thread| thread.join().expect("an answer")).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 412).count(), 7, "{statuses:?}");
}

#[test]
fn prices_that_were_set_meanwhile_are_not_overwritten() {
    let server = Fixture::populated();
    let path = format!("{NORTH}/rates");
    let prices = |millitokens: u64| {
        let prices = json!([{"kind": "other", "unit": "event", "millitokens": millitokens}]);
        json!({ "prices": prices })
    };
    assert_eq!(server.get(&path, &server.viewer).header("etag"), "");
    let first = call(&server, ("PUT", &path), ("if-none-match", "*"), &prices(1_000));
    let tag = first.header("etag").to_owned();
    first.expect(200);
    call(&server, ("PUT", &path), ("if-none-match", "*"), &prices(2_000))
        .check_problem(412, "precondition_failed");
    call(&server, ("PUT", &path), ("if-match", &tag), &prices(3_000)).expect(200);
    call(&server, ("PUT", &path), ("if-match", &tag), &prices(4_000))
        .check_problem(412, "precondition_failed");
    let rates = server.get(&path, &server.viewer);
    assert_eq!(rates.expect(200)["rates"].as_array().map(Vec::len), Some(2));
    let seen = call(&server, ("GET", &path), ("if-none-match", rates.header("etag")), &Value::Null);
    assert_eq!((seen.status, seen.text.as_str()), (304, ""));
}
