//! The first operator key: made when there is no API key at all, so that somebody can make the others.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::meter::{Meter, Name, NewApiKey, Principal, Role};

use super::ServeError;

/// The operator key of a new data directory, and where it was put.
#[derive(Debug, PartialEq, Eq)]
pub enum FirstKey {
    /// It is to be shown, this once.
    ToShow(String),
    /// It was written to this file.
    Written(PathBuf),
}

/// Makes an operator key when there is no API key at all. The file is there before the key is, so that no key is made that
/// cannot be kept.
pub(super) async fn first_key(meter: &Meter, file: Option<&Path>) -> Result<Option<FirstKey>, ServeError> {
    if !meter.api_keys(&Principal::Host)?.is_empty() {
        return Ok(None);
    }
    let Some(path) = file else { return Ok(Some(FirstKey::ToShow(operator_key(meter).await?))) };
    let fault = |source| ServeError::KeyFile { path: path.to_owned(), source };
    let mut options = File::options();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path).map_err(fault)?;
    let key = operator_key(meter).await?;
    writeln!(file, "{key}").and_then(|()| file.sync_all()).map_err(fault)?;
    Ok(Some(FirstKey::Written(path.to_owned())))
}

async fn operator_key(meter: &Meter) -> Result<String, ServeError> {
    let label = Name::new("first operator").expect("a valid name");
    let new = NewApiKey { label, role: Role::Operator, organizations: Vec::new() };
    let (_, key) = meter.create_api_key(&Principal::Host, new).await?;
    Ok(key)
}
