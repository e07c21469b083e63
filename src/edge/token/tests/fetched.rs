//! Keys at an address: rotation, and an address that is down, slow, huge or elsewhere.

use std::time::Duration;

use super::endpoint::{Answer, Endpoint};
use super::*;

/// An issuer whose keys are at an address; time is the test's.
struct Issuer {
    tokens: Tokens,
    endpoint: Endpoint,
    begun: Instant,
    directory: TempDir,
}

impl Issuer {
    fn new(answer: Answer) -> Self {
        let (directory, endpoint) = (tempfile::tempdir().expect("a directory"), Endpoint::new(answer));
        let file = list(&directory, "ES256", &endpoint.url, "timeout_ms = 300");
        let tokens = Tokens::load(Some(&file)).expect("an address that is down stops nobody");
        Self { tokens, endpoint, begun: clock::start(), directory }
    }

    /// What a token by this key is answered with, so many seconds after the start, when what is being fetched is there.
    fn told(&self, signer: &Signer, seconds: u64) -> &'static str {
        let moment = self.begun + Duration::from_secs(seconds);
        let now = Timestamp::from_ms(NOW_S * 1_000).expect("a time");
        let told = self.tokens.verify(&signer.sign(&claims()), (now, moment));
        self.tokens.issuers().list[0].keys.wait();
        told.map_or_else(TokenError::code, |_| "taken")
    }
}

#[test]
fn a_key_that_an_issuer_begins_to_use_is_fetched_and_one_that_it_withdrew_is_refused() {
    let (first, second) = (Signer::new(Algorithm::ES256, "k1"), Signer::new(Algorithm::ES256, "k2"));
    let issuer = Issuer::new(Answer::Set(first.set()));
    assert_eq!(issuer.told(&first, 0), "taken");
    issuer.endpoint.answer(Answer::Set(second.set()));
    assert_eq!(issuer.told(&second, 6), "token_keys_pending");
    assert_eq!(issuer.told(&second, 6), "taken");
    assert_eq!(issuer.told(&first, 7), "token_invalid");
    issuer.endpoint.answer(Answer::Set(first.set()));
    assert_eq!(issuer.told(&second, 310), "taken", "it is due, and fetched behind this answer");
    assert_eq!(issuer.told(&second, 311), "token_invalid");
    assert_eq!(issuer.endpoint.asked(), 3);
}

#[test]
fn tokens_by_unknown_keys_have_the_keys_fetched_once_in_a_while_however_many_come() {
    let (first, stranger) = (Signer::new(Algorithm::ES256, "k1"), Signer::new(Algorithm::ES256, "k2"));
    let issuer = Issuer::new(Answer::Set(first.set()));
    for _ in 0..50 {
        assert_eq!(issuer.told(&stranger, 4), "token_invalid");
    }
    assert_eq!(issuer.endpoint.asked(), 1);
    assert_eq!(issuer.told(&stranger, 6), "token_keys_pending");
    for _ in 0..50 {
        assert_eq!(issuer.told(&stranger, 6), "token_invalid");
    }
    assert_eq!(issuer.endpoint.asked(), 2);
    assert_eq!(issuer.told(&first, 6), "taken");
}

#[test]
fn an_address_that_fails_in_any_way_gives_no_keys_and_those_of_its_next_good_answer_are_taken() {
    let signer = Signer::new(Algorithm::ES256, "k1");
    for bad in [
        Answer::Status("500 Internal Server Error"),
        Answer::Status("302 Found\r\nlocation: http://127.0.0.1:1/jwks.json"),
        Answer::Set("[]".to_owned()),
        Answer::Set(json!({"keys": [{"kty": "oct", "k": "AAAA", "kid": "k1", "alg": "HS256"}]}).to_string()),
        Answer::Set(json!({"keys": [signer.jwk(), signer.jwk()]}).to_string()),
        Answer::Huge,
        Answer::Silence,
        Answer::Trickle,
    ] {
        let issuer = Issuer::new(bad.clone());
        assert_eq!(issuer.told(&signer, 0), "token_keys_pending", "{bad:?}");
        issuer.endpoint.answer(Answer::Set(signer.set()));
        assert_eq!(issuer.told(&signer, 6), "token_keys_pending", "{bad:?}");
        assert_eq!(issuer.told(&signer, 6), "taken", "{bad:?}");
    }
}

#[test]
fn keys_that_cannot_be_fetched_again_are_believed_for_their_longest_age_and_no_longer() {
    let signer = Signer::new(Algorithm::ES256, "k1");
    let issuer = Issuer::new(Answer::Set(signer.set()));
    issuer.endpoint.answer(Answer::Status("503 Service Unavailable"));
    assert_eq!(issuer.told(&signer, 3_500), "taken");
    assert_eq!(issuer.told(&signer, 3_601), "token_keys_pending");
    issuer.endpoint.answer(Answer::Set(signer.set()));
    assert_eq!(issuer.told(&signer, 3_607), "token_keys_pending");
}

#[test]
fn keys_are_kept_when_the_list_is_read_again_while_their_address_is_down() {
    let signer = Signer::new(Algorithm::ES256, "k1");
    let issuer = Issuer::new(Answer::Set(signer.set()));
    issuer.endpoint.answer(Answer::Status("503 Service Unavailable"));
    list(&issuer.directory, "ES256", &issuer.endpoint.url, "timeout_ms = 300\nrevoked_subjects = [\"eve\"]");
    issuer.tokens.reload().expect("a list");
    assert_eq!(issuer.told(&signer, 1), "taken");
}
