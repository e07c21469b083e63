//! The block that opens a journal segment: whose file it is and where in the journal it begins.
//!
//! | bytes | field |
//! |---|---|
//! | 0..8 | magic |
//! | 8..10 | format |
//! | 10..12 | partition |
//! | 12..16 | reserved, zero |
//! | 16..32 | directory id |
//! | 32..40 | first lsn |
//! | 40..48 | length of the file |
//! | 48..60 | reserved, zero |
//! | 60..64 | CRC-32C of the bytes before |
//!
//! The places of magic, format and checksum hold for every format to come, so that an older release can say "too new"
//! instead of "damaged".
//!
//! Invariant: a segment gets its name only after its header and its first group are synced at full length. A power cut
//! cannot leave a bad header, a short file or a bad first frame under a segment's name; each of them is corruption.

use std::path::Path;

use super::disk::u64_of;
use super::fault::{Fault, Result};
use super::frame::{checksum, field};
use super::layout::{DirectoryId, Home};
use crate::domain::ids::Lsn;

/// The length of the block that opens a segment.
pub const SEGMENT_HEADER_BYTES: usize = 64;

/// The newest segment format.
pub const SEGMENT_FORMAT: u16 = 1;

const MAGIC: [u8; 8] = *b"TKNWEIR\0";
const CRC_AT: usize = 60;

/// The block that opens a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The partition that the segment belongs to.
    pub partition: u16,
    /// The data directory that the segment belongs to.
    pub directory: DirectoryId,
    /// The lsn of the first frame.
    pub first: Lsn,
    /// The length of the file, in bytes.
    pub len: u64,
}

impl SegmentHeader {
    /// The bytes of the block.
    pub fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut block = [0; SEGMENT_HEADER_BYTES];
        block[0..8].copy_from_slice(&MAGIC);
        block[8..10].copy_from_slice(&SEGMENT_FORMAT.to_le_bytes());
        block[10..12].copy_from_slice(&self.partition.to_le_bytes());
        block[16..32].copy_from_slice(&self.directory.0);
        block[32..40].copy_from_slice(&self.first.0.to_le_bytes());
        block[40..48].copy_from_slice(&self.len.to_le_bytes());
        let crc = checksum(&block[..CRC_AT], &[]);
        block[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        block
    }

    /// Reads the block of a whole segment file and checks that the file is this partition's and has its length.
    ///
    /// # Errors
    /// [`Fault::TooNew`], or [`Fault::Corrupt`] for everything else.
    pub fn decode(home: &Home, path: &Path, file: &[u8]) -> Result<Self> {
        let corrupt = |what: String| Fault::corrupt(path, 0, None, what);
        let block = file
            .get(..SEGMENT_HEADER_BYTES)
            .ok_or_else(|| corrupt(format!("the file has {} bytes and no header", file.len())))?;
        if block[0..8] != MAGIC || u32::from_le_bytes(field(block, CRC_AT)) != checksum(&block[..CRC_AT], &[])
        {
            return Err(corrupt("the segment header does not match its checksum".to_owned()));
        }
        let found = u16::from_le_bytes(field(block, 8));
        if found > SEGMENT_FORMAT {
            let (found, supported) = (found.into(), SEGMENT_FORMAT.into());
            return Err(Fault::TooNew { path: path.to_path_buf(), found, supported });
        }
        let header = Self {
            partition: u16::from_le_bytes(field(block, 10)),
            directory: DirectoryId(field(block, 16)),
            first: Lsn(u64::from_le_bytes(field(block, 32))),
            len: u64::from_le_bytes(field(block, 40)),
        };
        header.check(home, u64_of(file.len())).map_err(corrupt)?;
        Ok(header)
    }

    fn check(&self, home: &Home, len: u64) -> std::result::Result<(), String> {
        if self.directory != home.directory {
            let (found, here) = (self.directory, home.directory);
            return Err(format!("it belongs to the data directory {found}, this one is {here}"));
        }
        if self.partition != home.partition {
            return Err(format!("it belongs to partition {}, not {}", self.partition, home.partition));
        }
        if self.len != len {
            return Err(format!("the file was made with {} bytes and has {len}", self.len));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Layout, SimDisk};
    use std::sync::Arc;

    fn home() -> Home {
        let disk = Arc::new(SimDisk::new());
        Home { disk, layout: Layout::new("d"), partition: 3, directory: DirectoryId([9; 16]) }
    }

    fn header() -> SegmentHeader {
        SegmentHeader { partition: 3, directory: DirectoryId([9; 16]), first: Lsn(77), len: 64 }
    }

    fn decode(bytes: &[u8]) -> Result<SegmentHeader> {
        SegmentHeader::decode(&home(), Path::new("x.wal"), bytes)
    }

    #[test]
    fn a_header_reads_back_and_every_bit_flip_is_noticed() {
        let block = header().encode();
        assert_eq!(decode(&block).expect("whole"), header());
        for bit in 0..block.len() * 8 {
            let mut flipped = block;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(decode(&flipped), Err(Fault::Corrupt { .. })), "bit {bit}");
        }
    }

    #[test]
    fn a_newer_format_is_refused_by_its_number() {
        let mut block = header().encode();
        block[8] = 2;
        let crc = checksum(&block[..CRC_AT], &[]);
        block[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        assert!(matches!(decode(&block), Err(Fault::TooNew { found: 2, supported: 1, .. })));
    }

    #[test]
    fn a_foreign_or_shortened_file_is_named_as_such() {
        for (header, word) in [
            (SegmentHeader { directory: DirectoryId([8; 16]), ..header() }, "data directory 0808"),
            (SegmentHeader { partition: 4, ..header() }, "partition 4"),
            (SegmentHeader { len: 512, ..header() }, "512 bytes"),
        ] {
            let fault = decode(&header.encode()).expect_err("not ours");
            assert!(fault.to_string().contains(word), "{fault}");
        }
    }
}
