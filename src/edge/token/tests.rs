//! Tokens by real keys: what is taken, what is not, and what the keys of an issuer may do meanwhile.

mod endpoint;
mod fetched;

use std::time::Instant;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::meter::{Action, OrgId, Role, RoleIn};
use crate::telemetry::clock;

const NOW_S: u64 = 1_800_000_000;
const ISSUER: &str = "https://id.example/";

/// A key of an issuer, with its name.
struct Signer {
    algorithm: Algorithm,
    kid: &'static str,
    key: EncodingKey,
}

impl Signer {
    fn new(algorithm: Algorithm, kid: &'static str) -> Self {
        let key = match algorithm {
            Algorithm::ES256 => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("random bytes");
                EncodingKey::from_ec_der(pair.to_pkcs8v1().expect("encoded").as_ref())
            }
            Algorithm::EdDSA => {
                let pair = Ed25519KeyPair::generate().expect("random bytes");
                EncodingKey::from_ed_der(pair.to_pkcs8v1().expect("encoded").as_ref())
            }
            _ => {
                let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("random bytes");
                let der: Pkcs8V1Der<'_> = pair.as_der().expect("encoded");
                EncodingKey::from_rsa_der(&rsa_private_key(der.as_ref()))
            }
        };
        Self { algorithm, kid, key }
    }

    fn jwk(&self) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.key, self.algorithm).expect("a public key");
        jwk.common.key_id = Some(self.kid.to_owned());
        serde_json::to_value(jwk).expect("text and numbers")
    }

    fn set(&self) -> String {
        json!({"keys": [self.jwk()]}).to_string()
    }

    fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.kid.to_owned()), ..Header::new(self.algorithm) };
        encode(&header, claims, &self.key).expect("signed")
    }
}

/// The key within PKCS #8: what follows its header of 26 bytes, where the key has 2,048 bits.
fn rsa_private_key(pkcs8: &[u8]) -> Vec<u8> {
    pkcs8[26..].to_vec()
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": "tokenweir", "sub": "ann", "exp": NOW_S + 600, "iat": NOW_S, "jti": "T-1",
        "tokenweir": ["north:admin", "south:viewer"],
    })
}

fn with(changes: &Value) -> Value {
    let mut claims = claims();
    for (name, value) in changes.as_object().expect("an object") {
        match value {
            Value::Null => claims.as_object_mut().expect("an object").remove(name),
            value => claims.as_object_mut().expect("an object").insert(name.clone(), value.clone()),
        };
    }
    claims
}

/// A list of one issuer with keys at `jwks`, and more settings.
fn list(directory: &TempDir, algorithm: &str, jwks: &str, more: &str) -> PathBuf {
    let path = directory.path().join("tokens.toml");
    let text = format!(
        "[[issuer]]\nname = \"corp\"\nissuer = \"{ISSUER}\"\naudience = \"tokenweir\"\n\
         algorithm = \"{algorithm}\"\njwks = \"{jwks}\"\n{more}\n"
    );
    std::fs::write(&path, text).expect("written");
    path
}

/// Tokens of an issuer whose keys stand in a file.
fn trusting(signer: &Signer, more: &str) -> Tokens {
    let directory = tempfile::tempdir().expect("a directory");
    let jwks = directory.path().join("jwks.json");
    std::fs::write(&jwks, signer.set()).expect("written");
    let algorithm = format!("{:?}", signer.algorithm);
    Tokens::load(Some(&list(&directory, &algorithm, jwks.to_str().expect("text"), more))).expect("a list")
}

fn at(seconds: u64) -> (Timestamp, Instant) {
    (Timestamp::from_ms(seconds * 1_000).expect("a time"), clock::start())
}

fn verify(tokens: &Tokens, token: &str) -> Result<Principal, TokenError> {
    tokens.verify(token, at(NOW_S)).map(|(principal, _)| principal)
}

/// What a token by `signer` with these changes is answered with.
fn check(tokens: &Tokens, signer: &Signer, changes: &Value, expected: &str) {
    let told = verify(tokens, &signer.sign(&with(changes)));
    let code = told.as_ref().map_or_else(|error| error.code(), |_| "taken");
    assert_eq!(code, expected, "{changes}: {told:?}");
}

#[test]
fn a_token_stands_for_its_subject_with_the_roles_that_it_names_by_every_kind_of_key() {
    for algorithm in [Algorithm::RS256, Algorithm::PS512, Algorithm::ES256, Algorithm::EdDSA] {
        let signer = Signer::new(algorithm, "k1");
        let tokens = trusting(&signer, "");
        let (who, until) = tokens.verify(&signer.sign(&claims()), at(NOW_S)).expect("it is taken");
        assert_eq!(until.ms() / 1_000, NOW_S + 630, "{algorithm:?}");
        assert_eq!(who.actor().as_str(), "corp:ann");
        let org = |id: &str| OrgId::new(id).expect("valid");
        assert!(who.may(Action::Administer(&org("north"))) && who.may(Action::Read(&org("south"))));
        assert!(!who.may(Action::Administer(&org("south"))) && !who.may(Action::Read(&org("east"))));
        assert!(!who.may(Action::Debit(&org("north"))) && !who.may(Action::ManageApiKeys));
    }
}

#[test]
fn a_token_counts_from_its_times_to_its_times_with_the_skew_and_no_longer() {
    let signer = Signer::new(Algorithm::ES256, "k1");
    let tokens = trusting(&signer, "");
    for (changes, expected) in [
        (json!({"exp": NOW_S - 29}), "taken"),
        (json!({"exp": NOW_S - 30}), "token_expired"),
        (json!({"exp": null}), "token_invalid"),
        (json!({"exp": "soon"}), "token_invalid"),
        (json!({"exp": u64::MAX}), "taken"),
        (json!({"nbf": NOW_S + 30}), "taken"),
        (json!({"nbf": NOW_S + 31}), "token_not_yet_valid"),
        (json!({"nbf": "now"}), "token_invalid"),
        (json!({"iat": NOW_S + 31}), "token_not_yet_valid"),
        (json!({"iat": null}), "taken"),
    ] {
        check(&tokens, &signer, &changes, expected);
    }
}

#[test]
fn a_token_for_another_audience_of_another_issuer_of_nobody_or_revoked_is_refused() {
    let signer = Signer::new(Algorithm::ES256, "k1");
    let tokens = trusting(&signer, "revoked_tokens = [\"T-9\"]\nrevoked_subjects = [\"eve\"]");
    for (changes, expected) in [
        (json!({"aud": "other"}), "token_invalid"),
        (json!({"aud": ["other", "tokenweir"]}), "taken"),
        (json!({"aud": null}), "token_invalid"),
        (json!({"iss": "https://id.example"}), "token_invalid"),
        (json!({"iss": [ISSUER]}), "token_invalid"),
        (json!({"iss": null}), "token_invalid"),
        (json!({"sub": null}), "token_invalid"),
        (json!({"sub": ""}), "token_invalid"),
        (json!({"sub": 7}), "token_invalid"),
        (json!({"jti": "T-9"}), "token_revoked"),
        (json!({"sub": "eve"}), "token_revoked"),
        (json!({"tokenweir": "north:admin"}), "token_invalid"),
        (json!({"tokenweir": vec!["north:viewer"; 257]}), "token_invalid"),
        (json!({"tokenweir": null}), "taken"),
    ] {
        check(&tokens, &signer, &changes, expected);
    }
}

#[test]
fn a_token_is_checked_by_the_algorithm_that_is_set_whatever_it_says_itself() {
    let (signer, stranger) = (Signer::new(Algorithm::RS256, "k1"), Signer::new(Algorithm::RS256, "k1"));
    let tokens = trusting(&signer, "");
    let header = |alg: &str| URL_SAFE_NO_PAD.encode(json!({"alg": alg, "kid": "k1"}).to_string());
    let body = URL_SAFE_NO_PAD.encode(claims().to_string());
    let honest = signer.sign(&claims());
    let signature = honest.rsplit('.').next().expect("three parts");
    // The public key of an issuer is no secret: as one of HS256 anybody could sign with it.
    let public = signer.jwk()["n"].as_str().expect("a modulus").to_owned();
    let by_secret = EncodingKey::from_secret(&URL_SAFE_NO_PAD.decode(public).expect("base64"));
    let named = |algorithm| Header { kid: Some("k1".to_owned()), ..Header::new(algorithm) };
    let confused = encode(&named(Algorithm::HS256), &claims(), &by_secret).expect("signed");
    let longer = encode(&named(Algorithm::RS512), &claims(), &signer.key).expect("signed");
    let critical = Header { crit: Some(vec!["exp".to_owned()]), ..named(Algorithm::RS256) };
    let critical = encode(&critical, &claims(), &signer.key).expect("signed");
    for (token, what) in [
        (format!("{}.{body}.", header("none")), "none"),
        (format!("{}.{body}.{signature}", header("none")), "none with a signature"),
        (format!("{}.{body}.", header("RS256")), "no signature"),
        (confused, "a secret made of the public key"),
        (longer, "another algorithm of the same key"),
        (critical, "a condition"),
        (stranger.sign(&claims()), "another key of the same name"),
        (encode(&Header::new(Algorithm::RS256), &claims(), &signer.key).expect("signed"), "no name of a key"),
        (honest.replacen('.', "..", 1), "four parts"),
        (format!("{honest}A"), "a longer signature"),
        (format!("{honest}{}", "x".repeat(TOKEN_BYTES_MAX)), "too long"),
        ("a.b.c".to_owned(), "no base64"),
        ("..".to_owned(), "nothing"),
    ] {
        let told = verify(&tokens, &token);
        assert!(matches!(told, Err(TokenError::Invalid(_))), "{what}: {told:?}");
    }
    assert!(verify(&tokens, &honest).is_ok());
    assert!(verify(&Tokens::load(None).expect("no list"), &honest).is_err(), "nobody is trusted");
}

#[test]
fn an_issuer_gives_no_other_roles_than_it_may_and_what_is_no_role_is_passed_over() {
    let signer = Signer::new(Algorithm::EdDSA, "k1");
    let listed = json!({"tokenweir": [
        "operator", "north:admin", "south:gateway", "team-a", 7, "north:owner", "a b:viewer", "south:viewer", ":viewer",
    ]});
    let roles = |more: &str| match verify(&trusting(&signer, more), &signer.sign(&with(&listed))) {
        Ok(Principal::Token(bearer)) => {
            let place = |given: &RoleIn| given.organization.as_ref().map(|org| org.as_str().to_owned());
            bearer.roles.iter().map(|given| (given.role, place(given))).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    let place = |org: &str| Some(org.to_owned());
    let south = [(Role::Gateway, place("south")), (Role::Viewer, place("south"))];
    assert_eq!(roles(""), [&[(Role::Admin, place("north"))], &south[..]].concat());
    assert_eq!(roles("organizations = [\"south\"]"), south);
    assert_eq!(roles("roles = [\"viewer\", \"operator\"]"), [(Role::Operator, None), south[1].clone()]);
}

#[test]
fn roles_are_read_from_the_claim_that_is_set_also_below_others() {
    let signer = Signer::new(Algorithm::EdDSA, "k1");
    for (claim, value) in [
        ("https://weir.example/roles", json!({"https://weir.example/roles": ["north:admin"]})),
        ("/realm/roles", json!({"realm": {"roles": ["north:admin"]}})),
        ("/a~1b/0", json!({"a/b": [["north:admin"]]})),
        ("groups", json!({"groups": ["everybody", "north:admin"]})),
    ] {
        let tokens = trusting(&signer, &format!("claim = \"{claim}\""));
        let who = verify(&tokens, &signer.sign(&with(&value))).expect("it is taken");
        assert!(who.may(Action::Administer(&OrgId::new("north").expect("valid"))), "{claim}");
    }
}

#[test]
fn acts_are_recorded_under_the_subject_or_under_its_hash_where_it_is_no_id() {
    let signer = Signer::new(Algorithm::EdDSA, "k1");
    let tokens = trusting(&signer, "");
    let actor = |subject: &str| {
        let who = verify(&tokens, &signer.sign(&with(&json!({"sub": subject})))).expect("it is taken");
        who.actor().as_str().to_owned()
    };
    assert_eq!(actor("auth0-17"), "corp:auth0-17");
    let hashed = [actor("ann@corp.example"), actor("ann+corp.example"), actor(&"a".repeat(200))];
    assert!(hashed.iter().all(|id| id.len() == 37 && id.starts_with("corp:")), "{hashed:?}");
    assert!(hashed[0] != hashed[1] && hashed[1] != hashed[2], "{hashed:?}");
}

#[test]
fn a_list_that_says_what_cannot_be_is_refused_with_its_reason() {
    let (signer, directory) =
        (Signer::new(Algorithm::ES256, "k1"), tempfile::tempdir().expect("a directory"));
    let jwks = directory.path().join("jwks.json");
    std::fs::write(&jwks, signer.set()).expect("written");
    let jwks = jwks.to_str().expect("text");
    let twice = format!(
        "[[issuer]]\nname = \"corp\"\nissuer = \"x\"\naudience = \"y\"\nalgorithm = \"ES256\"\njwks = \"{jwks}\""
    );
    for (algorithm, more, part) in [
        ("HS256", "", "`algorithm` is one of RS256"),
        ("none", "", "`algorithm` is one of RS256"),
        ("es256", "", "`algorithm` is one of RS256"),
        ("RS256", "", "no key with a `kid` for RS256"),
        ("ES256", "max_age = 1", "max_age"),
        ("ES256", "refresh_s = 1", "`refresh_s` is 10 to 86400, not 1"),
        ("ES256", "refresh_s = 100\nmax_age_s = 99", "`max_age_s` is 100 to"),
        ("ES256", "claim = \"\"", "`claim`"),
        ("ES256", "roles = [\"owner\"]", "owner"),
        ("ES256", twice.as_str(), "stands twice"),
    ] {
        let loaded = Tokens::load(Some(&list(&directory, algorithm, jwks, more)));
        let message = loaded.expect_err("it cannot be used").to_string();
        assert!(message.contains(part) && message.contains("tokens.toml"), "{message}");
    }
    assert!(Tokens::load(Some(&directory.path().join("none.toml"))).is_err());
    std::fs::write(directory.path().join("empty.toml"), "skew_s = 5\n").expect("written");
    assert!(Tokens::load(Some(&directory.path().join("empty.toml"))).is_err());
}

#[test]
fn a_list_that_cannot_be_read_again_is_kept_as_it_was() {
    let (first, second) = (Signer::new(Algorithm::ES256, "k1"), Signer::new(Algorithm::ES256, "k2"));
    let directory = tempfile::tempdir().expect("a directory");
    let jwks = directory.path().join("jwks.json");
    std::fs::write(&jwks, first.set()).expect("written");
    let tokens = Tokens::load(Some(&list(&directory, "ES256", jwks.to_str().expect("text"), "")));
    let tokens = tokens.expect("a list");
    std::fs::write(&jwks, "{}").expect("written");
    assert!(tokens.reload().is_err());
    assert!(verify(&tokens, &first.sign(&claims())).is_ok());
    std::fs::write(&jwks, second.set()).expect("written");
    tokens.reload().expect("a list");
    assert!(verify(&tokens, &second.sign(&claims())).is_ok());
    assert!(verify(&tokens, &first.sign(&claims())).is_err());
}
