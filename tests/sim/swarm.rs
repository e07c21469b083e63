//! What kind of run a seed draws, and the actions that it draws then.
//!
//! Not every run does everything: one that never snapshots or never moves a pool reaches states that a run which does all a little
//! never sees. An action holds all that it needs as numbers, and every state takes them somehow, so any part of a list of
//! actions is a run as well: that is what makes shrinking possible.

use tokenweir::storage::sim_disk::SplitMix;

use crate::actions::Action;

/// The kind of run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Swarm {
    pub(crate) partitions: u16,
    /// Whether partitions are kept in replicated logs, and not in files.
    pub(crate) is_replicated: bool,
    pub(crate) organizations: usize,
    /// Whether messages between coordinator and organizations outlive a crash.
    pub(crate) late_messages: bool,
    /// Whether identities are event ids, sequence numbers, or both.
    pub(crate) event_ids: u64,
    /// Out of 100, how many debits are sent again under the same ids.
    pub(crate) retries: u64,
    pub(crate) actions: usize,
    weights: [u64; KINDS],
}

/// How many kinds of action there are.
const KINDS: usize = 28;
/// The kind that sets prices.
const PRICE: usize = 26;

/// Kinds that came later, each set with a number of its own, for which the seeds that were kept draw none of them: whether a run has them is drawn apart, so that the seeds that were kept
/// before there were any are the runs that they were. Reservations; cameras, Unlimited AI Licenses and API keys; leases; prices and thresholds.
const LATER: [(u64, &[usize]); 4] =
    [(145, &[20, 21]), (148, &[22, 23, 24]), (276, &[25]), (11_106, &[PRICE, 27])];

/// By kind of action, how likely it is where it is wanted.
const WEIGHTS: [u64; KINDS] =
    [30, 3, 3, 8, 40, 3, 3, 4, 40, 40, 8, 12, 6, 2, 2, 1, 1, 1, 2, 1, 10, 3, 3, 4, 3, 20, 4, 3];

/// Kinds that every run has: debits, claims, deliveries, commits, reads.
const ALWAYS: [usize; 6] = [0, 1, 3, 4, 8, 9];

impl Swarm {
    /// Draws the kind of run.
    pub(crate) fn draw(random: &mut SplitMix) -> Self {
        let mut weights = WEIGHTS;
        for (apart, kinds) in LATER {
            let times = [0, 1, 1, 3][below_usize(&mut SplitMix(random.0 ^ apart), 4)];
            kinds.iter().for_each(|kind| weights[*kind] *= times);
        }
        for (kind, weight) in weights.iter_mut().enumerate() {
            if !ALWAYS.contains(&kind) && LATER.iter().all(|(_, kinds)| !kinds.contains(&kind)) {
                *weight *= [0, 1, 1, 3][below_usize(random, 4)];
            }
        }
        Self {
            partitions: [1, 2, 2, 3][below_usize(random, 4)],
            is_replicated: false,
            organizations: 2 + below_usize(random, 4),
            late_messages: random.draw() & 1 == 0,
            event_ids: below(random, 3),
            retries: 10 + below(random, 50),
            actions: 200 + below_usize(random, 400),
            weights,
        }
    }

    /// Whether events may bear images instead of tokens.
    pub(crate) fn has_prices(&self) -> bool {
        self.weights[PRICE] > 0
    }

    /// The same run, on replicated logs or not.
    pub(crate) fn kept_in_logs(self, is_replicated: bool) -> Self {
        Self { is_replicated, ..self }
    }

    /// Draws the actions of the run.
    pub(crate) fn actions(&self, random: &mut SplitMix) -> Vec<Action> {
        (0..self.actions).map(|_| self.action(random)).collect()
    }

    fn action(&self, random: &mut SplitMix) -> Action {
        let mut place = below(random, self.weights.iter().sum());
        let past = |weight: &u64| {
            let here = place < *weight;
            place = place.saturating_sub(*weight);
            here
        };
        let kind = self.weights.iter().position(past).expect("it is below the sum");
        Action::draw(kind, random)
    }
}

/// A number below `bound`.
pub(crate) fn below(random: &mut SplitMix, bound: u64) -> u64 {
    random.draw() % bound
}

/// A number below `bound`.
pub(crate) fn below_usize(random: &mut SplitMix, bound: usize) -> usize {
    let bound = u64::try_from(bound).expect("a small number");
    usize::try_from(below(random, bound)).expect("a small number")
}
