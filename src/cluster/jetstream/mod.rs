//! NATS JetStream keeps the logs: a subject of one of a few streams for each partition, snapshots in an object store, leases in a key-value bucket.
//!
//! A stream of three servers acknowledges a record when a majority has it, and with `sync_interval: always` has it on the disk. The rest of what is
//! asked of it is in [`demands`](super::demands), and a start refuses servers that do not do.
//!
//! Invariants:
//!
//! - An answer counts as a refusal only when the stream says that the last sequence is another. Everything else that is not an acknowledgement, a
//!   duplicate included, is unknown, and the last record is read.
//! - The last record is asked of the stream's leader, never of a follower that may lag.
//!
//! Calls block the caller's thread; what goes over the network runs on threads of its own.

mod access;
mod board;
mod facts;
mod log;
mod post;
mod streams;
mod watch;

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::context::{Context, ContextBuilder};
use async_nats::jetstream::stream::Stream;
use async_nats::jetstream::{kv, object_store};
use futures_core::Stream as Arriving;
use tokio::runtime::{Handle, Runtime};

use crate::storage::{Fault, Result};

use super::demands::Demands;

use streams::{Journal, Opened};
use watch::Watch;

use access::Lost;

pub use access::{Access, Identity};
pub use board::JetStreamBoard;
pub use log::JetStreamLog;
pub use post::{Answering, Post, Serve};

/// How long anything may take to be answered, but for an append and what an owner asks while it appends.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often servers are tried before a node does not start, and how long it waits between.
const TRIES_MAX: u32 = 3;
const PAUSE: Duration = Duration::from_millis(500);
/// How long a subscription may take to be made.
const SUBSCRIBING: Duration = PATIENCE;

/// Who keeps the logs, and what is demanded.
#[derive(Clone, Debug)]
pub struct Setup {
    /// How the streams' names begin: letters, digits, `-` and `_`.
    pub name: String,
    /// The user who appends and reads.
    pub access: Access,
    /// A user of the system account, who asks every server for its settings; none where they are stated.
    pub system: Option<Access>,
    /// What servers and streams must be.
    pub demands: Demands,
    /// How many streams keep the journals of a cluster that is new; one that is there has as many as it has.
    pub streams: u16,
    /// How long an append may take before its outcome is unknown.
    pub append_patience: Duration,
}

/// The servers, connected and found fit.
pub struct Keeper {
    threads: Threads,
    client: Client,
    lost: Lost,
    context: Context,
    append_patience: Duration,
    journals: Vec<Journal>,
    snapshots: object_store::ObjectStore,
    /// The stream that keeps them.
    objects: Stream,
    leases: Stream,
    name: String,
}

/// The threads of the network; they end in the background, because the last owner may be dropped where blocking is not allowed.
#[derive(Debug)]
pub(super) struct Threads(Option<Runtime>);

impl Threads {
    fn start() -> std::io::Result<Self> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder
            .worker_threads(1)
            .thread_name("weir-nats")
            .enable_all()
            .build()
            .map(|runtime| Self(Some(runtime)))
    }

    /// Lets something run there.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let runtime = self.0.as_ref().expect("it is there until it is dropped");
        runtime.spawn(work);
    }

    /// Waits for what needs the network; an error when it takes longer than anything may. The caller's own thread does it, which spares two ways from thread to
    /// thread for each append; where that may not be, because it runs tasks of its own, the network's does.
    pub(super) fn wait<T: Send + 'static>(
        &self,
        patience: Duration,
        work: impl Future<Output = std::result::Result<T, String>> + Send + 'static,
    ) -> std::result::Result<T, String> {
        self.wait_and(patience, work, &mut || {})
    }

    /// The same, and does `meanwhile` when the work has begun to wait for the network.
    pub(super) fn wait_and<T: Send + 'static>(
        &self,
        patience: Duration,
        work: impl Future<Output = std::result::Result<T, String>> + Send + 'static,
        meanwhile: &mut dyn FnMut(),
    ) -> std::result::Result<T, String> {
        let late = move || Err(format!("no answer within {patience:?}"));
        if Handle::try_current().is_err() {
            let runtime = self.0.as_ref().expect("it is there until it is dropped");
            let mut work = Box::pin(async move { tokio::time::timeout(patience, work).await });
            let begun = runtime.block_on(poll_fn(|context| Poll::Ready(work.as_mut().poll(context))));
            meanwhile();
            let told = match begun {
                Poll::Ready(told) => told,
                Poll::Pending => runtime.block_on(work),
            };
            return told.unwrap_or_else(|_| late());
        }
        meanwhile();
        let (done, outcome) = std::sync::mpsc::sync_channel(1);
        self.spawn(async move {
            let told = tokio::time::timeout(patience, work).await;
            _ = done.send(told.unwrap_or_else(|_| late()));
        });
        outcome.recv().unwrap_or_else(|_| Err("the network's thread ended".to_owned()))
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Keeper {
    /// Connects, makes what is not there yet, and judges servers and streams.
    ///
    /// # Errors
    /// [`Fault::Remote`] when the servers cannot be reached, [`Fault::Unfit`] when they do not do, with the setting and the remedy.
    pub fn connect(setup: &Setup) -> Result<Self> {
        let place = format!("the servers {}", setup.access.shown());
        let failed = |cause| Fault::Remote { action: "connect to", place: place.clone(), cause };
        let threads = Threads::start().map_err(|error| failed(error.to_string()))?;
        let wanted = setup.clone();
        let opened = threads.wait(6 * PATIENCE, async move { open_in_time(&wanted).await });
        let (parts, facts) = opened.map_err(failed)?;
        setup.demands.judge(&facts).map_err(|what| Fault::Unfit { place, what })?;
        threads.spawn(streams::keep_spread(parts.context.clone(), parts.journals.clone()));
        let watches = Watch::start(&threads, &parts);
        Ok(Self::of(threads, parts, watches, setup))
    }

    /// Connects to read what is there: nothing is made, asked to be kept, or judged.
    ///
    /// # Errors
    /// [`Fault::Remote`] when the servers cannot be reached or have no such streams.
    pub fn connect_to_read(setup: &Setup) -> Result<Self> {
        let place = format!("the servers {}", setup.access.shown());
        let failed = |cause| Fault::Remote { action: "read from", place: place.clone(), cause };
        let threads = Threads::start().map_err(|error| failed(error.to_string()))?;
        let wanted = setup.clone();
        let found = threads.wait(3 * PATIENCE, async move { find(&wanted).await }).map_err(failed)?;
        let watches = found.journals.iter().map(|_| Watch::idle()).collect();
        Ok(Self::of(threads, found, watches, setup))
    }

    fn of(threads: Threads, parts: Parts, watches: Vec<Watch>, setup: &Setup) -> Self {
        let Parts { client, lost, context, journals, snapshots, objects, leases } = parts;
        let journals = journals.into_iter().zip(watches).map(Journal::new).collect();
        let (name, append_patience) = (setup.name.clone(), setup.append_patience);
        Self { threads, client, lost, context, append_patience, journals, snapshots, objects, leases, name }
    }

    /// The log of a partition.
    #[must_use]
    pub fn partition(self: &std::sync::Arc<Self>, partition: u16) -> JetStreamLog {
        JetStreamLog::new(std::sync::Arc::clone(self), partition)
    }

    /// A stream of journals that has kept nothing, though it was asked to, and for how long: longer than an election takes, so that nothing of its
    /// partitions is durable meanwhile. None while all do.
    #[must_use]
    pub fn stalled(&self) -> Option<(&str, Duration)> {
        self.journals.iter().find_map(|journal| Some((journal.name.as_str(), journal.watch.stalled()?)))
    }

    /// The server that leads each stream of journals; empty where that is not told now.
    ///
    /// # Errors
    /// When the servers do not answer.
    pub fn leaders(&self) -> std::result::Result<Vec<String>, String> {
        let all =
            self.journals.iter().map(|journal| (journal.stream.clone(), journal.prefix.clone())).collect();
        self.threads.wait(2 * PATIENCE, async move { Ok(streams::leading(&all).await) })
    }

    /// The stream that keeps the log of a partition.
    fn journal(&self, partition: u16) -> &Journal {
        &self.journals[usize::from(partition) % self.journals.len()]
    }
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").field("name", &self.name).finish_non_exhaustive()
    }
}

struct Parts {
    client: Client,
    lost: Lost,
    context: Context,
    journals: Opened,
    snapshots: object_store::ObjectStore,
    objects: Stream,
    leases: Stream,
}

/// Opens, again where it failed: servers that just started, or make the same stream for another node, may not answer the first time. What is made is made once.
async fn open_in_time(setup: &Setup) -> std::result::Result<(Parts, super::demands::Facts), String> {
    let mut tries = 1;
    loop {
        match open(setup).await {
            Err(why) if tries < TRIES_MAX => tracing::debug!(why, "the servers are tried again"),
            opened => return opened,
        }
        tries += 1;
        tokio::time::sleep(PAUSE).await;
    }
}

async fn connect(setup: &Setup) -> std::result::Result<(Client, Lost, Context), String> {
    let (client, lost) = setup.access.connect(&setup.name).await?;
    let context = ContextBuilder::new().timeout(PATIENCE).build(client.clone());
    Ok((client, lost, context))
}

/// What is there.
async fn find(setup: &Setup) -> std::result::Result<Parts, String> {
    let (client, lost, context) = connect(setup).await?;
    let name = &setup.name;
    let missing = |what: String, error: &dyn std::error::Error| {
        format!("{what} is not there, or may not be read: {}; see that `cluster_name` is right", told(error))
    };
    let bucket = format!("{name}-leases");
    let leases = context.get_key_value(&bucket).await;
    let leases = leases.map_err(|error| missing(format!("the bucket {bucket}"), &error))?.stream;
    let journals = streams::find(&context, &leases, name).await?;
    let bucket = format!("{name}-snapshots");
    let snapshots = context.get_object_store(&bucket).await;
    let snapshots = snapshots.map_err(|error| missing(format!("the bucket {bucket}"), &error))?;
    let objects = objects(&context, name).await?;
    Ok(Parts { client, lost, context, journals, snapshots, objects, leases })
}

async fn open(setup: &Setup) -> std::result::Result<(Parts, super::demands::Facts), String> {
    let (client, lost, context) = connect(setup).await?;
    let (name, num_replicas) = (&setup.name, setup.demands.replicas);
    let bucket = format!("{name}-leases");
    let leases = match context.get_key_value(&bucket).await {
        Ok(found) => found,
        Err(_) => {
            let config =
                kv::Config { bucket: bucket.clone(), num_replicas, history: 1, ..Default::default() };
            context.create_key_value(config).await.map_err(|error| format!("the bucket {bucket}: {error}"))?
        }
    };
    let bucket = format!("{name}-snapshots");
    let snapshots = match context.get_object_store(&bucket).await {
        Ok(found) => found,
        Err(_) => {
            let config = object_store::Config { bucket: bucket.clone(), num_replicas, ..Default::default() };
            context
                .create_object_store(config)
                .await
                .map_err(|error| format!("the bucket {bucket}: {error}"))?
        }
    };
    let journals = streams::open(&context, &leases.stream, setup).await?;
    let mut streams = vec![format!("KV_{name}-leases"), format!("OBJ_{name}-snapshots")];
    streams.extend(journals.iter().map(|(_, prefix)| streams::name_of(prefix)));
    let facts = facts::gather(&client, &context, streams, setup.system.as_ref()).await?;
    let objects = objects(&context, name).await?;
    Ok((Parts { client, lost, context, journals, snapshots, objects, leases: leases.stream }, facts))
}

/// The stream that keeps the snapshots.
async fn objects(context: &Context, name: &str) -> std::result::Result<Stream, String> {
    let stream = format!("OBJ_{name}-snapshots");
    context.get_stream(&stream).await.map_err(|error| format!("the stream {stream}: {}", told(&error)))
}

/// What arrives next.
pub(super) async fn next<S: Arriving + Unpin>(arriving: &mut S) -> Option<S::Item> {
    std::future::poll_fn(|context| Pin::new(&mut *arriving).poll_next(context)).await
}

/// An error with what caused it: the kind alone hides what the servers said.
pub(super) fn told(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
