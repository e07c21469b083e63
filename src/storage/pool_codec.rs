//! A pool in a snapshot: what the pool hands over, its stored form, and the way back.
//!
//! Equal pools give equal bytes (I8). What follows from other fields is not stored: the places of networks, the index of
//! cameras, the counts.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::alerts::Alerts;
use crate::domain::bindings::{Bindings, UnlimitedLicense};
use crate::domain::burn::Burn;
use crate::domain::camera::CamerasImage;
use crate::domain::event::OrganizationCreated;
use crate::domain::event_ids::{self, ENTRY_BYTES, EventIds, Leaf};
use crate::domain::hash::HashSecret;
use crate::domain::ids::{KeyId, Lsn, Name, OrgId, OrgNumber, ReservationId, Slot, TransferId};
use crate::domain::invariants;
use crate::domain::license::{License, Licenses};
use crate::domain::limits::{CAMERA_BINDINGS_MAX, POOL_NETWORKS_MAX};
use crate::domain::pool::{NetworkUsage, Pool, Totals};
use crate::domain::rates::Rates;
use crate::domain::reservation::{Reservation, Reservations};
use crate::domain::time::Timestamp;
use crate::domain::tokens::Tokens;
use crate::domain::transfer::TransferSide;
use crate::planted::{self, Bug};

use super::camera_codec::StoredCameras;
use super::decode_error::DecodeError;
use super::event_check::ensure;
use super::pause::may_pause;
use super::pool_check;

/// Between so many event ids it may pause.
const PAUSE_ENTRIES: usize = 256;

/// A pool as it was when it was handed to a snapshot. Cameras and event ids are shared with the pool, not copied.
#[derive(Clone, Debug)]
pub struct PoolImage {
    /// The number of the organization within its partition.
    pub number: OrgNumber,
    /// The organization.
    pub id: OrgId,
    /// Its name for people.
    pub name: Name,
    /// The secret under which its event ids are hashed.
    pub secret: HashSecret,
    /// How long event ids are remembered, in milliseconds.
    pub retention_ms: u64,
    /// When it was created.
    pub created_at: Timestamp,
    /// The time of the newest event.
    pub last_at: Timestamp,
    /// The journal frame of the newest event.
    pub lsn: Lsn,
    /// Tokens that it has.
    pub balance: Tokens,
    /// What came, went and was used.
    pub totals: Totals,
    /// Its cameras.
    pub cameras: CamerasImage,
    /// Usage by network.
    pub networks: Vec<NetworkUsage>,
    /// Unlimited AI Licenses bound to cameras.
    pub bindings: Bindings,
    /// Shared AI Token Licenses.
    pub licenses: Licenses,
    /// License keys whose licenses were added here.
    pub keys: BTreeSet<KeyId>,
    /// Remembered event ids.
    pub event_ids: Vec<Arc<Leaf>>,
    /// The time before which event ids are too old.
    pub horizon: Timestamp,
    /// What holds tokens back, and what did.
    pub reservations: Reservations,
    /// What events cost that bear no token count.
    pub rates: Rates,
    /// What the organization wants to be told, and where.
    pub alerts: Option<Box<Alerts>>,
    /// Transfers from and to this pool.
    pub transfers: BTreeMap<TransferId, TransferSide>,
    /// The transfer that freezes the pool, if any.
    pub outgoing: Option<TransferId>,
    /// The present burn rate.
    pub burn: Burn,
}

impl PoolImage {
    /// What `pool` is now. Takes one small allocation for each 256 cameras and for each leaf of event ids; the pool
    /// goes on at once.
    #[must_use]
    pub fn take(pool: &mut Pool, number: OrgNumber) -> Self {
        Self {
            number,
            id: pool.id.clone(),
            name: pool.name.clone(),
            secret: pool.secret,
            retention_ms: pool.retention_ms,
            created_at: pool.created_at,
            last_at: pool.last_at,
            lsn: pool.lsn,
            balance: pool.balance,
            totals: pool.totals,
            cameras: pool.cameras.freeze(),
            networks: pool.networks.clone(),
            bindings: pool.bindings.clone(),
            licenses: pool.licenses.clone(),
            keys: pool.keys.clone(),
            event_ids: pool.event_ids.freeze(),
            horizon: pool.event_ids.horizon(),
            reservations: pool.reservations.clone(),
            rates: if planted::is(Bug::ForgetPrices) { Rates::default() } else { pool.rates.clone() },
            alerts: pool.alerts.clone().filter(|_| !planted::is(Bug::ForgetThresholds)),
            transfers: pool.transfers.clone(),
            outgoing: pool.outgoing.clone(),
            burn: pool.burn.clone(),
        }
    }
}

/// A pool as it is stored, version 1.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredPool<'a> {
    pub(super) number: OrgNumber,
    id: OrgId,
    name: Name,
    secret: HashSecret,
    retention_ms: u64,
    created_at: Timestamp,
    last_at: Timestamp,
    lsn: Lsn,
    balance: Tokens,
    totals: Totals,
    #[serde(borrow)]
    cameras: StoredCameras<'a>,
    networks: Cow<'a, [NetworkUsage]>,
    bindings: Vec<StoredBinding>,
    licenses: Cow<'a, [License]>,
    drawn: Tokens,
    keys: Cow<'a, BTreeSet<KeyId>>,
    #[serde(borrow, with = "serde_bytes")]
    event_ids: Cow<'a, [u8]>,
    horizon: Timestamp,
    #[serde(default, skip_serializing_if = "no_reservations")]
    reservations: Cow<'a, BTreeMap<ReservationId, Reservation>>,
    #[serde(default, skip_serializing_if = "no_rates")]
    rates: Cow<'a, Rates>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    alerts: Option<Cow<'a, Alerts>>,
    transfers: Cow<'a, BTreeMap<TransferId, TransferSide>>,
    outgoing: Option<TransferId>,
    burn: Burn,
}

/// One Unlimited AI License, and the slot of its camera.
#[derive(Debug, Serialize, Deserialize)]
struct StoredBinding {
    slot: u32,
    license: UnlimitedLicense,
}

impl<'a> StoredPool<'a> {
    /// The stored form of `image`.
    pub(super) fn of(image: &'a PoolImage) -> Self {
        let (licenses, drawn) = image.licenses.parts();
        let leaves = image.event_ids.iter().inspect(|_| may_pause());
        let binding = |(slot, license): (Slot, &UnlimitedLicense)| StoredBinding {
            slot: slot.0,
            license: license.clone(),
        };
        Self {
            number: image.number,
            id: image.id.clone(),
            name: image.name.clone(),
            secret: image.secret,
            retention_ms: image.retention_ms,
            created_at: image.created_at,
            last_at: image.last_at,
            lsn: image.lsn,
            balance: image.balance,
            totals: image.totals,
            cameras: StoredCameras::of(&image.cameras),
            networks: Cow::Borrowed(&image.networks),
            bindings: image.bindings.iter().map(binding).collect(),
            licenses: Cow::Borrowed(licenses),
            drawn,
            keys: Cow::Borrowed(&image.keys),
            event_ids: event_ids::pack(leaves, image.horizon).into(),
            horizon: image.horizon,
            reservations: Cow::Borrowed(image.reservations.known()),
            rates: Cow::Borrowed(&image.rates),
            alerts: image.alerts.as_deref().map(Cow::Borrowed),
            transfers: Cow::Borrowed(&image.transfers),
            outgoing: image.outgoing.clone(),
            burn: image.burn.clone(),
        }
    }

    /// The pool again.
    ///
    /// # Errors
    /// When a value is out of its bounds, or an invariant does not hold.
    pub(super) fn restore(self) -> Result<Pool, DecodeError> {
        let network_places = places(&self.networks)?;
        let cameras = self.cameras.restore(self.secret.0, self.networks.len())?;
        let bindings = restore_bindings(self.bindings, cameras.slots())?;
        let pieces = self.event_ids.chunks(ENTRY_BYTES * PAUSE_ENTRIES).inspect(|_| may_pause());
        let event_ids =
            EventIds::unpack(pieces, self.horizon).ok_or(DecodeError("event ids out of order"))?;
        let reservations = Reservations::from_known(self.reservations.into_owned())
            .ok_or(DecodeError("reservations that hold more than they may"))?;
        let (organization, name, secret, retention_ms) = (self.id, self.name, self.secret, self.retention_ms);
        let created = OrganizationCreated { organization, name, secret, retention_ms };
        let pool = Pool {
            last_at: self.last_at,
            lsn: self.lsn,
            balance: self.balance,
            totals: self.totals,
            cameras,
            networks: self.networks.into_owned(),
            network_places,
            bindings,
            licenses: Licenses::from_parts(self.licenses.into_owned(), self.drawn),
            keys: self.keys.into_owned(),
            event_ids,
            reservations,
            rates: self.rates.into_owned(),
            alerts: self.alerts.map(|alerts| Box::new(alerts.into_owned())),
            transfers: self.transfers.into_owned(),
            outgoing: self.outgoing,
            burn: self.burn,
            ..Pool::new(created, self.created_at)
        };
        pool_check::bounds(&pool)?;
        ensure(invariants::check_pool(&pool).is_empty(), "a pool whose invariants do not hold")?;
        Ok(pool)
    }
}

fn no_reservations(reservations: &BTreeMap<ReservationId, Reservation>) -> bool {
    reservations.is_empty()
}

fn no_rates(rates: &Rates) -> bool {
    rates.is_empty()
}

fn places(networks: &[NetworkUsage]) -> Result<BTreeMap<Name, u32>, DecodeError> {
    ensure(networks.len() <= POOL_NETWORKS_MAX, "more networks than an organization may have")?;
    let places: BTreeMap<_, _> = networks.iter().map(|network| network.name.clone()).zip(0..).collect();
    ensure(places.len() == networks.len(), "two networks of one name")?;
    Ok(places)
}

fn restore_bindings(stored: Vec<StoredBinding>, cameras: u32) -> Result<Bindings, DecodeError> {
    let mut bindings = Bindings::default();
    for StoredBinding { slot, license } in stored {
        let fits = slot < cameras && license.from < license.until;
        ensure(fits && bindings.camera_of(&license.id).is_none(), "a binding of an unlimited license")?;
        bindings.bind(Slot(slot), license);
        ensure(
            bindings.of(Slot(slot)).len() <= CAMERA_BINDINGS_MAX,
            "more unlimited licenses than a camera may have",
        )?;
    }
    Ok(bindings)
}
