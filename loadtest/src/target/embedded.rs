//! The engine in this process.

use std::borrow::Cow;
use std::collections::VecDeque;

use crossbeam::channel;
use tempfile::TempDir;
use tokenweir::meter::{
    BatchReply, CameraId, CameraRef, CameraSpec, Config, Debit, DebitBatch, DebitReply, Durability, Error,
    Identity, Meter, Name, NewOrganization, Organization, Outcome as Judged, Pending, Principal, Slot,
    Tokens, UsageKind,
};

use super::{
    EPOCH, GRANTED, JournalSums, Receiver, Scene, Sender, Sums, Target, Verdict, camera_id, network,
};
use crate::failure::Outcome;
use crate::load::Item;
use crate::process::temporary_directory;

/// Requests in flight of one connection whose replies nobody has waited for.
const WAITING_MAX: usize = 65_536;
/// Cameras that are registered at a time.
const REGISTERING_MAX: usize = 1_000;

/// Whether organizations get tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    /// More than they can use.
    Granted,
    /// None: every debit is refused.
    Empty,
}

/// A meter on a temporary directory, with the organizations of a scene.
#[derive(Debug)]
pub(crate) struct Embedded {
    /// The organizations, in order.
    pub(crate) organizations: Vec<Organization>,
    /// The meter.
    pub(crate) meter: Meter,
    /// For those who await.
    pub(crate) runtime: tokio::runtime::Runtime,
    durability: Durability,
    #[expect(dead_code, reason = "kept for its end: the directory goes with it")]
    directory: TempDir,
}

impl Embedded {
    /// Opens a meter and makes the organizations of the scene.
    pub(crate) fn new(scene: &Scene) -> Outcome<Self> {
        Self::with(scene, |config| config)
    }

    /// As [`Self::new`], with a configuration of the caller's.
    pub(crate) fn with(scene: &Scene, configure: impl FnOnce(Config) -> Config) -> Outcome<Self> {
        let directory = temporary_directory()?;
        let meter = Meter::open(configure(Config::new(directory.path())))?;
        Self::of(meter, directory, scene)
    }

    /// A meter that is there, with its directory; makes the organizations of the scene.
    pub(crate) fn of(meter: Meter, directory: TempDir, scene: &Scene) -> Outcome<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build()?;
        let mut embedded =
            Self { organizations: Vec::new(), meter, runtime, durability: scene.durability, directory };
        embedded.add(scene, Fill::Granted)?;
        Ok(embedded)
    }

    /// Makes more organizations.
    pub(crate) fn add(&mut self, scene: &Scene, fill: Fill) -> Outcome {
        let meter = &self.meter;
        let made = self.runtime.block_on(make(meter, scene, fill))?;
        self.organizations.extend(made);
        Ok(())
    }

    /// What the meter says of one organization.
    pub(crate) fn sums_of(&self, organization: &Organization) -> Outcome<Sums> {
        let summary = self.runtime.block_on(organization.summary())?;
        Ok(Sums {
            debits: summary.totals.debits_charged,
            tokens: summary.totals.used.0,
            available: summary.available.0,
            granted: summary.totals.granted.0,
        })
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.runtime.block_on(self.meter.clone().close());
    }
}

impl Target for Embedded {
    fn connect(&self) -> Outcome<(Box<dyn Sender>, Box<dyn Receiver>)> {
        let (waiting, replies) = channel::bounded(WAITING_MAX);
        let (spare, spares) = channel::bounded(64);
        let sender = EmbeddedSender {
            organizations: self.organizations.clone(),
            durability: self.durability,
            waiting,
            spares,
        };
        Ok((Box::new(sender), Box::new(EmbeddedReceiver { replies, spare })))
    }

    fn sums(&self) -> Outcome<Vec<Sums>> {
        self.organizations.iter().map(|organization| self.sums_of(organization)).collect()
    }

    fn journal(&self) -> Outcome<JournalSums> {
        let status = self.meter.status();
        Ok(JournalSums {
            groups: status.iter().map(|partition| partition.groups).sum(),
            bytes: status.iter().map(|partition| partition.bytes).sum(),
        })
    }

    fn pid(&self) -> u32 {
        std::process::id()
    }
}

enum Waiting {
    One(Pending<DebitReply>),
    Batch(Pending<BatchReply>),
    Refused(&'static str),
}

struct EmbeddedSender {
    organizations: Vec<Organization>,
    durability: Durability,
    waiting: channel::Sender<Waiting>,
    spares: channel::Receiver<DebitBatch>,
}

impl EmbeddedSender {
    fn submit(&self, organization: &Organization, items: &[Item]) -> Result<Waiting, Error> {
        if let [item] = items {
            return organization.send_debit(debit(item), self.durability).map(Waiting::One);
        }
        let mut batch = self.spares.try_recv().unwrap_or_else(|_| DebitBatch::with_capacity(items.len()));
        batch.clear();
        for item in items {
            batch.push(debit(item));
        }
        organization.send_batch(&mut batch, self.durability).map(Waiting::Batch)
    }
}

impl Sender for EmbeddedSender {
    fn send(&mut self, organization: usize, items: &[Item]) -> Outcome {
        let waiting = match self.submit(&self.organizations[organization], items) {
            Err(Error::Refused(refusal)) => Waiting::Refused(refusal.code()),
            submitted => submitted?,
        };
        self.waiting.send(waiting).map_err(|_| "nobody waits for replies any more".into())
    }
}

struct EmbeddedReceiver {
    replies: channel::Receiver<Waiting>,
    spare: channel::Sender<DebitBatch>,
}

impl Receiver for EmbeddedReceiver {
    fn receive(&mut self, debits: usize, verdicts: &mut Vec<Verdict>) -> Outcome {
        match self.replies.recv()? {
            Waiting::One(pending) => verdicts.push(verdict(pending.wait()?.outcome)),
            Waiting::Batch(pending) => {
                let reply = pending.wait()?;
                verdicts.extend(reply.batch.outcomes().iter().copied().map(verdict));
                // A full shelf keeps no more.
                drop(self.spare.try_send(reply.batch));
            }
            Waiting::Refused(code) => {
                verdicts.extend(std::iter::repeat_n(Verdict::Refused(Cow::Borrowed(code)), debits));
            }
        }
        Ok(())
    }
}

/// A debit as the engine takes it.
pub(crate) fn debit(item: &Item) -> Debit<'static> {
    Debit {
        camera: CameraRef::Slot(Slot(item.camera)),
        identity: Identity::Seq { epoch: EPOCH, seq: item.seq },
        tokens: u64::from(item.tokens),
        kind: UsageKind::ContextualVideoAnalytics,
        time: None,
    }
}

fn verdict(outcome: Judged) -> Verdict {
    match outcome {
        Judged::Charged => Verdict::Charged,
        Judged::Exempt => Verdict::Exempt,
        Judged::Duplicate(_) => Verdict::Duplicate,
        Judged::Refused(refusal) => Verdict::Refused(Cow::Borrowed(refusal.code())),
    }
}

/// Makes the organizations of a scene, with their cameras, in order.
pub(crate) async fn make(meter: &Meter, scene: &Scene, fill: Fill) -> Outcome<Vec<Organization>> {
    let mut registering = VecDeque::new();
    let mut organizations = Vec::new();
    for number in 0..scene.organizations {
        let id = scene.organization(number)?;
        let new = NewOrganization::new(id.clone(), Name::new("Load")?);
        meter.create_organization(&Principal::Host, new).await?;
        let organization = meter.organization(&Principal::Host, &id)?;
        if fill == Fill::Granted {
            organization.grant(vec![Tokens(GRANTED)]).await?;
        }
        for camera in 0..scene.cameras {
            let spec = CameraSpec {
                id: CameraId::new(&camera_id(camera))?,
                network: network(camera),
                cloud_ai: true,
                pro_license: false,
            };
            let organization = organization.clone();
            registering.push_back(tokio::spawn(async move { organization.register_camera(spec).await }));
            if registering.len() >= REGISTERING_MAX
                && let Some(oldest) = registering.pop_front()
            {
                oldest.await??;
            }
        }
        organizations.push(organization);
    }
    for registration in registering {
        registration.await??;
    }
    Ok(organizations)
}
