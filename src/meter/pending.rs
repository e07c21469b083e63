//! A reply that is on its way.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::actors::directory::Partition;
use crate::actors::messages::Unavailable;
use crate::telemetry::clock;

use super::error::Error;

/// A reply that is on its way: await it, or wait for it. Dropping it takes nothing back.
#[derive(Debug)]
#[must_use = "a reply tells what became of the request"]
pub struct Pending<T> {
    reply: oneshot::Receiver<Result<T, Unavailable>>,
    partition: Arc<Partition>,
    /// Nothing else of its organization was in flight when it was sent.
    alone: bool,
}

/// How long a thread watches for the reply to a lone request before it sleeps.
const WATCH: Duration = Duration::from_micros(200);

impl<T> Pending<T> {
    pub(crate) fn new(reply: oneshot::Receiver<Result<T, Unavailable>>, partition: &Arc<Partition>) -> Self {
        Self { reply, partition: Arc::clone(partition), alone: false }
    }

    pub(crate) fn alone(self, alone: bool) -> Self {
        Self { alone, ..self }
    }

    /// Blocks the thread until the reply is there.
    ///
    /// # Errors
    /// When the meter could not serve the request.
    ///
    /// # Panics
    /// When called within an asynchronous context.
    pub fn wait(mut self) -> Result<T, Error> {
        if self.alone {
            self.watch();
        }
        let partition = self.partition;
        Ok(self.reply.blocking_recv().unwrap_or_else(|_| Err(partition.lost()))?)
    }

    /// Watches for the reply for about as long as a sync takes, others going first: to be woken would take a good part
    /// of that again.
    fn watch(&mut self) {
        let begun = clock::start();
        while self.reply.is_empty() && begun.elapsed() < WATCH {
            std::thread::yield_now();
        }
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let reply = std::task::ready!(Pin::new(&mut self.reply).poll(cx));
        let reply = reply.unwrap_or_else(|_| Err(self.partition.lost()));
        Poll::Ready(reply.map_err(Error::from))
    }
}
