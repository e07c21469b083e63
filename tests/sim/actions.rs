//! What may happen next. Each action is a few numbers that any state can take.

use tokenweir::storage::sim_disk::SplitMix;

use crate::swarm::{below, below_usize};

/// Longest time to live of a reservation, in milliseconds.
pub(crate) const RESERVED_MS_MAX: u64 = 120_000;

/// One step of a run. `pick` chooses among what is there, whatever that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// A client sends debits, new ones or some that it sent before.
    Debits { pick: u64, count: usize, retry: u64, applied: bool },
    /// A client claims a license key, or one that somebody else claims too.
    Claim { pick: u64, tokens: u64 },
    /// A client moves a pool, or asks again.
    Transfer { pick: u64 },
    /// A client reads the summary of an organization.
    Read { pick: u64 },
    /// A message arrives: any of those under way.
    Deliver { pick: u64 },
    /// A message is lost.
    Drop { pick: u64 },
    /// A message is doubled.
    Duplicate { pick: u64 },
    /// The coordinator asks again.
    Tick,
    /// A committer takes what is staged: from now on its sync is under way.
    Take { pick: u64 },
    /// The sync comes to its end.
    Write { pick: u64 },
    /// A request that is alone is written by its arbiter.
    WriteAlone { pick: u64 },
    /// A snapshot begins, takes one more image, or is written.
    Snapshot { pick: u64 },
    /// The next segment is made.
    Prepare { pick: u64 },
    /// The clock jumps.
    Clock { back: bool, ms: u64 },
    /// The process ends after some more operations on the disk, inside a write perhaps, or at once.
    Crash { after: u64, bytes: usize, plan: u64 },
    /// A sync will fail, soon.
    FailSync { nth: u64 },
    /// A write will fail, soon.
    FailWrite { nth: u64 },
    /// The disk will be full.
    FullDisk { bytes: u64 },
    /// The actor of an organization panics and is rebuilt; or the process closes in order and starts again.
    Rebuild { pick: u64 },
    /// A second process wants the directory.
    Second,
    /// A client reserves tokens, or asks again for some that it reserved before.
    Reserve { pick: u64, tokens: u64, ttl_ms: u64 },
    /// A client gives back what a reservation holds.
    Release { pick: u64 },
    /// An administrator turns a camera's Cloud AI on or off, or removes the camera.
    Camera { pick: u64 },
    /// An administrator binds an Unlimited AI License to a camera for so long, or unbinds one.
    Unlimited { pick: u64, lasts_ms: u64 },
    /// An API key is made, revoked or asked for.
    Key { pick: u64 },
    /// An administrator sets what images cost.
    Price { pick: u64 },
    /// An administrator sets a threshold.
    Threshold { pick: u64 },
    /// A gateway does what gateways with a lease do.
    Gateway { pick: u64, tokens: u64 },
}

impl Action {
    /// An action of this kind.
    pub(crate) fn draw(kind: usize, random: &mut SplitMix) -> Self {
        let pick = random.draw() % 1_000_000;
        match kind {
            0 => Self::Debits {
                pick,
                count: 1 + below_usize(random, 6),
                retry: below(random, 100),
                applied: below(random, 5) == 0,
            },
            1 => Self::Claim { pick, tokens: 1 + below(random, 400) },
            2 => Self::Transfer { pick },
            3 => Self::Read { pick },
            4 => Self::Deliver { pick },
            5 => Self::Drop { pick },
            6 => Self::Duplicate { pick },
            7 => Self::Tick,
            8 => Self::Take { pick },
            9 => Self::Write { pick },
            10 => Self::WriteAlone { pick },
            11 => Self::Snapshot { pick },
            12 => Self::Prepare { pick },
            13 => Self::Clock { back: below(random, 3) == 0, ms: below(random, 90_000) },
            14 => Self::Crash { after: below(random, 12), bytes: below_usize(random, 1_500), plan: pick },
            15 => Self::FailSync { nth: below(random, 4) },
            16 => Self::FailWrite { nth: below(random, 4) },
            17 => Self::FullDisk { bytes: below(random, 4_000) },
            18 => Self::Rebuild { pick },
            19 => Self::Second,
            20 => Self::Reserve {
                pick,
                tokens: 1 + below(random, 60),
                ttl_ms: 1_000 + below(random, RESERVED_MS_MAX - 1_000),
            },
            21 => Self::Release { pick },
            22 => Self::Camera { pick },
            23 => Self::Unlimited { pick, lasts_ms: 1 + below(random, 90_000) },
            24 => Self::Key { pick },
            25 => Self::Gateway { pick, tokens: 10 + below(random, 90) },
            26 => Self::Price { pick },
            _ => Self::Threshold { pick },
        }
    }
}
