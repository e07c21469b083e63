//! Notices a stream that takes nothing any more, also when no partition appends: while nothing else is kept, a message is, of a subject of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::context::Context;
use async_nats::jetstream::stream::Stream;

use crate::telemetry::clock::Monotonic;
use crate::telemetry::cluster;

use super::{Parts, Threads, told};

/// A stream that kept nothing for so long is asked to.
const ASKED_AFTER: Duration = Duration::from_secs(1);
/// A stream that kept nothing for so long is stalled.
const STALLED_AFTER: Duration = Duration::from_secs(4);
/// After so many messages all but the last are removed.
const KEPT_MAX: u32 = 60;

/// When the stream kept something.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    clock: Monotonic,
    kept_at_ns: Arc<AtomicU64>,
}

impl Watch {
    /// Asks for nothing to be kept.
    pub(super) fn idle() -> Self {
        Self { clock: Monotonic::system(), kept_at_ns: Arc::default() }
    }

    pub(super) fn start(threads: &Threads, parts: &Parts, name: &str) -> Self {
        let watch = Self::idle();
        let subject = format!("{name}.journal.watch");
        let Parts { client, context, stream, .. } = parts;
        threads.spawn(watch.clone().run(client.clone(), context.clone(), stream.clone(), subject));
        watch
    }

    /// The stream kept something.
    pub(super) fn kept(&self) {
        self.kept_at_ns.store(self.clock.now_ns(), Ordering::Relaxed);
    }

    /// For how long it has kept nothing, when that is too long.
    pub(super) fn stalled(&self) -> Option<Duration> {
        Some(self.since()).filter(|since| *since > STALLED_AFTER)
    }

    fn since(&self) -> Duration {
        let kept_at_ns = self.kept_at_ns.load(Ordering::Relaxed);
        Duration::from_nanos(self.clock.now_ns().saturating_sub(kept_at_ns))
    }

    async fn run(self, client: Client, context: Context, stream: Stream, subject: String) {
        let (mut kept, mut is_told, mut is_stalled, mut turns) = (0, false, false, 0);
        cluster::stalled(false);
        loop {
            tokio::time::sleep(ASKED_AFTER.saturating_sub(self.since()).max(ASKED_AFTER / 10)).await;
            if is_stalled != self.stalled().is_some() {
                (is_stalled, turns) = (!is_stalled, 0);
                cluster::stalled(is_stalled);
            }
            if is_stalled && self.since() > STALLED_AFTER * (turns + 1) {
                // The server that this client is at may be cut off from the other two, and another one not.
                turns += 1;
                _ = client.force_reconnect().await;
            }
            if self.since() < ASKED_AFTER {
                continue;
            }
            // An answer that was lost with its connection never comes.
            let ask = async { context.publish(subject.clone(), Vec::new().into()).await?.await };
            let sent = match tokio::time::timeout(ASKED_AFTER, ask).await {
                Ok(sent) => sent.map(drop).map_err(|error| told(&error)),
                Err(elapsed) => Err(elapsed.to_string()),
            };
            match &sent {
                Ok(()) => self.kept(),
                Err(why) if !is_told => {
                    tracing::warn!(why, since = ?self.since(), "the stream of the journals takes nothing; it is asked until it does");
                }
                Err(_) => {}
            }
            is_told = sent.is_err();
            kept += 1;
            if kept >= KEPT_MAX && stream.purge().filter(subject.clone()).keep(1).await.is_ok() {
                kept = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::clock::ns;

    #[test]
    fn a_stream_that_keeps_nothing_for_long_is_stalled_until_it_does() {
        let (clock, hand) = Monotonic::manual();
        let watch = Watch { clock, kept_at_ns: Arc::default() };
        hand.store(ns(STALLED_AFTER), Ordering::Relaxed);
        assert_eq!(watch.stalled(), None);
        hand.store(ns(2 * STALLED_AFTER), Ordering::Relaxed);
        assert_eq!(watch.stalled(), Some(2 * STALLED_AFTER));
        watch.kept();
        assert_eq!(watch.stalled(), None);
    }
}
