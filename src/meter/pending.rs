//! A reply that is on its way.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use crate::actors::directory::Partition;
use crate::actors::messages::Unavailable;

use super::error::Error;

/// A reply that is on its way: await it, or wait for it. Dropping it takes nothing back.
#[derive(Debug)]
#[must_use = "a reply tells what became of the request"]
pub struct Pending<T> {
    reply: oneshot::Receiver<Result<T, Unavailable>>,
    partition: Arc<Partition>,
}

impl<T> Pending<T> {
    pub(crate) fn new(reply: oneshot::Receiver<Result<T, Unavailable>>, partition: &Arc<Partition>) -> Self {
        Self { reply, partition: Arc::clone(partition) }
    }

    /// Blocks the thread until the reply is there.
    ///
    /// # Errors
    /// When the meter could not serve the request.
    ///
    /// # Panics
    /// When called within an asynchronous context.
    pub fn wait(self) -> Result<T, Error> {
        let lost = Self::lost(&self.partition);
        Ok(self.reply.blocking_recv().unwrap_or(Err(lost))?)
    }

    /// The reply's sender went away without a word: the partition stopped, the meter is closing, or the organization
    /// panicked.
    fn lost(partition: &Partition) -> Unavailable {
        partition.check_open().err().unwrap_or(Unavailable::Rebuilding)
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let reply = std::task::ready!(Pin::new(&mut self.reply).poll(cx));
        let reply = reply.unwrap_or_else(|_| Err(Self::lost(&self.partition)));
        Poll::Ready(reply.map_err(Error::from))
    }
}
