//! A lease of tokens that a gateway spends by itself: [`LeasedMeter`].
//!
//! A lease is a reservation at the meter. A debit takes its tokens with one atomic exchange and goes into a bounded record; one task
//! reports the record in batches under the debits' own ids, another takes the next lease before this one is dry, and gives back what
//! is left of the one before. No token is granted that the meter did not hold back, but those that the gateway chose to grant while
//! the meter is unreachable. Deliberately absent: anything on disk. What a crashed gateway did not report was
//! used and is never charged; the tokens that pay for it come back to the pool when the lease expires.

mod book;
mod config;
mod purse;
mod renew;
mod report;
mod row;
mod shared;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::domain::debit::{CameraRef, Debit};
use crate::domain::refusal::Invalid;

use super::Client;
use super::error::Error;
use super::stream::DebitStream;

use renew::Renewal;
use report::Reporter;
use row::{Payer, Row};
use shared::Shared;

pub use config::{LeaseConfig, WhenUnreachable};

/// Spends tokens of an organization locally, from any thread, without a lock or a call, while a lease lasts.
///
/// ```no_run
/// use tokenweir::client::{CameraRef, Client, Config, Debit, Identity, LeaseConfig, LeasedMeter, UsageKind};
///
/// # async fn gateway(events: impl Iterator<Item = u64>) -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::connect(Config::new("http://127.0.0.1:8081", "weir_..."))?;
/// let meter = LeasedMeter::start(&client, "acme", LeaseConfig::new(100_000), |lost| {
///     eprintln!("used and not charged, {}: {:?}", lost.why, lost.debit);
/// })?;
/// meter.ready().await?;
/// let camera = meter.camera("gate")?;
/// for seq in events {
///     let identity = Identity::Seq { epoch: 7, seq };
///     let debit = Debit { camera, identity, tokens: 3, kind: UsageKind::VideoSearch, time: None };
///     match meter.debit(&debit) {
///         Ok(_paid) => { /* analyse */ }
///         Err(why) => eprintln!("not analysed: {why}"),
///     }
/// }
/// meter.close().await?;
/// # Ok(())
/// # }
/// ```
///
/// Dropped without [`Self::close`], it is a gateway that crashed: what it did not report is not charged, and what it holds
/// comes back to the pool when the lease expires.
pub struct LeasedMeter {
    shared: Arc<Shared>,
    stream: DebitStream,
    cameras: AtomicU32,
    tasks: [JoinHandle<()>; 2],
}

/// What will pay a debit that was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paid {
    /// The lease: its tokens are held back at the meter.
    Leased,
    /// The pool, if it can: the debit was granted while the meter is unreachable.
    Open,
}

/// Why a debit was not granted. Nothing was spent, and nothing will be reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPaid {
    /// The lease holds less.
    #[error(
        "the lease holds fewer tokens, another one is asked for; nothing was spent, try again or drop the event"
    )]
    Dry,
    /// The lease ended and no other was granted, or there was none yet.
    #[error(
        "there is no lease, the meter granted none since the last one ended; nothing was spent, try again or drop the event"
    )]
    Ended,
    /// As many debits are held as the record has room for.
    #[error(
        "as many debits as the record holds are not answered yet; nothing was spent, try again or drop the event"
    )]
    Full,
    /// The leased meter was closed, or the server refused it for good.
    #[error("the leased meter is closed; nothing was spent, its status tells whether the server refused it")]
    Closed,
    /// The debit could never be charged.
    #[error("the debit was not spent: {0}")]
    Invalid(#[from] Invalid),
}

/// A debit that was granted and is not charged: its tokens were used and nobody pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uncharged<'a> {
    /// The debit, its camera named by its id. It may be sent again under its identity, after a top-up, say.
    pub debit: Debit<'a>,
    /// The stable code of the server's refusal, or of why it cannot be reported any more.
    pub why: &'a str,
}

/// How a leased meter stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseStatus {
    /// Tokens left of the lease.
    pub left: u64,
    /// For how long it is spent; zero when it ended, or there was none yet.
    pub ends_in: Duration,
    /// Debits that were granted and are not answered yet.
    pub unanswered: usize,
    /// Tokens that may still be granted while the meter is unreachable.
    pub open_left: u64,
    /// Whether the last call for a lease failed because the meter does not answer, or does not serve.
    pub is_unreachable: bool,
    /// Leases that were granted.
    pub leases: u64,
    /// Debits that the server admitted: charged, exempt, or known to it already.
    pub reported_debits: u64,
    /// Their tokens.
    pub reported_tokens: u64,
    /// Debits that were granted and refused by the server: each was told.
    pub uncharged_debits: u64,
    /// Their tokens.
    pub uncharged_tokens: u64,
    /// Why the last call failed; none when it did not.
    pub trouble: Option<Error>,
}

type UnchargedHook = Box<dyn Fn(&Uncharged<'_>) + Send + Sync>;

impl LeasedMeter {
    /// Starts to spend tokens of an organization. It asks for its first lease at once, and debits are granted when it has one. Call it
    /// where a tokio runtime runs.
    ///
    /// `on_uncharged` is told each debit that was granted and is refused in the end. It is called by a task of the runtime: it
    /// must neither block nor panic.
    ///
    /// # Errors
    /// When tokens or time of a lease are out of their bounds.
    pub fn start(
        client: &Client,
        organization: &str,
        config: LeaseConfig,
        on_uncharged: impl Fn(&Uncharged<'_>) + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        config.check()?;
        let renewal = Renewal::new(client.clone(), config.tokens)?;
        let stream = client.stream(organization);
        let reporter = Reporter::new(client, stream.clone());
        let shared = Arc::new(Shared::new(organization, config, Box::new(on_uncharged)));
        let (for_renewal, for_reporter) = (Arc::clone(&shared), Arc::clone(&shared));
        let tasks = [
            tokio::spawn(async move { renewal.run(&for_renewal).await }),
            tokio::spawn(async move { reporter.run(&for_reporter).await }),
        ];
        Ok(Self { shared, stream, cameras: AtomicU32::new(0), tasks })
    }

    /// A short name of a camera, which saves a lock and looking its id up at every debit.
    ///
    /// # Errors
    /// When it is no id of a camera, or more cameras are named than an organization can have.
    pub fn camera(&self, id: &str) -> Result<CameraRef<'static>, Error> {
        let camera = self.stream.camera(id)?;
        if let CameraRef::Slot(slot) = camera {
            self.cameras.fetch_max(slot.0 + 1, Ordering::AcqRel);
        }
        Ok(camera)
    }

    /// Grants a debit, if the lease pays it, and records it for the next report. It never waits.
    ///
    /// The identity names the event, as everywhere; debit the events of one camera in their order. A debit that was granted and then
    /// turns out to be refused by the server is told to `on_uncharged`. A lease is spent for exempt debits and for
    /// those that come a second time as well; what they did not cost goes back to the pool with the rest of the lease.
    ///
    /// # Errors
    /// [`NotPaid`]; then nothing was spent.
    #[inline]
    pub fn debit(&self, debit: &Debit<'_>) -> Result<Paid, NotPaid> {
        let mut row = Row::new(debit, self.place_of(debit.camera)?)?;
        let shared = &*self.shared;
        match shared.purse.take(row.tokens, shared.config.clock.now_ns()) {
            Ok(taken) => {
                row.payer = Payer::Lease(taken.place);
                shared.purse.record(row);
                if taken.is_low {
                    shared.want_lease();
                }
                Ok(Paid::Leased)
            }
            Err(why @ (NotPaid::Dry | NotPaid::Ended)) => self.debit_openly(row, why),
            Err(why) => Err(why),
        }
    }

    /// Waits until there is a lease to spend.
    ///
    /// # Errors
    /// When it was closed, or why the server refused it for good.
    pub async fn ready(&self) -> Result<(), Error> {
        let shared = &self.shared;
        let found = || {
            if shared.purse.is_closed() {
                return Some(Err(shared.book().failure.clone().unwrap_or(Error::Closed)));
            }
            let (left, ends_ns) = shared.purse.left();
            (left > 0 && shared.config.clock.now_ns() < ends_ns).then_some(Ok(()))
        };
        shared.until(found).await
    }

    /// Grants nothing any more, reports all that was granted, and gives back the rest of the lease. While the meter is
    /// unreachable this waits for it: bound it with a timeout if the gateway must end.
    ///
    /// # Errors
    /// Why the server refused the reports for good; what was not charged was told to `on_uncharged`.
    pub async fn close(&self) -> Result<(), Error> {
        self.shared.close();
        self.shared.until(|| self.shared.book().is_over.then_some(())).await;
        self.shared.book().failure.clone().map_or(Ok(()), Err)
    }

    /// How it stands.
    #[must_use]
    pub fn status(&self) -> LeaseStatus {
        let shared = &self.shared;
        let (left, ends_ns) = shared.purse.left();
        let book = shared.book();
        LeaseStatus {
            left,
            ends_in: Duration::from_nanos(ends_ns.saturating_sub(shared.config.clock.now_ns())),
            unanswered: shared.purse.unanswered(),
            open_left: shared.purse.open(),
            is_unreachable: shared.is_unreachable.load(Ordering::Acquire),
            leases: book.tally.leases,
            reported_debits: book.tally.reported_debits,
            reported_tokens: book.tally.reported_tokens,
            uncharged_debits: book.tally.uncharged_debits,
            uncharged_tokens: book.tally.uncharged_tokens,
            trouble: book.trouble.clone(),
        }
    }

    #[cold]
    fn debit_openly(&self, row: Row, why: NotPaid) -> Result<Paid, NotPaid> {
        let shared = &*self.shared;
        shared.want_lease();
        if !shared.is_unreachable.load(Ordering::Acquire) {
            return Err(why);
        }
        shared.purse.take_open(row.tokens, why)?;
        shared.purse.record(row);
        Ok(Paid::Open)
    }

    #[inline]
    fn place_of(&self, camera: CameraRef<'_>) -> Result<u32, Invalid> {
        match camera {
            CameraRef::Slot(slot) if slot.0 < self.cameras.load(Ordering::Relaxed) => Ok(slot.0),
            CameraRef::Slot(_) => Err(Invalid::CameraId),
            CameraRef::Id(id) => match self.camera(id) {
                Ok(CameraRef::Slot(slot)) => Ok(slot.0),
                _ => Err(Invalid::CameraId),
            },
        }
    }
}

impl Drop for LeasedMeter {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl fmt::Debug for LeasedMeter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LeasedMeter").field(&self.status()).finish()
    }
}
