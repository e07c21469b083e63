//! The library's face: what an embedding gateway, and every edge, calls.
//!
//! [`Meter`] opens a data directory and hands out [`Organization`] handles; a handle judges debits, administers, and
//! reads. Who may do what is decided in [`access`], here and nowhere else (R1, R11). [`status`] is the one table of
//! status codes.

pub mod access;
pub mod alerts;
pub mod api_keys;
pub mod audit;
pub mod cluster;
pub mod config;
pub mod error;
pub mod licenses;
pub mod organization;
pub mod pending;
pub mod rates;
pub mod reservations;
pub mod status;
pub mod trail;
pub mod transfers;

mod open;

pub use access::{Action, Bearer, Principal, RoleIn};
pub use api_keys::{ApiKeyView, NewApiKey};
pub use audit::{Deed, Edge, Origin};
pub use cluster::{Answering, Nodes, Owner, Peers};
pub use config::Config;
pub use error::Error;
pub use licenses::{Grant, LicenseClaim, LicensePreview, LicenseView};
pub use open::{Meter, NewOrganization, PartitionStatus};
pub use organization::Organization;
pub use pending::Pending;
pub use rates::Estimate;
pub use reservations::{ReservationStatus, ReservationView};
pub use trail::{AuditCursor, AuditEntry, AuditPage};
pub use transfers::TransferView;

pub use crate::actors::messages::{BatchReply, DebitReply, Durability, Unavailable};
pub use crate::actors::recover::PartitionRecovery;
pub use crate::domain::alerts::{Alerts, Measure, PreviousSecret, Threshold, Topic, Webhook, WebhookUrl};
pub use crate::domain::batch::DebitBatch;
pub use crate::domain::bindings::UnlimitedLicense;
pub use crate::domain::command::CameraSpec;
pub use crate::domain::debit::{CameraRef, Debit, FirstOutcome, Identity, Measured, Outcome, UsageKind};
pub use crate::domain::ids::{
    ActorId, AlertId, CameraId, KeyId, LicenseId, Lsn, Name, OrgId, ReservationId, Slot, TransferId,
    WebhookId,
};
pub use crate::domain::license::{LicenseKey, LicenseStatus, LicenseStep};
pub use crate::domain::pool::NetworkUsage;
pub use crate::domain::precondition::{Expected, Precondition, Subject, Tag};
pub use crate::domain::rates::{Price, RateCard, Unit};
pub use crate::domain::refusal::{Invalid, Limit, Refusal};
pub use crate::domain::registry::{Role, TransferState};
pub use crate::domain::summary::{CameraPage, CameraView, NewestSeq, Summary};
pub use crate::domain::time::Timestamp;
pub use crate::domain::tokens::Tokens;
pub use crate::protocol::coordinator::Until;
pub use crate::storage::Fault;
pub use crate::telemetry::clock::Clock;
