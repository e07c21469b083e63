//! Copies of what follows a partition, kept as objects beside its log, in the bytes of a snapshot file.
//!
//! Their names hold the epoch of who kept them and the lsn that they reach, so that what a deposed owner keeps late never passes for newer
//! than what his successor kept.

use std::path::PathBuf;
use std::sync::PoisonError;

use crate::domain::ids::Lsn;
use crate::storage::snapshot::{self, SnapshotHeader};
use crate::storage::{Copies, Result, Snapshot};

use super::store::ReplicatedStore;

/// How many are kept: if the newest turns out unreadable, there is another.
const COPIES_KEPT: usize = 2;

/// Whose a copy is and how far it reaches; a later one is greater.
pub(super) type Edition = (u64, Lsn);

fn object(name: &str, (epoch, lsn): Edition) -> String {
    format!("{name}-{epoch:020}-{:020}.copy", lsn.0)
}

fn parse(name: &str, object: &str) -> Option<Edition> {
    let (epoch, lsn) =
        object.strip_prefix(name)?.strip_prefix('-')?.strip_suffix(".copy")?.split_once('-')?;
    Some((epoch.parse().ok()?, Lsn(lsn.parse().ok()?)))
}

impl ReplicatedStore {
    /// What there is of `name`, oldest first: as it is kept, once, and as this store changed it since.
    fn editions(&self, name: &str) -> Result<Vec<Edition>> {
        let mut known = self.editions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(name) {
            return Ok(known.clone());
        }
        let objects = self.remote.names().map_err(self.failed("list the copies of"))?;
        let mut editions: Vec<_> = objects.iter().filter_map(|object| parse(name, object)).collect();
        editions.sort_unstable();
        known.insert(name.to_owned(), editions.clone());
        Ok(editions)
    }

    fn copy_place(&self, name: &str, edition: Edition) -> PathBuf {
        PathBuf::from(self.remote.place()).join(object(name, edition))
    }
}

impl Copies for ReplicatedStore {
    fn newest(&self, name: &str) -> Result<Option<Snapshot>> {
        for edition in self.editions(name)?.into_iter().rev() {
            let place = self.copy_place(name, edition);
            let bytes = self.remote.get(&object(name, edition)).map_err(self.failed("read a copy of"))?;
            let Some(bytes) = bytes else {
                // A deposed owner may have removed it for newer ones, and a server that lags may not have it yet: an older one would not do.
                self.editions.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
                let cause = format!("{} is listed and is not there", object(name, edition));
                return Err(self.failed("read a copy of")(cause));
            };
            match snapshot::from_bytes(self.owner(), &place, edition.1, bytes) {
                Ok(copy) => return Ok(Some(copy)),
                Err(fault) if fault.is_damage() => {
                    tracing::warn!(%fault, "passed over an unreadable copy; an older one takes its place");
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok(None)
    }

    fn keep(&self, name: &str, header: SnapshotHeader, body: &[u8]) -> Result<()> {
        let edition = (self.epoch, header.lsn);
        let mut editions = self.editions(name)?;
        let bytes = snapshot::to_bytes(self.owner(), header, body);
        self.keep_object(&object(name, edition), &bytes)?;
        if let Err(place) = editions.binary_search(&edition) {
            editions.insert(place, edition);
        }
        let superfluous = editions.len().saturating_sub(COPIES_KEPT);
        for edition in editions.drain(..superfluous) {
            self.remote.remove(&object(name, edition)).map_err(self.failed("remove a copy of"))?;
        }
        self.editions.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), editions);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cluster::Remote as _;
    use crate::cluster::record::Owned;
    use crate::cluster::sim_log::SimLog;
    use crate::storage::DirectoryId;

    fn store(log: &SimLog, epoch: u64) -> ReplicatedStore {
        let owned = Owned { partition: 3, directory: DirectoryId([1; 16]) };
        ReplicatedStore::new(Arc::new(log.clone()), owned, epoch)
    }

    fn keep(store: &ReplicatedStore, lsn: u64, body: &[u8]) {
        store.keep("reports", SnapshotHeader { lsn: Lsn(lsn), version: 1 }, body).expect("kept");
    }

    fn newest(store: &ReplicatedStore) -> Option<Vec<u8>> {
        store.newest("reports").expect("listed").map(|copy| copy.body)
    }

    #[test]
    fn the_newest_two_copies_stay_and_what_a_deposed_owner_keeps_late_is_older() {
        let log = SimLog::default();
        let (deposed, owner) = (store(&log, 1), store(&log, 2));
        assert_eq!(newest(&deposed), None);
        [10, 20, 30].iter().for_each(|lsn| keep(&deposed, *lsn, b"deposed"));
        assert_eq!(log.names().expect("listed").len(), 2);
        assert_eq!(newest(&owner).as_deref(), Some(&b"deposed"[..]), "it goes on from there");
        keep(&owner, 25, b"owner");
        keep(&deposed, 90, b"late");
        assert_eq!(newest(&store(&log, 3)).as_deref(), Some(&b"owner"[..]));
        keep(&owner, 25, b"again");
        assert_eq!(newest(&store(&log, 3)).as_deref(), Some(&b"again"[..]), "of one lsn the last");
        assert!(owner.newest("alerts").expect("listed").is_none(), "of another name");
    }

    #[test]
    fn an_unreadable_copy_is_passed_over_for_the_one_before_it() {
        let log = SimLog::default();
        let owner = store(&log, 1);
        keep(&owner, 10, b"ten");
        keep(&owner, 20, b"twenty");
        let name = object("reports", (1, Lsn(20)));
        let mut bytes = log.get(&name).expect("had").expect("there");
        bytes[65] ^= 1;
        log.put(&name, &bytes).expect("kept");
        assert_eq!(newest(&store(&log, 2)).as_deref(), Some(&b"ten"[..]));
        log.remove(&name).expect("removed");
        owner.newest("reports").expect_err("what is listed must be there");
        assert_eq!(newest(&owner).as_deref(), Some(&b"ten"[..]), "it is listed no longer");
    }
}
