//! The disk alone: one write and one fdatasync after the other, in a file that is preallocated and zeroed as the journal's are.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use tempfile::TempDir;
use tokenweir::telemetry::clock;

use crate::failure::Outcome;
use crate::process::temporary_directory;

const FILE_BYTES: u64 = 16 << 20;
const BLOCK_BYTES: u64 = 4_096;
/// Bytes that are zeroed at a time, as the journal does: a sync of a block in a larger piece takes longer.
const ZEROED_BYTES: u64 = 64 << 10;

/// A file that is written and synced, block after block.
#[derive(Debug)]
pub(crate) struct BareDisk {
    file: File,
    block: Vec<u8>,
    offset: u64,
    #[expect(dead_code, reason = "kept for its end: the directory goes with it")]
    directory: TempDir,
}

impl BareDisk {
    /// Makes the file.
    pub(crate) fn new() -> Outcome<Self> {
        let directory = temporary_directory()?;
        let file = OpenOptions::new().create_new(true).write(true).open(directory.path().join("floor"))?;
        let zeros = vec![0; usize::try_from(ZEROED_BYTES)?];
        for offset in (0..FILE_BYTES).step_by(zeros.len()) {
            file.write_all_at(&zeros, offset)?;
        }
        file.sync_all()?;
        Ok(Self { file, block: vec![7; usize::try_from(BLOCK_BYTES)?], offset: 0, directory })
    }

    /// Writes and syncs for so long, and notes how long each took.
    pub(crate) fn sync(&mut self, length: Duration, laps: &mut Vec<Duration>) -> Outcome {
        let begun = clock::start();
        while begun.elapsed() < length {
            laps.push(self.sync_once()?);
        }
        Ok(())
    }

    /// Writes and syncs one block; how long that took.
    pub(crate) fn sync_once(&mut self) -> Outcome<Duration> {
        let begun = clock::start();
        self.file.write_all_at(&self.block, self.offset)?;
        self.file.sync_data()?;
        self.offset = (self.offset + BLOCK_BYTES) % FILE_BYTES;
        Ok(begun.elapsed())
    }
}
