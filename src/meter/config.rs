//! How a meter is set up.

use std::path::PathBuf;
use std::sync::Arc;

use crate::domain::limits::{PARTITIONS_MAX, RETENTION_MS_DEFAULT, RETENTION_MS_MAX, RETENTION_MS_MIN};
use crate::domain::refusal::Invalid;
use crate::storage::Hold;
use crate::telemetry::clock::Clock;

/// How a meter is set up. Start from [`Config::new`] and change what you need.
#[derive(Clone, Debug)]
pub struct Config {
    /// The data directory; made when it is not there.
    pub directory: PathBuf,
    /// Partitions of a new directory, 1 to 64; a directory keeps the number that it was made with. Default: the cores.
    pub partitions: u16,
    /// How long event ids of new organizations are remembered, in milliseconds (1 minute to 35 days). Default: 24 hours.
    pub retention_ms: u64,
    /// Journal growth after which a partition is snapshotted, in bytes; never less than its last snapshot. Default: 64 MiB.
    pub snapshot_bytes: u64,
    /// Time after which a partition is snapshotted when anything was journaled, in milliseconds. Default: 15 minutes.
    pub snapshot_period_ms: u64,
    /// Journal that each partition keeps for restoring to a point in time, in bytes of its segments, beyond what a start
    /// needs. Default: none.
    pub journal_keep_bytes: u64,
    /// Length of a partition's first journal segment, in bytes; the next ones double up to the largest. Default: 4 MiB.
    pub segment_bytes_min: u64,
    /// Length of the largest journal segments, in bytes. Default: 64 MiB.
    pub segment_bytes_max: u64,
    /// Debits that one organization may have in flight, a request counting as 8 at least: one or two milliseconds of work. More is
    /// refused as busy. Default: 65,536.
    pub in_flight_max: u64,
    /// What a reader that follows the journals has read: segments that it needs still stay, within its bound. Default: none.
    pub hold: Option<Arc<Hold>>,
    /// Tells the time.
    pub clock: Clock,
}

impl Config {
    /// The defaults, on this data directory.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            directory: directory.into(),
            partitions: u16::try_from(cores).unwrap_or(PARTITIONS_MAX).clamp(1, PARTITIONS_MAX),
            retention_ms: RETENTION_MS_DEFAULT,
            snapshot_bytes: 64 << 20,
            snapshot_period_ms: 15 * 60 * 1_000,
            journal_keep_bytes: 0,
            segment_bytes_min: 4 << 20,
            segment_bytes_max: 64 << 20,
            in_flight_max: 65_536,
            hold: None,
            clock: Clock::System,
        }
    }

    /// Checks a retention.
    ///
    /// # Errors
    /// When it is outside 1 minute to 35 days.
    pub fn check_retention(retention_ms: u64) -> Result<u64, Invalid> {
        let fits = (RETENTION_MS_MIN..=RETENTION_MS_MAX).contains(&retention_ms);
        if fits { Ok(retention_ms) } else { Err(Invalid::Retention) }
    }
}
