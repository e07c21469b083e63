//! A meter that is a node of a cluster: its partitions come and go while it serves.
//!
//! What belongs to a partition of another node is answered [`Unavailable::Elsewhere`](super::Unavailable::Elsewhere); an edge that may forward it
//! has the owner [carry it out](Meter::carry). Orders to the coordinator, and its messages, find their way by [`Peers`]. Deliberately absent: who owns what, and how messages travel.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::actors::engine::Engine;
use crate::actors::peers::Listing;
use crate::actors::recover::PartitionRecovery;
use crate::domain::ids::OrgId;
use crate::domain::limits::HANDOVER_SNAPSHOT_MS;
use crate::domain::refusal::Refusal;
use crate::domain::summary::Summary;
use crate::storage::layout::{DirectoryId, Layout};
use crate::storage::manifest::Stage;
use crate::storage::{DirectoryLock, Disk, Fault, Manifest, RealDisk, Store};

use super::access::{Action, Principal};
use super::config::Config;
use super::error::Error;
use super::open::{Meter, setup};

pub use crate::actors::peers::{Answering, Nodes, Owner, Peers};

impl Meter {
    /// Starts a meter without any partition, which it [takes](Self::take) later. The data directory keeps its lock and its audit log; `config.partitions` is
    /// how many partitions the cluster has, and `directory` the identity of its data.
    ///
    /// # Errors
    /// As [`Meter::open`], and when the directory holds partitions of its own.
    pub fn join(config: Config, directory: DirectoryId, peers: Arc<dyn Peers>) -> Result<Self, Fault> {
        let layout = Layout::new(config.directory.clone());
        std::fs::create_dir_all(layout.root()).map_err(Fault::io("create the directory", layout.root()))?;
        let lock = DirectoryLock::exclusive(&layout.lock())?;
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        if Manifest::read(&*disk, &layout)?.is_some() {
            let holder = "partitions of its own, which no cluster knows".to_owned();
            return Err(Fault::Locked { path: layout.manifest(), holder });
        }
        let (retention_ms, setup) = setup(config, directory, true);
        Ok(Self::of(Engine::join(&setup, &disk, Some(lock), peers)?, retention_ms))
    }

    /// As [`Meter::join`], on a disk of the caller's and without a lock: for tests.
    ///
    /// # Errors
    /// As [`Meter::join`].
    #[cfg(feature = "testing")]
    #[expect(clippy::needless_pass_by_value, reason = "a test hands its disk over")]
    pub fn join_on(
        disk: Arc<dyn Disk>,
        config: Config,
        directory: DirectoryId,
        peers: Arc<dyn Peers>,
    ) -> Result<Self, Fault> {
        let (retention_ms, setup) = setup(config, directory, true);
        Ok(Self::of(Engine::join(&setup, &disk, None, peers)?, retention_ms))
    }

    /// Takes a partition from where it is kept: recovers it, then serves it. Blocks until then; not for asynchronous contexts. A partition of a log that was
    /// never begun is made where `stage` says so, and is damaged otherwise.
    ///
    /// # Errors
    /// When it is here already, and what recovery finds; then it is not here.
    pub fn take(&self, store: Arc<dyn Store>, stage: Stage) -> Result<PartitionRecovery, Fault> {
        self.engine.take(store, stage)
    }

    /// Makes ready to [leave](Self::leave) a partition: where so much was appended since its last snapshot that whoever takes it would wait for the replay, one is
    /// written first. It serves meanwhile. Blocks until then, three seconds at most; not for asynchronous contexts. Whether one was written.
    pub fn save(&self, partition: u16) -> bool {
        self.engine.save(partition, Duration::from_millis(HANDOVER_SNAPSHOT_MS))
    }

    /// Leaves partitions in order, side by side: admits nothing more, carries out what is queued, makes it durable. Those that are not here are left alone. Blocks
    /// until then; not for asynchronous contexts. A partition that stopped, or whose owner was deposed, is left likewise, and may be taken again.
    pub fn leave(&self, partitions: &[u16]) {
        self.engine.leave(partitions);
    }

    /// Answers what a peer [asks](Peers::ask) for a partition.
    #[must_use]
    pub fn answer(&self, partition: u16, request: &[u8]) -> Answering<Vec<u8>> {
        self.engine.directory.answer(partition, request)
    }

    /// Hears what a peer [tells](Peers::tell).
    pub fn hear(&self, message: &[u8]) {
        self.engine.directory.hear(message);
    }

    /// Whether there are other nodes, which own what is not here.
    #[must_use]
    pub fn is_node(&self) -> bool {
        self.engine.directory.peers.is_some()
    }

    /// Has the owner of a partition [carry out](Peers::carry) a request of a caller.
    ///
    /// # Errors
    /// Why there is no answer; whether it was carried out is not known then.
    pub async fn carry(&self, partition: u16, request: Vec<u8>) -> Result<Vec<u8>, String> {
        self.engine.directory.carry(partition, request).await
    }

    /// Has every other node [carry out](Peers::carry_to) a request of a caller, side by side; none for one that gave no answer within a second.
    pub async fn carry_to_others(&self, request: &[u8]) -> Vec<(String, Option<Vec<u8>>)> {
        self.engine.directory.carry_to_others(request).await
    }

    /// The name of this node; none where there are no other nodes.
    #[must_use]
    pub fn node(&self) -> Option<String> {
        self.engine.directory.nodes().map(|nodes| nodes.me)
    }

    /// How many partitions there are, here and at other nodes.
    #[must_use]
    pub fn partitions(&self) -> u16 {
        self.engine.directory.count()
    }

    /// The AI Token Summary of an organization, wherever it is.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`] without the right to read, [`Refusal::UnknownOrganization`], or it cannot be told now.
    pub async fn summary(&self, who: &Principal, id: &OrgId) -> Result<Summary, Error> {
        if !self.is_node() || self.serves(self.partition_of(id)) {
            return self.organization(who, id)?.summary().await;
        }
        who.authorize(Action::Read(id))?;
        let summary = self.engine.directory.summary(id.clone()).await?;
        Ok(summary.ok_or(Refusal::UnknownOrganization)?)
    }

    /// As [`Self::organizations`], of all nodes; with the partitions of which it could not be told, as [`Self::unlisted`] tells them.
    pub async fn organizations_everywhere(
        &self,
        who: &Principal,
        after: Option<&OrgId>,
        rows: usize,
    ) -> (Vec<OrgId>, Vec<u16>) {
        if !self.is_node() {
            return (self.organizations(who, after, rows), self.unlisted(who));
        }
        let named = (!who.may(Action::ListOrganizations)).then(|| {
            let readable = who.named().into_iter().filter(|id| who.may(Action::Read(id)));
            readable.cloned().collect::<BTreeSet<_>>()
        });
        let listed = Listing {
            after: after.cloned(),
            rows,
            named: named.as_ref().map(|ids| ids.iter().cloned().collect()),
        };
        let listed = self.engine.directory.organizations_everywhere(listed).await;
        let is_missing = |partition: &u16| !listed.partitions.contains(partition);
        let unlisted: Vec<u16> = match &named {
            None => (0..self.engine.directory.count()).filter(is_missing).collect(),
            Some(ids) => {
                let of_named: BTreeSet<_> = ids.iter().map(|id| self.partition_of(id)).collect();
                of_named.into_iter().filter(is_missing).collect()
            }
        };
        (listed.organizations.into_iter().collect(), unlisted)
    }

    /// The partition that an organization belongs to.
    #[must_use]
    pub fn partition_of(&self, organization: &OrgId) -> u16 {
        self.engine.directory.number_of(organization)
    }

    /// Whether a partition is served here: it was taken, and nobody else is known to have taken it since.
    #[must_use]
    pub fn serves(&self, partition: u16) -> bool {
        self.engine.directory.is_here(partition)
    }

    /// Where the owner of a partition serves, as far as is known; none where there are no other nodes.
    #[must_use]
    pub fn owner(&self, partition: u16) -> Option<Owner> {
        self.engine.directory.owner(partition)
    }
}
