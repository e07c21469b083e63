//! Remembers charged event ids (R13) until they are older than the retention.
//!
//! An id is kept as 12 bytes: 64 bits of a keyed hash, its time in units of six hours, 15 bits of content print and
//! whether it was exempt. Entries stand in sorted leaves of less than [`LEAF_ENTRIES_MAX`], found by the first bits of their
//! hash (extendible hashing: Fagin, Nievergelt, Pippenger, Strong, 1979). A leaf grows by one chunk of 32 after the other, all of one
//! size, so that the allocator keeps nothing between them and an entry costs less than 16 bytes. Two ids of one hash would be
//! told as one: with 100 million remembered, a new id meets such a hash with a chance below 6 in 10^12, and is then refused as
//! `conflict` or told as `duplicate`.
//!
//! The horizon only rises. An id whose time lies before it is too old, whatever the clock says later, so a clock
//! that jumped ahead and came back never lets an id be charged again.

use std::sync::Arc;

use smallvec::SmallVec;

use super::shared::Shared;
use super::time::Timestamp;

/// Entries of a leaf that is split.
pub const LEAF_ENTRIES_MAX: usize = 512;
/// Bytes of one entry as it is stored.
pub const ENTRY_BYTES: usize = 12;

/// Entries that are allocated together.
const CHUNK_ENTRIES: usize = 32;

const UNIT_MS: u64 = 6 * 60 * 60 * 1_000;
/// Time units are counted from the start of 2020, so that 16 bits last until 2064.
const UNITS_BEFORE_2020: u64 = 1_577_836_800_000 / UNIT_MS;

/// One remembered id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventEntry {
    high: u32,
    low: u32,
    unit: u16,
    print_and_exempt: u16,
}

/// What is remembered of an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenEvent {
    /// The first outcome was `exempt`.
    pub exempt: bool,
    /// Whether the content is the same as that of the first.
    pub same_content: bool,
}

/// Entries in a row of chunks, of which only the last is not full.
#[derive(Clone, Debug, Default)]
struct Entries {
    chunks: SmallVec<[Box<[EventEntry; CHUNK_ENTRIES]>; LEAF_ENTRIES_MAX / CHUNK_ENTRIES]>,
    len: usize,
}

/// The entries whose hashes share their first bits, sorted.
#[derive(Clone, Debug, Default)]
pub struct Leaf {
    entries: Entries,
    /// Entries of earlier units were dropped.
    swept: u16,
    /// How many first bits the hashes share.
    depth: u32,
}

/// All remembered ids of a pool.
#[derive(Debug)]
pub struct EventIds {
    leaves: Vec<Shared<Leaf>>,
    /// For each value of the first `bits` bits of a hash, the place of its leaf. Empty while there is no leaf.
    places: Vec<u32>,
    bits: u32,
    horizon: Timestamp,
}

impl EventIds {
    /// Remembers nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self { leaves: Vec::new(), places: Vec::new(), bits: 0, horizon: Timestamp::FIRST }
    }

    /// The time before which ids are too old.
    #[must_use]
    pub fn horizon(&self) -> Timestamp {
        self.horizon
    }

    /// Raises the horizon to `to`; never lowers it.
    pub fn raise_horizon(&mut self, to: Timestamp) {
        self.horizon = self.horizon.max(to);
    }

    /// What is remembered of the id with this hash.
    #[must_use]
    pub fn find(&self, hash: u64, print: u16) -> Option<SeenEvent> {
        let leaf = self.leaves.get(self.leaf_of(hash)?)?.get();
        let entry = leaf.entries.get(leaf.search(hash).ok()?);
        let seen = SeenEvent {
            exempt: entry.print_and_exempt & 1 == 1,
            same_content: entry.print_and_exempt | 1 == print | 1,
        };
        (entry.unit >= unit(self.horizon)).then_some(seen)
    }

    /// Remembers an id that was just charged.
    pub fn insert(&mut self, hash: u64, time: Timestamp, print: u16, exempt: bool) {
        self.insert_entry(EventEntry::new(hash, unit(time), print & !1 | u16::from(exempt)));
    }

    /// How many ids are remembered, those that may be dropped at the next chance included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.leaves.iter().map(|leaf| leaf.get().entries.len).sum()
    }

    /// Whether none is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory of the entries, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let spine =
            self.leaves.capacity() * size_of::<Shared<Leaf>>() + self.places.capacity() * size_of::<u32>();
        let leaf_bytes = |leaf: &Shared<Leaf>| leaf.get().entries.bytes();
        spine + self.leaves.iter().map(leaf_bytes).sum::<usize>()
    }

    /// Hands the leaves to a snapshot, in the order of their hashes.
    pub fn freeze(&mut self) -> Vec<Arc<Leaf>> {
        let mut order = self.places.clone();
        order.dedup();
        order.into_iter().map(|place| self.leaves[index(place)].freeze()).collect()
    }

    /// Rebuilds the memory from what [`pack`] stored, in pieces of whole entries. `None` when the bytes are not sorted entries.
    #[must_use]
    pub fn unpack<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, horizon: Timestamp) -> Option<Self> {
        let (mut ids, mut last) = (Self { horizon, ..Self::new() }, None);
        for piece in pieces {
            let (entries, rest) = piece.as_chunks::<ENTRY_BYTES>();
            if !rest.is_empty() {
                return None;
            }
            for entry in entries.iter().map(EventEntry::from_bytes) {
                if last.replace(entry.hash()).is_some_and(|last| last >= entry.hash()) {
                    return None;
                }
                ids.insert_entry(entry);
            }
        }
        Some(ids)
    }

    fn insert_entry(&mut self, entry: EventEntry) {
        let Some(mut at) = self.leaf_of(entry.hash()) else {
            let entries = Entries::of([entry]);
            self.leaves.push(Shared::new(Leaf { entries, swept: unit(self.horizon), depth: 0 }));
            self.places.push(0);
            return;
        };
        let leaf = self.leaves[at].get_mut();
        leaf.sweep(unit(self.horizon));
        leaf.insert(entry);
        while self.leaves[at].get().is_overfull() {
            self.split(at, entry.hash());
            at = self.leaf_of(entry.hash()).unwrap_or(at);
        }
    }

    /// Splits the leaf at `at`, to which `hash` belongs, by its next bit.
    fn split(&mut self, at: usize, hash: u64) {
        let depth = self.leaves[at].get().depth;
        if depth == self.bits {
            self.places = self.places.iter().flat_map(|place| [*place, *place]).collect();
            self.bits += 1;
        }
        let upper = self.leaves[at].get_mut().split();
        let upper_place = u32::try_from(self.leaves.len()).expect("leaves are bounded by memory");
        self.leaves.push(Shared::new(upper));
        let span = 1 << (self.bits - depth);
        let first = prefix(hash, depth) * span;
        self.places[first + span / 2..first + span].fill(upper_place);
    }

    /// The leaf that `hash` belongs to; none while there is no leaf.
    fn leaf_of(&self, hash: u64) -> Option<usize> {
        self.places.get(prefix(hash, self.bits)).map(|place| index(*place))
    }
}

impl Default for EventIds {
    fn default() -> Self {
        Self::new()
    }
}

/// The remembered ids as bytes, sorted by hash, without those before the horizon: equal for equal content.
#[must_use]
pub fn pack<'a>(leaves: impl IntoIterator<Item = &'a Arc<Leaf>>, horizon: Timestamp) -> Vec<u8> {
    let kept = |entry: &&EventEntry| entry.unit >= unit(horizon);
    leaves
        .into_iter()
        .flat_map(|leaf| leaf.entries.iter())
        .filter(kept)
        .flat_map(|entry| entry.to_bytes())
        .collect()
}

impl EventEntry {
    fn new(hash: u64, unit: u16, print_and_exempt: u16) -> Self {
        let [a, b, c, d, e, f, g, h] = hash.to_be_bytes();
        let (high, low) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
        Self { high, low, unit, print_and_exempt }
    }

    fn hash(&self) -> u64 {
        u64::from(self.high) << 32 | u64::from(self.low)
    }

    fn to_bytes(self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[..8].copy_from_slice(&self.hash().to_be_bytes());
        bytes[8..10].copy_from_slice(&self.unit.to_le_bytes());
        bytes[10..].copy_from_slice(&self.print_and_exempt.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8; ENTRY_BYTES]) -> Self {
        let [a, b, c, d, e, f, g, h, u0, u1, p0, p1] = *bytes;
        let hash = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        Self::new(hash, u16::from_le_bytes([u0, u1]), u16::from_le_bytes([p0, p1]))
    }
}

impl Entries {
    fn of(entries: impl IntoIterator<Item = EventEntry>) -> Self {
        let mut all = Self::default();
        entries.into_iter().for_each(|entry| all.insert(all.len, entry));
        all
    }

    fn iter(&self) -> impl Iterator<Item = &EventEntry> {
        self.chunks.iter().flat_map(|chunk| chunk.iter()).take(self.len)
    }

    fn get(&self, at: usize) -> EventEntry {
        self.chunks[at / CHUNK_ENTRIES][at % CHUNK_ENTRIES]
    }

    fn set(&mut self, at: usize, entry: EventEntry) {
        self.chunks[at / CHUNK_ENTRIES][at % CHUNK_ENTRIES] = entry;
    }

    /// Puts `entry` before the one at `at`; of each chunk from there on the last moves to the next.
    fn insert(&mut self, at: usize, mut entry: EventEntry) {
        if self.len.is_multiple_of(CHUNK_ENTRIES) {
            self.chunks.push(Box::new([entry; CHUNK_ENTRIES]));
        }
        let mut from = at % CHUNK_ENTRIES;
        for chunk in &mut self.chunks[at / CHUNK_ENTRIES..] {
            let last = chunk[CHUNK_ENTRIES - 1];
            chunk.copy_within(from..CHUNK_ENTRIES - 1, from + 1);
            chunk[from] = std::mem::replace(&mut entry, last);
            from = 0;
        }
        self.len += 1;
    }

    fn retain(&mut self, keep: impl Fn(&EventEntry) -> bool) {
        let mut kept = 0;
        for at in 0..self.len {
            let entry = self.get(at);
            if keep(&entry) {
                self.set(kept, entry);
                kept += 1;
            }
        }
        self.truncate(kept);
    }

    fn truncate(&mut self, len: usize) {
        self.len = len;
        self.chunks.truncate(len.div_ceil(CHUNK_ENTRIES));
    }

    fn bytes(&self) -> usize {
        self.chunks.len() * CHUNK_ENTRIES * ENTRY_BYTES
    }
}

impl Leaf {
    /// Whether it must be split. Hashes that share 32 bits are left together.
    fn is_overfull(&self) -> bool {
        self.entries.len >= LEAF_ENTRIES_MAX && self.depth < 32
    }

    fn sweep(&mut self, before: u16) {
        if self.swept < before {
            self.entries.retain(|entry| entry.unit >= before);
            self.swept = before;
        }
    }

    /// Where the entry with this hash stands, or where it belongs. Hashes are spread evenly, so the search begins where it
    /// is to be expected and touches a cache line or two.
    fn search(&self, hash: u64) -> Result<usize, usize> {
        let fraction = hash.checked_shl(self.depth).unwrap_or(0) >> 48;
        let len = u64::try_from(self.entries.len).unwrap_or(u64::MAX);
        let mut at = usize::try_from((fraction * len) >> 16).unwrap_or(0);
        let hash_at = |at| self.entries.get(at).hash();
        while at > 0 && hash_at(at - 1) >= hash {
            at -= 1;
        }
        while at < self.entries.len && hash_at(at) < hash {
            at += 1;
        }
        if at < self.entries.len && hash_at(at) == hash { Ok(at) } else { Err(at) }
    }

    fn insert(&mut self, entry: EventEntry) {
        match self.search(entry.hash()) {
            Ok(at) => self.entries.set(at, entry),
            Err(at) => self.entries.insert(at, entry),
        }
    }

    /// Gives up the entries whose next bit is set.
    fn split(&mut self) -> Self {
        let bit = 1u64.rotate_right(1 + self.depth);
        let middle = self.entries.iter().take_while(|entry| entry.hash() & bit == 0).count();
        let upper: Vec<_> = self.entries.iter().skip(middle).copied().collect();
        self.entries.truncate(middle);
        self.depth += 1;
        Self { entries: Entries::of(upper), swept: self.swept, depth: self.depth }
    }
}

/// The first `bits` (at most 32) bits of a hash.
fn prefix(hash: u64, bits: u32) -> usize {
    usize::try_from(hash.checked_shr(64 - bits).unwrap_or(0)).unwrap_or(usize::MAX)
}

fn index(place: u32) -> usize {
    usize::try_from(place).unwrap_or(usize::MAX)
}

fn unit(time: Timestamp) -> u16 {
    u16::try_from((time.ms() / UNIT_MS).saturating_sub(UNITS_BEFORE_2020)).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_ms(1_700_000_000_000 + ms).expect("in range")
    }

    fn hash_of(n: u64) -> u64 {
        n.wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }

    #[test]
    fn r13_an_event_id_is_remembered_with_its_outcome_and_content() {
        let mut ids = EventIds::new();
        ids.insert(9, at(0), 0x1234, true);
        assert_eq!(ids.find(9, 0x1234), Some(SeenEvent { exempt: true, same_content: true }));
        assert_eq!(ids.find(9, 0x4321), Some(SeenEvent { exempt: true, same_content: false }));
        assert_eq!(ids.find(8, 0x1234), None);
    }

    #[test]
    fn r13_a_remembered_event_id_takes_at_most_sixteen_bytes() {
        let mut ids = EventIds::new();
        for n in 1..=300_000 {
            ids.insert(hash_of(n), at(n), 7, false);
            if n > 10_000 && n % 9_973 == 0 {
                assert!(ids.bytes() <= 16 * ids.len(), "{} bytes for {}", ids.bytes(), ids.len());
            }
        }
        assert!((1..=300_000).all(|n| ids.find(hash_of(n), 7).is_some()));
    }

    #[test]
    fn r13_the_horizon_never_falls_and_forgets_what_lies_before_it() {
        let day = 24 * 60 * 60 * 1_000;
        let mut ids = EventIds::new();
        for n in 1..=5_000 {
            ids.insert(hash_of(n), at(0), 7, false);
        }
        ids.raise_horizon(at(2 * day));
        ids.raise_horizon(at(day));
        assert_eq!(ids.horizon(), at(2 * day));
        assert_eq!(ids.find(hash_of(1), 7), None);
        for n in 5_001..=10_000 {
            ids.insert(hash_of(n), at(2 * day), 7, false);
        }
        assert!(ids.len() < 5_100, "{} kept", ids.len());
    }

    #[test]
    fn packed_ids_are_rebuilt_alike_and_disorder_is_refused() {
        let mut ids = EventIds::new();
        for n in 1..=3_000 {
            ids.insert(hash_of(n), at(0), 7, n % 2 == 0);
        }
        let packed = pack(&ids.freeze(), ids.horizon());
        let mut again = EventIds::unpack([&*packed], ids.horizon()).expect("sorted");
        assert_eq!(pack(&again.freeze(), again.horizon()), packed);
        assert_eq!(again.find(hash_of(2), 7), Some(SeenEvent { exempt: true, same_content: true }));
        let mut disorder = packed.clone();
        disorder.rotate_left(ENTRY_BYTES);
        assert!(EventIds::unpack([&*disorder], ids.horizon()).is_none());
        assert!(EventIds::unpack([&packed[1..]], ids.horizon()).is_none());
    }
}
