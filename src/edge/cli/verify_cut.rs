//! What `weir verify` looks at again in the streams of a cluster, which go on while they are read: its partitions are not seen at one moment, so they
//! may seem to contradict each other.

use std::sync::Arc;

use crate::domain::ids::Lsn;
use crate::storage::backup::history::{History, Limit, consistent};
use crate::storage::replay::{self, PartitionState};
use crate::storage::{Fault, Store};

use super::failure::Failure;
use super::verify::{ViolationReport, broken_invariants, failure, together};
use super::verify_place::{Kind, Place, TRIES_MAX, extent};

/// What of `broken` is so in a cut through all partitions that is consistent. All of it when there is no such cut that holds what was `seen`.
pub(super) fn broken_in_a_cut(
    place: &Place,
    seen: &[Lsn],
    broken: Vec<ViolationReport>,
) -> Result<Vec<ViolationReport>, Failure> {
    for tries in 1.. {
        let before: Vec<_> =
            place.open_all().map_err(failure)?.iter().map(|store| extent(&**store)).collect();
        let stores = place.open_all().map_err(failure)?;
        match states_in_a_cut(&stores, seen) {
            Ok(Some(states)) => {
                let (registry, pools) = together(states);
                return Ok(broken_invariants(&registry, &pools));
            }
            Ok(None) => return Ok(broken),
            Err(_) if tries < TRIES_MAX && !stores.iter().map(|store| extent(&**store)).eq(before) => {}
            Err(fault) => return Err(failure(fault)),
        }
    }
    unreachable!("the last try is answered")
}

/// The states at the longest consistent cut; none when that holds less than was `seen`.
fn states_in_a_cut(stores: &[Arc<dyn Store>], seen: &[Lsn]) -> Result<Option<Vec<PartitionState>>, Fault> {
    let histories: Vec<_> =
        stores.iter().map(|store| History::read(&**store, Limit::End)).collect::<Result<_, _>>()?;
    let cuts = consistent(&histories);
    if cuts.iter().zip(seen).any(|(cut, seen)| cut < seen) {
        return Ok(None);
    }
    let state_at = |(store, cut): (&Arc<dyn Store>, &Lsn)| {
        let (start, mut state) = replay::beginning(&**store)?;
        store.read(start, &mut |frame| {
            if frame.meta.lsn > *cut { Ok(()) } else { state.replay_frame(frame) }
        })?;
        Ok(state)
    };
    stores.iter().zip(&cuts).map(state_at).collect::<Result<_, _>>().map(Some)
}

/// I9: no log is of an epoch that the table has yet to reach, for then nobody can take it over.
pub(super) fn low_epochs(
    place: &Place,
    newest: impl Iterator<Item = (u16, u64)>,
) -> Result<Vec<ViolationReport>, Failure> {
    let Kind::Streams(streams) = &place.kind else { return Ok(Vec::new()) };
    let revision = streams.revision().map_err(failure)?;
    let above = newest.filter(|(_, epoch)| *epoch > revision);
    let violation = |(partition, epoch)| ViolationReport {
        invariant: "I9",
        what: format!(
            "partition {partition} was written in epoch {epoch} and the table of the cluster is at {revision}, so \
             nobody can take it over; bring back the bucket of the leases with the streams"
        ),
    };
    Ok(above.map(violation).collect())
}
