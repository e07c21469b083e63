//! Sends what sources give to a target, and notes what comes back, and when.
//!
//! Each producer is two threads: one sends, one receives. In an open loop a request has a time at which it is to be
//! sent, and its latency counts from there, however late the sender is: a target that stalls is charged for every request that
//! it kept waiting. In a closed loop a request is sent when one of the window has come back, and its latency counts from
//! its sending.

mod tally;

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam::channel;
use tokenweir::telemetry::clock;

use crate::failure::Outcome;
use crate::load::{Item, Source};
use crate::number::{nanos, u64_of};
use crate::target::{Receiver, Sender, Target};

pub(crate) use tally::{Acknowledged, Tally};

/// Requests of one producer that may wait for their replies in an open loop: a bound on memory, not on the load.
const OPEN_WINDOW: usize = 65_536;
/// How late a timer may wake a sender, in nanoseconds: the system's own choice of 50 us would be a good part of a latency. A sender never
/// watches the clock instead, for it would take the processor from what it measures.
const TIMER_SLACK: Option<NonZeroU64> = NonZeroU64::new(1);

/// How requests follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loop {
    /// At the times that the source gives.
    Open,
    /// As fast as it goes, with so many requests of a producer in flight, for so long.
    Closed { window: usize, length: Duration },
}

/// What a run shows while it runs.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Debits that were answered.
    pub(crate) answered: AtomicU64,
}

/// A request on its way.
struct OnItsWay {
    /// Nanoseconds since the start from which its latency counts.
    since: u64,
    organization: usize,
    items: Vec<Item>,
}

/// Drives the target with every source at once; returns when everything sent is answered.
pub(crate) fn drive(
    target: &dyn Target,
    sources: Vec<Box<dyn Source>>,
    how: Loop,
    progress: &Progress,
) -> Outcome<Tally> {
    let mut connections = Vec::new();
    for source in sources {
        connections.push((source, target.connect()?));
    }
    let begun = clock::start();
    let tallies = std::thread::scope(|scope| {
        let mut receivers = Vec::new();
        for (source, (sender, receiver)) in connections {
            let window = match how {
                Loop::Open => OPEN_WINDOW,
                Loop::Closed { window, .. } => window,
            };
            let (sent, to_receive) = channel::bounded(window);
            let (spare, spares) = channel::bounded(window);
            if matches!(how, Loop::Closed { .. }) {
                // What was sent comes back as room for the next: that keeps the window.
                for _ in 0..window {
                    spare.send(Vec::new())?;
                }
            }
            let sending = scope.spawn(move || produce(source, sender, how, begun, &sent, &spares));
            let receiving = scope.spawn(move || collect(receiver, begun, &to_receive, &spare, progress));
            receivers.push((sending, receiving));
        }
        let joined = receivers.into_iter().map(|(sending, receiving)| {
            let received = receiving.join().expect("the receiver does not panic");
            let sent = sending.join().expect("the sender does not panic");
            // What the receiver met comes first: it is why the sender could not go on.
            received.and_then(|tally| sent.map(|()| tally))
        });
        joined.collect::<Outcome<Vec<_>>>()
    })?;
    let mut all = Tally::default();
    for tally in &tallies {
        all.merge(tally);
    }
    all.took = begun.elapsed();
    Ok(all)
}

fn produce(
    mut source: Box<dyn Source>,
    mut sender: Box<dyn Sender>,
    how: Loop,
    begun: Instant,
    sent: &channel::Sender<OnItsWay>,
    spares: &channel::Receiver<Vec<Item>>,
) -> Outcome {
    wake_in_time();
    loop {
        let mut items = match how {
            Loop::Open => spares.try_recv().unwrap_or_default(),
            Loop::Closed { .. } => {
                let Ok(items) = spares.recv() else { return Ok(()) };
                items
            }
        };
        items.clear();
        let Some(arrival) = source.next(&mut items) else { return Ok(()) };
        let since = match how {
            Loop::Open => {
                wait_until(begun, arrival.at);
                arrival.at
            }
            Loop::Closed { length, .. } => {
                let now = begun.elapsed();
                if now >= length {
                    return Ok(());
                }
                now
            }
        };
        sender.send(arrival.organization, &items)?;
        let on_its_way = OnItsWay { since: nanos(since), organization: arrival.organization, items };
        if sent.send(on_its_way).is_err() {
            return Ok(());
        }
    }
}

/// Lets the timers of this thread wake it in time. Where that is not allowed latencies, which count from the time that was due, are longer.
pub(crate) fn wake_in_time() {
    _ = rustix::thread::set_current_timer_slack(TIMER_SLACK);
}

fn collect(
    mut receiver: Box<dyn Receiver>,
    begun: Instant,
    to_receive: &channel::Receiver<OnItsWay>,
    spare: &channel::Sender<Vec<Item>>,
    progress: &Progress,
) -> Outcome<Tally> {
    let (mut tally, mut verdicts) = (Tally::default(), Vec::new());
    for request in to_receive {
        verdicts.clear();
        receiver.receive(request.items.len(), &mut verdicts)?;
        tally.note(nanos(begun.elapsed()).saturating_sub(request.since));
        tally.count(request.organization, &request.items, &verdicts);
        progress.answered.fetch_add(u64_of(verdicts.len()), Ordering::Relaxed);
        // A full shelf keeps no more.
        drop(spare.try_send(request.items));
    }
    Ok(tally)
}

/// Sleeps until then.
pub(crate) fn wait_until(begun: Instant, at: Duration) {
    while let Some(left) = at.checked_sub(begun.elapsed()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
}
