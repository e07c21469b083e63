//! Debits that are sent together: their columns, kept until they are acknowledged.

use std::sync::Arc;
use std::time::Instant;

use crate::domain::debit::{Debit, Identity, Measured};
use crate::domain::limits::{DEBIT_TOKENS_MAX, EVENT_ID_BYTES_MAX};
use crate::domain::rates::Unit;
use crate::domain::refusal::Invalid;
use crate::domain::time::Timestamp;
use crate::proto::v1;
use crate::telemetry::clock;

use super::answer::{Cell, Sent};

/// What a stream takes: a [`Debit`] that bears its tokens, or a [`Measured`] event that the organization's rate card prices.
#[derive(Clone, Copy, Debug)]
pub struct Chargeable<'a> {
    /// The debit; of a measured event its tokens are the count.
    pub(super) debit: Debit<'a>,
    pub(super) unit: Option<Unit>,
}

impl<'a> From<&Debit<'a>> for Chargeable<'a> {
    #[inline]
    fn from(debit: &Debit<'a>) -> Self {
        Self { debit: *debit, unit: None }
    }
}

impl<'a> From<&Measured<'a>> for Chargeable<'a> {
    fn from(&Measured { camera, identity, unit, count, kind, time }: &Measured<'a>) -> Self {
        Self { debit: Debit { camera, identity, tokens: count, kind, time }, unit: Some(unit) }
    }
}

/// Debits that are sent together.
#[derive(Debug)]
pub(super) struct Batch {
    /// The camera of each row, by its place in the client's table.
    pub(super) cameras: Vec<u32>,
    /// What its rows wait for.
    pub(super) cell: Arc<Cell>,
    /// When its first row came.
    pub(super) begun: Instant,
    /// Its number on the present stream.
    pub(super) number: u64,
    /// It was sent on an earlier stream too.
    pub(super) resent: bool,
    /// The other columns, as they are sent. Cameras and the number are written when it is sent.
    columns: v1::DebitBatch,
    seq: u64,
}

impl Batch {
    /// An empty batch.
    pub(super) fn new(durability: v1::Durability) -> Self {
        Self {
            cameras: Vec::new(),
            cell: Arc::default(),
            begun: clock::start(),
            number: 0,
            resent: false,
            columns: v1::DebitBatch { durability: durability.into(), ..Default::default() },
            seq: 0,
        }
    }

    /// The id of the reservation that pays its rows; empty where the pool does.
    pub(super) fn payer(&self) -> &str {
        &self.columns.reservation
    }

    /// Says what pays its rows.
    pub(super) fn pay_by(&mut self, payer: &str) {
        payer.clone_into(&mut self.columns.reservation);
    }

    /// How many debits it holds.
    pub(super) fn len(&self) -> usize {
        self.cameras.len()
    }

    /// Whether it holds none.
    pub(super) fn is_empty(&self) -> bool {
        self.cameras.is_empty()
    }

    /// Adds a debit of this camera.
    pub(super) fn push(&mut self, camera: u32, asked: &Chargeable<'_>) -> Result<Sent, Invalid> {
        let Chargeable { debit, unit } = asked;
        let amount = match (check(debit), unit) {
            (Err(Invalid::Tokens), Some(_)) => Err(Invalid::Quantity),
            (amount, _) => amount,
        }?;
        if self.is_empty() {
            self.begun = clock::start();
        }
        let row = self.len();
        self.push_identity(row, debit.identity);
        let columns = &mut self.columns;
        columns.tokens.push(if unit.is_none() { amount } else { 0 });
        push_rare(&mut columns.unit, row, unit.map_or(0, |unit| u32::from(unit.number())));
        push_rare(&mut columns.count, row, if unit.is_none() { 0 } else { amount });
        push_rare(&mut columns.kind, row, u32::from(debit.kind.number()));
        push_rare(&mut columns.time_ms, row, debit.time.map_or(0, Timestamp::ms));
        self.cameras.push(camera);
        Ok(Sent::new(&self.cell, u32::try_from(row).expect("a batch is short")))
    }

    /// The message, with the handles that its cameras have now.
    pub(super) fn message(&self, organization: u32, camera: Vec<u32>) -> v1::DebitBatch {
        v1::DebitBatch { organization, batch: self.number, camera, ..self.columns.clone() }
    }

    fn push_identity(&mut self, row: usize, identity: Identity<'_>) {
        let (epoch, seq, id): (u32, u64, &[u8]) = match identity {
            Identity::Seq { epoch, seq } => (epoch, seq, &[]),
            Identity::EventId(id) => (self.columns.epoch.last().copied().unwrap_or_default(), self.seq, id),
        };
        self.columns.seq_delta.push(seq.wrapping_sub(self.seq).cast_signed());
        self.seq = seq;
        push_same(&mut self.columns.epoch, row, epoch);
        push_rare(&mut self.columns.event_id_length, row, u32::try_from(id.len()).expect("it was checked"));
        self.columns.event_ids.extend_from_slice(id);
    }
}

/// Appends to a column that is absent while all its values are 0.
fn push_rare<T: Copy + Default + PartialEq>(column: &mut Vec<T>, row: usize, value: T) {
    if column.is_empty() && value == T::default() {
        return;
    }
    column.resize(row, T::default());
    column.push(value);
}

/// Appends to a column that is one value long while all its values are the same.
fn push_same(column: &mut Vec<u32>, row: usize, value: u32) {
    match column.as_slice() {
        [same] if row > 0 && *same == value => {}
        [same] if row > 0 => {
            let same = *same;
            column.resize(row, same);
            column.push(value);
        }
        _ => column.push(value),
    }
}

/// What the columns cannot carry is told at once; the rest the server judges.
pub(super) fn check(debit: &Debit<'_>) -> Result<u32, Invalid> {
    if let Identity::EventId(id) = debit.identity
        && (id.is_empty() || id.len() > EVENT_ID_BYTES_MAX)
    {
        return Err(Invalid::EventId);
    }
    let tokens = u32::try_from(debit.tokens).ok();
    tokens.filter(|tokens| (1..=DEBIT_TOKENS_MAX).contains(tokens)).ok_or(Invalid::Tokens)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::debit::{CameraRef, UsageKind};
    use crate::domain::ids::Slot;

    fn debit(identity: Identity<'_>) -> Debit<'_> {
        Debit {
            camera: CameraRef::Slot(Slot(0)),
            identity,
            tokens: 7,
            kind: UsageKind::default(),
            time: None,
        }
    }

    #[test]
    fn columns_that_say_nothing_are_not_sent() {
        let mut batch = Batch::new(v1::Durability::Durable);
        for seq in [9, 8, 8] {
            drop(batch.push(0, &(&debit(Identity::Seq { epoch: 4, seq })).into()).expect("valid"));
        }
        let message = batch.message(1, vec![5; 3]);
        assert_eq!((message.epoch, message.seq_delta), (vec![4], vec![9, -1, 0]));
        assert!(message.kind.is_empty() && message.time_ms.is_empty() && message.event_id_length.is_empty());
        assert!(message.unit.is_empty() && message.count.is_empty());
    }

    #[test]
    fn a_measured_event_has_a_unit_and_a_count_and_its_neighbours_have_tokens() {
        let mut batch = Batch::new(v1::Durability::Durable);
        let identity = Identity::Seq { epoch: 4, seq: 1 };
        let Debit { camera, kind, time, .. } = debit(identity);
        let measured = |count| Measured { camera, identity, unit: Unit::Second, count, kind, time };
        drop(batch.push(0, &(&debit(identity)).into()).expect("valid"));
        drop(batch.push(0, &(&measured(90_500)).into()).expect("valid"));
        drop(batch.push(0, &(&debit(identity)).into()).expect("valid"));
        let message = batch.message(1, vec![5; 3]);
        assert_eq!(
            (message.tokens, message.unit, message.count),
            (vec![7, 0, 7], vec![0, 3, 0], vec![0, 90_500, 0])
        );
        for none in [0, u64::from(DEBIT_TOKENS_MAX) + 1] {
            assert_eq!(batch.push(0, &(&measured(none)).into()).expect_err("no quantity"), Invalid::Quantity);
        }
    }

    #[test]
    fn columns_are_filled_up_when_one_row_has_something_to_say() {
        let mut batch = Batch::new(v1::Durability::Durable);
        let time = Some(Timestamp::from_ms(77).expect("valid"));
        let other = Debit { kind: UsageKind::Other, ..debit(Identity::Seq { epoch: 5, seq: 1 }) };
        for debit in [
            debit(Identity::Seq { epoch: 4, seq: 9 }),
            Debit { time, ..debit(Identity::EventId(b"id")) },
            other,
        ] {
            drop(batch.push(0, &(&debit).into()).expect("valid"));
        }
        let message = batch.message(1, vec![5; 3]);
        assert_eq!((message.epoch, message.seq_delta), (vec![4, 4, 5], vec![9, 0, -8]));
        assert_eq!((message.kind, message.time_ms), (vec![0, 0, 3], vec![0, 77, 0]));
        assert_eq!((message.event_id_length, message.event_ids), (vec![0, 2, 0], b"id".to_vec()));
    }
}
