//! From a body of CloudEvents to batches of debits, one for each organization that they name.
//!
//! What is wrong with an event is told of that event, its neighbours are judged; only a body that is no JSON is an error, and
//! then nothing of it is judged.

use std::borrow::Cow;
use std::fmt;

use actix_web::http::header::HeaderMap;
use serde::de::{Deserializer as _, Error, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::meter::{Action, OrgId, Principal, Refusal};

use super::body::media_type;
use super::debit_rows::{Fields, Rows};
use super::debits::{keep_rows, take_rows};
use super::event::{Event, HEADER_PREFIX};
use super::problem::{Problem, RefusedEvent};

/// How events stand in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// One event.
    Structured,
    /// An array of events.
    Batched,
    /// One event or an array, whichever it is.
    Plain,
    /// The data of one event, its attributes stand in headers.
    Binary,
}

/// Events as batches of debits. The rows come from those that the worker thread keeps, and go back to them.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// How many there are.
    pub(super) count: usize,
    /// Those that can be judged, by organization.
    pub(super) groups: Vec<Group>,
    /// Those that were refused up to now.
    pub(super) refused: Vec<(usize, Problem)>,
}

/// The events of one organization.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) organization: OrgId,
    pub(super) rows: Rows,
    /// Of each row, the place of its event in the body.
    pub(super) places: Vec<usize>,
}

impl Mode {
    /// The mode that the headers tell, if they tell one.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let media_type = media_type(headers);
        match &*media_type {
            "application/cloudevents+json" => Some(Self::Structured),
            "application/cloudevents-batch+json" => Some(Self::Batched),
            // Another format of events than JSON.
            other if other.starts_with("application/cloudevents") => None,
            other => {
                let is_binary = headers.keys().any(|name| name.as_str().starts_with(HEADER_PREFIX));
                let is_json = other == "application/json" || other.ends_with("+json");
                match (is_binary, is_json) {
                    (true, _) if is_json || other.is_empty() => Some(Self::Binary),
                    (false, true) => Some(Self::Plain),
                    _ => None,
                }
            }
        }
    }
}

impl Events {
    /// Reads a body of at most `most` events that `who` sends.
    ///
    /// # Errors
    /// When the body cannot be read at all, or holds too many events.
    pub(super) fn read(
        mode: Mode,
        (headers, body): (&HeaderMap, &[u8]),
        most: usize,
        who: &Principal,
    ) -> Result<Self, Problem> {
        let mut events = Self::default();
        let is_array = || body.trim_ascii_start().first() == Some(&b'[');
        match mode {
            Mode::Binary => events.add(Ok(Event::from_parts(headers, body)), most, who),
            Mode::Batched => events.read_array(body, most, who)?,
            Mode::Plain if is_array() => events.read_array(body, most, who)?,
            Mode::Plain | Mode::Structured => {
                let event: &RawValue = serde_json::from_slice(body).map_err(Problem::malformed_body)?;
                events.add(Event::parse(event.get()), most, who);
            }
        }
        Ok(events)
    }

    fn read_array(&mut self, body: &[u8], most: usize, who: &Principal) -> Result<(), Problem> {
        let mut from = serde_json::Deserializer::from_slice(body);
        let read = from.deserialize_seq(Array { events: &mut *self, most, who }).and_then(|()| from.end());
        match read {
            Err(_) if self.count > most => Err(Problem::batch_too_large(most)),
            read => read.map_err(Problem::malformed_body),
        }
    }

    fn add(&mut self, event: Result<Event<'_>, Cow<'static, str>>, most: usize, who: &Principal) {
        let place = self.count;
        self.count += 1;
        let debit = event.and_then(Event::into_debit).map_err(Problem::invalid);
        let placed = debit.and_then(|(named, debit)| {
            let named = named.map(|named| named.text().unwrap_or_default().parse::<OrgId>()).transpose()?;
            Ok((organization(named, who)?, debit))
        });
        match placed {
            Ok((organization, debit)) => self.group(organization, most).push(place, &debit),
            Err(problem) => self.refused.push((place, problem)),
        }
    }

    fn group(&mut self, organization: OrgId, most: usize) -> &mut Group {
        let known = self.groups.iter().position(|group| group.organization == organization);
        let at = known.unwrap_or_else(|| {
            let mut rows = take_rows();
            rows.clear(most);
            self.groups.push(Group { organization, rows, places: Vec::new() });
            self.groups.len() - 1
        });
        &mut self.groups[at]
    }

    /// The events that were refused, in the order of the body.
    pub(super) fn into_refused(mut self) -> Vec<(usize, Problem)> {
        self.refused.sort_by_key(|(place, _)| *place);
        std::mem::take(&mut self.refused)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.groups.drain(..).for_each(|group| keep_rows(group.rows));
    }
}

impl Group {
    fn push(&mut self, place: usize, debit: &Fields<'_>) {
        self.rows.push(debit);
        self.places.push(place);
    }
}

/// Every refused event as it is listed in a problem.
pub(super) fn listed(refused: Vec<(usize, Problem)>) -> Vec<RefusedEvent> {
    refused.into_iter().map(|(place, problem)| problem.of_event(place)).collect()
}

/// The organization that an event is charged to: the one it names, or else the only one of the key or token.
fn organization(named: Option<OrgId>, who: &Principal) -> Result<OrgId, Problem> {
    let Some(organization) = named.or_else(|| who.only_organization().cloned()) else {
        return Err(Problem::invalid(
            "the api key or token is for several organizations; name one in the attribute `organization` of the event",
        ));
    };
    if who.may(Action::Debit(&organization)) { Ok(organization) } else { Err(Refusal::Forbidden.into()) }
}

/// An array of events.
struct Array<'a> {
    events: &'a mut Events,
    most: usize,
    who: &'a Principal,
}

impl<'de> Visitor<'de> for Array<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut events: A) -> Result<(), A::Error> {
        while let Some(event) = events.next_element::<&'de RawValue>()? {
            if self.events.count == self.most {
                self.events.count += 1;
                return Err(A::Error::custom("too many events"));
            }
            self.events.add(Event::parse(event.get()), self.most, self.who);
        }
        Ok(())
    }
}
