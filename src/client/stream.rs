//! The handle of a stream of debits.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::domain::debit::CameraRef;
use crate::domain::ids::{ReservationId, Slot};

use super::answer::Sent;
use super::batch::Chargeable;
use super::core::Core;
use super::error::Error;
use super::{Client, pump};

/// A stream of debits of one organization. Cheap to clone; the last clone that is dropped ends it, and whoever still waits
/// gets [`Error::Closed`].
#[derive(Clone)]
pub struct DebitStream(Arc<Owner>);

/// By how much a stream lags behind what it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lag {
    /// Debits that are not acknowledged yet.
    pub unacknowledged: usize,
    /// How long the oldest of them has waited.
    pub oldest: Option<Duration>,
    /// Whether the server is reached.
    pub is_connected: bool,
    /// How often it was tried to connect again.
    pub reconnects: u64,
}

/// What the handles and the task share.
pub(super) struct Shared {
    core: Mutex<Core>,
    change: Notify,
}

/// What the handles share; its end is the end of the stream.
struct Owner(Arc<Shared>);

impl DebitStream {
    pub(super) fn start(client: Client, organization: &str) -> Self {
        let core = Mutex::new(Core::new(&client.config, organization));
        let shared = Arc::new(Shared { core, change: Notify::new() });
        tokio::spawn(pump::run(client, Arc::clone(&shared)));
        Self(Arc::new(Owner(shared)))
    }

    /// A short name of a camera on this stream, which saves looking its id up at every debit.
    ///
    /// # Errors
    /// When it is no id of a camera, or more cameras are named than an organization can have.
    pub fn camera(&self, id: &str) -> Result<CameraRef<'static>, Error> {
        Ok(CameraRef::Slot(Slot(self.shared().lock().camera(id)?)))
    }

    /// Takes a debit, when there is room in the window; the future tells what became of it. It need not be awaited. The
    /// identity names the event: it is sent again under it when a connection breaks.
    ///
    /// A camera is named by its id, or by what [`Self::camera`] gave. A [`Measured`](super::Measured) event is taken as well: what the
    /// organization's rate card prices it at is charged.
    ///
    /// # Errors
    /// [`Error::Full`] when the window is full, [`Error::Invalid`] when it cannot be sent, or how the stream ended.
    pub fn try_send<'a>(&self, asked: impl Into<Chargeable<'a>>) -> Result<Sent, Error> {
        self.shared().lock().push(&asked.into(), None)
    }

    /// Takes a debit that this reservation pays, when there is room in the window. Debits travel in batches with one payer
    /// each: gather those of one reservation, because every change of the payer begins another batch.
    ///
    /// # Errors
    /// As [`Self::try_send`].
    pub fn try_settle<'a>(
        &self,
        asked: impl Into<Chargeable<'a>>,
        reservation: &ReservationId,
    ) -> Result<Sent, Error> {
        self.shared().lock().push(&asked.into(), Some(reservation))
    }

    /// Takes a debit, and waits for room in the window before.
    ///
    /// # Errors
    /// As [`Self::try_send`], but never that the window is full.
    pub async fn send<'a>(&self, asked: impl Into<Chargeable<'a>>) -> Result<Sent, Error> {
        let asked = asked.into();
        self.wait_for_room(|| self.try_send(asked)).await
    }

    /// Takes a debit that this reservation pays, and waits for room in the window before.
    ///
    /// # Errors
    /// As [`Self::try_settle`], but never that the window is full.
    pub async fn settle<'a>(
        &self,
        asked: impl Into<Chargeable<'a>>,
        reservation: &ReservationId,
    ) -> Result<Sent, Error> {
        let asked = asked.into();
        self.wait_for_room(|| self.try_settle(asked, reservation)).await
    }

    /// Sends what there is at once, and waits until all that was taken is acknowledged.
    ///
    /// # Errors
    /// How the stream ended, if it did before.
    pub async fn flush(&self) -> Result<(), Error> {
        self.shared().lock().hurry();
        loop {
            let changed = self.shared().change.notified();
            {
                let core = self.shared().lock();
                if let Some(fate) = core.fate() {
                    return Err(fate.clone());
                }
                if core.held() == 0 {
                    return Ok(());
                }
            }
            changed.await;
        }
    }

    /// Flushes, then ends the stream, for all its handles.
    ///
    /// # Errors
    /// As [`Self::flush`].
    pub async fn close(self) -> Result<(), Error> {
        let flushed = self.flush().await;
        self.0.0.end();
        flushed
    }

    /// The id of a camera that [`Self::camera`] named.
    pub(super) fn camera_id(&self, camera: u32) -> String {
        self.shared().lock().camera_id(camera).to_owned()
    }

    /// By how much it lags behind.
    #[must_use]
    pub fn lag(&self) -> Lag {
        self.shared().lock().lag()
    }

    async fn wait_for_room(&self, take: impl Fn() -> Result<Sent, Error>) -> Result<Sent, Error> {
        loop {
            let changed = self.shared().change.notified();
            match take() {
                Err(Error::Full) => changed.await,
                taken => return taken,
            }
        }
    }

    fn shared(&self) -> &Shared {
        &self.0.0
    }
}

impl fmt::Debug for DebitStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DebitStream").field(&self.lag()).finish()
    }
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells those who wait for room, or for the end, to look again.
    pub(super) fn changed(&self) {
        self.change.notify_waiters();
    }

    /// Ends when the stream has ended for good.
    pub(super) async fn ended(&self) {
        loop {
            let changed = self.change.notified();
            if self.lock().fate().is_some() {
                return;
            }
            changed.await;
        }
    }

    fn end(&self) {
        self.lock().end(Error::Closed);
        self.changed();
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.end();
    }
}
