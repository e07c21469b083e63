//! The quick way through a body of JSON whose debits are all as they should be.
//!
//! Each debit is read into fields of their own types. Whatever does not fit them, a flaw in one value say, is no error here but a reason to
//! read the whole body again with care, by [`super::debit_rows`], which tells what is wrong with which row.

use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::meter::{CameraRef, Debit, Identity, Measured, UsageKind};

use super::debit_rows::{Rows, is_camera_id, quantity};
use super::time_text::TimeText;

/// Reads a body; whether all of it was plain. Otherwise the rows hold a part of it.
pub(super) fn read(rows: &mut Rows, body: &str) -> bool {
    let mut from = serde_json::Deserializer::from_str(body);
    from.deserialize_any(PlainBody { rows }).and_then(|()| from.end()).is_ok()
}

/// A debit whose values have their types; null counts as absent.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlainDebit<'a> {
    camera: &'a str,
    epoch: Option<u32>,
    seq: Option<u64>,
    event_id: Option<&'a str>,
    tokens: Option<u64>,
    images: Option<u64>,
    duration_ms: Option<u64>,
    kind: Option<&'a str>,
    time: Option<TimeText>,
}

impl PlainDebit<'_> {
    /// Adds it; none when something is wrong with it.
    fn push(&self, rows: &mut Rows) -> Option<()> {
        let camera = is_camera_id(self.camera).then_some(CameraRef::Id(self.camera))?;
        let identity = match (self.epoch, self.seq, self.event_id) {
            (Some(epoch), Some(seq), None) => Identity::Seq { epoch, seq },
            (None, None, Some(id)) => Identity::EventId(id.as_bytes()),
            _ => return None,
        };
        let kind = self.kind.map_or(Ok(UsageKind::default()), UsageKind::from_name).ok()?;
        let time = self.time.map(|TimeText(time)| time);
        if let Some(tokens) = self.tokens {
            rows.batch.push(Debit { camera, identity, tokens, kind, time });
        } else {
            let (unit, count) = quantity(self.images, self.duration_ms, 1);
            rows.batch.push_measured(Measured { camera, identity, unit, count, kind, time });
        }
        Some(())
    }
}

/// A whole body: an array of debits, or one debit.
struct PlainBody<'a> {
    rows: &'a mut Rows,
}

impl<'de> Visitor<'de> for PlainBody<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of debits, or one debit")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut debits: A) -> Result<(), A::Error> {
        while debits.next_element_seed(PlainItem { rows: self.rows })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, debit: A) -> Result<(), A::Error> {
        PlainItem { rows: self.rows }.visit_map(debit)
    }
}

/// One debit.
struct PlainItem<'a> {
    rows: &'a mut Rows,
}

impl<'de> DeserializeSeed<'de> for PlainItem<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for PlainItem<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a debit")
    }

    fn visit_map<A: MapAccess<'de>>(self, debit: A) -> Result<(), A::Error> {
        self.rows.make_room()?;
        let debit = PlainDebit::deserialize(MapAccessDeserializer::new(debit))?;
        debit.push(self.rows).ok_or_else(|| A::Error::custom("a debit that is not plain"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::debit_rows::Format;
    use super::*;

    const PLAIN: &[&str] = &[
        r#"{"camera":"c","epoch":1,"seq":2,"tokens":3}"#,
        r#"{"tokens":3,"kind":"other","seq":2,"epoch":1,"camera":"c","time":1767225600000,"event_id":null}"#,
        r#"{"camera":"c","event_id":"e","time":"2026-01-01T00:00:00Z","images":4,"duration_ms":5}"#,
        r#"{"camera":"c","event_id":"e","time":1767225600000,"duration_ms":5}"#,
        r#"{"camera":"c","event_id":"e","time":1767225600000}"#,
        r#"{"camera":"c","epoch":1,"seq":2,"tokens":0}"#,
    ];

    /// Bodies that are not plain, though some of their debits are good.
    const OTHER: &[&str] = &[
        r#"{"camera":"c\u0061","epoch":1,"seq":2,"tokens":3}"#,
        r#"{"camera":"c","epoch":1,"seq":2,"tokens":3.5}"#,
        r#"{"camera":"c","epoch":4294967296,"seq":2,"tokens":3}"#,
        r#"{"camera":"c","epoch":1,"seq":2,"tokens":3,"tokens":3}"#,
        r#"{"camera":"c","epoch":1,"seq":2,"tokens":null,"tokens":3}"#,
        r#"{"camera":"c","epoch":1,"seq":2,"tokens":3,"other":1}"#,
        r#"{"camera":"a b","epoch":1,"seq":2,"tokens":3}"#,
        r#"{"camera":"c","epoch":1,"tokens":3}"#,
        r#"{"camera":"c","epoch":1,"seq":2,"tokens":3,"kind":"no such kind"}"#,
        r#"["c",1,2,null,3,null,null,null,null]"#,
        "7",
    ];

    fn rows(body: &str, by_hand: bool) -> String {
        let mut rows = Rows::default();
        rows.clear(9);
        if by_hand {
            rows.read_json_by_row(body.as_bytes()).expect("it is JSON");
        } else {
            rows.read(Format::Json, body.as_bytes(), 9).expect("it is JSON");
        }
        format!("{:?} {:?}", rows.batch, rows.details)
    }

    #[test]
    fn what_is_plain_is_read_as_it_is_with_care() {
        for debit in PLAIN {
            for body in [(*debit).to_owned(), format!("[{debit}]"), format!(" [ {debit} , {debit} ] ")] {
                let mut quick = Rows::default();
                quick.clear(9);
                assert!(read(&mut quick, &body), "{body}");
                assert_eq!(rows(&body, false), rows(&body, true), "{body}");
            }
        }
    }

    #[test]
    fn what_is_not_plain_is_left_to_be_read_with_care() {
        for debit in OTHER {
            let body = format!("[{},{debit},{}]", PLAIN[0], PLAIN[1]);
            let mut quick = Rows::default();
            quick.clear(9);
            assert!(!read(&mut quick, &body), "{body}");
            assert_eq!(rows(&body, false), rows(&body, true), "{body}");
        }
    }

    #[test]
    fn a_body_of_more_debits_than_are_taken_is_refused_whole() {
        let body = format!("[{0},{0},{0}]", PLAIN[0]);
        for most in 0..=3 {
            assert_eq!(Rows::default().read(Format::Json, body.as_bytes(), most).is_ok(), most == 3);
        }
    }
}
