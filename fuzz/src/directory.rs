//! A whole data directory, damaged, into recovery.

use tokenweir::storage::frame::{self, FrameMeta, Next};
use tokenweir::storage::replay::PartitionState;
use tokenweir::storage::segment::SEGMENT_HEADER_BYTES;
use tokenweir::storage::{Disk as _, SimDisk, fixture};

use crate::bounded::{CLAIMED, bounded};
use crate::crash::{FILES, PARTITIONS, WRITTEN, bytes, files, home};
use crate::{events, frames, panics};

/// Most damages of one input.
const DAMAGES_MAX: usize = 8;

/// What can happen to the bytes of a file. `Forge` alone is not damage: checksums are right, and what they vouch for is
/// whatever somebody wished.
#[derive(Clone, Copy)]
enum Damage<'a> {
    Overwrite(usize, &'a [u8]),
    Flip(usize, u8),
    Cut(usize),
    ZeroFrom(usize),
    Extend(&'a [u8]),
    Copy(usize),
    Remove,
    Forge(usize, u8, &'a [u8]),
}

/// The input is a list of damages. Recovery answers with a fault, and then changed nothing, or with the state after one of the
/// frames that were written, and then finds the same again.
pub fn fuzz(data: &[u8]) {
    let disk = WRITTEN.0.restart();
    let (mut rest, mut forged) = (data, false);
    for _ in 0..DAMAGES_MAX {
        let Some((file, damage)) = take(&mut rest) else { break };
        forged |= matches!(damage, Damage::Forge(..));
        inflict(&disk, file, damage);
    }
    for partition in 0..PARTITIONS {
        recover(&disk, partition, forged);
    }
}

/// Four bytes for which file, what, and where; then a length and so many bytes.
fn take<'a>(rest: &mut &'a [u8]) -> Option<(usize, Damage<'a>)> {
    let ([file, what, low, high], after) = rest.split_first_chunk()?;
    let place = usize::from(u16::from_le_bytes([*low, *high]));
    *rest = after;
    let mut bytes = || {
        let (length, after) = rest.split_first().unwrap_or((&0, &[]));
        let (bytes, after) = after.split_at(usize::from(*length).min(after.len()));
        *rest = after;
        bytes
    };
    let damage = match what % 8 {
        0 => Damage::Overwrite(place, bytes()),
        1 => Damage::Flip(place, what / 8 + 1),
        2 => Damage::Cut(place),
        3 => Damage::ZeroFrom(place),
        4 => Damage::Extend(bytes()),
        5 => Damage::Copy(place),
        6 => Damage::Remove,
        _ => Damage::Forge(place, what / 8, bytes()),
    };
    Some((usize::from(*file), damage))
}

/// Places past the end of a file wrap around.
fn inflict(disk: &SimDisk, file: usize, damage: Damage<'_>) {
    let (_, path, _) = &FILES[file % FILES.len()];
    let Ok(mut bytes) = disk.read(path) else { return };
    let within = |place: usize| place % bytes.len().max(1);
    match damage {
        Damage::Overwrite(place, new) => {
            let place = within(place);
            let end = bytes.len().min(place + new.len());
            bytes[place..end].copy_from_slice(&new[..end - place]);
        }
        Damage::Flip(place, change) => {
            let place = within(place);
            bytes.iter_mut().skip(place).take(1).for_each(|byte| *byte ^= change);
        }
        Damage::Cut(place) => bytes.truncate(within(place)),
        Damage::ZeroFrom(place) => {
            let place = within(place);
            bytes[place..].fill(0);
        }
        Damage::Extend(new) => bytes.extend_from_slice(new),
        Damage::Copy(other) => bytes.clone_from(&FILES[other % FILES.len()].2),
        Damage::Remove => return disk.remove(path).expect("it was just read"),
        Damage::Forge(place, kind, body) => forge(&mut bytes, place, kind, body),
    }
    disk.tamper(path, &bytes);
}

/// Writes another frame where one stands, as long as it fits before the end of the file; what stood behind it is overwritten
/// or left, as it comes.
fn forge(bytes: &mut [u8], place: usize, kind: u8, body: &[u8]) {
    let (mut offset, mut lsn) = (SEGMENT_HEADER_BYTES, None);
    for _ in 0..=place % 32 {
        let Next::Frame(found) = frame::next(bytes, offset) else { break };
        (lsn, offset) = (Some((found.meta, offset)), found.next_offset);
    }
    let Some((FrameMeta { lsn, group, .. }, offset)) = lsn else { return };
    let forged = frames::encode(FrameMeta { lsn, group, kind: kind % 6, version: 1 }, body);
    if let Some(room) = bytes.get_mut(offset..offset + forged.len()) {
        room.copy_from_slice(&forged);
    }
}

fn recover(disk: &SimDisk, partition: u16, forged: bool) {
    let home = home(disk, partition);
    let (before, mut state) = (files(disk, &home), PartitionState::default());
    let there: usize = before.iter().map(|(_, bytes)| bytes.len()).sum();
    let open = || state.open(&home, fixture::SMALL);
    let report = match bounded(there, (CLAIMED, 64), || panics::may_be_caught(open)) {
        Ok((_, report, _)) => report,
        Err(fault) => {
            assert!(files(disk, &home) == before, "{fault}: and yet something was changed");
            let told = fault.to_string();
            assert!(told.contains("nothing was deleted") || told.contains("nothing was changed"), "{told}");
            return;
        }
    };
    if forged {
        drop(events::kept(state));
    } else {
        is_a_prefix(state, partition, report.next.0 - 1);
    }
    let mut again = PartitionState::default();
    let (_, second, _) =
        panics::may_be_caught(|| again.open(&home, fixture::SMALL)).expect("it was just repaired");
    assert!(second.torn.is_none() && second.next == report.next, "{second:?} after {report:?}");
}

/// The state after one of the frames that were written.
fn is_a_prefix(state: PartitionState, partition: u16, last: u64) {
    let trace = &WRITTEN.1[usize::from(partition)];
    let expected = usize::try_from(last).ok().and_then(|last| trace.get(last));
    let found = bytes(state, partition);
    assert!(
        expected.is_some_and(|expected| *expected == found),
        "partition {partition} is in no state that was there at {last}"
    );
}
