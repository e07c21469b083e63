//! A keeper of a replicated log in memory, for tests: it may be late, say nothing, say something old, or refuse.
//!
//! It keeps what a majority of servers keeps: an append is whole or absent, and accepted only behind the record that it names. What may go
//! wrong is what is between: an append that nobody answers was kept, or is lost, or arrives later, after whatever came meanwhile; a
//! copy arrives once more. It does not recognise a second copy by its id, as a real keeper does for a while: the protocol must not need that.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::remote::{Answer, OnRecord, Remote, Stored};

/// What happens to an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrives, and the answer as well.
    Answered,
    /// It arrives, the answer does not.
    Unheard,
    /// It never arrives.
    Lost,
    /// It arrives later, when [`SimLog::deliver`] says so.
    Late,
    /// It arrives, is answered, and arrives once more later.
    Twice,
    /// It arrives behind whatever was late.
    Overtaken,
}

/// The keeper; clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct SimLog(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    records: Vec<Stored>,
    last_sequence: u64,
    objects: BTreeMap<String, Vec<u8>>,
    late: Vec<(Vec<u8>, u64)>,
    fates: VecDeque<Fate>,
    /// So many reads of the last record give the one before it, or none.
    old: u32,
    /// So many reads of the last record fail.
    unreadable: u32,
    happened: BTreeMap<&'static str, u64>,
}

impl SimLog {
    /// What happens to the next appends, after those that were told before.
    pub fn fate(&self, fate: Fate) {
        self.kept().fates.push_back(fate);
    }

    /// The next read of the last record gives an old one.
    pub fn tell_old(&self) {
        self.kept().old += 1;
    }

    /// The next read of the last record fails.
    pub fn be_unreadable(&self) {
        self.kept().unreadable += 1;
    }

    /// A late append arrives; whether there was one.
    pub fn deliver(&self, pick: usize) -> bool {
        self.kept().deliver(pick)
    }

    /// Nothing goes wrong any more; what is late is lost.
    pub fn heal(&self) {
        let mut kept = self.kept();
        (kept.old, kept.unreadable) = (0, 0);
        kept.fates.clear();
        kept.late.clear();
    }

    /// How often what happened.
    pub fn happened(&self) -> BTreeMap<&'static str, u64> {
        self.kept().happened.clone()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn note(&mut self, what: &'static str) {
        *self.happened.entry(what).or_default() += 1;
    }

    fn apply(&mut self, record: &[u8], expected: u64) -> Answer {
        let last = self.records.last().map_or(0, |last| last.sequence);
        if last != expected {
            self.note("append refused");
            return Answer::Refused(format!("the last sequence is {last}"));
        }
        // Other partitions share the stream.
        self.last_sequence += 1 + self.last_sequence % 3;
        let sequence = self.last_sequence;
        self.records.push(Stored { sequence, bytes: record.to_vec() });
        Answer::Stored(sequence)
    }

    fn deliver(&mut self, pick: usize) -> bool {
        if self.late.is_empty() {
            return false;
        }
        let at = pick % self.late.len();
        let (record, expected) = self.late.swap_remove(at);
        let arrived = matches!(self.apply(&record, expected), Answer::Stored(_));
        self.note(if arrived { "late append stored" } else { "late append refused" });
        true
    }
}

impl Remote for SimLog {
    fn place(&self) -> String {
        "a simulated log".to_owned()
    }

    fn append(&self, record: &[u8], expected: u64, _: &str) -> Answer {
        let mut kept = self.kept();
        let unknown = Answer::Unknown("timed out".to_owned());
        let fate = kept.fates.pop_front().unwrap_or(Fate::Answered);
        match fate {
            Fate::Answered => kept.apply(record, expected),
            Fate::Unheard => {
                kept.note("append unheard");
                kept.apply(record, expected);
                unknown
            }
            Fate::Lost => {
                kept.note("append lost");
                unknown
            }
            Fate::Late => {
                kept.note("append late");
                kept.late.push((record.to_vec(), expected));
                unknown
            }
            Fate::Twice => {
                kept.note("append doubled");
                kept.late.push((record.to_vec(), expected));
                kept.apply(record, expected)
            }
            Fate::Overtaken => {
                while kept.deliver(expected.try_into().unwrap_or(0)) {
                    kept.note("append overtaken");
                }
                kept.apply(record, expected)
            }
        }
    }

    fn last(&self) -> Result<Option<Stored>, String> {
        let mut kept = self.kept();
        if kept.unreadable > 0 {
            kept.unreadable -= 1;
            kept.note("last record unreadable");
            return Err("no leader".to_owned());
        }
        if kept.old > 0 {
            kept.old -= 1;
            kept.note("last record old");
            return Ok(kept.records.iter().rev().nth(1).cloned());
        }
        Ok(kept.records.last().cloned())
    }

    fn read(&self, from: u64, until: u64, on_record: &mut OnRecord<'_>) -> Result<(), String> {
        let records = self.kept().records.clone();
        for stored in records.into_iter().filter(|stored| (from..=until).contains(&stored.sequence)) {
            self.kept().note("record read");
            if on_record(stored)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn first_from(&self, sequence: u64) -> Result<Option<Stored>, String> {
        let mut kept = self.kept();
        kept.note("record looked up");
        let place = kept.records.partition_point(|stored| stored.sequence < sequence);
        Ok(kept.records.get(place).cloned())
    }

    fn purge_before(&self, sequence: u64) -> Result<(), String> {
        let mut kept = self.kept();
        kept.records.retain(|stored| stored.sequence >= sequence);
        kept.note("log purged");
        Ok(())
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), String> {
        self.kept().objects.insert(name.to_owned(), bytes.to_vec());
        Ok(())
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, String> {
        Ok(self.kept().objects.get(name).cloned())
    }

    fn names(&self) -> Result<Vec<String>, String> {
        Ok(self.kept().objects.keys().cloned().collect())
    }

    fn remove(&self, name: &str) -> Result<(), String> {
        self.kept().objects.remove(name);
        Ok(())
    }

    fn pause(&self, _: u32) {}
}
