//! What the tests of reports share: a meter on a real directory with a clock of the test's own, and reports beside it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use jiff::tz::TimeZone;
use tempfile::TempDir;
use tokenweir::meter::{
    CameraId, CameraRef, CameraSpec, Clock, Config, Debit, Identity, Meter, Name, NewOrganization, OrgId,
    Organization, Principal, Timestamp, UsageKind,
};
use tokenweir::reports::{By, Interval, Reader, Reports, Usage, UsageQuery, homes};
use tokenweir::storage::{Hold, HoldReader};

/// Reports that lag behind longer than this never catch up.
const PATIENCE: Duration = Duration::from_secs(30);
pub(crate) const HOST: &Principal = &Principal::Host;
pub(crate) const START_MS: u64 = 1_750_000_000_000;
pub(crate) const LOG_ROWS: usize = 100;

/// A meter with two partitions and short segments, and the hand of its clock.
pub(crate) struct Scene {
    pub(crate) meter: Meter,
    pub(crate) hand: Arc<AtomicU64>,
    pub(crate) directory: TempDir,
    pub(crate) hold: Arc<Hold>,
}

impl Scene {
    /// `hold_bytes` of the journal stay for who has not read them.
    pub(crate) fn new(hold_bytes: u64) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (clock, hand) = Clock::manual(at(START_MS));
        let hold = Arc::new(Hold::new(hold_bytes, &[HoldReader::Reports]));
        let config = Config {
            partitions: 2,
            segment_bytes_min: 64 << 10,
            segment_bytes_max: 64 << 10,
            clock,
            hold: Some(Arc::clone(&hold)),
            ..Config::new(directory.path())
        };
        Self { meter: Meter::open(config).expect("a new directory"), hand, directory, hold }
    }

    /// Reports that follow the meter.
    pub(crate) fn follow(&self) -> Reports {
        let meter = self.meter.clone();
        let durable = move |partition: u16| meter.durable(partition);
        let homes = homes(self.directory.path()).expect("a data directory");
        let reports = Reports::start(2, Box::new(durable), Some(Arc::clone(&self.hold)), LOG_ROWS);
        let reports = reports.expect("a thread");
        homes.iter().for_each(|home| reports.follow(home.into()));
        reports
    }

    /// Reports that hold all that is durable.
    pub(crate) fn reports(&self) -> Reports {
        let reports = self.follow();
        assert!(reports.catch_up(PATIENCE), "{:?}", reports.status());
        reports
    }

    /// Throws the databases away.
    pub(crate) fn forget(&self) {
        for home in homes(self.directory.path()).expect("a data directory") {
            forget(&home.layout.partition(home.partition));
        }
    }

    pub(crate) async fn organization(&self, id: &str) -> Organization {
        let (id, name) = (OrgId::new(id).expect("valid"), Name::new("An organization").expect("valid"));
        let created = self.meter.create_organization(HOST, NewOrganization::new(id.clone(), name)).await;
        created.expect("it is new");
        self.meter.organization(HOST, &id).expect("it exists")
    }
}

fn forget(partition: &Path) {
    for end in ["", "-wal", "-shm"] {
        let path = partition.join(format!("reports.sqlite{end}"));
        if path.exists() {
            std::fs::remove_file(path).expect("removed");
        }
    }
}

pub(crate) fn at(ms: u64) -> Timestamp {
    Timestamp::from_ms(ms).expect("in range")
}

pub(crate) fn camera(id: &str, network: &str) -> CameraSpec {
    let (id, network) = (CameraId::new(id).expect("valid"), Name::new(network).expect("valid"));
    CameraSpec { id, network, cloud_ai: true, pro_license: false }
}

pub(crate) fn debit(camera: &str, seq: u64, tokens: u64, kind: UsageKind) -> Debit<'_> {
    let identity = Identity::Seq { epoch: 1, seq };
    Debit { camera: CameraRef::Id(camera), identity, tokens, kind, time: None }
}

pub(crate) fn read(reports: &Reports, organization: &Organization) -> Reader {
    reports.read(organization.id()).expect("reported")
}

/// A query of everything that ever was.
pub(crate) fn everything(interval: Interval, zone: &str, by: By) -> UsageQuery {
    UsageQuery {
        from: at(START_MS - 24 * 3_600_000),
        until: at(START_MS + 4 * 366 * 24 * 3_600_000),
        interval,
        zone: TimeZone::get(zone).expect("a zone"),
        by,
        network: None,
        camera: None,
        kind: None,
        top: None,
    }
}

/// Checks that rows and gaps add up to what the pool counts.
pub(crate) fn check_total(reader: &Reader, usage: &Usage) {
    let (mut rows, mut gaps) = (Vec::new(), Vec::new());
    rows.extend(usage.rows.iter().map(|row| row.used.charged));
    gaps.extend(usage.gaps.iter().map(|gap| gap.used.charged));
    assert_eq!(rows.iter().sum::<u64>(), usage.total.charged);
    let used = reader.used().expect("read");
    assert_eq!(usage.total.charged + gaps.iter().sum::<u64>(), used.charged);
    let debits = |used: &tokenweir::reports::Used| used.debits_charged + used.debits_exempt;
    let in_gaps: u64 = usage.gaps.iter().map(|gap| debits(&gap.used)).sum();
    assert_eq!(debits(&usage.total) + in_gaps, debits(&used));
}
