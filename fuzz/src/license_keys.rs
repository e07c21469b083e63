//! Signed license keys, and the list of issuers that a server believes.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokenweir::edge::license_key::{Issuer, Issuers, KeyError, SignedKey, read, verify};
use tokenweir::meter::{Timestamp, Tokens};

use crate::bounded::{CLAIMED, bounded};

const HEADER: &str = r#"{"alg":"EdDSA","kid":"sales","typ":"weir-license+jwt"}"#;

/// The issuer that is trusted, and the only key that it ever issued.
static TRUSTED: LazyLock<(Issuers, String)> = LazyLock::new(|| {
    let file = std::env::temp_dir().join(format!("weir-fuzz-issuer-{}", std::process::id()));
    let issuer = Issuer::create(&file, Some("sales".parse().expect("valid"))).expect("a new file");
    std::fs::remove_file(file).expect("just made");
    let at = Timestamp::from_ms(1_767_225_600_000).expect("in range");
    let key = issuer.issue("K-1", &[(2, Tokens(10)), (1, Tokens(5))], at).expect("within bounds");
    (Issuers::parse(&issuer.public_line()).expect("its own line"), key)
});

/// The first byte chooses what the rest is read as.
pub fn fuzz(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else { return };
    match choice % 4 {
        0 => judge(&String::from_utf8_lossy(data)),
        1 => judge(&altered(data)),
        2 => judge(&in_segments([HEADER.as_bytes(), data, &[0; 64]])),
        _ => drop(bounded(data.len(), (CLAIMED, 64), || Issuers::parse(&String::from_utf8_lossy(data)))),
    }
}

/// What is believed is what the issuer issued, and nothing else.
fn judge(text: &str) {
    let (issuers, issued) = &*TRUSTED;
    match bounded(text.len(), (CLAIMED, 64), || verify(text, issuers)) {
        Ok(key) => {
            assert_eq!(text.trim(), issued);
            keeps_its_bounds(&key);
        }
        Err(error) => assert!(!error.to_string().is_empty() && !error.code().is_empty()),
    }
    if let Ok(key) = read(text) {
        keeps_its_bounds(&key);
        let told = verify(text, issuers);
        let is_refused = matches!(told, Err(KeyError::BadSignature | KeyError::UnknownIssuer(_)));
        assert!(is_refused || text.trim() == issued, "{told:?}");
    }
}

fn keeps_its_bounds(key: &SignedKey) {
    assert!(key.key.tokens().is_ok(), "{key:?}");
    assert!(key.key.id.as_str().starts_with(&format!("{}:", key.issuer.as_str())), "{key:?}");
}

/// The issued key with some of its bytes changed: pairs of a place and a mask.
fn altered(data: &[u8]) -> String {
    let mut key = TRUSTED.1.clone().into_bytes();
    for pair in data.chunks_exact(3) {
        let place = usize::from(u16::from_le_bytes([pair[0], pair[1]])) % key.len();
        key[place] ^= pair[2];
    }
    String::from_utf8_lossy(&key).into_owned()
}

pub(crate) fn in_segments(segments: [&[u8]; 3]) -> String {
    segments.map(|segment| URL_SAFE_NO_PAD.encode(segment)).join(".")
}
