//! The directory that `tests/crash` writes: two partitions, three organizations, every kind of event, snapshots, and a
//! death without a close.

use std::path::PathBuf;
use std::sync::LazyLock;

use tokenweir::storage::SimDisk;

pub(crate) use recovery::{Trace, bytes, files};
pub(crate) use world::{PARTITIONS, home};

#[path = "../../tests/crash/group.rs"]
mod group;
#[path = "../../tests/crash/ledger.rs"]
mod ledger;
#[expect(dead_code, reason = "the tests of crashes ask more of it")]
#[path = "../../tests/crash/recovery.rs"]
mod recovery;
#[expect(dead_code, reason = "the tests of crashes ask more of it")]
#[path = "../../tests/crash/script.rs"]
mod script;
#[path = "../../tests/crash/world.rs"]
mod world;

/// The directory, and by partition the state after each frame.
pub(crate) static WRITTEN: LazyLock<(SimDisk, Trace)> = LazyLock::new(|| {
    let (disk, _, trace) = script::left_open();
    (disk, trace)
});

/// Every file of the directory's partitions: of which partition, its path, its bytes.
pub(crate) static FILES: LazyLock<Vec<(u16, PathBuf, Vec<u8>)>> = LazyLock::new(|| {
    let of = |partition| {
        files(&WRITTEN.0, &home(&WRITTEN.0, partition))
            .into_iter()
            .map(move |(path, bytes)| (partition, path, bytes))
    };
    (0..PARTITIONS).flat_map(of).collect()
});
