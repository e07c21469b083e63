//! The log of a partition, open for its owner: drives the append protocol against whoever keeps it.
//!
//! What it reached and where groups begin is shared with the store, which reads and purges.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::ids::Lsn;
use crate::storage::{Fault, GroupLog, Result};
use crate::telemetry::clock;
use crate::telemetry::cluster::AppendMeters;
use crate::telemetry::metric::gauge_value;

use super::append::{Append, Heard, Last, Next, Tip};
use super::record::{self, Kind, Owned, PAYLOAD_BYTES_MAX};
use super::remote::{Answer, Remote};

/// So much of the newest groups is kept in memory for who follows the log.
const RECENT_BYTES_MAX: usize = 4 << 20;

/// So much lies between two places that are remembered, unless segments would be shorter.
const STEP_BYTES_MAX: u64 = 64 << 10;

/// Where groups begin in the log, for purging: not each, but one in so many bytes.
#[derive(Debug)]
pub(super) struct Begins {
    places: VecDeque<Begin>,
    step_bytes: u64,
    bytes: u64,
    /// Nothing is kept before this sequence; zero where that is not known.
    begin: u64,
    /// The last record that the log's owner knows to be durable; none before there was one.
    tip: Option<Tip>,
    /// The newest groups, each with its first lsn; none while nobody follows.
    recent: Option<VecDeque<(Lsn, Arc<[u8]>)>>,
    recent_bytes: usize,
}

impl Default for Begins {
    fn default() -> Self {
        Self {
            places: VecDeque::new(),
            step_bytes: STEP_BYTES_MAX,
            bytes: 0,
            begin: 0,
            tip: None,
            recent: None,
            recent_bytes: 0,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Begin {
    first: Lsn,
    sequence: u64,
    /// Bytes of groups before it.
    before: u64,
}

/// The places, shared by the log that adds and the store that purges.
pub(super) type Places = Arc<Mutex<Begins>>;

/// The log of a partition that this node owns, or owned.
#[derive(Debug)]
pub struct ReplicatedLog {
    remote: Arc<dyn Remote>,
    append: Append,
    next: Lsn,
    places: Places,
    meters: AppendMeters,
}

impl Begins {
    /// Remembers more places than it would, where segments are to be this short.
    pub(super) fn segments_of(&mut self, bytes: u64) {
        self.step_bytes = bytes.min(STEP_BYTES_MAX);
    }

    /// Notes that nothing is kept before this sequence.
    pub(super) fn begin_at(&mut self, sequence: u64) {
        self.begin = sequence;
    }

    /// Notes that the group from `first` on, of so many bytes, begins at a sequence.
    pub(super) fn note(&mut self, first: Lsn, sequence: u64, bytes: u64) {
        let before = self.bytes;
        if self.places.back().is_none_or(|last| before - last.before >= self.step_bytes) {
            self.places.push_back(Begin { first, sequence, before });
        }
        self.bytes += bytes;
    }

    /// The sequence of the newest remembered group that begins at `due` or before it, has `keep_bytes` behind it, and is not held: of what follows the
    /// first lsn of `held` the newest bytes are, so many as its second part says. What is before that group is forgotten here.
    pub(super) fn purge(&mut self, due: Lsn, keep_bytes: u64, held: Option<(Lsn, u64)>) -> Option<u64> {
        let bytes = self.bytes;
        let is_held = |begin: &Begin| {
            held.is_some_and(|(read, bytes_max)| {
                begin.first.0 > read.0.saturating_add(1) && bytes - begin.before < bytes_max
            })
        };
        let may_go =
            |begin: &Begin| begin.first <= due && bytes - begin.before >= keep_bytes && !is_held(begin);
        let newest = self.places.iter().rposition(may_go)?;
        let sequence = self.places.get(newest).map(|place| place.sequence).filter(|due| *due > self.begin)?;
        self.places.drain(..newest);
        self.begin = sequence;
        Some(sequence)
    }

    /// A sequence from which on the log holds the frame `lsn`, as near as is remembered.
    pub(super) fn before(&self, lsn: Lsn) -> u64 {
        let after = self.places.partition_point(|begin| begin.first <= lsn);
        after.checked_sub(1).map_or(0, |place| self.places[place].sequence)
    }

    /// Keeps the newest groups from now on.
    pub(super) fn keep_recent(&mut self) {
        self.recent.get_or_insert_default();
    }

    /// Notes the bytes of a group that is durable.
    fn remember(&mut self, first: Lsn, bytes: &[u8]) {
        let Some(recent) = &mut self.recent else { return };
        recent.push_back((first, bytes.into()));
        self.recent_bytes += bytes.len();
        while self.recent_bytes > RECENT_BYTES_MAX {
            let Some((_, oldest)) = recent.pop_front() else { break };
            self.recent_bytes -= oldest.len();
        }
    }

    /// The group that holds the frame `lsn`, where it is one of the newest.
    pub(super) fn recent(&self, lsn: Lsn) -> Option<Arc<[u8]>> {
        let recent = self.recent.as_ref()?;
        let after = recent.partition_point(|(first, _)| *first <= lsn);
        after.checked_sub(1).map(|place| Arc::clone(&recent[place].1))
    }

    /// Notes the last record that is durable.
    pub(super) fn reached(&mut self, tip: Tip) {
        self.tip = Some(tip);
    }

    /// The last record that is durable, where this node opened the log.
    pub(super) fn tip(&self) -> Option<Tip> {
        self.tip
    }

    /// The sequence of the newest remembered group, whatever holds it.
    pub(super) fn newest(&self) -> Option<u64> {
        self.places.back().map(|begin| begin.sequence)
    }
}

impl ReplicatedLog {
    /// The log of an owner whose fence is durable, and who replayed what is before it.
    pub(super) fn new(remote: Arc<dyn Remote>, append: Append, next: Lsn, places: Places) -> Self {
        let meters = AppendMeters::new(append.owned().partition);
        Self { remote, append, next, places, meters }
    }

    /// Appends one record, and does `meanwhile` while it is on its way; it is durable when this returns.
    fn write(&mut self, kind: Kind, payload: &[u8], meanwhile: &mut dyn FnMut()) -> Result<u64> {
        if let Some(why) = self.append.ended() {
            return Err(Fault::Deposed { place: self.remote.place(), cause: why.to_owned() });
        }
        let (mut next, mut tries, begun) = (self.append.begin(kind, payload), 0, clock::start());
        let AppendMeters { seconds, stored, resolved, refused, ended, .. } = &self.meters;
        loop {
            next = match next {
                Next::Send => {
                    let expected = self.append.tip().sequence;
                    let (record, id) = (self.append.record(), self.append.id());
                    let answer = self.remote.append_and(record, expected, &id, meanwhile);
                    self.append.hear(answer.into())
                }
                Next::Ask => {
                    tries += 1;
                    self.remote.pause(tries);
                    self.append.hear(last(&*self.remote, self.append.owned()))
                }
                Next::Durable => {
                    seconds.record(begun.elapsed().as_secs_f64());
                    if tries == 0 { stored } else { resolved }.increment(1);
                    return Ok(self.append.tip().sequence);
                }
                Next::Ended(cause) => {
                    if tries == 0 { refused } else { ended }.increment(1);
                    return Err(Fault::Deposed { place: self.remote.place(), cause });
                }
            };
        }
    }
}

impl GroupLog for ReplicatedLog {
    fn append_group(&mut self, first: Lsn, frames: u32, bytes: &[u8]) -> Result<()> {
        self.append_group_and((first, frames), bytes, &mut || {})
    }

    fn append_group_and(
        &mut self,
        (first, frames): (Lsn, u32),
        bytes: &[u8],
        meanwhile: &mut dyn FnMut(),
    ) -> Result<()> {
        assert_eq!(first, self.next, "a group starts where the last one ended");
        let after = first.0.checked_add(frames.into()).expect("a log ends before lsn 2^64");
        let parts = bytes.len().div_ceil(PAYLOAD_BYTES_MAX);
        let parts = u16::try_from(parts).expect("what an engine has in flight is bounded far below");
        let mut begin = None;
        for (part, payload) in (0..parts).zip(bytes.chunks(PAYLOAD_BYTES_MAX)) {
            let kind = Kind::Group { first, last: Lsn(after - 1), part, parts };
            let sequence = self.write(kind, payload, meanwhile)?;
            begin.get_or_insert(sequence);
        }
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.meters.group_bytes.record(gauge_value(length));
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.note(first, begin.expect("a group is not empty"), length);
        places.remember(first, bytes);
        places.reached(self.append.tip());
        self.next = Lsn(after);
        Ok(())
    }

    fn next_lsn(&self) -> Lsn {
        self.next
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn confirm(&mut self) -> Result<()> {
        self.write(Kind::Confirmation, b"", &mut || {}).map(drop)
    }
}

impl From<Answer> for Heard {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Stored(sequence) => Self::Stored(sequence),
            Answer::Refused(why) => Self::Refused(why),
            Answer::Unknown(why) => Self::Unknown(why),
        }
    }
}

/// Reads the last record.
pub(super) fn last(remote: &dyn Remote, owned: Owned) -> Heard {
    let stored = match remote.last() {
        Ok(Some(stored)) => stored,
        Ok(None) => return Heard::Last(None),
        Err(why) => return Heard::Unreadable(why),
    };
    match record::decode(owned, &stored.bytes) {
        Ok(record) => {
            let tip = Tip { sequence: stored.sequence, crc: record.crc };
            Heard::Last(Some(Last { tip, epoch: record.header.epoch, batch: record.header.batch }))
        }
        Err(why) => Heard::Unreadable(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_remembered_sparsely_and_forgotten_below_what_is_kept() {
        let mut begins = Begins::default();
        begins.begin_at(1_000);
        for group in 0..100_u64 {
            begins.note(Lsn(1 + group * 10), 1_000 + group * 3, 8 << 10);
        }
        assert_eq!(begins.places.len(), 13);
        assert_eq!(begins.purge(Lsn(80), 0, None), None, "nothing is before the first place");
        assert_eq!(begins.purge(Lsn(81), 0, None), Some(1_024));
        assert_eq!(begins.purge(Lsn(400), 0, None), Some(1_096), "the group that begins at 321");
        assert_eq!(begins.purge(Lsn(900), 500 << 10, None), None, "so many bytes are to be kept");
        assert_eq!(begins.newest(), Some(1_288));
        assert_eq!(begins.before(Lsn(410)), 1_120);
        let held = |lsn, bytes| Some((Lsn(lsn), bytes));
        assert_eq!(begins.purge(Lsn(900), 0, held(399, 1 << 30)), None, "what follows is not read yet");
        assert_eq!(begins.purge(Lsn(900), 0, held(480, 1 << 30)), Some(1_144), "it is read up to there");
        assert_eq!(begins.purge(Lsn(900), 0, held(480, 300 << 10)), Some(1_168), "so much is held at most");
    }

    #[test]
    fn what_is_before_the_first_place_goes_where_it_was_never_read() {
        let mut begins = Begins::default();
        begins.note(Lsn(50), 1_000, 8 << 10);
        assert_eq!(begins.purge(Lsn(49), 0, None), None, "it is due still");
        assert_eq!(begins.purge(Lsn(50), 0, None), Some(1_000));
        assert_eq!(begins.purge(Lsn(50), 0, None), None, "it is gone");
    }
}

#[cfg(all(test, feature = "server"))]
mod counted {
    use super::*;
    use crate::cluster::ReplicatedStore;
    use crate::cluster::sim_log::{Fate, SimLog};
    use crate::storage::fixture::{SMALL, group};
    use crate::storage::{DirectoryId, Store as _};

    /// What the appends of partition 0 came to: stored, resolved, refused.
    fn outcomes(told: &str) -> [bool; 3] {
        ["stored", "resolved", "refused"].map(|outcome| {
            let series =
                format!("tokenweir_cluster_appends_total{{partition=\"0\",outcome=\"{outcome}\"}} 1");
            told.lines().any(|line| line == series)
        })
    }

    #[test]
    fn appends_are_counted_by_what_they_came_to() {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let (handle, remote) = (recorder.handle(), SimLog::default());
        let owned = Owned { partition: 0, directory: DirectoryId([1; 16]) };
        metrics::with_local_recorder(&recorder, || {
            let open = |epoch| {
                let store = ReplicatedStore::new(Arc::new(remote.clone()), owned, epoch);
                store.open(SMALL, Lsn(0), &mut |_| Ok(())).expect("taken over").0
            };
            let append = |log: &mut dyn GroupLog| {
                let first = log.next_lsn();
                log.append_group(first, 1, &group(first, 1))
            };
            let mut first = open(1);
            append(&mut *first).expect("stored");
            assert_eq!(outcomes(&handle.render()), [true, false, false]);
            remote.fate(Fate::Unheard);
            append(&mut *first).expect("found to be kept");
            assert_eq!(outcomes(&handle.render()), [true, true, false]);
            let _second = open(2);
            append(&mut *first).expect_err("another is the owner");
            append(&mut *first).expect_err("it sends nothing any more");
            assert_eq!(outcomes(&handle.render()), [true, true, true]);
        });
    }
}
