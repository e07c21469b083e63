//! The content of a journal frame, as JSON and in words.

use serde_json::{Map, Value, json};

use crate::domain::debit::{Charge, ChargeIdentity, Charges};
use crate::domain::event::Event;
use crate::domain::ids::{OrgNumber, Slot};
use crate::domain::pool::Pool;
use crate::domain::registry::RegistryEvent;

use super::data_key::time_text;
use super::output::number;

const CAMERAS_SHOWN: usize = 8;
const HIDDEN: [&str; 2] = ["secret", "hash"];

/// Where the names of an organization and its cameras come from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names<'a> {
    /// The organization's number.
    pub(super) number: OrgNumber,
    /// Its pool; none where it could not be replayed.
    pub(super) pool: Option<&'a Pool>,
}

impl Names<'_> {
    fn organization(self) -> String {
        self.pool.map_or_else(|| format!("#{}", self.number.0), |pool| pool.id.to_string())
    }

    fn camera(self, slot: Slot) -> String {
        let known = self.pool.filter(|pool| slot.0 < pool.cameras.slots());
        known.map_or_else(|| format!("#{}", slot.0), |pool| pool.cameras.name(slot).to_owned())
    }
}

/// A frame of debits.
pub(super) fn debits(names: &Names<'_>, charges: Charges<'_>, with_rows: bool) -> Value {
    let mut slots: Vec<_> = charges.charges.iter().map(|charge| charge.slot).collect();
    slots.sort_unstable();
    slots.dedup();
    let sum = |exempt: bool| {
        let counted = charges.charges.iter().filter(|charge| charge.exempt == exempt);
        counted.map(|charge| u64::from(charge.tokens)).sum::<u64>()
    };
    let shown: Vec<_> = slots.iter().take(CAMERAS_SHOWN).map(|slot| names.camera(*slot)).collect();
    let mut value = json!({
        "organization": names.organization(), "at": time_text(charges.at), "debits": charges.charges.len(),
        "tokens_charged": sum(false), "tokens_exempt": sum(true), "cameras": slots.len(), "first_cameras": shown
    });
    if let Some(reservation) = charges.reservation {
        value["paid_by"] = json!(reservation);
    }
    if with_rows {
        value["rows"] = charges.charges.iter().map(|charge| row(*names, charge, charges.text)).collect();
    }
    value
}

/// An event of an organization.
pub(super) fn event(names: &Names<'_>, event: &Event) -> Value {
    let change = shown(serde_json::to_value(&event.change).unwrap_or_default());
    json!({ "organization": names.organization(), "at": time_text(event.at), "change": change })
}

/// An event of the registry.
pub(super) fn registry_event(event: &RegistryEvent) -> Value {
    let change = shown(serde_json::to_value(&event.change).unwrap_or_default());
    json!({ "at": time_text(event.at), "change": change })
}

/// The content in words.
pub(super) fn words(content: &Value) -> String {
    if let Some(debits) = content["debits"].as_u64() {
        let count = |name: &str| number(content[name].as_u64().unwrap_or_default());
        let mut text = format!(
            "{} debits, {} tokens charged, {} exempt, {} cameras ({})",
            number(debits),
            count("tokens_charged"),
            count("tokens_exempt"),
            count("cameras"),
            super::output::field(content, "first_cameras")
        );
        if let Some(reservation) = content["paid_by"].as_str() {
            text.push_str(&format!(", paid by reservation {reservation}"));
        }
        for row in super::output::rows(content, "rows") {
            text.push_str(&format!("\n    {row}"));
        }
        return text;
    }
    match &content["change"] {
        Value::String(name) => name.replace('_', " "),
        change => change
            .as_object()
            .and_then(|change| change.iter().next())
            .map_or_else(String::new, |(name, value)| format!("{} {value}", name.replace('_', " "))),
    }
}

fn row(names: Names<'_>, charge: &Charge, text: &[u8]) -> Value {
    let mut value = json!({
        "camera": names.camera(charge.slot), "tokens": charge.tokens, "kind": charge.kind.name(), "exempt": charge.exempt
    });
    match charge.identity {
        ChargeIdentity::Seq { epoch, seq } => {
            value["epoch"] = epoch.into();
            value["seq"] = seq.into();
        }
        ChargeIdentity::EventId { id, .. } => {
            value["event_id"] = String::from_utf8_lossy(id.of(text)).into();
        }
    }
    if let Some(time) = charge.time {
        value["time"] = time_text(time).into();
    }
    if let Some(priced) = charge.priced {
        value["priced"] = json!({ "unit": priced.unit, "count": priced.count, "rate_card": priced.version });
    }
    value
}

/// Hides what is secret.
fn shown(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let field = |(name, value): (String, Value)| {
                let hidden = HIDDEN.contains(&name.as_str());
                (name, if hidden { "(hidden)".into() } else { shown(value) })
            };
            Value::Object(fields.into_iter().map(field).collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(shown).collect()),
        other => other,
    }
}
