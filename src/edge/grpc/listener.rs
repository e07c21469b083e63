//! The listening socket, the threads behind it, and the services on it.
//!
//! It has a runtime of its own, as HTTP has: a flood of debits here does not take the threads of anybody else. Health and
//! reflection need no API key, as the health paths of HTTP do not.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio::time::{interval, timeout};
use tokio_rustls::TlsAcceptor;
use tonic::transport::Server;
use tonic::transport::server::Router;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::config::Config;
use crate::edge::bearers::Bearers;
use crate::edge::budget::Budget;
use crate::edge::tls::Tls;
use crate::meter::{Meter, PartitionStatus};
use crate::proto::DESCRIPTORS;

use super::calls::Calls;
use super::carry::Inbox;
use super::front::Front;
use super::incoming::Incoming;
use super::service::Service;
use super::state::{Limits, State};

/// Services whose health is told: the server as a whole, and the metering service.
const HEALTH_NAMES: [&str; 2] = ["", "tokenweir.v1.Metering"];
/// How often it is looked whether a partition stopped.
const HEALTH_PERIOD: Duration = Duration::from_millis(250);
/// Most calls of one connection at a time, streams of debits included.
const CONNECTION_CALLS_MAX: u32 = 256;
/// How long a peer that is asked for a sign of life has to give it, unless he may be silent for less.
const ALIVE_WITHIN: Duration = Duration::from_secs(20);

/// A listening gRPC server.
#[derive(Debug)]
pub struct Listener {
    address: SocketAddr,
    state: Arc<State>,
    inbox: Inbox,
    health: HealthReporter,
    /// It is gone only in the midst of a drop.
    runtime: Option<Runtime>,
    served: JoinHandle<Result<(), tonic::transport::Error>>,
    grace: Duration,
}

impl Listener {
    /// Binds an address and serves, encrypted where there is a certificate. Until [`Self::serve`], every call is told that the meter is recovering.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn start(
        config: &Config,
        address: SocketAddr,
        tls: Option<&Tls>,
        (budget, bearers): (Arc<Budget>, Arc<Bearers>),
    ) -> io::Result<Self> {
        let state = Arc::new(State::new(Limits::from(config), (budget, bearers)));
        let socket = std::net::TcpListener::bind(address)?;
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        let mut threads = Builder::new_multi_thread();
        threads.thread_name("weir-grpc").worker_threads(config.grpc_workers).enable_all();
        let runtime = threads.build()?;
        let entered = runtime.enter();
        let incoming = Incoming::new(
            TcpListener::from_std(socket)?,
            state.limits.connections_max,
            Duration::from_millis(config.request_timeout_ms),
            tls.map(|tls| TlsAcceptor::from(Arc::new(tls.server_config(&["h2"])))),
        );
        let calls = Calls::new(Service(Arc::clone(&state)));
        let inbox = Inbox::new(calls.others(), Arc::clone(&state), runtime.handle().clone());
        let (health, router) = services(&state, calls)?;
        let (told, stopped) = (health.clone(), state.stopped());
        let served = runtime.spawn(async move {
            tell_health(&told, ServingStatus::NotServing).await;
            router.serve_with_incoming_shutdown(incoming, stopped).await
        });
        drop(entered);
        let grace = Duration::from_millis(config.stop_timeout_ms);
        Ok(Self { address, state, inbox, health, runtime: Some(runtime), served, grace })
    }

    /// The address that it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The way in for calls that other nodes carry here.
    #[must_use]
    pub fn inbox(&self) -> Inbox {
        self.inbox.clone()
    }

    /// Serves this meter from now on.
    pub async fn serve(&self, meter: Meter) {
        let handle = self.runtime.as_ref().expect("it is there until the drop").handle();
        self.state.serve(meter.clone());
        tell_health(&self.health, ServingStatus::Serving).await;
        let (health, stopped) = (self.health.clone(), self.state.stopped());
        handle.spawn(async move {
            tokio::select! {
                () = watch_health(&health, meter) => {}
                () = stopped => {}
            }
        });
    }

    /// Accepts nothing more, lets every stream have its outstanding answers as long as the configuration grants, and ends.
    ///
    /// # Errors
    /// When the server failed before it was stopped.
    pub async fn stop(mut self) -> io::Result<()> {
        // Whoever watches health would hold his connection open.
        for name in HEALTH_NAMES {
            self.health.clear_service_status(name).await;
        }
        self.state.stop();
        match timeout(self.grace, &mut self.served).await {
            Ok(Ok(served)) => served.map_err(io::Error::other),
            Ok(Err(panicked)) => Err(io::Error::other(panicked)),
            Err(_) => {
                tracing::warn!("a grpc client did not end its calls in time and was cut off");
                Ok(())
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Not waited for: a runtime must not block where another one runs.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn services(state: &Arc<State>, calls: Calls) -> io::Result<(HealthReporter, Router)> {
    let (health, health_service) = tonic_health::server::health_reporter();
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let router = Server::builder()
        .max_concurrent_streams(CONNECTION_CALLS_MAX)
        .http2_keepalive_interval(Some(state.limits.keep_alive))
        .http2_keepalive_timeout(Some(ALIVE_WITHIN.min(state.limits.keep_alive)))
        .add_service(Front::new(calls, state))
        .add_service(health_service)
        .add_service(reflection().build_v1().map_err(io::Error::other)?)
        .add_service(reflection().build_v1alpha().map_err(io::Error::other)?);
    Ok((health, router))
}

/// Tells when a partition stopped. It does not come back before a restart.
async fn watch_health(health: &HealthReporter, meter: Meter) {
    let mut ticks = interval(HEALTH_PERIOD);
    while !meter.status().iter().any(PartitionStatus::is_poisoned) {
        ticks.tick().await;
    }
    tell_health(health, ServingStatus::NotServing).await;
}

async fn tell_health(health: &HealthReporter, status: ServingStatus) {
    for name in HEALTH_NAMES {
        health.set_service_status(name, status).await;
    }
}
