//! A cluster as its settings say: how its servers are reached, and its partitions, for commands that only read them.
//!
//! Absent on purpose: making a stream, taking a partition, and judging the servers, which is for nodes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::cluster::ReplicatedStore;
use crate::cluster::demands::Demands;
use crate::cluster::jetstream::{Access, Identity, JetStreamBoard, Keeper, Setup};
use crate::cluster::lease::Leases;
use crate::cluster::node::Board as _;
use crate::cluster::record::Owned;
use crate::config::{ClusterConfig, NatsIdentity};
use crate::storage::{Fault, Store};

/// How long an append may take before its outcome is looked into.
const APPEND_PATIENCE: Duration = Duration::from_secs(1);

/// The partitions of a cluster, as they are kept.
#[derive(Debug)]
pub struct Streams {
    keeper: Arc<Keeper>,
    /// Who has what.
    pub leases: Leases,
    place: PathBuf,
}

impl Streams {
    /// Connects to the servers and reads the table; makes nothing and changes nothing. Blocks.
    ///
    /// # Errors
    /// [`Fault::Remote`] when the servers cannot be reached, or there is no such cluster.
    pub fn open(cluster: &ClusterConfig) -> Result<Self, Fault> {
        let setup = setup(cluster)?;
        let place = format!("the cluster `{}` of {}", setup.name, setup.access.shown());
        let keeper = Arc::new(Keeper::connect_to_read(&setup)?);
        let leases = table(&keeper, &place)?.1;
        Ok(Self { keeper, leases, place: place.into() })
    }

    /// What it is, for people.
    #[must_use]
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// The revision of the table now.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn revision(&self) -> Result<u64, Fault> {
        Ok(table(&self.keeper, &self.place.display())?.0)
    }

    /// A partition as it is now: what comes later is not seen.
    ///
    /// # Errors
    /// When its last record cannot be had.
    pub fn partition(&self, partition: u16) -> Result<Arc<dyn Store>, Fault> {
        let owned = Owned { partition, directory: self.leases.directory };
        let log = Arc::new(self.keeper.partition(partition));
        Ok(Arc::new(ReplicatedStore::as_it_is(log, owned)?))
    }
}

/// The table with its revision.
fn table(keeper: &Arc<Keeper>, place: &dyn std::fmt::Display) -> Result<(u64, Leases), Fault> {
    let failed = |cause| Fault::Remote { action: "read the table of", place: place.to_string(), cause };
    let stored = JetStreamBoard::new(Arc::clone(keeper)).read().map_err(failed)?;
    let stored = stored.ok_or_else(|| failed("there is none: no node ever started".to_owned()))?;
    Ok((stored.sequence, Leases::decode(&stored.bytes).map_err(failed)?))
}

/// How the servers are reached, and what is demanded of them.
///
/// # Errors
/// When the file of a password cannot be read.
pub fn setup(cluster: &ClusterConfig) -> Result<Setup, Fault> {
    let access = Access {
        servers: cluster.servers.clone(),
        identity: identity(&cluster.identity)?,
        authorities: cluster.ca.clone(),
        certificate: cluster.certificate.clone(),
    };
    let system = match identity(&cluster.system)? {
        Identity::Nobody => None,
        identity => Some(Access { identity, ..access.clone() }),
    };
    let ClusterConfig { replicas, is_sync_stated, is_development, .. } = *cluster;
    let demands = Demands { replicas, is_sync_stated, is_development };
    let (name, streams) = (cluster.name.clone(), cluster.streams);
    Ok(Setup { name, access, system, demands, streams, append_patience: APPEND_PATIENCE })
}

fn identity(identity: &NatsIdentity) -> Result<Identity, Fault> {
    Ok(match identity {
        NatsIdentity::Nobody => Identity::Nobody,
        NatsIdentity::User(user, password) => Identity::User(user.clone(), secret(password)?),
        NatsIdentity::Nkey(path) => Identity::Nkey(path.clone()),
        NatsIdentity::Credentials(path) => Identity::Credentials(path.clone()),
    })
}

fn secret(path: &Path) -> Result<String, Fault> {
    let read = std::fs::read_to_string(path).map_err(Fault::io("read", path))?;
    Ok(read.trim_end_matches(['\r', '\n']).to_owned())
}
