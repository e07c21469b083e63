//! A disk in memory that can lose power: the fault injector of the storage tests.
//!
//! # What the medium may do
//!
//! - A write is on the medium only after a sync of its file. In a power cut any subset of the 512-byte sectors of the
//!   unsynced writes may have arrived: none, all, torn inside a write, later writes before earlier ones. One sector is
//!   whole or not at all.
//! - A file's new length is kept only as far as kept sectors reach.
//! - A created, renamed or removed name is durable only after a sync of its directory. In a power cut each pending
//!   change is kept or lost on its own; one rename is atomic.
//! - A sync may fail. The kernel then forgets that the bytes were unsynced: readers still see them, the medium never
//!   gets them, and a later sync of the same file succeeds without them.
//! - A write may fail after half of its bytes, or when space runs out. Only growth takes space.
//! - A sync may be slow. Here it takes no time; who simulates more (`tests/sim`) lets others go on before it calls it.
//! - A process may die at any operation and inside any write, with the power staying on ([`SimDisk::restart`]).
//!
//! # What we do not survive, and do not simulate
//!
//! - A medium that acknowledges a sync and loses the bytes, or that changes synced bytes without an error. The checksums
//!   notice the latter and stop the partition, except in the last group, which then looks torn.
//! - Loss of a directory's own name: directories are made once, before anything is acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use super::disk::{Disk, DiskFile, u64_of, usize_of};

const SECTOR_BYTES: usize = 512;

/// What a power cut leaves of that which was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashPlan {
    /// Nothing.
    LoseUnsynced,
    /// Everything.
    KeepUnsynced,
    /// A subset of sectors and of names, chosen by the seed.
    Seeded(u64),
}

/// What a power cut did to that which was not synced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Sectors of unsynced writes that did not arrive.
    pub lost: usize,
    /// Sectors of unsynced writes that arrived.
    pub kept: usize,
    /// Writes that arrived in part.
    pub torn: usize,
    /// Writes that arrived before an earlier one of the same file, which did not.
    pub overtook: usize,
    /// Changes of names that were lost.
    pub names: usize,
    /// Whether a reader sees the difference.
    pub visible: bool,
}

/// A disk in memory; clones share it.
#[derive(Clone, Debug, Default)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

impl SimDisk {
    /// An empty disk without faults.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many operations that change the medium were tried so far.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// How many bytes each write so far had, by the index of its operation.
    pub fn writes(&self) -> Vec<(u64, usize)> {
        self.state().writes.clone()
    }

    /// How many syncs of files so far succeeded.
    pub fn syncs(&self) -> u64 {
        self.state().syncs
    }

    /// Whether the process ended at the operation that [`Self::stop_at`] named.
    pub fn has_stopped(&self) -> bool {
        self.state().stopped
    }

    /// Makes the `nth` write from now on fail, counting from 0, after half of its bytes.
    pub fn fail_write(&self, nth: u64) {
        self.state().fail_write = Some(nth);
    }

    /// Makes the `nth` sync of a file from now on fail, counting from 0.
    pub fn fail_sync(&self, nth: u64) {
        self.state().fail_sync = Some(nth);
    }

    /// Leaves room for files to grow by `bytes` in all.
    pub fn limit_space(&self, bytes: u64) {
        self.state().space = Some(bytes);
    }

    /// Ends the process at operation `index`: if it is a write, its first `bytes` bytes are still applied; every call
    /// from then on fails.
    pub fn stop_at(&self, index: u64, bytes: usize) {
        self.state().stop = Some((index, bytes));
    }

    /// The disk as the medium would show it after a power cut, without faults; this one stays as it is.
    pub fn crash(&self, plan: CrashPlan) -> Self {
        self.crash_told(plan).0
    }

    /// As [`Self::crash`], and tells what was lost.
    pub fn crash_told(&self, plan: CrashPlan) -> (Self, Losses) {
        let mut losses = Losses::default();
        let mut random = SplitMix(if let CrashPlan::Seeded(seed) = plan { seed } else { 0 });
        let mut keep = || match plan {
            CrashPlan::LoseUnsynced => false,
            CrashPlan::KeepUnsynced => true,
            CrashPlan::Seeded(_) => random.draw() & 1 == 0,
        };
        let old = self.state();
        let mut names = old.durable_names.clone();
        for change in &old.pending {
            if keep() {
                change.apply(&mut names);
            } else {
                losses.names += 1;
            }
        }
        losses.visible = names != old.live_names;
        let mut files = BTreeMap::new();
        for inode in names.values() {
            let image = old.files[inode].after_power_cut(&mut keep, &mut losses);
            losses.visible |= image != old.files[inode].live;
            files.insert(*inode, Inode { live: image.clone(), durable: image, unsynced: Vec::new() });
        }
        let fresh = State {
            files,
            live_names: names.clone(),
            durable_names: names,
            directories: old.directories.clone(),
            next_inode: old.next_inode,
            ..State::default()
        };
        (Self { state: Arc::new(Mutex::new(fresh)) }, losses)
    }

    /// The disk as a new process finds it after the old one died with the power on: nothing is lost, and nothing more
    /// is durable than before. Faults and counters are gone.
    pub fn restart(&self) -> Self {
        let old = self.state();
        let fresh = State {
            files: old.files.clone(),
            live_names: old.live_names.clone(),
            durable_names: old.durable_names.clone(),
            pending: old.pending.clone(),
            directories: old.directories.clone(),
            next_inode: old.next_inode,
            ..State::default()
        };
        Self { state: Arc::new(Mutex::new(fresh)) }
    }

    /// Changes stored bytes behind everyone's back, live and durable: the file becomes `bytes`.
    ///
    /// # Panics
    /// When there is no such file.
    pub fn tamper(&self, path: &Path, bytes: &[u8]) {
        let mut state = self.state();
        let inode = state.inode(path).expect("the file to tamper with exists");
        let image = bytes.to_vec();
        state.files.insert(inode, Inode { live: image.clone(), durable: image, unsynced: Vec::new() });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test thread panics while it holds the disk")
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let state = self.state();
        state.alive()?;
        let inode = state.inode(path)?;
        Ok(Box::new(SimFile { disk: self.clone(), inode }))
    }

    fn create_zeroed(&self, path: &Path, len: u64) -> io::Result<Box<dyn DiskFile>> {
        let inode = self.state().create(path)?;
        let mut file = SimFile { disk: self.clone(), inode };
        if len > 0 {
            file.write_at(0, &vec![0; usize_of(len)])?;
        }
        file.sync_data()?;
        Ok(Box::new(file))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = self.state();
        state.alive()?;
        Ok(state.files[&state.inode(path)?].live.clone())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let state = self.state();
        state.alive()?;
        Ok(state.live_names.contains_key(path) || state.directories.contains(path))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        state.alive()?;
        if !state.directories.contains(dir) {
            return Err(ErrorKind::NotFound.into());
        }
        let inside = state.live_names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.filter_map(|path| path.file_name()?.to_str().map(str::to_owned)).collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        let inode = state.inode(from)?;
        state.change(Change::Rename(from.to_path_buf(), to.to_path_buf(), inode));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        let inode = state.inode(path)?;
        // What is removed is shortened first, and its name may come back after a power cut.
        state.files.insert(inode, Inode::default());
        state.change(Change::Remove(path.to_path_buf()));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        let pending = std::mem::take(&mut state.pending);
        for change in pending {
            if change.directory() == Some(dir) {
                change.apply(&mut state.durable_names);
            } else {
                state.pending.push(change);
            }
        }
        Ok(())
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.alive()?;
        state.directories.extend(dir.ancestors().map(Path::to_path_buf));
        Ok(())
    }
}

/// A small generator of numbers: the same seed gives the same numbers on every machine. (SplitMix64: a counter that
/// rises by an odd constant, mixed by two multiplications.)
#[derive(Clone, Debug)]
pub struct SplitMix(pub u64);

impl SplitMix {
    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

struct SimFile {
    disk: SimDisk,
    inode: u64,
}

impl DiskFile for SimFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.state().write(self.inode, usize_of(offset), bytes)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.disk.state().sync(self.inode)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(u64_of(self.disk.state().files[&self.inode].live.len()))
    }
}

#[derive(Clone, Debug)]
enum Change {
    Create(PathBuf, u64),
    Rename(PathBuf, PathBuf, u64),
    Remove(PathBuf),
}

impl Change {
    fn directory(&self) -> Option<&Path> {
        match self {
            Self::Create(path, _) | Self::Remove(path) | Self::Rename(_, path, _) => path.parent(),
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            Self::Create(path, inode) => {
                names.insert(path.clone(), *inode);
            }
            Self::Rename(from, to, inode) => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
            Self::Remove(path) => {
                names.remove(path);
            }
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Inode {
    live: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<(usize, Vec<u8>)>,
}

impl Inode {
    fn after_power_cut(&self, keep: &mut impl FnMut() -> bool, losses: &mut Losses) -> Vec<u8> {
        let mut image = self.durable.clone();
        let mut lost_before = false;
        for (offset, bytes) in &self.unsynced {
            let (mut at, mut kept, mut lost) = (0, 0, 0);
            while at < bytes.len() {
                let sector_end = (offset + at + 1).next_multiple_of(SECTOR_BYTES);
                let end = bytes.len().min(sector_end - offset);
                if keep() {
                    place(&mut image, offset + at, &bytes[at..end]);
                    kept += 1;
                } else {
                    lost += 1;
                }
                at = end;
            }
            losses.kept += kept;
            losses.lost += lost;
            losses.torn += usize::from(kept > 0 && lost > 0);
            losses.overtook += usize::from(lost_before && kept > 0);
            lost_before |= lost > 0;
        }
        image
    }
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<u64, Inode>,
    live_names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    pending: Vec<Change>,
    directories: BTreeSet<PathBuf>,
    next_inode: u64,
    operations: u64,
    writes: Vec<(u64, usize)>,
    syncs: u64,
    fail_write: Option<u64>,
    fail_sync: Option<u64>,
    space: Option<u64>,
    stop: Option<(u64, usize)>,
    stopped: bool,
}

impl State {
    fn alive(&self) -> io::Result<()> {
        if self.stopped { Err(io::Error::other("the process has ended")) } else { Ok(()) }
    }

    /// Counts an operation and ends the process when its time has come.
    fn step(&mut self) -> io::Result<()> {
        self.alive()?;
        let index = self.operations;
        self.operations += 1;
        self.stopped = self.stop.is_some_and(|(stop, _)| index >= stop);
        self.alive()
    }

    fn inode(&self, path: &Path) -> io::Result<u64> {
        self.live_names.get(path).copied().ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn create(&mut self, path: &Path) -> io::Result<u64> {
        self.step()?;
        if self.live_names.contains_key(path) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        if !path.parent().is_some_and(|dir| self.directories.contains(dir)) {
            return Err(ErrorKind::NotFound.into());
        }
        self.next_inode += 1;
        self.files.insert(self.next_inode, Inode::default());
        self.change(Change::Create(path.to_path_buf(), self.next_inode));
        Ok(self.next_inode)
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.live_names);
        self.pending.push(change);
    }

    fn write(&mut self, inode: u64, offset: usize, bytes: &[u8]) -> io::Result<()> {
        self.alive()?;
        self.writes.push((self.operations, bytes.len()));
        let (applied, outcome) = match self.step() {
            Err(ended) => (self.stop.map_or(0, |(_, applied)| applied), Err(ended)),
            Ok(()) if fires(&mut self.fail_write) => (bytes.len() / 2, Err(io::Error::other("write failed"))),
            Ok(()) => self.take_space(inode, offset, bytes.len()),
        };
        let kept = &bytes[..applied.min(bytes.len())];
        let file = self.files.get_mut(&inode).expect("an open file has an inode");
        if !kept.is_empty() {
            place(&mut file.live, offset, kept);
            file.unsynced.push((offset, kept.to_vec()));
        }
        outcome
    }

    fn take_space(&mut self, inode: u64, offset: usize, len: usize) -> (usize, io::Result<()>) {
        let growth = u64_of((offset + len).saturating_sub(self.files[&inode].live.len()));
        match self.space {
            Some(space) if growth > space => {
                self.space = Some(0);
                let applied = len - usize_of(growth - space);
                (applied, Err(ErrorKind::StorageFull.into()))
            }
            space => {
                self.space = space.map(|space| space - growth);
                (len, Ok(()))
            }
        }
    }

    fn sync(&mut self, inode: u64) -> io::Result<()> {
        self.step()?;
        let failed = fires(&mut self.fail_sync);
        let file = self.files.get_mut(&inode).expect("an open file has an inode");
        let unsynced = std::mem::take(&mut file.unsynced);
        if failed {
            return Err(io::Error::other("sync failed"));
        }
        unsynced.iter().for_each(|(offset, bytes)| place(&mut file.durable, *offset, bytes));
        self.syncs += 1;
        Ok(())
    }
}

fn place(image: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if image.len() < end {
        image.resize(end, 0);
    }
    image[offset..end].copy_from_slice(bytes);
}

fn fires(countdown: &mut Option<u64>) -> bool {
    let due = *countdown == Some(0);
    *countdown = countdown.and_then(|left| left.checked_sub(1));
    due
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk_with_file(len: u64) -> (SimDisk, Box<dyn DiskFile>) {
        let disk = SimDisk::new();
        disk.create_dir_all(Path::new("d")).expect("made");
        let file = disk.create_zeroed(Path::new("d/a"), len).expect("made");
        (disk, file)
    }

    #[test]
    fn what_was_not_synced_is_lost_and_what_was_stays() {
        let (disk, mut file) = disk_with_file(4);
        assert!(!disk.crash(CrashPlan::LoseUnsynced).exists(Path::new("d/a")).expect("asked"));
        disk.sync_dir(Path::new("d")).expect("synced");
        file.write_at(0, b"ab").expect("written");
        file.sync_data().expect("synced");
        file.write_at(2, b"cd").expect("written");
        let read = |plan| disk.crash(plan).read(Path::new("d/a")).expect("read");
        assert_eq!(read(CrashPlan::LoseUnsynced), b"ab\0\0");
        assert_eq!(read(CrashPlan::KeepUnsynced), b"abcd");
        assert_eq!(disk.restart().read(Path::new("d/a")).expect("read"), b"abcd");
    }

    #[test]
    fn a_seed_keeps_some_sectors_and_always_the_same() {
        let (disk, mut file) = disk_with_file(512 * 64);
        disk.sync_dir(Path::new("d")).expect("synced");
        file.write_at(0, &[1; 512 * 64]).expect("written");
        let read = |seed| disk.crash(CrashPlan::Seeded(seed)).read(Path::new("d/a")).expect("read");
        let ones = read(1).iter().filter(|&&byte| byte == 1).count();
        assert!(ones > 0 && ones < 512 * 64 && ones.is_multiple_of(512));
        assert_eq!(read(1), read(1));
        assert_ne!(read(1), read(2));
    }

    #[test]
    fn after_a_failed_sync_readers_see_what_the_medium_never_gets() {
        let (disk, mut file) = disk_with_file(2);
        disk.sync_dir(Path::new("d")).expect("synced");
        disk.fail_sync(0);
        file.write_at(0, b"ab").expect("written");
        assert!(file.sync_data().is_err());
        file.sync_data().expect("a second sync has nothing to do");
        assert_eq!(disk.read(Path::new("d/a")).expect("read"), b"ab");
        assert_eq!(disk.crash(CrashPlan::KeepUnsynced).read(Path::new("d/a")).expect("read"), b"\0\0");
    }

    #[test]
    fn from_the_stop_on_every_call_fails() {
        let (disk, mut file) = disk_with_file(4);
        disk.stop_at(disk.operations(), 1);
        assert!(file.write_at(0, b"abcd").is_err());
        assert!(disk.read(Path::new("d/a")).is_err());
        assert_eq!(disk.restart().read(Path::new("d/a")).expect("read"), b"a\0\0\0");
    }
}
