//! What the demo does when it is told to stop: at its end it stops in order; before, it leaves nothing behind that is its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam::channel::{Receiver, Sender, unbounded};

use super::demo_server::end_child;
use super::failure::Failure;
use super::signals::Signals;

/// The exit code of a program that was interrupted.
const INTERRUPTED: i32 = 130;

/// SIGINT, SIGTERM and SIGHUP, which end this process no longer by themselves.
#[derive(Debug)]
pub(super) struct StopSignals {
    told: Receiver<()>,
    is_awaited: Arc<AtomicBool>,
}

impl StopSignals {
    /// From now on a signal kills the server, removes the directory `own` and ends this process, until it is waited for.
    ///
    /// # Errors
    /// When signals cannot be waited for.
    pub(super) fn watch(own: PathBuf) -> Result<Self, Failure> {
        let signals = Signals::catch()?;
        let (sender, told) = unbounded();
        let is_awaited = Arc::new(AtomicBool::new(false));
        let watcher = Watcher { signals, own, sender, is_awaited: Arc::clone(&is_awaited) };
        std::thread::Builder::new().name("weir-signals".to_owned()).spawn(move || watcher.run())?;
        Ok(Self { told, is_awaited })
    }

    /// Waits for one of them; `when_waiting` tells people that it does.
    ///
    /// # Errors
    /// When signals cannot be waited for any more.
    pub(super) fn wait(&self, when_waiting: impl FnOnce()) -> Result<(), Failure> {
        self.is_awaited.store(true, Ordering::Release);
        when_waiting();
        self.told.recv().map_err(|_| Failure::new("signals cannot be waited for any more"))
    }
}

struct Watcher {
    signals: Signals,
    own: PathBuf,
    sender: Sender<()>,
    is_awaited: Arc<AtomicBool>,
}

impl Watcher {
    fn run(mut self) {
        loop {
            self.signals.wait();
            if !self.is_awaited.load(Ordering::Acquire) {
                self.end();
            }
            // Nobody waits any more when the demo has ended.
            _ = self.sender.send(());
        }
    }

    fn end(&self) -> ! {
        let _no_other_starts = end_child();
        let removed = std::fs::remove_dir_all(&self.own);
        let own = self.own.display();
        super::tell(&Failure::new(match removed {
            Ok(()) => format!("stopped by a signal before all was shown; {own} was removed"),
            Err(error) => {
                format!("stopped by a signal before all was shown; {own} could not be removed: {error}")
            }
        }));
        std::process::exit(INTERRUPTED)
    }
}
