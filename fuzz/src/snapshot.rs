//! Bodies of snapshots.

use tokenweir::domain::invariants;
use tokenweir::storage::decode_error::DecodeError;
use tokenweir::storage::snapshot_codec::{self, DecodedPartition, PartitionImage, PoolImage};

use crate::bounded::{CLAIMED, bounded};

/// A body that is read keeps every invariant of a pool, and is the same once it is written again.
pub fn fuzz(data: &[u8]) {
    let Ok(decoded) = decode(data) else { return };
    let written = encode(decoded);
    let again = decode(&written).expect("what was read can be read once it is written");
    assert!(encode(again) == written, "a snapshot is another one once it is written again");
}

/// Reads a body within its bounds.
pub(crate) fn decode(body: &[u8]) -> Result<DecodedPartition, DecodeError> {
    let decoded = bounded(body.len(), (CLAIMED, 512), || snapshot_codec::decode(body))?;
    for (number, pool) in &decoded.pools {
        let broken = invariants::check_pool(pool);
        assert!(broken.is_empty(), "organization {}: {broken:?}", number.0);
    }
    Ok(decoded)
}

pub(crate) fn encode(partition: DecodedPartition) -> Vec<u8> {
    let DecodedPartition { registry, mut pools } = partition;
    let pools = pools.iter_mut().map(|(number, pool)| PoolImage::take(pool, *number)).collect();
    snapshot_codec::encode(&PartitionImage { registry, pools })
}
