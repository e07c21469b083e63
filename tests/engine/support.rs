//! What the engine tests share: configurations, organizations with cameras and tokens, debits, codes.

use std::fmt::Debug;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokenweir::domain::hash;
use tokenweir::meter::{
    CameraId, CameraRef, CameraSpec, Config, Debit, Error, Identity, KeyId, LicenseKey, Meter, Name,
    NewApiKey, NewOrganization, OrgId, Organization, Outcome, Principal, Role, Summary, Timestamp, Tokens,
    TransferId, UsageKind, status,
};
use tokenweir::storage::{Disk, SimDisk};

/// A request that takes longer than this is never answered.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) const HOST: &Principal = &Principal::Host;
pub(crate) const START_MS: u64 = 1_750_000_000_000;

/// Two partitions with short segments.
pub(crate) fn config(directory: &Path) -> Config {
    Config { partitions: 2, segment_bytes_min: 1 << 14, segment_bytes_max: 1 << 20, ..Config::new(directory) }
}

/// A meter on a disk of the test's own.
pub(crate) fn open_on(disk: impl Disk + 'static) -> Meter {
    Meter::open_on(Arc::new(disk), config(Path::new("d"))).expect("whole")
}

/// The organization with this number among those of a partition.
pub(crate) fn name_in(partition: u16, number: usize) -> OrgId {
    let all = (0..).map(|n| OrgId::new(&format!("org-{n}")).expect("valid"));
    all.filter(|org| hash::partition(org, 2) == partition).nth(number).expect("there is no end of them")
}

/// A new organization without anything.
pub(crate) async fn empty_organization(meter: &Meter, id: &str) -> Organization {
    let (id, name) = (OrgId::new(id).expect("valid"), Name::new("An organization").expect("valid"));
    let created = meter.create_organization(HOST, NewOrganization::new(id.clone(), name)).await;
    created.expect("it is new");
    handle(meter, &id)
}

/// A new organization with the camera `cam` and so many tokens.
pub(crate) async fn organization(meter: &Meter, id: &str, tokens: u64) -> Organization {
    let organization = empty_organization(meter, id).await;
    organization.register_camera(camera("cam", true)).await.expect("within bounds");
    organization.grant(vec![Tokens(tokens)]).await.expect("within bounds");
    organization
}

pub(crate) fn handle(meter: &Meter, id: &OrgId) -> Organization {
    meter.organization(HOST, id).expect("it exists")
}

pub(crate) fn camera(id: &str, cloud_ai: bool) -> CameraSpec {
    let (id, network) = (camera_id(id), Name::new("net").expect("valid"));
    CameraSpec { id, network, cloud_ai, pro_license: false }
}

pub(crate) fn camera_id(id: &str) -> CameraId {
    CameraId::new(id).expect("valid")
}

pub(crate) fn key(id: &str, grants: &[u64]) -> LicenseKey {
    LicenseKey { id: KeyId::new(id).expect("valid"), grants: grants.iter().copied().map(Tokens).collect() }
}

pub(crate) fn transfer_id(id: &str) -> TransferId {
    TransferId::new(id).expect("valid")
}

pub(crate) fn at(ms: u64) -> Timestamp {
    Timestamp::from_ms(ms).expect("in range")
}

/// A debit of one token by the camera `cam`.
pub(crate) fn debit(seq: u64) -> Debit<'static> {
    let identity = Identity::Seq { epoch: 1, seq };
    Debit {
        camera: CameraRef::Id("cam"),
        identity,
        tokens: 1,
        kind: UsageKind::ContextualVideoAnalytics,
        time: None,
    }
}

pub(crate) fn debit_of(seq: u64, tokens: u64) -> Debit<'static> {
    Debit { tokens, ..debit(seq) }
}

/// A debit of one token with an event id.
pub(crate) fn event(id: &[u8], time_ms: u64) -> Debit<'_> {
    Debit { identity: Identity::EventId(id), time: Some(at(time_ms)), ..debit(0) }
}

/// Debits and answers with what became of it.
pub(crate) async fn outcome(organization: &Organization, debit: Debit<'_>) -> Outcome {
    organization.debit(debit).await.expect("served").outcome
}

/// Debits and answers with the code of what became of it.
pub(crate) async fn code_of(organization: &Organization, debit: Debit<'_>) -> &'static str {
    match organization.debit(debit).await {
        Ok(reply) => status::code(reply.outcome),
        Err(error) => error.code(),
    }
}

/// The code of an error that must be one.
pub(crate) fn code<T: Debug>(result: Result<T, Error>) -> &'static str {
    result.expect_err("refused").code()
}

pub(crate) async fn summary(organization: &Organization) -> Summary {
    organization.summary().await.expect("served")
}

pub(crate) async fn available(organization: &Organization) -> u64 {
    summary(organization).await.available.0
}

/// The answer of a request that must be answered, whatever it is.
pub(crate) async fn answered<T>(what: &str, request: impl Future<Output = T>) -> T {
    let answer = tokio::time::timeout(PATIENCE, request).await;
    answer.unwrap_or_else(|_| panic!("never answered: {what}"))
}

/// The simulated disks that a power cut or the end of the process may leave.
pub(crate) fn aftermaths(disk: &SimDisk) -> Vec<SimDisk> {
    use tokenweir::storage::sim_disk::CrashPlan;
    let plans =
        [CrashPlan::LoseUnsynced, CrashPlan::KeepUnsynced, CrashPlan::Seeded(1), CrashPlan::Seeded(2)];
    plans.into_iter().map(|plan| disk.crash(plan)).chain([disk.restart()]).collect()
}

/// The bearer of a new API key, as the edge would know it.
pub(crate) async fn bearer(meter: &Meter, role: Role, organizations: &[&str]) -> Principal {
    let organizations = organizations.iter().map(|id| id.parse().expect("valid")).collect();
    let new = NewApiKey { label: Name::new("a key").expect("valid"), role, organizations };
    let (id, secret) = meter.create_api_key(HOST, new).await.expect("allowed");
    let who = meter.authenticate(&secret).expect("just made");
    assert_eq!(who.actor(), id);
    who
}
