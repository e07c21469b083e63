//! A debit that was taken, as it is kept until it is answered.

use crate::client::batch;
use crate::domain::debit::{CameraRef, Debit, Identity, UsageKind};
use crate::domain::refusal::Invalid;
use crate::domain::time::Timestamp;

use super::purse::Place;

/// A debit that was taken.
#[derive(Debug)]
pub(super) struct Row {
    /// None where the identity is a sequence number.
    event_id: Option<Box<[u8]>>,
    time: Option<Timestamp>,
    seq: u64,
    epoch: u32,
    /// The camera, by its place in the table of the stream.
    pub(super) camera: u32,
    pub(super) tokens: u32,
    kind: UsageKind,
    pub(super) payer: Payer,
}

/// What pays a debit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Payer {
    /// The lease in this place.
    Lease(Place),
    /// The pool, because its lease ended before it was reported.
    Pool,
    /// The pool, because it was granted while the meter was unreachable.
    Open,
}

impl Row {
    /// Keeps a debit of the camera in this place.
    ///
    /// # Errors
    /// When a value is out of its bounds.
    #[inline]
    pub(super) fn new(debit: &Debit<'_>, camera: u32) -> Result<Self, Invalid> {
        let tokens = batch::check(debit)?;
        let (epoch, seq, event_id) = match debit.identity {
            Identity::Seq { epoch, seq } => (epoch, seq, None),
            Identity::EventId(_) if debit.time.is_none() => return Err(Invalid::EventIdWithoutTime),
            Identity::EventId(id) => (0, 0, Some(id.into())),
        };
        Ok(Self {
            event_id,
            time: debit.time,
            seq,
            epoch,
            camera,
            tokens,
            kind: debit.kind,
            payer: Payer::Open,
        })
    }

    /// The debit, with its camera named so.
    pub(super) fn debit<'a>(&'a self, camera: CameraRef<'a>) -> Debit<'a> {
        let identity = match &self.event_id {
            Some(id) => Identity::EventId(id),
            None => Identity::Seq { epoch: self.epoch, seq: self.seq },
        };
        Debit { camera, identity, tokens: self.tokens.into(), kind: self.kind, time: self.time }
    }

    /// Its epoch and sequence number; none where it has an event id.
    pub(super) fn seq(&self) -> Option<(u32, u64)> {
        self.event_id.is_none().then_some((self.epoch, self.seq))
    }
}
