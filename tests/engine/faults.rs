//! A disk that fails: the partition stops, says so, loses nothing that was acknowledged; the other one goes on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokenweir::meter::{Durability, Fault, Lsn, Meter, OrgId, Organization, Outcome, TransferState, Until};
use tokenweir::storage::sim_disk::CrashPlan;
use tokenweir::storage::{Disk as _, Layout, SimDisk};

use crate::support::{
    HOST, aftermaths, answered, code, code_of, config, debit, handle, name_in, open_on, organization,
    outcome, summary, transfer_id,
};

/// What became of the debits 0, 1, 2 and so on: acknowledged, or told as poisoned.
#[derive(Debug, Default)]
struct Fate {
    charged: Vec<u64>,
    unknown: Vec<u64>,
}

/// Sends debits, some at once, until the partition stops; how each one ended. The disk is broken anew each time, because
/// the making of the next segment may be what meets the fault, and that stops nothing.
async fn debit_until_poisoned(organization: &Organization, break_it: impl Fn()) -> Fate {
    let mut fate = Fate::default();
    for round in 0..1_000 {
        break_it();
        let numbers = round * 10..round * 10 + 10;
        let send = |seq| (seq, organization.send_debit(debit(seq), Durability::Durable));
        for (seq, sent) in numbers.map(send).collect::<Vec<_>>() {
            let reply = async { sent?.await };
            match answered("a debit", reply).await {
                Ok(reply) => {
                    assert_eq!(reply.outcome, Outcome::Charged);
                    fate.charged.push(seq);
                }
                Err(error) => {
                    assert_eq!((error.code(), error.is_retryable()), ("poisoned", true));
                    fate.unknown.push(seq);
                }
            }
        }
        if !fate.unknown.is_empty() {
            return fate;
        }
    }
    panic!("the disk never failed")
}

/// A stopped partition refuses everything by one code; the other one does what it did before.
async fn check_stopped(meter: &Meter, partition: u16, stopped: &Organization, other: &Organization) {
    assert_eq!(code_of(stopped, debit(90_000)).await, "poisoned");
    let at_once = async { stopped.send_debit(debit(90_001), Durability::Applied)?.await };
    assert_eq!(code(answered("a debit", at_once).await), "poisoned");
    assert_eq!(code(answered("a question", stopped.summary()).await), "poisoned");
    let status = meter.status();
    let failed: Vec<_> =
        status.iter().filter(|status| status.failure.is_some()).map(|status| status.partition).collect();
    assert_eq!(failed, [partition]);
    assert!(!answered("a snapshot", meter.snapshot()).await, "a stopped partition takes none");
    for seq in 0..20 {
        assert_eq!(code_of(other, debit(seq)).await, "charged", "the other partition goes on");
    }
}

async fn check(partition: u16, break_it: impl Fn(&SimDisk)) {
    let disk = SimDisk::new();
    let meter = open_on(disk.clone());
    let stopped = organization(&meter, name_in(partition, 0).as_str(), 100_000).await;
    let other = organization(&meter, name_in(1 - partition, 0).as_str(), 100_000).await;
    let fate = debit_until_poisoned(&stopped, || break_it(&disk)).await;
    check_stopped(&meter, partition, &stopped, &other).await;
    answered("close", meter.close()).await;
    for image in aftermaths(&disk) {
        let meter = open_on(image);
        let (again, other) = (handle(&meter, stopped.id()), handle(&meter, other.id()));
        let used = summary(&again).await.totals.used.0;
        let (least, most) = (fate.charged.len(), fate.charged.len() + fate.unknown.len());
        let bounds = [least, most].map(|count| u64::try_from(count).expect("small"));
        assert!((bounds[0]..=bounds[1]).contains(&used), "{used} used of {bounds:?}");
        for seq in fate.charged.iter().rev().take(64) {
            assert!(
                matches!(outcome(&again, debit(*seq)).await, Outcome::Duplicate(_)),
                "I3: {seq} was acknowledged"
            );
        }
        for seq in &fate.unknown {
            assert!(["charged", "duplicate"].contains(&code_of(&again, debit(*seq)).await), "{seq}");
        }
        assert_eq!(summary(&again).await.totals.used.0, bounds[1], "each is charged once in the end");
        assert_eq!(summary(&other).await.totals.used.0, 20);
        meter.close().await;
    }
}

#[tokio::test]
async fn r14_i3_a_failed_sync_stops_the_partition_and_loses_nothing_that_was_acknowledged() {
    for partition in [0, 1] {
        check(partition, |disk| disk.fail_sync(0)).await;
        check(partition, |disk| disk.fail_write(0)).await;
    }
}

#[tokio::test]
async fn r14_i3_a_full_disk_stops_the_partition_and_loses_nothing_that_was_acknowledged() {
    for partition in [0, 1] {
        check(partition, |disk| disk.limit_space(0)).await;
    }
}

/// A transfer out of a stopped partition stays open; it holds up no other, and ends after the next start.
#[tokio::test]
async fn i10_a_transfer_from_a_stopped_partition_blocks_no_other_and_ends_after_a_restart() {
    let disk = SimDisk::new();
    let meter = open_on(disk.clone());
    let stopped = organization(&meter, name_in(1, 0).as_str(), 100_000).await;
    let (other, third) = (name_in(0, 0), name_in(0, 1));
    organization(&meter, other.as_str(), 100).await;
    organization(&meter, third.as_str(), 100).await;
    debit_until_poisoned(&stopped, || disk.fail_sync(0)).await;
    let begin = |id: &str, from: &OrgId, until| {
        let between = (from.clone(), other.clone());
        meter.transfer(HOST, transfer_id(id), between, until)
    };
    let stuck = answered("a transfer", begin("stuck", stopped.id(), Until::Begun)).await.expect("begun");
    assert_eq!(stuck.state, TransferState::Begun);
    let moved = answered("a transfer", begin("next", &third, Until::Ended)).await.expect("served");
    assert_eq!(moved.state, TransferState::Finished);
    answered("close", meter.close()).await;
    let meter = open_on(disk.crash(CrashPlan::LoseUnsynced));
    let between = (stopped.id().clone(), other.clone());
    let ended = meter.transfer(HOST, transfer_id("stuck"), between, Until::Ended);
    assert_eq!(answered("a transfer", ended).await.expect("served").state, TransferState::Aborted);
    assert_eq!(summary(&handle(&meter, &other)).await.available.0, 200);
    meter.close().await;
}

/// Closes a meter with an organization in each partition, then changes a byte in the middle of the journal of one.
async fn damaged(partition: u16) -> (SimDisk, PathBuf, Vec<u8>) {
    let disk = SimDisk::new();
    let meter = open_on(disk.clone());
    let touched = organization(&meter, name_in(partition, 0).as_str(), 100).await;
    organization(&meter, name_in(1 - partition, 0).as_str(), 100).await;
    for seq in 1..=5 {
        assert_eq!(code_of(&touched, debit(seq)).await, "charged");
    }
    meter.close().await;
    let path = Layout::new("d").segment(partition, Lsn(1));
    let mut bytes = disk.read(&path).expect("there");
    bytes[64 + 24 + 24 + 3] ^= 1;
    disk.tamper(&path, &bytes);
    (disk, path, bytes)
}

#[tokio::test]
async fn a_damaged_partition_names_file_and_offset_and_the_other_one_serves() {
    let (disk, path, bytes) = damaged(1).await;
    let meter = open_on(disk.clone());
    let told = meter.recovery()[1].damage.clone().expect("reported");
    assert!(told.contains(&*path.to_string_lossy()) && told.contains("byte 88"), "{told}");
    assert!(meter.status()[1].failure.is_some() && meter.status()[0].failure.is_none());
    assert_eq!(code(meter.organization(HOST, &name_in(1, 0))), "poisoned");
    assert_eq!(code_of(&handle(&meter, &name_in(0, 0)), debit(1)).await, "charged");
    answered("close", meter.close()).await;
    assert!(disk.read(&path).expect("still there") == bytes, "nothing was mended");
}

/// The first partition also holds the coordinator, without which no license and no transfer can be told.
#[tokio::test]
async fn a_meter_whose_first_partition_is_damaged_is_not_opened_and_nothing_is_deleted() {
    let (disk, path, bytes) = damaged(0).await;
    let fault = Meter::open_on(Arc::new(disk.clone()), config(Path::new("d"))).expect_err("damaged");
    assert!(matches!(&fault, Fault::Corrupt { path: at, offset: 88, .. } if *at == path), "{fault}");
    assert!(disk.read(&path).expect("still there") == bytes, "nothing was mended");
}
