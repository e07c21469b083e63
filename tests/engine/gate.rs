//! A disk whose syncs and reads wait as long as a test wants.

use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use tokenweir::storage::{Disk, DiskFile, SimDisk};

/// A simulated disk behind two gates, one for syncs and one for reads; clones share all of it.
#[derive(Clone, Default)]
pub(crate) struct GatedDisk {
    pub(crate) disk: SimDisk,
    syncs: Arc<Gate>,
    reads: Arc<Gate>,
}

#[derive(Default)]
struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    is_shut: bool,
    waiting: u32,
}

struct GatedFile {
    file: Box<dyn DiskFile>,
    syncs: Arc<Gate>,
}

impl Gate {
    fn set(&self, is_shut: bool) {
        self.state.lock().expect("no holder panics").is_shut = is_shut;
        self.changed.notify_all();
    }

    fn pass(&self) {
        let mut state = self.state.lock().expect("no holder panics");
        state.waiting += 1;
        self.changed.notify_all();
        while state.is_shut {
            state = self.changed.wait(state).expect("no holder panics");
        }
        state.waiting -= 1;
    }

    fn wait_until_held(&self) {
        let mut state = self.state.lock().expect("no holder panics");
        while state.waiting == 0 {
            state = self.changed.wait(state).expect("no holder panics");
        }
    }
}

impl GatedDisk {
    /// From now on every sync of a file waits.
    pub(crate) fn shut(&self) {
        self.syncs.set(true);
    }

    /// Blocks until a sync waits.
    pub(crate) fn wait_until_held(&self) {
        self.syncs.wait_until_held();
    }

    /// Lets all syncs go on.
    pub(crate) fn open_again(&self) {
        self.syncs.set(false);
    }

    /// From now on every reading of a file waits.
    pub(crate) fn shut_reads(&self) {
        self.reads.set(true);
    }

    /// Lets all reading go on.
    pub(crate) fn open_reads(&self) {
        self.reads.set(false);
    }

    fn gated(&self, file: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        Box::new(GatedFile { file, syncs: Arc::clone(&self.syncs) })
    }
}

impl DiskFile for GatedFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, bytes)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.syncs.pass();
        self.file.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}

impl Disk for GatedDisk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(self.gated(self.disk.open(path)?))
    }

    fn create_zeroed(&self, path: &Path, len: u64) -> io::Result<Box<dyn DiskFile>> {
        Ok(self.gated(self.disk.create_zeroed(path, len)?))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.reads.pass();
        self.disk.read(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.disk.exists(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir_all(dir)
    }
}
