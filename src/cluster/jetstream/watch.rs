//! Notices streams that take nothing any more, also when no partition appends: while nothing else is kept, a message is, of a subject of its own.

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
/// When no stream kept anything for so long, another server is turned to: the one that this client is at may be cut off from the other two.
const TURNED_AFTER: Duration = Duration::from_secs(4);
/// A stream that kept nothing for so long is stalled: longer than it has no leader when that one's server dies.
const STALLED_AFTER: Duration = Duration::from_secs(10);
/// After so many messages all but the last are removed.
const KEPT_MAX: u32 = 60;

/// When a stream kept something.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    clock: Monotonic,
    kept_at_ns: Arc<AtomicU64>,
}

/// A stream that is asked to keep something.
struct Asked {
    watch: Watch,
    stream: Stream,
    subject: String,
    /// Messages since the last purge.
    kept: u32,
    /// Whether it was told that it keeps nothing.
    is_told: bool,
}

impl Watch {
    /// Asks for nothing to be kept.
    pub(super) fn idle() -> Self {
        Self { clock: Monotonic::system(), kept_at_ns: Arc::default() }
    }

    /// Watches each stream of journals from now on.
    pub(super) fn start(threads: &Threads, parts: &Parts) -> Vec<Self> {
        let asked = |(stream, prefix): &(Stream, String)| Asked {
            watch: Self::idle(),
            stream: stream.clone(),
            subject: format!("{prefix}.watch"),
            kept: 0,
            is_told: false,
        };
        let all: Vec<_> = parts.journals.iter().map(asked).collect();
        let watches = all.iter().map(|asked| asked.watch.clone()).collect();
        threads.spawn(run(parts.client.clone(), parts.context.clone(), all));
        watches
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
}

async fn run(client: Client, context: Context, mut all: Vec<Asked>) {
    let (mut is_stalled, mut turns) = (false, 0);
    cluster::stalled(false);
    loop {
        tokio::time::sleep(ASKED_AFTER / 10).await;
        if is_stalled != all.iter().any(|asked| asked.watch.stalled().is_some()) {
            is_stalled = !is_stalled;
            cluster::stalled(is_stalled);
        }
        let least = all.iter().map(|asked| asked.watch.since()).min().unwrap_or_default();
        if least < TURNED_AFTER {
            turns = 0;
        } else if least > TURNED_AFTER * (turns + 1) {
            turns += 1;
            _ = client.force_reconnect().await;
        }
        for asked in all.iter_mut().filter(|asked| asked.watch.since() >= ASKED_AFTER) {
            asked.ask(&context).await;
        }
    }
}

impl Asked {
    async fn ask(&mut self, context: &Context) {
        // An answer that was lost with its connection never comes.
        let ask = async { context.publish(self.subject.clone(), Vec::new().into()).await?.await };
        let sent = match tokio::time::timeout(ASKED_AFTER, ask).await {
            Ok(sent) => sent.map(drop).map_err(|error| told(&error)),
            Err(elapsed) => Err(elapsed.to_string()),
        };
        match &sent {
            Ok(()) => self.watch.kept(),
            Err(why) if !self.is_told => {
                let (subject, since) = (&self.subject, self.watch.since());
                tracing::warn!(
                    why,
                    ?since,
                    subject,
                    "a stream of journals takes nothing; it is asked until it does"
                );
            }
            Err(_) => {}
        }
        self.is_told = sent.is_err();
        self.kept += 1;
        let purge = self.stream.purge().filter(self.subject.clone()).keep(1);
        if self.kept >= KEPT_MAX && purge.await.is_ok() {
            self.kept = 0;
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
