//! Transfers that a crash interrupts: after the next start each ends by itself, on both sides alike.

use std::collections::BTreeSet;
use std::path::Path;

use tokenweir::meter::{Meter, TransferState, TransferView, Until};
use tokenweir::storage::{Disk as _, SimDisk};

use crate::support::{
    HOST, aftermaths, answered, code_of, debit_of, handle, name_in, open_on, organization, summary,
    transfer_id,
};

const TRIES_MAX: usize = 200_000;

/// Asks where the transfer stands until it has ended or the disk is gone.
async fn watch(meter: &Meter, disk: &SimDisk) -> Option<TransferView> {
    for _ in 0..TRIES_MAX {
        let status = answered("a question", meter.transfer_status(HOST, transfer_id("t"))).await;
        if status.as_ref().is_ok_and(|view| view.state.ended()) {
            return status.ok();
        }
        if disk.exists(Path::new("d")).is_err()
            || status.is_err_and(|error| error.code() == "unknown_transfer")
        {
            return None;
        }
        tokio::task::yield_now().await;
    }
    panic!("it never ended")
}

trait Ended {
    fn ended(&self) -> bool;
}

impl Ended for TransferState {
    fn ended(&self) -> bool {
        matches!(self, Self::Finished | Self::Aborted)
    }
}

/// Moves 90 tokens to a pool of 50 on a disk that stops after `operations` more; the disk, and what was told.
async fn interrupted(operations: u64, reverse: bool) -> (SimDisk, Option<TransferView>) {
    let disk = SimDisk::new();
    let meter = open_on(disk.clone());
    let (from, to) = sides(reverse);
    let source = organization(&meter, from.as_str(), 100).await;
    organization(&meter, to.as_str(), 50).await;
    assert_eq!(code_of(&source, debit_of(1, 10)).await, "charged");
    disk.stop_at(disk.operations() + operations, 30);
    let begun = meter.transfer(HOST, transfer_id("t"), (from, to), Until::Begun);
    let begun = answered("a transfer", begun).await;
    let told = watch(&meter, &disk).await;
    answered("close", meter.close()).await;
    assert!(begun.is_ok() || told.is_none());
    (disk, told.or_else(|| begun.ok()))
}

fn sides(reverse: bool) -> (tokenweir::meter::OrgId, tokenweir::meter::OrgId) {
    let (one, other) = (name_in(0, 0), name_in(1, 0));
    if reverse { (other, one) } else { (one, other) }
}

/// What a start makes of it: the end of the transfer, or nothing when it never began.
async fn check_resumed(image: SimDisk, told: Option<&TransferView>, reverse: bool) -> Option<TransferState> {
    let meter = open_on(image.clone());
    let ended = watch(&meter, &image).await;
    assert!(ended.is_some() || told.is_none(), "I3: {told:?} is gone");
    if let Some(told) = told.filter(|told| told.state.ended()) {
        assert_eq!(Some(told), ended.as_ref(), "I6: what was told is how it ended");
    }
    let (from, to) = sides(reverse);
    let (source, target) = (summary(&handle(&meter, &from)).await, summary(&handle(&meter, &to)).await);
    let state = ended.map(|ended| ended.state);
    let expected = if state == Some(TransferState::Finished) { (0, 140, 0, 2) } else { (90, 50, 1, 1) };
    let found = (source.available.0, target.available.0, source.licenses, target.licenses);
    assert_eq!((found, source.in_transit.0), (expected, 0), "I1, I6: {state:?}");
    let seq_two = code_of(&handle(&meter, &from), debit_of(2, 1)).await;
    assert_eq!(
        seq_two,
        if state == Some(TransferState::Finished) { "insufficient_tokens" } else { "charged" }
    );
    meter.close().await;
    state
}

#[tokio::test]
async fn r11_i6_i10_a_transfer_that_a_crash_interrupts_anywhere_ends_by_itself_on_both_sides_alike() {
    let mut seen = BTreeSet::new();
    for (operations, reverse) in (0..24).flat_map(|operations| [(operations, false), (operations, true)]) {
        let (disk, told) = interrupted(operations, reverse).await;
        for image in aftermaths(&disk) {
            let state = check_resumed(image, told.as_ref(), reverse).await;
            seen.insert(format!("{state:?}"));
        }
    }
    let all = ["None", "Some(Aborted)", "Some(Finished)"].map(str::to_owned);
    assert_eq!(seen, BTreeSet::from(all), "some stop came before, within and after the transfer");
}
