//! A partition in a replicated log: what the engine opens when its journal is not in files.
//!
//! Opening it takes it over: the fence first, then the newest snapshot that was loaded is brought up to the fence by replay of what is behind it. An older owner
//! finds itself deposed by its next append.
//!
//! Snapshots are objects beside the log, in the bytes of a snapshot file. Each is read back before it counts, and the log is purged below
//! the older of the two newest that can be read, never above.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::ids::Lsn;
use crate::planted::{self, Bug};
use crate::storage::reader::Start;
use crate::storage::retention::SNAPSHOTS_KEPT;
use crate::storage::snapshot::{self, Owner};
use crate::storage::store::OnFrame;
use crate::storage::{
    Copies, Fault, Follow, GroupLog, Hold, JournalConfig, Layout, Reading, RecoveryReport, Result, Retired,
    Snapshot, SnapshotHeader, Store,
};

use super::append::{Append, Heard, Next, Tip};
use super::copies::Edition;
use super::follow::ReplicatedTail;
use super::log::{Places, ReplicatedLog, last};
use super::record::{self, Owned};
use super::remote::{Remote, Stored};
use super::replay::{Replay, Replayed};
use super::seek;
use super::takeover::Takeover;

/// How often what does not show itself at once is asked for.
const READ_TRIES_MAX: u32 = 8;

/// A partition in a replicated log, for an owner of one epoch.
#[derive(Debug)]
pub struct ReplicatedStore {
    pub(super) remote: Arc<dyn Remote>,
    owned: Owned,
    pub(super) epoch: u64,
    places: Places,
    /// The copies that there are of what follows the partition, as far as was looked.
    pub(super) editions: Mutex<BTreeMap<String, Vec<Edition>>>,
}

impl ReplicatedStore {
    /// The partition as `remote` keeps it. `epoch` is one that nobody else ever has, higher than any before.
    pub fn new(remote: Arc<dyn Remote>, owned: Owned, epoch: u64) -> Self {
        Self { remote, owned, epoch, places: Places::default(), editions: Mutex::default() }
    }

    /// The partition up to the record that is the last one now, for whoever only reads it: later records are not seen, and nothing is appended.
    ///
    /// # Errors
    /// When the last record cannot be had. One that is damaged is found by whoever reads up to it.
    pub fn as_it_is(remote: Arc<dyn Remote>, owned: Owned) -> Result<Self> {
        let store = Self::new(remote, owned, 0);
        let mut tries = 0;
        let last = loop {
            match store.remote.last() {
                Ok(last) => break last,
                Err(why) if tries == READ_TRIES_MAX => {
                    return Err(store.failed("read the last record of")(why));
                }
                Err(_) => {
                    tries += 1;
                    store.remote.pause(tries);
                }
            }
        };
        if let Some(Stored { sequence, bytes }) = last {
            let crc = record::decode(owned, &bytes).map_or(0, |record| record.crc);
            let tip = Tip { sequence, crc };
            store.places.lock().unwrap_or_else(PoisonError::into_inner).reached(tip);
        }
        Ok(store)
    }

    /// Makes a fence the last record.
    fn take_over(&self) -> Result<Append> {
        let mut takeover = Takeover::new(self.owned, self.epoch);
        let mut next = Next::Ask;
        loop {
            next = match next {
                Next::Ask => {
                    if takeover.tries() > 0 {
                        self.remote.pause(takeover.tries());
                    }
                    let heard = last(&*self.remote, self.owned);
                    if let (true, Heard::Last(last)) = (planted::is(Bug::ServeBeforeFence), &heard) {
                        let tip = last.unwrap_or_default().tip;
                        return Ok(Append::new(self.owned, self.epoch, 0, tip));
                    }
                    takeover.hear(heard)
                }
                Next::Send => {
                    let (record, id) = (takeover.record(), takeover.id());
                    let answer = self.remote.append(record, takeover.expected(), &id);
                    takeover.hear(answer.into())
                }
                Next::Durable => return Ok(takeover.into_append()),
                Next::Ended(cause) => return Err(Fault::Deposed { place: self.remote.place(), cause }),
            };
        }
    }

    fn replay(&self, start: Start, range: (u64, u64), on_frame: &mut OnFrame<'_>) -> Result<Replayed> {
        Replay::new(self.owned, self.remote.place(), start).run(&*self.remote, range, on_frame)
    }

    /// Replays what is behind a snapshot; with the sequence from which on it was read.
    fn replay_behind(&self, after: Lsn, until: u64, on_frame: &mut OnFrame<'_>) -> Result<(u64, Replayed)> {
        let from = seek::beginning(&*self.remote, self.owned, after.next(), until);
        seek::read_from(from, |from| {
            let found = self.replay(Start::After(after), (from, until), on_frame)?;
            Ok((from, found))
        })
    }

    /// The last record that is known of: the owner knows what the log holds at least, and the last record that others tell may be an old one.
    fn tip(&self) -> Option<Tip> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner).tip()
    }

    /// The sequence of the last record that is known of.
    fn known_end(&self) -> Result<u64> {
        if let Some(tip) = self.tip() {
            return Ok(tip.sequence);
        }
        let last = self.remote.last().map_err(self.failed("read the last record of"))?;
        Ok(last.map_or(0, |last| last.sequence))
    }

    /// A keeper that does not show all that it acknowledged is not believed.
    fn check_reached(&self, found: &Replayed, tip: Tip) -> Result<()> {
        if found.last == Some(tip) {
            return Ok(());
        }
        let cause = format!("it shows records up to {:?}, and {tip:?} is durable", found.last);
        Err(self.failed("read all of")(cause))
    }

    /// Keeps an object, and reads it back. A server that lags shows what was there before, for a moment.
    pub(super) fn keep_object(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.remote.put(name, bytes).map_err(self.failed("keep an object of"))?;
        for tries in 1..=READ_TRIES_MAX {
            let kept = self.remote.get(name).map_err(self.failed("read an object back from"))?;
            if kept.as_deref() == Some(bytes) {
                return Ok(());
            }
            self.remote.pause(tries);
        }
        let cause = "what was read back is not what was written".to_owned();
        Err(self.failed("keep an object of")(cause))
    }

    pub(super) fn failed(&self, action: &'static str) -> impl FnOnce(String) -> Fault + '_ {
        move |cause| Fault::Remote { action, place: self.remote.place(), cause }
    }

    pub(super) fn owner(&self) -> Owner {
        Owner { partition: self.owned.partition, directory: self.owned.directory }
    }

    /// The two newest snapshots that can be read, newest first; fewer when there are fewer.
    fn newest_good(&self, snapshots: &[Lsn]) -> Result<Vec<Lsn>> {
        let mut good = Vec::new();
        for &lsn in snapshots.iter().rev() {
            match self.load_snapshot(lsn) {
                Ok(_) => good.push(lsn),
                Err(fault) if fault.is_damage() => {
                    tracing::warn!(%fault, "an unreadable snapshot does not count as one that is kept");
                }
                Err(fault) => return Err(fault),
            }
            if good.len() == SNAPSHOTS_KEPT {
                break;
            }
        }
        Ok(good)
    }
}

impl Store for ReplicatedStore {
    fn partition(&self) -> u16 {
        self.owned.partition
    }

    fn place(&self) -> PathBuf {
        self.remote.place().into()
    }

    fn snapshot_place(&self, lsn: Lsn) -> PathBuf {
        self.place().join(Layout::snapshot_name(lsn))
    }

    fn is_begun(&self) -> Result<bool> {
        let last = self.remote.last().map_err(self.failed("read the last record of"))?;
        Ok(last.is_some())
    }

    fn open(
        &self,
        config: JournalConfig,
        after: Lsn,
        on_frame: &mut OnFrame<'_>,
    ) -> Result<(Box<dyn GroupLog>, RecoveryReport)> {
        let append = self.take_over()?;
        let tip = append.tip();
        let (from, found) = self.replay_behind(after, tip.sequence, on_frame)?;
        self.check_reached(&found, tip)?;
        if found.dropped > 0 {
            tracing::warn!(
                place = self.remote.place(),
                records = found.dropped,
                "dropped what a deposed owner left, which was never acknowledged"
            );
        }
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.segments_of(config.segment_bytes_min);
        if let Some((_, first, _)) = found.groups.first().filter(|_| from == 0) {
            places.begin_at(*first);
        }
        found.groups.iter().for_each(|(first, sequence, bytes)| places.note(*first, *sequence, *bytes));
        places.reached(tip);
        drop(places);
        let report = RecoveryReport {
            next: found.next,
            frames: found.frames,
            segments: 0,
            torn: None,
            removed: Vec::new(),
        };
        let (remote, places) = (Arc::clone(&self.remote), Arc::clone(&self.places));
        Ok((Box::new(ReplicatedLog::new(remote, append, found.next, places)), report))
    }

    fn first(&self) -> Result<Option<Lsn>> {
        let until = self.known_end()?;
        let mut replay = Replay::new(self.owned, self.remote.place(), Start::Oldest);
        let mut first = None;
        replay.read(&*self.remote, (0, until), &mut |_, group| {
            first = Some(group.due());
            Ok(ControlFlow::Break(()))
        })?;
        Ok(first)
    }

    fn read(&self, start: Start, on_frame: &mut OnFrame<'_>) -> Result<Reading> {
        let found = self.replay(start, (0, self.known_end()?), on_frame)?;
        if let Some(tip) = self.tip() {
            self.check_reached(&found, tip)?;
        }
        Ok(Reading { next: found.next, torn: None, pieces: found.pieces() })
    }

    fn snapshots(&self) -> Result<Vec<Lsn>> {
        let names = self.remote.names().map_err(self.failed("list the snapshots of"))?;
        let mut lsns: Vec<_> = names.iter().filter_map(|name| Layout::parse_snapshot(name)).collect();
        lsns.sort_unstable();
        Ok(lsns)
    }

    fn load_snapshot(&self, lsn: Lsn) -> Result<Snapshot> {
        let path = self.snapshot_place(lsn);
        let object =
            self.remote.get(&Layout::snapshot_name(lsn)).map_err(self.failed("read a snapshot of"))?;
        let bytes = object.ok_or_else(|| Fault::Missing {
            path: path.clone(),
            what: format!("a snapshot of everything up to lsn {lsn}"),
        })?;
        snapshot::from_bytes(self.owner(), &path, lsn, bytes)
    }

    fn write_snapshot(&self, header: SnapshotHeader, body: &[u8]) -> Result<()> {
        let (name, bytes) =
            (Layout::snapshot_name(header.lsn), snapshot::to_bytes(self.owner(), header, body));
        self.keep_object(&name, &bytes)
    }

    fn retire(&self, keep_bytes: u64, hold: Option<&Hold>) -> Result<Retired> {
        let snapshots = self.snapshots()?;
        let good = self.newest_good(&snapshots)?;
        let [_, older] = good[..] else { return Ok(Retired::default()) };
        let held = hold.map(|hold| (hold.read(self.partition()), hold.bytes_max()));
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let mut purge = places.purge(older.next(), keep_bytes, held);
        if planted::is(Bug::PurgeAboveSnapshot) {
            purge = places.newest();
        }
        drop(places);
        let superfluous: Vec<_> = snapshots.into_iter().filter(|lsn| *lsn < older).collect();
        for &lsn in &superfluous {
            self.remote.remove(&Layout::snapshot_name(lsn)).map_err(self.failed("remove a snapshot of"))?;
        }
        if let Some(sequence) = purge {
            self.remote.purge_before(sequence).map_err(self.failed("purge"))?;
        }
        Ok(Retired { snapshots: superfluous.len(), segments: usize::from(purge.is_some()) })
    }

    fn follow(&self, lsn: Lsn) -> Box<dyn Follow> {
        let (remote, places) = (Arc::clone(&self.remote), Arc::clone(&self.places));
        Box::new(ReplicatedTail::after(remote, self.owned, places, lsn))
    }

    fn copies(&self) -> Option<&dyn Copies> {
        Some(self)
    }
}
