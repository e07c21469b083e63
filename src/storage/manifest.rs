//! The manifest: what a data directory is. Written once when the directory is made, read first at every start.
//!
//! One frame with a body of 32 bytes, little endian: format (u16), partitions (u16), stage (u32: 0 made, 1 being made),
//! directory id (16 bytes), time of creation (u64, milliseconds since 1970). A directory is being made until each of its
//! partitions has a first segment; from then on a partition without one has lost it. The number of partitions never changes: an organization
//! hashes to one of them.

use std::path::Path;

use super::disk::{Disk, replace_file};
use super::fault::{Fault, Result};
use super::frame::field;
use super::frame_file::FrameFile;
use super::layout::{DirectoryId, Layout};
use crate::domain::limits::PARTITIONS_MAX;

/// The newest format of a data directory.
pub const DIRECTORY_FORMAT: u16 = 1;

const FILE: FrameFile = FrameFile { kind: 0xFF, version: 1, of: "a manifest" };
const BODY_BYTES: usize = 32;

/// What a data directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The number of partitions, fixed for ever.
    pub partitions: u16,
    /// The identity of the directory.
    pub directory: DirectoryId,
    /// When the directory was made, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// Whether each partition has its first segment.
    pub stage: Stage,
}

/// How far the making of a directory went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Partitions may be missing; nothing was acknowledged yet.
    BeingMade,
    /// Every partition is there.
    Made,
}

impl Manifest {
    /// Writes the manifest so that a crash leaves it whole or absent; makes the data directory when there is none.
    ///
    /// # Errors
    /// [`Fault::Io`]; an existing manifest is then still in place or is replaced.
    pub fn write(&self, disk: &dyn Disk, layout: &Layout) -> Result<()> {
        disk.create_dir_all(layout.root()).map_err(Fault::io("create the directory", layout.root()))?;
        replace_file(disk, &layout.manifest_tmp(), &layout.manifest(), &[&self.encode()])
    }

    /// Reads the manifest; nothing when the directory has none and so was never made.
    ///
    /// # Errors
    /// [`Fault::TooNew`], [`Fault::Corrupt`] or [`Fault::Io`].
    pub fn read(disk: &dyn Disk, layout: &Layout) -> Result<Option<Self>> {
        let path = layout.manifest();
        FILE.read(disk, &path, |body| Self::decode_checked(&path, body))
    }

    fn decode_checked(path: &Path, body: &[u8]) -> Result<Self> {
        let corrupt = |what: &str| Fault::corrupt(path, 0, None, what);
        let body: &[u8; BODY_BYTES] = body.try_into().map_err(|_| corrupt("its body has another length"))?;
        let found = u16::from_le_bytes(field(body, 0));
        if found > DIRECTORY_FORMAT {
            let (found, supported) = (found.into(), DIRECTORY_FORMAT.into());
            return Err(Fault::TooNew { path: path.to_path_buf(), found, supported });
        }
        let manifest = Self::decode(body);
        if !(1..=PARTITIONS_MAX).contains(&manifest.partitions) {
            return Err(corrupt("it names an impossible number of partitions"));
        }
        Ok(manifest)
    }

    fn encode(&self) -> Vec<u8> {
        FILE.encode(|buf| {
            buf.extend_from_slice(&DIRECTORY_FORMAT.to_le_bytes());
            buf.extend_from_slice(&self.partitions.to_le_bytes());
            buf.extend_from_slice(&u32::from(self.stage == Stage::BeingMade).to_le_bytes());
            buf.extend_from_slice(&self.directory.0);
            buf.extend_from_slice(&self.created_at_ms.to_le_bytes());
        })
    }

    fn decode(body: &[u8; BODY_BYTES]) -> Self {
        Self {
            partitions: u16::from_le_bytes(field(body, 2)),
            directory: DirectoryId(field(body, 8)),
            created_at_ms: u64::from_le_bytes(field(body, 24)),
            stage: if u32::from_le_bytes(field(body, 4)) == 0 { Stage::Made } else { Stage::BeingMade },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::SimDisk;
    use crate::storage::frame::HEADER_BYTES;
    use crate::storage::sim_disk::CrashPlan;

    const MANIFEST: Manifest =
        Manifest { partitions: 4, directory: DirectoryId([7; 16]), created_at_ms: 1_234, stage: Stage::Made };

    fn written() -> (SimDisk, Layout, Vec<u8>) {
        let (disk, layout) = (SimDisk::new(), Layout::new("data"));
        assert_eq!(Manifest::read(&disk, &layout).expect("nothing there"), None);
        MANIFEST.write(&disk, &layout).expect("written");
        let bytes = disk.read(&layout.manifest()).expect("read");
        (disk, layout, bytes)
    }

    #[test]
    fn a_written_manifest_survives_a_power_cut() {
        let (disk, layout, _) = written();
        let after = disk.crash(CrashPlan::LoseUnsynced);
        assert_eq!(Manifest::read(&after, &layout).expect("whole"), Some(MANIFEST));
    }

    #[test]
    fn every_bit_flip_of_a_manifest_is_refused() {
        let (disk, layout, bytes) = written();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            disk.tamper(&layout.manifest(), &flipped);
            assert!(matches!(Manifest::read(&disk, &layout), Err(Fault::Corrupt { .. })), "bit {bit}");
        }
    }

    #[test]
    fn a_newer_directory_is_refused_by_its_number() {
        let (disk, layout, bytes) = written();
        let buf = FILE.encode(|buf| {
            buf.extend_from_slice(&9_u16.to_le_bytes());
            buf.extend_from_slice(&bytes[HEADER_BYTES + 2..]);
        });
        disk.tamper(&layout.manifest(), &buf);
        assert!(matches!(Manifest::read(&disk, &layout), Err(Fault::TooNew { found: 9, supported: 1, .. })));
    }
}
