//! What may be asked of a pool besides debits.

use super::alerts::AlertsChange;
use super::bindings::UnlimitedLicense;
use super::ids::{ActorId, CameraId, LicenseId, Name, ReservationId};
use super::license::LicenseKey;
use super::precondition::Precondition;
use super::rates::Price;
use super::time::Timestamp;
use super::tokens::Tokens;

/// A change that somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Register a camera, or change one.
    RegisterCamera(CameraSpec),
    /// Remove a camera.
    RemoveCamera {
        /// The camera.
        camera: CameraId,
    },
    /// Bind an Unlimited AI License to a camera (R9).
    BindUnlimited {
        /// The camera.
        camera: CameraId,
        /// The license and its terms.
        license: UnlimitedLicense,
    },
    /// Unbind an Unlimited AI License.
    UnbindUnlimited {
        /// The license.
        license: LicenseId,
    },
    /// Add the licenses of a key that this organization claimed (R2).
    AddLicenses {
        /// The key.
        key: LicenseKey,
        /// Who adds them.
        by: ActorId,
    },
    /// Hold tokens back (R12).
    Reserve {
        /// Names the reservation, also when it is asked for again.
        reservation: ReservationId,
        /// How many.
        tokens: Tokens,
        /// After how many milliseconds it expires.
        ttl_ms: u64,
        /// Who reserves.
        by: ActorId,
    },
    /// Change something only while this holds of it.
    Provided {
        /// What must hold.
        precondition: Precondition,
        /// The change.
        change: Box<Command>,
    },
    /// Give back what a reservation still holds.
    ReleaseReservation {
        /// The reservation.
        reservation: ReservationId,
    },
    /// Price events that bear no token count.
    SetRates {
        /// The time of the first events that the prices are for; now where there is none.
        from: Option<Timestamp>,
        /// The prices.
        prices: Vec<Price>,
        /// Who sets them.
        by: ActorId,
    },
    /// Change what the organization wants to be told, and where.
    ChangeAlerts {
        /// The change.
        change: AlertsChange,
        /// Who changes it.
        by: ActorId,
    },
}

/// What is to be known of a camera.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CameraSpec {
    /// The camera.
    pub id: CameraId,
    /// The network that it is in.
    pub network: Name,
    /// Whether its Cloud AI is on.
    pub cloud_ai: bool,
    /// Whether it has a Pro License: recorded, never asked (R7).
    pub pro_license: bool,
}
