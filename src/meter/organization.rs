//! One organization: its debits, its cameras, its summary. Its licenses are in [`super::licenses`].

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::actors::directory::Org;
use crate::actors::engine::Engine;
use crate::actors::messages::{BatchReply, DebitReply, Durability, OwnedDebit, ReadWith, Request};
use crate::domain::batch::DebitBatch;
use crate::domain::bindings::UnlimitedLicense;
use crate::domain::command::{CameraSpec, Command};
use crate::domain::debit::Debit;
use crate::domain::ids::{ActorId, CameraId, LicenseId, Lsn, OrgId, Slot};
use crate::domain::pool::Pool;
use crate::domain::precondition::Precondition;
use crate::domain::refusal::Refusal;
use crate::domain::summary::{CameraPage, CameraView, Summary};
use crate::domain::time::Timestamp;

use super::access::{Action, Principal};
use super::audit::{Actor, Deed, witnessed};
use super::error::Error;
use super::pending::Pending;

/// The handle of an organization, with the rights of who asked for it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Organization {
    pub(super) org: Arc<Org>,
    pub(super) engine: Arc<Engine>,
    pub(super) rights: Rights,
    precondition: Option<Precondition>,
}

#[derive(Clone, Debug)]
pub(super) struct Rights {
    pub(super) actor: Actor,
    pub(super) debit: bool,
    pub(super) read: bool,
    pub(super) administer: bool,
}

impl Organization {
    pub(super) fn new(org: Arc<Org>, engine: Arc<Engine>, (who, actor): (&Principal, Actor)) -> Self {
        let rights = Rights {
            actor,
            debit: who.may(Action::Debit(&org.id)),
            read: who.may(Action::Read(&org.id)),
            administer: who.may(Action::Administer(&org.id)),
        };
        Self { org, engine, rights, precondition: None }
    }

    /// The same handle, through which cameras and rate cards are changed only while this holds. It is checked with the change: nothing comes
    /// between the two.
    #[must_use]
    pub fn provided(self, precondition: Precondition) -> Self {
        Self { precondition: Some(precondition), ..self }
    }

    /// The organization's id.
    #[must_use]
    pub fn id(&self) -> &OrgId {
        &self.org.id
    }

    /// Whether debits may be sent through this handle.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`] without the right to debit.
    pub fn check_debit(&self) -> Result<(), Error> {
        Ok(allow(self.rights.debit)?)
    }

    /// Debits one event; answers when it is durable.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`] without the right to debit, [`Refusal::Busy`] when too much is in flight, or the meter is
    /// unavailable. Every other refusal is the debit's outcome.
    pub async fn debit(&self, debit: Debit<'_>) -> Result<DebitReply, Error> {
        self.send_debit(debit, Durability::Durable)?.await
    }

    /// Debits a batch; answers when it is durable, with what became of each debit in the batch itself. The batch is
    /// taken when it is admitted and given back with the reply; keep what it was made from until it is answered.
    ///
    /// # Errors
    /// As [`Self::debit`], and when the batch is too large. A bad debit never fails its neighbours.
    pub async fn debit_batch(&self, batch: DebitBatch) -> Result<BatchReply, Error> {
        let mut batch = batch;
        self.send_batch(&mut batch, Durability::Durable)?.await
    }

    /// Sends one debit; its reply can be awaited while others are sent.
    ///
    /// # Errors
    /// As [`Self::debit`]; then nothing was sent.
    pub fn send_debit(&self, debit: Debit<'_>, durability: Durability) -> Result<Pending<DebitReply>, Error> {
        allow(self.rights.debit)?;
        let alone = self.org.admit_single()?;
        let (reply, pending) = oneshot::channel();
        self.org.submit(Request::Single { debit: OwnedDebit::from(debit), durability, reply })?;
        Ok(Pending::new(pending, &self.org.partition).alone(alone))
    }

    /// Sends a batch; its reply can be awaited while others are sent. The batch is taken when it is admitted, and left
    /// as it is otherwise.
    ///
    /// # Errors
    /// As [`Self::debit_batch`]; then nothing was sent.
    pub fn send_batch(
        &self,
        batch: &mut DebitBatch,
        durability: Durability,
    ) -> Result<Pending<BatchReply>, Error> {
        allow(self.rights.debit)?;
        batch.check_size()?;
        let permit = self.org.admit(batch.len())?;
        let (reply, pending) = oneshot::channel();
        let batch = std::mem::take(batch);
        self.org.submit(Request::Batch { batch, durability, permit, reply })?;
        Ok(Pending::new(pending, &self.org.partition))
    }

    /// Registers a camera, or changes one; the frame that holds it.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`] unless an administrator asks, or a bound is reached.
    pub async fn register_camera(&self, camera: CameraSpec) -> Result<Lsn, Error> {
        let target = camera.id.to_string();
        self.administer("register_camera", target, Command::RegisterCamera(camera)).await
    }

    /// Removes a camera: its debits are refused from then on. What was charged for it stays, and stays known.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`] unless an administrator asks, [`Refusal::UnknownCamera`].
    pub async fn remove_camera(&self, camera: CameraId) -> Result<Lsn, Error> {
        self.administer("remove_camera", camera.to_string(), Command::RemoveCamera { camera }).await
    }

    /// Binds an Unlimited AI License to a camera, or changes its terms (R9).
    ///
    /// # Errors
    /// [`Refusal::Forbidden`] unless an administrator asks, [`Refusal::UnknownCamera`], [`Refusal::LicenseInUse`], an empty
    /// validity, or a bound is reached.
    pub async fn bind_unlimited(&self, camera: CameraId, license: UnlimitedLicense) -> Result<Lsn, Error> {
        let target = format!("{camera}/{}", license.id);
        self.administer("bind_unlimited", target, Command::BindUnlimited { camera, license }).await
    }

    /// Unbinds an Unlimited AI License; the camera falls back to the pool.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`] unless an administrator asks, [`Refusal::UnknownLicense`].
    pub async fn unbind_unlimited(&self, license: LicenseId) -> Result<Lsn, Error> {
        self.administer("unbind_unlimited", license.to_string(), Command::UnbindUnlimited { license }).await
    }

    /// The AI Token Summary.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`] without the right to read.
    pub async fn summary(&self) -> Result<Summary, Error> {
        allow(self.rights.read)?;
        self.ask(|pool: &Pool, now| pool.summary(now)).await
    }

    /// A page of cameras: at most `rows` from the place `first` on.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`] without the right to read.
    pub async fn cameras(&self, first: u32, rows: usize) -> Result<CameraPage, Error> {
        allow(self.rights.read)?;
        self.ask(move |pool: &Pool, _| pool.camera_page(first, rows)).await
    }

    /// One camera.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`] without the right to read, [`Refusal::UnknownCamera`].
    pub async fn camera(&self, camera: CameraId) -> Result<CameraView, Error> {
        allow(self.rights.read)?;
        let find = move |pool: &Pool, _| pool.camera_view(pool.cameras.find(camera.as_str().as_bytes())?);
        Ok(self.ask(find).await?.ok_or(Refusal::UnknownCamera)?)
    }

    /// The slot of a camera, by which debits can name it without a look-up. It is stable for ever.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`] without the right to debit, [`Refusal::UnknownCamera`].
    pub async fn camera_slot(&self, camera: CameraId) -> Result<Slot, Error> {
        allow(self.rights.debit)?;
        let find = move |pool: &Pool, _| pool.cameras.find(camera.as_str().as_bytes());
        Ok(self.ask(find).await?.ok_or(Refusal::UnknownCamera)?)
    }

    /// The slots of many cameras, in the order of their ids; none for a camera that the organization does not have.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`] without the right to debit.
    pub async fn camera_slots(&self, cameras: Vec<CameraId>) -> Result<Vec<Option<Slot>>, Error> {
        allow(self.rights.debit)?;
        let find = move |pool: &Pool, _| {
            cameras.iter().map(|camera| pool.cameras.find(camera.as_str().as_bytes())).collect()
        };
        self.ask(find).await
    }

    /// Makes the organization's actor panic.
    #[cfg(feature = "testing")]
    pub fn panic_for_test(&self) {
        self.org.queue(Request::Panic);
    }

    /// Who acts.
    pub(super) fn by(&self) -> ActorId {
        self.rights.actor.id().clone()
    }

    /// Carries out a command of an administrator under the precondition of this handle; it is recorded.
    pub(super) async fn administer(
        &self,
        act: &'static str,
        target: impl Into<Option<String>>,
        command: Command,
    ) -> Result<Lsn, Error> {
        allow(self.rights.administer)?;
        let command = match self.precondition.clone() {
            None => command,
            Some(precondition) => Command::Provided { precondition, change: Box::new(command) },
        };
        self.witnessed(act, target, self.command(true, command)).await
    }

    /// Carries out an act that is recorded.
    pub(super) async fn witnessed<T>(
        &self,
        act: &'static str,
        target: impl Into<Option<String>>,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let deed = Deed::within(&self.org.id, act, target);
        witnessed(&self.engine, &self.rights.actor, deed, work).await
    }

    /// Carries out a command, if there is the `right` to it.
    pub(super) async fn command(&self, right: bool, command: Command) -> Result<Lsn, Error> {
        allow(right)?;
        let permit = self.org.admit(1)?;
        let (reply, pending) = oneshot::channel();
        self.org.submit(Request::Command { command, permit, reply })?;
        Ok(Pending::new(pending, &self.org.partition).await??)
    }

    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Pool, Timestamp) -> T + Send + 'static,
    ) -> Result<T, Error> {
        self.ask_of(1, question).await
    }

    /// As [`Self::ask`], where the answer is as much work as so many debits.
    pub(super) async fn ask_of<T: Send + 'static>(
        &self,
        debits: usize,
        question: impl FnOnce(&Pool, Timestamp) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let permit = self.org.admit(debits)?;
        let (reply, pending) = oneshot::channel();
        self.org.submit(Request::Read { read: Box::new(ReadWith { question, reply }), permit })?;
        Pending::new(pending, &self.org.partition).await
    }
}

pub(super) fn allow(right: bool) -> Result<(), Refusal> {
    if right { Ok(()) } else { Err(Refusal::Forbidden) }
}
