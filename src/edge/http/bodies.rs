//! What bodies are read as, with no server around it: the way in for tests that send anything at all.
//!
//! Deliberately absent: who may send a body, and what is done with it.

use std::fmt::Debug;

use actix_web::ResponseError as _;
use actix_web::http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde::de::DeserializeOwned;

use crate::meter::{DebitBatch, Principal};

use super::body::parse;
use super::debit_rows::{Format, Rows};
use super::event_rows::{Events, Mode};
use super::problem::Problem;
use super::{alerts, cameras, keys, licenses, organizations, rates, reservations, transfers, webhooks};

/// What is read as one object of JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object {
    /// A new organization.
    Organization,
    /// A camera to register.
    Camera,
    /// An Unlimited AI License to bind.
    Unlimited,
    /// A license key.
    LicenseKey,
    /// A transfer to begin.
    Transfer,
    /// An API key to make.
    ApiKey,
    /// Tokens to reserve.
    Reservation,
    /// A rate card to set.
    Rates,
    /// Thresholds to set.
    Alerts,
    /// A webhook to set.
    Webhook,
}

/// Reads a body of at most `most` debits. With them come the places of the rows of which more is told than their refusal.
///
/// # Errors
/// The status of the problem.
pub fn debits(media_type: &str, body: &[u8], most: usize) -> Result<(DebitBatch, Vec<usize>), u16> {
    let unsupported = || Problem::unsupported_media_type("debits");
    let mut rows = Rows::default();
    let read =
        Format::of(media_type).ok_or_else(unsupported).and_then(|format| rows.read(format, body, most));
    read.map_err(|problem| status(&problem))?;
    Ok((rows.batch, rows.details.into_iter().map(|(row, _)| row).collect()))
}

/// Reads a body of at most `most` events that `who` sends, with these headers beside its media type. The debits come in a batch
/// for each organization; with them, how many events there were, and how many of them are no debits.
///
/// # Errors
/// The status of the problem.
pub fn events(
    (media_type, headers): (&str, &[(&str, &[u8])]),
    body: &[u8],
    most: usize,
    who: &Principal,
) -> Result<(Vec<DebitBatch>, usize, usize), u16> {
    let mut all = HeaderMap::new();
    all.insert(CONTENT_TYPE, HeaderValue::from_str(media_type).map_err(|_| 400_u16)?);
    for (name, value) in headers {
        let name: HeaderName = name.parse().map_err(|_| 400_u16)?;
        all.append(name, HeaderValue::from_bytes(value).map_err(|_| 400_u16)?);
    }
    let mode = Mode::of(&all).ok_or(415_u16)?;
    let mut events = Events::read(mode, (&all, body), most, who).map_err(|problem| status(&problem))?;
    let batches = events.groups.drain(..).map(|group| group.rows.batch).collect();
    Ok((batches, events.count, events.refused.len()))
}

/// Reads an object; it is told as text.
///
/// # Errors
/// The status of the problem.
pub fn object(object: Object, body: &[u8]) -> Result<String, u16> {
    match object {
        Object::Organization => told::<organizations::ToCreate>(body),
        Object::Camera => told::<cameras::ToRegister>(body),
        Object::Unlimited => told::<cameras::ToBind>(body),
        Object::LicenseKey => told::<licenses::ToAdd>(body),
        Object::Transfer => told::<transfers::ToBegin>(body),
        Object::ApiKey => told::<keys::ToMake>(body),
        Object::Reservation => told::<reservations::ToReserve>(body),
        Object::Rates => told::<rates::ToSet>(body),
        Object::Alerts => told::<alerts::ToSet>(body),
        Object::Webhook => told::<webhooks::ToSet>(body),
    }
}

fn told<T: DeserializeOwned + Debug>(body: &[u8]) -> Result<String, u16> {
    let read: Result<T, _> = parse(body);
    read.map(|object| format!("{object:?}")).map_err(|problem| status(&problem))
}

fn status(problem: &Problem) -> u16 {
    problem.status_code().as_u16()
}
