//! The one table of status codes: how each answer of the meter looks on every edge.

use crate::domain::debit::Outcome;
use crate::domain::refusal::Refusal;

use super::error::Error;

/// The HTTP status of an error.
#[must_use]
pub fn http(error: &Error) -> u16 {
    match error {
        Error::Refused(refusal) => http_of_refusal(*refusal),
        Error::Unavailable(_) => 503,
    }
}

/// The HTTP status of a refusal.
#[must_use]
pub fn http_of_refusal(refusal: Refusal) -> u16 {
    match refusal {
        Refusal::Invalid(_) => 400,
        Refusal::InsufficientTokens | Refusal::ReservationExceeded => 402,
        Refusal::Forbidden => 403,
        Refusal::UnknownOrganization
        | Refusal::UnknownCamera
        | Refusal::UnknownLicense
        | Refusal::UnknownReservation
        | Refusal::UnknownTransfer
        | Refusal::UnknownKey
        | Refusal::UnknownWebhook
        | Refusal::UnknownDelivery => 404,
        Refusal::CloudAiDisabled
        | Refusal::OtherNetwork
        | Refusal::Unpriced
        | Refusal::TooOld
        | Refusal::Conflict
        | Refusal::ReservationEnded
        | Refusal::LicenseIsPermanent
        | Refusal::OrganizationExists
        | Refusal::LicenseKeyClaimed
        | Refusal::LicenseInUse
        | Refusal::NothingToTransfer => 409,
        Refusal::PreconditionFailed => 412,
        Refusal::LimitReached(_) => 422,
        Refusal::Busy => 429,
        Refusal::InTransfer => 503,
    }
}

/// The gRPC status code of an error, by its number.
#[must_use]
pub fn grpc(error: &Error) -> i32 {
    match error {
        Error::Refused(refusal) => grpc_of_refusal(*refusal),
        Error::Unavailable(_) => grpc_codes::UNAVAILABLE,
    }
}

/// The gRPC status code of a refusal, by its number.
#[must_use]
pub fn grpc_of_refusal(refusal: Refusal) -> i32 {
    match refusal {
        Refusal::Invalid(_) => grpc_codes::INVALID_ARGUMENT,
        Refusal::InsufficientTokens
        | Refusal::ReservationEnded
        | Refusal::ReservationExceeded
        | Refusal::CloudAiDisabled
        | Refusal::OtherNetwork
        | Refusal::Unpriced
        | Refusal::LicenseIsPermanent
        | Refusal::LicenseInUse
        | Refusal::PreconditionFailed
        | Refusal::NothingToTransfer => grpc_codes::FAILED_PRECONDITION,
        Refusal::Forbidden => grpc_codes::PERMISSION_DENIED,
        Refusal::UnknownOrganization
        | Refusal::UnknownCamera
        | Refusal::UnknownLicense
        | Refusal::UnknownReservation
        | Refusal::UnknownTransfer
        | Refusal::UnknownKey
        | Refusal::UnknownWebhook
        | Refusal::UnknownDelivery => grpc_codes::NOT_FOUND,
        Refusal::TooOld => grpc_codes::OUT_OF_RANGE,
        Refusal::Conflict | Refusal::OrganizationExists | Refusal::LicenseKeyClaimed => {
            grpc_codes::ALREADY_EXISTS
        }
        Refusal::LimitReached(_) => grpc_codes::RESOURCE_EXHAUSTED,
        Refusal::Busy | Refusal::InTransfer => grpc_codes::UNAVAILABLE,
    }
}

/// Numbers of gRPC status codes, as its specification lists them.
mod grpc_codes {
    pub(super) const INVALID_ARGUMENT: i32 = 3;
    pub(super) const NOT_FOUND: i32 = 5;
    pub(super) const ALREADY_EXISTS: i32 = 6;
    pub(super) const PERMISSION_DENIED: i32 = 7;
    pub(super) const RESOURCE_EXHAUSTED: i32 = 8;
    pub(super) const FAILED_PRECONDITION: i32 = 9;
    pub(super) const OUT_OF_RANGE: i32 = 11;
    pub(super) const UNAVAILABLE: i32 = 14;
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
