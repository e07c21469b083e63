//! The files of a data directory, opened at one moment, while a server may go on writing there.
//!
//! Snapshots are opened first and journals listed after them, so the journals reach at least as far as the
//! snapshots. An open file stays readable when its name goes, so what retention removes meanwhile is still read.
//! Names are taken once, bytes when they are read: a journal may be longer at a second reading, never other.
//! At most so many files are held open, of each directory the oldest, which retention removes first; the others are opened when
//! they are read, which fails in the end if retention has overtaken the reader by all that were held.
//!
//! Deliberately absent: the lock. Nothing is written, and what is read is a prefix that could have been left by a
//! crash.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::domain::ids::Lsn;
use crate::storage::disk::{Disk, DiskFile, RealDisk, open_to_read};
use crate::storage::fault::{Fault, Result};
use crate::storage::layout::Layout;

/// How often a directory is listed anew because a file went away before it was opened. Each time, retention has
/// removed something just then.
const TRIES: u32 = 16;
/// Most files that are held open: half of what a process mostly may have.
const HELD_MAX: usize = 512;

/// The files, those in it that are held open.
#[derive(Debug, Default)]
pub struct View {
    files: BTreeMap<PathBuf, Option<File>>,
}

impl View {
    /// Opens the snapshots and journal segments of all partitions, and those of the audit log.
    ///
    /// # Errors
    /// [`Fault::Io`] when one cannot be opened.
    pub fn open(layout: &Layout, partitions: u16) -> Result<Self> {
        // Snapshots and journal of each partition, and the audit log.
        let directories = 2 * usize::from(partitions) + 1;
        Self::open_held(layout, partitions, HELD_MAX / directories)
    }

    /// The same, of each directory with at most so many files held open.
    fn open_held(layout: &Layout, partitions: u16, held: usize) -> Result<Self> {
        let mut tries = 1;
        loop {
            match Self::open_once(layout, partitions, held) {
                Err(Fault::Io { source, .. }) if source.kind() == ErrorKind::NotFound && tries < TRIES => {
                    tries += 1;
                }
                Ok(view) if !view.is_joined(layout, partitions) && tries < TRIES => tries += 1,
                opened => return opened,
            }
        }
    }

    fn open_once(layout: &Layout, partitions: u16, held: usize) -> Result<Self> {
        let mut view = Self::default();
        for partition in 0..partitions {
            view.open_all(&layout.snapshots(partition), Layout::parse_snapshot, held)?;
        }
        for partition in 0..partitions {
            view.open_all(&layout.journal(partition), Layout::parse_segment, held)?;
        }
        // Last, so that it holds the beginning of every act that a journal holds.
        let audit = layout.audit().journal(0);
        if RealDisk.exists(&audit).map_err(Fault::io("look for", &audit))? {
            view.open_all(&audit, Layout::parse_segment, held)?;
        }
        Ok(view)
    }

    fn open_all(&mut self, dir: &Path, parse: impl Fn(&str) -> Option<Lsn>, held: usize) -> Result<()> {
        let mut names = RealDisk.list(dir).map_err(Fault::io("list", dir))?;
        names.retain(|name| parse(name).is_some());
        names.sort_unstable_by_key(|name| parse(name));
        for (place, name) in names.iter().enumerate() {
            let path = dir.join(name);
            let open = || open_to_read(&path).map_err(Fault::io("open", &path));
            let file = if place < held { Some(open()?) } else { None };
            self.files.insert(path, file);
        }
        Ok(())
    }

    /// Makes durable what was read of a journal: its writer may not have synced the newest group yet.
    ///
    /// # Errors
    /// [`Fault::Io`] when the disk refuses.
    pub fn settle(&self, layout: &Layout, partition: u16) -> Result<()> {
        let journal = layout.journal(partition);
        match self.files.iter().rfind(|(path, _)| path.starts_with(&journal)) {
            Some((path, Some(newest))) => newest.sync_data().map_err(Fault::io("sync", path)),
            Some((path, None)) => {
                File::open(path).and_then(|newest| newest.sync_data()).map_err(Fault::io("sync", path))
            }
            None => Ok(()),
        }
    }

    /// Whether each journal goes on from the newest snapshot: retention may have removed segments between the two
    /// listings.
    fn is_joined(&self, layout: &Layout, partitions: u16) -> bool {
        let numbers = |dir: &Path, parse: fn(&str) -> Option<Lsn>| {
            let names = self.list(dir).unwrap_or_default();
            names.iter().filter_map(|name| parse(name)).collect::<Vec<_>>()
        };
        (0..partitions).all(|partition| {
            let snapshots = numbers(&layout.snapshots(partition), Layout::parse_snapshot);
            let segments = numbers(&layout.journal(partition), Layout::parse_segment);
            match (snapshots.last(), segments.first()) {
                (Some(newest), Some(first)) => newest.next() >= *first,
                _ => true,
            }
        })
    }
}

impl Disk for View {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let Some(mut file) = self.files.get(path).ok_or(ErrorKind::NotFound)?.as_ref() else {
            return RealDisk.read(path).map_err(overtaken);
        };
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0))?;
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.files.keys().any(|file| file.starts_with(path)))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let inside = self.files.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.filter_map(|path| path.file_name()?.to_str().map(str::to_owned)).collect())
    }

    fn open(&self, _: &Path) -> io::Result<Box<dyn DiskFile>> {
        Err(read_only())
    }

    fn create_zeroed(&self, _: &Path, _: u64) -> io::Result<Box<dyn DiskFile>> {
        Err(read_only())
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(read_only())
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        Err(read_only())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Err(read_only())
    }

    fn create_dir_all(&self, _: &Path) -> io::Result<()> {
        Err(read_only())
    }
}

fn overtaken(error: io::Error) -> io::Error {
    if error.kind() != ErrorKind::NotFound {
        return error;
    }
    io::Error::new(
        ErrorKind::NotFound,
        "it was removed while the files before it were read; begin again, or let the server keep more journal",
    )
}

fn read_only() -> io::Error {
    io::Error::new(ErrorKind::ReadOnlyFilesystem, "a view of a directory is only read")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_files_the_oldest_are_held_and_the_others_are_read_while_they_are_there() {
        let root = tempfile::tempdir().expect("a directory");
        let layout = Layout::new(root.path());
        for dir in [layout.journal(0), layout.snapshots(0)] {
            std::fs::create_dir_all(dir).expect("made");
        }
        let paths = [1, 12, 101, 1_000].map(|lsn| layout.segment(0, Lsn(lsn)));
        for path in &paths {
            std::fs::write(path, path.to_str().expect("text")).expect("written");
        }
        let view = View::open_held(&layout, 1, 2).expect("opened");
        assert_eq!(view.files.values().flatten().count(), 2);
        let read =
            |path: &PathBuf| view.read(path).map(|bytes| bytes == path.to_str().expect("text").as_bytes());
        std::fs::remove_file(&paths[0]).expect("there");
        std::fs::remove_file(&paths[2]).expect("there");
        assert!(read(&paths[0]).expect("held") && read(&paths[1]).expect("held"));
        assert!(read(&paths[3]).expect("still there"));
        let error = read(&paths[2]).expect_err("gone");
        assert!(error.kind() == ErrorKind::NotFound && error.to_string().contains("begin again"), "{error}");
        view.settle(&layout, 0).expect("the newest is synced though it is not held");
        assert_eq!(view.list(&layout.journal(0)).expect("names").len(), 4, "names are taken once");
    }
}
