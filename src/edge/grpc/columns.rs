//! From the columns of a message to the rows of a batch.
//!
//! A value out of its bounds makes its own row `invalid`. Columns that do not fit together name no rows at all, and are an error.

use crate::meter::{
    CameraRef, Debit, DebitBatch, Identity, Invalid, Measured, Slot, Timestamp, Unit, UsageKind,
};
use crate::proto::v1;

/// Why columns do not fit together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Misfit {
    /// A column has another length than its rows ask for.
    #[error("the column `{column}` has {found} values for {rows} rows; nothing of the batch was judged")]
    Length { column: &'static str, found: usize, rows: usize },
    /// The lengths of event ids do not add up to their bytes.
    #[error("the lengths of the event ids do not add up to their bytes; nothing of the batch was judged")]
    EventIds,
}

/// The slot that a camera's handle stands for. Handle 0 is no camera.
pub(super) fn slot_of(handle: u32) -> Slot {
    Slot(handle.wrapping_sub(1))
}

/// The handle of a camera; 0 for none.
pub(super) fn handle_of(slot: Option<Slot>) -> u32 {
    slot.map_or(0, |slot| slot.0.wrapping_add(1))
}

/// Appends the rows of a message to a batch.
///
/// # Errors
/// When the columns do not fit together; then nothing was appended.
pub(super) fn push(message: &v1::DebitBatch, batch: &mut DebitBatch) -> Result<(), Misfit> {
    check(message)?;
    let rare = [message.event_id_length.len(), message.time_ms.len(), message.kind.len(), message.unit.len()];
    if rare == [0; 4] {
        push_plain(message, batch);
    } else {
        push_mixed(message, batch);
    }
    Ok(())
}

fn check(message: &v1::DebitBatch) -> Result<(), Misfit> {
    let rows = message.camera.len();
    let each = |column, found: usize| {
        if found == rows { Ok(()) } else { Err(Misfit::Length { column, found, rows }) }
    };
    let each_or_none = |column, found| if found == 0 { Ok(()) } else { each(column, found) };
    each("tokens", message.tokens.len())?;
    if message.epoch.len() > 1 {
        each("epoch", message.epoch.len())?;
    }
    each_or_none("kind", message.kind.len())?;
    each_or_none("time_ms", message.time_ms.len())?;
    each_or_none("event_id_length", message.event_id_length.len())?;
    each_or_none("unit", message.unit.len())?;
    if !message.unit.is_empty() || !message.count.is_empty() {
        each("count", message.count.len())?;
    }
    if message.event_id_length.is_empty() || !message.seq_delta.is_empty() {
        each("seq_delta", message.seq_delta.len())?;
    }
    let bytes: u64 = message.event_id_length.iter().map(|length| u64::from(*length)).sum();
    if usize::try_from(bytes) == Ok(message.event_ids.len()) { Ok(()) } else { Err(Misfit::EventIds) }
}

/// The common case: sequence numbers, contextual analytics, no times.
fn push_plain(message: &v1::DebitBatch, batch: &mut DebitBatch) {
    let mut seq = 0_u64;
    let epochs = Epochs::of(message);
    let rows = message.camera.iter().zip(&message.seq_delta).zip(&message.tokens);
    for (row, ((camera, delta), tokens)) in rows.enumerate() {
        seq = seq.wrapping_add_signed(*delta);
        batch.push(Debit {
            camera: CameraRef::Slot(slot_of(*camera)),
            identity: Identity::Seq { epoch: epochs.at(row), seq },
            tokens: u64::from(*tokens),
            kind: UsageKind::ContextualVideoAnalytics,
            time: None,
        });
    }
}

fn push_mixed(message: &v1::DebitBatch, batch: &mut DebitBatch) {
    let mut seq = 0_u64;
    let mut ids = message.event_ids.as_slice();
    let epochs = Epochs::of(message);
    for (row, (camera, tokens)) in message.camera.iter().zip(&message.tokens).enumerate() {
        let delta = message.seq_delta.get(row).copied();
        seq = seq.wrapping_add_signed(delta.unwrap_or(0));
        let length = message.event_id_length.get(row).and_then(|length| usize::try_from(*length).ok());
        let (id, rest) = ids.split_at(length.unwrap_or(0));
        ids = rest;
        let identity = match delta {
            _ if !id.is_empty() => Identity::EventId(id),
            Some(_) => Identity::Seq { epoch: epochs.at(row), seq },
            None => {
                batch.push_invalid(Invalid::Identity);
                continue;
            }
        };
        let camera = CameraRef::Slot(slot_of(*camera));
        if let Err(invalid) = push_row(message, row, (camera, identity, *tokens), batch) {
            batch.push_invalid(invalid);
        }
    }
}

/// Appends a row: a debit, or where it bears no tokens and a unit, an event to be priced.
fn push_row(
    message: &v1::DebitBatch,
    row: usize,
    (camera, identity, tokens): (CameraRef<'_>, Identity<'_>, u32),
    batch: &mut DebitBatch,
) -> Result<(), Invalid> {
    let (kind, time) = (kind(message.kind.get(row))?, time(message.time_ms.get(row))?);
    match message.unit.get(row) {
        Some(unit) if tokens == 0 && *unit != 0 => {
            let unit = Unit::from_number(u64::from(*unit))?;
            let count = u64::from(message.count[row]);
            batch.push_measured(Measured { camera, identity, unit, count, kind, time });
        }
        _ => batch.push(Debit { camera, identity, tokens: u64::from(tokens), kind, time }),
    }
    Ok(())
}

/// The epochs of the rows: none, one for all, or one a row.
struct Epochs<'a> {
    column: &'a [u32],
    same: Option<u32>,
}

impl<'a> Epochs<'a> {
    fn of(message: &'a v1::DebitBatch) -> Self {
        let same = match message.epoch.as_slice() {
            [] => Some(0),
            [epoch] => Some(*epoch),
            _ => None,
        };
        Self { column: &message.epoch, same }
    }

    fn at(&self, row: usize) -> u32 {
        self.same.unwrap_or_else(|| self.column[row])
    }
}

fn kind(number: Option<&u32>) -> Result<UsageKind, Invalid> {
    let number = number.copied().unwrap_or_default();
    UsageKind::from_number(u8::try_from(number).map_err(|_| Invalid::UsageKind)?)
}

fn time(ms: Option<&u64>) -> Result<Option<Timestamp>, Invalid> {
    match ms.copied().unwrap_or_default() {
        0 => Ok(None),
        ms => Timestamp::from_ms(ms).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(rows: usize) -> v1::DebitBatch {
        v1::DebitBatch {
            camera: vec![1; rows],
            epoch: vec![3],
            seq_delta: vec![1; rows],
            tokens: vec![5; rows],
            ..v1::DebitBatch::default()
        }
    }

    #[test]
    fn columns_of_unequal_length_are_named_and_nothing_is_appended() {
        let short = |change: fn(&mut v1::DebitBatch), column: &str| {
            let mut message = plain(3);
            change(&mut message);
            let mut batch = DebitBatch::default();
            let misfit = push(&message, &mut batch).expect_err(column).to_string();
            assert!(misfit.contains(column) && batch.is_empty(), "{misfit}");
        };
        short(|message| message.tokens.truncate(2), "tokens");
        short(|message| message.seq_delta.truncate(2), "seq_delta");
        short(|message| message.seq_delta.clear(), "seq_delta");
        short(|message| message.epoch = vec![1, 2], "epoch");
        short(|message| message.kind = vec![0; 4], "kind");
        short(|message| message.time_ms = vec![1], "time_ms");
        short(|message| message.unit = vec![1], "unit");
        short(|message| message.unit = vec![1; 3], "count");
        short(|message| message.count = vec![1; 2], "count");
        short(|message| message.event_id_length = vec![1], "event_id_length");
        short(|message| message.event_id_length = vec![1, 0, u32::MAX], "do not add up");
        short(|message| message.event_ids = vec![1], "do not add up");
    }

    #[test]
    fn handles_stand_for_slots_and_zero_for_none() {
        for slot in [Slot(0), Slot(7)] {
            assert_eq!(slot_of(handle_of(Some(slot))), slot);
        }
        assert_eq!(slot_of(handle_of(None)), Slot(u32::MAX));
    }

    #[test]
    fn a_row_without_tokens_is_measured_and_one_with_both_bears_its_tokens() {
        let mut message = plain(5);
        message.tokens = vec![0, 7, 0, 0, 0];
        message.unit = vec![2, 2, 0, 4, 3];
        message.count = vec![3, 3, 3, 3, 0];
        let mut batch = DebitBatch::default();
        push(&message, &mut batch).expect("it fits");
        let mut by_hand = DebitBatch::default();
        let identity = |seq| Identity::Seq { epoch: 3, seq };
        let (camera, kind, time) = (CameraRef::Slot(Slot(0)), UsageKind::default(), None);
        by_hand.push_measured(Measured {
            camera,
            identity: identity(1),
            unit: Unit::Image,
            count: 3,
            kind,
            time,
        });
        by_hand.push(Debit { camera, identity: identity(2), tokens: 7, kind, time });
        by_hand.push_invalid(Invalid::Tokens);
        by_hand.push_invalid(Invalid::Unit);
        by_hand.push_invalid(Invalid::Quantity);
        assert_eq!(format!("{batch:?}"), format!("{by_hand:?}"));
    }

    #[test]
    fn a_value_out_of_bounds_spoils_its_own_row_only() {
        let mut message = plain(4);
        message.kind = vec![0, 4, 0, 3];
        message.time_ms = vec![0, 0, u64::MAX, 9];
        let mut batch = DebitBatch::default();
        push(&message, &mut batch).expect("it fits");
        assert_eq!(batch.tokens().collect::<Vec<_>>(), [5, 0, 0, 5]);
    }
}
