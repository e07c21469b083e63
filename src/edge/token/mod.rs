//! Tokens of other issuers (JSON Web Tokens, RFC 7519): whom the server believes, and what they make of a caller.
//!
//! The algorithm is the one that is set for the issuer, and never chosen by the token; the issuer is found by its name, the
//! key by its `kid`, and nothing that a token claims is read before its signature holds but these two. Signatures are checked by the crate `jsonwebtoken`,
//! times by the clock of the meter. A list of issuers that cannot be used never takes the place of one that is in use; without a list no token is
//! believed. Deliberately absent: sessions, refreshing, and asking an issuer about a single token.

mod claims;
mod keys;
mod settings;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use jsonwebtoken::{Header, Validation, dangerous, decode, decode_header};
use serde::Deserialize;

use crate::meter::{Bearer, Principal, Timestamp};

use claims::Claims;
use keys::{Keyring, NoKey};
use settings::{IssuerSettings, Settings};

pub use settings::TokenIssuersError;

/// Longest token, in bytes.
const TOKEN_BYTES_MAX: usize = 16 << 10;

/// The issuers whose tokens a server believes.
#[derive(Debug, Default)]
pub struct Tokens {
    file: Option<PathBuf>,
    now: RwLock<Arc<Issuers>>,
}

#[derive(Debug, Default)]
struct Issuers {
    skew_s: u64,
    list: Vec<Issuer>,
}

#[derive(Debug)]
struct Issuer {
    settings: IssuerSettings,
    keys: Arc<Keyring>,
    validation: Validation,
}

/// Why a token is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is no token of a trusted issuer for this server.
    #[error("the token is not taken: {0}; nothing was done, get one from an issuer that this server trusts")]
    Invalid(&'static str),
    /// Its time is over.
    #[error("the token expired; nothing was done, get a new one from its issuer")]
    Expired,
    /// Its time has not come.
    #[error(
        "the token does not count yet; nothing was done, compare the clocks of its issuer and of this server"
    )]
    NotYetValid,
    /// It, or its subject, was revoked here.
    #[error("the token was revoked; nothing was done, ask who operates this server")]
    Revoked,
    /// The keys of its issuer are not known now.
    #[error("the keys of the token's issuer are being fetched; nothing was done, retry shortly")]
    KeysPending,
}

/// The part of the claims that finds an issuer.
#[derive(Deserialize)]
struct Claimed {
    iss: String,
}

impl TokenError {
    /// One of each kind.
    pub(super) const ALL: [Self; 5] =
        [Self::Invalid(""), Self::Expired, Self::NotYetValid, Self::Revoked, Self::KeysPending];

    /// The stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Invalid(_) => "token_invalid",
            Self::Expired => "token_expired",
            Self::NotYetValid => "token_not_yet_valid",
            Self::Revoked => "token_revoked",
            Self::KeysPending => "token_keys_pending",
        }
    }
}

impl Tokens {
    /// Reads the list of issuers, if there is one, and waits for the keys of each as long as it may take. A server without them starts, and asks again.
    ///
    /// # Errors
    /// When the list, or a file that it names, cannot be read or used.
    pub fn load(file: Option<&Path>) -> Result<Self, TokenIssuersError> {
        let issuers = file.map(|file| Issuers::read(file, &Issuers::default())).transpose()?;
        let now = RwLock::new(Arc::new(issuers.unwrap_or_default()));
        Ok(Self { file: file.map(Path::to_owned), now })
    }

    /// Reads the list, and the keys, again; what comes later is judged by them.
    ///
    /// # Errors
    /// As [`Self::load`]; then the old list is kept.
    pub fn reload(&self) -> Result<(), TokenIssuersError> {
        if let Some(file) = &self.file {
            let read = Arc::new(Issuers::read(file, &self.issuers())?);
            *self.now.write().unwrap_or_else(PoisonError::into_inner) = read;
        }
        Ok(())
    }

    /// Whom a token stands for, and until when.
    ///
    /// # Errors
    /// When it is not to be taken at this time.
    pub fn verify(
        &self,
        token: &str,
        (now, moment): (Timestamp, Instant),
    ) -> Result<(Principal, Timestamp), TokenError> {
        let issuers = self.issuers();
        let (issuer, header) = issuers.find(token)?;
        let kid = header.kid.as_deref().ok_or(TokenError::Invalid("it names no key (`kid`)"))?;
        let key = issuer.keys.find(kid, moment).map_err(|no_key| match no_key {
            NoKey::Unknown => TokenError::Invalid("its issuer has no such key"),
            NoKey::Pending => TokenError::KeysPending,
        })?;
        let not_for_us = TokenError::Invalid("its signature, its audience or a required claim is wrong");
        let verified = decode(token, &key, &issuer.validation).map_err(|_| not_for_us)?;
        let claims = Claims::new(verified.claims);
        let until = claims.check_time(now, issuers.skew_s)?;
        let bearer: Bearer = claims.bearer(&issuer.settings)?;
        Ok((Principal::Token(Arc::new(bearer)), until))
    }

    fn issuers(&self) -> Arc<Issuers> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Issuers {
    /// Reads a list; keys that an older one had are kept until newer ones come.
    fn read(file: &Path, older: &Self) -> Result<Self, TokenIssuersError> {
        let Settings { skew_s, issuers } = Settings::read(file)?;
        let list: Result<Vec<_>, _> = issuers.into_iter().map(Issuer::open).collect();
        let list = list.map_err(|cause| TokenIssuersError::new(file, &cause))?;
        for issuer in &list {
            older.list.iter().for_each(|old| issuer.keys.inherit(&old.keys));
            issuer.keys.wait();
        }
        Ok(Self { skew_s, list })
    }

    /// The issuer that a token names, if it is signed as that one signs.
    fn find(&self, token: &str) -> Result<(&Issuer, Header), TokenError> {
        let unreadable = TokenError::Invalid("it cannot be read");
        if token.len() > TOKEN_BYTES_MAX {
            return Err(unreadable);
        }
        let header = decode_header(token).map_err(|_| unreadable)?;
        let claimed: Claimed = dangerous::insecure_decode_claims(token).map_err(|_| unreadable)?;
        let issuer = self.list.iter().find(|issuer| issuer.settings.issuer == claimed.iss);
        let issuer = issuer.ok_or(TokenError::Invalid("its issuer is not trusted"))?;
        if header.alg != issuer.settings.algorithm {
            return Err(TokenError::Invalid("it is not signed by the algorithm that is set for its issuer"));
        }
        if header.crit.is_some() {
            return Err(TokenError::Invalid("it has a condition (`crit`) that is not known here"));
        }
        Ok((issuer, header))
    }
}

impl Issuer {
    fn open(settings: IssuerSettings) -> Result<Self, String> {
        let keys =
            Keyring::open(&settings).map_err(|cause| format!("issuer `{}`: {cause}", settings.name))?;
        let mut validation = Validation::new(settings.algorithm);
        validation.set_issuer(&[&settings.issuer]);
        validation.set_audience(&[&settings.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // Times are checked by the clock of the meter, and `iat` with them.
        validation.validate_exp = false;
        Ok(Self { settings, keys, validation })
    }
}
