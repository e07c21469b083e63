//! The signals that stop the server, or have it read files again.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::Config;

/// SIGTERM and SIGINT, as they come.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on the signals no longer end the process by themselves.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next signal.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// SIGHUP, as it comes, where there is something to reload.
#[derive(Debug)]
pub(super) struct Reloads(Option<Signal>);

impl Reloads {
    /// From now on the signal no longer ends the process by itself, unless there is nothing to reload.
    pub(super) fn new(config: &Config) -> io::Result<Self> {
        let files = [&config.license_issuers, &config.token_issuers];
        let any = config.tls.is_some() || files.iter().any(|file| file.is_some());
        Ok(Self(any.then(|| signal(SignalKind::hangup())).transpose()?))
    }

    /// Waits for the next signal.
    pub(super) async fn next(&mut self) {
        match &mut self.0 {
            Some(hangup) => _ = hangup.recv().await,
            None => std::future::pending().await,
        }
    }
}
