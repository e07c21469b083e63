//! The ordinary message of a stream, read from its bytes to rows in one pass: a batch of debits with packed columns, under
//! sequence numbers of one epoch, of the default kind and without times.
//!
//! Whatever is not of this shape, or not good, is none: it goes the long way over the generated messages, which knows every shape and
//! names what is wrong. So nothing is judged here, and nothing is reported.

use crate::meter::{CameraRef, Debit, DebitBatch, Identity, UsageKind};

use super::columns::slot_of;

/// Wire type of a number.
const VARINT: u64 = 0;
/// Wire type of what has a length.
const LENGTH: u64 = 2;
/// The field of a request that is a batch of debits.
const DEBIT_BATCH: u64 = 2;

/// A batch whose columns have one length, as far as the ends of their numbers tell.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Plain<'a> {
    /// The handle of the organization.
    pub(super) organization: u32,
    /// Its number.
    pub(super) batch: u64,
    /// How many rows it has.
    pub(super) rows: usize,
    /// The number of its durability.
    pub(super) durability: i32,
    epoch: u32,
    camera: &'a [u8],
    seq_delta: &'a [u8],
    tokens: &'a [u8],
}

impl<'a> Plain<'a> {
    /// The batch that a request holds.
    pub(super) fn of(request: &'a [u8]) -> Option<Self> {
        let mut rest = request;
        if take(&mut rest)? != DEBIT_BATCH << 3 | LENGTH {
            return None;
        }
        let mut fields = take_bytes(&mut rest)?;
        let mut plain = Self::default();
        let mut seen = 0_u32;
        while !fields.is_empty() {
            let key = take(&mut fields)?;
            let bit = 1 << (key >> 3).min(31);
            // A field that comes twice is merged, or its last value counts: the long way knows.
            if seen & bit != 0 {
                return None;
            }
            seen |= bit;
            plain.set(key, &mut fields)?;
        }
        plain.rows = numbers(plain.camera);
        let is_even = numbers(plain.seq_delta) == plain.rows && numbers(plain.tokens) == plain.rows;
        (rest.is_empty() && is_even).then_some(plain)
    }

    fn set(&mut self, key: u64, fields: &mut &'a [u8]) -> Option<()> {
        match (key >> 3, key & 7) {
            (1, VARINT) => self.organization = low(take(fields)?),
            (2, VARINT) => self.batch = take(fields)?,
            (3, LENGTH) => self.camera = take_bytes(fields)?,
            (4, LENGTH) => {
                let mut column = take_bytes(fields)?;
                self.epoch = low(take(&mut column)?);
                return column.is_empty().then_some(());
            }
            (5, LENGTH) => self.seq_delta = take_bytes(fields)?,
            (6, LENGTH) => self.tokens = take_bytes(fields)?,
            (11, VARINT) => self.durability = low(take(fields)?).cast_signed(),
            _ => return None,
        }
        Some(())
    }

    /// Appends its rows to a batch. When a number is malformed nothing was appended.
    pub(super) fn push(&self, batch: &mut DebitBatch) -> Option<()> {
        let before = batch.len();
        batch.reserve(self.rows);
        let pushed = self.push_rows(batch);
        if pushed.is_none() {
            batch.truncate(before);
        }
        pushed
    }

    fn push_rows(&self, batch: &mut DebitBatch) -> Option<()> {
        let (mut camera, mut seq_delta, mut tokens, mut seq) =
            (self.camera, self.seq_delta, self.tokens, 0_u64);
        for _ in 0..self.rows {
            seq = seq.wrapping_add_signed(zigzag(take(&mut seq_delta)?));
            batch.push(Debit {
                camera: CameraRef::Slot(slot_of(low(take(&mut camera)?))),
                identity: Identity::Seq { epoch: self.epoch, seq },
                tokens: u64::from(low(take(&mut tokens)?)),
                kind: UsageKind::ContextualVideoAnalytics,
                time: None,
            });
        }
        (camera.is_empty() && seq_delta.is_empty() && tokens.is_empty()).then_some(())
    }
}

/// How many numbers end in a packed column. Counted in bytes, which no part overflows, so that the compiler can count many at once.
fn numbers(column: &[u8]) -> usize {
    let ends = |part: &[u8]| part.iter().fold(0_u8, |ends, byte| ends.wrapping_add(u8::from(*byte < 0x80)));
    column.chunks(240).map(|part| usize::from(ends(part))).sum()
}

/// A 32-bit field's value: what its number has beyond is cut off, as protobuf has it.
fn low(number: u64) -> u32 {
    u32::try_from(number & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}

fn zigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

fn take_bytes<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(take(from)?).ok()?;
    let (bytes, rest) = from.split_at_checked(length)?;
    *from = rest;
    Some(bytes)
}

/// Takes a number off the front. Most have one byte or two, in no order that a branch could foresee: there is none between them.
#[inline]
fn take(from: &mut &[u8]) -> Option<u64> {
    let Some([first, second]) = from.first_chunk() else { return take_long(from) };
    let more = first >> 7;
    if more & (second >> 7) != 0 {
        return take_long(from);
    }
    *from = &from[1 + usize::from(more)..];
    Some(u64::from(first & 0x7f) | u64::from(second * more) << 7)
}

fn take_long(from: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for (at, byte) in from.iter().enumerate().take(10) {
        number |= u64::from(byte & 0x7f) << (7 * at);
        if *byte < 0x80 {
            *from = &from[at + 1..];
            // The tenth byte has one bit left of the 64.
            return (at < 9 || *byte < 2).then_some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::super::columns;
    use super::*;
    use crate::proto::v1;

    fn ordinary(rows: u32) -> v1::DebitBatch {
        v1::DebitBatch {
            organization: 3,
            batch: 9,
            camera: (0..rows).map(|row| row * 100).collect(),
            epoch: vec![1_700_000_000],
            seq_delta: (0..i64::from(rows)).map(|row| 1_000_000 * row - 500_000).collect(),
            tokens: (0..rows).map(|row| row * row * row).collect(),
            ..v1::DebitBatch::default()
        }
    }

    fn bytes(batch: v1::DebitBatch) -> Vec<u8> {
        v1::StreamRequest { request: Some(v1::stream_request::Request::DebitBatch(batch)) }.encode_to_vec()
    }

    /// A request that holds a batch with these bytes.
    fn around(fields: &[u8]) -> Vec<u8> {
        let mut request = vec![0x12];
        prost::encoding::encode_varint(u64::try_from(fields.len()).expect("short"), &mut request);
        request.extend_from_slice(fields);
        request
    }

    /// What is read in one pass: the head, and the rows as text.
    fn plainly(request: &[u8]) -> Option<((u32, u64, usize, i32), String)> {
        let plain = Plain::of(request)?;
        let mut batch = DebitBatch::default();
        let read = plain.push(&mut batch);
        assert!(read.is_some() || batch.is_empty(), "nothing is appended of a malformed one");
        let head = (plain.organization, plain.batch, plain.rows, plain.durability);
        read.map(|()| (head, format!("{batch:?}")))
    }

    /// The same over the generated messages.
    fn the_long_way(request: &[u8]) -> Option<((u32, u64, usize, i32), String)> {
        let request = v1::StreamRequest::decode(request).ok()?.request?;
        let v1::stream_request::Request::DebitBatch(message) = request else { return None };
        let mut batch = DebitBatch::default();
        columns::push(&message, &mut batch).ok()?;
        let head = (message.organization, message.batch, message.camera.len(), message.durability);
        Some((head, format!("{batch:?}")))
    }

    fn batches() -> impl Strategy<Value = v1::DebitBatch> {
        let row = (
            any::<u32>(),
            prop_oneof![Just(0), Just(1), any::<i64>()],
            prop_oneof![0_u32..3_000, any::<u32>()],
        );
        let head = (any::<u32>(), any::<u64>(), prop::option::of(any::<u32>()), any::<i32>());
        (head, prop::collection::vec(row, 0..40)).prop_map(
            |((organization, batch, epoch, durability), rows)| v1::DebitBatch {
                organization,
                batch,
                durability,
                epoch: epoch.into_iter().collect(),
                camera: rows.iter().map(|row| row.0).collect(),
                seq_delta: rows.iter().map(|row| row.1).collect(),
                tokens: rows.iter().map(|row| row.2).collect(),
                ..v1::DebitBatch::default()
            },
        )
    }

    proptest! {
        #[test]
        fn an_ordinary_batch_is_read_as_over_the_generated_messages(batch in batches()) {
            let request = bytes(batch);
            prop_assert_eq!(plainly(&request).expect("it is ordinary"), the_long_way(&request).expect("it is whole"));
        }

        #[test]
        fn whatever_is_read_in_one_pass_reads_the_same_the_long_way(
            batch in batches(),
            edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            cut in prop::option::of(any::<prop::sample::Index>()),
        ) {
            let mut request = bytes(batch);
            for (at, byte) in edits {
                let at = at.index(request.len());
                request[at] = byte;
            }
            request.truncate(cut.map_or(request.len(), |cut| cut.index(request.len() + 1)));
            if let Some(read) = plainly(&request) {
                prop_assert_eq!(Some(read), the_long_way(&request));
            }
        }
    }

    #[test]
    fn any_other_shape_takes_the_long_way() {
        let check = |change: fn(&mut v1::DebitBatch), what: &str| {
            let mut batch = ordinary(3);
            change(&mut batch);
            assert!(plainly(&bytes(batch)).is_none(), "{what}");
        };
        check(|batch| batch.epoch = vec![1, 2, 3], "an epoch a row");
        check(|batch| batch.kind = vec![0; 3], "kinds");
        check(|batch| batch.time_ms = vec![5; 3], "times");
        check(|batch| batch.event_ids = b"x".to_vec(), "event ids");
        check(|batch| batch.reservation = "r".to_owned(), "a reservation");
        check(|batch| batch.event_id_length = vec![0; 3], "lengths of event ids");
        check(|batch| batch.unit = vec![1; 3], "units");
        check(|batch| batch.count = vec![1; 3], "counts");
        check(|batch| batch.tokens.truncate(2), "a short column");
        check(|batch| batch.seq_delta.clear(), "a missing column");
        assert!(plainly(&v1::StreamRequest { request: None }.encode_to_vec()).is_none(), "nothing");
        let open = v1::stream_request::Request::Open(v1::Open::default());
        assert!(plainly(&v1::StreamRequest { request: Some(open) }.encode_to_vec()).is_none(), "an open");
    }

    #[test]
    fn unpacked_repeated_and_unknown_fields_take_the_long_way_which_reads_them() {
        let fields = |extra: &[u8]| around(&[&ordinary(2).encode_to_vec(), extra].concat());
        assert_eq!(plainly(&fields(&[])), the_long_way(&fields(&[])));
        for (extra, what) in [
            (&[0xfa, 0x01, 0x01, 0x07][..], "an unknown field with a length"),
            (&[0xf8, 0x01, 0x07], "an unknown number"),
            (&[0xfd, 0x01, 0, 0, 0, 0], "four unknown bytes"),
            (&[0x08, 0x05], "the organization again"),
            (&[0x22, 0x00], "the epoch again, without values"),
        ] {
            assert!(plainly(&fields(extra)).is_none() && the_long_way(&fields(extra)).is_some(), "{what}");
        }
        // One row: camera 7, seq 1, tokens 5, each as a field of its own.
        let unpacked = around(&[0x18, 0x07, 0x28, 0x02, 0x30, 0x05]);
        assert!(plainly(&unpacked).is_none() && the_long_way(&unpacked).is_some());
        let half = |rows| bytes(v1::DebitBatch { epoch: Vec::new(), ..ordinary(rows) });
        let twice = [half(2), half(1)].concat();
        assert!(plainly(&twice).is_none() && the_long_way(&twice).is_some());
    }

    #[test]
    fn every_kind_of_malformed_number_or_length_is_left_to_the_long_way_which_refuses_it() {
        let overlong = [0xff; 10];
        for (fields, what) in [
            (&[0x1a, 0x05, 0x01][..], "a column longer than the message"),
            (&[0x1a, 0x01, 0x81, 0x2a, 0x01, 0x02, 0x32, 0x01, 0x05], "a number cut off"),
            (
                &[0x1a, 0x02, 0x01, 0x81, 0x2a, 0x01, 0x02, 0x32, 0x01, 0x05],
                "a number cut off behind the last row",
            ),
            (
                &[&[0x1a, 0x0b][..], &overlong, &[0x01, 0x2a, 0x01, 0x02, 0x32, 0x01, 0x05]].concat(),
                "eleven bytes",
            ),
            (
                &[&[0x1a, 0x0a][..], &overlong[..9], &[0x02, 0x2a, 0x01, 0x02, 0x32, 0x01, 0x05]].concat(),
                "a 65th bit",
            ),
            (&[0x1d, 0x01, 0x02, 0x03, 0x04], "four bytes where numbers belong"),
            (&[0x0a, 0x00], "a length where a number belongs"),
            (&[0x00, 0x01], "the field 0"),
            (&[0x1f], "a wire type that there is not"),
        ] {
            let request = around(fields);
            assert!(plainly(&request).is_none() && v1::StreamRequest::decode(&*request).is_err(), "{what}");
        }
        let whole = bytes(ordinary(40));
        for end in 1..whole.len() {
            assert!(plainly(&whole[..end]).is_none(), "cut after {end} bytes");
        }
    }
}
