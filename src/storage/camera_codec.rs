//! The cameras of a pool in a snapshot: their ids end to end, their records as columns.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::domain::camera::{Camera, CameraFlags, Cameras, CamerasImage};
use crate::domain::ids::CameraId;
use crate::domain::limits::POOL_CAMERAS_MAX;
use crate::domain::seq_window::SeqWindow;
use crate::planted::{self, Bug};

use super::columns::{self, Rows};
use super::decode_error::DecodeError;
use super::event_check::ensure;
use super::pause::may_pause;
use super::wire;

/// Set in a camera's stored flags when any sequence number was charged.
const STARTED: u8 = 16;
/// Set in a camera's stored flags when its highest sequence number was exempt.
const HIGHEST_EXEMPT: u8 = 32;
/// What a camera's own flags may be.
const CAMERA_FLAGS: u8 =
    CameraFlags::REGISTERED | CameraFlags::CLOUD_AI | CameraFlags::PRO_LICENSE | CameraFlags::BOUND;

/// Between so many cameras it may pause.
const PAUSE_ROWS: u32 = 256;

/// Cameras as they are stored. Each of the columns is `columns` of the width that its comment says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredCameras<'a> {
    count: u32,
    /// The ids end to end.
    #[serde(borrow, with = "serde_bytes")]
    ids: Cow<'a, [u8]>,
    /// Bytes of each id: 1.
    #[serde(borrow, with = "serde_bytes")]
    id_lengths: Cow<'a, [u8]>,
    /// What is set, and the two marks of the window: 1.
    #[serde(borrow, with = "serde_bytes")]
    flags: Cow<'a, [u8]>,
    /// Network, tokens used: 2.
    #[serde(borrow, with = "serde_bytes")]
    usage: Cow<'a, [u8]>,
    /// Epoch, highest, below, below exempt: 4.
    #[serde(borrow, with = "serde_bytes")]
    windows: Cow<'a, [u8]>,
    /// The content prints, four to a value, the first lowest: 2.
    #[serde(borrow, with = "serde_bytes")]
    prints: Cow<'a, [u8]>,
}

impl StoredCameras<'_> {
    /// The stored form of `image`.
    pub(super) fn of(image: &CamerasImage) -> Self {
        let records = || image.records.iter().inspect(|_| may_pause()).flat_map(|chunk| chunk.iter());
        let names = || image.names.iter().inspect(|_| may_pause()).flat_map(|chunk| chunk.iter());
        let lengths: Vec<_> = names().map(|id| u8::try_from(id.len()).expect("an id is short")).collect();
        let count: usize = image.records.iter().map(|chunk| chunk.len()).sum();
        let mut ids = Vec::with_capacity(lengths.iter().map(|length| usize::from(*length)).sum());
        names().for_each(|id| ids.extend_from_slice(id.as_bytes()));
        Self {
            count: u32::try_from(count).expect("cameras are bounded"),
            ids: ids.into(),
            id_lengths: packed(lengths.iter().map(|length| [u64::from(*length)])),
            flags: packed(records().map(|camera| [u64::from(flags_of(camera))])),
            usage: packed(records().map(|camera| [u64::from(camera.network), camera.used])),
            windows: packed(records().map(|camera| {
                let window = if planted::is(Bug::ForgetDedup) { SeqWindow::default() } else { camera.window };
                [u64::from(window.epoch), window.highest, window.below, window.below_exempt]
            })),
            prints: packed(records().map(|camera| join_prints(camera.window.prints))),
        }
    }

    /// The cameras again, of a pool of so many networks, with the seed of their index.
    ///
    /// # Errors
    /// When lengths disagree, or a value is out of its bounds.
    pub(super) fn restore(&self, seed: u64, networks: usize) -> Result<Cameras, DecodeError> {
        ensure(self.count <= POOL_CAMERAS_MAX, "more cameras than an organization may have")?;
        let count = usize::try_from(self.count).unwrap_or(usize::MAX);
        // Each id takes a byte at least, so that the count is bounded by what is there.
        ensure(count <= self.ids.len(), "fewer ids than cameras")?;
        let records = Rows::<1>::iter(&rows(&self.flags, count)?)
            .zip(rows::<2>(&self.usage, count)?.iter())
            .zip(rows::<4>(&self.windows, count)?.iter())
            .zip(rows::<2>(&self.prints, count)?.iter());
        let lengths = rows::<1>(&self.id_lengths, count)?;
        let mut ids = &*self.ids;
        let mut cameras = Cameras::new(seed);
        cameras.reserve(count);
        for ([length], ((([flags], usage), window), prints)) in lengths.iter().zip(records) {
            if cameras.slots().is_multiple_of(PAUSE_ROWS) {
                may_pause();
            }
            let camera = restore_camera(flags, usage, window, prints)?;
            let place = usize::try_from(camera.network).unwrap_or(usize::MAX);
            ensure(place < networks, "a camera in a network that is not there")?;
            add(&mut cameras, wire::take(&mut ids, usize::try_from(length).unwrap_or(usize::MAX))?, camera)?;
        }
        wire::end(ids)?;
        Ok(cameras)
    }
}

fn packed<const N: usize>(rows: impl Iterator<Item = [u64; N]> + Clone) -> Cow<'static, [u8]> {
    let mut out = Vec::new();
    columns::encode_rows(&mut out, rows);
    out.into()
}

fn rows<const N: usize>(mut bytes: &[u8], count: usize) -> Result<Rows<'_, N>, DecodeError> {
    let rows = Rows::take(&mut bytes, count)?;
    wire::end(bytes)?;
    Ok(rows)
}

fn add(cameras: &mut Cameras, id: &[u8], camera: Camera) -> Result<(), DecodeError> {
    let id =
        str::from_utf8(id).ok().and_then(|id| CameraId::new(id).ok()).ok_or(DecodeError("a camera's id"))?;
    ensure(cameras.find(id.as_str().as_bytes()).is_none(), "two cameras of one id")?;
    cameras.push(id.as_str(), camera);
    Ok(())
}

fn flags_of(camera: &Camera) -> u8 {
    let started = if camera.window.started { STARTED } else { 0 };
    let exempt = if camera.window.highest_exempt { HIGHEST_EXEMPT } else { 0 };
    camera.flags.0 | started | exempt
}

fn restore_camera(
    flags: u64,
    [network, used]: [u64; 2],
    [epoch, highest, below, below_exempt]: [u64; 4],
    prints: [u64; 2],
) -> Result<Camera, DecodeError> {
    let flags =
        u8::try_from(flags).ok().filter(|flags| flags & !(CAMERA_FLAGS | STARTED | HIGHEST_EXEMPT) == 0);
    let flags = flags.ok_or(DecodeError("a camera's flags"))?;
    let window = SeqWindow {
        highest,
        below,
        below_exempt,
        prints: split_prints(prints),
        epoch: u32::try_from(epoch).map_err(|_| DecodeError("a camera's epoch"))?,
        started: flags & STARTED != 0,
        highest_exempt: flags & HIGHEST_EXEMPT != 0,
    };
    ensure(
        window.started || window == SeqWindow::default(),
        "a camera's window that holds what was never charged",
    )?;
    ensure(below_exempt & !below == 0, "a camera's window with exempt numbers that were never charged")?;
    let network = u32::try_from(network).map_err(|_| DecodeError("a camera's network"))?;
    Ok(Camera { window, used, network, flags: CameraFlags(flags & CAMERA_FLAGS) })
}

fn join_prints([a, b, c, d, e, f, g, h]: [u16; 8]) -> [u64; 2] {
    [[a, b, c, d], [e, f, g, h]]
        .map(|four| four.iter().rev().fold(0, |joined, print| joined << 16 | u64::from(*print)))
}

fn split_prints(joined: [u64; 2]) -> [u16; 8] {
    let [[a, b, c, d, e, f, g, h], [i, j, k, l, m, n, o, p]] = joined.map(u64::to_le_bytes);
    [[a, b], [c, d], [e, f], [g, h], [i, j], [k, l], [m, n], [o, p]].map(u16::from_le_bytes)
}
