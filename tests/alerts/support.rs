//! What the tests of alerts share: a meter on a real directory with a clock of the test's own, and who decides beside it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tokenweir::alerts::{Alerting, NoticeRow, Source};
use tokenweir::meter::{
    AlertId, CameraId, CameraRef, CameraSpec, Clock, Config, Debit, DebitBatch, Identity, Measure, Meter,
    Name, NewOrganization, OrgId, Organization, Principal, Threshold, Timestamp, Tokens, UsageKind,
    WebhookId, WebhookUrl,
};
use tokenweir::reports::homes;
use tokenweir::storage::{Hold, HoldReader};

/// Who lags behind longer than this never catches up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
pub(crate) const HOST: &Principal = &Principal::Host;
pub(crate) const START_MS: u64 = 1_750_000_000_000;

/// A meter with short segments, and the hand of its clock.
pub(crate) struct Scene {
    pub(crate) meter: Meter,
    pub(crate) hand: Arc<AtomicU64>,
    pub(crate) directory: TempDir,
    hold: Arc<Hold>,
}

impl Scene {
    /// `hold_bytes` of the journal stay for who has not read them.
    pub(crate) fn new(hold_bytes: u64) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let hold = Arc::new(Hold::new(hold_bytes, &[HoldReader::Alerts]));
        let (meter, hand) = open(&directory, &hold, at(0));
        Self { meter, hand, directory, hold }
    }

    /// Closes the meter and opens it again, as a restart of the server does.
    pub(crate) async fn restart(&mut self) {
        self.meter.clone().close().await;
        let now = at(self.hand.load(Ordering::Relaxed) - START_MS);
        (self.meter, self.hand) = open(&self.directory, &self.hold, now);
    }

    /// What decides, beside the meter.
    pub(crate) fn follow(&self) -> Alerting {
        let (durable, refused, now) = (self.meter.clone(), self.meter.clone(), self.meter.clone());
        let source = Source {
            durable: Box::new(move |partition| durable.durable(partition)),
            refused: Box::new(move |organization| refused.refused(organization)),
            now: Box::new(move || now.now()),
        };
        let homes = homes(self.directory.path()).expect("a data directory");
        let alerting = Alerting::start(1, source, Some(Arc::clone(&self.hold))).expect("a thread");
        homes.iter().for_each(|home| alerting.follow(home.into()));
        alerting
    }

    /// The same, and everything that is durable is decided.
    pub(crate) fn alerting(&self) -> Alerting {
        let alerting = self.follow();
        assert!(alerting.catch_up(PATIENCE), "{:?}", alerting.status());
        alerting
    }

    /// Throws away what was decided and told.
    pub(crate) fn forget(&self) {
        let partition = self.directory.path().join("p000");
        for end in ["", "-wal", "-shm"] {
            let path = partition.join(format!("alerts.sqlite{end}"));
            if path.exists() {
                std::fs::remove_file(path).expect("removed");
            }
        }
    }

    /// An organization with a camera and so many tokens.
    pub(crate) async fn organization(&self, id: &str, tokens: u64) -> Organization {
        let (id, name) = (org(id), Name::new("An organization").expect("valid"));
        let created = self.meter.create_organization(HOST, NewOrganization::new(id.clone(), name)).await;
        created.expect("it is new");
        let organization = self.meter.organization(HOST, &id).expect("it exists");
        let (id, network) = (CameraId::new("cam").expect("valid"), Name::new("lobby").expect("valid"));
        let camera = CameraSpec { id, network, cloud_ai: true, pro_license: false };
        organization.register_camera(camera).await.expect("within bounds");
        if tokens > 0 {
            organization.grant(vec![Tokens(tokens)]).await.expect("within bounds");
        }
        organization
    }

    pub(crate) fn ahead(&self, ms: u64) {
        self.hand.fetch_add(ms, Ordering::Relaxed);
    }
}

fn open(directory: &TempDir, hold: &Arc<Hold>, now: Timestamp) -> (Meter, Arc<AtomicU64>) {
    let (clock, hand) = Clock::manual(now);
    let config = Config {
        partitions: 1,
        segment_bytes_min: 64 << 10,
        segment_bytes_max: 64 << 10,
        clock,
        hold: Some(Arc::clone(hold)),
        ..Config::new(directory.path())
    };
    (Meter::open(config).expect("a sound directory"), hand)
}

pub(crate) fn org(id: &str) -> OrgId {
    OrgId::new(id).expect("valid")
}

pub(crate) fn at(ms: u64) -> Timestamp {
    Timestamp::from_ms(START_MS + ms).expect("in range")
}

pub(crate) fn webhook(id: &str) -> WebhookId {
    WebhookId::new(id).expect("valid")
}

pub(crate) fn threshold(id: &str, measure: Measure, bound: u64) -> Threshold {
    let window_ms = (measure == Measure::Refusals).then_some(60_000);
    let (id, rearm) = (AlertId::new(id).expect("valid"), measure.rearm_default(bound));
    Threshold { id, measure, at: bound, rearm, window_ms }
}

/// A webhook for everything.
pub(crate) async fn call(organization: &Organization, id: &str) {
    let url = WebhookUrl::new("https://hooks.example/").expect("valid");
    organization.set_webhook(webhook(id), url, Vec::new()).await.expect("within bounds");
}

/// Charges so many debits of so many tokens each.
pub(crate) async fn charge(organization: &Organization, first: u64, debits: u64, tokens: u64) {
    let mut batch = DebitBatch::default();
    for seq in first..first + debits {
        let identity = Identity::Seq { epoch: 1, seq };
        let (camera, kind) = (CameraRef::Id("cam"), UsageKind::ContextualVideoAnalytics);
        batch.push(Debit { camera, identity, tokens, kind, time: None });
    }
    organization.debit_batch(batch).await.expect("served");
}

/// Everything that was told of an organization, oldest first.
pub(crate) fn told(alerting: &Alerting, organization: &Organization) -> Vec<NoticeRow> {
    assert!(alerting.catch_up(PATIENCE), "{:?}", alerting.status());
    let mut rows = alerting.read(organization.id()).expect("known").notices(None, 1_000).expect("read").rows;
    rows.reverse();
    rows
}

/// The thresholds that fired and the names of what else was told, oldest first.
pub(crate) fn names(alerting: &Alerting, organization: &Organization) -> Vec<String> {
    let name = |row: NoticeRow| row.alert.unwrap_or(row.topic);
    told(alerting, organization).into_iter().map(name).collect()
}
