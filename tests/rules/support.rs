//! An organization on a bench: its process, its journal in memory, and a clock that the test sets.
//!
//! After every step the pool's invariants are checked, so that each test of a rule is a test of them as well.

use tokenweir::domain::batch::DebitBatch;
use tokenweir::domain::bindings::UnlimitedLicense;
use tokenweir::domain::command::{CameraSpec, Command};
use tokenweir::domain::debit::{CameraRef, Charge, Charges, Debit, Identity, Measured, Outcome, UsageKind};
use tokenweir::domain::event::{Event, OrganizationCreated};
use tokenweir::domain::ids::{ActorId, CameraId, KeyId, LicenseId, Name, OrgId, ReservationId, TransferId};
use tokenweir::domain::invariants;
use tokenweir::domain::license::LicenseKey;
use tokenweir::domain::limits::RETENTION_MS_DEFAULT;
use tokenweir::domain::pool::Pool;
use tokenweir::domain::refusal::Refusal;
use tokenweir::domain::time::Timestamp;
use tokenweir::domain::tokens::Tokens;
use tokenweir::protocol::message::{ToCoordinator, ToOrg};
use tokenweir::protocol::org::OrgProcess;

/// When every bench begins, in milliseconds since the Unix epoch; the start of a six-hour unit.
pub(crate) const BEGIN_MS: u64 = 1_760_011_200_000;
/// One hour in milliseconds.
pub(crate) const HOUR: u64 = 60 * 60 * 1_000;
/// How long a bench remembers event ids, in milliseconds.
pub(crate) const RETENTION: u64 = RETENTION_MS_DEFAULT;

/// The time `ms` after the bench began.
pub(crate) fn at(ms: u64) -> Timestamp {
    Timestamp::from_ms(BEGIN_MS + ms).expect("in range")
}

pub(crate) fn org_id(text: &str) -> OrgId {
    OrgId::new(text).expect("a good organization id")
}

pub(crate) fn camera_id(text: &str) -> CameraId {
    CameraId::new(text).expect("a good camera id")
}

pub(crate) fn license_id(text: &str) -> LicenseId {
    LicenseId::new(text).expect("a good license id")
}

pub(crate) fn transfer_id(text: &str) -> TransferId {
    TransferId::new(text).expect("a good transfer id")
}

pub(crate) fn reservation_id(text: &str) -> ReservationId {
    ReservationId::new(text).expect("a good reservation id")
}

pub(crate) fn actor() -> ActorId {
    ActorId::new("admin").expect("a good actor id")
}

/// A license key with one license for each grant.
pub(crate) fn key(id: &str, grants: &[u64]) -> LicenseKey {
    let grants = grants.iter().map(|tokens| Tokens(*tokens)).collect();
    LicenseKey { id: KeyId::new(id).expect("a good key id"), grants }
}

/// A debit of one token by a camera, under a sequence number of epoch 1.
pub(crate) fn seq(camera: &str, seq: u64) -> Debit<'_> {
    let (identity, kind) = (Identity::Seq { epoch: 1, seq }, UsageKind::ContextualVideoAnalytics);
    Debit { camera: CameraRef::Id(camera), identity, tokens: 1, kind, time: None }
}

/// A debit of one token by a camera, under an event id with a time `ms` after the bench began.
pub(crate) fn event<'a>(camera: &'a str, id: &'a str, ms: u64) -> Debit<'a> {
    Debit { identity: Identity::EventId(id.as_bytes()), time: Some(at(ms)), ..seq(camera, 0) }
}

/// A camera with Cloud AI on.
pub(crate) fn camera(id: &str) -> CameraSpec {
    let network = Name::new("north").expect("a good name");
    CameraSpec { id: camera_id(id), network, cloud_ai: true, pro_license: false }
}

/// An Unlimited AI License for contextual video analytics, valid from and until so many ms after the bench began.
pub(crate) fn unlimited(id: &str, from: u64, until: u64) -> UnlimitedLicense {
    let kind = UsageKind::ContextualVideoAnalytics;
    UnlimitedLicense { id: license_id(id), kind, from: at(from), until: at(until) }
}

/// One entry of a journal.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    /// Something other than debits.
    Event(Event),
    /// The admitted debits of a batch.
    Charges { at: Timestamp, charges: Vec<Charge>, text: Vec<u8>, reservation: Option<ReservationId> },
}

/// An organization, what it journaled, and its clock.
#[derive(Debug)]
pub(crate) struct Org {
    process: OrgProcess,
    created: OrganizationCreated,
    pub(crate) journal: Vec<Entry>,
    pub(crate) clock: Timestamp,
}

impl Org {
    /// A new organization without cameras and tokens.
    pub(crate) fn new(id: &str) -> Self {
        let name = Name::new(id).expect("a good name");
        let created =
            OrganizationCreated { organization: org_id(id), name, secret: (3, 7), retention_ms: RETENTION };
        let process = OrgProcess::new(Pool::new(created.clone(), at(0)));
        Self { process, created, journal: Vec::new(), clock: at(0) }
    }

    /// A new organization with the camera `cam` and one license of so many tokens, or none for 0.
    pub(crate) fn with_tokens(id: &str, tokens: u64) -> Self {
        let mut org = Self::new(id);
        org.register(camera("cam"));
        if tokens > 0 {
            org.add(&format!("{id}-key"), &[tokens]).expect("a first license fits");
        }
        org
    }

    pub(crate) fn pool(&self) -> &Pool {
        self.process.pool()
    }

    pub(crate) fn available(&self) -> u64 {
        self.pool().available().0
    }

    /// Carries out a command; whether it changed anything.
    pub(crate) fn command(&mut self, command: Command) -> Result<bool, Refusal> {
        self.expire();
        let event = self.process.command(command, self.clock)?;
        let changed = event.is_some();
        self.journal.extend(event.map(Entry::Event));
        self.check();
        Ok(changed)
    }

    pub(crate) fn register(&mut self, spec: CameraSpec) {
        self.command(Command::RegisterCamera(spec)).expect("a few cameras fit");
    }

    pub(crate) fn set_cloud_ai(&mut self, id: &str, cloud_ai: bool) {
        self.register(CameraSpec { cloud_ai, ..camera(id) });
    }

    pub(crate) fn add(&mut self, id: &str, grants: &[u64]) -> Result<bool, Refusal> {
        self.command(Command::AddLicenses { key: key(id, grants), by: actor() })
    }

    pub(crate) fn bind(&mut self, id: &str, license: UnlimitedLicense) -> Result<bool, Refusal> {
        self.command(Command::BindUnlimited { camera: camera_id(id), license })
    }

    pub(crate) fn unbind(&mut self, id: &str) -> Result<bool, Refusal> {
        self.command(Command::UnbindUnlimited { license: license_id(id) })
    }

    /// Judges and carries out one debit.
    pub(crate) fn debit(&mut self, debit: Debit<'_>) -> Outcome {
        self.debits(&[debit])[0]
    }

    /// Holds so many tokens for so many ms; whether that changed anything.
    pub(crate) fn reserve(&mut self, id: &str, tokens: u64, ttl_ms: u64) -> Result<bool, Refusal> {
        let (reservation, tokens) = (reservation_id(id), Tokens(tokens));
        self.command(Command::Reserve { reservation, tokens, ttl_ms, by: actor() })
    }

    pub(crate) fn release(&mut self, id: &str) -> Result<bool, Refusal> {
        self.command(Command::ReleaseReservation { reservation: reservation_id(id) })
    }

    /// Ends the reservations whose time is over, as an actor does before it judges.
    pub(crate) fn expire(&mut self) {
        self.journal.extend(self.process.expire(self.clock).map(Entry::Event));
    }

    /// Judges and carries out one batch.
    pub(crate) fn debits(&mut self, debits: &[Debit<'_>]) -> Vec<Outcome> {
        self.pay(None, debits)
    }

    /// As [`Self::debits`], to be paid by a reservation.
    pub(crate) fn settle(&mut self, reservation: &str, debits: &[Debit<'_>]) -> Vec<Outcome> {
        self.pay(Some(reservation_id(reservation)), debits)
    }

    /// Judges and carries out one event that is to be priced.
    pub(crate) fn measured(&mut self, event: Measured<'_>) -> Outcome {
        let mut batch = DebitBatch::default();
        batch.push_measured(event);
        self.judge(batch)[0]
    }

    /// Judges and carries out one debit whose camera is to be in this network.
    pub(crate) fn debit_in(&mut self, network: &str, debit: Debit<'_>) -> Outcome {
        let mut batch = DebitBatch::default();
        batch.push(debit);
        batch.expect_network(&Name::new(network).expect("a good name"));
        self.judge(batch)[0]
    }

    fn pay(&mut self, reservation: Option<ReservationId>, debits: &[Debit<'_>]) -> Vec<Outcome> {
        let mut batch = DebitBatch::with_capacity(debits.len());
        batch.pay_by(reservation);
        for debit in debits {
            batch.push(*debit);
        }
        self.judge(batch)
    }

    /// Judges and carries out a batch.
    pub(crate) fn judge(&mut self, mut batch: DebitBatch) -> Vec<Outcome> {
        self.expire();
        let Charges { at, charges, text, reservation } = self.process.debits(&mut batch, self.clock);
        if !charges.is_empty() {
            let (charges, text, reservation) = (charges.to_vec(), text.to_vec(), reservation.cloned());
            self.journal.push(Entry::Charges { at, charges, text, reservation });
        }
        self.check();
        batch.outcomes().to_vec()
    }

    /// Takes a message of the coordinator and answers it.
    pub(crate) fn message(&mut self, message: ToOrg) -> ToCoordinator {
        self.answer(message).expect("no reservation is open")
    }

    /// As [`Self::message`]; none when it waits.
    pub(crate) fn answer(&mut self, message: ToOrg) -> Option<ToCoordinator> {
        self.expire();
        let (event, answer) = self.process.message(message, self.clock)?;
        self.journal.extend(event.map(Entry::Event));
        self.check();
        Some(answer)
    }

    /// Freezes the pool for `transfer`, as the coordinator asks for it.
    pub(crate) fn prepare_out(&mut self, transfer: &str) -> ToCoordinator {
        let (transfer, target, by) = (transfer_id(transfer), org_id("target"), actor());
        self.message(ToOrg::PrepareOut { transfer, target, by })
    }

    pub(crate) fn commit(&mut self, transfer: &str) -> ToCoordinator {
        self.message(ToOrg::Commit { transfer: transfer_id(transfer) })
    }

    pub(crate) fn abort(&mut self, transfer: &str) -> ToCoordinator {
        self.message(ToOrg::Abort { transfer: transfer_id(transfer) })
    }

    /// The pool that the journal gives, from its beginning.
    pub(crate) fn replayed(&self) -> Pool {
        let mut pool = Pool::new(self.created.clone(), at(0));
        for entry in &self.journal {
            match entry {
                Entry::Event(event) => pool.apply(event),
                Entry::Charges { at, charges, text, reservation } => {
                    let reservation = reservation.as_ref();
                    pool.apply_charges(Charges { at: *at, charges, text, reservation });
                }
            }
        }
        pool
    }

    /// Ends the process and starts it again from its journal.
    pub(crate) fn crash(&mut self) {
        self.process = OrgProcess::new(self.replayed());
        self.check();
    }

    fn check(&self) {
        let found = invariants::check_pool(self.pool());
        assert!(found.is_empty(), "{found:?}");
    }
}
