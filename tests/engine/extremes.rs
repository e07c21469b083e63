//! At the declared bounds everything is carried out or refused; nothing stops.

use tokenweir::meter::{KeyId, LicenseKey, Meter, Tokens, TransferState, Until};

use crate::support::{HOST, answered, available, config, empty_organization, transfer_id};

/// Every transfer adds a step to the history of each of 20,000 licenses, so that what is in transit grows: it is moved, or
/// refused and kept.
#[tokio::test]
async fn r11_a_pool_of_as_many_licenses_as_there_may_be_is_moved_again_and_again() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let meter = Meter::open(config(directory.path())).expect("a new directory");
    let one = empty_organization(&meter, &"a".repeat(64)).await;
    let other = empty_organization(&meter, &"b".repeat(64)).await;
    for n in 0..20 {
        let id = KeyId::new(&format!("{}-{n:02}", "k".repeat(56))).expect("valid");
        let key = LicenseKey { id, grants: vec![Tokens(1); 1_000] };
        one.add_licenses(key).await.expect("within bounds");
    }
    for n in 0..8 {
        let (source, target) = if available(&one).await > 0 { (&one, &other) } else { (&other, &one) };
        let between = (source.id().clone(), target.id().clone());
        let id = transfer_id(&format!("{}-{n}", "t".repeat(62)));
        let moved =
            answered("a transfer", meter.transfer(HOST, id, between, Until::Ended)).await.expect("served");
        let refused =
            moved.state == TransferState::Aborted && moved.refusal.as_deref() == Some("limit_reached");
        assert!(refused || moved.state == TransferState::Finished, "{moved:?}");
        assert_eq!(available(&one).await + available(&other).await, 20_000);
    }
    meter.close().await;
}
