//! Several owners of one replicated log, each in the midst of a step of the protocol while others take theirs.
//!
//! The worlds of this simulator carry out an append whole before anything else happens; here another owner may come between any two messages of it. Owners take over, append, ask,
//! send again, sleep and come back; appends are late, doubled and lost. Judged by what was acknowledged: it is in the log, once, in
//! order, and each owner continued what was acknowledged before its fence.

use tokenweir::cluster::append::{Append, Heard, Last, Next, Tip};
use tokenweir::cluster::record::{self, Kind, Owned};
use tokenweir::cluster::replay::Replay;
use tokenweir::cluster::sim_log::{Fate, SimLog};
use tokenweir::cluster::takeover::Takeover;
use tokenweir::cluster::{Answer, Remote as _};
use tokenweir::domain::ids::Lsn;
use tokenweir::storage::DirectoryId;
use tokenweir::storage::frame::{self, FrameMeta};
use tokenweir::storage::reader::Start;
use tokenweir::storage::sim_disk::SplitMix;

use crate::swarm::{below, below_usize};

const OWNED: Owned = Owned { partition: 0, directory: DirectoryId([7; 16]) };
const SEEDS: u64 = 600;
const STEPS: usize = 300;

/// One that owns the log, wants to, or believes that it does.
struct Owner {
    epoch: u64,
    step: Step,
}

enum Step {
    Taking(Takeover, Next),
    Owning { append: Append, next: Next, lsn: Lsn },
    Ended,
}

struct World {
    log: SimLog,
    owners: Vec<Owner>,
    epochs: u64,
    /// By lsn, less one: which epoch was told that its frame is durable.
    acknowledged: Vec<u64>,
    random: SplitMix,
    resolved: u64,
}

/// A group of one frame that says who wrote it.
fn group(lsn: Lsn, epoch: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let start = frame::begin(&mut bytes);
    bytes.extend_from_slice(&epoch.to_le_bytes());
    frame::finish(&mut bytes, start, FrameMeta { lsn, group: 0, kind: 1, version: 1 });
    bytes
}

impl World {
    fn new(seed: u64) -> Self {
        let (owners, acknowledged, random) = (Vec::new(), Vec::new(), SplitMix(seed));
        Self { log: SimLog::default(), owners, epochs: 0, acknowledged, random, resolved: 0 }
    }

    fn run(&mut self) -> Result<(), String> {
        for _ in 0..STEPS {
            match below(&mut self.random, 20) {
                0 if self.owners.len() < 4 => {
                    self.epochs += 1;
                    let takeover = Takeover::new(OWNED, self.epochs);
                    self.owners.push(Owner { epoch: self.epochs, step: Step::Taking(takeover, Next::Ask) });
                }
                1 => self.owners.retain(|owner| !matches!(owner.step, Step::Ended)),
                2 => _ = self.log.deliver(below_usize(&mut self.random, 5)),
                3 => self.log.tell_old(),
                4 | 5 => {
                    let fates = [Fate::Unheard, Fate::Lost, Fate::Late, Fate::Twice, Fate::Overtaken];
                    self.log.fate(fates[below_usize(&mut self.random, fates.len())]);
                }
                _ if !self.owners.is_empty() => {
                    let at = below_usize(&mut self.random, self.owners.len());
                    self.step(at)?;
                }
                _ => {}
            }
        }
        self.log.heal();
        self.judge(u64::MAX).map(drop)
    }

    /// An owner takes one step: one message, or what follows from an answer.
    fn step(&mut self, at: usize) -> Result<(), String> {
        let Owner { epoch, step } = self.owners.swap_remove(at);
        let step = match step {
            Step::Taking(mut takeover, next) => match next {
                Next::Ask => {
                    let next = takeover.hear(self.last());
                    Step::Taking(takeover, next)
                }
                Next::Send => {
                    let answer = self.log.append(takeover.record(), takeover.expected(), &takeover.id());
                    let next = takeover.hear(heard(answer));
                    Step::Taking(takeover, next)
                }
                Next::Durable => {
                    let append = takeover.into_append();
                    let lsn = self.judge(append.tip().sequence)?;
                    Step::Owning { append, next: Next::Durable, lsn }
                }
                Next::Ended(_) => Step::Ended,
            },
            Step::Owning { mut append, next, lsn } => match next {
                Next::Ask => {
                    self.resolved += 1;
                    let next = append.hear(self.last());
                    self.acknowledge(Step::Owning { append, next, lsn }, epoch)?
                }
                Next::Send => {
                    let answer = self.log.append(append.record(), append.tip().sequence, &append.id());
                    let next = append.hear(heard(answer));
                    self.acknowledge(Step::Owning { append, next, lsn }, epoch)?
                }
                Next::Durable => {
                    let kind = Kind::Group { first: lsn, last: lsn, part: 0, parts: 1 };
                    let next = append.begin(kind, &group(lsn, epoch));
                    Step::Owning { append, next, lsn }
                }
                Next::Ended(_) => Step::Ended,
            },
            Step::Ended => Step::Ended,
        };
        self.owners.push(Owner { epoch, step });
        Ok(())
    }

    /// A group that became durable is acknowledged: it is the next after all that was.
    fn acknowledge(&mut self, step: Step, epoch: u64) -> Result<Step, String> {
        let Step::Owning { append, next: Next::Durable, lsn } = step else { return Ok(step) };
        let place = usize::try_from(lsn.0 - 1).expect("few");
        if let Some(other) = self.acknowledged.get(place) {
            return Err(format!("I4: lsn {lsn} was acknowledged by epoch {other} and by epoch {epoch}"));
        }
        // An append that was kept and never heard of may lie between: it belongs to who was deposed before he knew.
        self.acknowledged.resize(place, 0);
        self.acknowledged.push(epoch);
        Ok(Step::Owning { append, next: Next::Durable, lsn: lsn.next() })
    }

    fn last(&self) -> Heard {
        match self.log.last() {
            Ok(None) => Heard::Last(None),
            Ok(Some(stored)) => {
                let read = record::decode(OWNED, &stored.bytes).expect("it is whole");
                let tip = Tip { sequence: stored.sequence, crc: read.crc };
                Heard::Last(Some(Last { tip, epoch: read.header.epoch, batch: read.header.batch }))
            }
            Err(why) => Heard::Unreadable(why),
        }
    }

    /// What is in the log up to a sequence, and the lsn that is due next: everything acknowledged is there. An owner that was deposed before it replayed
    /// ends at its fence, and what was acknowledged after that is not for it.
    fn judge(&self, until: u64) -> Result<Lsn, String> {
        let mut writers = Vec::new();
        let mut on_frame = |frame: tokenweir::storage::FrameRef<'_>| {
            writers.push(u64::from_le_bytes(frame.body.try_into().expect("eight bytes")));
            Ok(())
        };
        let replay = Replay::new(OWNED, "a log".to_owned(), Start::Oldest);
        let found =
            replay.run(&self.log, (0, until), &mut on_frame).map_err(|fault| format!("I5: {fault}"))?;
        for (place, epoch) in self.acknowledged.iter().enumerate().filter(|(_, epoch)| **epoch > 0) {
            let there = writers.get(place);
            if there != Some(epoch) && (until == u64::MAX || there.is_some()) {
                return Err(format!(
                    "I3: lsn {} of epoch {epoch} was acknowledged, {there:?} is there",
                    place + 1
                ));
            }
        }
        Ok(found.next)
    }
}

fn heard(answer: Answer) -> Heard {
    match answer {
        Answer::Stored(sequence) => Heard::Stored(sequence),
        Answer::Refused(why) => Heard::Refused(why),
        Answer::Unknown(why) => Heard::Unknown(why),
    }
}

#[test]
fn i3_i4_i5_i9_seeds_of_owners_between_each_others_messages_break_nothing() {
    let (mut acknowledged, mut resolved, mut epochs) = (0, 0, 0);
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        world.run().unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        acknowledged += world.acknowledged.len();
        resolved += world.resolved;
        epochs += world.epochs;
    }
    println!(
        "{SEEDS} seeds: {acknowledged} groups of {epochs} epochs acknowledged, {resolved} unknown outcomes looked into"
    );
    assert!(acknowledged > 10_000 && resolved > 5_000 && epochs > 5_000, "hardly anything happened");
}

#[cfg(feature = "planted")]
#[test]
fn planted_bugs_of_the_protocol_are_found_between_messages() {
    use tokenweir::planted::{Bug, plant};
    for bug in [Bug::IgnoreRefusedAppend, Bug::TreatUnknownAsFailed] {
        plant(Some(bug));
        let found = (0..SEEDS).find_map(|seed| World::new(seed).run().err());
        plant(None);
        println!("{bug:?}: {}", found.expect("it is found"));
    }
}
