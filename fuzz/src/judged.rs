//! Rows that an edge made of a message, judged against a pool.

use tokenweir::domain::batch::DebitBatch;
use tokenweir::domain::command::{CameraSpec, Command};
use tokenweir::domain::debit::Outcome;
use tokenweir::domain::event::OrganizationCreated;
use tokenweir::domain::ids::{ActorId, CameraId, KeyId, Name, OrgId};
use tokenweir::domain::invariants;
use tokenweir::domain::license::LicenseKey;
use tokenweir::domain::limits::RETENTION_MS_DEFAULT;
use tokenweir::domain::pool::Pool;
use tokenweir::domain::time::Timestamp;
use tokenweir::domain::tokens::Tokens;
use tokenweir::protocol::org::OrgProcess;

/// Judges the rows; which of them are refused. Each gets an outcome, the pool keeps its invariants, and what is left is
/// what was there less what was charged.
pub(crate) fn judge(batch: &mut DebitBatch) -> Vec<bool> {
    let (mut process, now) = organization();
    let before = process.pool().available().0;
    process.debits(batch, now);
    assert_eq!(batch.outcomes().len(), batch.len());
    let broken = invariants::check_pool(process.pool());
    assert!(broken.is_empty(), "{broken:?}");
    let outcomes = batch.outcomes().iter();
    let charged = outcomes.clone().zip(batch.tokens()).filter(|(outcome, _)| **outcome == Outcome::Charged);
    let charged: u64 = charged.map(|(_, tokens)| u64::from(tokens)).sum();
    assert_eq!(process.pool().available().0, before - charged);
    outcomes.map(|outcome| matches!(outcome, Outcome::Refused(_))).collect()
}

/// An organization with the camera `cam` and some tokens.
fn organization() -> (OrgProcess, Timestamp) {
    let now = Timestamp::from_ms(1_750_000_000_000).expect("in range");
    let (organization, name) = (OrgId::new("acme").expect("valid"), Name::new("Acme").expect("valid"));
    let created =
        OrganizationCreated { organization, name, secret: (1, 2), retention_ms: RETENTION_MS_DEFAULT };
    let mut process = OrgProcess::new(Pool::new(created, now));
    let (id, network) = (CameraId::new("cam").expect("valid"), Name::new("net").expect("valid"));
    let camera = Command::RegisterCamera(CameraSpec { id, network, cloud_ai: true, pro_license: false });
    let key = LicenseKey { id: KeyId::new("key").expect("valid"), grants: vec![Tokens(1_000)] };
    let licenses = Command::AddLicenses { key, by: ActorId::new("admin").expect("valid") };
    for command in [camera, licenses] {
        process.command(command, now).expect("within bounds");
    }
    (process, now)
}
