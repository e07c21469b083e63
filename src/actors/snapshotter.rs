//! The thread that encodes and writes snapshots, one after the other, and then removes what they made superfluous.
//!
//! Actors hand over images that cost them next to nothing; encoding happens here. A snapshot that cannot be written is
//! reported and tried again later: the journal still holds everything.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use crossbeam::channel::{Sender, unbounded};

use crate::domain::ids::Lsn;
use crate::storage::snapshot::SnapshotHeader;
use crate::storage::snapshot_codec::{self, PartitionImage};
use crate::storage::{Fault, Hold, Result, Retired, Store};
use crate::telemetry::{clock, metric};

use super::directory::Partition;

/// A snapshot to be written. At most one of each partition is under way.
pub(crate) struct Job {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) partition: Arc<Partition>,
    pub(crate) lsn: Lsn,
    pub(crate) image: PartitionImage,
    /// Journal to keep for restoring, in bytes of segments.
    pub(crate) journal_keep_bytes: u64,
    /// What a reader of the journal needs still.
    pub(crate) hold: Option<Arc<Hold>>,
    /// Told whether it was written, in the end.
    pub(crate) done: Box<dyn FnOnce(bool) + Send>,
}

/// How far the thread stands back behind those that serve, by the system's scale.
const BACKGROUND_NICE: i32 = 10;

/// Starts the thread. It ends when all senders are gone.
pub(crate) fn start() -> std::io::Result<(Sender<Job>, JoinHandle<()>)> {
    let (jobs, todo) = unbounded::<Job>();
    let run = move || {
        // On Linux this is of the thread alone. Debits go first; where it is not allowed a snapshot takes its share of the processor.
        _ = rustix::process::setpriority_process(None, BACKGROUND_NICE);
        for Job { store, partition, lsn, image, journal_keep_bytes, hold, done } in todo {
            let written = write(&*store, &partition, lsn, image)
                .and_then(|()| retire(&*store, lsn, journal_keep_bytes, hold.as_deref()));
            if let Err(fault) = &written {
                metric::snapshot_failed(partition.number);
                tracing::error!(partition = partition.number, %fault, "a snapshot was not written; the journal is kept");
            }
            done(written.is_ok());
        }
    };
    let thread = std::thread::Builder::new().name("weir-snapshots".to_owned()).spawn(run)?;
    Ok((jobs, thread))
}

/// Encodes, checks and writes a snapshot, then removes what it made superfluous.
pub(crate) fn write(store: &dyn Store, partition: &Partition, lsn: Lsn, image: PartitionImage) -> Result<()> {
    let begun = clock::start();
    let body = snapshot_codec::encode(&image);
    drop(image);
    // Journal segments go when this is written: it must be known to be readable first.
    if let Err(error) = snapshot_codec::decode(&body) {
        let path = store.snapshot_place(lsn);
        return Err(Fault::Corrupt {
            path,
            offset: 0,
            lsn: Some(lsn),
            what: format!("it was not written: {error}"),
        });
    }
    store.write_snapshot(SnapshotHeader { lsn, version: snapshot_codec::SNAPSHOT_VERSION }, &body)?;
    partition.snapshot_lsn.store(lsn.0, Ordering::Release);
    partition.snapshot_bytes.store(u64::try_from(body.len()).unwrap_or(u64::MAX), Ordering::Release);
    let bytes = u32::try_from(body.len()).unwrap_or(u32::MAX);
    metric::snapshot_written(partition.number, bytes, begun.elapsed().as_secs_f64());
    tracing::info!(partition = partition.number, %lsn, bytes, "wrote a snapshot");
    Ok(())
}

/// Removes what snapshots made superfluous.
pub(crate) fn retire(store: &dyn Store, lsn: Lsn, keep_bytes: u64, hold: Option<&Hold>) -> Result<()> {
    let Retired { snapshots, segments } = store.retire(keep_bytes, hold)?;
    tracing::info!(partition = store.partition(), %lsn, snapshots, segments, "removed what the snapshot made superfluous");
    Ok(())
}
