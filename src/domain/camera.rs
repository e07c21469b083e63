//! The cameras of a pool, in dense slots.
//!
//! What a debit touches is one record of 64 bytes. Ids and records stand in chunks of 256, so that a snapshot
//! takes them without copying. A removed camera keeps its slot and its window: registering it again never makes a charged
//! debit chargeable again (R13).

use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use serde::{Deserialize, Serialize};

use super::ids::{CameraId, Slot};
use super::seq_window::SeqWindow;
use super::shared::Shared;

const CHUNK: usize = 256;

/// The record of a camera: one line of the processor's cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(align(64))]
pub struct Camera {
    /// Which sequence numbers were charged.
    pub window: SeqWindow,
    /// Tokens charged for the camera, ever.
    pub used: u64,
    /// The index of its network in the pool.
    pub network: u32,
    /// What is set of the camera.
    pub flags: CameraFlags,
}

/// What is set of a camera, as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CameraFlags(pub u8);

impl CameraFlags {
    /// The organization has the camera.
    pub const REGISTERED: u8 = 1;
    /// Its Cloud AI is on.
    pub const CLOUD_AI: u8 = 2;
    /// It has a Pro License: recorded, never asked (R7).
    pub const PRO_LICENSE: u8 = 4;
    /// It has at least one Unlimited AI License bound.
    pub const BOUND: u8 = 8;

    /// Whether all of `bits` are set.
    #[inline]
    #[must_use]
    pub fn has(self, bits: u8) -> bool {
        self.0 & bits == bits
    }

    /// Sets or clears `bits`.
    pub fn set(&mut self, bits: u8, on: bool) {
        self.0 = if on { self.0 | bits } else { self.0 & !bits };
    }
}

/// The ids of one chunk of cameras: their text end to end, and where each ends.
#[derive(Clone, Debug, Default)]
pub struct CameraNames {
    text: String,
    ends: Vec<u16>,
}

impl CameraNames {
    /// The ids in slot order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.ends.len()).map(|i| self.get(i))
    }

    fn get(&self, i: usize) -> &str {
        let start = i.checked_sub(1).map_or(0, |before| usize::from(self.ends[before]));
        &self.text[start..usize::from(self.ends[i])]
    }

    fn push(&mut self, id: &str) {
        if self.ends.len() == self.ends.capacity() {
            let more = growth(self.ends.len());
            self.ends.reserve_exact(more);
            self.text.reserve_exact(id.len() * more);
        }
        self.text.push_str(id);
        self.ends.push(u16::try_from(self.text.len()).expect("256 ids of 64 bytes fit 16 bits"));
        if self.ends.len() == CHUNK {
            self.text.shrink_to_fit();
        }
    }
}

/// The cameras of a pool.
#[derive(Debug)]
pub struct Cameras {
    records: Vec<Shared<Vec<Camera>>>,
    names: Vec<Shared<CameraNames>>,
    slots: HashTable<u32>,
    hasher: FixedState,
    count: u32,
    registered: u32,
    cloud_ai: u32,
}

/// The cameras as a snapshot sees them.
#[derive(Clone, Debug)]
pub struct CamerasImage {
    /// Records, in chunks, in slot order.
    pub records: Vec<Arc<Vec<Camera>>>,
    /// Ids, in chunks, in slot order.
    pub names: Vec<Arc<CameraNames>>,
}

impl Cameras {
    /// No cameras; `seed` makes the places of ids in the index unpredictable for those who choose the ids.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            records: Vec::new(),
            names: Vec::new(),
            slots: HashTable::new(),
            hasher: FixedState::with_seed(seed),
            count: 0,
            registered: 0,
            cloud_ai: 0,
        }
    }

    /// Makes room in the index for so many more.
    pub fn reserve(&mut self, more: usize) {
        let (names, hasher) = (&self.names, &self.hasher);
        self.slots.reserve(more, |slot| hash_of(names, hasher, *slot));
    }

    /// The slot of the camera with this id, registered or removed.
    #[inline]
    #[must_use]
    pub fn find(&self, id: &[u8]) -> Option<Slot> {
        let same = |slot: &u32| self.name(Slot(*slot)).as_bytes() == id;
        self.slots.find(hash(&self.hasher, id), same).map(|slot| Slot(*slot))
    }

    /// The record in `slot`, if there is such a slot.
    #[inline]
    #[must_use]
    pub fn get(&self, slot: Slot) -> Option<&Camera> {
        self.records.get(slot.index() / CHUNK)?.get().get(slot.index() % CHUNK)
    }

    /// The record in `slot`, for a change.
    ///
    /// # Panics
    /// When there is no such slot: events name slots that exist.
    #[inline]
    pub fn get_mut(&mut self, slot: Slot) -> &mut Camera {
        &mut self.records[slot.index() / CHUNK].get_mut()[slot.index() % CHUNK]
    }

    /// The id of the camera in `slot`.
    ///
    /// # Panics
    /// When there is no such slot.
    #[must_use]
    pub fn name(&self, slot: Slot) -> &str {
        self.names[slot.index() / CHUNK].get().get(slot.index() % CHUNK)
    }

    /// The slot of `id`; a new one when there is none yet.
    pub fn slot_of(&mut self, id: &CameraId) -> Slot {
        self.find(id.as_str().as_bytes()).unwrap_or_else(|| self.push(id.as_str(), Camera::default()))
    }

    /// Adds a camera in the next slot.
    pub fn push(&mut self, id: &str, camera: Camera) -> Slot {
        let slot = self.count;
        if Slot(slot).index().is_multiple_of(CHUNK) {
            self.records.push(Shared::new(Vec::new()));
            self.names.push(Shared::new(CameraNames::default()));
        }
        let records = self.records.last_mut().expect("pushed above").get_mut();
        if records.len() == records.capacity() {
            records.reserve_exact(growth(records.len()));
        }
        records.push(camera);
        self.names.last_mut().expect("pushed above").get_mut().push(id);
        let (names, hasher) = (&self.names, &self.hasher);
        self.slots.insert_unique(hash(hasher, id.as_bytes()), slot, |slot| hash_of(names, hasher, *slot));
        self.count += 1;
        self.tally(CameraFlags(0), camera.flags);
        Slot(slot)
    }

    /// Changes what is set of a camera, and the counts that follow from it.
    pub fn set_flags(&mut self, slot: Slot, flags: CameraFlags) {
        let before = std::mem::replace(&mut self.get_mut(slot).flags, flags);
        self.tally(before, flags);
    }

    /// Slots in use, those of removed cameras included.
    #[must_use]
    pub fn slots(&self) -> u32 {
        self.count
    }

    /// Cameras the organization has.
    #[must_use]
    pub fn registered(&self) -> u32 {
        self.registered
    }

    /// Cameras the organization has whose Cloud AI is on.
    #[must_use]
    pub fn cloud_ai(&self) -> u32 {
        self.cloud_ai
    }

    /// All cameras with their ids, removed ones included, from `first` on, in slot order.
    pub fn iter_from(&self, first: Slot) -> impl Iterator<Item = (Slot, &str, &Camera)> {
        (first.0..self.count).map(|slot| {
            let slot = Slot(slot);
            (slot, self.name(slot), self.get(slot).expect("every slot has a record"))
        })
    }

    /// Memory of records, ids and index, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let records = self.records.iter().map(|chunk| chunk.get().capacity() * size_of::<Camera>());
        let names =
            self.names.iter().map(|chunk| chunk.get().text.capacity() + chunk.get().ends.capacity() * 2);
        let index = self.slots.capacity() * 8 / 7 * (size_of::<u32>() + 1);
        records.chain(names).sum::<usize>() + index
    }

    /// Hands the cameras to a snapshot.
    pub fn freeze(&mut self) -> CamerasImage {
        CamerasImage {
            records: self.records.iter_mut().map(Shared::freeze).collect(),
            names: self.names.iter_mut().map(Shared::freeze).collect(),
        }
    }

    fn tally(&mut self, before: CameraFlags, after: CameraFlags) {
        let both = CameraFlags::REGISTERED | CameraFlags::CLOUD_AI;
        let count = |flags: CameraFlags, bits| u32::from(flags.has(bits));
        self.registered += count(after, CameraFlags::REGISTERED);
        self.registered -= count(before, CameraFlags::REGISTERED);
        self.cloud_ai += count(after, both);
        self.cloud_ai -= count(before, both);
    }
}

/// How much room a chunk of so many cameras grows by: a quarter, and never past a whole chunk.
fn growth(len: usize) -> usize {
    (len / 4 + 1).min(CHUNK - len)
}

fn hash_of(names: &[Shared<CameraNames>], hasher: &FixedState, slot: u32) -> u64 {
    let at = Slot(slot).index();
    hash(hasher, names[at / CHUNK].get().get(at % CHUNK).as_bytes())
}

fn hash(hasher: &FixedState, id: &[u8]) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write(id);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_cache_line() {
        assert_eq!(size_of::<Camera>(), 64);
    }

    #[test]
    fn a_camera_takes_at_most_ninety_six_bytes() {
        let mut cameras = Cameras::new(7);
        for n in 0..200_000 {
            cameras.push(&format!("cam-{n:08}"), Camera::default());
        }
        assert!(cameras.bytes() <= 96 * 200_000, "{} a camera", cameras.bytes() / 200_000);
        assert_eq!(cameras.find(b"cam-00123456"), Some(Slot(123_456)));
        assert_eq!(cameras.find(b"cam-00200000"), None);
    }

    #[test]
    fn a_snapshot_keeps_what_the_cameras_were() {
        let mut cameras = Cameras::new(7);
        let slot = cameras.slot_of(&CameraId::new("a").expect("valid"));
        let image = cameras.freeze();
        cameras.get_mut(slot).used = 5;
        cameras.slot_of(&CameraId::new("b").expect("valid"));
        assert_eq!((image.records[0].len(), image.records[0][0].used), (1, 0));
        assert_eq!(image.names[0].iter().collect::<Vec<_>>(), ["a"]);
        assert_eq!(
            cameras.iter_from(Slot(0)).map(|(_, id, c)| (id, c.used)).collect::<Vec<_>>(),
            [("a", 5), ("b", 0)]
        );
    }
}
