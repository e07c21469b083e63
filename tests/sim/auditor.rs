//! Judges a run by its requests and replies alone: what was acknowledged must be there, what was not may be either.
//!
//! It never looks into a pool or a file. What is acknowledged as durable counts for ever (I3); what is acknowledged as applied
//! counts until the next crash; no identity is charged twice (I4); sums of a summary agree (I1, I2); a decided transfer stays
//! decided (I6); what was set holds until something else may have been set (`settings`); a reservation pays no more than it was made for and ends once (I7); frames never go back (I5). When all is asked again in the end there are no doubts left, and every sum is exact (I10).

mod settings;

use std::collections::{BTreeMap, BTreeSet};

use tokenweir::domain::debit::{FirstOutcome, Outcome};
use tokenweir::domain::ids::Lsn;
use tokenweir::domain::limits::SEQ_WINDOW;
use tokenweir::domain::refusal::Refusal;
use tokenweir::domain::registry::{Transfer, TransferState};
use tokenweir::domain::reservation::Reservation;
use tokenweir::domain::summary::Summary;
use tokenweir::protocol::coordinator::Answer;

use crate::net::{Item, Order, PRICES, Reply, Request, Setting};
use crate::node::RETENTION_MS;

use self::settings::Settings;

pub(crate) type Check = Result<(), String>;

#[derive(Default)]
pub(crate) struct Auditor {
    /// By organization.
    orgs: BTreeMap<usize, Org>,
    /// By key: for which organizations it was claimed, how many tokens it holds, and whose it is.
    keys: BTreeMap<usize, Key>,
    transfers: BTreeMap<usize, Move>,
    reservations: BTreeMap<usize, Held>,
    settings: Settings,
    /// By partition: the newest frame that a durable reply named.
    lsns: BTreeMap<usize, Lsn>,
    runs: u64,
    latest_ms: u64,
}

#[derive(Default)]
struct Org {
    partition: usize,
    debits: BTreeMap<Item, Seen>,
    /// By camera: the highest sequence number that was sent.
    highest: BTreeMap<usize, u64>,
}

/// What is known of a debit.
#[derive(Default)]
struct Seen {
    sent: u64,
    durable: bool,
    /// In which run it was carried out last.
    carried_out_in: Option<u64>,
    /// Whether it was exempt then.
    exempt: bool,
    /// What it cost then, at least and at most; none when that was not heard.
    cost: Option<(u64, u64)>,
    /// The last answer in the end: it can no longer be told whether it was charged.
    too_old: bool,
}

/// What is known of a reservation.
struct Held {
    order: Order,
    /// Where it stood when that was last told.
    told: Option<Reservation>,
    /// Whether somebody asked to release it.
    released: bool,
}

#[derive(Default)]
struct Key {
    tokens: u64,
    wanted_by: BTreeSet<usize>,
    owner: Option<usize>,
}

#[derive(Default)]
struct Move {
    source: usize,
    target: usize,
    known: Option<Transfer>,
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(what()) }
}

impl Seen {
    /// The least and the most that it was charged.
    fn charged(&self, item: &Item, in_doubt: bool) -> (u64, u64) {
        match (self.durable, self.exempt) {
            (true, true) => (0, 0),
            (true, false) => self.cost(item),
            (false, _) => (0, if in_doubt { settings::cost(item, &PRICES).1 } else { 0 }),
        }
    }

    /// The least and the most that it was exempt of.
    fn exempted(&self, item: &Item) -> (u64, u64) {
        if self.durable && self.exempt { self.cost(item) } else { (0, 0) }
    }

    fn cost(&self, item: &Item) -> (u64, u64) {
        self.cost.unwrap_or_else(|| settings::cost(item, &PRICES))
    }
}

impl Org {
    /// Tokens of durable debits that this reservation paid.
    fn durable_of(&self, paid_by: Option<usize>) -> u64 {
        self.paid_by(paid_by).map(|(item, seen)| seen.charged(item, false).0).sum()
    }

    /// Tokens of debits that this reservation was asked to pay.
    fn sent_to(&self, paid_by: Option<usize>) -> u64 {
        self.paid_by(paid_by).map(|(item, _)| item.tokens).sum()
    }

    fn paid_by(&self, paid_by: Option<usize>) -> impl Iterator<Item = (&Item, &Seen)> {
        self.debits.iter().filter(move |(item, _)| item.paid_by == paid_by)
    }
}

impl Auditor {
    /// An organization was created, in this partition, with so many cameras.
    pub(crate) fn created(&mut self, org: usize, partition: usize, cameras: usize) {
        self.orgs.entry(org).or_default().partition = partition;
        (0..cameras).for_each(|camera| self.settings.created(org, camera));
    }

    /// The time, as the clients see it.
    pub(crate) fn time(&mut self, now_ms: u64) {
        self.latest_ms = self.latest_ms.max(now_ms);
    }

    /// A crash: what was acknowledged as applied may be gone.
    pub(crate) fn crash(&mut self) {
        self.runs += 1;
    }

    /// A request arrives at a node.
    pub(crate) fn request(&mut self, request: &Request) {
        match request {
            Request::Debits { org, items, .. } => {
                let org = self.orgs.entry(*org).or_default();
                for item in items {
                    org.debits.entry(*item).or_default().sent += 1;
                    let highest = org.highest.entry(item.camera).or_default();
                    *highest = (*highest).max(if item.by_event_id { 0 } else { item.number });
                }
            }
            Request::Claim { key, org, tokens } => {
                let key = self.keys.entry(*key).or_default();
                key.tokens = tokens + 1;
                key.wanted_by.insert(*org);
            }
            Request::Transfer { id, source, target } => {
                let known = self.transfers.entry(*id).or_default();
                (known.source, known.target) = (*source, *target);
            }
            Request::Reserve(order) => {
                let held = Held { order: *order, told: None, released: false };
                self.reservations.entry(order.reservation).or_insert(held);
            }
            Request::Release { reservation, .. } => {
                let known = self.reservations.get_mut(reservation);
                known.into_iter().for_each(|held| held.released = true);
            }
            Request::Set(setting) => self.settings.asked(*setting),
            Request::Read { .. } | Request::AskKey { .. } => {}
        }
    }

    /// A reply left a node.
    pub(crate) fn reply(&mut self, reply: &Reply) -> Check {
        match reply {
            Reply::Unavailable => Ok(()),
            Reply::Debits { org, items, outcomes, lsn, durable } => {
                if *durable {
                    self.frame(*org, *lsn)?;
                }
                ensure(items.len() == outcomes.len(), || "a batch was answered in part".to_owned())?;
                items.iter().zip(outcomes).try_for_each(|(item, outcome)| {
                    self.debit(*org, item, *outcome, *durable).map_err(|what| {
                        format!("{what}: org {org}, {item:?}, {outcome:?}, durable {durable}")
                    })
                })
            }
            Reply::Reservation { org, reservation, answer, lsn } => {
                self.frame(*org, *lsn)?;
                self.reservation(*reservation, answer.as_ref())
            }
            Reply::Set { setting, answer, lsn } => {
                if let (
                    Some(lsn),
                    Setting::Camera { org, .. }
                    | Setting::Unlimited { org, .. }
                    | Setting::Price { org, .. }
                    | Setting::Threshold { org, .. },
                ) = (lsn, setting)
                {
                    self.frame(*org, *lsn)?;
                }
                self.settings.told(*setting, *answer)
            }
            Reply::Key { key, is } => self.settings.key_is(*key, *is),
            Reply::Claim { key, org, answer } => self.claim(*key, *org, answer),
            Reply::Transfer { id, answer } => self.transfer(*id, answer),
            Reply::Read { org, summary, price, threshold, lsn } => {
                self.frame(*org, *lsn)?;
                self.settings.read(*org, *price, *threshold)?;
                self.summary(*org, summary)
            }
        }
    }

    /// What a client would have to ask again to be sure of everything.
    pub(crate) fn doubts(&self) -> Vec<Request> {
        let mut requests = Vec::new();
        for (org, known) in &self.orgs {
            let items = known.debits.iter().filter(|(_, seen)| !seen.durable).map(|(item, _)| *item);
            let items: Vec<_> = items.collect();
            for part in items.chunk_by(|a, b| a.paid_by == b.paid_by).flat_map(|alike| alike.chunks(40)) {
                requests.push(Request::Debits { org: *org, items: part.to_vec(), applied: false });
            }
        }
        for (key, known) in &self.keys {
            let tokens = known.tokens - 1;
            requests.extend(known.wanted_by.iter().map(|org| Request::Claim {
                key: *key,
                org: *org,
                tokens,
            }));
        }
        let told = self.reservations.values().filter(|held| held.told.is_some());
        requests.extend(told.map(|held| Request::Reserve(held.order)));
        requests.extend(self.settings.keys().map(|key| Request::AskKey { key }));
        for (id, Move { source, target, .. }) in &self.transfers {
            requests.push(Request::Transfer { id: *id, source: *source, target: *target });
        }
        requests
    }

    /// Judges the last summary of an organization, when there are no doubts left.
    pub(crate) fn last_summary(&self, org: usize, summary: &Summary) -> Check {
        let (mut least, mut most, mut exempt) = (0, 0, (0, 0));
        for (item, seen) in &self.orgs[&org].debits {
            let (charged, exempted) = (seen.charged(item, seen.too_old), seen.exempted(item));
            (least, most) = (least + charged.0, most + charged.1);
            exempt = (exempt.0 + exempted.0, exempt.1 + exempted.1);
        }
        let (totals, used) = (summary.totals, summary.totals.used.0);
        ensure((least..=most).contains(&used), || {
            format!("I4: in the end org {org} has used {used}, its debits come to {least} to {most}")
        })?;
        ensure((exempt.0..=exempt.1 + most - least).contains(&totals.exempt.0), || {
            format!("R9: in the end org {org} was exempt of {}, its debits come to {exempt:?}", totals.exempt)
        })?;
        let granted: u64 =
            self.keys.values().filter(|key| key.owner == Some(org)).map(|key| key.tokens).sum();
        ensure(totals.granted.0 == granted, || {
            format!("I4: in the end org {org} was granted {}, its keys hold {granted}", totals.granted)
        })?;
        let finished = self.transfers.values().filter_map(|one| {
            let known = one.known.as_ref().filter(|known| known.state == TransferState::Finished)?;
            Some((one, known.tokens.0))
        });
        let out: u64 = finished.clone().filter(|(one, _)| one.source == org).map(|(_, tokens)| tokens).sum();
        let into: u64 = finished.filter(|(one, _)| one.target == org).map(|(_, tokens)| tokens).sum();
        ensure(summary.held.0 == 0, || {
            format!("I7: in the end reservations of org {org} hold {}", summary.held)
        })?;
        self.reservations
            .values()
            .filter(|held| held.order.org == org)
            .try_for_each(|held| self.settled(held))?;
        let moved = (totals.transferred_out.0, totals.transferred_in.0, summary.in_transit.0);
        ensure(moved == (out, into, 0), || {
            format!(
                "I6: in the end org {org} has moved {moved:?}, its transfers come to {:?}",
                (out, into, 0)
            )
        })
    }

    /// A reservation that ended was settled for what it was told to pay, once, and for nothing else.
    fn settled(&self, held: &Held) -> Check {
        let Some(told) = &held.told else { return Ok(()) };
        let (mut least, mut most) = (0, 0);
        for (item, seen) in self.orgs[&held.order.org].paid_by(Some(held.order.reservation)) {
            let charged = seen.charged(item, seen.too_old);
            (least, most) = (least + charged.0, most + charged.1);
        }
        ensure(told.ended.is_some() && (least..=most).contains(&told.settled.0), || {
            format!("I7: in the end {told:?}, and what it paid comes to {least} to {most}")
        })
    }

    /// Judges whether everything ended.
    pub(crate) fn all_ended(&self) -> Check {
        for (id, one) in &self.transfers {
            let ended = one.known.as_ref().is_some_and(|known| known.state.is_ended());
            ensure(ended, || format!("I10: transfer {id} never ended: {:?}", one.known))?;
        }
        let open = self.keys.iter().find(|(_, key)| key.owner.is_none());
        ensure(open.is_none(), || "I10: a key was never granted to anybody".to_owned())
    }

    /// Frames that replies rest on never go back, not even over a crash.
    fn frame(&mut self, org: usize, lsn: Lsn) -> Check {
        let newest = self.lsns.entry(self.orgs[&org].partition).or_insert(lsn);
        ensure(lsn >= *newest, || format!("I5: a reply names frame {lsn} after one named {newest}"))?;
        *newest = lsn;
        Ok(())
    }

    fn debit(&mut self, org: usize, item: &Item, outcome: Outcome, durable: bool) -> Check {
        let (run, latest_ms) = (self.runs, self.latest_ms);
        let moves = self.transfers.values().any(|one| one.source == org);
        let held = item.paid_by.and_then(|reservation| self.reservations.get(&reservation));
        let known = self.orgs.get_mut(&org).expect("it was created");
        let may_be_too_old = if item.by_event_id {
            item.time_ms < latest_ms.saturating_sub(RETENTION_MS)
        } else {
            known.highest[&item.camera].saturating_sub(SEQ_WINDOW) > item.number
        };
        // The camera is judged before the age of an id that is not known any more.
        let no_camera =
            matches!(outcome, Outcome::Refused(Refusal::CloudAiDisabled | Refusal::UnknownCamera));
        self.settings.debit(org, item, outcome)?;
        let cost = self.settings.cost(org, item);
        let seen = known.debits.get_mut(item).ok_or("a reply to what was never sent")?;
        seen.too_old = outcome == Outcome::Refused(Refusal::TooOld) || no_camera && may_be_too_old;
        let told = |holds, what: &str| ensure(holds, || what.to_owned());
        match outcome {
            Outcome::Charged | Outcome::Exempt => {
                told(!seen.durable, "I3 or I4: charged again after it was durable")?;
                told(seen.carried_out_in != Some(run), "I4: charged twice in one run")?;
                let exempt = outcome == Outcome::Exempt;
                told(exempt || item.paid_by.is_none() || held.is_some(), "I7: paid by what nobody reserved")?;
                (seen.carried_out_in, seen.exempt, seen.durable) = (Some(run), exempt, durable);
                seen.cost = Some(cost);
                let paid = known.durable_of(item.paid_by);
                let within = held.is_none_or(|held| paid <= held.order.tokens);
                ensure(within, || format!("I7: a reservation paid {paid}"))
            }
            Outcome::Duplicate(first) => {
                let exempt = first == FirstOutcome::Exempt;
                let is_known = seen.durable || seen.carried_out_in == Some(run);
                told(!is_known || exempt == seen.exempt, "I4: another first outcome")?;
                told(seen.sent > 1, "I3: a duplicate of what was sent once")?;
                (seen.exempt, seen.durable) = (exempt, seen.durable || durable);
                seen.cost = seen.cost.filter(|_| is_known);
                Ok(())
            }
            Outcome::Refused(_) if seen.too_old => {
                told(may_be_too_old, "I4: too old within the retention or the window")
            }
            Outcome::Refused(_) if seen.durable => told(false, "I3: refused after it was durable"),
            Outcome::Refused(_) if no_camera => Ok(()),
            // Whether there is a price is judged with the settings.
            Outcome::Refused(Refusal::Unpriced) => Ok(()),
            Outcome::Refused(Refusal::InTransfer) => told(moves, "I6: frozen without a transfer"),
            Outcome::Refused(Refusal::InsufficientTokens) => told(held.is_none(), "I7: the pool was asked"),
            Outcome::Refused(Refusal::UnknownReservation) => {
                told(held.is_none_or(|held| held.told.is_none()), "I3: its reservation is not there")
            }
            Outcome::Refused(Refusal::ReservationEnded) => told(held.is_some(), "I7: nothing was reserved"),
            Outcome::Refused(Refusal::ReservationExceeded) => {
                let asked = known.sent_to(item.paid_by);
                told(held.is_some_and(|held| asked > held.order.tokens), "I7: it holds enough")
            }
            Outcome::Refused(_) => told(false, "I3: what it rests on was acknowledged"),
        }
    }

    /// A reservation that was told is there for ever, and one that ended stays as it ended.
    fn reservation(&mut self, id: usize, answer: Result<&Reservation, &Refusal>) -> Check {
        let moves = |org| self.transfers.values().any(|one| one.source == org);
        let Some(held) = self.reservations.get(&id) else {
            let unknown = answer == Err(&Refusal::UnknownReservation);
            return ensure(unknown, || format!("I7: reservation {id} is {answer:?}, which nobody ordered"));
        };
        let before = held.told.as_ref();
        let right = match answer {
            Ok(told) => {
                told.reserved.0 == held.order.tokens
                    && told.settled <= told.reserved
                    && before.is_none_or(|before| before.ended.is_none() || before == told)
            }
            Err(Refusal::InTransfer) => before.is_none() && moves(held.order.org),
            Err(Refusal::UnknownReservation | Refusal::InsufficientTokens) => before.is_none(),
            Err(_) => false,
        };
        ensure(right, || format!("I3 or I7: reservation {id} is {answer:?} after it was {before:?}"))?;
        if let (Ok(told), Some(held)) = (answer, self.reservations.get_mut(&id)) {
            held.told = Some(told.clone());
        }
        Ok(())
    }

    /// How much the open reservations of an organization hold at least and at most.
    fn held(&self, org: usize) -> (u64, u64) {
        let known = &self.orgs[&org];
        let of_org = || self.reservations.values().filter(|held| held.order.org == org);
        let open = |held: &&Held| held.told.as_ref().is_none_or(|told| told.ended.is_none());
        let most = of_org().filter(open).map(|held| held.order.tokens).sum();
        let surely = of_org().filter(open).filter(|held| {
            let until = held.told.as_ref().map(|told| told.until.ms());
            !held.released && until.is_some_and(|until| self.latest_ms < until)
        });
        let least =
            surely.map(|held| held.order.tokens.saturating_sub(known.sent_to(Some(held.order.reservation))));
        (least.sum(), most)
    }

    fn claim(&mut self, key: usize, org: usize, answer: &Answer) -> Check {
        let known = self.keys.get_mut(&key).ok_or("a reply to what was never claimed")?;
        match answer {
            Answer::Claimed(claim) => {
                let same = claim.organization.as_str() == format!("org-{org}");
                ensure(same && known.owner.is_none_or(|owner| owner == org), || {
                    format!("I4: key {key} went to {} and {:?}", claim.organization, known.owner)
                })?;
                known.owner = Some(org);
                Ok(())
            }
            Answer::Refused(Refusal::LicenseKeyClaimed) => {
                let other = known.wanted_by.len() > 1 && known.owner != Some(org);
                ensure(other, || format!("I3: key {key} is not org {org}'s, and nobody else's"))
            }
            Answer::Refused(Refusal::Busy) => Ok(()),
            other => Err(format!("R6: key {key} was answered with {other:?}")),
        }
    }

    fn transfer(&mut self, id: usize, answer: &Answer) -> Check {
        let known = self.transfers.get_mut(&id).ok_or("a reply to what was never asked")?;
        let Answer::Transfer(told) = answer else {
            return Err(format!("R11: transfer {id} was answered with {answer:?}"));
        };
        let may_follow = match known.known.as_ref().map(|before| before.state) {
            None | Some(TransferState::Begun) => true,
            Some(TransferState::Committed | TransferState::Finished) => {
                matches!(told.state, TransferState::Committed | TransferState::Finished)
            }
            Some(TransferState::Aborting | TransferState::Aborted) => {
                matches!(told.state, TransferState::Aborting | TransferState::Aborted)
            }
        };
        ensure(may_follow, || format!("I6: transfer {id} is {told:?} after it was {:?}", known.known))?;
        known.known = Some(told.clone());
        Ok(())
    }

    fn summary(&self, org: usize, summary: &Summary) -> Check {
        let totals = &summary.totals;
        let came = totals.granted.0 + totals.transferred_in.0;
        let there = summary.available.0 + summary.held.0 + summary.in_transit.0;
        ensure(came == there + totals.used.0 + totals.transferred_out.0, || {
            format!("I1: of org {org} the sums disagree: {there} are there of {totals:?}")
        })?;
        self.settings.summary(org, summary)?;
        let debits = || self.orgs[&org].debits.iter().map(|(item, seen)| seen.charged(item, true));
        let (least, most): (u64, u64) =
            (debits().map(|charged| charged.0).sum(), debits().map(|charged| charged.1).sum());
        ensure((least..=most).contains(&totals.used.0), || {
            format!("I3 or I4: org {org} has used {}, its debits come to {least} to {most}", totals.used)
        })?;
        let (fewest, most) = self.held(org);
        ensure((fewest..=most).contains(&summary.held.0), || {
            format!("I7: of org {org} {} are held, its reservations come to {fewest} to {most}", summary.held)
        })?;
        let owned: u64 = self.keys.values().filter(|key| key.owner == Some(org)).map(|key| key.tokens).sum();
        let wanted: u64 =
            self.keys.values().filter(|key| key.wanted_by.contains(&org)).map(|key| key.tokens).sum();
        ensure((owned..=wanted).contains(&totals.granted.0), || {
            format!("I3 or I4: org {org} was granted {}, its keys hold {owned} to {wanted}", totals.granted)
        })
    }
}
