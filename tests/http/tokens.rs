//! Tokens beside API keys: the same rights, refusals of their own, and a list that is read again.

use serde_json::json;

use crate::fixture::{Fixture, NORTH};
use crate::signer::Signer;

#[test]
fn a_token_does_what_its_roles_may_and_is_named_in_what_it_did() {
    let (server, signer, _directory) = Fixture::trusting();
    let admin = signer.token(&["north:admin", "south:viewer"], 60);
    let body = json!({"key": server.license_key("KEY-2", &[70])});
    let claimed = server.post(&format!("{NORTH}/licenses"), &admin, &body).expect(201);
    assert_eq!(claimed["by"], "corp:ann");
    assert_eq!(
        server.get("/v1/organizations", &admin).expect(200)["organizations"],
        json!(["north", "south"])
    );
    server.get("/v1/organizations/south/summary", &admin).expect(200);
    let camera = json!({"network": "lobby", "cloud_ai": true});
    server.put("/v1/organizations/south/cameras/c", &admin, &camera).check_problem(403, "forbidden");
    server.get("/v1/organizations/other/summary", &admin).check_problem(403, "forbidden");
    server.get("/v1/keys", &admin).check_problem(403, "forbidden");
    server.get("/v1/keys", &signer.token(&["operator"], 60)).expect(200);
    let both = signer.token(&["north:admin", "south:admin"], 60);
    let transfer = json!({"id": "t", "source": "north", "target": "south"});
    server.post("/v1/transfers?wait=true", &admin, &transfer).check_problem(403, "forbidden");
    assert_eq!(server.post("/v1/transfers?wait=true", &both, &transfer).expect(200)["by"], "corp:ann");
}

#[test]
fn a_token_that_does_not_count_is_refused_by_its_own_code_and_nothing_is_done() {
    let (server, signer, _directory) = Fixture::trusting();
    let path = format!("{NORTH}/summary");
    let other = tempfile::tempdir().expect("a directory");
    let stranger = Signer::trusted(other.path(), "k1");
    let expired = server.get(&path, &signer.token(&["north:viewer"], -1));
    expired.check_problem(401, "token_expired");
    assert_eq!(expired.header("www-authenticate"), "Bearer error=\"invalid_token\"");
    server.get(&path, &stranger.token(&["north:viewer"], 60)).check_problem(401, "token_invalid");
    server.get(&path, &signer.token(&[], 60)).check_problem(403, "forbidden");
    server.get(&path, &signer.token(&["north:viewer"], 60)).expect(200);
}

#[test]
fn whoever_tries_many_tokens_is_told_to_wait_and_a_good_one_is_taken_all_the_while() {
    let (server, signer, _directory) = Fixture::trusting();
    let path = format!("{NORTH}/summary");
    let expired = signer.token(&["north:viewer"], -1);
    let told: Vec<_> = (0..101).map(|_| server.get(&path, &expired)).collect();
    assert!(told[..100].iter().all(|answer| answer.status == 401));
    told[100].check_problem(429, "too_many_guesses");
    server.get(&path, &signer.token(&["north:viewer"], 60)).expect(200);
}

#[test]
fn keys_of_an_issuer_that_were_replaced_count_from_the_moment_the_list_is_read_again() {
    let (server, first, directory) = Fixture::trusting();
    let path = format!("{NORTH}/summary");
    let second = Signer::trusted(directory.path(), "k2");
    server.get(&path, &second.token(&["north:viewer"], 60)).check_problem(401, "token_invalid");
    server.reload_token_issuers().expect("a list");
    server.get(&path, &second.token(&["north:viewer"], 60)).expect(200);
    server.get(&path, &first.token(&["north:viewer"], 60)).check_problem(401, "token_invalid");
    std::fs::write(Signer::list(directory.path()), "[[issuer]]").expect("written");
    let kept = server.reload_token_issuers().expect_err("it cannot be used");
    assert!(kept.to_string().contains("tokens.toml"), "{kept}");
    server.get(&path, &second.token(&["north:viewer"], 60)).expect(200);
}
