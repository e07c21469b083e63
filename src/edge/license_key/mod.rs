//! Signed license keys: what an issuer signs, and what a server that trusts it believes.
//!
//! A key is a JSON Web Signature in its compact form (RFC 7515), signed with Ed25519 (RFC 8037): three segments of base64url without
//! padding. The header names the algorithm, the type and the issuer; the claims name the issuer, the key, when it was
//! issued, and the licenses.
//!
//! Invariants: the algorithm is a constant, never a choice of the key. Claims are read after the signature is verified, but by
//! [`read`], whose answer nobody acts on. A member that is not known, or that stands twice, is refused: it may be a condition of a newer
//! issuer. Of two issuers' keys none has the other's id. Deliberately absent: cryptography of our own, an end of validity, and
//! whether a key was claimed, which the meter knows.

mod issuer;
mod trusted;

#[cfg(test)]
mod tests;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::error::Category;

use crate::domain::limits::{KEY_LICENSES_MAX, LICENSE_KEY_BYTES_MAX};
use crate::meter::{KeyId, LicenseKey, Timestamp, Tokens};

pub use issuer::{Issuer, IssuerFileError, IssuerName, Issuers};
pub use trusted::Trusted;

const ALGORITHM: &str = "EdDSA";
const TYPE: &str = "weir-license+jwt";

/// A license key as its issuer made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedKey {
    /// Who issued it.
    pub issuer: IssuerName,
    /// When, by the issuer's clock; to the second.
    pub issued_at: Timestamp,
    /// What is claimed. Its id is the issuer's name, a colon, and the issuer's own id of the key.
    pub key: LicenseKey,
}

/// Why a text is no license key that can be claimed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It bears no signature of the one kind that counts.
    #[error(
        "the license key is not signed with eddsa; use the key as its issuer gave it, one that begins with `ey`"
    )]
    Unsigned,
    /// It cannot be read, or says what no key may say.
    #[error("the license key cannot be read: {0}; copy it again as its issuer gave it")]
    Malformed(String),
    /// Its issuer is not trusted here.
    #[error(
        "the license key is by the issuer `{0}`, who is not trusted here; check where the key comes from"
    )]
    UnknownIssuer(IssuerName),
    /// It was altered, or signed by somebody else than it says.
    #[error(
        "the license key was altered: it does not bear its issuer's signature; copy it again as its issuer gave it"
    )]
    BadSignature,
}

/// Why a license key cannot be issued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no license key was issued: {0}")]
pub struct IssueError(String);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    kid: String,
    typ: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    iss: String,
    jti: String,
    /// Seconds since 1970.
    iat: u64,
    licenses: Vec<Grants>,
}

/// Licenses of as many tokens each.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Grants {
    count: usize,
    tokens: Tokens,
}

/// The segments of a key, of which only the header was read.
struct Parts<'a> {
    /// What is signed.
    signed: &'a str,
    issuer: IssuerName,
    claims: Vec<u8>,
    signature: Vec<u8>,
}

impl KeyError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unsigned => "unsigned_key",
            Self::Malformed(_) => "malformed_key",
            Self::UnknownIssuer(_) => "unknown_issuer",
            Self::BadSignature => "bad_signature",
        }
    }
}

/// Reads a key that one of these issuers signed. Pure: the same text and issuers always have the same answer.
///
/// # Errors
/// [`KeyError`]. Claims are looked at last: who cannot sign is told nothing of them.
pub fn verify(text: &str, issuers: &Issuers) -> Result<SignedKey, KeyError> {
    let parts = split(text)?;
    let issuer = issuers.find(&parts.issuer).ok_or_else(|| KeyError::UnknownIssuer(parts.issuer.clone()))?;
    if !issuer.signed(parts.signed.as_bytes(), &parts.signature) {
        return Err(KeyError::BadSignature);
    }
    parts.read()
}

/// Reads what a key says of itself. Whether its issuer said so is not looked at: for showing it to people only.
///
/// # Errors
/// [`KeyError::Unsigned`], [`KeyError::Malformed`].
pub fn read(text: &str) -> Result<SignedKey, KeyError> {
    split(text)?.read()
}

/// The text of a key.
fn write(issuer: &Issuer, id: &str, sizes: &[(usize, Tokens)], at: Timestamp) -> Result<String, IssueError> {
    let (iss, jti, iat) = (issuer.name().to_string(), id.to_owned(), at.ms() / 1_000);
    let header = Header { alg: ALGORITHM.into(), kid: iss.clone(), typ: TYPE.into() };
    let licenses = sizes.iter().map(|(count, tokens)| Grants { count: *count, tokens: *tokens }).collect();
    let signed = format!("{}.{}", encode(&header), encode(&Claims { iss, jti, iat, licenses }));
    let key = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(issuer.sign(signed.as_bytes())));
    match read(&key) {
        Ok(_) => Ok(key),
        Err(KeyError::Malformed(why)) => Err(IssueError(why)),
        Err(other) => unreachable!("it was just signed: {other}"),
    }
}

fn encode(part: &impl Serialize) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(part).expect("text and numbers are JSON"))
}

fn split(text: &str) -> Result<Parts<'_>, KeyError> {
    if text.len() > LICENSE_KEY_BYTES_MAX {
        return Err(malformed(format!("it is longer than {LICENSE_KEY_BYTES_MAX} bytes")));
    }
    let (signed, signature) = text.rsplit_once('.').ok_or(KeyError::Unsigned)?;
    let (header, claims) = signed.split_once('.').ok_or(KeyError::Unsigned)?;
    let header: Header = object("its header", &decode("its header", header)?)?;
    if header.alg != ALGORITHM || signature.is_empty() {
        return Err(KeyError::Unsigned);
    }
    if header.typ != TYPE {
        return Err(malformed(format!("its type is not {TYPE}")));
    }
    let issuer = header.kid.parse().map_err(|_| malformed("its issuer has no valid name"))?;
    let claims = decode("its claims", claims)?;
    Ok(Parts { signed, issuer, claims, signature: decode("its signature", signature)? })
}

impl Parts<'_> {
    fn read(self) -> Result<SignedKey, KeyError> {
        let Claims { iss, jti, iat, licenses } = object("its claims", &self.claims)?;
        if iss != self.issuer.as_str() {
            return Err(malformed("it names two issuers"));
        }
        let issued_at = iat.checked_mul(1_000).and_then(|ms| Timestamp::from_ms(ms).ok());
        let issued_at = issued_at.ok_or_else(|| malformed("it was issued at no time"))?;
        let bounds = |error: crate::meter::Invalid| malformed(error.to_string());
        let id = KeyId::new(&jti).and_then(|_| KeyId::new(&format!("{iss}:{jti}"))).map_err(bounds)?;
        let key = LicenseKey { id, grants: expand(&licenses)? };
        key.tokens().map_err(bounds)?;
        Ok(SignedKey { issuer: self.issuer, issued_at, key })
    }
}

/// The tokens of each license. What is made is bounded before it is made.
fn expand(licenses: &[Grants]) -> Result<Vec<Tokens>, KeyError> {
    let count = licenses.iter().try_fold(0_usize, |sum, grants| sum.checked_add(grants.count));
    if count.is_none_or(|count| count > KEY_LICENSES_MAX) || licenses.iter().any(|grants| grants.count == 0) {
        return Err(malformed(format!("a license key holds 1 to {KEY_LICENSES_MAX} licenses")));
    }
    let each = licenses.iter().flat_map(|grants| std::iter::repeat_n(grants.tokens, grants.count));
    Ok(each.collect())
}

/// Base64url without padding, in its one canonical form.
fn decode(what: &str, segment: &str) -> Result<Vec<u8>, KeyError> {
    let decoded = URL_SAFE_NO_PAD.decode(segment);
    decoded.map_err(|_| malformed(format!("{what} is no base64url without padding")))
}

/// One JSON object whose members are known and stand once.
fn object<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, KeyError> {
    // A structure would be read from an array too, by the order of its members.
    if bytes.first() != Some(&b'{') {
        return Err(malformed(format!("{what} is no json object")));
    }
    serde_json::from_slice(bytes).map_err(|error| match error.classify() {
        Category::Data => malformed(format!("{what}: {error}")),
        Category::Io | Category::Syntax | Category::Eof => malformed(format!("{what} is no json object")),
    })
}

fn malformed(why: impl Into<String>) -> KeyError {
    KeyError::Malformed(why.into())
}
