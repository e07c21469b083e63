//! The domain against the naive pools of `tests/rules`: outcomes, sums, licenses, reservations, and the end of every transfer.

use tokenweir::domain::limits::SEQ_WINDOW;
use tokenweir::domain::rates::Unit;

use model::{CAMERAS, CLOCK_STEPS, Draw, KEYS, LICENSES, ORGS, RESERVATIONS, Step, TRANSFERS, TTLS};

#[cfg_attr(not(test), expect(dead_code, reason = "its own test draws histories at random"))]
#[path = "../../tests/rules/model.rs"]
mod model;
#[path = "../../tests/rules/naive.rs"]
mod naive;
#[expect(dead_code, reason = "the tests of rules ask more of it")]
#[path = "../../tests/rules/support.rs"]
mod support;
#[expect(dead_code, reason = "the tests of rules ask more of it")]
#[path = "../../tests/rules/world.rs"]
mod world;

/// Most steps of a history.
const STEPS_MAX: usize = 200;

/// The input is a history, step by step, which both are put through.
pub fn fuzz(data: &[u8]) {
    let mut bytes = Bytes(data);
    model::follow_history(std::iter::from_fn(|| step(&mut bytes)).take(STEPS_MAX));
}

/// Numbers from an input; zeros once it is at its end.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> usize {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        usize::from(*first)
    }

    /// A number below `end`.
    fn below(&mut self, end: usize) -> usize {
        self.next() % end
    }

    fn number(&mut self, end: u64) -> u64 {
        u64::try_from(self.next()).expect("a byte") % end
    }

    fn is_odd(&mut self) -> bool {
        self.next() % 2 == 1
    }
}

fn step(from: &mut Bytes<'_>) -> Option<Step> {
    if from.0.is_empty() {
        return None;
    }
    let (step, org) = (from.below(18), from.below(ORGS.len()));
    Some(match step {
        0 => Step::Debits(org, draws(from)),
        1 => Step::Register(org, from.below(CAMERAS.len()), from.is_odd()),
        2 => Step::Remove(org, from.below(CAMERAS.len())),
        // The last license is a shared one, which nobody can bind.
        3 => {
            let (camera, license) = (from.below(CAMERAS.len()), from.below(LICENSES.len() - 1));
            Step::Bind(org, camera, license, from.number(40), from.number(80))
        }
        4 => Step::Unbind(org, from.below(LICENSES.len())),
        5 => {
            let key = from.below(KEYS.len());
            Step::Add(org, key, (0..=from.below(3)).map(|_| 1 + from.number(200)).collect())
        }
        6 => Step::Transfer(from.below(TRANSFERS.len()), org),
        7 | 8 => Step::Deliver(from.below(4)),
        9 => Step::Tick,
        10 => Step::Ahead(from.below(CLOCK_STEPS.len())),
        11 => Step::Back(from.below(CLOCK_STEPS.len())),
        12 => Step::CrashOrg(org),
        13 => Step::CrashCoordinator,
        14 => Step::Rates(org, 1 + 97 * from.number(50), from.number(60)),
        15 => {
            let (held, tokens) = (from.below(RESERVATIONS.len()), 1 + from.number(60));
            Step::Reserve(org, held, tokens, from.below(TTLS.len()))
        }
        16 => Step::Settle(org, from.below(RESERVATIONS.len()), draws(from)),
        _ => Step::Release(org, from.below(RESERVATIONS.len())),
    })
}

fn draws(from: &mut Bytes<'_>) -> Vec<Draw> {
    (0..=from.below(8)).map(|_| draw(from)).collect()
}

fn draw(from: &mut Bytes<'_>) -> Draw {
    let what = from.next();
    Draw {
        camera: what % CAMERAS.len(),
        by_event: what & 0x10 != 0,
        epoch: if what & 0x20 == 0 { 1 } else { 2 },
        number: from.number(2 * SEQ_WINDOW + 40),
        other_time: what & 0x40 != 0,
        tokens: from.number(50),
        kind: what / 4 % 4,
        unit: (what & 0x80 != 0).then_some(Unit::Image),
    }
}
