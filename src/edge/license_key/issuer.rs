//! Issuers of license keys: their names, the key that signs, and the list of those that are trusted.
//!
//! Both files hold JSON Web Keys (RFC 7517, RFC 8037), whose `kid` is the issuer's name: the issuer's own file one with the private
//! part `d`, the list one without it on each line. Invariants: a private key is written once, readable by its owner alone, and
//! not read where others may read it; a list never holds one. Deliberately absent: a password on the file, and two keys
//! under one name.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::domain::limits::{ISSUER_BYTES_MAX, ISSUERS_MAX};
use crate::meter::{KeyId, Timestamp, Tokens};

use super::IssueError;

const KEY_BYTES: usize = 32;

/// The name of an issuer: text as of an id, without a colon, of at most 24 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IssuerName(KeyId);

/// Why a file of an issuer or of issuers cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {cause}", path.display())]
pub struct IssuerFileError {
    path: PathBuf,
    cause: String,
}

/// An issuer with the key that signs.
#[derive(Debug)]
pub struct Issuer {
    name: IssuerName,
    pair: Ed25519KeyPair,
}

/// The issuers that are trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Issuers(BTreeMap<IssuerName, PublicKey>);

/// The key that an issuer's signatures are verified with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PublicKey([u8; KEY_BYTES]);

/// A JSON Web Key. Members beyond these are passed over, as RFC 7517 demands.
#[derive(Serialize, Deserialize)]
struct Jwk {
    kty: String,
    crv: String,
    kid: String,
    x: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    d: Option<String>,
}

impl IssuerName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for IssuerName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fits = text.len() <= ISSUER_BYTES_MAX && !text.contains(':');
        let name = KeyId::new(text).ok().filter(|_| fits).map(Self);
        name.ok_or_else(|| {
            format!("the name of an issuer is 1 to {ISSUER_BYTES_MAX} bytes of letters, digits, and . _ -")
        })
    }
}

impl fmt::Display for IssuerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Issuer {
    /// Makes an issuer and writes it to a file that is not there yet, readable by its owner alone. Without a name it gets one
    /// that follows from its key.
    ///
    /// # Errors
    /// When the file is there, or cannot be written.
    pub fn create(path: &Path, name: Option<IssuerName>) -> Result<Self, IssuerFileError> {
        let mut seed = [0; KEY_BYTES];
        getrandom::fill(&mut seed).map_err(|error| fault(path, error))?;
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|error| fault(path, error))?;
        let public = URL_SAFE_NO_PAD.encode(pair.public_key());
        let name = match name {
            Some(name) => name,
            None => format!("issuer-{}", &public[..8]).parse().map_err(|error| fault(path, error))?,
        };
        let issuer = Self { name, pair };
        let file = File::options().write(true).create_new(true).mode(0o600).open(path);
        let mut file = file.map_err(|error| fault(path, error))?;
        let jwk = Jwk { d: Some(URL_SAFE_NO_PAD.encode(seed)), ..issuer.jwk() };
        writeln!(file, "{}", line(&jwk))
            .and_then(|()| file.sync_all())
            .map_err(|error| fault(path, error))?;
        Ok(issuer)
    }

    /// Reads an issuer from its file.
    ///
    /// # Errors
    /// When the file cannot be read, may be read by others than its owner, or is not that of an issuer.
    pub fn open(path: &Path) -> Result<Self, IssuerFileError> {
        let (text, mode) = read(path)?;
        if mode & 0o077 != 0 {
            let why = "others than its owner may read it, so who else can sign is not known; `chmod 600` it if it was never read";
            return Err(fault(path, why));
        }
        let (name, public, jwk) = parse(&text).map_err(|cause| fault(path, cause))?;
        let private = jwk.d.as_deref().and_then(bytes);
        let private = private.ok_or_else(|| fault(path, "it holds no private key of an issuer (`d`)"))?;
        let pair = Ed25519KeyPair::from_seed_and_public_key(&private, &public.0);
        let pair =
            pair.map_err(|_| fault(path, "its private key (`d`) is not that of its public key (`x`)"))?;
        Ok(Self { name, pair })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &IssuerName {
        &self.name
    }

    /// The line that trusts it, for the list of a server.
    #[must_use]
    pub fn public_line(&self) -> String {
        line(&self.jwk())
    }

    /// Signs a license key for licenses of these sizes: how many, of how many tokens each. `id` must be unique among the keys of
    /// the issuer: of two with one id, only the first can be claimed.
    ///
    /// # Errors
    /// [`IssueError`] when the id or the licenses are out of their bounds.
    pub fn issue(&self, id: &str, sizes: &[(usize, Tokens)], at: Timestamp) -> Result<String, IssueError> {
        super::write(self, id, sizes, at)
    }

    pub(super) fn sign(&self, message: &[u8]) -> impl AsRef<[u8]> + use<> {
        self.pair.sign(message)
    }

    fn jwk(&self) -> Jwk {
        let x = URL_SAFE_NO_PAD.encode(self.pair.public_key());
        Jwk { kty: "OKP".to_owned(), crv: "Ed25519".to_owned(), kid: self.name.to_string(), x, d: None }
    }
}

impl Issuers {
    /// Reads a list: one public key a line. Empty lines, and those that begin with `#`, are passed over.
    ///
    /// # Errors
    /// When the file cannot be read or a line is no public key of an issuer, or a name stands twice.
    pub fn open(path: &Path) -> Result<Self, IssuerFileError> {
        let (text, _) = read(path)?;
        Self::parse(&text).map_err(|cause| fault(path, cause))
    }

    /// Reads a list from its text.
    ///
    /// # Errors
    /// As [`Self::open`], with the number of the line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut issuers = BTreeMap::new();
        let lines = text.lines().zip(1_u32..).map(|(line, number)| (line.trim(), number));
        for (line, number) in lines.filter(|(line, _)| !line.is_empty() && !line.starts_with('#')) {
            let wrong = |cause: &str| format!("line {number}: {cause}");
            let (name, public, jwk) = parse(line).map_err(|cause| wrong(&cause))?;
            if jwk.d.is_some() {
                return Err(wrong(
                    "it holds a private key; list the line that `weir license issuer new` printed",
                ));
            }
            if issuers.insert(name, public).is_some() {
                return Err(wrong("its issuer stands twice; give a new key a new name"));
            }
            if issuers.len() > ISSUERS_MAX {
                return Err(wrong(&format!("at most {ISSUERS_MAX} issuers are trusted")));
            }
        }
        Ok(Self(issuers))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nobody is trusted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn find(&self, name: &IssuerName) -> Option<&PublicKey> {
        self.0.get(name)
    }
}

impl PublicKey {
    pub(super) fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(message, signature).is_ok()
    }
}

fn read(path: &Path) -> Result<(String, u32), IssuerFileError> {
    let read = || {
        let mut file = File::open(path)?;
        let mode = file.metadata()?.mode();
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        Ok((text, mode))
    };
    read().map_err(|error: std::io::Error| fault(path, error))
}

fn parse(text: &str) -> Result<(IssuerName, PublicKey, Jwk), String> {
    let jwk: Jwk = serde_json::from_str(text).map_err(|error| format!("no json web key: {error}"))?;
    if (jwk.kty.as_str(), jwk.crv.as_str()) != ("OKP", "Ed25519") {
        return Err("no key of ed25519 (`kty` OKP, `crv` Ed25519)".to_owned());
    }
    let public = bytes(&jwk.x).ok_or("its public key (`x`) is not 32 bytes in base64url without padding")?;
    Ok((jwk.kid.parse()?, PublicKey(public), jwk))
}

fn bytes(text: &str) -> Option<[u8; KEY_BYTES]> {
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

fn line(jwk: &Jwk) -> String {
    serde_json::to_string(jwk).expect("text is JSON")
}

fn fault(path: &Path, cause: impl fmt::Display) -> IssuerFileError {
    IssuerFileError { path: path.to_owned(), cause: cause.to_string() }
}
