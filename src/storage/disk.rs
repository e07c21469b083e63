//! The seam between storage and the operating system: few operations, each of which a test can make fail.
//!
//! Invariants:
//!
//! - A sync that failed is reported and never repeated: after a failure the kernel may have dropped the bytes while
//!   showing them to every reader.
//! - A file made by [`Disk::create_zeroed`] has its blocks and its length on the medium, so that a later write inside it
//!   changes data only and `fdatasync` has no metadata to write.
//!
//! - A file that somebody reads through here has the bytes that it had until he is done, also while it is removed.
//!
//! Absent on purpose: appending, truncating. Nothing here shortens a file, but one that is removed.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt as _};
use std::path::{Path, PathBuf};

use crate::planted::{self, Bug};

use super::fault::{Fault, Result};
use super::pause::may_pause;

/// Zeros are written in pieces of this many bytes. The page cache keeps what one call wrote as one folio, and a later sync looks at
/// every block of the folio that it writes a part of: in folios of 2 MiB that takes 15 us a sync.
const ZERO_PIECE_BYTES: usize = 64 << 10;

/// What is written beside the journal is synced so many bytes at a time, so that neither a segment that is prepared nor a snapshot ever
/// queues more than this in front of a waiting append.
const SYNC_BYTES: usize = 512 << 10;

/// What is removed is shortened by so many bytes at a time: to free a segment of 64 MiB at once holds up every sync of ext4 for 12 ms.
const FREED_BYTES: u64 = 1 << 20;

/// The file system as storage uses it.
pub trait Disk: Send + Sync {
    /// Opens an existing file for writing.
    ///
    /// # Errors
    /// As the operating system says; a missing file is an error.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Makes a file of `len` real zeros and syncs it. Its name is durable only after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// As the operating system says; an existing file is an error. A part of the file may be left behind.
    fn create_zeroed(&self, path: &Path, len: u64) -> io::Result<Box<dyn DiskFile>>;

    /// Reads a whole file.
    ///
    /// # Errors
    /// As the operating system says.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Reads at most `most` bytes from `offset` on; fewer, or none, where the file ends before.
    ///
    /// # Errors
    /// As the operating system says.
    fn read_part(&self, path: &Path, offset: u64, most: u64) -> io::Result<Vec<u8>> {
        let whole = self.read(path)?;
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(whole.len());
        let until = from.saturating_add(usize::try_from(most).unwrap_or(usize::MAX)).min(whole.len());
        Ok(whole[from..until].to_vec())
    }

    /// Tells whether a file or a directory of this name exists.
    ///
    /// # Errors
    /// As the operating system says.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// The names in a directory, sorted. Names that are not UTF-8 are none of ours and are left out.
    ///
    /// # Errors
    /// As the operating system says; a missing directory is an error.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Renames a file within one directory, replacing a file of the new name. Durable after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// As the operating system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. Durable after [`Disk::sync_dir`]. After a crash it may be there with fewer bytes: what would then be read goes by [`discard_file`].
    ///
    /// # Errors
    /// As the operating system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// As the operating system says; never repeated here.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Makes a directory and those above it, and makes their names durable. The name of `dir` itself is synced even when
    /// it exists: whoever made it may have died before.
    ///
    /// # Errors
    /// As the operating system says.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
}

/// An open file.
pub trait DiskFile: Send {
    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// As the operating system says; a part may have been written.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes what was written durable.
    ///
    /// # Errors
    /// As the operating system says; never repeated here.
    fn sync_data(&mut self) -> io::Result<()>;

    /// The length in bytes.
    ///
    /// # Errors
    /// As the operating system says.
    fn len(&self) -> io::Result<u64>;

    /// Tells whether the file holds no byte.
    ///
    /// # Errors
    /// As [`DiskFile::len`].
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// The file system of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Box::new(RealFile(file)))
    }

    fn create_zeroed(&self, path: &Path, len: u64) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        write_zeros(&file, len)?;
        file.sync_all()?;
        Ok(Box::new(RealFile(file)))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut file = open_to_read(path)?;
        let mut bytes = Vec::with_capacity(usize_of(file.metadata()?.len()));
        while file.by_ref().take(u64_of(SYNC_BYTES)).read_to_end(&mut bytes)? > 0 {
            may_pause();
        }
        Ok(bytes)
    }

    fn read_part(&self, path: &Path, offset: u64, most: u64) -> io::Result<Vec<u8>> {
        let mut file = open_to_read(path)?;
        file.seek(SeekFrom::Start(offset))?;
        let mut part = Vec::new();
        file.take(most).read_to_end(&mut part)?;
        Ok(part)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            names.extend(entry?.file_name().into_string().ok());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        // Who reads it keeps all of it. Where files cannot be locked, nobody can tell that he reads.
        let unread = OpenOptions::new().write(true).open(path).ok().filter(|file| file.try_lock().is_ok());
        if let Some(file) = unread {
            let mut len = file.metadata()?.len();
            while len > FREED_BYTES {
                len -= FREED_BYTES;
                file.set_len(len)?;
                may_pause();
            }
        }
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let absent: Vec<PathBuf> = dir
            .ancestors()
            .take_while(|d| !d.as_os_str().is_empty() && !d.exists())
            .map(Path::to_path_buf)
            .collect();
        fs::create_dir_all(dir)?;
        let above = absent.iter().rev().map(PathBuf::as_path).filter(|made| *made != dir);
        for made in above.chain([dir]) {
            let parent = made.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            self.sync_dir(parent)?;
        }
        Ok(())
    }
}

/// Writes a file so that a crash leaves either the old content or the new, never a mixture.
///
/// # Errors
/// [`Fault::Io`]; the old content is then still in place, or the new one is.
pub fn replace_file(disk: &dyn Disk, tmp: &Path, path: &Path, parts: &[&[u8]]) -> Result<()> {
    if disk.exists(tmp).map_err(Fault::io("look for", tmp))? {
        disk.remove(tmp).map_err(Fault::io("remove", tmp))?;
    }
    let mut file = disk.create_zeroed(tmp, 0).map_err(Fault::io("create", tmp))?;
    let (mut offset, mut unsynced) = (0, 0);
    for piece in parts.iter().flat_map(|part| part.chunks(SYNC_BYTES)) {
        if unsynced + piece.len() > SYNC_BYTES {
            file.sync_data().map_err(Fault::io("sync", tmp))?;
            unsynced = 0;
        }
        file.write_at(offset, piece).map_err(Fault::io("write", tmp))?;
        unsynced += piece.len();
        offset += u64_of(piece.len());
        may_pause();
    }
    file.sync_data().map_err(Fault::io("sync", tmp))?;
    disk.rename(tmp, path).map_err(Fault::io("rename", tmp))?;
    sync_parent(disk, path)
}

/// Removes a file that means something: under a name that is left over after a crash, as it is shortened first.
///
/// # Errors
/// [`Fault::Io`]; the file is then whole in its place, or left over.
pub fn discard_file(disk: &dyn Disk, path: &Path, left_over: &Path) -> Result<()> {
    disk.rename(path, left_over).map_err(Fault::io("rename", path))?;
    sync_parent(disk, path)?;
    disk.remove(left_over).map_err(Fault::io("remove", left_over))?;
    sync_parent(disk, path)
}

/// Opens a file so that it keeps its bytes while it is open, whoever [removes](Disk::remove) it.
///
/// # Errors
/// As the operating system says. A file that is being removed is not found.
pub(super) fn open_to_read(path: &Path) -> io::Result<File> {
    let file = File::open(path)?;
    if let Err(TryLockError::WouldBlock) = file.try_lock_shared() {
        // Its writer may have locked it for himself. What is removed has lost its name before.
        let is_in_place = fs::metadata(path)?.ino() == file.metadata()?.ino();
        if !is_in_place {
            return Err(io::ErrorKind::NotFound.into());
        }
    }
    Ok(file)
}

/// Makes the name of a file durable.
///
/// # Errors
/// [`Fault::Io`]; the name may or may not survive a power cut.
pub fn sync_parent(disk: &dyn Disk, path: &Path) -> Result<()> {
    let dir = path.parent().expect("every stored file lies in a directory");
    if planted::is(Bug::DropDirectorySync) {
        return Ok(());
    }
    disk.sync_dir(dir).map_err(Fault::io("sync the directory", dir))
}

/// A length in memory as a length on the medium.
pub(super) fn u64_of(len: usize) -> u64 {
    u64::try_from(len).expect("a length in memory fits 64 bits")
}

/// A length on the medium as a length in memory.
pub(super) fn usize_of(len: u64) -> usize {
    usize::try_from(len).expect("a file that was read fits in memory")
}

#[derive(Debug)]
struct RealFile(File);

impl DiskFile for RealFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

fn write_zeros(file: &File, len: u64) -> io::Result<()> {
    let piece = vec![0_u8; ZERO_PIECE_BYTES.min(usize::try_from(len).unwrap_or(ZERO_PIECE_BYTES))];
    let mut offset = 0;
    while offset < len {
        let rest = usize::try_from(len - offset).unwrap_or(usize::MAX);
        let now = &piece[..piece.len().min(rest)];
        file.write_all_at(now, offset)?;
        offset += u64_of(now.len());
        if offset == len || offset.is_multiple_of(u64_of(SYNC_BYTES)) {
            file.sync_data()?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::sim_disk::CrashPlan;
    use crate::storage::{Layout, SimDisk};

    #[test]
    fn a_zeroed_file_has_its_length_and_is_not_made_twice() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("a/b/z");
        RealDisk.create_dir_all(&dir.path().join("a/b")).expect("made");
        let len = u64_of(SYNC_BYTES + ZERO_PIECE_BYTES) + 5;
        assert_eq!(RealDisk.create_zeroed(&path, len).expect("made").len().expect("length"), len);
        assert!(RealDisk.read(&path).expect("read").iter().all(|&byte| byte == 0));
        assert!(RealDisk.create_zeroed(&path, 1).is_err());
    }

    #[test]
    fn a_large_file_is_synced_piece_by_piece_so_that_an_append_never_waits_for_all_of_it() {
        let body = vec![7; 3 * SYNC_BYTES + 1];
        let syncs_of = |parts: &[&[u8]]| {
            let (disk, path) = (SimDisk::new(), Path::new("d/a"));
            disk.create_dir_all(Path::new("d")).expect("made");
            replace_file(&disk, Path::new("d/a.tmp"), path, parts).expect("replaced");
            assert_eq!(disk.read(path).expect("read"), parts.concat());
            disk.syncs()
        };
        let once = syncs_of(&[b"one"]);
        assert_eq!(syncs_of(&[b"head", &body[..SYNC_BYTES - 4]]), once);
        assert_eq!(syncs_of(&[b"head", &body]), once + 4);
    }

    #[test]
    fn what_is_removed_goes_piece_by_piece_unless_somebody_reads_it() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (path, len) = (dir.path().join("a"), FREED_BYTES * 3 + 5);
        let left_of = |open: &dyn Fn() -> File| {
            drop(RealDisk.create_zeroed(&path, len).expect("made"));
            let file = open();
            discard_file(&RealDisk, &path, &dir.path().join("a.tmp")).expect("removed");
            assert!(RealDisk.list(dir.path()).expect("listed").is_empty());
            file.metadata().expect("its length").len()
        };
        assert_eq!(left_of(&|| File::open(&path).expect("open")), 5);
        assert_eq!(left_of(&|| open_to_read(&path).expect("open")), len);
    }

    #[test]
    fn what_is_removed_is_not_found_and_what_its_writer_locked_is_read() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("a");
        fs::write(&path, b"one").expect("written");
        let locked = File::open(&path).expect("open");
        locked.lock().expect("alone");
        assert_eq!(RealDisk.read(&path).expect("read"), b"one");
        fs::rename(&path, dir.path().join("a.tmp")).expect("renamed");
        assert_eq!(RealDisk.read(&path).expect_err("gone").kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_file_that_is_discarded_is_whole_or_left_over_wherever_the_machine_stops() {
        for steps in 0..=4 {
            let (disk, path) = (SimDisk::new(), Path::new("d/a"));
            disk.create_dir_all(Path::new("d")).expect("made");
            replace_file(&disk, Path::new("d/a.tmp"), path, &[b"whole"]).expect("there");
            disk.stop_at(disk.operations() + steps, 0);
            assert_eq!(discard_file(&disk, path, Path::new("d/a.tmp")).is_ok(), steps == 4);
            for plan in [CrashPlan::LoseUnsynced, CrashPlan::KeepUnsynced] {
                let after = disk.crash(plan);
                let names = after.list(Path::new("d")).expect("listed");
                let is_whole = |name: &str| name == "a" && after.read(path).expect("read") == b"whole";
                assert!(names.iter().all(|name| Layout::is_left_over(name) || is_whole(name)), "{names:?}");
                assert_eq!(names.is_empty(), steps == 4 || (steps == 3 && plan == CrashPlan::KeepUnsynced));
            }
        }
    }

    #[test]
    fn replacing_a_file_passes_over_a_left_over_and_leaves_no_temporary() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (tmp, path) = (dir.path().join("a.tmp"), dir.path().join("a"));
        fs::write(&tmp, b"left over from a crash").expect("written");
        replace_file(&RealDisk, &tmp, &path, &[b"one", b"two"]).expect("replaced");
        assert_eq!(RealDisk.read(&path).expect("read"), b"onetwo");
        assert_eq!(RealDisk.list(dir.path()).expect("listed"), ["a"]);
    }
}
