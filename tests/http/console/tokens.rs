//! Signing in with a token of an identity provider.

use super::browser::{Browser, SIGN_IN};
use crate::fixture::Fixture;
use crate::signer::Signer;

const SUMMARY: &str = "/console/organizations/north/summary";

#[test]
fn whoever_bears_a_token_sees_and_does_what_its_roles_may_under_its_own_name() {
    let (server, signer, _directory) = Fixture::trusting();
    let mut browser = Browser::signed_in(&server, &signer.token(&["north:admin", "south:viewer"], 600));
    let page = browser.page("/console/organizations");
    assert!(page.contains("Organization north") && page.contains("Organization south"), "{page}");
    assert!(page.contains("<code>corp:ann</code>") && page.contains("admin, viewer</span>"), "{page}");
    browser.page(SUMMARY);
    assert_eq!(browser.get("/console/organizations/other/summary").status, 403);
    assert_eq!(browser.get("/console/organizations/south/licenses/add").status, 403);
    browser.carry_out("/console/organizations/north/cameras", &[("camera", "c7"), ("network", "lobby")]);
    let acts = server.get("/v1/organizations/north/audit", &server.admin).expect(200).to_string();
    assert!(acts.contains("corp:ann") && acts.contains("c7"), "{acts}");
    let mut operator = Browser::signed_in(&server, &signer.token(&["operator"], 600));
    operator.page("/console/server");
    assert_eq!(operator.get(SUMMARY).status, 403);
}

#[test]
fn a_token_that_does_not_count_is_refused_with_why() {
    let (server, signer, _directory) = Fixture::trusting();
    let mut browser = Browser::new(&server);
    let stranger = Signer::trusted(tempfile::tempdir().expect("a directory").path(), "k2");
    for (token, told) in [
        (signer.token(&["north:admin"], -1), "expired"),
        (stranger.token(&["north:admin"], 60), "token"),
        ("a.b.c".to_owned(), "token"),
    ] {
        let answer = browser.submit(SIGN_IN, &[("key", &token)]);
        assert_eq!((answer.status, answer.header("set-cookie")), (401, ""), "{answer:?}");
        assert!(answer.text.contains("role=\"alert\"") && answer.text.contains(told), "{}", answer.text);
        assert!(!answer.text.contains(&token), "what was typed is not shown again");
    }
}

#[test]
fn a_session_ends_with_its_token_and_when_its_subject_is_revoked() {
    let (server, signer, directory) = Fixture::trusting();
    let mut short = Browser::signed_in(&server, &signer.token(&["north:viewer"], 2));
    short.page(SUMMARY);
    let mut long = Browser::signed_in(&server, &signer.token(&["north:viewer"], 600));
    while short.get(SUMMARY).status == 200 {
        assert_eq!(long.get(SUMMARY).status, 200);
    }
    assert!(short.get(SUMMARY).header("location").starts_with(SIGN_IN));
    let list = Signer::list(directory.path());
    let revoked = std::fs::read_to_string(&list).expect("read") + "revoked_subjects = [\"ann\"]\n";
    std::fs::write(&list, revoked).expect("written");
    server.reload_token_issuers().expect("a list");
    assert!(long.get(SUMMARY).header("location").starts_with(SIGN_IN), "it ends with the next request");
}
