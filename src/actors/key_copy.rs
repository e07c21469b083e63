//! The thread that keeps a node's copy of the API keys up to date, and that of a deposed owner of partition 0.
//!
//! It asks the owner of partition 0 when the node starts and every second from then on. Where that is this node, the answer waits for the log's
//! word like every other, so that who was deposed without knowing learns it.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{RecvTimeoutError, Sender, bounded};

use super::directory::Directory;

/// How often the keys are asked for.
const PERIOD: Duration = Duration::from_secs(1);

/// The thread; it ends when this is dropped.
pub(crate) struct KeyCopy {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl KeyCopy {
    /// Starts the thread.
    pub(crate) fn start(directory: Arc<Directory>) -> std::io::Result<Self> {
        let (stop, stopped) = bounded(1);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let run = move || {
            let mut known = None;
            loop {
                known = runtime.block_on(directory.copy_api_keys(known)).ok().or(known);
                if stopped.recv_timeout(PERIOD) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("weir-keys".to_owned()).spawn(run)?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for KeyCopy {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}
