//! License keys: previewed, claimed, listed; and each that is not believed refused by its own code, with nothing changed.

use serde_json::{Value, json};

use crate::fixture::{DEBITS, Fixture, NORTH, issuer_in, license_key};

fn licenses() -> String {
    format!("{NORTH}/licenses")
}

/// Everything that can be seen of the licenses of `north`.
fn seen(server: &Fixture) -> Value {
    let summary = server.get(&format!("{NORTH}/summary"), &server.viewer).expect(200);
    json!([server.get(&licenses(), &server.viewer).expect(200), summary["granted"], summary["available"]])
}

/// Checks that a key is refused, for a preview and for a claim, and that nothing was changed by it.
fn check_refused(server: &Fixture, key: &str, status: u16, code: &str) {
    let before = seen(server);
    for dry_run in [true, false] {
        let answer = server.post(&licenses(), &server.admin, &json!({"key": key, "dry_run": dry_run}));
        answer.check_problem(status, code);
        assert!(status == 409 || answer.text.contains("nothing was added"), "{answer:?}");
    }
    assert_eq!(seen(server), before);
}

#[test]
fn r6_a_license_key_is_previewed_claimed_and_listed() {
    let server = Fixture::start();
    let key = server.license_key("K", &[7, 5]);
    let before = seen(&server);
    let granted = json!([{"id": "sales:K.1", "granted": 7}, {"id": "sales:K.2", "granted": 5}]);
    let shown = json!({"key": "sales:K", "licenses": granted, "available_before": 0, "available_after": 12});
    for _ in 0..2 {
        let preview = json!({"key": key, "dry_run": true});
        assert_eq!(server.post(&licenses(), &server.admin, &preview).expect(200), shown);
        assert_eq!(seen(&server), before);
    }
    let body = json!({"key": key, "dry_run": false});
    let claimed = server.post(&licenses(), &server.admin, &body).expect(201);
    let admin = server.admin.split('_').nth(1).expect("a key names its id");
    let told = json!([claimed["key"], claimed["by"], claimed["licenses"], claimed["available"]]);
    assert_eq!(told, json!(["sales:K", admin, granted, 12]));
    let listed = server.get(&licenses(), &server.viewer).expect(200);
    assert_eq!((&listed["available"], listed["licenses"].as_array().map(Vec::len)), (&json!(12), Some(2)));
    let license = &listed["licenses"][0];
    let at = &license["added_at"];
    let history = json!([{"at": at, "organization": "north", "by": admin, "transfer": null}]);
    assert_eq!(
        *license,
        json!({"id": "sales:K.1", "key": "sales:K", "granted": 7, "remaining": 7, "status": "active",
            "added_at": at, "added_by": admin, "organizations": ["north"], "history": history})
    );
    assert!(at.as_str().is_some_and(|at| at.len() == 24 && at.ends_with('Z')), "{at}");
    check_refused_preview(&server, &key);
}

/// A claimed key brings nothing more, also to the organization that claimed it.
fn check_refused_preview(server: &Fixture, key: &str) {
    let preview = json!({"key": key, "dry_run": true});
    server.post(&licenses(), &server.admin, &preview).check_problem(409, "license_key_claimed");
}

#[test]
fn r5_the_oldest_license_is_drawn_first_and_is_then_used_up() {
    let server = Fixture::populated();
    let debit = json!({"camera": "cam", "epoch": 1, "seq": 1, "tokens": 1_200});
    server.post(DEBITS, &server.gateway, &debit).expect(200);
    let listed = server.get(&licenses(), &server.viewer).expect(200);
    let held = |n: usize| json!([listed["licenses"][n]["remaining"], listed["licenses"][n]["status"]]);
    assert_eq!([held(0), held(1)], [json!([0, "used_up"]), json!([300, "active"])]);
}

#[test]
fn r6_every_key_that_is_not_believed_is_refused_by_its_own_code_and_changes_nothing() {
    let server = Fixture::populated();
    let good = server.license_key("K", &[7]);
    let claims = good.find('.').expect("segments") + 1;
    let signature = good.rfind('.').expect("segments") + 1;
    let altered = |at: usize| {
        let other = if good.as_bytes()[at] == b'A' { "B" } else { "A" };
        [&good[..at], other, &good[at + 1..]].concat()
    };
    let foreign = issuer_in(server.directory(), "foreign");
    let twin = issuer_in(server.directory(), "sales");
    check_refused(&server, "K", 400, "unsigned_key");
    check_refused(&server, &good[..signature], 400, "unsigned_key");
    check_refused(&server, &good[..signature - 1], 400, "unsigned_key");
    check_refused(&server, &format!("{good}="), 400, "malformed_key");
    check_refused(&server, &format!(" {good}"), 400, "malformed_key");
    check_refused(&server, &"e".repeat(70_000), 400, "malformed_key");
    check_refused(&server, &altered(claims + 10), 422, "bad_signature");
    check_refused(&server, &altered(signature + 10), 422, "bad_signature");
    check_refused(&server, &license_key(&twin, "K", &[7]), 422, "bad_signature");
    check_refused(&server, &license_key(&foreign, "K", &[7]), 422, "unknown_issuer");
    let old = json!({"key": "K", "licenses": [1_000_000]});
    server.post(&licenses(), &server.admin, &old).check_problem(400, "unsigned_key");
    server.post(&licenses(), &server.admin, &json!({"key": 7})).check_problem(400, "invalid");
    server.post(&licenses(), &server.admin, &json!({"key": good, "tokens": 9})).check_problem(400, "invalid");
    server.post(&licenses(), &server.admin, &json!({"key": good})).expect(201);
}

#[test]
fn r6_a_key_that_another_organization_claimed_is_told_as_claimed() {
    let server = Fixture::start();
    let key = server.license_key("K", &[7]);
    server.post("/v1/organizations/south/licenses", &server.admin, &json!({"key": key})).expect(201);
    check_refused(&server, &key, 409, "license_key_claimed");
}

#[test]
fn r1_who_may_not_add_licenses_is_told_nothing_of_a_key() {
    let server = Fixture::start();
    for key in [server.license_key("K", &[7]), "unsigned".to_owned(), "a.b.c".to_owned()] {
        for who in [&server.operator, &server.viewer, &server.gateway] {
            server.post(&licenses(), who, &json!({"key": key})).check_problem(403, "forbidden");
        }
    }
}

#[test]
fn r6_a_server_without_issuers_adds_no_license() {
    let server = Fixture::start_with(|config| config.license_issuers = None);
    check_refused(&server, &server.license_key("K", &[7]), 422, "unknown_issuer");
    check_refused(&server, "K", 400, "unsigned_key");
}

#[test]
fn r6_keys_of_two_issuers_never_stand_for_each_other() {
    let server = Fixture::start_with(|config| {
        let list = config.license_issuers.clone().expect("the fixture's");
        let directory = list.parent().expect("it is in a directory");
        let other = issuer_in(directory, "other");
        let both = format!("{}\n{}\n", std::fs::read_to_string(&list).expect("text"), other.public_line());
        std::fs::write(&list, both).expect("written");
        std::fs::write(directory.join("key"), license_key(&other, "K", &[7])).expect("written");
    });
    let other = std::fs::read_to_string(server.directory().join("key")).expect("text");
    for (key, available) in [(server.license_key("K", &[7]), 7), (other, 14)] {
        let claimed = server.post(&licenses(), &server.admin, &json!({"key": key})).expect(201);
        assert_eq!(claimed["available"], available);
    }
}

#[test]
fn r6_the_same_key_again_is_answered_as_the_first_time_also_after_a_transfer_and_a_restart() {
    let server = Fixture::start();
    let body = json!({"key": server.license_key("K", &[7, 5])});
    let first = server.post(&licenses(), &server.admin, &body).expect(201);
    assert_eq!(server.post(&licenses(), &server.admin, &body).expect(201), first);
    let transfer = json!({"id": "t", "source": "north", "target": "south"});
    server.post("/v1/transfers?wait=true", &server.admin, &transfer).expect(200);
    let mut moved = first.clone();
    moved["available"] = 0.into();
    assert_eq!(server.post(&licenses(), &server.admin, &body).expect(201), moved);
    let license = server.get("/v1/organizations/south/licenses/sales:K.2", &server.admin).expect(200);
    assert_eq!(license["organizations"], json!(["north", "south"]));
    assert_eq!((&license["history"][1]["transfer"], &license["added_by"]), (&json!("t"), &first["by"]));
    let path = format!("{}/sales:K.2", licenses());
    server.get(&path, &server.admin).check_problem(404, "unknown_license");

    let (admin, issuers) = (server.admin.clone(), server.directory().join("issuers"));
    let directory = server.stop();
    let list = directory.path().join("kept");
    std::fs::copy(issuers, &list).expect("copied");
    let mut server = Fixture::bound(|config| {
        config.data_dir = directory.path().join("data");
        config.license_issuers = Some(list);
    });
    server.open();
    assert_eq!(server.post(&licenses(), &admin, &body).expect(201), moved);
}

#[test]
fn r6_an_issuer_is_trusted_from_the_reload_on_and_no_longer_after_the_next() {
    let server = Fixture::start();
    let list = server.directory().join("issuers");
    let first = std::fs::read_to_string(&list).expect("text");
    let later = issuer_in(server.directory(), "later");
    let body = json!({"key": license_key(&later, "K", &[7])});
    server.post(&licenses(), &server.admin, &body).check_problem(422, "unknown_issuer");
    std::fs::write(&list, format!("{first}\n{}", later.public_line())).expect("written");
    server.reload_issuers().expect("a list");
    server.post(&licenses(), &server.admin, &body).expect(201);
    std::fs::write(&list, "nobody").expect("written");
    server.reload_issuers().expect_err("no list");
    server.post(&licenses(), &server.admin, &body).expect(201);
    std::fs::write(&list, first).expect("written");
    server.reload_issuers().expect("a list");
    server.post(&licenses(), &server.admin, &body).check_problem(422, "unknown_issuer");
}
