//! Bodies of journal frames, read, and carried out upon a state.

use tokenweir::domain::ids::{Lsn, OrgNumber};
use tokenweir::storage::event_codec::{self, CLOSED, DEBITS, DecodedDebits, ORG_EVENT, REGISTRY_EVENT};
use tokenweir::storage::replay::PartitionState;
use tokenweir::storage::snapshot_codec::DecodedPartition;
use tokenweir::storage::{Fault, FrameMeta, FrameRef};

use crate::bounded::{CLAIMED, bounded};
use crate::crash::WRITTEN;
use crate::panics;
use crate::snapshot;

/// After the state that it begins with, the input is frames: kind, length (2 bytes), body. All are read; as far as they do not
/// contradict the state, they are carried out, and leave a state that a snapshot can hold.
pub fn fuzz(data: &[u8]) {
    let Some(([partition, frame], mut rest)) = data.split_first_chunk() else { return };
    let trace = &WRITTEN.1[usize::from(partition % 2)];
    let begin = &trace[usize::from(*frame) % trace.len()];
    let mut state = PartitionState::of_snapshot(snapshot::decode(begin).expect("it was written so"));
    let mut lsn = Lsn(1_000_000);
    while let Some(([kind, low, high], after)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(after.len());
        let (body, next) = after.split_at(length);
        rest = next;
        read(*kind, body);
        let meta = FrameMeta { lsn, group: 0, kind: *kind, version: 1 };
        let replay = || state.replay_frame(FrameRef { meta, body, offset: 0, next_offset: 0 });
        match bounded(body.len(), (CLAIMED, 512), || panics::may_be_caught(replay)) {
            Ok(()) => lsn = lsn.next(),
            Err(Fault::Undecodable { .. }) => return,
            Err(fault) => panic!("version 1 is known: {fault}"),
        }
        state = kept(state);
    }
}

/// The state again, from the snapshot that holds it.
pub(crate) fn kept(state: PartitionState) -> PartitionState {
    let pools =
        (0..).map(OrgNumber).zip(state.pools).filter_map(|(number, pool)| Some((number, pool?))).collect();
    let bytes = snapshot::encode(DecodedPartition { registry: Some(state.registry), pools });
    let again = snapshot::decode(&bytes).unwrap_or_else(|error| panic!("no snapshot can hold it: {error}"));
    PartitionState::of_snapshot(again)
}

/// What is read is the same once it is written again, and is no longer than it was.
fn read(kind: u8, body: &[u8]) {
    let mut again = Vec::new();
    match kind {
        DEBITS => {
            let mut debits = DecodedDebits::new();
            if bounded(body.len(), (CLAIMED, 64), || event_codec::decode_debits(body, &mut debits)).is_err() {
                return;
            }
            event_codec::encode_debits(&mut again, debits.org, &debits.charges());
            assert!(again.len() <= body.len(), "{} bytes became {}", body.len(), again.len());
            let mut same = DecodedDebits::new();
            event_codec::decode_debits(&again, &mut same).expect("just written");
            assert_eq!(format!("{same:?}"), format!("{debits:?}"));
        }
        ORG_EVENT => {
            let Ok((org, event)) = bounded(body.len(), (CLAIMED, 64), || event_codec::decode_org_event(body))
            else {
                return;
            };
            event_codec::encode_org_event(&mut again, org, &event);
            assert_eq!(event_codec::decode_org_event(&again), Ok((org, event)));
        }
        REGISTRY_EVENT => {
            let Ok(event) = bounded(body.len(), (CLAIMED, 64), || event_codec::decode_registry_event(body))
            else {
                return;
            };
            event_codec::encode_registry_event(&mut again, &event);
            assert_eq!(event_codec::decode_registry_event(&again), Ok(event));
        }
        CLOSED => assert_eq!(event_codec::decode_closed(body).is_ok(), body.is_empty()),
        _ => {}
    }
}
