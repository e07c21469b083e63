//! What the outside world knows: what was acknowledged, and what was written, whatever happens to the meter.

use tokenweir::domain::debit::Outcome;
use tokenweir::domain::ids::{Lsn, OrgId};
use tokenweir::domain::time::Timestamp;
use tokenweir::protocol::coordinator::Answer;
use tokenweir::storage::retention;

use super::script::{Item, START_MS};

/// What is known outside of the meter, whatever happens to it.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    /// By partition: the last frame that the journal called durable.
    pub(crate) durable: [Lsn; 2],
    /// By partition: the last frame that was handed to the journal.
    pub(crate) offered: [Lsn; 2],
    /// By partition: the first frame of the newest group that was durable.
    pub(crate) last_group: [Lsn; 2],
    /// Debits that were answered.
    pub(crate) debits: Vec<(OrgId, Item, Outcome)>,
    /// Answers of the coordinator.
    pub(crate) answers: Vec<Answer>,
    pub(crate) now: Timestamp,
    /// By partition: the state after each frame, from frame 0 on, where it is wanted.
    pub(crate) trace: Option<[Vec<Vec<u8>>; 2]>,
    pub(crate) retired: retention::Retired,
    /// A fault of the shell that the checks must find.
    pub(crate) plant: Option<Plant>,
}

/// What a shell could do wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plant {
    /// Replies and messages leave before their group is durable.
    LeaveBeforeDurable,
    /// A snapshot holds what is not durable yet.
    SnapshotBeforeDurable,
    /// What a crash interrupted is not taken up again.
    ForgetToRecover,
}

impl Default for Ledger {
    fn default() -> Self {
        let now = Timestamp::from_ms(START_MS).expect("in range");
        let (durable, offered, last_group) = ([Lsn(0); 2], [Lsn(0); 2], [Lsn(0); 2]);
        let retired = retention::Retired::default();
        Self {
            durable,
            offered,
            last_group,
            debits: Vec::new(),
            answers: Vec::new(),
            now,
            trace: None,
            retired,
            plant: None,
        }
    }
}
