//! The manifest of a backup: what it holds, how far it reaches, and a checksum of every file.
//!
//! One frame in the file `BACKUP`, as the manifest of a directory is one, with a body in named-map MessagePack. A
//! backup has no `MANIFEST`, so no server takes it for a data directory.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::domain::ids::Lsn;
use crate::domain::time::Timestamp;
use crate::storage::disk::{Disk, replace_file, u64_of};
use crate::storage::event_codec::{from_named_borrowed, put_named};
use crate::storage::fault::{Fault, Result};
use crate::storage::frame_file::FrameFile;
use crate::storage::layout::{DirectoryId, Layout};
use crate::storage::manifest::{Manifest, Stage};

const FILE: FrameFile = FrameFile { kind: 0xFE, version: 1, of: "a backup" };

/// What a backup is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupManifest {
    /// The identity of the directory that was backed up.
    #[serde(with = "serde_bytes")]
    directory: [u8; 16],
    /// When that directory was made, in milliseconds since 1970.
    created_at_ms: u64,
    /// When the backup was begun: all that was acknowledged before is in it.
    pub begun_at: Timestamp,
    /// How far each partition reaches.
    pub partitions: Vec<Reach>,
    /// Every other file, by its path below the backup, in order.
    pub files: Vec<BackupFile>,
}

/// How far the journal of a partition reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// The first frame that it can be restored to.
    pub earliest: Lsn,
    /// The newest event up to there; none when there is none.
    pub earliest_at: Option<Timestamp>,
    /// The last frame.
    pub last: Lsn,
    /// The newest event; none when there is none.
    pub last_at: Option<Timestamp>,
}

/// A file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupFile {
    /// Its path below the backup.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of its bytes.
    #[serde(with = "serde_bytes")]
    pub sha256: [u8; 32],
}

impl BackupManifest {
    /// The manifest of the files below `layout`, a backup of the directory of `source`.
    ///
    /// # Errors
    /// [`Fault::Io`] when they cannot be read.
    pub fn of(
        source: &Manifest,
        begun_at: Timestamp,
        partitions: Vec<Reach>,
        disk: &dyn Disk,
        layout: &Layout,
    ) -> Result<Self> {
        let directory = source.directory.0;
        let files = files(disk, layout, source.partitions)?;
        Ok(Self { directory, created_at_ms: source.created_at_ms, begun_at, partitions, files })
    }

    /// What the backed-up directory is.
    #[must_use]
    pub fn source(&self) -> Manifest {
        Manifest {
            partitions: u16::try_from(self.partitions.len()).unwrap_or(u16::MAX),
            directory: DirectoryId(self.directory),
            created_at_ms: self.created_at_ms,
            stage: Stage::Made,
        }
    }

    /// Writes it so that a crash leaves it whole or absent.
    ///
    /// # Errors
    /// [`Fault::Io`].
    pub fn write(&self, disk: &dyn Disk, layout: &Layout) -> Result<()> {
        replace_file(
            disk,
            &layout.backup_tmp(),
            &layout.backup(),
            &[&FILE.encode(|buf| put_named(buf, self))],
        )
    }

    /// Reads the manifest of a backup; nothing when the directory is none.
    ///
    /// # Errors
    /// [`Fault::TooNew`], [`Fault::Corrupt`] or [`Fault::Io`].
    pub fn read(disk: &dyn Disk, layout: &Layout) -> Result<Option<Self>> {
        let path = layout.backup();
        FILE.read(disk, &path, |body| {
            from_named_borrowed(body, "it is no manifest of a backup")
                .map_err(|error| Fault::corrupt(&path, 0, None, error.to_string()))
        })
    }

    /// Compares every file of the backup with its checksum.
    ///
    /// # Errors
    /// [`Fault::Missing`] or [`Fault::Corrupt`] for the first one that is not as it was written or was not written
    /// by the backup.
    pub fn check_files(&self, disk: &dyn Disk, layout: &Layout) -> Result<()> {
        for file in &self.files {
            let path = layout.root().join(&file.path);
            if !disk.exists(&path).map_err(Fault::io("look for", &path))? {
                return Err(Fault::Missing { path, what: format!("{} bytes of the backup", file.bytes) });
            }
            let bytes = disk.read(&path).map_err(Fault::io("read", &path))?;
            if entry(file.path.clone(), &bytes) != *file {
                return Err(Fault::corrupt(&path, 0, None, "it is not what the manifest of the backup says"));
            }
        }
        let strange = files(disk, layout, self.source().partitions)?
            .into_iter()
            .find(|found| self.files.iter().all(|file| file.path != found.path));
        match strange {
            None => Ok(()),
            Some(found) => {
                let path = layout.root().join(found.path);
                Err(Fault::corrupt(&path, 0, None, "the manifest of the backup does not know it"))
            }
        }
    }
}

/// The snapshots and journals below a layout.
fn files(disk: &dyn Disk, layout: &Layout, partitions: u16) -> Result<Vec<BackupFile>> {
    let mut files = Vec::new();
    let partitions = (0..partitions).flat_map(|number| [layout.journal(number), layout.snapshots(number)]);
    for dir in partitions.chain([layout.audit().journal(0)]) {
        if !disk.exists(&dir).map_err(Fault::io("look for", &dir))? {
            continue;
        }
        for name in disk.list(&dir).map_err(Fault::io("list", &dir))? {
            let path = dir.join(name);
            let bytes = disk.read(&path).map_err(Fault::io("read", &path))?;
            let below = path.strip_prefix(layout.root()).expect("it was listed below the root");
            files.push(entry(below.display().to_string(), &bytes));
        }
    }
    Ok(files)
}

fn entry(path: String, bytes: &[u8]) -> BackupFile {
    BackupFile { path, bytes: u64_of(bytes.len()), sha256: Sha256::digest(bytes).into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::SimDisk;

    fn written() -> (SimDisk, Layout, BackupManifest) {
        let (disk, layout) = (SimDisk::new(), Layout::new("d"));
        disk.create_dir_all(&layout.snapshots(0)).expect("made");
        disk.create_zeroed(&layout.snapshot(0, Lsn(7)), 3).expect("made");
        let (directory, created_at_ms) = (DirectoryId([7; 16]), 1_234);
        let source = Manifest { partitions: 1, directory, created_at_ms, stage: Stage::Made };
        let reach =
            Reach { earliest: Lsn(0), earliest_at: None, last: Lsn(9), last_at: Some(Timestamp::FIRST) };
        let manifest =
            BackupManifest::of(&source, Timestamp::FIRST, vec![reach], &disk, &layout).expect("read");
        manifest.write(&disk, &layout).expect("written");
        assert_eq!(manifest.source(), source);
        (disk, layout, manifest)
    }

    #[test]
    fn a_written_manifest_of_a_backup_reads_back_and_every_bit_flip_is_refused() {
        let (disk, layout, manifest) = written();
        assert_eq!(BackupManifest::read(&disk, &layout).expect("whole"), Some(manifest));
        let bytes = disk.read(&layout.backup()).expect("read");
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            disk.tamper(&layout.backup(), &flipped);
            let read = BackupManifest::read(&disk, &layout);
            let is_padding = matches!(&read, Ok(Some(_))) && bit / 8 >= bytes.len() - 7;
            assert!(is_padding || matches!(read, Err(Fault::Corrupt { .. })), "bit {bit}");
        }
    }

    #[test]
    fn a_file_that_is_changed_gone_or_added_is_named() {
        let (disk, layout, manifest) = written();
        let path = layout.snapshot(0, Lsn(7));
        manifest.check_files(&disk, &layout).expect("as it was written");
        disk.tamper(&path, b"\0\0\x01");
        assert!(
            matches!(manifest.check_files(&disk, &layout), Err(Fault::Corrupt { path: at, .. }) if at == path)
        );
        disk.remove(&path).expect("removed");
        assert!(
            matches!(manifest.check_files(&disk, &layout), Err(Fault::Missing { path: at, .. }) if at == path)
        );
        disk.create_zeroed(&path, 3).expect("made");
        disk.create_zeroed(&layout.snapshot(0, Lsn(8)), 3).expect("made");
        let strange = manifest.check_files(&disk, &layout).expect_err("added");
        assert!(strange.to_string().contains("8.snap") && strange.to_string().contains("does not know it"));
    }
}
