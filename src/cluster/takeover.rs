//! How one becomes the owner of a partition: his fence becomes the last record, by compare and set.
//!
//! Who tries this has an epoch that nobody else ever has, higher than those before; who gave it to him is not asked here. From the fence on every append of
//! an older epoch is refused, because it expects another last record. What is before the fence is all that there is to replay.
//!
//! Absent on purpose: the lease. When two believe that they have it, the higher epoch wins, whatever the clocks say.

use super::append::{self, Append, Heard, Last, Next, TRIES_MAX, Tip};
use super::record::{self, Header, Kind, Owned};

/// The state of a takeover.
#[derive(Debug)]
pub struct Takeover {
    owned: Owned,
    epoch: u64,
    /// How many fences were made: the batch of the last of them.
    batch: u64,
    /// What the fence is to be appended behind.
    behind: Tip,
    record: Vec<u8>,
    crc: u32,
    tries: u32,
}

impl Takeover {
    /// Begins with [`Next::Ask`].
    pub fn new(owned: Owned, epoch: u64) -> Self {
        Self { owned, epoch, batch: 0, behind: Tip::default(), record: Vec::new(), crc: 0, tries: 0 }
    }

    /// The record that is to be sent.
    pub fn record(&self) -> &[u8] {
        &self.record
    }

    /// The sequence that it is to be appended behind.
    pub fn expected(&self) -> u64 {
        self.behind.sequence
    }

    /// The id of that record.
    pub fn id(&self) -> String {
        append::id(self.owned, self.epoch, self.batch)
    }

    /// The last record is the fence already, or the fence is to be sent behind it.
    fn last(&mut self, last: Last) -> Next {
        if last.epoch == self.epoch && self.batch > 0 && last.tip.crc == self.crc {
            self.behind = last.tip;
            return Next::Durable;
        }
        if last.epoch >= self.epoch {
            return Next::Ended(format!(
                "epoch {} has taken it over, this is epoch {}",
                last.epoch, self.epoch
            ));
        }
        if self.batch == 0 || last.tip != self.behind {
            self.behind = last.tip;
            self.batch += 1;
            let (epoch, batch, previous) = (self.epoch, self.batch, last.tip.crc);
            let header = Header { kind: Kind::Fence, epoch, batch, previous };
            (self.record, self.crc) = record::encode(self.owned, header, b"");
        }
        Next::Send
    }

    /// Takes what was heard of the last step.
    pub fn hear(&mut self, heard: Heard) -> Next {
        match heard {
            Heard::Stored(sequence) => {
                self.behind = Tip { sequence, crc: self.crc };
                Next::Durable
            }
            Heard::Refused(why) | Heard::Unknown(why) | Heard::Unreadable(why) => {
                self.tries += 1;
                if self.tries > TRIES_MAX {
                    return Next::Ended(format!("the fence could not be appended: {why}"));
                }
                Next::Ask
            }
            Heard::Last(last) => self.last(last.unwrap_or_default()),
        }
    }

    /// How often something was tried again.
    pub fn tries(&self) -> u32 {
        self.tries
    }

    /// The protocol of the owner, once the fence is durable.
    pub fn into_append(self) -> Append {
        Append::new(self.owned, self.epoch, self.batch, self.behind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::DirectoryId;

    fn takeover() -> Takeover {
        Takeover::new(Owned { partition: 0, directory: DirectoryId([1; 16]) }, 5)
    }

    fn before(sequence: u64, epoch: u64) -> Heard {
        Heard::Last(Some(Last { tip: Tip { sequence, crc: 1 }, epoch, batch: 1 }))
    }

    #[test]
    fn i9_a_takeover_fences_behind_the_last_record() {
        let mut takeover = takeover();
        assert_eq!(takeover.hear(before(7, 4)), Next::Send);
        assert_eq!(takeover.expected(), 7);
        assert_eq!(takeover.hear(Heard::Stored(8)), Next::Durable);
        assert_eq!(takeover.into_append().tip().sequence, 8);
    }

    #[test]
    fn i9_a_takeover_that_is_overtaken_ends() {
        for epoch in [5, 6] {
            assert!(matches!(takeover().hear(before(7, epoch)), Next::Ended(_)), "epoch {epoch}");
        }
        let mut takeover = takeover();
        takeover.hear(before(7, 4));
        assert_eq!(takeover.hear(Heard::Refused("another".to_owned())), Next::Ask);
        assert!(matches!(takeover.hear(before(8, 6)), Next::Ended(_)));
    }

    #[test]
    fn a_fence_of_unknown_outcome_is_found_or_sent_again() {
        let mut takeover = takeover();
        takeover.hear(Heard::Last(None));
        let first = takeover.record().to_vec();
        assert_eq!(takeover.hear(Heard::Unknown("timed out".to_owned())), Next::Ask);
        assert_eq!(takeover.hear(Heard::Last(None)), Next::Send);
        assert_eq!(takeover.record(), first, "the same bytes, under the same id");
        assert_eq!(takeover.hear(Heard::Refused("not the last".to_owned())), Next::Ask);
        let mine = Last { tip: Tip { sequence: 1, crc: takeover.crc }, epoch: 5, batch: 1 };
        assert_eq!(takeover.hear(Heard::Last(Some(mine))), Next::Durable);
    }

    #[test]
    fn a_refused_fence_is_made_anew_behind_what_came_between() {
        let mut takeover = takeover();
        takeover.hear(before(7, 4));
        let first = takeover.id();
        takeover.hear(Heard::Refused("not the last".to_owned()));
        assert_eq!(takeover.hear(before(8, 4)), Next::Send);
        assert_eq!(takeover.expected(), 8);
        assert_ne!(takeover.id(), first);
    }
}
