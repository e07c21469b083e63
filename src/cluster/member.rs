//! What a node does about ownership: what it hears in, what is to be done out; no input or output of its own, and no clock.
//!
//! A node takes what is free and [placed](super::placement) on it, and what is handed to it; it hands over what is placed on another, one partition at a
//! time, and takes nothing that somebody holds whose life goes on. Everything follows from what it knows at a [`Member::tick`], so an answer that was
//! lost, or an old one, costs time and nothing else.
//!
//! Invariants:
//!
//! - A partition is taken only with an epoch: the revision of a table in which this life holds it. No epoch is tried twice.
//! - A life has ended when it was not heard for a whole term, or a later life of its node was heard. The term runs only while this node hears
//!   itself: one that is cut off, or was stopped, learns nothing about others, and concludes nothing.
//! - A lease is released, or handed over, after the partition was left, never before.
//!
//! Wrong beliefs do no harm to the log; see [`takeover`](super::takeover).

use std::collections::BTreeMap;

use crate::storage::DirectoryId;
use crate::storage::manifest::Stage;

use super::lease::{Addresses, Beat, Leases, Life};
use super::placement::place;
use super::remote::Answer;

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Read the table and tell it by [`Member::learn`].
    Read,
    /// Write the table behind a revision, zero for the first, and tell the outcome by [`Member::written`].
    Write {
        /// The table.
        leases: Leases,
        /// The revision that must be the last.
        behind: u64,
    },
    /// Take a partition over and tell the outcome by [`Member::taken`].
    Take {
        /// The partition.
        partition: u16,
        /// An epoch that nobody else ever has.
        epoch: u64,
        /// Whether it was ever served, so that its log must not be empty.
        stage: Stage,
        /// Why it can be taken.
        vacancy: Vacancy,
    },
    /// Leave a partition and tell it by [`Member::left`].
    Leave(u16, Departure),
}

/// Why a partition can be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vacancy {
    /// Nobody held it.
    Free,
    /// Who held it gave it to this node.
    Handed,
    /// Who held it ended.
    Died,
}

/// Why a partition is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// It is placed on another node.
    Placed,
    /// This node leaves.
    Stopping,
    /// The table gives it to another node.
    Overtaken,
    /// It stopped by itself: its log has another owner, or failed.
    Ended,
}

impl Vacancy {
    /// All of them, by name.
    pub const NAMES: [&str; 3] = [Self::Free.name(), Self::Handed.name(), Self::Died.name()];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Handed => "handed",
            Self::Died => "died",
        }
    }
}

impl Departure {
    /// All of them, by name.
    pub const NAMES: [&str; 4] =
        [Self::Placed.name(), Self::Stopping.name(), Self::Overtaken.name(), Self::Ended.name()];

    /// Whether this node owns the partition until it was left.
    #[must_use]
    pub const fn is_in_order(self) -> bool {
        matches!(self, Self::Placed | Self::Stopping)
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Placed => "placed",
            Self::Stopping => "stopping",
            Self::Overtaken => "overtaken",
            Self::Ended => "ended",
        }
    }
}

/// Times, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// How long a life that is not heard is believed to go on.
    pub term_ns: u64,
    /// How often a node is to be heard.
    pub beat_ns: u64,
    /// How often the table is read when nothing calls for it.
    pub read_ns: u64,
    /// How long a partition that could not be taken rests before it is tried again.
    pub rest_ns: u64,
}

/// The state of a node.
#[derive(Debug)]
pub struct Member {
    me: Life,
    times: Times,
    first: Leases,
    is_leaving: bool,
    /// When this node said something last, whether it took, and the revision that it knew.
    said: Option<(u64, bool, u64)>,
    /// How long this node heard itself, gaps not counted.
    hearing_ns: u64,
    heard_self_ns: Option<u64>,
    others: BTreeMap<Life, Heard>,
    /// Of each node the latest boot that was heard.
    boots: BTreeMap<String, u64>,
    table: Option<(u64, Leases)>,
    is_asking: bool,
    /// Whether the last thing known of the table is older than an answer that was refused or lost, or what somebody else knows.
    is_stale: bool,
    read_at_ns: u64,
    mine: BTreeMap<u16, Mine>,
    rests: BTreeMap<u16, u64>,
    /// The newest epoch of each partition that was tried.
    tried: BTreeMap<u16, u64>,
    /// Why this node holds each partition that the table gave it last.
    vacancies: BTreeMap<u16, Vacancy>,
}

#[derive(Debug)]
struct Heard {
    /// When, in time of hearing.
    at_ns: u64,
    /// When, by the clock.
    clock_ns: u64,
    takes: bool,
    addresses: Addresses,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mine {
    Taking,
    Serving,
    Leaving,
    /// It was left and the lease is to be released.
    Left,
}

impl Member {
    /// A node that holds nothing. Where there is no table, it makes one of so many partitions.
    #[must_use]
    pub fn new(me: Life, times: Times, directory: DirectoryId, partitions: u16) -> Self {
        Self {
            me,
            times,
            first: Leases::new(directory, partitions),
            is_leaving: false,
            said: None,
            hearing_ns: 0,
            heard_self_ns: None,
            others: BTreeMap::new(),
            boots: BTreeMap::new(),
            table: None,
            is_asking: false,
            is_stale: true,
            read_at_ns: 0,
            mine: BTreeMap::new(),
            rests: BTreeMap::new(),
            tried: BTreeMap::new(),
            vacancies: BTreeMap::new(),
        }
    }

    /// What this node says of itself, when it is time to: several times in a term, and at once when others should know something new.
    pub fn beat(&mut self, now_ns: u64, addresses: &Addresses) -> Option<Beat> {
        let (revision, takes) = (self.revision(), self.takes());
        let is_due = self.said.is_none_or(|(at_ns, took, said)| {
            now_ns.saturating_sub(at_ns) >= self.times.beat_ns || took != takes || revision > said
        });
        is_due.then(|| {
            self.said = Some((now_ns, takes, revision));
            let (life, addresses) = (self.me.clone(), addresses.clone());
            Beat { life, takes, revision, addresses }
        })
    }

    /// Takes a beat, its own among them.
    pub fn hear(&mut self, now_ns: u64, beat: Beat) {
        let boot = self.boots.entry(beat.life.node.clone()).or_default();
        *boot = (*boot).max(beat.life.boot);
        if beat.life == self.me {
            let gap = self.heard_self_ns.map_or(0, |before| now_ns.saturating_sub(before));
            self.hearing_ns += gap.min(2 * self.times.beat_ns);
            self.heard_self_ns = Some(now_ns);
        }
        self.is_stale |= beat.revision > self.revision();
        let heard =
            Heard { at_ns: self.hearing_ns, clock_ns: now_ns, takes: beat.takes, addresses: beat.addresses };
        self.others.insert(beat.life, heard);
    }

    /// Takes the table as it was read; none when there is none. What is older than what is known says nothing.
    pub fn learn(&mut self, now_ns: u64, read: Result<Option<(u64, Leases)>, String>) {
        self.is_asking = false;
        self.read_at_ns = now_ns;
        let Ok(read) = read else { return };
        self.is_stale = false;
        if let Some((revision, leases)) = read {
            self.know(revision, leases, false);
        }
    }

    /// Takes the outcome of a write.
    pub fn written(&mut self, leases: Leases, outcome: &Answer) {
        self.is_asking = false;
        match outcome {
            Answer::Stored(revision) => self.know(*revision, leases, true),
            Answer::Refused(_) | Answer::Unknown(_) => self.is_stale = true,
        }
    }

    /// A partition was taken, or not; then it rests.
    pub fn taken(&mut self, now_ns: u64, partition: u16, is_taken: bool) {
        debug_assert_eq!(self.mine.get(&partition), Some(&Mine::Taking));
        self.mine.insert(partition, if is_taken { Mine::Serving } else { Mine::Left });
        if !is_taken {
            self.rests.insert(partition, now_ns + self.times.rest_ns);
        }
    }

    /// A partition that was served stopped by itself: somebody else may own it.
    pub fn lost(&mut self, partition: u16) -> Option<Step> {
        let mine = self.mine.get_mut(&partition).filter(|mine| **mine == Mine::Serving)?;
        *mine = Mine::Leaving;
        Some(Step::Leave(partition, Departure::Ended))
    }

    /// A partition was left.
    pub fn left(&mut self, partition: u16) {
        self.mine.insert(partition, Mine::Left);
    }

    /// From now on this node gives up what it has.
    pub fn leave(&mut self) {
        self.is_leaving = true;
    }

    /// The partitions that it serves.
    pub fn serving(&self) -> impl Iterator<Item = u16> + '_ {
        let is_serving = |(_, mine): &(&u16, &Mine)| **mine == Mine::Serving;
        self.mine.iter().filter(is_serving).map(|(partition, _)| *partition)
    }

    /// Whether it has left: nothing is held and nobody believes that anything is.
    #[must_use]
    pub fn has_left(&self) -> bool {
        let believed = self.table.iter().flat_map(|(_, leases)| &leases.holders).flatten();
        self.is_leaving
            && self.mine.is_empty()
            && !self.is_asking
            && believed.into_iter().all(|life| *life != self.me)
    }

    /// The later boot of a node of the same name, if there is one: this one has no name any more.
    #[must_use]
    pub fn replaced(&self) -> Option<u64> {
        self.boots.get(&self.me.node).copied().filter(|boot| *boot > self.me.boot)
    }

    /// Whether the servers carry what this node says: it heard itself within a term.
    #[must_use]
    pub fn is_heard(&self, now_ns: u64) -> bool {
        self.heard_self_ns.is_some_and(|at| now_ns.saturating_sub(at) < self.times.term_ns)
    }

    /// How many of the partitions that it serves are placed on other nodes.
    #[must_use]
    pub fn misplaced(&self) -> usize {
        let Some(leases) = self.leases() else { return 0 };
        let wanted = self.wanted(leases);
        let is_elsewhere =
            |partition: &u16| wanted[usize::from(*partition)].as_ref().is_some_and(|life| *life != self.me);
        self.serving().filter(is_elsewhere).count()
    }

    /// The nodes that were heard, this one among them, and how long ago.
    pub fn heard(&self, now_ns: u64) -> impl Iterator<Item = (&str, u64)> {
        self.others
            .iter()
            .filter(|(life, _)| self.boots.get(&life.node) == Some(&life.boot))
            .map(move |(life, heard)| (life.node.as_str(), now_ns.saturating_sub(heard.clock_ns)))
    }

    /// The latest life of each other node that was heard since this one started, whether it goes on or not, by name.
    pub fn known(&self) -> impl Iterator<Item = Life> + '_ {
        let others = self.boots.iter().filter(|(node, _)| **node != self.me.node);
        others.map(|(node, boot)| Life { node: node.clone(), boot: *boot })
    }

    /// The revision of the newest table that is known; zero for none.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.table.as_ref().map_or(0, |(revision, _)| *revision)
    }

    /// The table, as far as it is known.
    #[must_use]
    pub fn leases(&self) -> Option<&Leases> {
        self.table.as_ref().map(|(_, leases)| leases)
    }

    /// Who holds a partition and where it serves, as far as it is known and its life goes on.
    #[must_use]
    pub fn owner(&self, partition: u16) -> Option<(&Life, &Addresses)> {
        let holder = self.leases()?.holders.get(usize::from(partition))?.as_ref()?;
        let heard = self.others.get(holder).filter(|_| self.lives(holder))?;
        Some((holder, &heard.addresses))
    }

    /// What is to be done now.
    pub fn tick(&mut self, now_ns: u64) -> Vec<Step> {
        self.others.retain(|life, heard| {
            *life == self.me || self.hearing_ns.saturating_sub(heard.at_ns) < 16 * self.times.term_ns
        });
        let mut steps = self.follow_table();
        if self.is_asking {
            return steps;
        }
        let is_due = now_ns.saturating_sub(self.read_at_ns) >= self.times.read_ns;
        let write = if self.is_stale { None } else { self.write(now_ns) };
        match write {
            Some(write) => steps.push(write),
            None if self.is_stale || is_due => steps.push(Step::Read),
            None => return steps,
        }
        self.is_asking = true;
        steps
    }

    /// Takes a newer table, which this node wrote itself or not.
    fn know(&mut self, revision: u64, leases: Leases, is_own: bool) {
        if self.table.as_ref().is_some_and(|(known, _)| revision <= *known) {
            return;
        }
        let before = self.table.take().map_or_else(Vec::new, |(_, leases)| leases.holders);
        let before = before.into_iter().chain(std::iter::repeat(None));
        for ((partition, before), after) in (0..).zip(before).zip(&leases.holders) {
            if after.as_ref() == Some(&self.me) && before.as_ref() != Some(&self.me) {
                let own = if before.is_some() { Vacancy::Died } else { Vacancy::Free };
                self.vacancies.insert(partition, if is_own { own } else { Vacancy::Handed });
            }
        }
        self.table = Some((revision, leases));
    }

    /// Takes what the table gives, leaves what it gives to others, and what is placed on others.
    fn follow_table(&mut self) -> Vec<Step> {
        let Some((revision, leases)) = self.table.clone() else { return Vec::new() };
        let wanted = self.wanted(&leases);
        let mut steps = Vec::new();
        let mut is_moving = self.mine.values().any(|mine| matches!(mine, Mine::Leaving | Mine::Left));
        for (partition, holder) in (0..).zip(&leases.holders) {
            let is_holder = holder.as_ref() == Some(&self.me);
            let is_wanted_elsewhere =
                wanted[usize::from(partition)].as_ref().is_some_and(|life| *life != self.me);
            match self.mine.get(&partition) {
                None if is_holder && !self.is_leaving => {
                    let before = self.tried.insert(partition, revision).unwrap_or(0);
                    assert!(before < revision, "epoch {revision} of partition {partition} is tried twice");
                    self.mine.insert(partition, Mine::Taking);
                    let is_made = leases.made[usize::from(partition)];
                    let stage = if is_made { Stage::Made } else { Stage::BeingMade };
                    let vacancy = self.vacancies.remove(&partition).unwrap_or(Vacancy::Free);
                    steps.push(Step::Take { partition, epoch: revision, stage, vacancy });
                }
                Some(Mine::Serving)
                    if !is_holder || self.is_leaving || (is_wanted_elsewhere && !is_moving) =>
                {
                    is_moving |= is_holder;
                    self.mine.insert(partition, Mine::Leaving);
                    let departure = match is_holder {
                        false => Departure::Overtaken,
                        true if self.is_leaving => Departure::Stopping,
                        true => Departure::Placed,
                    };
                    steps.push(Step::Leave(partition, departure));
                }
                Some(Mine::Left) if !is_holder => drop(self.mine.remove(&partition)),
                _ => {}
            }
        }
        steps
    }

    /// The table as it should be, when it is another.
    fn write(&self, now_ns: u64) -> Option<Step> {
        let takes = self.takes();
        let Some((revision, leases)) = &self.table else {
            return takes.then(|| Step::Write { leases: self.first.clone(), behind: 0 });
        };
        let wanted = self.wanted(leases);
        let mut next = leases.clone();
        for (partition, holder) in (0..).zip(&mut next.holders) {
            let is_resting = self.rests.get(&partition).is_some_and(|until| now_ns < *until);
            let is_free = holder.as_ref().is_none_or(|holder| !self.lives(holder));
            let is_placed_here = wanted[usize::from(partition)].as_ref() == Some(&self.me);
            match self.mine.get(&partition) {
                Some(Mine::Left) if holder.as_ref() == Some(&self.me) => {
                    let heir = wanted[usize::from(partition)].clone();
                    *holder = heir.filter(|heir| *heir != self.me);
                }
                Some(Mine::Serving) => next.made[usize::from(partition)] = true,
                None if holder.as_ref() == Some(&self.me) && self.is_leaving => *holder = None,
                None if takes && is_free && is_placed_here && !is_resting => {
                    *holder = Some(self.me.clone());
                }
                _ => {}
            }
        }
        (next != *leases).then_some(Step::Write { leases: next, behind: *revision })
    }

    /// Whether it takes what is placed on it: once it had the time to hear the others, until it leaves.
    fn takes(&self) -> bool {
        !self.is_leaving && self.hearing_ns >= 3 * self.times.beat_ns
    }

    /// Where the partitions should be, as this node sees it. What is held by a life that goes on and takes nothing is wanted elsewhere.
    fn wanted(&self, leases: &Leases) -> Vec<Option<Life>> {
        let is_there =
            |(life, heard): &(&Life, &Heard)| self.lives(life) && (heard.takes || **life == self.me);
        let mut nodes: Vec<&Life> = self.others.iter().filter(is_there).map(|(life, _)| life).collect();
        if !self.takes() {
            nodes.retain(|life| **life != self.me);
        }
        let number = |life: &Life| nodes.iter().position(|node| *node == life);
        let holders: Vec<_> = leases.holders.iter().map(|holder| holder.as_ref().and_then(number)).collect();
        place(nodes.len(), &holders).into_iter().map(|node| node.map(|node| nodes[node].clone())).collect()
    }

    /// Whether a life goes on, as far as it was heard. One that was never heard has its term from this node's start.
    fn lives(&self, life: &Life) -> bool {
        if self.boots.get(&life.node).is_some_and(|boot| *boot > life.boot) {
            return false;
        }
        let heard_ns = self.others.get(life).map_or(0, |heard| heard.at_ns);
        self.hearing_ns.saturating_sub(heard_ns) < self.times.term_ns
    }
}

#[cfg(test)]
#[path = "member_tests.rs"]
mod tests;
