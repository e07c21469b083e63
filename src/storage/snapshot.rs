//! Snapshots: a whole partition at one lsn, in one file, with an opaque body.
//!
//! | bytes | field |
//! |---|---|
//! | 0..8 | magic |
//! | 8..10 | format |
//! | 10..12 | partition |
//! | 12 | version of the body; the codec's business |
//! | 13..16 | reserved, zero |
//! | 16..32 | directory id |
//! | 32..40 | lsn |
//! | 40..48 | length of the body |
//! | 48..60 | reserved, zero |
//! | 60..64 | CRC-32C of the bytes before and of the body |
//!
//! A snapshot gets its name only when it is whole and synced. One that cannot be read is passed over for an older one
//! and reported; whether the journal still reaches back that far is for the replay to say, and it refuses when not.
//! A snapshot of a newer release is never passed over: it is whole, and an older one would take the partition back.

use std::path::{Path, PathBuf};

use super::disk::{replace_file, u64_of};
use super::fault::{Fault, Result};
use super::frame::{checksum, field};
use super::layout::{DirectoryId, Home, Layout};
use super::store::newest_snapshot_as;
use crate::domain::ids::Lsn;

/// The newest format of a snapshot file.
pub const SNAPSHOT_FORMAT: u16 = 1;

const HEADER_BYTES: usize = 64;
const MAGIC: [u8; 8] = *b"TKNWSNP\0";
const CRC_AT: usize = 60;

/// What a snapshot says about its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotHeader {
    /// The last lsn that the snapshot holds.
    pub lsn: Lsn,
    /// The version of the body.
    pub version: u8,
}

/// A snapshot that was read whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// What the snapshot says about its body.
    pub header: SnapshotHeader,
    /// The body.
    pub body: Vec<u8>,
}

/// Whose a snapshot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The partition.
    pub partition: u16,
    /// The identity of the directory.
    pub directory: DirectoryId,
}

/// The newest readable snapshot, and those that were passed over to find it.
#[derive(Debug)]
pub struct Loaded<T = Snapshot> {
    /// The snapshot, or what was made of it; none when there is no readable one.
    pub snapshot: Option<T>,
    /// The unreadable ones, newest first.
    pub skipped: Vec<Skipped>,
}

/// A snapshot that could not be read.
#[derive(Debug)]
pub struct Skipped {
    /// The file.
    pub path: PathBuf,
    /// The lsn that its name claims.
    pub lsn: Lsn,
    /// Why it could not be read.
    pub why: Fault,
}

/// Writes a snapshot and makes it durable, name included.
///
/// # Errors
/// [`Fault::Io`]; older snapshots are untouched and the journal still holds everything.
pub fn write_snapshot(home: &Home, header: SnapshotHeader, body: &[u8]) -> Result<PathBuf> {
    let path = home.layout.snapshot(home.partition, header.lsn);
    let tmp = home.layout.snapshot_tmp(home.partition, header.lsn);
    let block = encode(owner(home), header, body);
    replace_file(&*home.disk, &tmp, &path, &[&block, body])?;
    Ok(path)
}

/// The lsns of all snapshots, oldest first, from their names.
///
/// # Errors
/// [`Fault::Io`] when the directory cannot be listed.
pub fn list(home: &Home) -> Result<Vec<Lsn>> {
    let dir = home.layout.snapshots(home.partition);
    if !home.disk.exists(&dir).map_err(Fault::io("look for", &dir))? {
        return Ok(Vec::new());
    }
    let names = home.disk.list(&dir).map_err(Fault::io("list", &dir))?;
    Ok(names.iter().filter_map(|name| Layout::parse_snapshot(name)).collect())
}

/// Reads one snapshot.
///
/// # Errors
/// [`Fault::Io`], [`Fault::Corrupt`] or [`Fault::TooNew`].
pub fn load(home: &Home, lsn: Lsn) -> Result<Snapshot> {
    let path = home.layout.snapshot(home.partition, lsn);
    let bytes = home.disk.read(&path).map_err(Fault::io("read", &path))?;
    from_bytes(owner(home), &path, lsn, bytes)
}

/// Reads the newest snapshot that can be read.
///
/// # Errors
/// [`Fault::TooNew`] when the newest is of a newer release, [`Fault::Io`] when the directory cannot be listed. A
/// snapshot that cannot be read is no fault: it is in [`Loaded::skipped`].
pub fn load_newest(home: &Home) -> Result<Loaded> {
    newest_snapshot_as(home, Ok)
}

/// The bytes of a snapshot of this partition and directory, as they are stored.
pub fn to_bytes(owner: Owner, header: SnapshotHeader, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
    bytes.extend_from_slice(&encode(owner, header, body));
    bytes.extend_from_slice(body);
    bytes
}

/// Reads the bytes of the snapshot at `lsn`, which are stored at `place`.
///
/// # Errors
/// [`Fault::Corrupt`] or [`Fault::TooNew`].
pub fn from_bytes(owner: Owner, place: &Path, lsn: Lsn, mut bytes: Vec<u8>) -> Result<Snapshot> {
    let header = decode(owner, place, &bytes)?;
    if header.lsn != lsn {
        let what = format!("its header says lsn {}, its name says {lsn}", header.lsn);
        return Err(Fault::corrupt(place, 0, Some(lsn), what));
    }
    bytes.drain(..HEADER_BYTES);
    Ok(Snapshot { header, body: bytes })
}

fn owner(home: &Home) -> Owner {
    Owner { partition: home.partition, directory: home.directory }
}

fn encode(owner: Owner, header: SnapshotHeader, body: &[u8]) -> [u8; HEADER_BYTES] {
    let mut block = [0; HEADER_BYTES];
    block[0..8].copy_from_slice(&MAGIC);
    block[8..10].copy_from_slice(&SNAPSHOT_FORMAT.to_le_bytes());
    block[10..12].copy_from_slice(&owner.partition.to_le_bytes());
    block[12] = header.version;
    block[16..32].copy_from_slice(&owner.directory.0);
    block[32..40].copy_from_slice(&header.lsn.0.to_le_bytes());
    block[40..48].copy_from_slice(&u64_of(body.len()).to_le_bytes());
    let crc = checksum(&block[..CRC_AT], body);
    block[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
    block
}

fn decode(owner: Owner, path: &Path, bytes: &[u8]) -> Result<SnapshotHeader> {
    let corrupt = |what: String| Fault::corrupt(path, 0, None, what);
    let Some((block, body)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Err(corrupt(format!("the file has {} bytes and no header", bytes.len())));
    };
    if block[0..8] != MAGIC || u32::from_le_bytes(field(block, CRC_AT)) != checksum(&block[..CRC_AT], body) {
        return Err(corrupt("the snapshot does not match its checksum".to_owned()));
    }
    let found = u16::from_le_bytes(field(block, 8));
    if found > SNAPSHOT_FORMAT {
        let (found, supported) = (found.into(), SNAPSHOT_FORMAT.into());
        return Err(Fault::TooNew { path: path.to_path_buf(), found, supported });
    }
    let (partition, directory) = (u16::from_le_bytes(field(block, 10)), DirectoryId(field(block, 16)));
    if (partition, directory) != (owner.partition, owner.directory) {
        return Err(corrupt(format!(
            "it belongs to partition {partition} of the data directory {directory}, this is partition {} of {}",
            owner.partition, owner.directory
        )));
    }
    if u64::from_le_bytes(field(block, 40)) != u64_of(body.len()) {
        return Err(corrupt("its body has another length than its header says".to_owned()));
    }
    Ok(SnapshotHeader { lsn: Lsn(u64::from_le_bytes(field(block, 32))), version: block[12] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::sim_disk::CrashPlan;
    use crate::storage::{Disk, SimDisk};
    use std::sync::Arc;

    fn home(disk: &SimDisk) -> Home {
        let layout = Layout::new("d");
        let home =
            Home { disk: Arc::new(disk.clone()), layout, partition: 0, directory: DirectoryId([1; 16]) };
        disk.create_dir_all(&home.layout.snapshots(0)).expect("made");
        home
    }

    fn write(home: &Home, lsn: u64, body: &[u8]) -> PathBuf {
        write_snapshot(home, SnapshotHeader { lsn: Lsn(lsn), version: 3 }, body).expect("written")
    }

    #[test]
    fn the_newest_snapshot_survives_a_power_cut() {
        let disk = SimDisk::new();
        write(&home(&disk), 5, b"five");
        write(&home(&disk), 9, b"nine");
        let loaded = load_newest(&home(&disk.crash(CrashPlan::LoseUnsynced))).expect("listed");
        let header = SnapshotHeader { lsn: Lsn(9), version: 3 };
        assert_eq!(loaded.snapshot, Some(Snapshot { header, body: b"nine".to_vec() }));
        assert!(loaded.skipped.is_empty());
    }

    #[test]
    fn every_bit_flip_of_the_newest_falls_back_to_the_older_one_and_says_so() {
        let disk = SimDisk::new();
        let home = home(&disk);
        write(&home, 5, b"five");
        let path = write(&home, 9, b"nine");
        let bytes = disk.read(&path).expect("read");
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            disk.tamper(&path, &flipped);
            let loaded = load_newest(&home).expect("listed");
            assert_eq!(loaded.snapshot.map(|snapshot| snapshot.header.lsn), Some(Lsn(5)), "bit {bit}");
            assert_eq!(loaded.skipped[0].path, path);
        }
    }

    #[test]
    fn a_newer_format_is_refused_and_not_passed_over() {
        let disk = SimDisk::new();
        let home = home(&disk);
        write(&home, 5, b"five");
        let path = write(&home, 9, b"nine");
        let mut bytes = disk.read(&path).expect("read");
        bytes[8] = 2;
        let crc = checksum(&bytes[..CRC_AT], &bytes[HEADER_BYTES..]);
        bytes[CRC_AT..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
        disk.tamper(&path, &bytes);
        assert!(matches!(load_newest(&home), Err(Fault::TooNew { found: 2, supported: 1, .. })));
    }
}
