//! Runs a list of actions, and shortens one that fails: pieces are left out, large ones first, while it fails alike.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use tokenweir::storage::sim_disk::SplitMix;

use crate::actions::Action;
use crate::swarm::Swarm;
use crate::world::{Coverage, World};

/// A run that found nothing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Passed {
    pub(crate) trace: u64,
    pub(crate) coverage: Coverage,
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// The kind of run and the actions of a seed, on files or on replicated logs.
pub(crate) fn draw(seed: u64, is_replicated: bool) -> (Swarm, Vec<Action>) {
    let mut random = SplitMix(seed);
    let swarm = Swarm::draw(&mut random).kept_in_logs(is_replicated);
    let actions = swarm.actions(&mut random);
    (swarm, actions)
}

/// Runs actions from the beginning; what is broken, if anything is. A panic of what ships is a finding like any other.
pub(crate) fn run(swarm: Swarm, actions: &[Action]) -> Result<Passed, String> {
    keep_panics_quiet();
    QUIET.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(swarm)?;
        actions.iter().try_for_each(|action| world.step(*action))?;
        world.end()?;
        Ok(Passed { trace: world.trace(), coverage: std::mem::take(&mut world.coverage) })
    }));
    QUIET.set(false);
    outcome.unwrap_or_else(|_| Err(format!("panic: {}", PANIC.take())))
}

/// The shortest list that was found to fail with the same beginning of its message.
pub(crate) fn shrink(swarm: Swarm, mut actions: Vec<Action>, why: &str) -> Vec<Action> {
    let kind = |why: &str| why.split(':').next().unwrap_or_default().to_owned();
    let wanted = kind(why);
    let mut piece = actions.len().div_ceil(2);
    while piece > 0 {
        let mut at = 0;
        while at < actions.len() {
            let mut fewer = actions.clone();
            fewer.drain(at..(at + piece).min(actions.len()));
            if run(swarm, &fewer).is_err_and(|why| kind(&why) == wanted) {
                actions = fewer;
            } else {
                at += piece;
            }
        }
        piece /= 2;
    }
    actions
}

/// The hook is one for all threads; the tests beside these keep theirs.
fn keep_panics_quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if QUIET.get() {
                PANIC.set(info.to_string().replace('\n', " "));
            } else {
                before(info);
            }
        }));
    });
}
