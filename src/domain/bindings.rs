//! Unlimited AI Licenses bound to cameras (R9).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::planted::{self, Bug};

use super::debit::UsageKind;
use super::ids::{LicenseId, Slot};
use super::time::Timestamp;

/// One Unlimited AI License, bound to one camera.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnlimitedLicense {
    /// The license.
    pub id: LicenseId,
    /// The usage kind that it exempts.
    pub kind: UsageKind,
    /// First moment of its validity.
    pub from: Timestamp,
    /// First moment after its validity.
    pub until: Timestamp,
}

impl UnlimitedLicense {
    /// Whether it exempts usage of `kind` at `time`.
    #[must_use]
    pub fn exempts(&self, kind: UsageKind, time: Timestamp) -> bool {
        self.kind == kind && self.from <= time && (time < self.until || planted::is(Bug::ExemptForever))
    }
}

/// All bindings of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bindings {
    by_camera: BTreeMap<Slot, Vec<UnlimitedLicense>>,
    cameras: BTreeMap<LicenseId, Slot>,
}

impl Bindings {
    /// The licenses bound to a camera, in the order of their binding.
    #[must_use]
    pub fn of(&self, slot: Slot) -> &[UnlimitedLicense] {
        self.by_camera.get(&slot).map_or(&[], Vec::as_slice)
    }

    /// The camera that a license is bound to.
    #[must_use]
    pub fn camera_of(&self, license: &LicenseId) -> Option<Slot> {
        self.cameras.get(license).copied()
    }

    /// Whether usage of `kind` by the camera at `time` is exempt.
    #[must_use]
    pub fn exempts(&self, slot: Slot, kind: UsageKind, time: Timestamp) -> bool {
        self.of(slot).iter().any(|license| license.exempts(kind, time))
    }

    /// Binds a license to a camera; replaces its terms when it is bound there already.
    pub fn bind(&mut self, slot: Slot, license: UnlimitedLicense) {
        self.unbind(&license.id);
        self.cameras.insert(license.id.clone(), slot);
        self.by_camera.entry(slot).or_default().push(license);
    }

    /// Unbinds a license; answers with the camera it was bound to.
    pub fn unbind(&mut self, license: &LicenseId) -> Option<Slot> {
        let slot = self.cameras.remove(license)?;
        let of_camera = self.by_camera.get_mut(&slot)?;
        of_camera.retain(|bound| bound.id != *license);
        if of_camera.is_empty() {
            self.by_camera.remove(&slot);
        }
        Some(slot)
    }

    /// All bindings, by camera.
    pub fn iter(&self) -> impl Iterator<Item = (Slot, &UnlimitedLicense)> {
        self.by_camera.iter().flat_map(|(slot, bound)| bound.iter().map(|license| (*slot, license)))
    }
}
