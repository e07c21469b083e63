//! Where replayed debits go: a server, or a meter embedded in this process.

use std::future::Future;

use serde::Serialize;
use serde_json::{Value, json};

use crate::domain::batch::DebitBatch;
use crate::domain::debit::{CameraRef, Debit, FirstOutcome, Identity, Outcome, UsageKind};
use crate::domain::ids::{CameraId, Name, OrgId, Slot};
use crate::domain::license::LicenseKey;
use crate::domain::summary::NewestSeq;
use crate::domain::time::Timestamp;
use crate::domain::tokens::Tokens;
use crate::meter::{
    CameraSpec, Config, Durability, Error, KeyId, Meter, NewOrganization, Organization, Principal, Refusal,
};

use super::cameras;
use super::client::{CallError, Client};
use super::failure::Failure;
use super::verify;

/// A row of the trace as a debit of one camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Item {
    /// The row, from 0.
    pub(super) row: u64,
    /// The camera's number, from 0.
    pub(super) camera: u32,
    /// The sequence number of the debit at its camera.
    pub(super) seq: u64,
    /// When the event happened.
    pub(super) time: Timestamp,
    /// Tokens.
    pub(super) tokens: u64,
    /// Where the row ends in the trace, in bytes.
    pub(super) end: u64,
}

/// What became of a debit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The pool was charged.
    Charged,
    /// Recorded; nothing was charged.
    Exempt,
    /// Judged before; this was the outcome.
    Duplicate(FirstOutcome),
    /// Nothing was charged.
    Refused {
        /// The stable code.
        code: String,
        /// Whether the same debit may be judged otherwise later, without any change by its sender.
        is_retryable: bool,
    },
}

/// Why a batch has no verdicts.
#[derive(Debug)]
pub(super) enum SendError {
    /// Whether it was carried out is unknown, or it may be later: send it again.
    Again(String),
    /// Sending it again changes nothing.
    Final(String),
}

/// Takes batches of debits, from several threads at once.
pub(super) trait Target: Sync {
    /// Sends a batch and waits for its verdicts, one for each item.
    ///
    /// # Errors
    /// [`SendError`].
    fn send(&self, items: &[Item]) -> Result<Vec<Verdict>, SendError>;
}

/// The names under which a trace is replayed.
#[derive(Clone, Debug)]
pub(super) struct Names {
    /// The organization.
    pub(super) organization: OrgId,
    /// What the ids of the cameras begin with.
    pub(super) camera_prefix: String,
    /// How many cameras.
    pub(super) cameras: u32,
    /// The epoch of the sequence numbers.
    pub(super) epoch: u32,
}

/// A camera as it was found; none for one that is not registered.
pub(super) type Found = Option<Option<NewestSeq>>;

impl Names {
    /// The id of camera number `n`.
    pub(super) fn camera(&self, n: u32) -> String {
        format!("{}{n}", self.camera_prefix)
    }

    /// The number of the camera with this id.
    fn number(&self, id: &str) -> Option<u32> {
        let digits = id.strip_prefix(&self.camera_prefix)?;
        let number = digits.parse().ok().filter(|number| *number < self.cameras)?;
        (self.camera(number) == id).then_some(number)
    }

    fn none_found(&self) -> Vec<Found> {
        vec![None; usize::try_from(self.cameras).unwrap_or(usize::MAX)]
    }
}

/// A server.
#[derive(Debug)]
pub(super) struct ServerTarget {
    client: Client,
    names: Names,
}

#[derive(Serialize)]
struct DebitBody {
    camera: String,
    epoch: u32,
    seq: u64,
    tokens: u64,
    time: u64,
}

impl ServerTarget {
    /// Sends with this client.
    pub(super) fn new(client: Client, names: Names) -> Self {
        Self { client, names }
    }

    /// What each camera was charged for last.
    ///
    /// # Errors
    /// When the server does not tell.
    pub(super) fn find_cameras(&self) -> Result<Vec<Found>, Failure> {
        let mut found = self.names.none_found();
        cameras::for_each(&self.client, &self.names.organization, |camera| {
            let number = camera["id"].as_str().and_then(|id| self.names.number(id));
            if let Some(place) = number.and_then(|number| usize::try_from(number).ok()) {
                found[place] = Some(newest(&camera["newest"]));
            }
        })?;
        Ok(found)
    }

    /// Registers the cameras with these numbers, in the name of `admin`.
    ///
    /// # Errors
    /// When the server refuses one.
    pub(super) fn register(&self, admin: &Client, numbers: &[u32], network: &Name) -> Result<(), Failure> {
        let body = json!({ "network": network, "cloud_ai": true });
        for number in numbers {
            let (organization, camera) = (&self.names.organization, self.names.camera(*number));
            admin.put(&format!("/v1/organizations/{organization}/cameras/{camera}"), &body)?;
        }
        Ok(())
    }
}

impl Target for ServerTarget {
    fn send(&self, items: &[Item]) -> Result<Vec<Verdict>, SendError> {
        let body = |item: &Item| DebitBody {
            camera: self.names.camera(item.camera),
            epoch: self.names.epoch,
            seq: item.seq,
            tokens: item.tokens,
            time: item.time.ms(),
        };
        let bodies: Vec<_> = items.iter().map(body).collect();
        let path = format!("/v1/organizations/{}/debits", self.names.organization);
        let answer = self.client.post(&path, &bodies).map_err(|error| match error {
            CallError::Problem(problem) if !problem.is_retryable() => {
                SendError::Final(CallError::Problem(problem).to_string())
            }
            other => SendError::Again(other.to_string()),
        })?;
        let results = answer["results"].as_array().filter(|results| results.len() == items.len());
        let verdicts = results.and_then(|results| results.iter().map(verdict).collect());
        verdicts.ok_or_else(|| {
            SendError::Final("the server's answer is not one result for each debit".to_owned())
        })
    }
}

fn newest(value: &Value) -> Option<NewestSeq> {
    let epoch = value["epoch"].as_u64().and_then(|epoch| u32::try_from(epoch).ok());
    Some(NewestSeq { epoch: epoch?, seq: value["seq"].as_u64()? })
}

fn verdict(result: &Value) -> Option<Verdict> {
    match result["outcome"].as_str()? {
        "charged" => Some(Verdict::Charged),
        "exempt" => Some(Verdict::Exempt),
        "duplicate" => match result["first"].as_str()? {
            "charged" => Some(Verdict::Duplicate(FirstOutcome::Charged)),
            "exempt" => Some(Verdict::Duplicate(FirstOutcome::Exempt)),
            _ => None,
        },
        "refused" => {
            let code = result["code"].as_str()?;
            let is_retryable =
                [Refusal::Busy, Refusal::InTransfer].iter().any(|refusal| refusal.code() == code);
            Some(Verdict::Refused { code: code.to_owned(), is_retryable })
        }
        _ => None,
    }
}

/// A meter in this process, on a data directory of its own.
pub(super) struct EmbeddedTarget {
    meter: Meter,
    organization: Organization,
    slots: Vec<Slot>,
    names: Names,
}

impl EmbeddedTarget {
    /// Opens the data directory, and makes what is to be made in it: the organization, a license of `grant` tokens.
    ///
    /// # Errors
    /// When the directory cannot be opened or the organization is missing.
    pub(super) fn open(directory: &std::path::Path, names: Names, setup: Setup) -> Result<Self, Failure> {
        if setup == Setup::Expect {
            verify::expect_directory(directory)?;
        }
        let meter = Meter::open(Config::new(directory)).map_err(|fault| Failure::usage(fault.to_string()))?;
        let id = &names.organization;
        if setup == Setup::Make {
            let new = NewOrganization::new(id.clone(), Name::new(id.as_str())?);
            match wait(meter.create_organization(&Principal::Host, new)) {
                Ok(_) | Err(Error::Refused(Refusal::OrganizationExists)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let organization = meter.organization(&Principal::Host, id)?;
        Ok(Self { meter, organization, slots: Vec::new(), names })
    }

    /// Adds a license of `tokens`. Adding the same again changes nothing.
    ///
    /// # Errors
    /// When another grant was added before.
    pub(super) fn grant(&self, tokens: u64) -> Result<(), Failure> {
        let key = KeyId::new(&format!("replay-grant-{}", self.names.organization))
            .or_else(|_| KeyId::new("replay-grant"))?;
        wait(self.organization.add_licenses(LicenseKey { id: key, grants: vec![Tokens(tokens)] }))?;
        Ok(())
    }

    /// What each camera was charged for last.
    ///
    /// # Errors
    /// When the meter does not tell.
    pub(super) fn find_cameras(&self) -> Result<Vec<Found>, Failure> {
        let mut found = self.names.none_found();
        let mut first = Some(0);
        while let Some(from) = first {
            let page = wait(self.organization.cameras(from, 1_000))?;
            for camera in page.cameras {
                let number = self.names.number(&camera.id);
                if let Some(place) = number.and_then(|number| usize::try_from(number).ok()) {
                    found[place] = Some(camera.newest);
                }
            }
            first = page.next;
        }
        Ok(found)
    }

    /// Registers the cameras with these numbers.
    ///
    /// # Errors
    /// When the meter refuses one.
    pub(super) fn register(&self, numbers: &[u32], network: &Name) -> Result<(), Failure> {
        for number in numbers {
            let camera = CameraId::new(&self.names.camera(*number))?;
            let spec =
                CameraSpec { id: camera, network: network.clone(), cloud_ai: true, pro_license: false };
            wait(self.organization.register_camera(spec))?;
        }
        Ok(())
    }

    /// Looks the cameras up once, so that no debit has to.
    ///
    /// # Errors
    /// When one is missing.
    pub(super) fn bind_slots(&mut self) -> Result<(), Failure> {
        for number in 0..self.names.cameras {
            let camera = CameraId::new(&self.names.camera(number))?;
            self.slots.push(wait(self.organization.camera_slot(camera))?);
        }
        Ok(())
    }

    /// Closes the meter in order.
    pub(super) fn close(self) {
        drop(self.organization);
        wait(self.meter.close());
    }

    fn debit(&self, item: &Item) -> Debit<'static> {
        let slot = usize::try_from(item.camera).ok().and_then(|camera| self.slots.get(camera));
        Debit {
            camera: CameraRef::Slot(*slot.expect("every camera was looked up")),
            identity: Identity::Seq { epoch: self.names.epoch, seq: item.seq },
            tokens: item.tokens,
            kind: UsageKind::ContextualVideoAnalytics,
            time: Some(item.time),
        }
    }
}

impl Target for EmbeddedTarget {
    fn send(&self, items: &[Item]) -> Result<Vec<Verdict>, SendError> {
        let mut batch = DebitBatch::with_capacity(items.len());
        items.iter().for_each(|item| batch.push(self.debit(item)));
        let sent = self.organization.send_batch(&mut batch, Durability::Durable);
        let reply = sent.and_then(crate::meter::Pending::wait).map_err(|error| match error {
            Error::Unavailable(crate::meter::Unavailable::Rebuilding) => SendError::Again(error.to_string()),
            Error::Refused(refusal) if refusal.is_retryable() => SendError::Again(error.to_string()),
            other => SendError::Final(other.to_string()),
        })?;
        Ok(reply.batch.outcomes().iter().map(|outcome| verdict_of(*outcome)).collect())
    }
}

/// Whether what is missing is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Setup {
    /// The organization must be there.
    Expect,
    /// It is made when it is not.
    Make,
}

fn verdict_of(outcome: Outcome) -> Verdict {
    match outcome {
        Outcome::Charged => Verdict::Charged,
        Outcome::Exempt => Verdict::Exempt,
        Outcome::Duplicate(first) => Verdict::Duplicate(first),
        Outcome::Refused(refusal) => {
            Verdict::Refused { code: refusal.code().to_owned(), is_retryable: refusal.is_retryable() }
        }
    }
}

/// Waits for what needs no reactor: the meter runs on threads of its own.
pub(super) fn wait<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without drivers");
    runtime.block_on(future)
}
