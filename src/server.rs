//! Puts the server together: configuration, telemetry, HTTP, gRPC, and the meter behind them.
//!
//! HTTP and gRPC are bound first, so that a probe can tell recovery from absence: until the meter is open, `/readyz` says
//! `recovering` and every call under `/v1` is refused with that code. Stop is the reverse: no new connections, requests in flight
//! finish, then the meter closes in order. Nothing that was acknowledged depends on either.

use std::fmt::Display;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::config::Config;
use crate::edge::bearers::Bearers;
use crate::edge::budget::Budget;
use crate::edge::grpc;
use crate::edge::http::{Limits, Listener, State};
use crate::edge::license_key::{IssuerFileError, Trusted};
use crate::edge::tls::{Tls, TlsError};
use crate::edge::token::{TokenIssuersError, Tokens};
use crate::meter::{self, Deed, Meter, Principal};
use crate::reports::Reports;
use crate::storage::{Fault, Hold};
use crate::telemetry::clock::Clock;

mod cluster;
mod copier;
mod descriptors;
mod first_key;
mod followers;
mod memory;
mod signals;
mod telemetry;

use cluster::{Clustered, Inboxes, Whose};
use first_key::first_key;
use followers::Followers;
use signals::{Reloads, Signals};
use telemetry::Metrics;

pub use first_key::FirstKey;

/// How often the state of a node is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Why the server ended before it was told to, or could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error(
        "cannot listen on {address}: {source}; nothing was started, choose another address with --listen or --grpc-listen"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The answer of the operating system.
        source: io::Error,
    },
    /// The meter cannot be opened.
    #[error("cannot open the data directory: {0}")]
    Open(#[from] Fault),
    /// The servers of the cluster cannot be used.
    #[error("cannot join the cluster: {0}")]
    Cluster(#[source] Fault),
    /// A setting of a node does not do.
    #[error("{0}; nothing was started")]
    Node(String),
    /// The node ended by itself.
    #[error("left the cluster: {0}; what was acknowledged is kept")]
    Ended(String),
    /// The meter could not do what the start needs.
    #[error("cannot make the first operator key: {0}")]
    Meter(#[from] meter::Error),
    /// The file for the first operator key cannot be written.
    #[error("cannot write the operator key to {}: {source}; no key was made, name a file that is not there yet", path.display())]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// The answer of the operating system.
        source: io::Error,
    },
    /// The filter of log lines cannot be read.
    #[error("the setting `log` cannot be read: {0}")]
    Log(String),
    /// The operating system refused what every server needs.
    #[error("cannot {action}: {source}")]
    System {
        /// What was tried.
        action: &'static str,
        /// The answer of the operating system.
        source: io::Error,
    },
    /// The files of TLS cannot be used.
    #[error("{0}; nothing was started")]
    Tls(#[from] TlsError),
    /// The list of issuers cannot be used.
    #[error("the setting `license_issuers` names {0}; nothing was started")]
    Issuers(#[from] IssuerFileError),
    /// The list of issuers of tokens cannot be used.
    #[error("the setting `token_issuers` names {0}; nothing was started")]
    TokenIssuers(#[from] TokenIssuersError),
    /// The process may open too few files.
    #[error("{0}; nothing was started")]
    Descriptors(String),
    /// A partition stopped while the server ran.
    #[error("stopped in order, but partitions had stopped before ({partitions} of all): {failure}")]
    Poisoned {
        /// How many partitions.
        partitions: usize,
        /// Why the first of them stopped.
        failure: String,
    },
    /// A second signal ended the server before all requests were finished.
    #[error("ended by a second signal before all requests were finished; what was acknowledged is kept")]
    Interrupted,
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    config: Config,
    state: Arc<State>,
    listener: Listener,
    grpc: Option<grpc::Listener>,
    tls: Option<Tls>,
    issuers: Arc<Trusted>,
    bearers: Arc<Bearers>,
    meter: Mutex<Option<Meter>>,
    hold: Option<Arc<Hold>>,
    followers: Mutex<Option<Arc<Followers>>>,
    cluster: Mutex<Option<Arc<Clustered>>>,
}

/// Serves until SIGTERM or SIGINT; SIGHUP reads the certificates of TLS and the lists of issuers again. Writes to `out`: `listening on http://ADDRESS` (`https` with TLS) and `grpc listening on ADDRESS` once bound, the operator key of a new
/// data directory, and `ready` once requests are served.
///
/// # Errors
/// When the server cannot start, or was ended by force.
pub fn serve(config: &Config, out: &mut impl Write) -> Result<(), ServeError> {
    telemetry::log(config)?;
    memory::in_small_pages();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(system("start the runtime"))?;
    let served = runtime.block_on(run(config, out));
    // A recovery that a signal interrupted may still be reading; it holds nothing that an exit could hurt.
    runtime.shutdown_background();
    served
}

impl Server {
    /// Listens. Until [`Self::open`] is done, every request is told that the meter is recovering.
    ///
    /// # Errors
    /// When the address cannot be listened on, or the files of TLS or the list of issuers not be used.
    pub fn bind(config: &Config) -> Result<Self, ServeError> {
        let tls = config.tls.as_ref().map(Tls::load).transpose()?;
        let issuers = Arc::new(Trusted::load(config.license_issuers.as_deref())?);
        let bearers = Arc::new(Bearers::new(Tokens::load(config.token_issuers.as_deref())?));
        let metrics = Metrics::install().map_err(system("start the metrics"))?;
        let connections = descriptors::connections(descriptors::raise(), config.connections_max);
        let connections_max = connections.map_err(ServeError::Descriptors)?;
        let config = Config { connections_max, ..config.clone() };
        let budget = Arc::new(Budget::new(&config));
        let render = Box::new(move || metrics.render());
        let (for_http, for_grpc) =
            ((Arc::clone(&budget), Arc::clone(&bearers)), (budget, Arc::clone(&bearers)));
        let limits = Limits::from(&config);
        let state = Arc::new(State::new(limits, Arc::clone(&issuers), for_http, render));
        let at = |address| move |source| ServeError::Listen { address, source };
        let listener = Listener::start(&config, &state, tls.clone()).map_err(at(config.listen))?;
        let grpc = match config.grpc_address() {
            Some(address) => {
                Some(grpc::Listener::start(&config, address, tls.as_ref(), for_grpc).map_err(at(address))?)
            }
            None => None,
        };
        let hold = followers::hold(&config);
        let (meter, followers, cluster) = (Mutex::default(), Mutex::default(), Mutex::default());
        Ok(Self { config, state, listener, grpc, tls, issuers, bearers, meter, hold, followers, cluster })
    }

    /// The address that it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// The address that it serves gRPC on; none when that is off.
    #[must_use]
    pub fn grpc_address(&self) -> Option<SocketAddr> {
        self.grpc.as_ref().map(grpc::Listener::address)
    }

    /// The reports that it keeps; none while it is not open, or where none are kept.
    #[must_use]
    pub fn reports(&self) -> Option<Arc<Reports>> {
        let followers = self.followers.lock().unwrap_or_else(PoisonError::into_inner);
        followers.as_ref().and_then(|followers| followers.reports().cloned())
    }

    /// Reads the certificate of TLS and its key again, where there are any. Connections that are open keep the old one.
    ///
    /// # Errors
    /// When a file cannot be used; then the certificate that was served is kept.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.tls.as_ref().map_or(Ok(()), Tls::reload)
    }

    /// Reads the list of issuers again, where there is one.
    ///
    /// # Errors
    /// When it cannot be used; then the list that was in use is kept.
    pub fn reload_issuers(&self) -> Result<(), IssuerFileError> {
        self.issuers.reload()
    }

    /// Reads the list of issuers of tokens again, and their keys, where there is one. Waits for keys that are fetched as long as they may take.
    ///
    /// # Errors
    /// When it cannot be used; then the list that was in use is kept.
    pub fn reload_token_issuers(&self) -> Result<(), TokenIssuersError> {
        self.bearers.tokens().reload()
    }

    /// Opens the meter and serves it; answers with the operator key when the data directory has no API key yet.
    ///
    /// # Errors
    /// When the meter cannot be opened, or the key not be made or written.
    pub async fn open(&self) -> Result<Option<FirstKey>, ServeError> {
        self.open_by(Clock::System).await
    }

    /// As [`Self::open`], with a clock other than the machine's.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_by(&self, clock: Clock) -> Result<Option<FirstKey>, ServeError> {
        let meter = self.open_meter(clock).await?;
        report(&meter);
        let key = match self.first_key(&meter).await {
            Ok(key) => key,
            Err(error) => {
                meter.close().await;
                return Err(error);
            }
        };
        *self.meter.lock().unwrap_or_else(PoisonError::into_inner) = Some(meter.clone());
        if self.node().is_none() {
            let followers = Followers::of_directory(&self.config, &meter, self.hold.as_ref(), &self.state);
            *self.followers.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(followers));
        }
        self.state.serve(meter.clone());
        if let Some(grpc) = &self.grpc {
            grpc.serve(meter).await;
        }
        Ok(key)
    }

    /// Opens the meter, alone or as a node of a cluster, on a thread of its own.
    async fn open_meter(&self, clock: Clock) -> Result<Meter, ServeError> {
        let (opened, opening) = oneshot::channel();
        let (config, addresses) = (self.config.clone(), (self.address(), self.grpc_address()));
        let inboxes =
            Inboxes { http: self.listener.inbox(), grpc: self.grpc.as_ref().map(grpc::Listener::inbox) };
        let meter = meter::Config { clock, hold: self.hold.clone(), ..config.meter() };
        let (hold, state) = (self.hold.clone(), Arc::clone(&self.state));
        let open = move || {
            let follow = |meter: &Meter, directory| {
                Followers::of_node(&config, meter, hold.as_ref(), &state, directory)
            };
            drop(
                opened.send(match config.cluster {
                    Some(_) => Clustered::join(&config, addresses, (meter, inboxes), follow)
                        .map(|(node, meter)| (Some(node), meter)),
                    None => Meter::open(meter).map(|meter| (None, meter)).map_err(ServeError::from),
                }),
            );
        };
        let thread = std::thread::Builder::new().name("weir-open".to_owned()).spawn(open);
        drop(thread.map_err(system("start a thread"))?);
        let opened = opening.await;
        let (node, meter) =
            opened.map_err(|_| system("open the meter")(io::Error::other("its thread panicked")))??;
        if let Some(node) = node {
            self.state.watch(Box::new(node.trouble()));
            *self.followers.lock().unwrap_or_else(PoisonError::into_inner) = Some(node.followers());
            *self.cluster.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(node));
        }
        Ok(meter)
    }

    /// Makes the first operator key where this is to be done. In a cluster it is the owner of partition 0 who knows whether there is a key.
    async fn first_key(&self, meter: &Meter) -> Result<Option<FirstKey>, ServeError> {
        let file = self.config.operator_key_file.as_deref();
        let Some(node) = self.node() else { return first_key(meter, file).await };
        loop {
            match node.first_owner() {
                // It serves once it has a copy of the keys, so that it refuses nobody who has one.
                Some(Whose::Theirs) if !meter.api_keys(&Principal::Host)?.is_empty() => return Ok(None),
                Some(Whose::Ours) if meter.serves(0) => match first_key(meter, file).await {
                    // It went elsewhere meanwhile; a file that was made is empty.
                    Err(ServeError::Meter(meter::Error::Unavailable(_))) => {
                        file.into_iter().for_each(|file| _ = std::fs::remove_file(file));
                    }
                    made => return made,
                },
                _ => {}
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn node(&self) -> Option<Arc<Clustered>> {
        self.cluster.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until the node ended by itself, where this is one.
    async fn ended(&self) -> String {
        loop {
            if let Some(why) = self.node().and_then(|node| node.ended()) {
                return why;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Stops in order: no new connections, requests in flight finish, streams get their outstanding answers, then the meter
    /// makes everything durable and closes.
    ///
    /// # Errors
    /// When the HTTP or the gRPC server, or a partition, had failed before.
    pub async fn stop(self) -> Result<(), ServeError> {
        // Others take what this node had while its last requests are told where it is.
        if let Some(node) = self.node() {
            let left = tokio::task::spawn_blocking(move || node.stop());
            drop(left.await);
            self.state.part();
        }
        let stop_grpc = async {
            match self.grpc {
                Some(grpc) => grpc.stop().await,
                None => Ok(()),
            }
        };
        let (stopped, stopped_grpc) = tokio::join!(self.listener.stop(), stop_grpc);
        if let Some(followers) = self.followers.lock().unwrap_or_else(PoisonError::into_inner).take() {
            followers.stop();
        }
        let meter = self.meter.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut failures = Vec::new();
        if let Some(meter) = meter {
            meter.clone().close().await;
            failures.extend(meter.status().into_iter().filter_map(|partition| partition.failure));
        }
        stopped.and(stopped_grpc).map_err(system("go on serving"))?;
        match failures.first() {
            None => Ok(()),
            Some(first) => {
                Err(ServeError::Poisoned { partitions: failures.len(), failure: first.to_string() })
            }
        }
    }
}

async fn run(config: &Config, out: &mut impl Write) -> Result<(), ServeError> {
    let mut signals = Signals::new().map_err(system("listen for signals"))?;
    let mut reloads = Reloads::new(config).map_err(system("listen for signals"))?;
    let server = Server::bind(config)?;
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    say(out, &format!("listening on {scheme}://{}", server.address()));
    if let Some(address) = server.grpc_address() {
        say(out, &format!("grpc listening on {address}"));
    }
    let opened = tokio::select! {
        opened = server.open() => opened,
        () = signals.next() => return stop(server, signals).await,
    };
    match opened {
        Ok(Some(key)) => show(out, &key),
        Ok(None) => {}
        Err(error) => {
            drop(stop(server, signals).await);
            return Err(error);
        }
    }
    say(out, "ready");
    loop {
        tokio::select! {
            () = signals.next() => return stop(server, signals).await,
            () = reloads.next() => reload(&server, out).await,
            why = server.ended() => {
                drop(stop(server, signals).await);
                return Err(ServeError::Ended(why));
            }
        }
    }
}

async fn reload(server: &Server, out: &mut impl Write) {
    if server.config.tls.is_some() {
        again("certificate", server, || server.reload(), out).await;
    }
    if server.config.license_issuers.is_some() {
        again("license issuers", server, || server.reload_issuers(), out).await;
    }
    if server.config.token_issuers.is_some() {
        again("token issuers", server, || server.reload_token_issuers(), out).await;
    }
}

/// Has a file read again, which is recorded, and tells what became of it.
async fn again<E: Display>(
    what: &str,
    server: &Server,
    read: impl FnOnce() -> Result<(), E>,
    out: &mut impl Write,
) {
    let deed = Deed { act: "reload_settings", organizations: Vec::new(), target: Some(what.to_owned()) };
    let meter = server.meter.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let read = match meter {
        Some(meter) => meter.witness(deed, read).await,
        None => Ok(read()),
    };
    let failure = match &read {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(error) => Some(error.to_string()),
    };
    match failure {
        None => {
            tracing::info!("{what} read again; what comes from now on is judged by it");
            say(out, &format!("{what} read again"));
        }
        Some(error) => {
            tracing::error!("{what} kept as it was: {error}; mend the file and send SIGHUP again");
            say(out, &format!("{what} kept: {error}"));
        }
    }
}

/// Stops, unless a second signal comes first.
async fn stop(server: Server, mut signals: Signals) -> Result<(), ServeError> {
    tracing::info!("stopping: requests in flight finish, then the meter closes");
    tokio::select! {
        stopped = server.stop() => stopped,
        () = signals.next() => Err(ServeError::Interrupted),
    }
}

fn show(out: &mut impl Write, key: &FirstKey) {
    match key {
        FirstKey::ToShow(key) => {
            say(out, &format!("operator key: {key}"));
            say(
                out,
                "keep it: it is shown this once, and makes organizations and the keys of everybody else",
            );
        }
        FirstKey::Written(path) => say(out, &format!("operator key written to {}", path.display())),
    }
}

/// Writes a line for whoever started the server. That nobody reads it is no reason to stop.
fn say(out: &mut impl Write, line: &str) {
    if let Err(error) = writeln!(out, "{line}").and_then(|()| out.flush()) {
        tracing::warn!(%error, "nobody reads what the server says");
    }
}

fn report(meter: &Meter) {
    meter.recovery().iter().for_each(report_one);
}

fn report_one(recovery: &meter::PartitionRecovery) {
    let meter::PartitionRecovery { partition, snapshot, clean, organizations, .. } = recovery;
    let journal = recovery.journal.as_ref();
    tracing::info!(
        partition,
        %snapshot,
        clean,
        organizations,
        frames = journal.map(|journal| journal.frames),
        segments = journal.map(|journal| journal.segments),
        next_lsn = journal.map(|journal| journal.next.0),
        "recovered"
    );
    if let Some(torn) = journal.and_then(|journal| journal.torn.as_ref()) {
        let (path, crate::storage::TornTail { offset, bytes, lsn, .. }) = (torn.path.display(), torn);
        tracing::warn!(
            partition,
            "cut {bytes} bytes that a crash left unfinished after byte {offset} of {path}, where frame {lsn} was due; \
             nothing in them was acknowledged as durable"
        );
    }
    for removed in journal.map_or(&[][..], |journal| &journal.removed) {
        tracing::info!(partition, "removed {}, which a crash left unfinished", removed.display());
    }
    for skipped in &recovery.skipped_snapshots {
        tracing::warn!(partition, "a snapshot could not be read and was passed over: {skipped}");
    }
}

fn system(action: &'static str) -> impl Fn(io::Error) -> ServeError {
    move |source| ServeError::System { action, source }
}
