//! The snapshot of one partition: a version byte, then one named map of MessagePack.
//!
//! Pools stand in the order of their numbers, so that equal partitions give equal bytes (I8). Encoding turns one pool
//! after the other into its stored form. Decoding checks all that later events rely on; it never repairs, and allocates
//! in proportion to what is there.

use std::collections::BTreeSet;

use serde::ser::SerializeSeq as _;
use serde::{Deserialize, Serialize, Serializer};

use crate::domain::ids::OrgNumber;
use crate::domain::limits::{API_KEYS_MAX, PARTITION_ORGANIZATIONS_MAX};
use crate::domain::pool::Pool;
use crate::domain::registry::{ApiKey, Registry, Transfer};

use super::decode_error::DecodeError;
use super::event_check::{self, ensure};
use super::event_codec::{from_named_borrowed, put_named};
use super::pause::may_pause;
use super::pool_codec::StoredPool;
use super::wire;

pub use super::pool_codec::PoolImage;

/// Version of a snapshot: its first byte.
pub const SNAPSHOT_VERSION: u8 = 1;

/// A partition as it was when it was handed to a snapshot.
#[derive(Clone, Debug, Default)]
pub struct PartitionImage {
    /// The registry; partition 0 alone has one.
    pub registry: Option<Registry>,
    /// The pools, in any order; each number stands once.
    pub pools: Vec<PoolImage>,
}

/// A partition as a snapshot restored it.
#[derive(Debug, Default)]
pub struct DecodedPartition {
    /// The registry; partition 0 alone has one.
    pub registry: Option<Registry>,
    /// The pools with their numbers, lowest first.
    pub pools: Vec<(OrgNumber, Pool)>,
}

/// The snapshot of `image` as bytes.
#[must_use]
pub fn encode(image: &PartitionImage) -> Vec<u8> {
    let mut pools: Vec<_> = image.pools.iter().collect();
    pools.sort_by_key(|pool| pool.number);
    let mut out = vec![SNAPSHOT_VERSION];
    put_named(&mut out, &PartitionToStore { registry: image.registry.as_ref(), pools: PoolsToStore(&pools) });
    out
}

/// One pool as it would stand in a snapshot: equal for equal pools (I8).
#[must_use]
pub fn encode_pool(image: &PoolImage) -> Vec<u8> {
    let mut out = Vec::new();
    put_named(&mut out, &StoredPool::of(image));
    out
}

/// Restores a partition from its snapshot.
///
/// # Errors
/// When the version is another, the bytes are cut off or too long, a value is out of its bounds, or an invariant of a pool
/// does not hold.
pub fn decode(bytes: &[u8]) -> Result<DecodedPartition, DecodeError> {
    let from = &mut &*bytes;
    ensure(wire::take_u8(from)? == SNAPSHOT_VERSION, "a snapshot of another version")?;
    let stored: StoredPartition<'_> = from_named_borrowed(from, "the bytes are not a snapshot")?;
    if let Some(registry) = &stored.registry {
        check_registry(registry)?;
    }
    let numbers: Vec<_> = stored.pools.iter().map(|pool| pool.number).collect();
    let bounded = numbers.last().is_none_or(|last| last.0 < PARTITION_ORGANIZATIONS_MAX);
    ensure(bounded && numbers.is_sorted_by(|a, b| a < b), "the numbers of organizations")?;
    let restore = |pool: StoredPool<'_>| {
        may_pause();
        Ok((pool.number, pool.restore()?))
    };
    let pools: Vec<_> = stored.pools.into_iter().map(restore).collect::<Result<_, DecodeError>>()?;
    let ids: BTreeSet<_> = pools.iter().map(|(_, pool)| &pool.id).collect();
    ensure(ids.len() == pools.len(), "two organizations of one id")?;
    Ok(DecodedPartition { registry: stored.registry, pools })
}

#[derive(Serialize)]
struct PartitionToStore<'a> {
    registry: Option<&'a Registry>,
    pools: PoolsToStore<'a>,
}

/// Makes the stored form of one pool at a time.
struct PoolsToStore<'a>(&'a [&'a PoolImage]);

impl Serialize for PoolsToStore<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut pools = to.serialize_seq(Some(self.0.len()))?;
        for pool in self.0 {
            may_pause();
            pools.serialize_element(&StoredPool::of(pool))?;
        }
        pools.end()
    }
}

#[derive(Deserialize)]
struct StoredPartition<'a> {
    registry: Option<Registry>,
    #[serde(borrow)]
    pools: Vec<StoredPool<'a>>,
}

fn check_registry(registry: &Registry) -> Result<(), DecodeError> {
    ensure(registry.api_keys.len() <= API_KEYS_MAX, "more API keys than a directory may have")?;
    registry.claims.iter().try_for_each(|(key, claim)| event_check::grants(key, &claim.grants))?;
    registry.transfers.values().try_for_each(check_transfer)?;
    let fits = |key: &ApiKey| event_check::api_key(key.organizations.len());
    registry.api_keys.values().try_for_each(fits)
}

fn check_transfer(transfer: &Transfer) -> Result<(), DecodeError> {
    let ended = transfer.ended_at.is_some();
    ensure(ended == transfer.state.is_ended(), "a transfer that ended without its time")?;
    event_check::moved(transfer.tokens, transfer.licenses)?;
    transfer.refusal.as_deref().map_or(Ok(()), event_check::refusal)
}

#[cfg(test)]
#[path = "snapshot_codec_tests.rs"]
mod tests;
