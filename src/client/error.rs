//! Why a client gave no result.

use std::error::Error as Source;

use tonic::{Code, Status};

/// Why a client gave no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The URL of the server cannot be used.
    #[error("the url of the server cannot be used: {0}; it looks like http://127.0.0.1:8081")]
    Url(String),
    /// The authorities of the server's certificate, or the client certificate, cannot be used.
    #[error(
        "the certificates for tls cannot be used: {0}; nothing was sent, look at what the client was given"
    )]
    Certificates(String),
    /// The API key cannot be sent.
    #[error("the api key holds characters that no key has; it looks like weir_...")]
    Key,
    /// The system gave no random bytes for the names of leases.
    #[error("the system gives no random bytes: {0}; nothing was sent")]
    Random(String),
    /// The window is full.
    #[error("as many debits as the window holds are not acknowledged yet; nothing was sent, wait or drop")]
    Full,
    /// The debit cannot be sent as it is.
    #[error("the debit was not sent: {0}")]
    Invalid(#[from] crate::domain::refusal::Invalid),
    /// The server refused the call or the stream; to try again will not help.
    #[error("the server refused ({code}): {detail}")]
    Refused {
        /// Its code.
        code: String,
        /// What it said.
        detail: String,
    },
    /// The call failed; the same may succeed later.
    #[error(
        "the server cannot be reached, or not serve now ({code}): {detail}; send it again under the same id"
    )]
    Unavailable {
        /// Its code.
        code: String,
        /// What is known of the reason.
        detail: String,
    },
    /// The stream was closed before the debit was acknowledged.
    #[error("the stream was closed before this was acknowledged; send it again under the same id")]
    Closed,
}

impl Error {
    /// Whether the same, under the same id, may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Full | Self::Unavailable { .. } | Self::Closed)
    }
}

impl Error {
    /// A stable code for it: the server's, or one of the client's own.
    pub(super) fn code(&self) -> &str {
        match self {
            Self::Refused { code, .. } | Self::Unavailable { code, .. } => code,
            Self::Invalid(_) => "invalid",
            Self::Full => "full",
            Self::Closed => "closed",
            Self::Url(_) | Self::Certificates(_) | Self::Key | Self::Random(_) => "client",
        }
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        let stable = status.metadata().get("weir-code").and_then(|code| code.to_str().ok());
        let code = stable.map_or_else(|| format!("{:?}", status.code()), str::to_owned);
        // What kept a connection from being made stands in the sources.
        let detail = match status.source() {
            Some(source) => with_sources(source),
            None => status.message().to_owned(),
        };
        if is_final(status.code()) {
            Self::Refused { code, detail }
        } else {
            Self::Unavailable { code, detail }
        }
    }
}

fn is_final(code: Code) -> bool {
    matches!(
        code,
        Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Unauthenticated
    )
}

/// An error with what is behind it.
pub(super) fn with_sources(error: &(dyn Source + 'static)) -> String {
    let sources = std::iter::successors(Some(error), |error: &&'_ (dyn Source + 'static)| (*error).source());
    let mut texts: Vec<String> = sources.map(ToString::to_string).collect();
    texts.dedup();
    texts.join(": ")
}
