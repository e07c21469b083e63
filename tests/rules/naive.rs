//! A pool as anybody would write it who has all the memory and time in the world.
//!
//! It keeps every charged id for ever and works every figure out at once. Where the rules leave a choice (an event id
//! past its retention may still be remembered, or be too old) it answers with all that is allowed; the pool under test
//! chooses, and the naive pool follows.

#[path = "naive/judge.rs"]
mod judge;
#[path = "naive/reservations.rs"]
mod reservations;

use std::collections::{BTreeMap, BTreeSet};

use tokenweir::domain::bindings::UnlimitedLicense;
use tokenweir::domain::debit::{CameraRef, Debit, FirstOutcome, Identity, Outcome, UsageKind};
use tokenweir::domain::pool::Pool;
use tokenweir::domain::rates::Unit;
use tokenweir::domain::refusal::{Invalid, Refusal};
use tokenweir::domain::time::Timestamp;

use self::reservations::Held;
use super::support::at;

/// What a debit is for: how many, of what, kind and time.
type Content = (u64, Option<Unit>, UsageKind, Option<Timestamp>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Id {
    Seq(u32, u64),
    Event(Vec<u8>),
}

/// A license: since when, its name, what it holds, and the organizations it was in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NaiveLicense {
    pub(crate) added_at: Timestamp,
    pub(crate) id: String,
    pub(crate) remaining: u64,
    pub(crate) stops: Vec<String>,
}

/// Everything on its way to another pool.
pub(crate) type NaiveCargo = (u64, Vec<NaiveLicense>);

#[derive(Clone, Debug)]
enum Side {
    Out(NaiveCargo),
    In(NaiveCargo),
    Ended,
}

/// The naive pool.
#[derive(Clone, Debug, Default)]
pub(crate) struct Naive {
    pub(crate) name: String,
    balance: u64,
    granted: u64,
    used: u64,
    exempt: u64,
    came_in: u64,
    went_out: u64,
    /// Whether each camera is there, and whether its Cloud AI is on.
    cameras: BTreeMap<String, (bool, bool)>,
    bindings: BTreeMap<String, (String, UnlimitedLicense)>,
    licenses: Vec<NaiveLicense>,
    keys: BTreeSet<String>,
    /// What an image of the first two kinds costs, in thousandths, and from when; in the order in which prices were set.
    rates: Vec<(Timestamp, u64)>,
    charged: BTreeMap<(String, Id), (Content, FirstOutcome)>,
    newest: BTreeMap<String, (u32, u64)>,
    sides: BTreeMap<String, Side>,
    frozen: Option<String>,
    reservations: BTreeMap<String, Held>,
    /// The transfer that waits until no reservation is open.
    waits: Option<String>,
    last_ms: u64,
}

impl Naive {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), last_ms: at(0).ms(), ..Self::default() }
    }

    /// Follows what became of the debit, which a reservation was to pay or the pool.
    pub(crate) fn follow(
        &mut self,
        (debit, unit, paid_by): (&Debit<'_>, Option<Unit>, Option<&str>),
        outcome: Outcome,
        clock: Timestamp,
    ) {
        let first = match outcome {
            Outcome::Charged => FirstOutcome::Charged,
            Outcome::Exempt => FirstOutcome::Exempt,
            Outcome::Duplicate(_) | Outcome::Refused(_) => return,
        };
        let now = clock.ms().max(self.last_ms);
        let tokens = self.price(debit, unit, now).expect("what has no price is refused");
        self.touch(clock);
        self.charged.insert(full_id(debit), ((debit.tokens, unit, debit.kind, debit.time), first));
        if let Identity::Seq { epoch, seq } = debit.identity {
            let newest = self.newest.entry(name_of(debit).to_owned()).or_insert((epoch, seq));
            *newest = (*newest).max((epoch, seq));
        }
        if first == FirstOutcome::Exempt {
            self.exempt += tokens;
            return;
        }
        if let Some(reservation) = paid_by {
            self.settle(reservation, tokens);
        }
        self.balance -= tokens;
        self.used += tokens;
        let mut owed = tokens;
        for license in &mut self.licenses {
            let paid = license.remaining.min(owed);
            license.remaining -= paid;
            owed -= paid;
        }
        assert_eq!(owed, 0, "the licenses hold what the pool holds");
    }

    pub(crate) fn set_rates(&mut self, from: Timestamp, millitokens: u64, clock: Timestamp) -> bool {
        let is_new = self.rates.last() != Some(&(from, millitokens));
        if is_new {
            self.rates.push((from, millitokens));
        }
        self.changed(is_new, clock)
    }

    pub(crate) fn register(&mut self, camera: &str, on: bool, clock: Timestamp) -> Result<bool, Refusal> {
        let before = self.cameras.insert(camera.to_owned(), (true, on));
        Ok(self.changed(before != Some((true, on)), clock))
    }

    pub(crate) fn remove(&mut self, camera: &str, clock: Timestamp) -> Result<bool, Refusal> {
        let known = self.cameras.get_mut(camera).filter(|(here, _)| *here);
        known.ok_or(Refusal::UnknownCamera)?.0 = false;
        Ok(self.changed(true, clock))
    }

    pub(crate) fn bind(
        &mut self,
        camera: &str,
        license: &UnlimitedLicense,
        clock: Timestamp,
    ) -> Result<bool, Refusal> {
        if license.from >= license.until {
            return Err(Refusal::Invalid(Invalid::Validity));
        }
        self.cameras.get(camera).filter(|(here, _)| *here).ok_or(Refusal::UnknownCamera)?;
        let bound = (camera.to_owned(), license.clone());
        match self.bindings.get(license.id.as_str()) {
            Some((other, _)) if other != camera => return Err(Refusal::LicenseInUse),
            Some(same) if *same == bound => return Ok(false),
            _ => {}
        }
        self.bindings.insert(license.id.to_string(), bound);
        Ok(self.changed(true, clock))
    }

    pub(crate) fn unbind(&mut self, license: &str, clock: Timestamp) -> Result<bool, Refusal> {
        if self.bindings.remove(license).is_some() {
            return Ok(self.changed(true, clock));
        }
        let is_shared = self.licenses.iter().any(|shared| shared.id == license);
        Err(if is_shared { Refusal::LicenseIsPermanent } else { Refusal::UnknownLicense })
    }

    pub(crate) fn add(&mut self, key: &str, grants: &[u64], clock: Timestamp) -> Result<bool, Refusal> {
        if self.keys.contains(key) {
            return Ok(false);
        }
        if self.frozen.is_some() {
            return Err(Refusal::InTransfer);
        }
        self.changed(true, clock);
        let added_at = Timestamp::from_ms(self.last_ms).expect("in range");
        let license = |(n, tokens): (usize, &u64)| {
            let (id, stops) = (format!("{key}.{}", n + 1), vec![self.name.clone()]);
            NaiveLicense { added_at, id, remaining: *tokens, stops }
        };
        let licenses: Vec<_> = grants.iter().enumerate().map(license).collect();
        self.keys.insert(key.to_owned());
        self.granted += grants.iter().sum::<u64>();
        self.receive((grants.iter().sum(), licenses));
        Ok(true)
    }

    pub(crate) fn prepare_out(&mut self, transfer: &str, clock: Timestamp) -> Result<bool, Refusal> {
        match self.sides.get(transfer) {
            Some(Side::Out(_)) => return Ok(false),
            Some(_) => return Err(Refusal::Conflict),
            None if self.frozen.is_some() => return Err(Refusal::InTransfer),
            None if self.licenses.is_empty() => return Err(Refusal::NothingToTransfer),
            None => {
                assert_eq!(
                    self.available(),
                    self.balance,
                    "R11: a pool is moved while reservations are open"
                );
            }
        }
        let cargo = (std::mem::take(&mut self.balance), std::mem::take(&mut self.licenses));
        self.sides.insert(transfer.to_owned(), Side::Out(cargo));
        self.frozen = Some(transfer.to_owned());
        Ok(self.changed(true, clock))
    }

    pub(crate) fn prepare_in(&mut self, transfer: &str, cargo: NaiveCargo, clock: Timestamp) {
        self.sides.insert(transfer.to_owned(), Side::In(cargo));
        self.touch(clock);
    }

    pub(crate) fn commit(&mut self, transfer: &str, clock: Timestamp) {
        match self.end(transfer, clock) {
            Some(Side::Out((tokens, _))) => self.went_out += tokens,
            Some(Side::In((tokens, mut licenses))) => {
                self.came_in += tokens;
                licenses.iter_mut().for_each(|license| license.stops.push(self.name.clone()));
                self.receive((tokens, licenses));
            }
            Some(Side::Ended) | None => {}
        }
    }

    pub(crate) fn abort(&mut self, transfer: &str, clock: Timestamp) {
        self.sides.entry(transfer.to_owned()).or_insert(Side::In((0, Vec::new())));
        if let Some(Side::Out(cargo)) = self.end(transfer, clock) {
            self.receive(cargo);
        }
    }

    /// What the transfer has in transit, where this is its source.
    pub(crate) fn cargo(&self, transfer: &str) -> Option<NaiveCargo> {
        match self.sides.get(transfer) {
            Some(Side::Out(cargo)) => Some(cargo.clone()),
            _ => None,
        }
    }

    /// Compares all figures with those of the pool.
    pub(crate) fn compare(&self, pool: &Pool) {
        let totals = &pool.totals;
        let transit =
            self.frozen.as_ref().and_then(|transfer| self.cargo(transfer)).map_or(0, |(tokens, _)| tokens);
        let figures = [pool.available(), totals.granted, totals.used, totals.exempt, totals.transferred_in];
        assert_eq!(
            figures.map(|tokens| tokens.0),
            [self.available(), self.granted, self.used, self.exempt, self.came_in]
        );
        self.compare_reservations(pool);
        assert_eq!((totals.transferred_out.0, pool.in_transit().0), (self.went_out, transit));
        let licenses: Vec<_> = pool.licenses.list().iter().map(naive_license).collect();
        assert_eq!(licenses, self.licenses);
        let here = self.cameras.values().filter(|(here, _)| *here);
        let on = here.clone().filter(|(_, on)| *on);
        let counted = (usize::try_from(pool.cameras.registered()), usize::try_from(pool.cameras.cloud_ai()));
        assert_eq!(counted, (Ok(here.count()), Ok(on.count())));
        assert_eq!(pool.outgoing.as_ref().map(ToString::to_string), self.frozen);
    }

    fn end(&mut self, transfer: &str, clock: Timestamp) -> Option<Side> {
        let side = self.sides.get_mut(transfer)?;
        let before = std::mem::replace(side, Side::Ended);
        if !matches!(before, Side::Ended) {
            self.touch(clock);
        }
        self.frozen.take_if(|frozen| frozen == transfer);
        Some(before)
    }

    fn receive(&mut self, (tokens, licenses): NaiveCargo) {
        self.balance += tokens;
        self.licenses.extend(licenses);
        self.licenses.sort();
    }

    fn changed(&mut self, changed: bool, clock: Timestamp) -> bool {
        if changed {
            self.touch(clock);
        }
        changed
    }

    fn touch(&mut self, clock: Timestamp) {
        self.last_ms = self.last_ms.max(clock.ms());
    }
}

fn naive_license(license: &tokenweir::domain::license::License) -> NaiveLicense {
    let stops = license.history.iter().map(|step| step.organization.to_string()).collect();
    let (added_at, id) = (license.added_at(), license.id.to_string());
    NaiveLicense { added_at, id, remaining: license.remaining.0, stops }
}

fn name_of<'a>(debit: &Debit<'a>) -> &'a str {
    match debit.camera {
        CameraRef::Id(id) => id,
        CameraRef::Slot(slot) => panic!("tests of the model name cameras by id, not by {slot:?}"),
    }
}

fn full_id(debit: &Debit<'_>) -> (String, Id) {
    let id = match debit.identity {
        Identity::Seq { epoch, seq } => Id::Seq(epoch, seq),
        Identity::EventId(id) => Id::Event(id.to_vec()),
    };
    (name_of(debit).to_owned(), id)
}
