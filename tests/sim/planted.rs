//! Every planted bug must be found: a checker is itself checked.

use tokenweir::planted::{Bug, plant};

use crate::shrink;

/// In so many seeds each bug must be found.
const SEEDS_MAX: u64 = 400;

#[test]
fn every_planted_bug_is_found() {
    let mut missed = Vec::new();
    for bug in Bug::ALL {
        plant(Some(bug));
        let found = (0..SEEDS_MAX).find_map(|seed| {
            let (swarm, actions) = shrink::draw(seed, bug.is_of_cluster());
            let why = shrink::run(swarm, &actions).err()?;
            let shrunk = shrink::shrink(swarm, actions, &why).len();
            Some((seed + 1, shrunk, why))
        });
        plant(None);
        match found {
            Some((seeds, actions, why)) => {
                println!("{bug:?}: found after {seeds} seeds, {actions} actions are enough: {why}");
            }
            None => missed.push(bug),
        }
    }
    assert!(missed.is_empty(), "not found in {SEEDS_MAX} seeds: {missed:?}");
}
