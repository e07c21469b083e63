//! I6 and I10: every schedule of a transfer with a few faults ends both sides alike, and ends.
//!
//! A schedule is a list of choices: which message arrives next, or what goes wrong with it. All lists are tried, each
//! from the beginning. Faults are bounded; when they are spent, everything is delivered and must end.

use tokenweir::domain::registry::TransferState;

use super::world::World;

/// A list of choices that is counted up until all lists were tried.
#[derive(Debug, Default)]
struct Choices {
    /// Each choice with the number of its options.
    made: Vec<(usize, usize)>,
    at: usize,
}

impl Choices {
    fn pick(&mut self, options: usize) -> usize {
        if self.at == self.made.len() {
            self.made.push((0, options));
        }
        let (choice, of) = self.made[self.at];
        assert_eq!(of, options, "a schedule replays alike");
        self.at += 1;
        choice
    }

    /// Goes on to the next list; false after the last.
    fn advance(&mut self) -> bool {
        self.at = 0;
        while let Some((choice, options)) = self.made.pop() {
            if choice + 1 < options {
                self.made.push((choice + 1, options));
                return true;
            }
        }
        false
    }
}

/// What may go wrong with the message that is next.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Lost,
    Doubled,
    /// Everybody waits too long, and the coordinator asks again.
    Tick,
    /// The receiver crashes after so many effects of the message.
    Crash(usize),
    /// The coordinator crashes between two messages.
    CoordinatorDown,
}

const FAULTS: [Fault; 7] = [
    Fault::Lost,
    Fault::Doubled,
    Fault::Tick,
    Fault::Crash(0),
    Fault::Crash(1),
    Fault::Crash(2),
    Fault::CoordinatorDown,
];

/// Runs one schedule until the wire is empty or the faults are spent; then nothing goes wrong any more. A message that
/// overtakes others counts as a fault as well.
fn run(world: &mut World, choices: &mut Choices, mut faults: usize) {
    while faults > 0 && !world.wire.is_empty() {
        let choice = choices.pick(FAULTS.len() + world.wire.len());
        let Some(number) = choice.checked_sub(world.wire.len()) else {
            faults -= choice.min(1);
            world.deliver(choice);
            continue;
        };
        faults -= 1;
        match FAULTS[number] {
            Fault::Lost => drop(world.wire.remove(0)),
            Fault::Doubled => world.wire.push(world.wire[0].clone()),
            Fault::Tick => world.tick(),
            Fault::Crash(kept) => world.deliver_keeping(0, kept),
            Fault::CoordinatorDown => world.crash_coordinator(),
        }
    }
    world.settle();
}

/// Tries all schedules; answers with how many there are. `begin` sets the scene, `end` judges how it ended.
fn explore(faults: usize, begin: impl Fn() -> World, end: impl Fn(&World)) -> usize {
    let (mut choices, mut count) = (Choices::default(), 1);
    loop {
        let mut world = begin();
        run(&mut world, &mut choices, faults);
        end(&world);
        if !choices.advance() {
            return count;
        }
        count += 1;
    }
}

fn available(world: &World) -> Vec<u64> {
    ["a", "b", "c"].iter().map(|org| world.available(org)).collect()
}

#[test]
fn i6_a_transfer_ends_on_both_sides_alike_in_every_schedule_with_three_faults() {
    let begin = || {
        let mut world = World::new(&[("a", 10), ("b", 3), ("c", 0)]);
        world.transfer("t", "a", "b", 1);
        world
    };
    let count = explore(3, begin, |world| match world.state("t") {
        Some(TransferState::Finished) => assert_eq!(available(world), [0, 13, 0]),
        Some(TransferState::Aborted) => assert_eq!(available(world), [10, 3, 0]),
        other => panic!("I10: the transfer is {other:?}"),
    });
    assert!(count > 1_000, "only {count} schedules");
}

#[test]
fn i6_a_refused_transfer_restores_its_source_in_every_schedule_with_two_faults() {
    let begin = || {
        let mut world = World::new(&[("a", 10), ("b", 3), ("c", 0)]);
        world.transfer("t", "a", "nobody", 1);
        world
    };
    let count = explore(2, begin, |world| {
        assert_eq!(world.state("t"), Some(TransferState::Aborted));
        assert_eq!(available(world), [10, 3, 0]);
    });
    assert!(count > 1_000, "only {count} schedules");
}

#[test]
fn i6_two_transfers_at_once_end_in_every_schedule_with_two_faults() {
    for (source, target) in [("a", "c"), ("b", "c"), ("b", "a")] {
        let begin = || {
            let mut world = World::new(&[("a", 10), ("b", 3), ("c", 0)]);
            world.transfer("t1", "a", "b", 1);
            world.transfer("t2", source, target, 2);
            world
        };
        let count = explore(2, begin, |world| {
            assert_eq!(available(world).iter().sum::<u64>(), 13);
            let ended = |id| world.state(id).is_some_and(TransferState::is_ended);
            assert!(ended("t1") && ended("t2"), "I10");
        });
        assert!(count > 100, "only {count} schedules");
    }
}

#[test]
fn i10_everything_ends_when_the_last_transfer_begins_after_a_crash() {
    let begin = || {
        let mut world = World::new(&[("a", 10), ("b", 3), ("c", 0)]);
        world.transfer("t", "a", "b", 1);
        world.deliver(0);
        world.crash_coordinator();
        world.transfer("t2", "a", "c", 2);
        world
    };
    explore(2, begin, |world| {
        assert_eq!(world.state("t"), Some(TransferState::Aborted), "begun without committed aborts");
        assert_eq!(available(world).iter().sum::<u64>(), 13);
    });
}

#[test]
fn a_committed_transfer_is_driven_to_its_end_after_a_crash() {
    let mut world = World::new(&[("a", 10), ("b", 3), ("c", 0)]);
    world.transfer("t", "a", "b", 1);
    while world.state("t") != Some(TransferState::Committed) {
        world.deliver(0);
    }
    world.wire.clear();
    world.crash_coordinator();
    assert_eq!(world.state("t"), Some(TransferState::Committed));
    world.settle();
    assert_eq!(available(&world), [0, 13, 0]);
}
