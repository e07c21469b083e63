//! Rebuilds an organization from storage after its actor panicked.
//!
//! The process is never resumed: whatever it held may be half changed. Everything staged for it is made durable
//! first, then a thread of its own loads the newest snapshot and replays the journal for this organization alone, by the same
//! code as recovery. Its callers get a retryable answer meanwhile; the other organizations go on. When the
//! rebuilding fails the partition stops: a pool that cannot be rebuilt must not be guessed.

use std::sync::Arc;

use actix::{Addr, Message};

use crate::domain::ids::{Lsn, OrgNumber};
use crate::domain::pool::Pool;
use crate::storage::Store;
use crate::storage::replay::PartitionState;

use super::directory::Org;
use super::messages::Release;
use super::org::OrgActor;

/// The organization as storage has it.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Rebuilt {
    /// Which rebuilding of the organization this is.
    pub(crate) rebuild: u64,
    pub(crate) pool: Box<Pool>,
}

/// Rebuilds `org` and hands it to its actor.
pub(crate) fn rebuild(org: &Arc<Org>, store: &Arc<dyn Store>, rebuild: u64, actor: Addr<OrgActor>) {
    tracing::error!(organization = %org.id, "the organization's actor panicked; rebuilding it from storage");
    let mut staged = org.partition.staging.lock();
    let target = staged.last_lsn();
    let (org, store) = (Arc::clone(org), Arc::clone(store));
    staged.release(Release::Call(Box::new(move |durable| {
        if durable.is_ok() {
            std::thread::spawn(move || run(&org, &*store, target, (rebuild, &actor)));
        }
    })));
}

fn run(org: &Org, store: &dyn Store, target: Lsn, (rebuild, actor): (u64, &Addr<OrgActor>)) {
    // A snapshot that is being replaced meanwhile, with the segments that it made superfluous, is no fault.
    let loaded = load(store, org.number, target).or_else(|_| load(store, org.number, target));
    match loaded {
        Ok(pool) => actor.do_send(Rebuilt { rebuild, pool: Box::new(pool) }),
        Err(why) => {
            tracing::error!(organization = %org.id, why, "the organization could not be rebuilt; its partition stops");
            org.partition.staging.fail(&format!("organization {} could not be rebuilt: {why}", org.id));
        }
    }
}

/// Replays one organization. The journal is being written meanwhile, so what stands behind `target` does not count: its end
/// may look torn.
pub(crate) fn load(store: &dyn Store, number: OrgNumber, target: Lsn) -> Result<Pool, String> {
    let mut state = PartitionState::of_one(number);
    let read = state.scan_to(store, target).map_err(|fault| fault.to_string())?;
    if read < target {
        return Err(format!("the journal could be read up to lsn {read} only, {target} is durable"));
    }
    let pool = state.pools.get_mut(number.index()).and_then(Option::take);
    pool.ok_or_else(|| "storage does not know it".to_owned())
}
