//! The file of token issuers: whose tokens are believed, how they are checked, and what they may say.
//!
//! Every bound is checked here, so that what is loaded can be used as it stands. An algorithm that is no signature by a private key
//! (`none`, `HS256` and its like) cannot be set at all.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use config::{File, FileFormat};
use jsonwebtoken::{Algorithm, AlgorithmFamily};
use serde::{Deserialize, Deserializer};

use crate::meter::{OrgId, Role};

/// Most issuers of a file.
const ISSUERS_MAX: usize = 16;
/// Longest name of an issuer: it begins the name under which acts are recorded.
const NAME_BYTES_MAX: usize = 24;
/// Longest text of any other setting.
const TEXT_BYTES_MAX: usize = 1_024;

/// Why a file of token issuers cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {cause}", path.display())]
pub struct TokenIssuersError {
    path: PathBuf,
    cause: String,
}

/// What the file says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    /// By how much clocks may differ, in seconds.
    #[serde(default = "skew_default")]
    pub(super) skew_s: u64,
    /// Who signs tokens.
    #[serde(rename = "issuer", default)]
    pub(super) issuers: Vec<IssuerSettings>,
}

/// One issuer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IssuerSettings {
    /// What acts of its subjects are recorded under, before a colon.
    pub(super) name: String,
    /// What its tokens have as `iss`.
    pub(super) issuer: String,
    /// What its tokens have in `aud`.
    pub(super) audience: String,
    /// The one algorithm that it signs with.
    #[serde(deserialize_with = "algorithm")]
    pub(super) algorithm: Algorithm,
    /// Where its keys are: a file, or an address that begins with `https://` or `http://`.
    pub(super) jwks: String,
    /// Authorities of the server at that address, in PEM; those of this machine where absent.
    pub(super) ca: Option<PathBuf>,
    /// How long an answer of it may take.
    #[serde(default = "timeout_default")]
    pub(super) timeout_ms: u64,
    /// After how long its keys are fetched again.
    #[serde(default = "refresh_default")]
    pub(super) refresh_s: u64,
    /// How long keys are believed that could not be fetched again.
    #[serde(default = "max_age_default")]
    pub(super) max_age_s: u64,
    /// The claim with the roles: a name, or a pointer that begins with a slash.
    #[serde(default = "claim_default")]
    pub(super) claim: String,
    /// The roles that it may give.
    #[serde(default = "roles_default")]
    pub(super) roles: Vec<Role>,
    /// The organizations that it may give them in; all where absent.
    pub(super) organizations: Option<Vec<OrgId>>,
    /// Tokens that are refused, by their `jti`.
    #[serde(default)]
    pub(super) revoked_tokens: Vec<String>,
    /// Subjects whose tokens are refused.
    #[serde(default)]
    pub(super) revoked_subjects: Vec<String>,
}

impl TokenIssuersError {
    pub(super) fn new(path: &Path, cause: &impl ToString) -> Self {
        Self { path: path.to_owned(), cause: cause.to_string() }
    }
}

impl Settings {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, or says what cannot be.
    pub(super) fn read(path: &Path) -> Result<Self, TokenIssuersError> {
        let file = config::Config::builder().add_source(File::from(path).format(FileFormat::Toml)).build();
        let read: Result<Self, _> = file.and_then(config::Config::try_deserialize);
        let settings = read.map_err(|error| TokenIssuersError::new(path, &error))?;
        settings.check().map_err(|cause| TokenIssuersError::new(path, &cause))?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), String> {
        within("skew_s", self.skew_s, 0, 300)?;
        if self.issuers.is_empty() || self.issuers.len() > ISSUERS_MAX {
            return Err(format!("it names 1 to {ISSUERS_MAX} issuers, each as [[issuer]]"));
        }
        for (place, issuer) in self.issuers.iter().enumerate() {
            issuer.check().map_err(|cause| format!("issuer `{}`: {cause}", issuer.name))?;
            let others = &self.issuers[..place];
            if others.iter().any(|other| other.name == issuer.name || other.issuer == issuer.issuer) {
                return Err(format!("issuer `{}`: its name or its issuer stands twice", issuer.name));
            }
        }
        Ok(())
    }
}

impl IssuerSettings {
    fn check(&self) -> Result<(), String> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if self.name.is_empty() || self.name.len() > NAME_BYTES_MAX || !self.name.bytes().all(plain) {
            return Err(format!(
                "`name` is 1 to {NAME_BYTES_MAX} letters, digits, dots, dashes, underscores"
            ));
        }
        let texts = [("issuer", &self.issuer), ("audience", &self.audience), ("claim", &self.claim)];
        for (name, text) in texts.into_iter().chain([("jwks", &self.jwks)]) {
            if text.is_empty() || text.len() > TEXT_BYTES_MAX {
                return Err(format!("`{name}` is text of 1 to {TEXT_BYTES_MAX} bytes"));
            }
        }
        within("timeout_ms", self.timeout_ms, 100, 30_000)?;
        within("refresh_s", self.refresh_s, 10, 86_400)?;
        within("max_age_s", self.max_age_s, self.refresh_s, 7 * 86_400)
    }
}

fn within(name: &str, found: u64, least: u64, most: u64) -> Result<(), String> {
    let fits = (least..=most).contains(&found);
    if fits { Ok(()) } else { Err(format!("`{name}` is {least} to {most}, not {found}")) }
}

fn algorithm<'de, D: Deserializer<'de>>(from: D) -> Result<Algorithm, D::Error> {
    let text = String::deserialize(from)?;
    let named = if text == "RS512" { Ok(Algorithm::RS512) } else { Algorithm::from_str(&text) };
    named.ok().filter(|algorithm| algorithm.family() != AlgorithmFamily::Hmac).ok_or_else(|| {
        let expected = "one of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA";
        serde::de::Error::custom(format!("`algorithm` is {expected}, not `{text}`"))
    })
}

fn skew_default() -> u64 {
    30
}

fn claim_default() -> String {
    "tokenweir".to_owned()
}

fn roles_default() -> Vec<Role> {
    vec![Role::Admin, Role::Viewer, Role::Gateway]
}

fn timeout_default() -> u64 {
    3_000
}

fn refresh_default() -> u64 {
    300
}

fn max_age_default() -> u64 {
    3_600
}
