//! The bodies of journal frames, by kind.
//!
//! Debits are packed columns (`debit_codec`); everything else is named-map MessagePack, an organization's event
//! after its organization's number. Decoding never panics, reads a bounded depth, refuses what follows after the end and
//! what could break a pool. Frames themselves (length, checksum, sequence number) are not known here.

use rmp_serde::Deserializer;
use rmp_serde::decode::Error;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::domain::event::Event;
use crate::domain::ids::OrgNumber;
use crate::domain::registry::RegistryEvent;

use super::debit_codec::take_org;
use super::decode_error::DecodeError;
use super::event_check;
use super::wire;

pub use super::debit_codec::{DecodedDebits, FRAME_DEBITS_MAX, decode_debits, encode_debits};

/// Frame kind: admitted debits of one batch.
pub const DEBITS: u8 = 1;
/// Frame kind: any other event of an organization.
pub const ORG_EVENT: u8 = 2;
/// Frame kind: an event of the registry.
pub const REGISTRY_EVENT: u8 = 3;
/// Frame kind: the journal was closed in order; the body is empty.
pub const CLOSED: u8 = 4;

/// Version of the body of [`DEBITS`].
pub const DEBITS_VERSION: u8 = 1;
/// Version of the body of [`ORG_EVENT`].
pub const ORG_EVENT_VERSION: u8 = 1;
/// Version of the body of [`REGISTRY_EVENT`].
pub const REGISTRY_EVENT_VERSION: u8 = 1;
/// Version of the body of [`CLOSED`].
pub const CLOSED_VERSION: u8 = 1;
/// The newest version of any frame that this release reads.
pub const NEWEST_VERSION: u8 = 1;

/// Longest body of an event that is read, in bytes (64 MiB).
pub const EVENT_BYTES_MAX: usize = 64 << 20;

/// How deep maps and arrays may nest; the deepest that is written is less than half as deep.
const DEPTH_MAX: usize = 32;

/// Appends the body of an organization's event.
///
/// # Panics
/// When the event could not be read again: it has a value out of its bounds.
pub fn encode_org_event(out: &mut Vec<u8>, org: OrgNumber, event: &Event) {
    event_check::event(event).expect("an event that was decided is within its bounds");
    wire::put_varint(out, u64::from(org.0));
    put_named(out, event);
}

/// Reads the body of an organization's event.
///
/// # Errors
/// When the body is not exactly one event, or a value in it is out of its bounds.
pub fn decode_org_event(body: &[u8]) -> Result<(OrgNumber, Event), DecodeError> {
    let from = &mut &*body;
    let org = take_org(from)?;
    let event = from_named(from, "the body is not an organization's event")?;
    event_check::event(&event)?;
    Ok((org, event))
}

/// Appends the body of a registry event.
///
/// # Panics
/// When the event could not be read again: it has a value out of its bounds.
pub fn encode_registry_event(out: &mut Vec<u8>, event: &RegistryEvent) {
    event_check::registry_event(event).expect("an event that was decided is within its bounds");
    put_named(out, event);
}

/// Reads the body of a registry event.
///
/// # Errors
/// When the body is not exactly one event, or a value in it is out of its bounds.
pub fn decode_registry_event(body: &[u8]) -> Result<RegistryEvent, DecodeError> {
    let event = from_named(body, "the body is not a registry event")?;
    event_check::registry_event(&event)?;
    Ok(event)
}

/// Reads the body of a frame that closes a journal.
///
/// # Errors
/// When it is not empty.
pub fn decode_closed(body: &[u8]) -> Result<(), DecodeError> {
    wire::end(body)
}

/// Appends `value` as named-map MessagePack.
pub(super) fn put_named(out: &mut Vec<u8>, value: &impl Serialize) {
    rmp_serde::encode::write_named(out, value).expect("writing to memory cannot fail, and lengths are known");
}

/// Reads the one value that `body` is.
pub(super) fn from_named_borrowed<'a, T: Deserialize<'a>>(
    body: &'a [u8],
    what: &'static str,
) -> Result<T, DecodeError> {
    let mut from = Deserializer::from_read_ref(body);
    from.set_max_depth(DEPTH_MAX);
    let value = T::deserialize(&mut from).map_err(|_| DecodeError(what))?;
    // The deserializer does not tell where it stands; but only at the end is there no first byte of another value.
    let at_end = matches!(u8::deserialize(&mut from), Err(Error::InvalidMarkerRead(_)));
    event_check::ensure(at_end, "bytes follow after the end")?;
    Ok(value)
}

fn from_named<T: DeserializeOwned>(body: &[u8], what: &'static str) -> Result<T, DecodeError> {
    event_check::ensure(body.len() <= EVENT_BYTES_MAX, "the body is longer than any event")?;
    from_named_borrowed(body, what)
}

#[cfg(test)]
#[path = "event_codec_tests.rs"]
mod tests;
