//! What all calls share: the meter once it is open, the bounds, and the word to stop.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::config::Config;
use crate::domain::limits::CARRIED_MAX;
use crate::edge::bearers::Bearers;
use crate::edge::budget::Budget;
use crate::meter::Meter;

use super::trouble::Trouble;

/// The bounds of the edge.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Longest message, in bytes.
    pub message_bytes_max: usize,
    /// Most debits of one batch.
    pub batch_debits_max: usize,
    /// Debits that one stream may have in flight.
    pub credit_debits: u64,
    /// Most open connections.
    pub connections_max: usize,
    /// Most open streams of debits.
    pub streams_max: usize,
    /// Longest time that a caller of a transfer waits for its end.
    pub transfer_wait: Duration,
    /// How long an idle connection goes without a sign of life.
    pub keep_alive: Duration,
}

impl From<&Config> for Limits {
    fn from(config: &Config) -> Self {
        Self {
            message_bytes_max: usize::try_from(config.grpc_message_bytes_max).unwrap_or(usize::MAX),
            batch_debits_max: config.batch_debits_max,
            credit_debits: config.grpc_credit_debits,
            connections_max: config.connections_max,
            streams_max: config.grpc_streams_max,
            transfer_wait: Duration::from_millis(config.transfer_wait_ms),
            keep_alive: Duration::from_millis(config.keep_alive_ms),
        }
    }
}

/// What all calls share.
#[derive(Debug)]
pub struct State {
    pub(super) limits: Limits,
    pub(super) budget: Arc<Budget>,
    pub(super) bearers: Arc<Bearers>,
    /// Places for calls that are carried to another node; closed by a server that stops.
    pub(super) carrying: Semaphore,
    meter: OnceLock<Meter>,
    streams: Arc<Semaphore>,
    stopping: watch::Sender<bool>,
}

impl State {
    /// The state while the meter is being opened.
    #[must_use]
    pub fn new(limits: Limits, (budget, bearers): (Arc<Budget>, Arc<Bearers>)) -> Self {
        let streams = Arc::new(Semaphore::new(limits.streams_max));
        let stopping = watch::Sender::new(false);
        let carrying = Semaphore::new(CARRIED_MAX);
        Self { limits, budget, bearers, carrying, meter: OnceLock::new(), streams, stopping }
    }

    /// Serves this meter from now on.
    ///
    /// # Panics
    /// When a meter is served already.
    pub(super) fn serve(&self, meter: Meter) {
        self.meter.set(meter).expect("a server opens one meter");
    }

    /// The meter.
    ///
    /// # Errors
    /// While it is being opened.
    pub(super) fn meter(&self) -> Result<&Meter, Trouble> {
        self.meter.get().ok_or_else(Trouble::recovering)
    }

    /// A place for one more stream, held until it is dropped.
    ///
    /// # Errors
    /// When as many are open as may be.
    pub(super) fn take_stream(&self) -> Result<OwnedSemaphorePermit, Trouble> {
        let place = Arc::clone(&self.streams).try_acquire_owned();
        place.map_err(|_| Trouble::too_many_streams(self.limits.streams_max))
    }

    /// Tells every stream to end when it has answered what it read, and carries nothing on to other nodes any more.
    pub(super) fn stop(&self) {
        self.carrying.close();
        _ = self.stopping.send_replace(true);
    }

    /// Ends when the server is told to stop.
    pub(super) fn stopped(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let mut stopping = self.stopping.subscribe();
        // An error says that the state is gone, and with it the server.
        Box::pin(async move { drop(stopping.wait_for(|stop| *stop).await) })
    }
}
