//! API keys of a stopped data directory, by its owner.
//!
//! The directory is opened as a server would open it, so a running server keeps this out by its lock, and what is made here
//! is journaled like anything else.

use std::path::Path;

use serde_json::{Value, json};

use crate::domain::ids::ActorId;
use crate::domain::time::Timestamp;
use crate::meter::{Config, Meter, NewApiKey, Principal};

use super::failure::Failure;
use super::keys::CreateArgs;
use super::replay_target::wait;
use super::verify;

/// Makes a key.
///
/// # Errors
/// When the directory cannot be opened, or the key's role and organizations do not fit.
pub(super) fn create(directory: &Path, args: &CreateArgs) -> Result<Value, Failure> {
    with_meter(directory, |meter| {
        let (label, role, organizations) = (args.label.clone(), args.role.into(), args.organizations.clone());
        let new = NewApiKey { label, role, organizations };
        let (id, key) = wait(meter.create_api_key(&Principal::Host, new))?;
        Ok(json!({
            "id": id, "key": key, "label": args.label, "role": crate::domain::registry::Role::from(args.role),
            "organizations": args.organizations
        }))
    })
}

/// Lists all keys.
///
/// # Errors
/// When the directory cannot be opened.
pub(super) fn list(directory: &Path) -> Result<Value, Failure> {
    with_meter(directory, |meter| {
        let keys = meter.api_keys(&Principal::Host)?;
        let view = |key: &crate::meter::ApiKeyView| {
            json!({
                "id": key.id, "label": key.label, "role": key.role, "organizations": key.organizations, "by": key.by,
                "created_at": time_text(key.created_at), "revoked_at": key.revoked_at.map(time_text)
            })
        };
        Ok(json!({ "keys": keys.iter().map(view).collect::<Vec<_>>() }))
    })
}

/// Revokes a key.
///
/// # Errors
/// When the directory cannot be opened, or has no such key.
pub(super) fn revoke(directory: &Path, id: &ActorId) -> Result<Value, Failure> {
    with_meter(directory, |meter| {
        wait(meter.revoke_api_key(&Principal::Host, id.clone()))?;
        Ok(Value::Null)
    })
}

/// A time as RFC 3339 in UTC with milliseconds.
pub(super) fn time_text(time: Timestamp) -> String {
    let ms = i64::try_from(time.ms()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| time.ms().to_string(), |time| format!("{time:.3}"))
}

fn with_meter(
    directory: &Path,
    work: impl FnOnce(&Meter) -> Result<Value, Failure>,
) -> Result<Value, Failure> {
    verify::expect_directory(directory)?;
    let meter = Meter::open(Config::new(directory)).map_err(|fault| Failure::usage(fault.to_string()))?;
    let done = work(&meter);
    wait(meter.close());
    done
}
