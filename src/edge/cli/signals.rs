//! The signals that ask a command to stop, for those that have something to put in order first.

use std::future::poll_fn;
use std::task::Poll;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::failure::Failure;

/// SIGINT, SIGTERM and SIGHUP, which end this process no longer by themselves.
#[derive(Debug)]
pub(super) struct Signals {
    runtime: Runtime,
    all: Vec<Signal>,
}

impl Signals {
    /// From now on they are caught.
    ///
    /// # Errors
    /// When they cannot be.
    pub(super) fn catch() -> Result<Self, Failure> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let all = {
            let _inside = runtime.enter();
            [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal)
        };
        Ok(Self { runtime, all: all.into_iter().collect::<Result<_, _>>()? })
    }

    /// Waits for one of them.
    pub(super) fn wait(&mut self) {
        let all = &mut self.all;
        self.runtime.block_on(poll_fn(|cx| {
            let is_told = all.iter_mut().any(|signal| signal.poll_recv(cx).is_ready());
            if is_told { Poll::Ready(()) } else { Poll::Pending }
        }));
    }
}
