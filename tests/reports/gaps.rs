//! What was not seen is told, with its exact totals; what can be read again is counted again, and once.

use std::sync::atomic::Ordering;

use tokenweir::meter::{DebitBatch, Organization, Tokens, UsageKind};
use tokenweir::reports::{By, Interval};

use crate::support::{START_MS, Scene, camera, check_total, debit, everything, read};

/// Charges `debits` debits of two tokens, and moves the clock on by a minute.
async fn charge(scene: &Scene, organization: &Organization, first: u64, debits: u64) {
    let mut batch = DebitBatch::default();
    for seq in first..first + debits {
        batch.push(debit("cam", seq, 2, UsageKind::ContextualVideoAnalytics));
    }
    organization.debit_batch(batch).await.expect("served");
    scene.hand.fetch_add(60_000, Ordering::Relaxed);
}

/// Writes segments until snapshots have superseded the first ones.
async fn outlive(scene: &Scene, organization: &Organization, first: u64) -> u64 {
    let mut seq = first;
    for _ in 0..4 {
        for _ in 0..12 {
            charge(scene, organization, seq, 2_000).await;
            seq += 2_000;
        }
        assert!(scene.meter.snapshot().await);
    }
    seq
}

async fn ready(scene: &Scene) -> Organization {
    let acme = scene.organization("acme").await;
    acme.register_camera(camera("cam", "lobby")).await.expect("within bounds");
    acme.grant(vec![Tokens(10_000_000)]).await.expect("within bounds");
    acme
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_reports_are_built_again_to_the_same_totals_while_the_journal_reaches_back() {
    let scene = Scene::new(0);
    let acme = ready(&scene).await;
    charge(&scene, &acme, 1, 500).await;
    let (query, first) =
        (everything(Interval::Minute, "UTC", By { camera: true, ..By::default() }), scene.reports());
    let query = tokenweir::reports::UsageQuery { until: crate::support::at(START_MS + 600_000), ..query };
    let before = read(&first, &acme).usage(&query).expect("read");
    drop(first);
    scene.forget();
    let again = scene.reports();
    assert_eq!(read(&again, &acme).usage(&query).expect("read"), before);
    assert_eq!((before.total.charged, before.gaps.len(), before.is_exact), (1_000, 0, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn history_that_was_pruned_before_it_was_reported_is_a_gap_with_exact_totals() {
    let scene = Scene::new(0);
    let acme = ready(&scene).await;
    let seq = outlive(&scene, &acme, 1).await;
    let reports = scene.reports();
    let usage = read(&reports, &acme).usage(&everything(Interval::Day, "Asia/Tokyo", By::default()));
    let usage = usage.expect("read");
    check_total(&read(&reports, &acme), &usage);
    let [gap] = &usage.gaps[..] else { panic!("{usage:?}") };
    assert!(gap.used.charged > 0 && gap.since.ms() == START_MS && usage.total.charged > 0, "{usage:?}");
    drop(reports);
    outlive(&scene, &acme, seq).await;
    let reports = scene.reports();
    let usage =
        read(&reports, &acme).usage(&everything(Interval::Month, "UTC", By::default())).expect("read");
    check_total(&read(&reports, &acme), &usage);
    assert_eq!(usage.gaps.len(), 2, "one for each time that nobody looked: {usage:?}");
    let summary = acme.summary().await.expect("served");
    assert_eq!(read(&reports, &acme).used().expect("read").charged, summary.totals.used.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_that_are_not_reported_yet_stay_and_leave_no_gap() {
    let scene = Scene::new(1 << 30);
    let acme = ready(&scene).await;
    outlive(&scene, &acme, 1).await;
    let reports = scene.reports();
    let usage = read(&reports, &acme).usage(&everything(Interval::None, "UTC", By::default())).expect("read");
    check_total(&read(&reports, &acme), &usage);
    assert!(usage.gaps.is_empty() && usage.total.charged == 192_000, "{usage:?}");
}
