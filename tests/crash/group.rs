//! The frames of a partition that become durable together, and what waits for it.

use tokenweir::domain::debit::Outcome;
use tokenweir::domain::ids::{Lsn, OrgId};
use tokenweir::protocol::coordinator::Answer;
use tokenweir::protocol::message::{ToCoordinator, ToOrg};
use tokenweir::storage::frame::{self, FrameMeta};

use super::script::Item;

pub(crate) struct Group {
    pub(crate) first: Lsn,
    pub(crate) frames: u32,
    pub(crate) bytes: Vec<u8>,
    pub(crate) releases: Vec<Release>,
}

/// What leaves when everything before it is durable.
pub(crate) enum Release {
    ToOrg(OrgId, ToOrg),
    ToCoordinator(ToCoordinator),
    Debits(OrgId, Vec<Item>, Vec<Outcome>),
    Answer(Answer),
}

impl Group {
    pub(crate) fn new(first: Lsn) -> Self {
        Self { first, frames: 0, bytes: Vec::new(), releases: Vec::new() }
    }

    pub(crate) fn last_lsn(&self) -> Lsn {
        Lsn(self.first.0 + u64::from(self.frames) - 1)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.frames == 0 && self.releases.is_empty()
    }

    pub(crate) fn append(&mut self, kind: u8, version: u8, encode: impl FnOnce(&mut Vec<u8>)) -> Lsn {
        let (lsn, group) = (self.last_lsn().next(), self.frames);
        let start = frame::begin(&mut self.bytes);
        encode(&mut self.bytes);
        frame::finish(&mut self.bytes, start, FrameMeta { lsn, group, kind, version });
        self.frames += 1;
        lsn
    }
}
