//! From the bytes of a body to the rows of a batch.
//!
//! Each debit goes straight into the batch, text and all, without a structure of its own. A value out of its bounds makes
//! its own row `invalid`; only a body that cannot be read at all is an error, and then nothing of it is judged.
//! Numbers are taken as they come: a fraction, a negative number or 2^64 is a bad value, not a broken body.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize as _;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::meter::{
    CameraId, CameraRef, Debit, DebitBatch, Identity, Invalid, Measured, Name, Refusal, Timestamp, Unit,
    UsageKind,
};

use super::debit_plain;
use super::problem::Problem;
use super::scalar::Scalar;
use super::time_text::{EXPECTED, TimeText};

/// Deepest nesting of MessagePack that is read; a debit needs two.
const DEPTH_MAX: usize = 16;
/// Most characters of an unknown field's name that a detail repeats.
const NAME_CHARS_MAX: usize = 32;

/// The media types of a body of debits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// An array of debits, or one debit.
    Json,
    /// One debit a line.
    Lines,
    /// An array of named maps.
    MessagePack,
}

/// A batch that is read from bodies. Its buffers are reused.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// The debits.
    pub(super) batch: DebitBatch,
    /// What is to be said of an invalid row beyond its refusal, by row, in order.
    pub(super) details: Vec<(usize, Cow<'static, str>)>,
    most: usize,
    is_over: bool,
}

type Flaw = (Invalid, Option<Cow<'static, str>>);

impl Format {
    /// The format of a media type.
    pub(super) fn of(media_type: &str) -> Option<Self> {
        match media_type {
            "application/json" => Some(Self::Json),
            "application/x-ndjson" => Some(Self::Lines),
            "application/msgpack" | "application/vnd.msgpack" | "application/x-msgpack" => {
                Some(Self::MessagePack)
            }
            _ => None,
        }
    }
}

impl Rows {
    /// Reads a body of at most `most` debits; what the rows held before is gone.
    ///
    /// # Errors
    /// When the body cannot be read at all, or holds too many debits.
    pub(super) fn read(&mut self, format: Format, body: &[u8], most: usize) -> Result<(), Problem> {
        self.clear(most);
        let read = match format {
            Format::Json => self.read_json(body),
            Format::Lines => self.read_lines(body),
            Format::MessagePack => self.read_message_pack(body),
        };
        if self.is_over { Err(Problem::batch_too_large(most)) } else { read }
    }

    /// Empties it, for at most `most` debits.
    pub(super) fn clear(&mut self, most: usize) {
        self.batch.clear();
        self.details.clear();
        (self.most, self.is_over) = (most, false);
    }

    /// Makes sure of the room for another debit.
    pub(super) fn make_room<E: Error>(&mut self) -> Result<(), E> {
        self.is_over = self.batch.len() == self.most;
        if self.is_over { Err(E::custom("too many debits")) } else { Ok(()) }
    }

    /// Adds the debit that these fields are, or a row that says why they are none.
    pub(super) fn push(&mut self, fields: &Fields<'_>) {
        let (asked, network) = match fields.debit().and_then(|asked| Ok((asked, fields.network()?))) {
            Ok(read) => read,
            Err(flaw) => return self.push_flaw(flaw),
        };
        match asked {
            Asked::Debit(debit) => self.batch.push(debit),
            Asked::Measured(event) => self.batch.push_measured(event),
        }
        if let Some(network) = network {
            self.batch.expect_network(&network);
        }
    }

    /// Why a row of this batch was refused.
    pub(super) fn problem(&self, row: usize, refusal: Refusal) -> Problem {
        let told = self.details.binary_search_by_key(&row, |(flawed, _)| *flawed).ok();
        Problem::from(refusal).with_detail(told.map(|place| self.details[place].1.clone()))
    }

    fn read_json(&mut self, body: &[u8]) -> Result<(), Problem> {
        // To check a whole body at once is cheaper than to check each text in it.
        if std::str::from_utf8(body).is_ok_and(|text| debit_plain::read(self, text)) || self.is_over {
            return Ok(());
        }
        self.read_json_by_row(body).map_err(Problem::malformed_body)
    }

    /// Reads with care: what cannot be held, a number like 1e400 say, is a bad value of its own row when the body is JSON all the same.
    pub(super) fn read_json_by_row(&mut self, body: &[u8]) -> Result<(), serde_json::Error> {
        self.batch.clear();
        self.details.clear();
        let mut from = serde_json::Deserializer::from_slice(body);
        if body.trim_ascii_start().first() == Some(&b'{') {
            RawRow { rows: self }.deserialize(&mut from)?;
        } else {
            from.deserialize_seq(RawBody { rows: self })?;
        }
        from.end()
    }

    /// Reads one row that is known to be JSON; whether there is room for another.
    fn read_row(&mut self, row: &str) -> bool {
        let (rows, details) = (self.batch.len(), self.details.len());
        let read = Row { rows: self }.deserialize(&mut serde_json::Deserializer::from_str(row));
        if read.is_err() && !self.is_over {
            self.batch.truncate(rows);
            self.details.truncate(details);
            self.push_flaw((Invalid::Syntax, Some("a value of the debit cannot be held: a number out of any range, half of a surrogate pair, or too deep nesting".into())));
        }
        !self.is_over
    }

    fn read_lines(&mut self, body: &[u8]) -> Result<(), Problem> {
        for (number, line) in body.split(|byte| *byte == b'\n').enumerate() {
            if line.trim_ascii().is_empty() {
                continue;
            }
            let mut from = serde_json::Deserializer::from_slice(line);
            let rows = self.batch.len();
            let read = Row { rows: self }.deserialize(&mut from).and_then(|()| from.end());
            let Err(error) = read else { continue };
            let Ok(row) = serde_json::from_slice::<&RawValue>(line) else {
                let column = error.column();
                let place = format_args!("line {} of the body is not json at column {column}", number + 1);
                return Err(Problem::malformed_body(place));
            };
            self.batch.truncate(rows);
            self.read_row(row.get());
        }
        Ok(())
    }

    fn read_message_pack(&mut self, body: &[u8]) -> Result<(), Problem> {
        let mut from = rmp_serde::Deserializer::from_read_ref(body);
        from.set_max_depth(DEPTH_MAX);
        let read = from.deserialize_any(Body { rows: &mut *self });
        let row = self.batch.len() + 1;
        let place = |error| format!("{}, at debit {row} of the body", unpackable(&error));
        read.map_err(|error| Problem::malformed_body(place(error)))?;
        match from.deserialize_any(IgnoredAny) {
            Err(rmp_serde::decode::Error::InvalidMarkerRead(_)) => Ok(()),
            _ => Err(Problem::malformed_body("something follows the array of debits")),
        }
    }

    fn push_flaw(&mut self, (invalid, detail): Flaw) {
        self.details.extend(detail.map(|detail| (self.batch.len(), detail)));
        self.batch.push_invalid(invalid);
    }
}

/// A whole body: an array of debits, or one debit.
struct Body<'a> {
    rows: &'a mut Rows,
}

impl<'de> Visitor<'de> for Body<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of debits, or one debit")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut debits: A) -> Result<(), A::Error> {
        while debits.next_element_seed(Row { rows: self.rows })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, debit: A) -> Result<(), A::Error> {
        Row { rows: self.rows }.visit_map(debit)
    }
}

/// A whole body, read debit by debit.
struct RawBody<'a> {
    rows: &'a mut Rows,
}

impl<'de> Visitor<'de> for RawBody<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of debits, or one debit")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut debits: A) -> Result<(), A::Error> {
        while debits.next_element_seed(RawRow { rows: self.rows })?.is_some() {}
        Ok(())
    }
}

/// One debit of which it is only known that it is JSON.
struct RawRow<'a> {
    rows: &'a mut Rows,
}

impl<'de> DeserializeSeed<'de> for RawRow<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        let row = <&RawValue>::deserialize(from)?;
        if self.rows.read_row(row.get()) { Ok(()) } else { Err(D::Error::custom("too many debits")) }
    }
}

fn unpackable(error: &rmp_serde::decode::Error) -> &'static str {
    use rmp_serde::decode::Error as Unpackable;
    match error {
        Unpackable::InvalidMarkerRead(_) | Unpackable::InvalidDataRead(_) => {
            "it ends in the middle of a value"
        }
        Unpackable::DepthLimitExceeded => "its values are nested too deep",
        Unpackable::Utf8Error(_) => "a text is not utf-8",
        _ => "it is no array of debits as named maps",
    }
}

/// One debit; whatever it is, it becomes one row.
struct Row<'a> {
    rows: &'a mut Rows,
}

impl<'de> DeserializeSeed<'de> for Row<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        self.rows.make_room()?;
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Row<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a debit")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut debit: A) -> Result<(), A::Error> {
        let mut fields = Fields::default();
        while let Some(name) = debit.next_key::<Scalar<'de>>()? {
            let value = debit.next_value::<Scalar<'de>>()?;
            fields.set(&name, value);
        }
        self.rows.push(&fields);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<(), A::Error> {
        while values.next_element::<IgnoredAny>()?.is_some() {}
        self.unreadable()
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        value.deserialize_any(IgnoredAny)?;
        self.unreadable()
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.unreadable()
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.unreadable()
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        self.unreadable()
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.unreadable()
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.unreadable()
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        self.unreadable()
    }

    fn visit_bytes<E: Error>(self, _: &[u8]) -> Result<(), E> {
        self.unreadable()
    }
}

impl Row<'_> {
    fn unreadable<E>(self) -> Result<(), E> {
        self.rows.push_flaw((Invalid::Syntax, Some("a debit is an object with named fields".into())));
        Ok(())
    }
}

/// A debit that bears its tokens, or one that is to be priced.
enum Asked<'a> {
    Debit(Debit<'a>),
    Measured(Measured<'a>),
}

/// The fields of one debit, as they were found.
#[derive(Debug, Default)]
pub(super) struct Fields<'de> {
    pub(super) camera: Option<Scalar<'de>>,
    pub(super) epoch: Option<Scalar<'de>>,
    pub(super) seq: Option<Scalar<'de>>,
    pub(super) event_id: Option<Scalar<'de>>,
    pub(super) tokens: Option<Scalar<'de>>,
    pub(super) images: Option<Scalar<'de>>,
    pub(super) duration_ms: Option<Scalar<'de>>,
    pub(super) kind: Option<Scalar<'de>>,
    pub(super) time: Option<Scalar<'de>>,
    /// Of an event alone: where its camera is.
    pub(super) network: Option<Scalar<'de>>,
    pub(super) flaw: Option<Cow<'static, str>>,
}

impl<'de> Fields<'de> {
    fn set(&mut self, name: &Scalar<'de>, value: Scalar<'de>) {
        let name = name.text().unwrap_or("(not text)");
        let field = match name {
            "camera" => &mut self.camera,
            "epoch" => &mut self.epoch,
            "seq" => &mut self.seq,
            "event_id" => &mut self.event_id,
            "tokens" => &mut self.tokens,
            "images" => &mut self.images,
            "duration_ms" => &mut self.duration_ms,
            "kind" => &mut self.kind,
            "time" => &mut self.time,
            unknown => {
                let shown: String = unknown.chars().take(NAME_CHARS_MAX).collect();
                self.flaw = Some(format!("a debit has no field `{shown}`").into());
                return;
            }
        };
        if field.is_some() {
            self.flaw = Some(format!("the field `{name}` stands twice").into());
        }
        *field = Some(value);
    }

    /// The debit; a field that is null counts as absent. Of tokens, images and a duration the first that is there counts; one that
    /// has none of them is an event to be priced.
    fn debit(&self) -> Result<Asked<'_>, Flaw> {
        if let Some(flaw) = &self.flaw {
            return Err((Invalid::Syntax, Some(flaw.clone())));
        }
        let camera = present(&self.camera).and_then(Scalar::text).filter(|id| is_camera_id(id));
        let camera = CameraRef::Id(camera.ok_or((Invalid::CameraId, None))?);
        let identity = self.identity()?;
        if let Some(tokens) = present(&self.tokens) {
            let tokens = tokens.number().ok_or((Invalid::Tokens, None))?;
            let (kind, time) = (self.kind()?, self.time()?);
            return Ok(Asked::Debit(Debit { camera, identity, tokens, kind, time }));
        }
        let (images, duration) = (present(&self.images), present(&self.duration_ms));
        let (unit, count) = quantity(images.map(Scalar::number), duration.map(Scalar::number), Some(1));
        let count = count.ok_or((Invalid::Quantity, None))?;
        let (kind, time) = (self.kind()?, self.time()?);
        Ok(Asked::Measured(Measured { camera, identity, unit, count, kind, time }))
    }

    fn identity(&self) -> Result<Identity<'_>, Flaw> {
        let flaw = |detail: &'static str| (Invalid::Identity, Some(detail.into()));
        match (present(&self.epoch), present(&self.seq), present(&self.event_id)) {
            (Some(epoch), Some(seq), None) => {
                let epoch = epoch.number().and_then(|epoch| u32::try_from(epoch).ok());
                let epoch = epoch.ok_or(flaw("an epoch is a whole number from 0 to 2^32 - 1"))?;
                let seq = seq.number().ok_or(flaw("a seq is a whole number from 0 to 2^64 - 1"))?;
                Ok(Identity::Seq { epoch, seq })
            }
            (None, None, Some(id)) => {
                Ok(Identity::EventId(id.text().ok_or((Invalid::EventId, None))?.as_bytes()))
            }
            _ => Err((Invalid::Identity, None)),
        }
    }

    fn network(&self) -> Result<Option<Name>, Flaw> {
        let Some(network) = present(&self.network) else { return Ok(None) };
        let name = network.text().and_then(|text| Name::new(text).ok());
        let flaw = || (Invalid::Name, Some(format!("of a network, {}", Invalid::Name).into()));
        name.map(Some).ok_or_else(flaw)
    }

    fn kind(&self) -> Result<UsageKind, Flaw> {
        let Some(kind) = present(&self.kind) else { return Ok(UsageKind::default()) };
        kind.text().and_then(|name| UsageKind::from_name(name).ok()).ok_or((Invalid::UsageKind, None))
    }

    fn time(&self) -> Result<Option<Timestamp>, Flaw> {
        let time = match present(&self.time) {
            None => return Ok(None),
            Some(Scalar::Number(ms)) => Timestamp::from_ms(*ms).ok(),
            Some(other) => {
                other.text().and_then(|text| TimeText::parse(text).ok()).map(|TimeText(time)| time)
            }
        };
        time.map(Some).ok_or((Invalid::Time, Some(EXPECTED.into())))
    }
}

/// What an event is priced by: its images, else its duration, else that it is one.
pub(super) fn quantity<T>(images: Option<T>, duration: Option<T>, one: T) -> (Unit, T) {
    match (images, duration) {
        (Some(images), _) => (Unit::Image, images),
        (None, Some(duration)) => (Unit::Second, duration),
        (None, None) => (Unit::Event, one),
    }
}

/// Whether a camera can have this id. What most ids look like is seen without making one.
pub(super) fn is_camera_id(id: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b':');
    id.bytes().all(is_plain) || CameraId::new(id).is_ok()
}

fn present<'a, 'de>(field: &'a Option<Scalar<'de>>) -> Option<&'a Scalar<'de>> {
    field.as_ref().filter(|value| !matches!(value, Scalar::Null))
}
