//! What organizations and the coordinator journal, as frames of the gathering group.
//!
//! Invariant: whatever changes a pool or the registry leaves its frame's number in it.

use crate::domain::debit::Charges;
use crate::domain::event::Event;
use crate::domain::ids::{Lsn, OrgNumber};
use crate::domain::registry::RegistryEvent;
use crate::protocol::coordinator::Coordinator;
use crate::protocol::org::OrgProcess;
use crate::storage::event_codec;

use super::group::Staged;

impl Staged<'_> {
    /// Stages what an organization just carried out.
    pub(crate) fn org_event(&mut self, process: &mut OrgProcess, number: OrgNumber, event: &Event) -> Lsn {
        let encode = |out: &mut Vec<u8>| event_codec::encode_org_event(out, number, event);
        let lsn = self.append(event_codec::ORG_EVENT, event_codec::ORG_EVENT_VERSION, encode);
        process.pool_mut().lsn = lsn;
        lsn
    }

    /// Stages what an organization just charged; none when that is nothing. The caller notes the frame in the pool.
    pub(crate) fn charges(&mut self, number: OrgNumber, charges: &Charges<'_>) -> Option<Lsn> {
        if charges.charges.is_empty() {
            return None;
        }
        let encode = |out: &mut Vec<u8>| event_codec::encode_debits(out, number, charges);
        Some(self.append(event_codec::DEBITS, event_codec::DEBITS_VERSION, encode))
    }

    /// Stages what the coordinator just carried out.
    pub(crate) fn registry_event(&mut self, coordinator: &mut Coordinator, event: &RegistryEvent) {
        let encode = |out: &mut Vec<u8>| event_codec::encode_registry_event(out, event);
        let (kind, version) = (event_codec::REGISTRY_EVENT, event_codec::REGISTRY_EVENT_VERSION);
        coordinator.registry_mut().lsn = self.append(kind, version, encode);
    }
}
