//! The frame: the unit of the journal, checksummed, with opaque bytes for a body.
//!
//! | bytes | field | meaning |
//! |---|---|---|
//! | 0..4 | length | of the body, without padding |
//! | 4..8 | checksum | CRC-32C over the other header bytes and the body |
//! | 8..16 | lsn | the place in the journal |
//! | 16..20 | group | the index of this frame in its group |
//! | 20 | kind | what the body holds; the codec's business |
//! | 21 | version | of that kind; the codec's business |
//! | 22..24 | reserved | zero |
//!
//! All numbers are little endian. Frames start at multiples of eight bytes; the padding is zero and carries nothing.
//!
//! A group is written by one write and one sync, and only after the group before it is durable. So `lsn - group` is the
//! first lsn of the group, and one valid frame proves that everything below that lsn had been durable before. The reader
//! tells a torn tail from corruption by this.
//!
//! Decoding never panics, never allocates and never repairs.

use crc_fast::{CrcAlgorithm, Digest};

use super::disk::usize_of;
use crate::domain::ids::Lsn;

/// The length of a frame header.
pub const HEADER_BYTES: usize = 24;

/// Frames start at multiples of this many bytes.
pub const ALIGN_BYTES: usize = 8;

/// The longest body of a frame. Longer is a bug of the writer and damage to the reader.
pub const BODY_BYTES_MAX: usize = 16 << 20;

const CRC_FIELD: std::ops::Range<usize> = 4..8;

/// What a frame says about its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameMeta {
    /// The place in the journal.
    pub lsn: Lsn,
    /// The index in the group, from 0.
    pub group: u32,
    /// What the body holds.
    pub kind: u8,
    /// The version of that kind.
    pub version: u8,
}

impl FrameMeta {
    /// The first lsn of the group; everything below it was durable before this frame was written.
    pub fn group_first(&self) -> Lsn {
        Lsn(self.lsn.0.saturating_sub(u64::from(self.group)))
    }
}

/// A frame in the making: where its header lies in the buffer.
#[derive(Debug)]
#[must_use = "a frame that is begun must be finished"]
pub struct FrameStart(usize);

/// A whole frame in a buffer.
#[derive(Clone, Copy, Debug)]
pub struct FrameRef<'a> {
    /// What the frame says about its body.
    pub meta: FrameMeta,
    /// The body, without padding.
    pub body: &'a [u8],
    /// Where the frame starts.
    pub offset: usize,
    /// Where the next frame starts.
    pub next_offset: usize,
}

/// What lies at an offset.
#[derive(Clone, Copy, Debug)]
pub enum Next<'a> {
    /// A whole frame whose checksum is right.
    Frame(FrameRef<'a>),
    /// A zero header, or nothing at all.
    End,
    /// Neither a frame nor an end.
    Bad {
        /// The offset that was asked for.
        offset: usize,
        /// What is wrong there.
        what: &'static str,
    },
}

/// Starts a frame at the end of `buf`; the caller then pushes the body.
///
/// # Panics
/// When `buf` does not end at a multiple of [`ALIGN_BYTES`].
pub fn begin(buf: &mut Vec<u8>) -> FrameStart {
    assert!(buf.len().is_multiple_of(ALIGN_BYTES), "a frame starts where another ended");
    let start = FrameStart(buf.len());
    buf.extend_from_slice(&[0; HEADER_BYTES]);
    start
}

/// Ends a frame: fills in its header and pads the buffer for the next one.
///
/// # Panics
/// When the body is longer than [`BODY_BYTES_MAX`].
#[expect(clippy::needless_pass_by_value, reason = "a start is spent: one frame is finished once")]
pub fn finish(buf: &mut Vec<u8>, start: FrameStart, meta: FrameMeta) {
    let frame = &mut buf[start.0..];
    let body = frame.len() - HEADER_BYTES;
    assert!(body <= BODY_BYTES_MAX, "a frame body of {body} bytes is over the limit");
    let len = u32::try_from(body).expect("the limit is below 4 GiB");
    frame[0..4].copy_from_slice(&len.to_le_bytes());
    frame[8..16].copy_from_slice(&meta.lsn.0.to_le_bytes());
    frame[16..20].copy_from_slice(&meta.group.to_le_bytes());
    frame[20] = meta.kind;
    frame[21] = meta.version;
    let crc = checksum(&frame[..CRC_FIELD.start], &frame[CRC_FIELD.end..]);
    frame[CRC_FIELD].copy_from_slice(&crc.to_le_bytes());
    buf.resize(buf.len().next_multiple_of(ALIGN_BYTES), 0);
}

/// Reads what lies at `offset`.
pub fn next(bytes: &[u8], offset: usize) -> Next<'_> {
    let rest = bytes.get(offset..).unwrap_or_default();
    let Some((header, after)) = rest.split_first_chunk::<HEADER_BYTES>() else {
        return if is_zero(rest) { Next::End } else { Next::Bad { offset, what: "a header is cut short" } };
    };
    if *header == [0; HEADER_BYTES] {
        return Next::End;
    }
    match decode(header, after) {
        Ok((meta, body)) => {
            let next_offset = (offset + HEADER_BYTES + body.len()).next_multiple_of(ALIGN_BYTES);
            Next::Frame(FrameRef { meta, body, offset, next_offset })
        }
        Err(what) => Next::Bad { offset, what },
    }
}

/// CRC-32C over two pieces, as if they were one.
pub(crate) fn checksum(head: &[u8], tail: &[u8]) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    digest.update(head);
    digest.update(tail);
    u32::try_from(digest.finalize()).expect("CRC-32C has 32 bits")
}

/// Tells whether every byte is zero.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<16>();
    words.iter().all(|word| u128::from_ne_bytes(*word) == 0) && rest.iter().all(|&byte| byte == 0)
}

/// The lsn that a header would hold, before anything of it is checked.
pub(super) fn claimed_lsn(header: &[u8]) -> Lsn {
    Lsn(u64::from_le_bytes(field(header, 8)))
}

/// The little-endian field at `at`.
pub(super) fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("the range has the length of the field")
}

fn decode<'a>(
    header: &[u8; HEADER_BYTES],
    after: &'a [u8],
) -> std::result::Result<(FrameMeta, &'a [u8]), &'static str> {
    let len = usize_of(u32::from_le_bytes(field(header, 0)).into());
    if len > BODY_BYTES_MAX {
        return Err("a length is over the limit");
    }
    let body = after.get(..len).ok_or("a body is cut short")?;
    let meta = FrameMeta {
        lsn: claimed_lsn(header),
        group: u32::from_le_bytes(field(header, 16)),
        kind: header[20],
        version: header[21],
    };
    if header[22..] != [0, 0] || u64::from(meta.group) > meta.lsn.0 {
        return Err("a header holds impossible values");
    }
    let crc = u32::from_le_bytes(field(header, CRC_FIELD.start));
    if frame_checksum(header, body) == crc { Ok((meta, body)) } else { Err("a checksum does not match") }
}

fn frame_checksum(header: &[u8; HEADER_BYTES], body: &[u8]) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    digest.update(&header[..CRC_FIELD.start]);
    digest.update(&header[CRC_FIELD.end..]);
    digest.update(body);
    u32::try_from(digest.finalize()).expect("CRC-32C has 32 bits")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(meta: FrameMeta, body: &[u8]) -> Vec<u8> {
        let mut buf = Vec::new();
        let start = begin(&mut buf);
        buf.extend_from_slice(body);
        finish(&mut buf, start, meta);
        buf
    }

    #[test]
    fn the_checksum_is_crc_32c() {
        assert_eq!(checksum(b"1234", b"56789"), 0xE306_9283);
    }

    #[test]
    fn the_bytes_of_a_frame_are_frozen() {
        let bytes = one(FrameMeta { lsn: Lsn(5), group: 2, kind: 7, version: 1 }, b"abc");
        let mut expected = vec![3, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 7, 1, 0, 0];
        expected.extend_from_slice(b"abc\0\0\0\0\0");
        expected[4..8].copy_from_slice(&bytes[4..8]);
        assert_eq!(bytes, expected);
        assert_eq!(bytes[4..8], checksum(&bytes[..4], &bytes[8..27]).to_le_bytes());
    }

    #[test]
    fn every_bit_flip_outside_the_padding_is_noticed() {
        let bytes = one(FrameMeta { lsn: Lsn(5), group: 2, kind: 7, version: 1 }, b"abc");
        for bit in 0..27 * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(next(&flipped, 0), Next::Bad { offset: 0, .. }), "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn frames_read_back_as_they_were_written(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 1..8),
        ) {
            let mut buf = Vec::new();
            for (group, body) in (0_u32..).zip(&bodies) {
                let start = begin(&mut buf);
                buf.extend_from_slice(body);
                finish(&mut buf, start, FrameMeta { lsn: Lsn(u64::from(group) + 9), group, kind: 1, version: 2 });
            }
            let mut offset = 0;
            for body in &bodies {
                let Next::Frame(frame) = next(&buf, offset) else { panic!("a frame at {offset}") };
                prop_assert_eq!(frame.body, &body[..]);
                prop_assert_eq!(frame.meta.group_first(), Lsn(9));
                offset = frame.next_offset;
            }
            prop_assert!(matches!(next(&buf, offset), Next::End));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), offset in 0_usize..300) {
            let _ = next(&bytes, offset);
        }
    }
}
