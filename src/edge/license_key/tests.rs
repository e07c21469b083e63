//! What is believed of a key, and what is not: every alteration of one.

use aws_lc_rs::hmac;
use serde_json::{Value, json};

use crate::domain::limits::{KEY_LICENSES_MAX, POOL_TOKENS_MAX};

use super::*;

const SECOND: u64 = 1_767_225_600;

/// An issuer on a file of its own, and a list that trusts it.
fn issuer(name: &str) -> (Issuer, Issuers) {
    let directory = tempfile::tempdir().expect("a directory");
    let name = name.parse().expect("a valid name");
    let issuer = Issuer::create(&directory.path().join("issuer"), Some(name)).expect("a new file");
    let trusted = Issuers::parse(&issuer.public_line()).expect("its own line");
    (issuer, trusted)
}

fn at(second: u64) -> Timestamp {
    Timestamp::from_ms(second * 1_000).expect("a time")
}

fn key(issuer: &Issuer) -> String {
    issuer.issue("K-1", &[(2, Tokens(10)), (1, Tokens(5))], at(SECOND)).expect("within bounds")
}

fn header() -> Value {
    json!({"alg": "EdDSA", "kid": "sales", "typ": TYPE})
}

fn claims() -> Value {
    json!({"iss": "sales", "jti": "K-1", "iat": SECOND, "licenses": [{"count": 2, "tokens": 10}]})
}

/// A key of any text, properly signed.
fn signed(issuer: &Issuer, header: &str, claims: &str) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(issuer.sign(signed.as_bytes())))
}

fn with(mut object: Value, name: &str, value: Value) -> String {
    object[name] = value;
    object.to_string()
}

fn without(mut object: Value, name: &str) -> String {
    object.as_object_mut().expect("an object").remove(name);
    object.to_string()
}

fn check(trusted: &Issuers, text: &str, code: &str) -> String {
    match verify(text, trusted) {
        Ok(key) => panic!("{key:?} of {text}"),
        Err(error) => {
            assert_eq!(error.code(), code, "{error} of {text}");
            error.to_string()
        }
    }
}

#[test]
fn r6_a_key_says_what_its_issuer_signed() {
    let (sales, trusted) = issuer("sales");
    let text = key(&sales);
    let read = verify(&text, &trusted).expect("it is genuine");
    assert_eq!((read.issuer.as_str(), read.issued_at), ("sales", at(SECOND)));
    assert_eq!(read.key.id.as_str(), "sales:K-1");
    assert_eq!(read.key.grants, [10, 10, 5].map(Tokens));
    assert_eq!(super::read(&text), Ok(read));
    let parts: Vec<_> =
        text.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).expect("canonical")).collect();
    let read = |part: &[u8]| serde_json::from_slice::<Value>(part).expect("it is JSON");
    assert_eq!((parts.len(), read(&parts[0])), (3, header()));
    let runs = json!([{"count": 2, "tokens": 10}, {"count": 1, "tokens": 5}]);
    assert_eq!(read(&parts[1]).to_string(), with(claims(), "licenses", runs));
}

/// The example of RFC 8037, appendix A: its key, and what is signed with it there.
#[test]
fn a_signature_is_that_of_the_standard() {
    let jwk =
        r#"{"kty":"OKP","crv":"Ed25519","kid":"rfc","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    let trusted = Issuers::parse(jwk).expect("a public key");
    let public = trusted.find(&"rfc".parse().expect("a name")).expect("it is listed");
    let signed = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    let signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    let signature = URL_SAFE_NO_PAD.decode(signature).expect("canonical");
    assert!(public.signed(signed, &signature) && !public.signed(&signed[1..], &signature));
}

#[test]
fn r6_no_bit_of_a_key_can_be_changed_and_no_byte_added_or_left_out() {
    let (sales, trusted) = issuer("sales");
    let text = key(&sales);
    let mut refused = std::collections::BTreeSet::new();
    let mut check = |bytes: Vec<u8>| {
        // What is no text is refused where it is read.
        let Ok(altered) = String::from_utf8(bytes) else { return };
        match verify(&altered, &trusted) {
            Ok(_) => panic!("believed: {altered}"),
            Err(error) => _ = refused.insert(error.code()),
        }
    };
    for (place, bit) in (0..text.len()).flat_map(|place| (0..8).map(move |bit| (place, bit))) {
        let mut bytes = text.clone().into_bytes();
        bytes[place] ^= 1 << bit;
        check(bytes);
    }
    for place in 0..text.len() {
        check(text.as_bytes()[..place].to_vec());
        check([&text.as_bytes()[..place], &text.as_bytes()[place + 1..]].concat());
        check([&text.as_bytes()[..place], b"A", &text.as_bytes()[place..]].concat());
    }
    for added in ["=", "==", "A", ".", ".A", "\n", " "] {
        check(format!("{text}{added}").into_bytes());
        check(format!("{added}{text}").into_bytes());
    }
    assert_eq!(refused.len(), 4, "each refusal was met: {refused:?}");
}

#[test]
fn r6_a_key_without_a_signature_of_ed25519_is_unsigned() {
    let (sales, trusted) = issuer("sales");
    let text = key(&sales);
    let [head, body, signature] = text.split('.').collect::<Vec<_>>()[..] else { panic!("three segments") };
    for unsigned in ["", "K-1", "weir", body] {
        check(&trusted, unsigned, "unsigned_key");
    }
    for (parts, code) in [
        (vec![head, body], "unsigned_key"),
        (vec![head, signature], "unsigned_key"),
        (vec![body, signature], "unsigned_key"),
        (vec![head, body, ""], "unsigned_key"),
        (vec![head, "", signature], "bad_signature"),
        (vec!["", body, signature], "malformed_key"),
        (vec![head, signature, body], "bad_signature"),
        (vec![body, head, signature], "malformed_key"),
        (vec![head, body, signature, signature], "malformed_key"),
    ] {
        check(&trusted, &parts.join("."), code);
    }
    for algorithm in ["none", "None", "HS256", "ES256", "Ed25519", "eddsa", ""] {
        let header = with(header(), "alg", algorithm.into());
        check(&trusted, &signed(&sales, &header, &claims().to_string()), "unsigned_key");
        let unsigned =
            format!("{}.{body}.", URL_SAFE_NO_PAD.encode(with(self::header(), "alg", algorithm.into())));
        check(&trusted, &unsigned, "unsigned_key");
    }
}

#[test]
fn r6_the_public_key_as_a_shared_secret_signs_nothing() {
    let (sales, trusted) = issuer("sales");
    let line: Value = serde_json::from_str(&sales.public_line()).expect("it is JSON");
    let public = URL_SAFE_NO_PAD.decode(line["x"].as_str().expect("text")).expect("canonical");
    for (algorithm, code) in [("HS256", "unsigned_key"), ("EdDSA", "bad_signature")] {
        let header = with(header(), "alg", algorithm.into());
        let text =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims().to_string()));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &public), text.as_bytes());
        check(&trusted, &format!("{text}.{}", URL_SAFE_NO_PAD.encode(tag)), code);
    }
}

#[test]
fn r6_a_foreign_issuer_is_told_as_such_and_cannot_take_the_name_of_another() {
    let (sales, trusted) = issuer("sales");
    let (foreign, _) = issuer("foreign");
    assert!(check(&trusted, &key(&foreign), "unknown_issuer").contains("`foreign`"));
    let (twin, its_own) = issuer("sales");
    check(&trusted, &key(&twin), "bad_signature");
    check(&its_own, &key(&sales), "bad_signature");
    check(&Issuers::default(), &key(&sales), "unknown_issuer");
    let renamed = with(header(), "kid", "foreign".into());
    check(&trusted, &signed(&sales, &renamed, &claims().to_string()), "unknown_issuer");
    let two = with(claims(), "iss", "foreign".into());
    check(&trusted, &signed(&sales, &header().to_string(), &two), "malformed_key");
}

#[test]
fn r6_claims_are_not_looked_at_before_the_signature_holds() {
    let (sales, trusted) = issuer("sales");
    let (twin, _) = issuer("sales");
    for claims in ["", "{", "[]", r#"{"iss":7}"#] {
        check(&trusted, &signed(&twin, &header().to_string(), claims), "bad_signature");
        check(&trusted, &signed(&sales, &header().to_string(), claims), "malformed_key");
    }
}

#[test]
fn r6_a_header_has_its_members_once_and_no_others() {
    let (sales, trusted) = issuer("sales");
    let array = json!(["EdDSA", "sales", TYPE]).to_string();
    for header in [
        with(header(), "crit", json!(["exp"])),
        with(header(), "b64", json!(false)),
        with(header(), "typ", json!("JWT")),
        with(header(), "kid", json!("a:b")),
        with(header(), "kid", json!("x".repeat(25))),
        with(header(), "kid", json!(7)),
        with(header(), "alg", json!(["EdDSA"])),
        without(header(), "alg"),
        without(header(), "kid"),
        without(header(), "typ"),
        format!(r#"{{"alg":"EdDSA",{}"#, &header().to_string()[1..]),
        format!("{}x", header()),
        array,
        "null".to_owned(),
        "\u{feff}{}".to_owned(),
    ] {
        check(&trusted, &signed(&sales, &header, &claims().to_string()), "malformed_key");
    }
}

#[test]
fn r6_claims_have_their_members_once_each_of_its_type_and_no_others() {
    let (sales, trusted) = issuer("sales");
    let runs =
        |count: Value, tokens: Value| with(claims(), "licenses", json!([{"count": count, "tokens": tokens}]));
    let twice = |name: &str| format!(r#"{{"{name}":{},{}"#, claims()[name], &claims().to_string()[1..]);
    let array = json!(["sales", "K-1", SECOND, []]).to_string();
    for claims in [
        twice("iss"),
        twice("jti"),
        twice("iat"),
        twice("licenses"),
        claims().to_string().replace(r#""count":2"#, r#""count":2,"count":2"#),
        with(claims(), "exp", json!(SECOND)),
        with(claims(), "aud", json!("acme")),
        without(claims(), "iss"),
        without(claims(), "jti"),
        without(claims(), "iat"),
        without(claims(), "licenses"),
        with(claims(), "jti", json!("")),
        with(claims(), "jti", json!("a b")),
        with(claims(), "jti", json!("x".repeat(57))),
        with(claims(), "jti", json!(1)),
        with(claims(), "iat", json!(0)),
        with(claims(), "iat", json!(-1)),
        with(claims(), "iat", json!(1.5)),
        with(claims(), "iat", json!("2026")),
        with(claims(), "iat", json!(u64::MAX)),
        with(claims(), "licenses", json!([])),
        with(claims(), "licenses", json!({})),
        with(claims(), "licenses", json!([10])),
        with(claims(), "licenses", json!([{"count": 1, "tokens": 1, "until": 0}])),
        runs(json!(0), json!(1)),
        runs(json!(-1), json!(1)),
        runs(json!(KEY_LICENSES_MAX + 1), json!(1)),
        runs(json!(u64::MAX), json!(1)),
        runs(json!("1"), json!(1)),
        runs(json!(1), json!(0)),
        runs(json!(1), json!("1")),
        runs(json!(1), json!(1.0)),
        runs(json!(1), json!(POOL_TOKENS_MAX + 1)),
        runs(json!(2), json!(POOL_TOKENS_MAX)),
        runs(json!(1), json!(u64::MAX)),
        claims().to_string().replace(r#""tokens":10"#, r#""tokens":18446744073709551616"#),
        with(claims(), "licenses", json!(vec![json!({"count": 1, "tokens": 1}); KEY_LICENSES_MAX + 1])),
        with(claims(), "licenses", json!([{"count": u64::MAX, "tokens": 1}, {"count": 1, "tokens": 1}])),
        array,
    ] {
        check(&trusted, &signed(&sales, &header().to_string(), &claims), "malformed_key");
    }
}

#[test]
fn r6_every_key_within_its_bounds_fits_and_a_longer_text_is_refused_unread() {
    let (sales, trusted) = issuer(&"x".repeat(24));
    let most = POOL_TOKENS_MAX / 1_001;
    let sizes: Vec<_> = (0..1_000).map(|n| (1, Tokens(most + n % 2))).collect();
    let text = sales.issue(&"k".repeat(34), &sizes, at(SECOND)).expect("within bounds");
    let granted = verify(&text, &trusted).expect("it fits").key.grants;
    assert!(granted.iter().eq(sizes.iter().map(|(_, tokens)| tokens)));
    check(&trusted, &"e".repeat(LICENSE_KEY_BYTES_MAX + 1), "malformed_key");
    check(&trusted, &"e".repeat(LICENSE_KEY_BYTES_MAX), "unsigned_key");
}

#[test]
fn r6_an_issuer_issues_nothing_that_a_server_would_refuse() {
    let (sales, _) = issuer("sales");
    let one = (1, Tokens(1));
    for (id, sizes) in [
        ("", &[one][..]),
        ("a b", &[one]),
        (&"x".repeat(57), &[one]),
        ("K", &[]),
        ("K", &[(0, Tokens(1))]),
        ("K", &[(1, Tokens(0))]),
        ("K", &[(2, Tokens(POOL_TOKENS_MAX))]),
        ("K", &[(KEY_LICENSES_MAX, Tokens(1)), one]),
        ("K", &[(usize::MAX, Tokens(1)), one]),
    ] {
        let error = sales.issue(id, sizes, at(SECOND)).expect_err(id);
        assert!(error.to_string().starts_with("no license key was issued: "), "{error}");
    }
}

#[test]
fn an_issuer_is_read_back_from_a_file_that_only_its_owner_may_read() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("issuer");
    let made = Issuer::create(&path, None).expect("a new file");
    assert!(made.name().as_str().starts_with("issuer-"), "{}", made.name());
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    let (first, text) = (std::fs::read_to_string(&path).expect("readable"), made.public_line());
    assert!(Issuer::create(&path, None).is_err(), "an issuer is never written over");
    assert_eq!(std::fs::read_to_string(&path).expect("readable"), first);
    let again = Issuer::open(&path).expect("its own file");
    assert_eq!((again.public_line(), key(&again)), (text.clone(), key(&made)));
    assert!(
        !text.contains("\"d\"") && !format!("{again:?}").contains(&first[first.len() - 20..first.len() - 3])
    );
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("ours");
    assert!(Issuer::open(&path).expect_err("others may read it").to_string().contains("chmod 600"));
}

#[test]
fn a_list_of_issuers_names_the_line_that_is_wrong() {
    let (sales, _) = issuer("sales");
    let (other, _) = issuer("other");
    let list = format!("# whom we trust\n\n{}\n{}\n", sales.public_line(), other.public_line());
    assert_eq!(Issuers::parse(&list).expect("two issuers").len(), 2);
    assert!(Issuers::parse("").expect("nobody").is_empty());
    let line = sales.public_line();
    let rsa = line.replace("OKP", "RSA");
    let short = with(serde_json::from_str(&line).expect("it is JSON"), "x", json!("AAAA"));
    let private = with(serde_json::from_str(&line).expect("it is JSON"), "d", json!("AAAA"));
    for (wrong, why) in [
        (line.as_str(), "stands twice"),
        (&rsa, "ed25519"),
        (&short, "32 bytes"),
        (&private, "a private key"),
        (&line.replace("sales", "a:b"), "name of an issuer"),
        ("sales", "json web key"),
    ] {
        let error = Issuers::parse(&format!("{line}\n{wrong}\n")).expect_err(wrong);
        assert!(error.starts_with("line 2: ") && error.contains(why), "{error}");
    }
}

#[test]
fn a_list_that_cannot_be_used_never_replaces_one_that_is_in_use() {
    let (sales, _) = issuer("sales");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), sales.public_line()).expect("written");
    let trusted = Trusted::load(Some(file.path())).expect("a list");
    std::fs::write(file.path(), "{").expect("written");
    assert!(trusted.reload().expect_err("no list").to_string().contains("line 1"));
    assert!(trusted.verify(&key(&sales)).is_ok());
    std::fs::write(file.path(), "").expect("written");
    trusted.reload().expect("an empty list");
    assert_eq!(trusted.verify(&key(&sales)).map_err(|error| error.code()), Err("unknown_issuer"));
    assert!(Trusted::load(None).expect("nobody").verify(&key(&sales)).is_err());
}
