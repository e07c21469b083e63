//! What a stretch of the journal adds up to, in memory, before it goes into the database.
//!
//! A minute of millions of debits becomes a row for each camera, network and usage kind. Nothing here names the database.

use std::collections::{BTreeMap, VecDeque};

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use serde::Serialize;

use crate::domain::debit::{Charge, Charges};
use crate::domain::ids::{LicenseId, OrgNumber, Slot};
use crate::domain::limits::POOL_TOKENS_MAX;
use crate::domain::pool::Totals;
use crate::domain::time::Timestamp;

use super::account::Account;
use super::schema::Level;

/// What was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Used {
    /// Tokens charged.
    pub charged: u64,
    /// Tokens that an Unlimited AI License exempted; counted as the pool counts them.
    pub exempt: u64,
    /// Debits charged.
    pub debits_charged: u64,
    /// Debits exempt.
    pub debits_exempt: u64,
}

/// What came and went in a bucket, and what was left at its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flow {
    pub(super) balance: u64,
    pub(super) granted: u64,
    pub(super) received: u64,
    pub(super) sent: u64,
    pub(super) charged: u64,
}

/// One admitted debit, as the event log shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Logged {
    /// Counts the admitted debits of the organization, from 1.
    pub(super) number: u64,
    pub(super) at: Timestamp,
    pub(super) time: Option<Timestamp>,
    pub(super) camera: Slot,
    pub(super) network: u16,
    pub(super) kind: u8,
    pub(super) tokens: u32,
    pub(super) exempt: bool,
    pub(super) license: Option<LicenseId>,
    pub(super) balance: u64,
}

/// What tells rows of one bucket apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    pub(super) camera: Slot,
    pub(super) network: u16,
    pub(super) kind: u8,
}

/// A row of usage: organization, bucket, place.
pub(super) type UsageKey = (OrgNumber, u64, Place);

type Places = HashMap<Place, Used, FixedState>;

/// What a stretch of the journal adds up to.
#[derive(Debug, Default)]
pub(super) struct Tally {
    usage: BTreeMap<(OrgNumber, u64), Places>,
    flows: BTreeMap<(OrgNumber, u64), Flow>,
    log: BTreeMap<OrgNumber, VecDeque<Logged>>,
    logged: usize,
    rows: usize,
    log_max: usize,
}

impl Used {
    pub(super) fn add(&mut self, other: Self) {
        self.charged += other.charged;
        // Both sums come from counters that stop at the same bound.
        self.exempt = self.exempt.saturating_add(other.exempt);
        self.debits_charged += other.debits_charged;
        self.debits_exempt += other.debits_exempt;
    }

    /// What came since `before`.
    pub(super) fn since(self, before: Self) -> Self {
        Self {
            charged: self.charged.saturating_sub(before.charged),
            exempt: self.exempt.saturating_sub(before.exempt),
            debits_charged: self.debits_charged.saturating_sub(before.debits_charged),
            debits_exempt: self.debits_exempt.saturating_sub(before.debits_exempt),
        }
    }

    /// Debits admitted.
    pub(super) fn debits(self) -> u64 {
        self.debits_charged + self.debits_exempt
    }
}

impl From<&Totals> for Used {
    fn from(totals: &Totals) -> Self {
        Self {
            charged: totals.used.0,
            exempt: totals.exempt.0,
            debits_charged: totals.debits_charged,
            debits_exempt: totals.debits_exempt,
        }
    }
}

impl Flow {
    /// Takes what came later.
    pub(super) fn then(&mut self, later: Self) {
        self.balance = later.balance;
        self.granted += later.granted;
        self.received += later.received;
        self.sent += later.sent;
        self.charged += later.charged;
    }
}

impl Tally {
    /// An empty tally that keeps the newest `log_max` debits of each organization.
    pub(super) fn new(log_max: usize) -> Self {
        Self { log_max, ..Self::default() }
    }

    /// How many rows it would write, about.
    pub(super) fn rows(&self) -> usize {
        self.rows + self.logged
    }

    /// Counts the admitted debits of a frame, and carries them out in `account`. All its cameras are known.
    pub(super) fn count(&mut self, account: &mut Account, batch: Charges<'_>) {
        let minute = Level::Minute.bucket(batch.at.ms());
        let places = self.usage.entry((account.number, minute)).or_default();
        let (before, charged_before) = (places.len(), account.used.charged);
        // Of a long frame the log keeps the end.
        let unlogged = batch.charges.len().saturating_sub(self.log_max);
        let log = self.log.entry(account.number).or_default();
        let logged_before = log.len();
        for (index, charge) in batch.charges.iter().enumerate() {
            let network = account.networks[charge.slot.index()];
            let place = Place { camera: charge.slot, network, kind: charge.kind.number() };
            let used = one(charge, account.used.exempt);
            places.entry(place).or_default().add(used);
            account.used.add(used);
            account.balance = account.balance.saturating_sub(used.charged);
            if index >= unlogged {
                if log.len() == self.log_max {
                    log.pop_front();
                }
                log.push_back(logged(account, charge, place, batch.at));
            }
        }
        self.logged += log.len() - logged_before;
        self.rows += places.len() - before;
        let charged = account.used.charged - charged_before;
        self.flow(account, batch.at, Flow { charged, ..Flow::default() });
    }

    /// Notes what came or went at `at`; what is left is what the account has now.
    pub(super) fn flow(&mut self, account: &mut Account, at: Timestamp, what: Flow) {
        account.at = account.at.max(at);
        let minute = Level::Minute.bucket(at.ms());
        let flow = self.flows.entry((account.number, minute)).or_default();
        flow.then(Flow { balance: account.balance, ..what });
    }

    /// The organizations of which anything was counted.
    pub(super) fn organizations(&self) -> Vec<OrgNumber> {
        let mut numbers: Vec<_> = self.flows.keys().map(|(number, _)| *number).collect();
        numbers.dedup();
        numbers
    }

    /// The rows of usage in buckets of this level, in the order of their keys.
    pub(super) fn usage(&self, level: Level) -> Vec<(UsageKey, Used)> {
        let per = level.ms() / Level::Minute.ms();
        let mut rows: Vec<(UsageKey, Used)> = Vec::with_capacity(self.rows);
        for ((number, minute), places) in &self.usage {
            rows.extend(places.iter().map(|(place, used)| ((*number, minute / per, *place), *used)));
        }
        rows.sort_unstable_by_key(|(key, _)| *key);
        rows.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            if same {
                kept.1.add(later.1);
            }
            same
        });
        rows
    }

    /// What came and went in buckets of this level, in order.
    pub(super) fn flows(&self, level: Level) -> BTreeMap<(OrgNumber, u64), Flow> {
        let per = level.ms() / Level::Minute.ms();
        let mut flows: BTreeMap<_, Flow> = BTreeMap::new();
        for ((number, minute), flow) in &self.flows {
            flows.entry((*number, minute / per)).or_default().then(*flow);
        }
        flows
    }

    /// The newest debits of each organization, oldest first.
    pub(super) fn log(&self) -> impl Iterator<Item = (OrgNumber, &VecDeque<Logged>)> {
        self.log.iter().map(|(number, rows)| (*number, rows))
    }

    /// Empties it.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.log_max);
    }
}

/// What one debit adds. What is exempt is counted up to the bound at which the pool stops counting (`Pool::apply_charge`).
fn one(charge: &Charge, exempt_before: u64) -> Used {
    let tokens = u64::from(charge.tokens);
    if charge.exempt {
        let exempt = tokens.min(POOL_TOKENS_MAX.saturating_sub(exempt_before));
        Used { exempt, debits_exempt: 1, ..Used::default() }
    } else {
        Used { charged: tokens, debits_charged: 1, ..Used::default() }
    }
}

fn logged(account: &Account, charge: &Charge, place: Place, at: Timestamp) -> Logged {
    let license = if charge.exempt { account.license(charge, at) } else { None };
    Logged {
        number: account.used.debits(),
        at,
        time: charge.time,
        camera: place.camera,
        network: place.network,
        kind: place.kind,
        tokens: charge.tokens,
        exempt: charge.exempt,
        license,
        balance: account.balance,
    }
}
