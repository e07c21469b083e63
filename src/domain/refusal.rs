//! What the meter refuses, each with a stable code.
//!
//! For a debit the order of the variants from [`Refusal::Invalid`] to [`Refusal::Busy`] is the order of
//! precedence and part of the contract: when several refusals apply, the first is the answer.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::limits;

/// Why a request was refused. Nothing was changed by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// A value is out of its bounds.
    Invalid(Invalid),
    /// There is no such organization.
    UnknownOrganization,
    /// The organization has no such camera (R8).
    UnknownCamera,
    /// The camera is in another network than the debit names (R8).
    OtherNetwork,
    /// The camera's Cloud AI is off (R8).
    CloudAiDisabled,
    /// The id can no longer be told from a charged one (R13).
    TooOld,
    /// The id was charged with other content, or the name is taken by something else.
    Conflict,
    /// The organization has no such reservation, or forgot that it had.
    UnknownReservation,
    /// No rate card prices the event.
    Unpriced,
    /// The reservation was settled to its last token, released, or its time is over.
    ReservationEnded,
    /// The reservation does not hold as much as the whole debit.
    ReservationExceeded,
    /// The pool is being moved to another organization; retry.
    InTransfer,
    /// The pool cannot pay the whole debit (R12).
    InsufficientTokens,
    /// The meter has as much in flight as it admits; retry.
    Busy,
    /// The caller's role does not allow it (R1, R11).
    Forbidden,
    /// A Shared AI Token License cannot be unbound (R4).
    LicenseIsPermanent,
    /// There is another organization under that id already: of another name or retention.
    OrganizationExists,
    /// The license key was claimed by another organization (R6).
    LicenseKeyClaimed,
    /// The Unlimited AI License is bound to another camera.
    LicenseInUse,
    /// What is to be changed is not as the caller expects it.
    PreconditionFailed,
    /// There is no such license.
    UnknownLicense,
    /// There is no such transfer.
    UnknownTransfer,
    /// There is no such API key.
    UnknownKey,
    /// The organization has no such webhook.
    UnknownWebhook,
    /// The organization has no such delivery, or it is kept no longer.
    UnknownDelivery,
    /// The pool has neither tokens nor licenses to move.
    NothingToTransfer,
    /// A total would pass what a pool, an organization or the directory may hold.
    LimitReached(Limit),
}

/// Which value is out of its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Invalid {
    /// An organization id.
    OrganizationId,
    /// A camera id.
    CameraId,
    /// A license id.
    LicenseId,
    /// A license key's id.
    KeyId,
    /// A transfer id.
    TransferId,
    /// A reservation id.
    ReservationId,
    /// A reservation's tokens.
    Reserved,
    /// A reservation's time to live.
    TimeToLive,
    /// The name of an actor.
    ActorId,
    /// A name for people.
    Name,
    /// A debit's tokens.
    Tokens,
    /// A usage kind.
    UsageKind,
    /// A point in time.
    Time,
    /// An event's time that lies ahead of the meter's clock.
    TimeAhead,
    /// An `event_id` without the event's time.
    EventIdWithoutTime,
    /// An `event_id`'s length.
    EventId,
    /// A debit's identity: neither or both of `seq` and `event_id`.
    Identity,
    /// A license's tokens or a key's number of licenses.
    Grant,
    /// The validity of an Unlimited AI License: `from` is not before `until`.
    Validity,
    /// A transfer from an organization to itself.
    SameOrganization,
    /// An API key's role and organizations.
    Role,
    /// A retention outside its bounds.
    Retention,
    /// A batch with too many debits.
    BatchSize,
    /// A debit that is not readable at all.
    Syntax,
    /// How many are to be priced.
    Quantity,
    /// Of what so many are to be priced.
    Unit,
    /// The prices of a rate card.
    Prices,
    /// A threshold's name.
    AlertId,
    /// A webhook's name.
    WebhookId,
    /// The thresholds of an organization.
    Thresholds,
    /// The URL of a webhook.
    WebhookUrl,
    /// How long two secrets of a webhook count together.
    Overlap,
    /// A place in the audit log.
    AuditCursor,
}

/// Which total would pass its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// Tokens a pool may ever receive.
    PoolTokens,
    /// Licenses of one organization.
    Licenses,
    /// Bytes that the licenses of a pool take to be moved.
    Cargo,
    /// Cameras of one organization.
    Cameras,
    /// Networks of one organization.
    Networks,
    /// Unlimited AI Licenses of one camera.
    Bindings,
    /// Organizations of one partition.
    Organizations,
    /// Open reservations of one organization.
    Reservations,
    /// API keys of the directory.
    ApiKeys,
    /// Webhooks of one organization.
    Webhooks,
}

impl Refusal {
    /// The stable code: lower case, for programs.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid",
            Self::UnknownOrganization => "unknown_organization",
            Self::UnknownCamera => "unknown_camera",
            Self::OtherNetwork => "other_network",
            Self::CloudAiDisabled => "cloud_ai_disabled",
            Self::TooOld => "too_old",
            Self::Conflict => "conflict",
            Self::Unpriced => "unpriced",
            Self::UnknownReservation => "unknown_reservation",
            Self::ReservationEnded => "reservation_ended",
            Self::ReservationExceeded => "reservation_exceeded",
            Self::InTransfer => "in_transfer",
            Self::InsufficientTokens => "insufficient_tokens",
            Self::Busy => "busy",
            Self::Forbidden => "forbidden",
            Self::LicenseIsPermanent => "license_is_permanent",
            Self::OrganizationExists => "organization_exists",
            Self::LicenseKeyClaimed => "license_key_claimed",
            Self::LicenseInUse => "license_in_use",
            Self::PreconditionFailed => "precondition_failed",
            Self::UnknownLicense => "unknown_license",
            Self::UnknownTransfer => "unknown_transfer",
            Self::UnknownKey => "unknown_key",
            Self::UnknownWebhook => "unknown_webhook",
            Self::UnknownDelivery => "unknown_delivery",
            Self::NothingToTransfer => "nothing_to_transfer",
            Self::LimitReached(_) => "limit_reached",
        }
    }

    /// The refusal that bears `code`, for what is stored by its code; `None` for an unknown one.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        const STORED: [Refusal; 6] = [
            Refusal::UnknownOrganization,
            Refusal::NothingToTransfer,
            Refusal::InTransfer,
            Refusal::Conflict,
            Refusal::Busy,
            Refusal::LimitReached(Limit::PoolTokens),
        ];
        STORED.into_iter().find(|refusal| refusal.code() == code)
    }

    /// Whether the same request may succeed later without any change by its caller.
    #[must_use]
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::InTransfer | Self::Busy)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Invalid(what) => return what.fmt(f),
            Self::LimitReached(what) => return what.fmt(f),
            Self::UnknownOrganization => "there is no such organization",
            Self::UnknownCamera => "the organization has no such camera; register it first",
            Self::OtherNetwork => {
                "the camera is in another network than the event names; nothing was charged, mend one of them or leave it out"
            }
            Self::CloudAiDisabled => "the camera's cloud ai is off; switch it on to analyze",
            Self::TooOld => "the id lies before what can be told from a charged one; nothing was charged",
            Self::Conflict => "the id is taken by a request with other content; use a new id for a new event",
            Self::Unpriced => {
                "no rate card prices this kind and unit at the event's time; nothing was charged, set a price or send tokens"
            }
            Self::UnknownReservation => "there is no such reservation; reserve first",
            Self::ReservationEnded => {
                "the reservation was settled, released or expired; nothing was charged, reserve again"
            }
            Self::ReservationExceeded => {
                "the reservation does not hold as much as the whole debit; nothing was charged, reserve more"
            }
            Self::InTransfer => "the pool is being moved to another organization; retry shortly",
            Self::InsufficientTokens => {
                "the pool cannot pay the whole amount; nothing was charged or held, add a license"
            }
            Self::Busy => "as much is in flight as is admitted; nothing was charged, retry shortly",
            Self::Forbidden => "the caller's role does not allow this",
            Self::LicenseIsPermanent => "a shared ai token license is permanent; it cannot be unbound",
            Self::OrganizationExists => "there is an organization of that id already, of another name or retention; nothing was changed",
            Self::LicenseKeyClaimed => {
                "the license key was claimed before; a key is claimed once over all organizations"
            }
            Self::LicenseInUse => {
                "the unlimited ai license is bound to another camera; unbind it there first"
            }
            Self::PreconditionFailed => {
                "it is not as you expect it; nothing was changed, read it again and decide anew"
            }
            Self::UnknownLicense => "there is no such license",
            Self::UnknownTransfer => "there is no such transfer",
            Self::UnknownKey => "there is no such api key",
            Self::UnknownWebhook => "the organization has no such webhook; list its webhooks",
            Self::UnknownDelivery => "there is no such delivery, or it is kept no longer",
            Self::NothingToTransfer => "the pool has neither tokens nor licenses to move",
        })
    }
}

impl std::error::Error for Refusal {}

impl From<Invalid> for Refusal {
    fn from(what: Invalid) -> Self {
        Self::Invalid(what)
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = limits::ID_BYTES_MAX;
        match self {
            Self::OrganizationId => write_id(f, "organization id", id),
            Self::CameraId => write_id(f, "camera id", id),
            Self::LicenseId => write_id(f, "license id", id),
            Self::KeyId => write_id(f, "license key id", id),
            Self::TransferId => write_id(f, "transfer id", id),
            Self::ReservationId => write_id(f, "reservation id", id),
            Self::Reserved => {
                write!(f, "tokens of a reservation are a whole number from 1 to {}", limits::POOL_TOKENS_MAX)
            }
            Self::TimeToLive => write!(
                f,
                "the time to live of a reservation is {} to {} ms",
                limits::RESERVATION_MS_MIN,
                limits::RESERVATION_MS_MAX
            ),
            Self::ActorId => write_id(f, "actor id", id),
            Self::Name => {
                let most = limits::NAME_BYTES_MAX;
                write!(f, "a name is 1 to {most} bytes of text without control characters")
            }
            Self::Tokens => {
                write!(f, "tokens of a debit are a whole number from 1 to {}", limits::DEBIT_TOKENS_MAX)
            }
            Self::UsageKind => f.write_str("the usage kind is not known"),
            Self::Time => f.write_str("a time lies after 1970 and before the year 10000"),
            Self::TimeAhead => {
                let most = limits::EVENT_AHEAD_MS_MAX / 1_000;
                write!(f, "the event's time is more than {most} s ahead of the meter's clock")
            }
            Self::EventIdWithoutTime => f.write_str("an event_id goes with the event's time"),
            Self::EventId => write!(f, "an event_id is 1 to {} bytes", limits::EVENT_ID_BYTES_MAX),
            Self::Identity => f.write_str("a debit has either epoch and seq, or event_id and time"),
            Self::Grant => write!(
                f,
                "a license key holds 1 to {} licenses of 1 to {} tokens each",
                limits::KEY_LICENSES_MAX,
                limits::POOL_TOKENS_MAX
            ),
            Self::Validity => f.write_str("a license is valid from a time until a later one"),
            Self::SameOrganization => f.write_str("a transfer goes to another organization"),
            Self::Role => write!(
                f,
                "an operator key names no organization, every other key 1 to {}",
                limits::API_KEY_ORGANIZATIONS_MAX
            ),
            Self::Retention => write!(
                f,
                "the retention of event ids is {} to {} ms",
                limits::RETENTION_MS_MIN,
                limits::RETENTION_MS_MAX
            ),
            Self::BatchSize => write!(f, "a batch holds at most {} debits", limits::BATCH_DEBITS_MAX),
            Self::Syntax => f.write_str("the debit is not readable"),
            Self::Quantity => {
                write!(f, "a quantity is a whole number from 1 to {}", limits::DEBIT_TOKENS_MAX)
            }
            Self::Unit => f.write_str("the unit is not known; it is an event, an image or a second"),
            Self::Prices => write!(
                f,
                "a rate card has at least one price, at most one for a kind and unit, each 1 to {} millitokens",
                limits::RATE_MILLITOKENS_MAX
            ),
            _ => self.write_of_alerts(f),
        }
    }
}

impl Invalid {
    fn write_of_alerts(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlertId => write_id(f, "name of a threshold", limits::ID_BYTES_MAX),
            Self::Thresholds => write!(
                f,
                "an organization has at most {} thresholds, each of its own name, with `at` in the bounds of its measure and \
                 `rearm` above it (below it for refusals, which alone have `window_ms`)",
                limits::ALERTS_MAX
            ),
            Self::WebhookUrl => write!(
                f,
                "the url of a webhook is https://host/path or http://host/path, at most {} bytes, without a user and a fragment",
                limits::WEBHOOK_URL_BYTES_MAX
            ),
            Self::AuditCursor => f.write_str("a place in the audit log is the `next` of a page"),
            Self::Overlap => {
                write!(f, "two secrets count together for at most {} ms", limits::SECRET_OVERLAP_MS_MAX)
            }
            _ => write_id(f, "name of a webhook", limits::ID_BYTES_MAX),
        }
    }
}

impl std::error::Error for Invalid {}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PoolTokens => write!(f, "a pool may receive at most {} tokens", limits::POOL_TOKENS_MAX),
            Self::Licenses => {
                write!(f, "an organization holds at most {} licenses", limits::POOL_LICENSES_MAX)
            }
            Self::Cargo => write!(
                f,
                "the licenses and their history take more than {} bytes to be moved at once",
                limits::CARGO_BYTES_MAX
            ),
            Self::Cameras => write!(f, "an organization has at most {} cameras", limits::POOL_CAMERAS_MAX),
            Self::Networks => write!(f, "an organization has at most {} networks", limits::POOL_NETWORKS_MAX),
            Self::Bindings => {
                write!(
                    f,
                    "a camera is bound to at most {} unlimited ai licenses",
                    limits::CAMERA_BINDINGS_MAX
                )
            }
            Self::Organizations => {
                write!(f, "a partition holds at most {} organizations", limits::PARTITION_ORGANIZATIONS_MAX)
            }
            Self::Reservations => {
                write!(f, "an organization has at most {} open reservations", limits::RESERVATIONS_OPEN_MAX)
            }
            Self::ApiKeys => write!(f, "a data directory holds at most {} api keys", limits::API_KEYS_MAX),
            Self::Webhooks => write!(f, "an organization has at most {} webhooks", limits::WEBHOOKS_MAX),
        }
    }
}

fn write_id(f: &mut fmt::Formatter<'_>, what: &str, most: usize) -> fmt::Result {
    write!(f, "the {what} is 1 to {most} bytes of letters, digits, and . _ : -")
}
