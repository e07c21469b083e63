//! The seam to whoever keeps a partition's log on several machines: few operations, each of which a test can make go wrong.
//!
//! It is that of a stream whose subject is the partition: records are numbered by a sequence that rises and may have gaps, and an append names the
//! sequence that must be the last. Absent on purpose: what a record holds, retrying, and any promise about time.

use std::fmt::Debug;
use std::ops::ControlFlow;

/// A record as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its place in the log.
    pub sequence: u64,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// What is known of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is kept, durably and by a majority, at this sequence.
    Stored(u64),
    /// It was not kept: the last record is another than was expected.
    Refused(String),
    /// It may be kept, now or later, or not.
    Unknown(String),
}

/// What a reader does with a record: it may have enough.
pub type OnRecord<'a> = dyn FnMut(Stored) -> Result<ControlFlow<()>, String> + 'a;

impl Answer {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Stored(_) => "stored",
            Self::Refused(_) => "refused",
            Self::Unknown(_) => "unknown",
        }
    }
}

/// Who keeps the log of one partition, and its snapshots. Calls block.
pub trait Remote: Send + Sync + Debug {
    /// Its name, for people.
    fn place(&self) -> String;

    /// Appends a record when the last one is at `expected`, zero for none. `id` is one for each record ever: a keeper may drop a
    /// second one of the same id.
    fn append(&self, record: &[u8], expected: u64, id: &str) -> Answer;

    /// The same, and does `meanwhile` as soon as the record is on its way; when this returns it was done.
    fn append_and(&self, record: &[u8], expected: u64, id: &str, meanwhile: &mut dyn FnMut()) -> Answer {
        meanwhile();
        self.append(record, expected, id)
    }

    /// The last record; none in an empty log. It may be an older one than the last: what rests on it must be appended behind it.
    ///
    /// # Errors
    /// Why it cannot be had now.
    fn last(&self) -> Result<Option<Stored>, String>;

    /// Hands over what is kept from the sequence `from` up to the sequence `until`, in order, until `on_record` has enough.
    ///
    /// # Errors
    /// Why it cannot be read, or what `on_record` returns.
    fn read(&self, from: u64, until: u64, on_record: &mut OnRecord<'_>) -> Result<(), String>;

    /// The first record that is kept at a sequence or behind it; none when there is none.
    ///
    /// # Errors
    /// Why it cannot be had now.
    fn first_from(&self, sequence: u64) -> Result<Option<Stored>, String>;

    /// Removes the records before a sequence.
    ///
    /// # Errors
    /// Why they may still be there.
    fn purge_before(&self, sequence: u64) -> Result<(), String>;

    /// Keeps an object durably under a name, whole or not at all, replacing one of that name.
    ///
    /// # Errors
    /// Why it may not be kept.
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), String>;

    /// An object; none when there is none.
    ///
    /// # Errors
    /// Why it cannot be had.
    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, String>;

    /// The names of all objects.
    ///
    /// # Errors
    /// Why they cannot be listed.
    fn names(&self) -> Result<Vec<String>, String>;

    /// Removes an object, if it is there.
    ///
    /// # Errors
    /// Why it may still be there.
    fn remove(&self, name: &str) -> Result<(), String>;

    /// Waits before something is tried for the `tries`th time.
    fn pause(&self, tries: u32);
}
