//! R1 to R6 and R11: licenses, who may do what with them, and moving all of them.

use tokenweir::domain::limits::POOL_TOKENS_MAX;
use tokenweir::meter::{Config, LicenseStatus, Meter, Name, NewApiKey, Role, Tokens, TransferState, Until};
use tokenweir::storage::SimDisk;

use crate::support::{
    HOST, START_MS, at, available, bearer, code, code_of, config, debit, debit_of, empty_organization,
    handle, key, open_on, organization, summary, transfer_id,
};

#[tokio::test]
async fn r1_only_an_administrator_of_the_organization_adds_a_license_to_it() {
    let meter = open_on(SimDisk::new());
    let acme = empty_organization(&meter, "acme").await;
    empty_organization(&meter, "other").await;
    let one = |name: &str| key(name, &[5]);
    for role in [Role::Viewer, Role::Gateway] {
        let who = bearer(&meter, role, &["acme"]).await;
        let its = meter.organization(&who, acme.id()).expect("it may see it");
        assert_eq!(code(its.add_licenses(one("k")).await), "forbidden", "{role:?}");
        assert_eq!(code(its.preview_licenses(one("k")).await), "forbidden", "{role:?}");
        assert_eq!(code(its.grant(vec![Tokens(5)]).await), "forbidden", "{role:?}");
    }
    for who in [bearer(&meter, Role::Admin, &["other"]).await, bearer(&meter, Role::Operator, &[]).await] {
        assert_eq!(code(meter.organization(&who, acme.id())), "forbidden", "{who:?}");
    }
    assert_eq!(summary(&acme).await.totals.granted, Tokens(0));
    let admin = bearer(&meter, Role::Admin, &["acme", "other"]).await;
    let its = meter.organization(&admin, acme.id()).expect("it administers it");
    let added = its.add_licenses(one("k")).await.expect("allowed");
    assert_eq!(added.by, admin.actor());
    let listed = its.licenses().await.expect("served").remove(0);
    assert_eq!((&listed.added_by, listed.added_at), (&admin.actor(), listed.history[0].at));
    meter.close().await;
}

#[tokio::test]
async fn r1_a_revoked_key_stands_for_nobody_also_after_a_restart() {
    let disk = SimDisk::new();
    let meter = open_on(disk.clone());
    empty_organization(&meter, "acme").await;
    let new = |role| NewApiKey {
        label: Name::new("a key").expect("valid"),
        role,
        organizations: vec!["acme".parse().expect("valid")],
    };
    let (kept_id, kept) = meter.create_api_key(HOST, new(Role::Admin)).await.expect("allowed");
    let (gone_id, gone) = meter.create_api_key(HOST, new(Role::Gateway)).await.expect("allowed");
    let gateway = meter.authenticate(&gone).expect("just made");
    assert_eq!(code(meter.revoke_api_key(&gateway, kept_id).await), "forbidden");
    meter.revoke_api_key(HOST, gone_id).await.expect("allowed");
    for _ in 0..2 {
        assert!(meter.authenticate(&gone).is_none() && meter.authenticate(&format!("{kept}0")).is_none());
        assert!(meter.authenticate(&kept).is_some());
    }
    meter.close().await;
    let meter = open_on(disk);
    assert!(meter.authenticate(&gone).is_none() && meter.authenticate(&kept).is_some());
    meter.close().await;
}

#[tokio::test]
async fn r2_r5_a_license_is_active_at_once_and_several_add_up_in_one_pool() {
    let meter = open_on(SimDisk::new());
    let acme = organization(&meter, "acme", 10).await;
    let added = acme.add_licenses(key("k", &[20, 30])).await.expect("allowed");
    let granted: Vec<_> =
        added.licenses.iter().map(|license| (license.id.as_str(), license.granted.0)).collect();
    assert_eq!(granted, [("k.1", 20), ("k.2", 30)]);
    assert_eq!(code_of(&acme, debit_of(1, 60)).await, "charged");
    let licenses = acme.licenses().await.expect("served");
    assert!(licenses.len() == 3 && licenses.iter().all(|license| license.status == LicenseStatus::UsedUp));
    meter.close().await;
}

#[tokio::test]
async fn r3_a_license_does_not_expire_however_late_it_is() {
    let disk = SimDisk::new();
    let (clock, hand) = tokenweir::meter::Clock::manual(at(START_MS));
    let config = Config { clock, ..config("d".as_ref()) };
    let meter = Meter::open_on(std::sync::Arc::new(disk), config).expect("new");
    let acme = organization(&meter, "acme", 10).await;
    hand.store(START_MS + 100 * 365 * 24 * 60 * 60 * 1_000, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(code_of(&acme, debit_of(1, 10)).await, "charged");
    meter.close().await;
}

#[tokio::test]
async fn r4_a_license_cannot_be_taken_away_by_anybody() {
    let meter = open_on(SimDisk::new());
    let acme = organization(&meter, "acme", 10).await;
    let license = acme.licenses().await.expect("served").remove(0).id;
    assert_eq!(code(acme.remove_license(license.clone()).await), "license_is_permanent");
    assert_eq!(code(acme.unbind_unlimited(license.clone()).await), "license_is_permanent");
    assert_eq!(code(acme.remove_license("none.1".parse().expect("valid")).await), "unknown_license");
    let gateway = bearer(&meter, Role::Gateway, &["acme"]).await;
    let its = meter.organization(&gateway, acme.id()).expect("its own");
    assert_eq!(code(its.remove_license(license).await), "forbidden");
    assert_eq!(available(&acme).await, 10);
    meter.close().await;
}

#[tokio::test]
async fn r6_a_key_is_previewed_without_effect_and_claimed_once_over_all_organizations() {
    let disk = SimDisk::new();
    let meter = open_on(disk.clone());
    let (acme, other) = (organization(&meter, "acme", 10).await, organization(&meter, "other", 10).await);
    let preview = acme.preview_licenses(key("k", &[7, 8])).await.expect("allowed");
    assert_eq!((preview.available_before, preview.available_after), (Tokens(10), Tokens(25)));
    assert_eq!((preview.licenses.len(), available(&acme).await), (2, 10));
    let (one, two) =
        tokio::join!(acme.add_licenses(key("k", &[7, 8])), other.add_licenses(key("k", &[7, 8])));
    assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
    let refused = if one.is_ok() { code(two) } else { code(one) };
    assert_eq!(refused, "license_key_claimed");
    assert_eq!(code(other.preview_licenses(key("k", &[7, 8])).await), "license_key_claimed");
    meter.close().await;
    let meter = open_on(disk);
    let mut sum = 0;
    for id in ["acme", "other"] {
        let its = handle(&meter, &id.parse().expect("valid"));
        let again = its.add_licenses(key("k", &[7, 8])).await;
        assert!(
            again.as_ref().map_or_else(
                |error| error.code() == "license_key_claimed",
                |claim| claim.licenses.len() == 2
            )
        );
        sum += available(&its).await;
    }
    assert_eq!(sum, 10 + 10 + 15, "the key was added once");
    meter.close().await;
}

#[tokio::test]
async fn r6_the_same_key_again_is_answered_as_the_first_time_after_debits_a_transfer_and_a_restart() {
    let disk = SimDisk::new();
    let meter = open_on(disk.clone());
    let (acme, other) = (organization(&meter, "acme", 1).await, organization(&meter, "other", 1).await);
    let first = acme.add_licenses(key("k", &[20, 30])).await.expect("allowed");
    assert_eq!(code_of(&acme, debit_of(1, 26)).await, "charged");
    assert_eq!(acme.add_licenses(key("k", &[20, 30])).await, Ok(first.clone()), "after a debit");
    let between = (acme.id().clone(), other.id().clone());
    meter.transfer(HOST, transfer_id("t"), between, Until::Ended).await.expect("allowed");
    let check = async |meter: &Meter| {
        let [acme, other] = ["acme", "other"].map(|id| handle(meter, &id.parse().expect("valid")));
        let admin = bearer(meter, Role::Admin, &["acme"]).await;
        let as_admin = meter.organization(&admin, acme.id()).expect("its own");
        assert_eq!(as_admin.add_licenses(key("k", &[20, 30])).await, Ok(first.clone()), "whoever asks");
        assert_eq!(
            code(other.add_licenses(key("k", &[20, 30])).await),
            "license_key_claimed",
            "holds it now"
        );
        assert_eq!(
            code(acme.add_licenses(key("k", &[30, 20])).await),
            "license_key_claimed",
            "other licenses"
        );
        assert_eq!((available(&acme).await, available(&other).await), (0, 26));
    };
    check(&meter).await;
    meter.close().await;
    let meter = open_on(disk);
    check(&meter).await;
    meter.close().await;
}

#[tokio::test]
async fn r6_a_key_that_is_claimed_is_told_so_by_a_pool_that_could_not_take_it() {
    let meter = open_on(SimDisk::new());
    let (acme, full) = (organization(&meter, "acme", 1).await, empty_organization(&meter, "full").await);
    full.grant(vec![Tokens(POOL_TOKENS_MAX)]).await.expect("allowed");
    acme.add_licenses(key("k", &[1])).await.expect("allowed");
    assert_eq!(code(full.add_licenses(key("k", &[1])).await), "license_key_claimed");
    assert_eq!(code(full.add_licenses(key("new", &[1])).await), "limit_reached");
    acme.add_licenses(key("new", &[1])).await.expect("a key that did not fit was not claimed");
    meter.close().await;
}

#[tokio::test]
async fn r11_a_transfer_moves_all_tokens_and_all_licenses_with_their_history() {
    let disk = SimDisk::new();
    let meter = open_on(disk.clone());
    let (acme, other) = (organization(&meter, "acme", 10).await, organization(&meter, "other", 5).await);
    acme.add_licenses(key("k", &[20])).await.expect("allowed");
    assert_eq!(code_of(&acme, debit_of(1, 12)).await, "charged");
    let before = acme.licenses().await.expect("served");
    let between = (acme.id().clone(), other.id().clone());
    let moved = meter.transfer(HOST, transfer_id("t"), between.clone(), Until::Ended).await.expect("allowed");
    assert_eq!((moved.state, moved.tokens, moved.licenses), (TransferState::Finished, Tokens(18), 2));
    assert_eq!((available(&acme).await, available(&other).await), (0, 23));
    let (left, there) = (acme.licenses().await.expect("served"), other.licenses().await.expect("served"));
    assert!(left.is_empty() && there.len() == 3);
    for license in &before {
        let now = there.iter().find(|there| there.id == license.id).expect("moved");
        assert_eq!((now.granted, now.remaining, now.history.len()), (license.granted, license.remaining, 2));
        assert_eq!(now.history[0], license.history[0]);
        let step = &now.history[1];
        assert_eq!((&step.organization, step.transfer.as_ref()), (other.id(), Some(&transfer_id("t"))));
        assert_eq!(now.organizations, [acme.id().clone(), other.id().clone()]);
        assert_eq!(other.license(now.id.clone()).await.as_ref(), Ok(now));
        assert_eq!(code(acme.license(now.id.clone()).await), "unknown_license");
    }
    assert_eq!(code_of(&acme, debit(2)).await, "insufficient_tokens");
    let again = meter.transfer(HOST, transfer_id("t"), between, Until::Ended).await.expect("the same");
    assert_eq!((again, available(&other).await), (moved.clone(), 23));
    let back = (other.id().clone(), acme.id().clone());
    assert_eq!(code(meter.transfer(HOST, transfer_id("t"), back, Until::Ended).await), "conflict");
    meter.close().await;
    let meter = open_on(disk);
    let kept = meter.transfer_status(HOST, transfer_id("t")).await.expect("known");
    assert_eq!(
        (kept, handle(&meter, &"other".parse().expect("valid")).licenses().await.expect("served")),
        (moved, there)
    );
    meter.close().await;
}

#[tokio::test]
async fn r11_only_who_administers_both_organizations_moves_a_pool() {
    let meter = open_on(SimDisk::new());
    let (acme, other) = (organization(&meter, "acme", 10).await, organization(&meter, "other", 5).await);
    let between = || (acme.id().clone(), other.id().clone());
    let both = ["acme", "other"];
    let denied = [
        (Role::Admin, &both[..1]),
        (Role::Admin, &both[1..]),
        (Role::Gateway, &both[..]),
        (Role::Viewer, &both[..]),
        (Role::Operator, &[][..]),
    ];
    for (role, organizations) in denied {
        let who = bearer(&meter, role, organizations).await;
        let refused = meter.transfer(&who, transfer_id("t"), between(), Until::Ended).await;
        assert_eq!(code(refused), "forbidden", "{role:?} of {organizations:?}");
    }
    let stranger = bearer(&meter, Role::Operator, &[]).await;
    let admin = bearer(&meter, Role::Admin, &both).await;
    let moved = meter.transfer(&admin, transfer_id("t"), between(), Until::Ended).await.expect("allowed");
    assert_eq!((moved.state, moved.by), (TransferState::Finished, admin.actor()));
    assert_eq!(code(meter.transfer_status(&stranger, transfer_id("t")).await), "unknown_transfer");
    let empty = meter.transfer(&admin, transfer_id("u"), between(), Until::Ended).await.expect("answered");
    assert_eq!(
        (empty.state, empty.refusal.as_deref()),
        (TransferState::Aborted, Some("nothing_to_transfer"))
    );
    let same = (acme.id().clone(), acme.id().clone());
    assert_eq!(code(meter.transfer(HOST, transfer_id("v"), same, Until::Ended).await), "invalid");
    meter.close().await;
}
