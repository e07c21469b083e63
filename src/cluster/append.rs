//! The owner's side of the append protocol: inputs in, the next step out, no input or output of its own.
//!
//! One record is in flight at a time. It names the sequence of the record that must be the last: the owner's own, or its fence. So what a stale owner
//! sends after somebody else's fence is refused, whenever it arrives.
//!
//! When the outcome of an append is unknown, the last record tells: it is the one that was sent, then it is durable; it is the one before
//! it, then the same bytes are sent again, and whichever copy arrives first is kept, for the other one is refused; it is any other, then somebody else
//! is the owner. What the last record tells may be old, which does no harm: nothing is acknowledged for its sake but the record itself.

use crate::planted::{self, Bug};

use super::record::{self, Header, Kind, Owned};

/// How often an outcome is asked for before the owner gives up: with the pauses between, longer than a stream is without a leader when a server dies.
pub const TRIES_MAX: u32 = 32;

/// The place of a record, and its checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tip {
    /// Its place; zero in an empty log.
    pub sequence: u64,
    /// Its checksum; zero in an empty log.
    pub crc: u32,
}

/// The last record as it was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Last {
    /// Where it is.
    pub tip: Tip,
    /// The epoch of its writer.
    pub epoch: u64,
    /// Its number in that epoch.
    pub batch: u64,
}

/// What is heard of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The record is kept at this sequence.
    Stored(u64),
    /// The record was not kept.
    Refused(String),
    /// Nobody knows.
    Unknown(String),
    /// This is the last record; none in an empty log.
    Last(Option<Last>),
    /// The last record cannot be read now.
    Unreadable(String),
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Append [`Append::record`] behind [`Append::tip`].
    Send,
    /// Read the last record.
    Ask,
    /// The record is durable.
    Durable,
    /// Ownership ended, or cannot be told from ended: nothing more may be appended.
    Ended(String),
}

/// The state of the protocol.
#[derive(Debug)]
pub struct Append {
    owned: Owned,
    epoch: u64,
    batch: u64,
    tip: Tip,
    record: Vec<u8>,
    crc: u32,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    Idle,
    /// The record is under way; `again` when an earlier copy may be kept.
    Sent {
        again: bool,
        tries: u32,
    },
    /// The outcome is unknown and the last record was asked for.
    Asked {
        tries: u32,
        why: String,
    },
    Ended(String),
}

impl Append {
    /// The protocol of an owner whose fence is the last record; `batch` is that of the fence.
    pub fn new(owned: Owned, epoch: u64, batch: u64, tip: Tip) -> Self {
        Self { owned, epoch, batch, tip, record: Vec::new(), crc: 0, state: State::Idle }
    }

    /// Whose log it is.
    pub fn owned(&self) -> Owned {
        self.owned
    }

    /// The last record that is known to be durable.
    pub fn tip(&self) -> Tip {
        self.tip
    }

    /// The record that is to be sent.
    pub fn record(&self) -> &[u8] {
        &self.record
    }

    /// The id of that record.
    pub fn id(&self) -> String {
        id(self.owned, self.epoch, self.batch)
    }

    /// Why nothing more may be appended, if that is so.
    pub fn ended(&self) -> Option<&str> {
        if let State::Ended(why) = &self.state { Some(why) } else { None }
    }

    /// Begins the next record.
    ///
    /// # Panics
    /// When one is under way: a bug of the caller.
    pub fn begin(&mut self, kind: Kind, payload: &[u8]) -> Next {
        if let State::Ended(why) = &self.state {
            return Next::Ended(why.clone());
        }
        assert!(matches!(self.state, State::Idle), "one record is in flight at a time");
        self.batch += 1;
        let header = Header { kind, epoch: self.epoch, batch: self.batch, previous: self.tip.crc };
        (self.record, self.crc) = record::encode(self.owned, header, payload);
        self.state = State::Sent { again: false, tries: 0 };
        Next::Send
    }

    /// Takes what was heard of the last step.
    ///
    /// # Panics
    /// When nothing was asked: a bug of the caller.
    pub fn hear(&mut self, heard: Heard) -> Next {
        match (self.state.clone(), heard) {
            (State::Sent { .. }, Heard::Stored(sequence)) => self.stored(sequence),
            (State::Sent { again: false, .. }, Heard::Refused(_))
                if planted::is(Bug::IgnoreRefusedAppend) =>
            {
                self.state = State::Idle;
                Next::Durable
            }
            (State::Sent { again: false, .. }, Heard::Refused(why)) => self.end(why),
            (State::Sent { tries, .. }, Heard::Refused(why) | Heard::Unknown(why)) => {
                self.ask(tries + 1, why)
            }
            (State::Asked { tries, .. }, Heard::Unreadable(why)) => self.ask(tries + 1, why),
            (State::Asked { tries, why }, Heard::Last(last)) => self.compare(last, tries, &why),
            (state, heard) => unreachable!("{heard:?} was not asked for: {state:?}"),
        }
    }

    fn compare(&mut self, last: Option<Last>, tries: u32, why: &str) -> Next {
        let last = last.unwrap_or_default();
        if planted::is(Bug::TreatUnknownAsFailed) {
            self.tip.sequence = last.tip.sequence;
        } else if last
            == (Last { tip: Tip { crc: self.crc, ..last.tip }, epoch: self.epoch, batch: self.batch })
        {
            return self.stored(last.tip.sequence);
        } else if last.tip.sequence > self.tip.sequence
            || (last.tip.sequence == self.tip.sequence && last.tip.crc != self.tip.crc)
        {
            return self.end(format!("another record is at sequence {}", last.tip.sequence));
        }
        if tries > TRIES_MAX {
            return self.end(format!("the outcome of an append stays unknown: {why}"));
        }
        self.state = State::Sent { again: true, tries };
        Next::Send
    }

    fn stored(&mut self, sequence: u64) -> Next {
        if sequence <= self.tip.sequence {
            return self.end(format!("an append was stored at sequence {sequence}, behind later ones"));
        }
        self.tip = Tip { sequence, crc: self.crc };
        self.state = State::Idle;
        Next::Durable
    }

    fn ask(&mut self, tries: u32, why: String) -> Next {
        if tries > TRIES_MAX {
            return self.end(format!("the outcome of an append stays unknown: {why}"));
        }
        self.state = State::Asked { tries, why };
        Next::Ask
    }

    fn end(&mut self, why: String) -> Next {
        self.state = State::Ended(why.clone());
        Next::Ended(why)
    }
}

/// The id of a record: no other one ever has it.
pub(super) fn id(owned: Owned, epoch: u64, batch: u64) -> String {
    format!("{}/{}/{epoch}/{batch}", owned.directory, owned.partition)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::DirectoryId;

    const TIP: Tip = Tip { sequence: 9, crc: 77 };

    fn sent() -> Append {
        let owned = Owned { partition: 0, directory: DirectoryId([1; 16]) };
        let mut append = Append::new(owned, 3, 1, TIP);
        assert_eq!(append.begin(Kind::Confirmation, b""), Next::Send);
        append
    }

    fn mine(append: &Append, sequence: u64) -> Heard {
        let tip = Tip { sequence, crc: append.crc };
        Heard::Last(Some(Last { tip, epoch: append.epoch, batch: append.batch }))
    }

    fn last(sequence: u64, crc: u32) -> Heard {
        Heard::Last(Some(Last { tip: Tip { sequence, crc }, epoch: 3, batch: 1 }))
    }

    fn unknown() -> Heard {
        Heard::Unknown("timed out".to_owned())
    }

    fn refused() -> Heard {
        Heard::Refused("wrong last sequence".to_owned())
    }

    #[test]
    fn i9_a_refused_append_ends_ownership_at_once() {
        let mut append = sent();
        assert!(matches!(append.hear(refused()), Next::Ended(_)));
        assert!(matches!(append.begin(Kind::Confirmation, b""), Next::Ended(_)));
        assert_eq!(append.tip(), TIP);
    }

    #[test]
    fn i3_an_unknown_append_is_durable_when_the_last_record_is_the_one_that_was_sent() {
        let mut append = sent();
        assert_eq!(append.hear(unknown()), Next::Ask);
        let heard = mine(&append, 12);
        assert_eq!(append.hear(heard), Next::Durable);
        assert_eq!(append.tip().sequence, 12);
    }

    #[test]
    fn i3_an_unknown_append_that_is_not_there_is_sent_again_and_its_refusal_is_looked_into() {
        let mut append = sent();
        let bytes = append.record().to_vec();
        append.hear(unknown());
        assert_eq!(append.hear(last(TIP.sequence, TIP.crc)), Next::Send);
        assert_eq!(append.record(), bytes, "the same bytes, under the same id");
        assert_eq!(append.hear(refused()), Next::Ask, "the first copy may have arrived meanwhile");
        let heard = mine(&append, 10);
        assert_eq!(append.hear(heard), Next::Durable);
    }

    #[test]
    fn i9_a_foreign_last_record_ends_ownership() {
        for foreign in [10, 9] {
            let mut append = sent();
            append.hear(unknown());
            assert!(matches!(append.hear(last(foreign, 1)), Next::Ended(_)), "{foreign:?}");
        }
    }

    #[test]
    fn i10_an_outcome_that_stays_unknown_ends_ownership() {
        let mut append = sent();
        let mut next = append.hear(unknown());
        let mut steps = 0;
        while !matches!(next, Next::Ended(_)) {
            steps += 1;
            assert!(steps < 4 * TRIES_MAX);
            next = match next {
                Next::Ask if steps % 3 == 0 => append.hear(Heard::Unreadable("no leader".to_owned())),
                Next::Ask => append.hear(last(TIP.sequence, TIP.crc)),
                Next::Send => append.hear(unknown()),
                other => panic!("{other:?}"),
            };
        }
        assert_eq!(append.tip(), TIP);
    }

    #[test]
    fn an_old_answer_for_the_last_record_acknowledges_nothing() {
        let mut append = sent();
        append.hear(unknown());
        assert_eq!(append.hear(last(4, 5)), Next::Send);
        assert_eq!(append.hear(Heard::Stored(10)), Next::Durable);
    }
}
