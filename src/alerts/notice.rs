//! What there is to tell: one thing that happened to an organization, and the message that is sent of it.
//!
//! A message is made once, when it happens, and kept: every attempt to deliver it sends the same bytes under the same id. The id
//! follows from the place in the journal, so that the same thing has the same id whoever finds it, and however often.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::domain::alerts::{Measure, Threshold, Topic};
use crate::domain::hex::Hex;
use crate::domain::ids::{AlertId, KeyId, Lsn, OrgId, ReservationId, TransferId};
use crate::domain::time::Timestamp;
use crate::storage::Followed;

/// How many reservations that expired at once a message names.
const NAMED_MAX: usize = 100;

/// One thing to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Notice {
    /// The frame after which it was so.
    pub(super) lsn: Lsn,
    pub(super) at: Timestamp,
    /// What the pool could pay then.
    pub(super) available: u64,
    pub(super) details: Details,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Details {
    /// A threshold fired.
    Fired { threshold: Threshold, value: u64 },
    /// Licenses were added.
    LicenseAdded { key: KeyId, licenses: usize, tokens: u64 },
    /// A transfer ended.
    Transfer { transfer: TransferId, other: OrgId, tokens: u64, is_out: bool, is_aborted: bool },
    /// Reservations expired.
    Expired(Vec<Expired>),
    /// The pool can pay nothing.
    Exhausted { held: u64 },
}

/// A reservation that expired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Expired {
    pub(super) id: ReservationId,
    pub(super) unused: u64,
}

impl Details {
    /// What a webhook wants to be called for, to hear of it.
    pub(super) fn topic(&self) -> Topic {
        match self {
            Self::Fired { .. } => Topic::AlertFired,
            Self::LicenseAdded { .. } => Topic::LicenseAdded,
            Self::Transfer { .. } => Topic::TransferFinished,
            Self::Expired(_) => Topic::ReservationExpired,
            Self::Exhausted { .. } => Topic::OrganizationExhausted,
        }
    }

    fn data(&self) -> Value {
        match self {
            Self::Fired { threshold: Threshold { id, measure, at, rearm, window_ms }, value } => json!({
                "alert": id, "measure": measure, "at": at, "rearm": rearm, "window_ms": window_ms, "value": value,
                "source": if *measure == Measure::Refusals { "live" } else { "journal" },
            }),
            Self::LicenseAdded { key, licenses, tokens } => {
                json!({"license_key": key, "licenses": licenses, "tokens": tokens})
            }
            Self::Transfer { transfer, other, tokens, is_out, is_aborted } => json!({
                "transfer": transfer, "other": other, "tokens": tokens,
                "direction": if *is_out { "out" } else { "in" },
                "state": if *is_aborted { "aborted" } else { "finished" },
            }),
            Self::Expired(expired) => {
                let one = |one: &Expired| json!({"id": one.id, "unused": one.unused});
                let named: Vec<_> = expired.iter().take(NAMED_MAX).map(one).collect();
                json!({"count": expired.len(), "reservations": named})
            }
            Self::Exhausted { held } => json!({"held": held}),
        }
    }
}

impl Notice {
    /// The threshold that fired, if that is what happened.
    pub(super) fn alert(&self) -> Option<&AlertId> {
        match &self.details {
            Details::Fired { threshold, .. } => Some(&threshold.id),
            _ => None,
        }
    }

    /// The id of its message.
    pub(super) fn id(&self, followed: &Followed, organization: &OrgId) -> String {
        let mut hash = Sha256::new();
        hash.update(followed.directory.0);
        hash.update(followed.partition().to_le_bytes());
        hash.update(self.lsn.0.to_le_bytes());
        hash.update(self.at.ms().to_le_bytes());
        let alert = self.alert().map_or("", AlertId::as_str);
        for text in [organization.as_str(), self.details.topic().name(), alert] {
            hash.update(text.as_bytes());
            hash.update([0xff]); // no id has this byte
        }
        format!("msg_{}", Hex(&hash.finalize()[..16]))
    }

    /// Its message: type, time and data, as Standard Webhooks has them.
    pub(super) fn message(&self, followed: &Followed, organization: &OrgId) -> String {
        let mut data = self.details.data();
        data["organization"] = json!(organization);
        data["available"] = json!(self.available);
        data["partition"] = json!(followed.partition());
        data["lsn"] = json!(self.lsn);
        let (topic, at) = (self.details.topic().name(), time_text(self.at));
        json!({"type": topic, "timestamp": at, "data": data}).to_string()
    }
}

/// A time as messages have it: RFC 3339 in UTC with milliseconds.
fn time_text(at: Timestamp) -> String {
    let ms = i64::try_from(at.ms()).unwrap_or(i64::MAX);
    format!("{:.3}", jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX))
}
