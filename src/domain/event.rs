//! What happened to a pool, besides debits: the journal stores these, and replays them.
//!
//! The serialized form is the stored form. Fields and variants are only ever added; golden files hold that.

use serde::{Deserialize, Serialize};

use super::alerts::Alerts;
use super::bindings::UnlimitedLicense;
use super::hash::HashSecret;
use super::ids::{ActorId, CameraId, KeyId, LicenseId, Name, OrgId, ReservationId, TransferId};
use super::license::License;
use super::rates::RateCard;
use super::time::Timestamp;
use super::tokens::Tokens;

/// One thing that happened to a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// What.
    pub change: Change,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The organization was created; its pool is empty.
    OrganizationCreated(OrganizationCreated),
    /// A camera was registered or changed.
    CameraRegistered {
        /// The camera.
        camera: CameraId,
        /// Its network.
        network: Name,
        /// Whether its Cloud AI is on.
        cloud_ai: bool,
        /// Whether it has a Pro License.
        pro_license: bool,
    },
    /// A camera was removed.
    CameraRemoved {
        /// The camera.
        camera: CameraId,
    },
    /// An Unlimited AI License was bound.
    UnlimitedBound {
        /// The camera.
        camera: CameraId,
        /// The license and its terms.
        license: UnlimitedLicense,
    },
    /// An Unlimited AI License was unbound.
    UnlimitedUnbound {
        /// The license.
        license: LicenseId,
    },
    /// Licenses were added, and their tokens with them.
    LicensesAdded {
        /// The key that they came from.
        key: KeyId,
        /// The licenses.
        licenses: Vec<License>,
    },
    /// Tokens are held back until they are settled, released, or their time is over.
    Reserved {
        /// The reservation.
        reservation: ReservationId,
        /// How many.
        tokens: Tokens,
        /// When it expires.
        until: Timestamp,
        /// Who reserved.
        by: ActorId,
    },
    /// A reservation was released: what it still held can be spent.
    ReservationReleased {
        /// The reservation.
        reservation: ReservationId,
    },
    /// Every open reservation whose time is over at this event expired: what it still held can be spent.
    ReservationsExpired,
    /// A rate card was set: it prices events of its time and later, until another does.
    RatesSet {
        /// The card.
        card: RateCard,
    },
    /// What the organization wants to be told, and where, was set: all of it.
    AlertsSet {
        /// The thresholds and webhooks.
        alerts: Alerts,
    },
    /// The pool was frozen; its tokens and licenses are in transit to another.
    TransferOutPrepared {
        /// The transfer.
        transfer: TransferId,
        /// The organization that they go to.
        target: OrgId,
        /// Who moves them.
        by: ActorId,
    },
    /// The pool stands ready to receive what is in transit.
    TransferInPrepared {
        /// The transfer.
        transfer: TransferId,
        /// What is in transit.
        cargo: Cargo,
    },
    /// The transfer was committed: what was in transit is gone.
    TransferOutClosed {
        /// The transfer.
        transfer: TransferId,
    },
    /// The transfer was committed: what was in transit was received.
    TransferInCredited {
        /// The transfer.
        transfer: TransferId,
    },
    /// The transfer was aborted: what was in transit is back, or none will come.
    TransferAborted {
        /// The transfer.
        transfer: TransferId,
    },
}

/// How an organization begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrganizationCreated {
    /// The organization.
    pub organization: OrgId,
    /// Its name for people.
    pub name: Name,
    /// The secret under which its event ids are hashed.
    pub secret: HashSecret,
    /// How long its event ids are remembered, in milliseconds.
    pub retention_ms: u64,
}

/// All tokens and licenses of a pool on their way to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cargo {
    /// The organization that they come from.
    pub source: OrgId,
    /// Who moves them.
    pub by: ActorId,
    /// The tokens.
    pub tokens: Tokens,
    /// The licenses, each with what it still holds.
    pub licenses: Vec<License>,
}
