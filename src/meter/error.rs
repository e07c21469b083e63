//! Why a call gave no result.

use crate::actors::messages::Unavailable;
use crate::domain::refusal::{Invalid, Refusal};

/// Why a call gave no result: it was refused, or the meter could not serve it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It was refused; nothing was changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The meter could not serve it; the message says whether anything may have been recorded.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl Error {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.code(),
            Self::Unavailable(Unavailable::Poisoned { .. }) => "poisoned",
            Self::Unavailable(Unavailable::Rebuilding) => "rebuilding",
            Self::Unavailable(Unavailable::Unaudited { .. }) => "unaudited",
            Self::Unavailable(Unavailable::Elsewhere { .. }) => "elsewhere",
            Self::Unavailable(Unavailable::Closing) => "closing",
        }
    }

    /// Whether the same request, under the same id, may succeed later without any change by its caller.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.is_retryable(),
            Self::Unavailable(_) => true,
        }
    }
}

impl From<Invalid> for Error {
    fn from(invalid: Invalid) -> Self {
        Self::Refused(invalid.into())
    }
}
