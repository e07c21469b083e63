//! Where load goes: the seam between the drivers and the edges.
//!
//! A target gives connections; a connection is a sender and a receiver, each used by one thread, and its replies come in the
//! order of its requests. Another edge is another implementation of these three traits.

mod debit_stream;
mod embedded;
mod grpc;
mod http;
mod wire;

use std::borrow::Cow;

use serde::Serialize;
use tokenweir::meter::{Durability, Name, OrgId};

pub(crate) use debit_stream::{DebitStream, Names, columns, word};
pub(crate) use embedded::{Embedded, Fill, debit, make};
pub(crate) use grpc::Grpc;
pub(crate) use http::{Http, HttpPlan, Server, start_server, start_server_with, write_body};
pub(crate) use wire::{Wire, head};

use crate::failure::Outcome;
use crate::load::Item;

/// Tokens granted to each organization: more than any run can use.
pub(crate) const GRANTED: u64 = 9_000_000_000_000;
/// The epoch of all sequence numbers.
pub(crate) const EPOCH: u32 = 1;

/// What became of a debit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The pool was charged.
    Charged,
    /// Recorded, not charged.
    Exempt,
    /// Charged before.
    Duplicate,
    /// Not charged, for the reason of this code.
    Refused(Cow<'static, str>),
}

/// What a target says of an organization.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Sums {
    /// Debits charged.
    pub(crate) debits: u64,
    /// Tokens charged.
    pub(crate) tokens: u64,
    /// Tokens left.
    pub(crate) available: u64,
    /// Tokens granted.
    pub(crate) granted: u64,
}

/// What a target has made durable since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct JournalSums {
    /// Groups, each by one sync.
    pub(crate) groups: u64,
    /// Bytes.
    pub(crate) bytes: u64,
}

/// Something that is driven.
pub(crate) trait Target: Sync {
    /// A way in, for one producer.
    fn connect(&self) -> Outcome<(Box<dyn Sender>, Box<dyn Receiver>)>;

    /// What it says of each organization.
    fn sums(&self) -> Outcome<Vec<Sums>>;

    /// What it has made durable.
    fn journal(&self) -> Outcome<JournalSums>;

    /// The process that does the work.
    fn pid(&self) -> u32;
}

/// The way in of a connection.
pub(crate) trait Sender: Send {
    /// Sends one request; returns when it is on its way.
    fn send(&mut self, organization: usize, items: &[Item]) -> Outcome;
}

/// The way out of a connection.
pub(crate) trait Receiver: Send {
    /// Waits for the next reply, to a request of `debits`, and appends its verdicts, one for each.
    fn receive(&mut self, debits: usize, verdicts: &mut Vec<Verdict>) -> Outcome;
}

/// The organizations of a run.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    /// What their ids begin with.
    pub(crate) prefix: String,
    /// How many.
    pub(crate) organizations: usize,
    /// Cameras of each.
    pub(crate) cameras: u64,
    /// When their debits are acknowledged.
    pub(crate) durability: Durability,
}

impl Scene {
    /// The id of organization `number`.
    pub(crate) fn organization(&self, number: usize) -> Outcome<OrgId> {
        Ok(OrgId::new(&format!("{}-{number}", self.prefix))?)
    }
}

/// The id of camera `number`.
pub(crate) fn camera_id(number: u64) -> String {
    format!("cam-{number:06}")
}

/// The network of camera `number`.
pub(crate) fn network(number: u64) -> Name {
    Name::new(&format!("net-{}", number % 16)).expect("a short name")
}
