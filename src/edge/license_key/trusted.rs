//! The issuers that a server trusts, and their replacement while it serves.
//!
//! A list that cannot be used never takes the place of one that is in use. Without a list nobody is trusted.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use super::{IssuerFileError, Issuers, KeyError, SignedKey, verify};

/// The issuers that a server trusts.
#[derive(Debug)]
pub struct Trusted {
    file: Option<PathBuf>,
    now: RwLock<Arc<Issuers>>,
}

impl Trusted {
    /// Reads the list, if there is one.
    ///
    /// # Errors
    /// When it cannot be read or used.
    pub fn load(file: Option<&Path>) -> Result<Self, IssuerFileError> {
        let issuers = file.map(Issuers::open).transpose()?.unwrap_or_default();
        Ok(Self { file: file.map(Path::to_owned), now: RwLock::new(Arc::new(issuers)) })
    }

    /// Reads the list again; keys that come later are judged by it.
    ///
    /// # Errors
    /// As [`Self::load`]; then the old list is kept.
    pub fn reload(&self) -> Result<(), IssuerFileError> {
        if let Some(file) = &self.file {
            let read = Arc::new(Issuers::open(file)?);
            *self.now.write().unwrap_or_else(PoisonError::into_inner) = read;
        }
        Ok(())
    }

    /// Reads a key that one of them signed.
    ///
    /// # Errors
    /// As [`verify`].
    pub fn verify(&self, text: &str) -> Result<SignedKey, KeyError> {
        let issuers = Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner));
        verify(text, &issuers)
    }
}
