//! Every file and directory name below the data directory, built and parsed here and nowhere else.
//!
//! ```text
//! LOCK  MANIFEST
//! audit/p000/journal/<first lsn, 20 digits>.wal
//! p000/journal/<first lsn, 20 digits>.wal   next.prep  now.prep  <first lsn>.wal.tmp
//! p000/snapshots/<lsn, 20 digits>.snap      <lsn>.snap.tmp
//! followed/
//! ```
//!
//! Twenty digits hold every lsn, so names sort as their numbers do.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::Disk;
use crate::domain::hex::Hex;
use crate::domain::ids::Lsn;

const SEGMENT_SUFFIX: &str = ".wal";
const SNAPSHOT_SUFFIX: &str = ".snap";
const LSN_DIGITS: usize = 20;

/// The identity of a data directory, made once at random. Files carry it, so that a file copied in from elsewhere is
/// noticed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct DirectoryId(pub [u8; 16]);

impl fmt::Display for DirectoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(&self.0).fmt(f)
    }
}

impl fmt::Debug for DirectoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DirectoryId({self})")
    }
}

/// The names below one data directory.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The layout of the data directory `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The data directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The lock file.
    pub fn lock(&self) -> PathBuf {
        self.root.join("LOCK")
    }

    /// The manifest.
    pub fn manifest(&self) -> PathBuf {
        self.root.join("MANIFEST")
    }

    /// The manifest while it is being written.
    pub fn manifest_tmp(&self) -> PathBuf {
        self.root.join("MANIFEST.tmp")
    }

    /// The manifest of a backup.
    pub fn backup(&self) -> PathBuf {
        self.root.join("BACKUP")
    }

    /// The manifest of a backup while it is being written.
    pub fn backup_tmp(&self) -> PathBuf {
        self.root.join("BACKUP.tmp")
    }

    /// The audit log: as a directory with one partition, whose journal it is.
    pub fn audit(&self) -> Self {
        Self::new(self.root.join("audit"))
    }

    /// What follows the partitions that a node of a cluster serves: nothing that has to be kept.
    pub fn followed(&self) -> PathBuf {
        self.root.join("followed")
    }

    /// The directory of one partition.
    pub fn partition(&self, partition: u16) -> PathBuf {
        self.root.join(format!("p{partition:03}"))
    }

    /// The journal directory of one partition.
    pub fn journal(&self, partition: u16) -> PathBuf {
        self.partition(partition).join("journal")
    }

    /// The journal segment whose first frame is `first`.
    pub fn segment(&self, partition: u16, first: Lsn) -> PathBuf {
        self.journal(partition).join(format!("{:0LSN_DIGITS$}{SEGMENT_SUFFIX}", first.0))
    }

    /// The segment that is prepared ahead, before it has a first frame.
    pub fn prepared_ahead(&self, partition: u16) -> PathBuf {
        self.journal(partition).join("next.prep")
    }

    /// The segment that is made while an append waits. It has a name of its own because the one prepared ahead may
    /// still be in the making on another thread.
    pub fn prepared_inline(&self, partition: u16) -> PathBuf {
        self.journal(partition).join("now.prep")
    }

    /// The snapshot directory of one partition.
    pub fn snapshots(&self, partition: u16) -> PathBuf {
        self.partition(partition).join("snapshots")
    }

    /// The snapshot that holds everything up to `lsn`.
    pub fn snapshot(&self, partition: u16, lsn: Lsn) -> PathBuf {
        self.snapshots(partition).join(Self::snapshot_name(lsn))
    }

    /// The name of the snapshot that holds everything up to `lsn`.
    pub fn snapshot_name(lsn: Lsn) -> String {
        format!("{:0LSN_DIGITS$}{SNAPSHOT_SUFFIX}", lsn.0)
    }

    /// The snapshot at `lsn` while it is being written.
    pub fn snapshot_tmp(&self, partition: u16, lsn: Lsn) -> PathBuf {
        self.snapshots(partition).join(format!("{:0LSN_DIGITS$}{SNAPSHOT_SUFFIX}.tmp", lsn.0))
    }

    /// The first lsn of a segment, from its name.
    pub fn parse_segment(name: &str) -> Option<Lsn> {
        parse(name, SEGMENT_SUFFIX)
    }

    /// The lsn of a snapshot, from its name.
    pub fn parse_snapshot(name: &str) -> Option<Lsn> {
        parse(name, SNAPSHOT_SUFFIX)
    }

    /// The name of a segment or a snapshot while it is removed.
    #[must_use]
    pub fn removed(path: &Path) -> PathBuf {
        path.with_added_extension("tmp")
    }

    /// Tells whether a name belongs to a file that a crash left unfinished.
    pub fn is_left_over(name: &str) -> bool {
        name.ends_with(".tmp") || name.ends_with(".prep")
    }
}

/// Where one partition lives: the disk, the names, its number and the identity of the directory.
#[derive(Clone)]
pub struct Home {
    /// The disk that holds the directory.
    pub disk: Arc<dyn Disk>,
    /// The names below the directory.
    pub layout: Layout,
    /// The partition.
    pub partition: u16,
    /// The identity that every file of the directory carries.
    pub directory: DirectoryId,
}

impl fmt::Debug for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Home({})", self.layout.partition(self.partition).display())
    }
}

fn parse(name: &str, suffix: &str) -> Option<Lsn> {
    let digits = name.strip_suffix(suffix)?;
    let plain = digits.len() == LSN_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    if plain { digits.parse().ok().map(Lsn) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back_to_the_numbers_they_were_built_from() {
        let layout = Layout::new("d");
        for lsn in [0, 1, 42, u64::MAX] {
            let segment = layout.segment(7, Lsn(lsn));
            let name = segment.file_name().and_then(|n| n.to_str()).expect("a name");
            assert_eq!(Layout::parse_segment(name), Some(Lsn(lsn)));
            assert_eq!(Layout::parse_snapshot(name), None);
        }
        let expected = "d/p007/snapshots/00000000000000000009.snap";
        assert_eq!(layout.snapshot(7, Lsn(9)), PathBuf::from(expected));
    }

    #[test]
    fn other_names_are_not_taken_for_ours() {
        for name in
            ["1.wal", "0000000000000000000x.wal", "99999999999999999999.wal", "+0000000000000000001.wal", ""]
        {
            assert_eq!(Layout::parse_segment(name), None, "{name}");
        }
        assert!(Layout::is_left_over("00000000000000000001.snap.tmp") && Layout::is_left_over("next.prep"));
        let removed = Layout::removed(Path::new("00000000000000000001.wal"));
        assert!(Layout::is_left_over(removed.to_str().expect("text")));
        assert!(!Layout::is_left_over("00000000000000000001.snap"));
    }
}
