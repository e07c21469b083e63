//! The disk alone: one write and one fdatasync after the other, in a file that is preallocated and zeroed as the journal's are.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use tokenweir::telemetry::clock;

use crate::failure::Outcome;
use crate::number::p50_us;
use crate::process::temporary_directory;

const FILE_BYTES: u64 = 16 << 20;
const BLOCK_BYTES: u64 = 4_096;

/// The median of a write of 4 KiB and its fdatasync, in microseconds.
pub(crate) fn fdatasync_p50_us(length: Duration) -> Outcome<f64> {
    let directory = temporary_directory()?;
    let file = OpenOptions::new().create_new(true).write(true).open(directory.path().join("floor"))?;
    file.write_all_at(&vec![0; usize::try_from(FILE_BYTES)?], 0)?;
    file.sync_all()?;
    let (begun, block, mut laps) = (clock::start(), vec![7; usize::try_from(BLOCK_BYTES)?], Vec::new());
    let mut offset = 0;
    while begun.elapsed() < length {
        let lap = clock::start();
        file.write_all_at(&block, offset)?;
        file.sync_data()?;
        laps.push(lap.elapsed());
        offset = (offset + BLOCK_BYTES) % FILE_BYTES;
    }
    Ok(p50_us(laps))
}
