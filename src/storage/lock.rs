//! One writer per data directory, by an advisory lock that the kernel drops when the process ends, however it ends.
//!
//! The lock file stays behind and holds the last writer's process id, for the message only: the lock is the kernel's,
//! not the file's content. Absent on purpose: waiting. A held directory is an answer.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::planted::{self, Bug};

use super::fault::{Fault, Result};

/// A held data directory; dropping it lets go.
#[derive(Debug)]
#[must_use = "the directory is free again when this is dropped"]
pub struct DirectoryLock {
    // The kernel drops a lock when its last descriptor closes.
    _file: Option<File>,
    anchor: Option<(PathBuf, File)>,
}

impl DirectoryLock {
    /// Takes the directory for writing and leaves this process's id in the lock file.
    ///
    /// # Errors
    /// [`Fault::Locked`] when any other process holds it, [`Fault::Io`] when the lock file cannot be written.
    pub fn exclusive(path: &Path) -> Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(Fault::io("open", path))?;
        acquire(&mut file, path, FlockOperation::NonBlockingLockExclusive)?;
        write_holder(&mut file).map_err(Fault::io("write", path))?;
        Ok(Self { _file: Some(file), anchor: None })
    }

    /// Locks a second file as well, one that nobody takes for left over, and watches from then on whether it stays in its place.
    ///
    /// # Errors
    /// [`Fault::Locked`] when another process holds it: the lock file was removed under its feet. [`Fault::Io`] when it
    /// cannot be opened.
    pub fn anchor(mut self, path: &Path) -> Result<Self> {
        let mut file = File::open(path).map_err(Fault::io("open", path))?;
        acquire(&mut file, path, FlockOperation::NonBlockingLockExclusive)?;
        self.anchor = Some((path.to_path_buf(), file));
        Ok(self)
    }

    /// Whether the directory is still where it was: not moved, not deleted, not replaced by another.
    #[must_use]
    pub fn is_in_place(&self) -> bool {
        let Some((path, file)) = &self.anchor else { return true };
        match (std::fs::metadata(path), file.metadata()) {
            (Ok(there), Ok(held)) => (there.dev(), there.ino()) == (held.dev(), held.ino()),
            (Err(error), _) => error.kind() != io::ErrorKind::NotFound,
            (Ok(_), Err(_)) => true,
        }
    }

    /// Keeps writers out while reading. Writes nothing, so it works on a read-only medium; several readers may share.
    /// A directory without a lock file, a copy say, has no writer to keep out.
    ///
    /// # Errors
    /// [`Fault::Locked`] when a writer holds it, [`Fault::Io`] when the lock file cannot be read.
    pub fn shared(path: &Path) -> Result<Self> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self { _file: None, anchor: None });
            }
            Err(error) => return Err(Fault::io("open", path)(error)),
        };
        acquire(&mut file, path, FlockOperation::NonBlockingLockShared)?;
        Ok(Self { _file: Some(file), anchor: None })
    }
}

fn acquire(file: &mut File, path: &Path, how: FlockOperation) -> Result<()> {
    match flock(&*file, how) {
        Ok(()) => Ok(()),
        Err(_) if planted::is(Bug::AcceptSecondWriter) => Ok(()),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            Err(Fault::Locked { path: path.to_path_buf(), holder: read_holder(file) })
        }
        Err(errno) => Err(Fault::io("lock", path)(errno.into())),
    }
}

fn write_holder(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    writeln!(file, "{}", std::process::id())
}

fn read_holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.take(32).read_to_string(&mut text).is_ok();
    match text.trim().parse::<u32>() {
        Ok(pid) if read => format!("process {pid}"),
        _ => "another process".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i9_a_removed_lock_file_lets_no_second_writer_in_and_a_moved_directory_is_noticed() {
        let dir = tempfile::tempdir().expect("a directory");
        let (lock, anchor) = (dir.path().join("LOCK"), dir.path().join("MANIFEST"));
        std::fs::write(&anchor, b"manifest").expect("it is written");
        let held = DirectoryLock::exclusive(&lock).and_then(|held| held.anchor(&anchor)).expect("it is free");
        std::fs::remove_file(&lock).expect("it is removed");
        let second = DirectoryLock::exclusive(&lock).and_then(|second| second.anchor(&anchor));
        assert!(matches!(second, Err(Fault::Locked { .. })), "{second:?}");
        assert!(held.is_in_place());
        std::fs::rename(&anchor, dir.path().join("elsewhere")).expect("it is moved");
        assert!(!held.is_in_place(), "moved");
        std::fs::write(&anchor, b"another").expect("it is written");
        assert!(!held.is_in_place(), "replaced");
    }

    #[test]
    fn a_second_writer_is_refused_and_told_who_holds_the_directory() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("LOCK");
        let held = DirectoryLock::exclusive(&path).expect("free");
        let refused = DirectoryLock::exclusive(&path).expect_err("held");
        assert!(refused.to_string().contains(&format!("process {}", std::process::id())), "{refused}");
        assert!(matches!(DirectoryLock::shared(&path), Err(Fault::Locked { .. })));
        drop(held);
        let _again = DirectoryLock::exclusive(&path).expect("free again");
    }

    #[test]
    fn readers_share_and_keep_a_writer_out() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("LOCK");
        let _no_writer_ever = DirectoryLock::shared(&path).expect("nothing to lock");
        drop(DirectoryLock::exclusive(&path).expect("free"));
        let _one = DirectoryLock::shared(&path).expect("free");
        let _two = DirectoryLock::shared(&path).expect("shared");
        assert!(matches!(DirectoryLock::exclusive(&path), Err(Fault::Locked { .. })));
    }
}
