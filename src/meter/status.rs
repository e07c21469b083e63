//! The one table of status codes: how each answer of the meter looks on every edge.

use crate::actors::messages::Unavailable;
use crate::domain::debit::Outcome;
use crate::domain::refusal::Refusal;

use super::error::Error;

/// The HTTP status of an error.
#[must_use]
pub fn http(error: &Error) -> u16 {
    match error {
        Error::Refused(refusal) => http_of_refusal(*refusal),
        Error::Unavailable(Unavailable::Poisoned { .. } | Unavailable::Rebuilding | Unavailable::Closing) => {
            503
        }
    }
}

/// The HTTP status of a refusal.
#[must_use]
pub fn http_of_refusal(refusal: Refusal) -> u16 {
    match refusal {
        Refusal::Invalid(_) => 400,
        Refusal::InsufficientTokens => 402,
        Refusal::Forbidden => 403,
        Refusal::UnknownOrganization
        | Refusal::UnknownCamera
        | Refusal::UnknownLicense
        | Refusal::UnknownTransfer
        | Refusal::UnknownKey => 404,
        Refusal::CloudAiDisabled
        | Refusal::TooOld
        | Refusal::Conflict
        | Refusal::LicenseIsPermanent
        | Refusal::OrganizationExists
        | Refusal::LicenseKeyClaimed
        | Refusal::LicenseInUse
        | Refusal::NothingToTransfer => 409,
        Refusal::LimitReached(_) => 422,
        Refusal::Busy => 429,
        Refusal::InTransfer => 503,
    }
}

/// The stable code of what became of a debit.
#[must_use]
pub fn code(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Charged => "charged",
        Outcome::Exempt => "exempt",
        Outcome::Duplicate(_) => "duplicate",
        Outcome::Refused(refusal) => refusal.code(),
    }
}
