//! Nodes that share a table, under faults: answers and beats are lost, nodes are killed, stopped for a while, cut off and told to leave. Then the faults
//! stop, and everything must be served, evenly, by one node each.

use proptest::prelude::*;

use super::*;

const MS: u64 = 1_000_000;
const TIMES: Times = Times { term_ns: 2_000 * MS, beat_ns: 250 * MS, read_ns: 500 * MS, rest_ns: 500 * MS };
const PARTITIONS: u16 = 8;
/// So much time passes in a round.
const ROUND_NS: u64 = 50 * MS;
/// In so many rounds after the last fault all must be well: a term, and time to move everything one by one.
const ROUNDS_TO_END: u32 = 400;

/// A node, and what its host does.
struct Node {
    member: Member,
    /// Serves with this epoch.
    serves: BTreeMap<u16, u64>,
    takes: Vec<(u16, u64)>,
    leaves: Vec<u16>,
    /// So many rounds it does not run, and its beats are not sent.
    stopped: u32,
    /// So many rounds nothing reaches it or comes from it.
    cut_off: u32,
}

#[derive(Default)]
struct World {
    now_ns: u64,
    nodes: Vec<Node>,
    revision: u64,
    table: Option<Leases>,
    /// Who tried which epoch of a partition.
    epochs: BTreeMap<(u16, u64), Life>,
    /// The highest epoch of each partition: what its log was fenced with.
    fences: BTreeMap<u16, u64>,
    boots: u64,
    /// Why partitions were taken.
    vacancies: Vec<Vacancy>,
}

#[derive(Clone, Debug)]
enum Fault {
    /// A node is killed, and started again after a while where that is said.
    Kill {
        node: usize,
        is_replaced: bool,
    },
    Stop {
        node: usize,
        rounds: u32,
    },
    CutOff {
        node: usize,
        rounds: u32,
    },
    Leave {
        node: usize,
    },
    Join,
    /// A partition that is served stops by itself.
    Lose {
        node: usize,
        partition: u16,
    },
    Pass,
}

/// What becomes of a read or write: low numbers are faults.
type Luck = u8;

impl World {
    fn start(&mut self, name: usize) {
        self.boots += 1;
        let me = Life { node: format!("n{name}"), boot: self.boots };
        let member = Member::new(me, TIMES, DirectoryId([9; 16]), PARTITIONS);
        let (serves, takes, leaves) = Default::default();
        self.nodes.push(Node { member, serves, takes, leaves, stopped: 0, cut_off: 0 });
    }

    fn join(&mut self) {
        self.start(100 + usize::try_from(self.boots).expect("few"));
    }

    fn inflict(&mut self, fault: &Fault) {
        let count = self.nodes.len();
        if count == 0 {
            return self.join();
        }
        match *fault {
            Fault::Kill { node, is_replaced } => {
                let killed = self.nodes.remove(node % count);
                if is_replaced {
                    let name = killed.member.me.node[1..].parse().expect("a number");
                    self.start(name);
                }
            }
            Fault::Stop { node, rounds } => self.nodes[node % count].stopped = rounds,
            Fault::CutOff { node, rounds } => self.nodes[node % count].cut_off = rounds,
            Fault::Leave { node } => self.nodes[node % count].member.leave(),
            Fault::Join if count < 5 => self.join(),
            Fault::Lose { node, partition } => {
                let node = &mut self.nodes[node % count];
                if let Some(Step::Leave(partition, _)) = node.member.lost(partition) {
                    node.leaves.push(partition);
                }
            }
            _ => {}
        }
    }

    fn round(&mut self, luck: &mut impl FnMut() -> Luck) {
        self.now_ns += ROUND_NS;
        for at in 0..self.nodes.len() {
            let node = &mut self.nodes[at];
            node.cut_off = node.cut_off.saturating_sub(1);
            if node.stopped > 0 {
                node.stopped -= 1;
                continue;
            }
            self.host(at, luck);
            let steps = self.nodes[at].member.tick(self.now_ns);
            steps.into_iter().for_each(|step| self.carry_out(at, step, luck()));
        }
        self.beats(luck);
        self.nodes.retain(|node| !node.member.has_left() && node.member.replaced().is_none());
    }

    fn beats(&mut self, luck: &mut impl FnMut() -> Luck) {
        for from in 0..self.nodes.len() {
            let node = &mut self.nodes[from];
            if node.stopped > 0 {
                continue;
            }
            let beat = node.member.beat(self.now_ns, &Addresses::default());
            let Some(beat) = beat.filter(|_| node.cut_off == 0) else { continue };
            // What comes to a node that is stopped waits in its queue; it is heard late, which this lets happen at once.
            for node in self.nodes.iter_mut().filter(|node| node.cut_off == 0) {
                if luck() > 20 {
                    node.member.hear(self.now_ns, beat.clone());
                }
            }
        }
    }

    /// The host takes and leaves.
    fn host(&mut self, at: usize, luck: &mut impl FnMut() -> Luck) {
        let node = &mut self.nodes[at];
        for partition in std::mem::take(&mut node.leaves) {
            node.serves.remove(&partition);
            node.member.left(partition);
        }
        for (partition, epoch) in std::mem::take(&mut node.takes) {
            let fence = self.fences.entry(partition).or_default();
            let is_taken = epoch > *fence && luck() > 20;
            if is_taken {
                *fence = epoch;
                node.serves.insert(partition, epoch);
            }
            node.member.taken(self.now_ns, partition, is_taken);
        }
        // Who was deposed without hearing of it, and holds the lease again, finds out by an append.
        let fences = &self.fences;
        let is_deposed =
            |(partition, epoch): (&u16, &u64)| (*epoch < fences[partition]).then_some(*partition);
        let deposed: Vec<u16> = node.serves.iter().filter_map(is_deposed).collect();
        for partition in deposed.into_iter().filter(|_| luck() > 200) {
            if let Some(Step::Leave(partition, _)) = node.member.lost(partition) {
                node.leaves.push(partition);
            }
        }
    }

    fn carry_out(&mut self, at: usize, step: Step, luck: Luck) {
        let node = &mut self.nodes[at];
        let is_lost = luck < 20 || node.cut_off > 0;
        match step {
            Step::Read => {
                let read = self.table.clone().map(|leases| (self.revision, leases));
                node.member.learn(self.now_ns, if is_lost { Err("lost".to_owned()) } else { Ok(read) });
            }
            Step::Write { leases, behind } => {
                let is_kept = behind == self.revision && (node.cut_off == 0 && luck > 10);
                let me = Some(node.member.me.clone());
                let before = self.table.iter().flat_map(|table| &table.holders);
                for ((partition, before), after) in (0..).zip(before).zip(&leases.holders) {
                    let is_released = is_kept && *before == me && *after != me;
                    assert!(
                        !is_released || !node.serves.contains_key(&partition),
                        "released before it was left"
                    );
                }
                if is_kept {
                    self.revision += 1;
                    self.table = Some(leases.clone());
                }
                let answer = match (is_lost, is_kept) {
                    (true, _) => Answer::Unknown("lost".to_owned()),
                    (false, true) => Answer::Stored(self.revision),
                    (false, false) => Answer::Refused("another".to_owned()),
                };
                node.member.written(leases, &answer);
            }
            Step::Take { partition, epoch, stage, vacancy } => {
                self.vacancies.push(vacancy);
                let table = self.table.as_ref().expect("there is a table");
                assert!(epoch <= self.revision && table.holders.len() == usize::from(PARTITIONS));
                let me = node.member.me.clone();
                assert_eq!(
                    self.epochs.insert((partition, epoch), me),
                    None,
                    "an epoch is tried once, by one"
                );
                let is_new = !self.fences.contains_key(&partition);
                assert!(stage == Stage::BeingMade || !is_new, "what was never served may be made");
                node.takes.push((partition, epoch));
            }
            Step::Leave(partition, _) => node.leaves.push(partition),
        }
    }

    /// Each partition is served by one, and as many by each.
    fn check_served(&self) {
        self.check_owned();
        let most = self.nodes.iter().map(|node| node.serves.len()).max();
        let least = self.nodes.iter().map(|node| node.serves.len()).min();
        assert!(most.zip(least).is_some_and(|(most, least)| most - least <= 1), "{most:?} and {least:?}");
    }

    fn check_owned(&self) {
        let servers = |partition| self.nodes.iter().filter(move |node| node.serves.contains_key(&partition));
        for partition in 0..PARTITIONS {
            assert_eq!(servers(partition).count(), 1, "partition {partition} is served by one");
            let node = servers(partition).next().expect("there is one");
            assert_eq!(node.serves[&partition], self.fences[&partition], "and its fence is the last");
        }
        assert!(self.table.as_ref().is_some_and(|table| table.made.iter().all(|made| *made)));
    }
}

fn fault() -> impl Strategy<Value = Fault> {
    let node = 0_usize..5;
    prop_oneof![
        1 => (node.clone(), any::<bool>()).prop_map(|(node, is_replaced)| Fault::Kill { node, is_replaced }),
        1 => (node.clone(), 1_u32..120).prop_map(|(node, rounds)| Fault::Stop { node, rounds }),
        1 => (node.clone(), 1_u32..120).prop_map(|(node, rounds)| Fault::CutOff { node, rounds }),
        1 => node.clone().prop_map(|node| Fault::Leave { node }),
        1 => Just(Fault::Join),
        1 => (node, 0..PARTITIONS).prop_map(|(node, partition)| Fault::Lose { node, partition }),
        30 => Just(Fault::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn i9_i10_whatever_happens_an_epoch_is_ones_own_and_in_the_end_each_partition_has_one_owner(
        faults in prop::collection::vec(fault(), 0..300),
        lucks in prop::collection::vec(any::<u8>(), 1..2_000),
    ) {
        let mut world = World::default();
        (0..3).for_each(|name| world.start(name));
        let mut lucks = lucks.into_iter().cycle();
        let mut luck = || lucks.next().expect("it goes round");
        for fault in &faults {
            world.inflict(fault);
            world.round(&mut luck);
        }
        world.nodes.iter_mut().for_each(|node| (node.stopped, node.cut_off) = (0, 0));
        if world.nodes.iter().all(|node| node.member.is_leaving) {
            world.join();
        }
        (0..ROUNDS_TO_END).for_each(|_| world.round(&mut || u8::MAX));
        world.check_served();
    }
}

#[test]
fn a_node_that_is_killed_is_followed_within_a_term_and_a_moment() {
    let mut world = World::default();
    (0..3).for_each(|name| world.start(name));
    (0..ROUNDS_TO_END).for_each(|_| world.round(&mut || u8::MAX));
    world.check_served();
    world.vacancies.clear();
    world.nodes.remove(1);
    let rounds = (TIMES.term_ns + TIMES.beat_ns) / ROUND_NS + 8;
    (0..rounds).for_each(|_| world.round(&mut || u8::MAX));
    world.check_served();
    assert!(world.vacancies.iter().all(|vacancy| *vacancy == Vacancy::Died), "{:?}", world.vacancies);
}

#[test]
fn a_node_that_leaves_is_followed_at_once() {
    let mut world = World::default();
    (0..3).for_each(|name| world.start(name));
    (0..ROUNDS_TO_END).for_each(|_| world.round(&mut || u8::MAX));
    world.nodes[0].member.leave();
    (0..1_000 * MS / ROUND_NS).for_each(|_| world.round(&mut || u8::MAX));
    assert_eq!(world.nodes.len(), 2, "it has left");
    world.check_served();
}

#[test]
fn a_node_that_is_started_again_ends_its_earlier_life_at_once_and_gets_its_share_back() {
    let mut world = World::default();
    (0..2).for_each(|name| world.start(name));
    (0..ROUNDS_TO_END).for_each(|_| world.round(&mut || u8::MAX));
    world.nodes.remove(0);
    world.start(0);
    let rounds = (TIMES.term_ns / 2) / ROUND_NS;
    (0..rounds).for_each(|_| world.round(&mut || u8::MAX));
    world.check_owned();
    (0..ROUNDS_TO_END).for_each(|_| world.round(&mut || u8::MAX));
    world.check_served();
}

#[test]
fn a_node_that_does_not_hear_itself_concludes_nothing() {
    let mut world = World::default();
    (0..3).for_each(|name| world.start(name));
    (0..ROUNDS_TO_END).for_each(|_| world.round(&mut || u8::MAX));
    world.nodes[2].cut_off = u32::MAX;
    let before = world.revision;
    (0..10).for_each(|_| world.round(&mut || u8::MAX));
    let cut_off = &mut world.nodes[2].member;
    let steps = cut_off.tick(world.now_ns + 100 * TIMES.term_ns);
    assert!(steps.iter().all(|step| *step == Step::Read), "{steps:?}");
    assert!(!cut_off.is_heard(world.now_ns + 100 * TIMES.term_ns));
    assert_eq!(world.revision, before);
}

#[test]
fn an_earlier_life_of_a_node_learns_that_it_was_replaced() {
    let mut world = World::default();
    world.start(0);
    world.start(0);
    let beat = world.nodes[1].member.beat(1, &Addresses::default()).expect("the first is due");
    world.nodes[0].member.hear(1, beat.clone());
    world.nodes[1].member.hear(1, beat);
    assert_eq!((world.nodes[0].member.replaced(), world.nodes[1].member.replaced()), (Some(2), None));
}

#[test]
fn a_node_that_joins_is_handed_each_partition_of_its_share_within_a_moment() {
    let mut world = World::default();
    (0..2).for_each(|name| world.start(name));
    (0..ROUNDS_TO_END).for_each(|_| world.round(&mut || u8::MAX));
    world.vacancies.clear();
    world.start(2);
    let mut without = [0; 8];
    for _ in 0..ROUNDS_TO_END {
        world.round(&mut || u8::MAX);
        for (partition, without) in (0..PARTITIONS).zip(&mut without) {
            let is_served = world.nodes.iter().any(|node| node.serves.contains_key(&partition));
            *without = if is_served { 0 } else { *without + 1 };
            assert!(
                *without <= 250 * MS / ROUND_NS,
                "partition {partition} waits for a node that does not take it yet"
            );
        }
    }
    world.check_served();
    assert!(world.vacancies.iter().all(|vacancy| *vacancy == Vacancy::Handed), "{:?}", world.vacancies);
}

#[test]
fn a_node_that_was_heard_stays_known_by_its_latest_life_also_when_it_is_gone() {
    let mut world = World::default();
    (0..3).for_each(|name| world.start(name));
    world.start(2);
    (0..ROUNDS_TO_END).for_each(|_| world.round(&mut || u8::MAX));
    let last = world.nodes.pop().expect("the later life of the third");
    (0..ROUNDS_TO_END).for_each(|_| world.round(&mut || u8::MAX));
    let known: Vec<_> = world.nodes[0].member.known().collect();
    assert_eq!(known, [world.nodes[1].member.me.clone(), last.member.me]);
}
