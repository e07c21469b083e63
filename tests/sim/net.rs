//! What is under way: requests of clients, and messages between the coordinator and organizations.
//!
//! Nothing here keeps an order. What leaves a node does so through closures that the code that ships calls when all before it is
//! durable, so it is gathered behind a lock that nobody ever waits for.

use std::sync::{Arc, Mutex};

use tokenweir::domain::debit::{Outcome, UsageKind};
use tokenweir::domain::ids::{Lsn, OrgId};
use tokenweir::domain::refusal::Refusal;
use tokenweir::domain::registry::Registry;
use tokenweir::domain::reservation::Reservation;
use tokenweir::domain::summary::Summary;
use tokenweir::protocol::coordinator::Answer;
use tokenweir::protocol::message::{ToCoordinator, ToOrg};
use tokenweir::storage::snapshot_codec::PoolImage;

/// What goes to a node.
#[derive(Clone, Debug)]
pub(crate) enum Envelope {
    Request(Request),
    ToOrg(OrgId, ToOrg),
    ToCoordinator(ToCoordinator),
}

/// What a client asks.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    Debits {
        org: usize,
        items: Vec<Item>,
        applied: bool,
    },
    Claim {
        key: usize,
        org: usize,
        tokens: u64,
    },
    Transfer {
        id: usize,
        source: usize,
        target: usize,
    },
    Read {
        org: usize,
    },
    Reserve(Order),
    Release {
        org: usize,
        reservation: usize,
    },
    Set(Setting),
    /// Whether an API key opens anything.
    AskKey {
        key: usize,
    },
}

/// What a client wants to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setting {
    Camera {
        org: usize,
        camera: usize,
        to: CameraIs,
    },
    /// An Unlimited AI License of the organization: bound on these terms, or unbound.
    Unlimited {
        org: usize,
        license: usize,
        to: Option<Terms>,
    },
    Key {
        key: usize,
        to: KeyIs,
    },
    /// What an image costs in thousandths of a token, whatever its time: one of [`PRICES`].
    Price {
        org: usize,
        to: u64,
    },
    /// How few tokens are left when that is told.
    Threshold {
        org: usize,
        to: u64,
    },
}

/// What an image may cost, in thousandths of a token.
pub(crate) const PRICES: [u64; 4] = [500, 1_000, 1_500, 4_000];

/// Whether a camera is there, and its Cloud AI on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CameraIs {
    On,
    Off,
    Removed,
}

/// What an API key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyIs {
    Unknown,
    Valid,
    Revoked,
}

/// Which camera an Unlimited AI License exempts, from when until before when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) camera: usize,
    pub(crate) from_ms: u64,
    pub(crate) until_ms: u64,
}

/// What a client wants to reserve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) org: usize,
    pub(crate) reservation: usize,
    pub(crate) tokens: u64,
    pub(crate) ttl_ms: u64,
}

/// One debit: under which of the identities of its organization, and for how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Item {
    /// The reservation that pays it. All items of a batch have one, or none has.
    pub(crate) paid_by: Option<usize>,
    pub(crate) camera: usize,
    pub(crate) by_event_id: bool,
    pub(crate) number: u64,
    pub(crate) tokens: u64,
    /// Whether `tokens` counts images, which have a price.
    pub(crate) is_priced: bool,
    pub(crate) kind: UsageKind,
    pub(crate) time_ms: u64,
}

/// What a client is told.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Debits {
        org: usize,
        items: Vec<Item>,
        outcomes: Vec<Outcome>,
        lsn: Lsn,
        durable: bool,
    },
    Claim {
        key: usize,
        org: usize,
        answer: Answer,
    },
    Transfer {
        id: usize,
        answer: Answer,
    },
    Read {
        org: usize,
        summary: Box<Summary>,
        price: Option<u64>,
        threshold: Option<u64>,
        lsn: Lsn,
    },
    Reservation {
        org: usize,
        reservation: usize,
        answer: Result<Reservation, Refusal>,
        lsn: Lsn,
    },
    Set {
        setting: Setting,
        answer: Result<(), Refusal>,
        /// The frame that the answer of an organization rests on.
        lsn: Option<Lsn>,
    },
    Key {
        key: usize,
        is: KeyIs,
    },
    /// It was neither carried out nor refused, as far as the client knows.
    Unavailable,
}

/// What left a node, or is due in it, because all before it is durable.
pub(crate) enum Left {
    Reply(Reply),
    Envelope(Envelope),
    Image { partition: usize, image: Box<PoolImage> },
    Registry(Box<Registry>),
    Rebuild { partition: usize, org: usize, target: Lsn },
}

/// Where what left is gathered.
#[derive(Clone, Default)]
pub(crate) struct Post(Arc<Mutex<Vec<Left>>>);

impl Post {
    pub(crate) fn push(&self, left: Left) {
        self.0.lock().expect("one thread").push(left);
    }

    pub(crate) fn take(&self) -> Vec<Left> {
        std::mem::take(&mut *self.0.lock().expect("one thread"))
    }
}
