//! The record: one message of a partition's replicated log.
//!
//! | bytes | field | meaning |
//! |---|---|---|
//! | 0..4 | magic | `TKWL` |
//! | 4 | format | 1 |
//! | 5 | kind | 0 fence, 1 group, 2 confirmation |
//! | 6..8 | partition | |
//! | 8..24 | directory | the identity of the data, as in every file |
//! | 24..32 | epoch | of the owner that wrote it |
//! | 32..40 | batch | rises with every record of an epoch |
//! | 40..48 | first | the first lsn of the group |
//! | 48..56 | last | the last lsn of the group |
//! | 56..58 | part | which part of the group this is, from 0 |
//! | 58..60 | parts | how many parts the group has |
//! | 60..64 | previous | the checksum of the record before it in the log |
//! | 64..68 | checksum | CRC-32C of all other bytes |
//! | 68.. | payload | a part of the group's frames |
//!
//! All numbers are little endian. A fence and a confirmation have no payload; their `first` and `last` are zero.
//!
//! The checksums make a chain: a record names the one before it, so one that was taken out or put in is noticed. Decoding never panics,
//! never allocates and never repairs.

use crate::domain::ids::Lsn;
use crate::storage::DirectoryId;
use crate::storage::frame::checksum;

/// The length of what stands before the payload.
pub const HEADER_BYTES: usize = 68;

/// The newest format.
pub const RECORD_FORMAT: u8 = 1;

/// The longest payload; a longer group goes in parts.
pub const PAYLOAD_BYTES_MAX: usize = 512 << 10;

const MAGIC: [u8; 4] = *b"TKWL";
const CRC_AT: usize = 64;

/// Whose log it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owned {
    /// The partition.
    pub partition: u16,
    /// The identity of the data.
    pub directory: DirectoryId,
}

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// From here on nothing of an older epoch counts.
    Fence,
    /// A part of a group.
    Group {
        /// The first lsn of the group.
        first: Lsn,
        /// The last lsn of the group.
        last: Lsn,
        /// Which part this is, from 0.
        part: u16,
        /// How many parts there are.
        parts: u16,
    },
    /// Nothing; that it is there shows that its writer was the owner.
    Confirmation,
}

/// What stands before the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What it is.
    pub kind: Kind,
    /// The epoch of its writer.
    pub epoch: u64,
    /// Its number in that epoch.
    pub batch: u64,
    /// The checksum of the record before it; zero for the first of a log.
    pub previous: u32,
}

/// A record that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// What stands before the payload.
    pub header: Header,
    /// Its checksum.
    pub crc: u32,
    /// A part of a group's frames.
    pub payload: &'a [u8],
}

/// The bytes of a record, and its checksum.
pub fn encode(owned: Owned, header: Header, payload: &[u8]) -> (Vec<u8>, u32) {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + payload.len());
    let (kind, first, last, part, parts) = match header.kind {
        Kind::Fence => (0, Lsn(0), Lsn(0), 0, 0),
        Kind::Group { first, last, part, parts } => (1, first, last, part, parts),
        Kind::Confirmation => (2, Lsn(0), Lsn(0), 0, 0),
    };
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&[RECORD_FORMAT, kind]);
    bytes.extend_from_slice(&owned.partition.to_le_bytes());
    bytes.extend_from_slice(&owned.directory.0);
    [header.epoch, header.batch, first.0, last.0]
        .iter()
        .for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
    [part, parts].iter().for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
    bytes.extend_from_slice(&header.previous.to_le_bytes());
    let crc = checksum(&bytes, payload);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes.extend_from_slice(payload);
    (bytes, crc)
}

/// Reads a record.
///
/// # Errors
/// What is wrong with it, in words; it is damage, or of a newer release, or of another log.
pub fn decode(owned: Owned, bytes: &[u8]) -> Result<Record<'_>, String> {
    let Some((head, payload)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Err(format!("a record of {} bytes has no header", bytes.len()));
    };
    let crc = u32::from_le_bytes(field(head, CRC_AT));
    if head[..4] != MAGIC || checksum(&head[..CRC_AT], payload) != crc {
        return Err("a record does not match its checksum".to_owned());
    }
    if head[4] > RECORD_FORMAT {
        return Err(format!(
            "a record has format {}, this release reads up to {RECORD_FORMAT}; start a newer release",
            head[4]
        ));
    }
    let found =
        Owned { partition: u16::from_le_bytes(field(head, 6)), directory: DirectoryId(field(head, 8)) };
    if found != owned {
        return Err(format!(
            "a record is of partition {} of {}, this is partition {} of {}",
            found.partition, found.directory, owned.partition, owned.directory
        ));
    }
    let number = |at| u64::from_le_bytes(field(head, at));
    let small = |at| u16::from_le_bytes(field(head, at));
    let (first, last, part, parts) = (Lsn(number(40)), Lsn(number(48)), small(56), small(58));
    let is_empty = (first.0, last.0, part, parts) == (0, 0, 0, 0) && payload.is_empty();
    let kind = match head[5] {
        0 if is_empty => Kind::Fence,
        1 if first.0 > 0 && first <= last && part < parts => Kind::Group { first, last, part, parts },
        2 if is_empty => Kind::Confirmation,
        _ => return Err("a record holds impossible values".to_owned()),
    };
    let previous = u32::from_le_bytes(field(head, 60));
    Ok(Record { header: Header { kind, epoch: number(24), batch: number(32), previous }, crc, payload })
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("the range has the length of the field")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OWNED: Owned = Owned { partition: 3, directory: DirectoryId([9; 16]) };

    fn group() -> Header {
        let kind = Kind::Group { first: Lsn(5), last: Lsn(7), part: 1, parts: 2 };
        Header { kind, epoch: 4, batch: 11, previous: 0xDEAD_BEEF }
    }

    #[test]
    fn the_bytes_of_a_record_are_frozen() {
        let (bytes, crc) = encode(OWNED, group(), b"frames");
        let mut expected = b"TKWL\x01\x01\x03\x00".to_vec();
        expected.extend_from_slice(&[9; 16]);
        for number in [4_u64, 11, 5, 7] {
            expected.extend_from_slice(&number.to_le_bytes());
        }
        expected.extend_from_slice(&[1, 0, 2, 0, 0xEF, 0xBE, 0xAD, 0xDE]);
        expected.extend_from_slice(&crc.to_le_bytes());
        expected.extend_from_slice(b"frames");
        assert_eq!(bytes, expected);
        assert_eq!(crc, checksum(&bytes[..64], b"frames"));
    }

    #[test]
    fn every_bit_flip_of_a_record_is_noticed() {
        for kind in [group().kind, Kind::Fence, Kind::Confirmation] {
            let payload: &[u8] = if kind == group().kind { b"frames" } else { b"" };
            let (bytes, _) = encode(OWNED, Header { kind, ..group() }, payload);
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(decode(OWNED, &flipped).is_err(), "{kind:?}, bit {bit}");
            }
        }
    }

    #[test]
    fn a_foreign_record_and_one_of_a_newer_release_are_named_as_such() {
        let (bytes, _) = encode(Owned { partition: 4, ..OWNED }, group(), b"");
        assert!(decode(OWNED, &bytes).expect_err("foreign").contains("partition 4"));
        let (mut bytes, _) = encode(OWNED, group(), b"");
        bytes[4] = 2;
        let crc = checksum(&bytes[..CRC_AT], b"");
        bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        assert!(decode(OWNED, &bytes).expect_err("newer").contains("start a newer release"));
    }

    proptest! {
        #[test]
        fn records_read_back_and_arbitrary_bytes_never_panic(
            payload in prop::collection::vec(any::<u8>(), 0..200), epoch: u64, batch: u64, previous: u32,
            first in 1_u64..1000, more in 0_u64..9, part in 0_u16..5, after in 1_u16..5,
            junk in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let (first, last) = (Lsn(first), Lsn(first + more));
            let kind = Kind::Group { first, last, part, parts: part + after };
            let header = Header { kind, epoch, batch, previous };
            let (bytes, crc) = encode(OWNED, header, &payload);
            prop_assert_eq!(decode(OWNED, &bytes), Ok(Record { header, crc, payload: &payload[..] }));
            prop_assert!(decode(OWNED, &junk).is_err());
        }
    }
}
