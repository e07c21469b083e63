//! An issuer of tokens with a key of its own, and the list that has a server trust it.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;

/// An issuer of tokens, called `corp`.
pub(crate) struct Signer {
    kid: String,
    key: EncodingKey,
}

impl Signer {
    /// An issuer whose key has this name, trusted by the list `tokens.toml` of a directory.
    pub(crate) fn trusted(directory: &Path, kid: &str) -> Self {
        let pair = rcgen::KeyPair::generate().expect("random bytes");
        let signer = Self { kid: kid.to_owned(), key: EncodingKey::from_ec_der(&pair.serialize_der()) };
        let mut jwk = Jwk::from_encoding_key(&signer.key, Algorithm::ES256).expect("a public key");
        jwk.common.key_id = Some(signer.kid.clone());
        std::fs::write(directory.join("jwks.json"), json!({"keys": [jwk]}).to_string()).expect("written");
        let list = format!(
            "skew_s = 0\n[[issuer]]\nname = \"corp\"\nissuer = \"https://id.example\"\naudience = \"tokenweir\"\n\
             algorithm = \"ES256\"\njwks = \"{}\"\nroles = [\"operator\", \"admin\", \"viewer\", \"gateway\"]\n",
            directory.join("jwks.json").display()
        );
        std::fs::write(Self::list(directory), list).expect("written");
        signer
    }

    /// The list of issuers in a directory.
    pub(crate) fn list(directory: &Path) -> PathBuf {
        directory.join("tokens.toml")
    }

    /// A token of `ann` with these roles, which ends so many seconds from now.
    pub(crate) fn token(&self, roles: &[&str], seconds: i64) -> String {
        let now = SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_secs();
        let until = now.saturating_add_signed(seconds);
        let claims = json!({
            "iss": "https://id.example", "aud": "tokenweir", "sub": "ann", "exp": until, "tokenweir": roles,
        });
        let header = Header { kid: Some(self.kid.clone()), ..Header::new(Algorithm::ES256) };
        encode(&header, &claims, &self.key).expect("signed")
    }
}
