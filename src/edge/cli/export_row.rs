//! One line of `weir export`: a debit with its names, and how it is written as text.

use serde::{Serialize, Serializer};

use crate::domain::debit::{Charge, ChargeIdentity, Charges};
use crate::domain::ids::Lsn;
use crate::domain::pool::Pool;
use crate::domain::time::Timestamp;
use crate::edge::csv::Csv;

use super::data_key::time_text;

/// The names of the fields, in their order.
pub(super) const HEAD: [&str; 15] = [
    "organization",
    "lsn",
    "row",
    "at",
    "time",
    "network",
    "camera",
    "kind",
    "tokens",
    "outcome",
    "license",
    "balance",
    "epoch",
    "seq",
    "event_id",
];

/// A debit that was admitted.
#[derive(Debug, Serialize)]
pub(super) struct Row<'a> {
    pub(super) organization: &'a str,
    pub(super) lsn: Lsn,
    /// Its place in its frame, from 0.
    pub(super) row: u32,
    #[serde(serialize_with = "as_text")]
    pub(super) at: Timestamp,
    #[serde(serialize_with = "as_text_or_null")]
    pub(super) time: Option<Timestamp>,
    pub(super) network: &'a str,
    pub(super) camera: &'a str,
    pub(super) kind: &'static str,
    pub(super) tokens: u32,
    pub(super) outcome: &'static str,
    pub(super) license: Option<&'a str>,
    pub(super) balance: u64,
    pub(super) epoch: Option<u32>,
    pub(super) seq: Option<u64>,
    /// Its bytes as text; what is no UTF-8 is replaced.
    pub(super) event_id: Option<String>,
}

impl<'a> Row<'a> {
    /// A charge of a batch, in the pool as it was before the batch.
    pub(super) fn of(
        pool: &'a Pool,
        (lsn, row): (Lsn, u32),
        charge: &Charge,
        batch: Charges<'_>,
        balance: u64,
    ) -> Self {
        let camera = pool.cameras.get(charge.slot);
        let network = camera.and_then(|camera| pool.networks.get(usize::try_from(camera.network).ok()?));
        let bound = pool.bindings.of(charge.slot).iter().filter(|_| charge.exempt);
        let exempts = bound.filter(|license| license.exempts(charge.kind, charge.time.unwrap_or(batch.at)));
        let (epoch, seq, event_id) = match charge.identity {
            ChargeIdentity::Seq { epoch, seq } => (Some(epoch), Some(seq), None),
            ChargeIdentity::EventId { id, .. } => {
                (None, None, Some(String::from_utf8_lossy(id.of(batch.text)).into_owned()))
            }
        };
        Self {
            organization: pool.id.as_str(),
            lsn,
            row,
            at: batch.at,
            time: charge.time,
            network: network.map_or("", |network| network.name.as_str()),
            camera: camera.map_or("", |_| pool.cameras.name(charge.slot)),
            kind: charge.kind.name(),
            tokens: charge.tokens,
            outcome: if charge.exempt { "exempt" } else { "charged" },
            license: exempts.map(|license| license.id.as_str()).min(),
            balance,
            epoch,
            seq,
            event_id,
        }
    }

    /// The line of a CSV file.
    pub(super) fn csv(self) -> String {
        let line = Csv::default().field(self.organization).field(self.lsn).field(self.row);
        let line = line.field(time_text(self.at)).optional(self.time.map(time_text));
        let line = line.field(self.network).field(self.camera).field(self.kind);
        let line = line.field(self.tokens).field(self.outcome).optional(self.license).field(self.balance);
        line.optional(self.epoch).optional(self.seq).optional(self.event_id).end()
    }
}

fn as_text<S: Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    time_text(*time).serialize(to)
}

fn as_text_or_null<S: Serializer>(time: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
    time.map(time_text).serialize(to)
}
