//! Opening and closing a meter, and the organizations in it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::oneshot;

use crate::actors::directory::{Org, Partition};
use crate::actors::engine::{Engine, Setup};
use crate::actors::messages::Unavailable;
use crate::actors::partition::{Create, Policy};
use crate::actors::recover::PartitionRecovery;
use crate::domain::event::OrganizationCreated;
use crate::domain::ids::{Lsn, Name, OrgId};
use crate::domain::limits::PARTITIONS_MAX;
use crate::domain::refusal::Refusal;
use crate::domain::time::Timestamp;
use crate::protocol::coordinator::{Answer, Order};
use crate::storage::layout::{DirectoryId, Layout};
use crate::storage::{DirectoryLock, Disk, Fault, JournalConfig, RealDisk};

use super::access::{Action, Principal};
use super::audit::{Actor, Deed, Origin, Refusals, witnessed};
use super::config::Config;
use super::error::Error;
use super::organization::Organization;
use super::pending::Pending;

/// The meter: all organizations of one data directory. Cheap to clone; the last clone that is dropped closes it in order.
///
/// ```
/// use tokenweir::meter::{Config, Meter, NewOrganization, OrgId, Name, Principal, Tokens};
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// # let dir = tempfile::tempdir().unwrap();
/// let meter = Meter::open(Config::new(dir.path()))?;
/// let acme = OrgId::new("acme")?;
/// meter.create_organization(&Principal::Host, NewOrganization::new(acme.clone(), Name::new("Acme Ltd")?)).await?;
/// let summary = meter.organization(&Principal::Host, &acme)?.summary().await?;
/// assert_eq!(summary.available, Tokens(0));
/// meter.close().await;
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Meter {
    pub(super) engine: Arc<Engine>,
    pub(super) origin: Origin,
    pub(super) refusals: Arc<Refusals>,
    retention_ms: u64,
}

/// An organization that is to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewOrganization {
    /// Its id.
    pub id: OrgId,
    /// Its name for people.
    pub name: Name,
    /// How long its event ids are remembered, in milliseconds; as configured where absent.
    pub retention_ms: Option<u64>,
}

impl NewOrganization {
    /// An organization that remembers event ids as long as configured.
    #[must_use]
    pub fn new(id: OrgId, name: Name) -> Self {
        Self { id, name, retention_ms: None }
    }
}

/// How a partition is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionStatus {
    /// The partition.
    pub partition: u16,
    /// The last journal frame that is durable.
    pub durable: Lsn,
    /// The newest snapshot's frame; zero for none.
    pub snapshot: Lsn,
    /// Groups made durable since the start, each by one sync.
    pub groups: u64,
    /// Bytes made durable since the start.
    pub bytes: u64,
    /// Why the partition stopped, if it did.
    pub failure: Option<Unavailable>,
}

impl PartitionStatus {
    /// Whether it stopped, and does not come back before a restart. One that another node has taken is on its way out.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.failure.as_ref().is_some_and(|failure| !matches!(failure, Unavailable::Elsewhere { .. }))
    }
}

impl Meter {
    /// Opens a data directory, made when it is not there: recovers what it holds, then serves. Blocks until then.
    ///
    /// # Errors
    /// When another process holds the directory, when it is of a newer format, when it is damaged (the message names file
    /// and offset; nothing is deleted), or when the disk refuses.
    pub fn open(config: Config) -> Result<Self, Fault> {
        let layout = Layout::new(config.directory.clone());
        std::fs::create_dir_all(layout.root()).map_err(Fault::io("create the directory", layout.root()))?;
        let lock = DirectoryLock::exclusive(&layout.lock())?;
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        Self::open_with(config, &disk, Some(lock), true)
    }

    /// Opens a data directory on a disk of the caller's, without a lock and without an audit log: for tests on a simulated disk.
    ///
    /// # Errors
    /// As [`Meter::open`].
    #[cfg(feature = "testing")]
    #[expect(clippy::needless_pass_by_value, reason = "a test hands its disk over")]
    pub fn open_on(disk: Arc<dyn Disk>, config: Config) -> Result<Self, Fault> {
        Self::open_with(config, &disk, None, false)
    }

    /// As [`Meter::open_on`], with an audit log.
    ///
    /// # Errors
    /// As [`Meter::open`].
    #[cfg(feature = "testing")]
    #[expect(clippy::needless_pass_by_value, reason = "a test hands its disk over")]
    pub fn open_audited_on(disk: Arc<dyn Disk>, config: Config) -> Result<Self, Fault> {
        Self::open_with(config, &disk, None, true)
    }

    /// Closes in order: admits nothing more, makes what is queued durable, releases the directory. Other clones get
    /// [`Unavailable::Closing`] from then on.
    pub async fn close(self) {
        let (done, closed) = oneshot::channel();
        let engine = Arc::clone(&self.engine);
        std::thread::spawn(move || {
            engine.shut_down();
            _ = done.send(());
        });
        drop(closed.await);
    }

    /// What recovery found in each partition when the directory was opened.
    #[must_use]
    pub fn recovery(&self) -> &[PartitionRecovery] {
        &self.engine.recovery
    }

    /// How each partition is doing that is here.
    #[must_use]
    pub fn status(&self) -> Vec<PartitionStatus> {
        let status = |partition: Arc<Partition>| PartitionStatus {
            partition: partition.number,
            durable: partition.staging.durable(),
            snapshot: Lsn(partition.snapshot_lsn.load(Ordering::Acquire)),
            groups: partition.groups.load(Ordering::Relaxed),
            bytes: partition.bytes.load(Ordering::Relaxed),
            failure: partition.staging.failure(),
        };
        self.engine.directory.partitions().map(status).collect()
    }

    /// The last journal frame of a partition that is durable; zero when there is no such partition here.
    #[must_use]
    pub fn durable(&self, partition: u16) -> Lsn {
        let partition = self.engine.directory.partition(partition);
        partition.map_or(Lsn(0), |partition| partition.staging.durable())
    }

    /// Takes a snapshot of every partition that is here; whether all were written. Debits go on meanwhile.
    pub async fn snapshot(&self) -> bool {
        self.engine.snapshot().await
    }

    /// The present time of the meter's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.engine.clock.now()
    }

    /// Creates an organization with an empty pool; answers when it is durable, with the time of its creation. The same again, of
    /// the same name and retention, is answered as the first time and changes nothing.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`] unless `who` is an operator or the host, [`Refusal::OrganizationExists`] when there is another one
    /// under this id, an invalid retention, or the bound of the partition.
    pub async fn create_organization(
        &self,
        who: &Principal,
        new: NewOrganization,
    ) -> Result<Timestamp, Error> {
        who.authorize(Action::CreateOrganization)?;
        let retention_ms = Config::check_retention(new.retention_ms.unwrap_or(self.retention_ms))?;
        let (secret, is_retention_asked) = ((random_u64(), random_u64()), new.retention_ms.is_some());
        let partition = self.engine.directory.partition_of(&new.id);
        partition.check_open()?;
        let deed = Deed::within(&new.id, "create_organization", None);
        let created = OrganizationCreated { organization: new.id, name: new.name, secret, retention_ms };
        self.witnessed(who, deed, async {
            let (reply, created_at) = oneshot::channel();
            partition.tell(Create { created, is_retention_asked, reply });
            Ok(Pending::new(created_at, &partition).await??)
        })
        .await
    }

    /// The organizations that `who` may know of: all for an operator or the host, its own for anybody else; at most
    /// `rows` after `after`, in order. Those of a partition that was damaged when the directory was opened are not known:
    /// [`Self::unlisted`] names it.
    #[must_use]
    pub fn organizations(&self, who: &Principal, after: Option<&OrgId>, rows: usize) -> Vec<OrgId> {
        let visible = |id: &OrgId| who.may(Action::ListOrganizations) || who.may(Action::Read(id));
        let later = |id: &OrgId| after.is_none_or(|after| id > after);
        let all = self.engine.directory.organizations.iter().map(|entry| entry.key().clone());
        let mut found: Vec<_> = all.filter(|id| later(id) && visible(id)).collect();
        found.sort_unstable();
        found.truncate(rows);
        found
    }

    /// The partitions whose organizations are missing from [`Self::organizations`], because they were damaged when the directory was
    /// opened: all such for an operator or the host, those that its organizations belong to for anybody else.
    #[must_use]
    pub fn unlisted(&self, who: &Principal) -> Vec<u16> {
        let is_of = |partition: u16| {
            let belongs = |id: &OrgId| self.engine.directory.number_of(id) == partition;
            who.may(Action::ListOrganizations) || who.names_one(belongs)
        };
        let damaged = self.recovery().iter().filter(|found| found.damage.is_some());
        damaged.map(|found| found.partition).filter(|partition| is_of(*partition)).collect()
    }

    /// The handle of an organization, with the rights that `who` has in it.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`] when `who` has none, else [`Refusal::UnknownOrganization`] when there is no such organization.
    pub fn organization(&self, who: &Principal, id: &OrgId) -> Result<Organization, Error> {
        if !(who.may(Action::Read(id)) || who.may(Action::Debit(id)) || who.may(Action::Administer(id))) {
            return Err(Refusal::Forbidden.into());
        }
        let actor = Actor::new(who, self.origin);
        Ok(Organization::new(self.find(id)?, Arc::clone(&self.engine), (who, actor)))
    }

    /// # Errors
    /// When there is no such organization here, or its partition is not, so that it cannot be told.
    pub(super) fn find(&self, id: &OrgId) -> Result<Arc<Org>, Error> {
        Ok(self.engine.directory.look_up(id)?.ok_or(Refusal::UnknownOrganization)?)
    }

    /// # Errors
    /// When one of these organizations does not exist, wherever it would be.
    pub(super) async fn check_known(&self, all: &[&OrgId]) -> Result<(), Error> {
        let is_any_unknown = self.engine.directory.is_any_unknown(all).await?;
        if is_any_unknown { Err(Refusal::UnknownOrganization.into()) } else { Ok(()) }
    }

    /// Carries out an act that is recorded.
    pub(super) async fn witnessed<T>(
        &self,
        who: &Principal,
        deed: Deed,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        witnessed(&self.engine, &Actor::new(who, self.origin), deed, work).await
    }

    pub(super) async fn order(&self, what: Order) -> Result<Answer, Error> {
        order(&self.engine, what).await
    }

    fn open_with(
        config: Config,
        disk: &Arc<dyn Disk>,
        lock: Option<DirectoryLock>,
        is_audited: bool,
    ) -> Result<Self, Fault> {
        let mut directory_id = [0; 16];
        fill_random(&mut directory_id);
        let (retention_ms, setup) = setup(config, DirectoryId(directory_id), is_audited);
        Ok(Self::of(Engine::open(&setup, disk, lock)?, retention_ms))
    }

    pub(super) fn of(engine: Engine, retention_ms: u64) -> Self {
        Self { engine: Arc::new(engine), origin: Origin::HOST, refusals: Arc::default(), retention_ms }
    }
}

/// How the engine is set up, and how long event ids of new organizations are remembered.
pub(super) fn setup(config: Config, directory_id: DirectoryId, is_audited: bool) -> (u64, Setup) {
    let setup = Setup {
        directory: config.directory,
        partitions: config.partitions.clamp(1, PARTITIONS_MAX),
        journal: JournalConfig {
            segment_bytes_min: config.segment_bytes_min,
            segment_bytes_max: config.segment_bytes_max,
        },
        policy: Policy {
            snapshot_bytes: config.snapshot_bytes,
            snapshot_period_ms: config.snapshot_period_ms,
            journal_keep_bytes: config.journal_keep_bytes,
            in_flight_max: config.in_flight_max,
        },
        hold: config.hold,
        clock: config.clock,
        directory_id,
        is_audited,
    };
    (config.retention_ms, setup)
}

/// Asks the coordinator and waits for its answer.
pub(super) async fn order(engine: &Engine, what: Order) -> Result<Answer, Error> {
    match engine.directory.order(what).await? {
        Answer::Refused(refusal) => Err(refusal.into()),
        answer => Ok(answer),
    }
}

pub(super) fn fill_random(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the operating system gives random bytes");
}

pub(super) fn random_u64() -> u64 {
    let mut bytes = [0; 8];
    fill_random(&mut bytes);
    u64::from_le_bytes(bytes)
}
