//! The thread that encodes and writes snapshots, one after the other, and then removes what they made superfluous.
//!
//! Actors hand over images that cost them next to nothing; encoding happens here. A snapshot that cannot be written is
//! reported and tried again later: the journal still holds everything.
//!
//! Nobody waits for most snapshots, so the thread stands back by itself: after each short turn it rests for three times as long. A low priority does not do. The
//! system looks at its clock every few milliseconds, so what is least important keeps a processor for that long; and when it is not let run while the file system
//! waits for it, so does every sync (ADR 0030).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Sender, unbounded};

use crate::domain::ids::Lsn;
use crate::storage::snapshot::SnapshotHeader;
use crate::storage::snapshot_codec::{self, PartitionImage};
use crate::storage::{Fault, Hold, Result, Retired, Store, pausing};
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

/// How long the thread works before it rests.
const TURN: Duration = Duration::from_micros(200);
/// How many times as long as it worked it rests.
const RESTS: u32 = 3;
/// How long it rests at most: a turn is long when the disk is slow, or others had the processor.
const REST_MAX: Duration = Duration::from_millis(5);

/// Starts the thread. It ends when all senders are gone.
pub(crate) fn start() -> std::io::Result<(Sender<Job>, JoinHandle<()>)> {
    let (jobs, todo) = unbounded::<Job>();
    let run = move || {
        for Job { store, partition, lsn, image, journal_keep_bytes, hold, done } in todo {
            let written = pausing(stand_back(&partition), || {
                write(&*store, &partition, lsn, image)?;
                retire(&*store, lsn, journal_keep_bytes, hold.as_deref())
            });
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

/// Rests when a turn has been worked, unless the snapshot is waited for.
fn stand_back(partition: &Arc<Partition>) -> impl FnMut() + use<> {
    let (partition, mut begun) = (Arc::clone(partition), clock::start());
    move || {
        if let Some(rest) = rest_after(begun.elapsed(), &partition) {
            std::thread::park_timeout(rest);
            begun = clock::start();
        }
    }
}

fn rest_after(worked: Duration, partition: &Partition) -> Option<Duration> {
    (worked >= TURN && !partition.awaits_snapshot()).then(|| (worked * RESTS).min(REST_MAX))
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

#[cfg(test)]
mod tests {
    use super::super::group::Staging;
    use super::super::messages::Unavailable;
    use super::*;

    #[test]
    fn it_rests_thrice_as_long_as_a_turn_took_and_never_while_somebody_waits() {
        let partition = || Partition::new(0, Staging::elsewhere(0, metric::poisoned(0)), 0);
        let (nobody, somebody, closing) = (partition(), partition(), partition());
        assert_eq!(rest_after(TURN / 2, &nobody), None);
        assert_eq!(rest_after(TURN, &nobody), Some(TURN * 3));
        assert_eq!(rest_after(REST_MAX, &nobody), Some(REST_MAX));
        somebody.snapshot_is_awaited.store(true, Ordering::Relaxed);
        closing.close(&Unavailable::Closing);
        assert_eq!([somebody, closing].map(|partition| rest_after(REST_MAX, &partition)), [None, None]);
    }
}
