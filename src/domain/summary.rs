//! What people read of a pool: the AI Token Summary and the pages of its cameras.
//!
//! Current Available and Org Available AI Tokens are one figure, [`Pool::available`] (R10).

use serde::{Deserialize, Serialize};

use super::bindings::UnlimitedLicense;
use super::burn::BurnRate;
use super::camera::CameraFlags;
use super::ids::{Name, OrgId, Slot};
use super::limits::PAGE_ROWS_MAX;
use super::pool::{NetworkUsage, Pool, Totals};
use super::time::Timestamp;
use super::tokens::Tokens;

/// The AI Token Summary of an organization.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The organization.
    pub organization: OrgId,
    /// Its name for people.
    pub name: Name,
    /// Current Available: what the pool can pay now.
    pub available: Tokens,
    /// Tokens that open reservations hold: neither used nor available.
    pub held: Tokens,
    /// Open reservations.
    pub reservations: usize,
    /// Tokens on their way to another organization.
    pub in_transit: Tokens,
    /// What came, went and was used.
    pub totals: Totals,
    /// Shared AI Token Licenses held.
    pub licenses: usize,
    /// Estimated Camera AI Analytics: how long the available tokens last at the present burn rate, in
    /// milliseconds; null when nothing burns.
    pub estimated_analytics_ms: Option<u64>,
    /// The present burn rate.
    pub burn_rate: BurnRate,
    /// Cameras whose Cloud AI is on.
    pub cloud_ai_enabled: u32,
    /// Cameras.
    pub cameras: u32,
    /// Usage by network.
    pub networks: Vec<NetworkUsage>,
}

/// A camera as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CameraView {
    /// Its id.
    pub id: String,
    /// Its network.
    pub network: Name,
    /// Whether its Cloud AI is on.
    pub cloud_ai: bool,
    /// Whether it has a Pro License.
    pub pro_license: bool,
    /// Tokens charged for it, ever.
    pub used: Tokens,
    /// The highest (epoch, seq) charged; none before the first.
    pub newest: Option<NewestSeq>,
    /// Unlimited AI Licenses bound to it.
    pub unlimited: Vec<UnlimitedLicense>,
}

/// The highest sequence number charged for a camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct NewestSeq {
    /// Its epoch.
    pub epoch: u32,
    /// Its number.
    pub seq: u64,
}

/// One page of cameras.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CameraPage {
    /// The cameras, in the order of their first registration.
    pub cameras: Vec<CameraView>,
    /// Where the next page begins; none after the last.
    pub next: Option<u32>,
}

impl Pool {
    /// The AI Token Summary at `now`.
    #[must_use]
    pub fn summary(&self, now: Timestamp) -> Summary {
        let burn_rate = self.burn.rate(now.max(self.last_at));
        Summary {
            organization: self.id.clone(),
            name: self.name.clone(),
            available: self.available(),
            held: self.reservations.held(),
            reservations: self.reservations.open(),
            in_transit: self.in_transit(),
            totals: self.totals,
            licenses: self.licenses.len(),
            estimated_analytics_ms: burn_rate.time_left_ms(self.available()),
            burn_rate,
            cloud_ai_enabled: self.cameras.cloud_ai(),
            cameras: self.cameras.registered(),
            networks: self.networks.clone(),
        }
    }

    /// The camera in `slot` as people see it; `None` when it was removed or never was.
    #[must_use]
    pub fn camera_view(&self, slot: Slot) -> Option<CameraView> {
        let camera = self.cameras.get(slot).filter(|camera| camera.flags.has(CameraFlags::REGISTERED))?;
        let window = camera.window;
        Some(CameraView {
            id: self.cameras.name(slot).to_owned(),
            network: self.networks[index(camera.network)].name.clone(),
            cloud_ai: camera.flags.has(CameraFlags::CLOUD_AI),
            pro_license: camera.flags.has(CameraFlags::PRO_LICENSE),
            used: Tokens(camera.used),
            newest: window.started.then_some(NewestSeq { epoch: window.epoch, seq: window.highest }),
            unlimited: self.bindings.of(slot).to_vec(),
        })
    }

    /// At most `rows` cameras from `first` on.
    #[must_use]
    pub fn camera_page(&self, first: u32, rows: usize) -> CameraPage {
        let rows = rows.clamp(1, PAGE_ROWS_MAX);
        let mut seen =
            (first..self.cameras.slots()).filter_map(|slot| Some((slot, self.camera_view(Slot(slot))?)));
        let cameras = seen.by_ref().take(rows).map(|(_, view)| view).collect();
        CameraPage { cameras, next: seen.next().map(|(slot, _)| slot) }
    }
}

fn index(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}
