//! What a stream of debits holds: a state machine without a clock of its own, a task or a connection.
//!
//! Every debit that was taken is in exactly one batch: the one that is filled, a sealed one, or one in flight. It leaves when it
//! is acknowledged, or when the stream ends for good. Batches keep their order over reconnections.

use std::collections::VecDeque;
use std::task::Waker;
use std::time::Duration;

use compact_str::CompactString;
use hashbrown::HashMap;

use crate::domain::debit::CameraRef;
use crate::domain::ids::ReservationId;
use crate::domain::limits::{BATCH_DEBITS_MAX, ID_BYTES_MAX, POOL_CAMERAS_MAX};
use crate::domain::refusal::Invalid;
use crate::proto::v1;
use crate::proto::v1::Outcome;
use crate::proto::v1::stream_request::Request;

use super::answer::{Answers, Sent};
use super::batch::{Batch, Chargeable};
use super::error::Error;
use super::places::ELSEWHERE;
use super::{Config, Lag};

/// Most cameras that are opened with one request.
const OPEN_CAMERAS_MAX: usize = 1_000;

/// What a stream of debits holds.
#[derive(Debug)]
pub(super) struct Core {
    organization: String,
    durability: v1::Durability,
    batch_debits: usize,
    window_debits: usize,
    linger: Duration,
    cameras: Cameras,
    filling: Batch,
    sealed: VecDeque<Batch>,
    in_flight: VecDeque<Batch>,
    held: usize,
    session: Session,
    /// What may be sent is sent now, however little it is.
    hurries: bool,
    is_connected: bool,
    reconnects: u64,
    /// Where the organization is served, as the last connection was told.
    owner: Option<String>,
    fate: Option<Error>,
    /// Woken when there may be something to send.
    pub(super) outbound: Option<Waker>,
}

/// What holds on one connection only.
#[derive(Debug, Default)]
struct Session {
    number: u64,
    organization: Option<u32>,
    is_opened: bool,
    /// Cameras that were asked for, by request, in order.
    asked: VecDeque<Vec<u32>>,
    granted: u64,
    used: u64,
    last_batch: u64,
}

/// The cameras that were named, and their handles on this connection.
#[derive(Debug, Default)]
struct Cameras {
    places: HashMap<CompactString, u32, foldhash::fast::RandomState>,
    names: Vec<CompactString>,
    handles: Vec<Handle>,
    to_open: Vec<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handle {
    Unknown,
    Asked,
    Known(u32),
}

/// What is to be sent next.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it is taken apart where it is made, and never kept")]
pub(super) enum Next {
    /// This.
    Request(Request),
    /// Nothing before more is known or acknowledged.
    Nothing,
    /// A batch, after this time unless it is full earlier.
    Later(Duration),
    /// Nothing more on this connection.
    End,
}

impl Core {
    pub(super) fn new(config: &Config, organization: &str) -> Self {
        let batch_debits = config.batch_debits.clamp(1, BATCH_DEBITS_MAX);
        Self {
            organization: organization.to_owned(),
            durability: config.durability,
            batch_debits,
            window_debits: config.window_debits.max(batch_debits),
            linger: config.linger,
            cameras: Cameras::default(),
            filling: Batch::new(config.durability),
            sealed: VecDeque::new(),
            in_flight: VecDeque::new(),
            held: 0,
            session: Session::default(),
            hurries: false,
            is_connected: false,
            reconnects: 0,
            owner: None,
            fate: None,
            outbound: None,
        }
    }

    /// The place of a camera in the table.
    pub(super) fn camera(&mut self, id: &str) -> Result<u32, Error> {
        self.cameras.place(id)
    }

    /// The id of the camera in this place of the table.
    pub(super) fn camera_id(&self, place: u32) -> &str {
        self.cameras.name(place)
    }

    /// Takes a debit that this reservation pays; the pool where there is none.
    pub(super) fn push(
        &mut self,
        asked: &Chargeable<'_>,
        payer: Option<&ReservationId>,
    ) -> Result<Sent, Error> {
        if let Some(fate) = &self.fate {
            return Err(fate.clone());
        }
        if self.held >= self.window_debits {
            return Err(Error::Full);
        }
        let camera = match asked.debit.camera {
            CameraRef::Id(id) => self.cameras.place(id)?,
            CameraRef::Slot(slot) if slot.index() < self.cameras.names.len() => slot.0,
            CameraRef::Slot(_) => return Err(Invalid::CameraId.into()),
        };
        let payer = payer.map_or("", ReservationId::as_str);
        // Two empty texts are not compared: some systems' memcmp takes 150 ns where there is nothing to read.
        let pool_pays = payer.is_empty() && self.filling.payer().is_empty();
        if !pool_pays && self.filling.payer() != payer {
            self.fill_for(payer);
        }
        let was_empty = self.filling.is_empty();
        let sent = self.filling.push(camera, asked)?;
        self.held += 1;
        if self.filling.len() >= self.batch_debits {
            self.seal();
        }
        if was_empty || self.filling.is_empty() {
            self.wake();
        }
        Ok(sent)
    }

    /// Whose debits they are.
    pub(super) fn organization(&self) -> &str {
        &self.organization
    }

    /// Where the organization is served, as the connection that ended was told; it is told once.
    pub(super) fn take_owner(&mut self) -> Option<String> {
        self.owner.take()
    }

    /// How many debits are held.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// How the stream ended, if it did.
    pub(super) fn fate(&self) -> Option<&Error> {
        self.fate.as_ref()
    }

    /// Sends what there is without waiting for more.
    pub(super) fn hurry(&mut self) {
        self.hurries = !self.filling.is_empty();
        self.wake();
    }

    /// What the stream lags behind by.
    pub(super) fn lag(&self) -> Lag {
        let filling = Some(&self.filling).filter(|filling| !filling.is_empty());
        let oldest = self.in_flight.front().or(self.sealed.front()).or(filling);
        Lag {
            unacknowledged: self.held,
            oldest: oldest.map(|batch| batch.begun.elapsed()),
            is_connected: self.is_connected,
            reconnects: self.reconnects,
        }
    }

    /// A connection is made: nothing holds of what the one before knew, and what it left is sent again, in order.
    pub(super) fn begin(&mut self) -> u64 {
        self.session = Session { number: self.session.number + 1, ..Session::default() };
        self.cameras.forget();
        for mut batch in self.in_flight.drain(..).rev() {
            batch.resent = true;
            self.sealed.push_front(batch);
        }
        self.reconnects = self.session.number - 1;
        self.session.number
    }

    /// The connection is gone.
    pub(super) fn disconnect(&mut self) {
        self.is_connected = false;
        self.session.organization = None;
        self.wake();
    }

    /// The stream ends for good: whoever waits is told.
    pub(super) fn end(&mut self, fate: Error) {
        let filling = std::mem::replace(&mut self.filling, Batch::new(self.durability));
        let all = self.in_flight.drain(..).chain(self.sealed.drain(..)).chain([filling]);
        all.for_each(|batch| batch.cell.fill(Err(fate.clone())));
        self.held = 0;
        self.fate.get_or_insert(fate);
        self.wake();
    }

    /// What is to be sent next on connection `session`.
    pub(super) fn next(&mut self, session: u64) -> Next {
        if self.fate.is_some() || session != self.session.number {
            return Next::End;
        }
        if !self.session.is_opened {
            self.session.is_opened = true;
            return Next::Request(self.open(Vec::new()));
        }
        let Some(organization) = self.session.organization else { return Next::Nothing };
        if self.sealed.is_empty() {
            match self.linger_left() {
                None => return Next::Nothing,
                Some(left) if !left.is_zero() => return Next::Later(left),
                Some(_) => self.seal(),
            }
        }
        self.next_batch(organization)
    }

    /// Takes what the server said.
    ///
    /// # Errors
    /// When the stream cannot go on.
    pub(super) fn take(&mut self, reply: v1::stream_reply::Reply) -> Result<(), Error> {
        use v1::stream_reply::Reply;
        match reply {
            Reply::Credit(credit) => self.grant(credit.debits)?,
            Reply::Opened(opened) => self.opened(opened)?,
            Reply::Ack(ack) => self.acknowledge(ack)?,
            Reply::Problem(problem) => return Err(error_of(problem)),
        }
        self.wake();
        Ok(())
    }

    /// # Errors
    /// When a batch could never be sent within what is granted.
    fn grant(&mut self, debits: u64) -> Result<(), Error> {
        self.session.granted = self.session.granted.saturating_add(debits);
        if self.session.granted >= count(self.batch_debits) {
            return Ok(());
        }
        let (granted, batch) = (self.session.granted, self.batch_debits);
        let detail =
            format!("the server grants {granted} debits in flight, a batch has {batch}; make it smaller");
        Err(Error::Refused { code: "credit_too_small".to_owned(), detail })
    }

    fn next_batch(&mut self, organization: u32) -> Next {
        let Some(batch) = self.sealed.front_mut() else { return Next::Nothing };
        let Some(handles) = self.cameras.handles_of(&batch.cameras) else {
            let cameras = self.cameras.take_to_open();
            return if cameras.is_empty() { Next::Nothing } else { Next::Request(self.open(cameras)) };
        };
        let rows = count(batch.len());
        if self.session.used + rows > self.session.granted {
            return Next::Nothing;
        }
        self.session.used += rows;
        self.session.last_batch += 1;
        batch.number = self.session.last_batch;
        let message = batch.message(organization, handles);
        self.in_flight.extend(self.sealed.pop_front());
        Next::Request(Request::DebitBatch(message))
    }

    fn open(&mut self, places: Vec<u32>) -> Request {
        let cameras = places.iter().map(|place| self.cameras.name(*place).to_string()).collect();
        self.session.asked.push_back(places);
        let organization = v1::OpenOrganization { organization: self.organization.clone(), cameras };
        Request::Open(v1::Open { organizations: vec![organization] })
    }

    fn opened(&mut self, opened: v1::Opened) -> Result<(), Error> {
        let places = self.session.asked.pop_front().unwrap_or_default();
        let Some(organization) = opened.organizations.into_iter().next() else { return Ok(()) };
        if let Some(problem) = organization.problem {
            self.owner = Some(problem.owner.clone()).filter(|owner| !owner.is_empty());
            return Err(error_of(problem));
        }
        self.session.organization = Some(organization.organization);
        self.is_connected = true;
        for (place, handle) in places.into_iter().zip(organization.cameras) {
            self.cameras.set(place, Handle::Known(handle));
        }
        Ok(())
    }

    /// # Errors
    /// When the organization is served elsewhere now: what became of these batches is not known, and all of them are sent again there.
    fn acknowledge(&mut self, ack: v1::Ack) -> Result<(), Error> {
        if ack.exceptions.iter().any(|exceptions| exceptions.every_row() == Outcome::Elsewhere) {
            let detail = "another node serves the organization".to_owned();
            return Err(Error::Unavailable { code: ELSEWHERE.to_owned(), detail });
        }
        let mut exceptions = ack.exceptions.into_iter().peekable();
        while let Some(batch) = self.in_flight.pop_front_if(|batch| batch.number <= ack.last_batch) {
            let own = exceptions.next_if(|exceptions| exceptions.batch == batch.number).unwrap_or_default();
            self.forget_unknown(&batch, &own);
            let others = own.every_row();
            batch.cell.fill(Ok(Answers {
                others: if others == Outcome::Unspecified { Outcome::Charged } else { others },
                rows: own.row,
                outcomes: own.outcome,
                details: own.details,
                available: ack.available,
                lsn: ack.lsn,
                durability: v1::Durability::try_from(ack.durability).unwrap_or_default(),
                resent: batch.resent,
            }));
            self.held -= batch.len();
            self.session.used = self.session.used.saturating_sub(count(batch.len()));
        }
        Ok(())
    }

    /// A camera that was unknown may have been registered since: it is opened again before its next debit.
    fn forget_unknown(&mut self, batch: &Batch, exceptions: &v1::Exceptions) {
        let unknown = i32::from(Outcome::UnknownCamera);
        if exceptions.every_row == unknown {
            batch.cameras.iter().for_each(|place| self.cameras.set(*place, Handle::Unknown));
        }
        for (row, _) in exceptions.row.iter().zip(&exceptions.outcome).filter(|(_, code)| **code == unknown) {
            let camera = usize::try_from(*row).ok().and_then(|row| batch.cameras.get(row));
            camera.into_iter().for_each(|place| self.cameras.set(*place, Handle::Unknown));
        }
    }

    fn linger_left(&self) -> Option<Duration> {
        if self.filling.is_empty() {
            return None;
        }
        if self.hurries {
            return Some(Duration::ZERO);
        }
        Some(self.linger.saturating_sub(self.filling.begun.elapsed()))
    }

    /// The rows of a batch have one payer: another one begins another batch.
    fn fill_for(&mut self, payer: &str) {
        if !self.filling.is_empty() {
            self.seal();
        }
        self.filling.pay_by(payer);
    }

    fn seal(&mut self) {
        self.hurries = false;
        let full = std::mem::replace(&mut self.filling, Batch::new(self.durability));
        self.sealed.push_back(full);
    }

    fn wake(&mut self) {
        if let Some(waker) = self.outbound.take() {
            waker.wake();
        }
    }
}

impl Cameras {
    fn place(&mut self, id: &str) -> Result<u32, Error> {
        if let Some(place) = self.places.get(id) {
            return Ok(*place);
        }
        let place = u32::try_from(self.names.len()).ok().filter(|place| *place < POOL_CAMERAS_MAX);
        let place = place.filter(|_| !id.is_empty() && id.len() <= ID_BYTES_MAX).ok_or(Invalid::CameraId)?;
        let name = CompactString::from(id);
        self.places.insert(name.clone(), place);
        self.names.push(name);
        self.handles.push(Handle::Unknown);
        Ok(place)
    }

    fn name(&self, place: u32) -> &str {
        &self.names[index(place)]
    }

    fn set(&mut self, place: u32, handle: Handle) {
        self.handles[index(place)] = handle;
    }

    fn forget(&mut self) {
        self.to_open.clear();
        self.handles.fill(Handle::Unknown);
    }

    /// The handles of these cameras; none when one is not known yet, and then it will be asked for.
    fn handles_of(&mut self, places: &[u32]) -> Option<Vec<u32>> {
        let mut handles = Vec::with_capacity(places.len());
        for place in places {
            match self.handles[index(*place)] {
                Handle::Known(handle) => handles.push(handle),
                Handle::Asked => {}
                Handle::Unknown => {
                    self.set(*place, Handle::Asked);
                    self.to_open.push(*place);
                }
            }
        }
        (handles.len() == places.len()).then_some(handles)
    }

    fn take_to_open(&mut self) -> Vec<u32> {
        let first = self.to_open.len().saturating_sub(OPEN_CAMERAS_MAX);
        self.to_open.split_off(first)
    }
}

fn error_of(problem: v1::Problem) -> Error {
    let v1::Problem { code, detail, retryable, .. } = problem;
    if retryable { Error::Unavailable { code, detail } } else { Error::Refused { code, detail } }
}

fn index(place: u32) -> usize {
    usize::try_from(place).expect("a place of the table")
}

fn count(rows: usize) -> u64 {
    u64::try_from(rows).unwrap_or(u64::MAX)
}
