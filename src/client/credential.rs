//! What a client shows to be let in, and where the next one comes from when it ends.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tonic::metadata::{Ascii, MetadataValue};

use super::error::Error;

/// The code of having nothing to show.
const NONE: &str = "no_credential";

/// What a client shows to be let in: an API key, or a token that ends and is renewed.
///
/// One that is renewed is asked for before every call, and before every connection of a stream. A stream whose token ended connects again
/// with the next one and sends again what was not acknowledged, under the same ids; while there is only the old one it keeps
/// trying, with the pauses of [`Config`](super::Config), and [`Lag::is_connected`](super::Lag::is_connected) is false.
///
/// ```
/// use tokenweir::client::{Config, Credential};
///
/// let by_key = Config::new("http://127.0.0.1:8081", "weir_...");
/// let by_file = Config::new("http://127.0.0.1:8081", Credential::file("/run/secrets/token"));
/// let by_function = Config::new("http://127.0.0.1:8081", Credential::renewed(|| Ok("eyJ...".to_owned())));
/// ```
#[derive(Clone)]
pub struct Credential(Source);

#[derive(Clone)]
enum Source {
    Fixed(String),
    File(PathBuf),
    Function(Arc<dyn Fn() -> Result<String, String> + Send + Sync>),
}

impl Credential {
    /// An API key, or a token, that stays the same as long as the client lives.
    #[must_use]
    pub fn fixed(secret: impl Into<String>) -> Self {
        Self(Source::Fixed(secret.into()))
    }

    /// What stands in a file, without spaces around it. It is read again each time: whoever renews the token replaces the file.
    #[must_use]
    pub fn file(path: impl AsRef<Path>) -> Self {
        Self(Source::File(path.as_ref().to_owned()))
    }

    /// What a function gives, or why it has nothing to give. It is asked on threads of the runtime, so it answers at once: let a task
    /// of its own fetch the next token before the present one ends.
    #[must_use]
    pub fn renewed(give: impl Fn() -> Result<String, String> + Send + Sync + 'static) -> Self {
        Self(Source::Function(Arc::new(give)))
    }

    /// What stands in the metadata of a call.
    ///
    /// # Errors
    /// [`Error::Key`] when what stays the same cannot be sent; what is renewed may be had later.
    pub(super) fn authorization(&self) -> Result<MetadataValue<Ascii>, Error> {
        let later = |why: String| Error::Unavailable { code: NONE.to_owned(), detail: why };
        let sendable = |secret: &str| format!("Bearer {secret}").parse().map_err(|_| Error::Key);
        let secret = match &self.0 {
            Source::Fixed(secret) => return sendable(secret),
            Source::File(path) => std::fs::read_to_string(path)
                .map_err(|error| later(format!("the token in {} cannot be read: {error}", path.display())))?,
            Source::Function(give) => give().map_err(later)?,
        };
        let secret = secret.trim();
        if secret.is_empty() {
            return Err(later("there is no token where it should be".to_owned()));
        }
        sendable(secret).map_err(|error| later(error.to_string()))
    }

    /// What is to be made of an error: a server that refuses a token may take the one that it is renewed by.
    pub(super) fn judge(&self, error: Error) -> Error {
        match error {
            Error::Refused { code, detail } if self.is_renewed() && is_of_credential(&code) => {
                tracing::warn!(code, detail, "the server does not take the token; the next one is tried");
                Error::Unavailable { code, detail }
            }
            error => error,
        }
    }

    fn is_renewed(&self) -> bool {
        !matches!(self.0, Source::Fixed(_))
    }
}

/// Whether a failure with this code is about what the client shows, or has not got to show.
pub(super) fn is_of_credential(code: &str) -> bool {
    ["unauthenticated", NONE].contains(&code) || code.starts_with("token_")
}

impl From<String> for Credential {
    fn from(secret: String) -> Self {
        Self::fixed(secret)
    }
}

impl From<&str> for Credential {
    fn from(secret: &str) -> Self {
        Self::fixed(secret)
    }
}

impl From<&String> for Credential {
    fn from(secret: &String) -> Self {
        Self::fixed(secret)
    }
}

/// Says where it comes from, and never what it is.
impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::Fixed(_) => f.write_str("Credential::fixed(..)"),
            Source::File(path) => write!(f, "Credential::file({})", path.display()),
            Source::Function(_) => f.write_str("Credential::renewed(..)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_shows_is_read_anew_each_time_and_never_written_to_a_log() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("token");
        let credential = Credential::file(&path);
        let told = || match credential.authorization() {
            Ok(value) => value.to_str().expect("text").to_owned(),
            Err(error) => format!("{} {}", error.code(), error.is_retryable()),
        };
        assert_eq!(told(), "no_credential true");
        for (held, shown) in [
            ("one\n", "Bearer one"),
            ("  two", "Bearer two"),
            ("\n", "no_credential true"),
            ("a\nb", "no_credential true"),
        ] {
            std::fs::write(&path, held).expect("written");
            assert_eq!(told(), shown, "{held:?}");
        }
        assert_eq!(Credential::from("a\nb").authorization().expect_err("no such key"), Error::Key);
        assert!(!format!("{:?}", Credential::from("secret")).contains("secret"));
    }

    #[test]
    fn a_refused_token_ends_a_client_only_if_it_stays_the_same() {
        let refused = |code: &str| Error::Refused { code: code.to_owned(), detail: String::new() };
        let renewed = Credential::renewed(|| Ok("x".to_owned()));
        for code in ["unauthenticated", "token_expired", "token_invalid", "token_revoked"] {
            assert!(renewed.judge(refused(code)).is_retryable(), "{code}");
            assert!(!Credential::from("x").judge(refused(code)).is_retryable(), "{code}");
        }
        assert!(!renewed.judge(refused("forbidden")).is_retryable());
    }
}
