//! Where `weir verify` and `weir export` read: a directory, or the streams of a cluster, each partition through its store.
//!
//! A directory is held still by its lock. The streams of a cluster go on while they are read: a partition is seen as it was when it was opened, and
//! opened again when retention took away what was being read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use crate::config::ClusterConfig;
use crate::domain::ids::Lsn;
use crate::edge::streams::Streams;
use crate::storage::{DirectoryId, Fault, Home, Layout, Manifest, RealDisk, Store};

use super::failure::Failure;
use super::serve_cluster::AccessArgs;

/// How often a partition is read again because retention took away what was being read.
pub(super) const TRIES_MAX: u32 = 8;

/// A directory, or a cluster.
#[derive(Args, Debug)]
pub struct PlaceArgs {
    /// The data directory, or a backup.
    #[arg(required_unless_present = "cluster", conflicts_with = "cluster")]
    pub directory: Option<PathBuf>,
    /// The servers of a cluster, whose streams are read instead; nodes may be running.
    #[command(flatten)]
    pub access: AccessArgs,
}

/// A directory, or a cluster, that is given.
pub(super) enum Given<'a> {
    Directory(&'a Path),
    Cluster(Streams),
}

/// The partitions of a directory, or of a cluster.
pub(super) struct Place {
    /// What it is, for people.
    pub(super) name: PathBuf,
    pub(super) id: DirectoryId,
    /// Of each partition, whether it was ever served.
    pub(super) made: Vec<bool>,
    pub(super) kind: Kind,
}

/// What keeps the partitions.
pub(super) enum Kind {
    Files(Layout),
    Streams(Streams),
}

impl PlaceArgs {
    /// What is given; a cluster is connected to.
    ///
    /// # Errors
    /// When a setting does not fit, or there is no such cluster.
    pub(super) fn given(&self) -> Result<Given<'_>, Failure> {
        let flags = self.access.flags().into_iter();
        let flags: Vec<_> = flags.filter_map(|(name, value)| Some((name, value.clone()?))).collect();
        let usage = |why: &dyn ToString| Failure::usage(why.to_string());
        match (ClusterConfig::reached(&flags).map_err(|error| usage(&error))?, &self.directory) {
            (Some(cluster), _) => Ok(Given::Cluster(Streams::open(&cluster).map_err(|fault| usage(&fault))?)),
            (None, Some(directory)) => Ok(Given::Directory(directory)),
            (None, None) => Err(usage(&"give a data directory, or the servers of a cluster with --cluster")),
        }
    }
}

impl Place {
    /// The partitions of a directory.
    pub(super) fn files(directory: &Path, manifest: &Manifest, layout: Layout) -> Self {
        let made = vec![true; manifest.partitions.into()];
        Self { name: directory.to_owned(), id: manifest.directory, made, kind: Kind::Files(layout) }
    }

    /// The partitions of a cluster.
    pub(super) fn streams(streams: Streams) -> Self {
        let (name, id) = (streams.place().to_owned(), streams.leases.directory);
        Self { name, id, made: streams.leases.made.clone(), kind: Kind::Streams(streams) }
    }

    /// The numbers of the partitions.
    pub(super) fn partitions(&self) -> impl Iterator<Item = u16> + use<> {
        (0..).take(self.made.len())
    }

    /// Whether it may change while it is read.
    pub(super) fn is_live(&self) -> bool {
        matches!(self.kind, Kind::Streams(_))
    }

    /// A partition as it is now.
    ///
    /// # Errors
    /// When its end cannot be told.
    pub(super) fn open(&self, partition: u16) -> Result<Arc<dyn Store>, Fault> {
        match &self.kind {
            Kind::Files(layout) => {
                let (layout, disk) = (layout.clone(), Arc::new(RealDisk));
                Ok(Arc::new(Home { disk, layout, partition, directory: self.id }))
            }
            Kind::Streams(streams) => streams.partition(partition),
        }
    }

    /// All partitions as they are now, or nearly so: one after the other.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(super) fn open_all(&self) -> Result<Vec<Arc<dyn Store>>, Fault> {
        self.partitions().map(|partition| self.open(partition)).collect()
    }
}

/// What retention changes of a partition: the oldest frame, and the snapshots. What cannot be told is none.
pub(super) fn extent(store: &dyn Store) -> (Option<Lsn>, Vec<Lsn>) {
    (store.first().ok().flatten(), store.snapshots().unwrap_or_default())
}
