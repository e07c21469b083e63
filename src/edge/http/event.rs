//! One CloudEvent: the attributes and the data that make a debit, from either content mode.
//!
//! `subject` is the camera; `source` and `id` together are the event id; `time` is the event's time; `data` has the tokens, or what
//! they are the price of, the kind, and the network that the camera is to be in. Attributes and data that mean nothing here are passed over: an event is made for others too. Deliberately absent: what
//! a value must be beyond its type, which [`super::debit_rows`] judges as it does for any debit.

use std::borrow::Cow;
use std::fmt;

use actix_web::http::header::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use sha2::{Digest as _, Sha256};

use crate::domain::hex::Hex;
use crate::domain::limits::EVENT_ID_BYTES_MAX;

use super::debit_rows::Fields;
use super::scalar::Scalar;

/// What the names of headers begin with that bear attributes.
pub(super) const HEADER_PREFIX: &str = "ce-";
const SPEC_VERSION: &str = "1.0";

/// An event, as it was found.
#[derive(Debug, Default)]
pub(super) struct Event<'de> {
    attributes: Attributes<'de>,
    data: Data<'de>,
    flaw: Option<Cow<'static, str>>,
}

/// A debit, and the organization that the event names, if it does.
pub(super) type Read<'de> = (Option<Scalar<'de>>, Fields<'de>);

#[derive(Debug, Default)]
struct Attributes<'de> {
    specversion: Option<Scalar<'de>>,
    id: Option<Scalar<'de>>,
    source: Option<Scalar<'de>>,
    kind_of_event: Option<Scalar<'de>>,
    subject: Option<Scalar<'de>>,
    time: Option<Scalar<'de>>,
    organization: Option<Scalar<'de>>,
}

#[derive(Debug, Default)]
struct Data<'de> {
    tokens: Option<Scalar<'de>>,
    images: Option<Scalar<'de>>,
    duration_ms: Option<Scalar<'de>>,
    kind: Option<Scalar<'de>>,
    network: Option<Scalar<'de>>,
    organization: Option<Scalar<'de>>,
}

impl<'de> Event<'de> {
    /// Reads an event that is one object of JSON.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(json: &'de str) -> Result<Self, Cow<'static, str>> {
        serde_json::from_str(json).map_err(|error| format!("it is not read as an event: {error}").into())
    }

    /// Reads an event whose attributes stand in headers and whose data is the body.
    pub(super) fn from_parts(headers: &HeaderMap, body: &'de [u8]) -> Self {
        let mut event = Self::default();
        for (name, value) in headers {
            if let Some(name) = name.as_str().strip_prefix(HEADER_PREFIX) {
                match header_text(value.as_bytes()) {
                    Some(value) => event.attributes.set(name, Scalar::Text(value.into()), &mut event.flaw),
                    None => event.flaw = Some(format!("the header ce-{name} is no text in utf-8").into()),
                }
            }
        }
        if !body.trim_ascii().is_empty() {
            match serde_json::from_slice(body) {
                Ok(data) => event.data = data,
                Err(_) => event.flaw = Some("the data of an event is an object of json".into()),
            }
        }
        event
    }

    /// The debit that the event is.
    ///
    /// # Errors
    /// What of an event is missing or wrong.
    pub(super) fn into_debit(self) -> Result<Read<'de>, Cow<'static, str>> {
        let Self { attributes, data, flaw } = self;
        if let Some(flaw) = flaw {
            return Err(flaw);
        }
        let required = |value: &Option<Scalar<'de>>, name: &str| match value.as_ref().and_then(Scalar::text) {
            Some(text) if !text.is_empty() => Ok(text.to_owned()),
            _ => Err(format!("an event has the attribute `{name}`, a text that is not empty")),
        };
        if required(&attributes.specversion, "specversion")? != SPEC_VERSION {
            return Err(format!("an event of specversion {SPEC_VERSION} is read, and no other").into());
        }
        required(&attributes.kind_of_event, "type")?;
        let (source, id) = (required(&attributes.source, "source")?, required(&attributes.id, "id")?);
        if source.chars().any(|c| c == ' ' || c.is_control()) {
            return Err("the source of an event is a uri reference, without spaces".into());
        }
        required(&attributes.subject, "subject")?;
        required(&attributes.time, "time")?;
        let organization = match (attributes.organization, data.organization) {
            (Some(one), Some(other)) if one.text() != other.text() => {
                return Err("the event names two organizations".into());
            }
            (one, other) => one.or(other),
        };
        let debit = Fields {
            camera: attributes.subject,
            event_id: Some(Scalar::Text(event_id(&source, &id).into())),
            tokens: data.tokens,
            images: data.images,
            duration_ms: data.duration_ms,
            kind: data.kind,
            network: data.network,
            time: attributes.time,
            ..Fields::default()
        };
        Ok((organization, debit))
    }
}

impl<'de> Attributes<'de> {
    fn set(&mut self, name: &str, value: Scalar<'de>, flaw: &mut Option<Cow<'static, str>>) {
        let attribute = match name {
            "specversion" => &mut self.specversion,
            "id" => &mut self.id,
            "source" => &mut self.source,
            "type" => &mut self.kind_of_event,
            "subject" => &mut self.subject,
            "time" => &mut self.time,
            "organization" => &mut self.organization,
            _ => return,
        };
        if attribute.is_some() {
            *flaw = Some(format!("the attribute `{name}` stands twice").into());
        }
        *attribute = present(value);
    }
}

/// The event id of an event: its source and its id, between them a space, which no source holds. What is too long for an event
/// id is told by its hash, which holds no space and so is never taken for another's source and id.
fn event_id(source: &str, id: &str) -> String {
    let plain = format!("{source} {id}");
    if plain.len() <= EVENT_ID_BYTES_MAX {
        return plain;
    }
    format!("sha256:{}", Hex(&Sha256::digest(plain)))
}

/// The text of a header: out of its quotes if it stands in some, then decoded from percents once. A percent that begins no
/// escape stands for itself, as senders mean that do not escape. None when it is no UTF-8.
fn header_text(value: &[u8]) -> Option<String> {
    let quoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
    let mut text = Vec::with_capacity(value.len());
    let mut rest = quoted.unwrap_or(value);
    while let Some((first, after)) = rest.split_first() {
        let (byte, after) = match (first, after) {
            (b'\\', [escaped, after @ ..]) if quoted.is_some() => (*escaped, after),
            _ => (*first, after),
        };
        text.push(byte);
        rest = after;
    }
    String::from_utf8(without_percents(&text)).ok()
}

fn without_percents(text: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (mut decoded, mut rest) = (Vec::with_capacity(text.len()), text);
    while let Some((first, after)) = rest.split_first() {
        let escaped = match after {
            [high, low, after @ ..] if *first == b'%' => {
                digit(*high).zip(digit(*low)).map(|(high, low)| (high << 4 | low, after))
            }
            _ => None,
        };
        let (byte, after) = escaped.unwrap_or((*first, after));
        decoded.push(byte);
        rest = after;
    }
    decoded
}

fn present(value: Scalar<'_>) -> Option<Scalar<'_>> {
    if matches!(value, Scalar::Null) { None } else { Some(value) }
}

impl<'de> Deserialize<'de> for Event<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(EventVisitor)
    }
}

struct EventVisitor;

impl<'de> Visitor<'de> for EventVisitor {
    type Value = Event<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Event<'de>, A::Error> {
        let mut event = Event::default();
        let mut has_data = false;
        while let Some(name) = members.next_key::<Scalar<'de>>()? {
            let name = name.text().unwrap_or_default();
            if !matches!(name, "data" | "data_base64") {
                event.attributes.set(name, members.next_value()?, &mut event.flaw);
                continue;
            }
            if std::mem::replace(&mut has_data, true) {
                event.flaw = Some("the data of the event stands twice".into());
            }
            event.data = if name == "data" {
                members.next_value::<Option<Data<'de>>>()?.unwrap_or_default()
            } else {
                let data = members.next_value::<Scalar<'de>>()?;
                let data = data.text().and_then(from_base64);
                data.ok_or_else(|| A::Error::custom("data_base64 is base64 of an object of json"))?
            };
        }
        Ok(event)
    }
}

fn from_base64(text: &str) -> Option<Data<'static>> {
    let bytes = STANDARD.decode(text).ok()?;
    let data: Data<'_> = serde_json::from_slice(&bytes).ok()?;
    let owned = |value: Option<Scalar<'_>>| value.map(Scalar::into_owned);
    Some(Data {
        tokens: owned(data.tokens),
        images: owned(data.images),
        duration_ms: owned(data.duration_ms),
        kind: owned(data.kind),
        network: owned(data.network),
        organization: owned(data.organization),
    })
}

impl<'de> Deserialize<'de> for Data<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(DataVisitor)
    }
}

struct DataVisitor;

impl<'de> Visitor<'de> for DataVisitor {
    type Value = Data<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the data of an event, an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Data<'de>, A::Error> {
        let mut data = Data::default();
        while let Some(name) = members.next_key::<Scalar<'de>>()? {
            let member = match name.text().unwrap_or_default() {
                "tokens" => &mut data.tokens,
                "images" => &mut data.images,
                "duration_ms" => &mut data.duration_ms,
                "kind" => &mut data.kind,
                "network" => &mut data.network,
                "organization" => &mut data.organization,
                _ => {
                    members.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            if member.is_some() {
                return Err(A::Error::custom("a member of the data stands twice"));
            }
            *member = present(members.next_value()?);
        }
        Ok(data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_out_of_quotes_and_decoded_from_percents_once() {
        for (header, text) in [
            ("plain", "plain"),
            ("Euro%20%E2%82%AC%20%f0%9f%98%80", "Euro \u{20ac} \u{1f600}"),
            ("%2541", "%41"),
            ("\"a \\\"b\\\\ c\"", "a \"b\\ c"),
            ("\"%22\"", "\""),
            ("50%", "50%"),
            ("50%zz", "50%zz"),
            ("%41%", "A%"),
            ("a\\b", "a\\b"),
            ("\"", "\""),
            ("", ""),
        ] {
            assert_eq!(header_text(header.as_bytes()).as_deref(), Some(text), "{header}");
        }
        for bad in ["%C0%A0", "%ff", "%ED%A0%80"] {
            assert_eq!(header_text(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn r13_no_two_pairs_of_source_and_id_are_one_event_id() {
        assert_eq!(event_id("//nvr/1", "7"), "//nvr/1 7");
        assert_ne!(event_id("a", "b c"), event_id("a%20b", "c"));
        let long = "x".repeat(EVENT_ID_BYTES_MAX);
        let hashed = event_id("a", &long);
        assert!(hashed.len() <= EVENT_ID_BYTES_MAX && !hashed.contains(' '), "{hashed}");
        assert_ne!(hashed, event_id("ax", &long[1..]));
        assert_ne!(hashed, event_id("b", &long));
    }
}
