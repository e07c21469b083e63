//! Refusals are counted by the running meter, for each organization, within a time.

use tokenweir::meter::{Measure, Organization, Tokens};

use crate::support::{HOST, Scene, call, charge, names, org, threshold};

#[tokio::test(flavor = "multi_thread")]
async fn refused_debits_fire_a_threshold_once_and_tokens_that_come_arm_it() {
    let scene = Scene::new(0);
    let alerting = scene.follow();
    let (acme, other) = (scene.organization("acme", 10).await, scene.organization("other", 10).await);
    call(&acme, "w").await;
    let refused = vec![threshold("refused", Measure::Refusals, 5)];
    acme.set_thresholds(refused.clone()).await.expect("within bounds");
    other.set_thresholds(refused).await.expect("within bounds");
    assert_eq!(names(&alerting, &acme), [""; 0]);
    let settled = |least: u64| {
        // Refusals leave no frame to wait for: every look counts those that were before it.
        while scene.meter.refused(acme.id()) < least {
            std::thread::yield_now();
        }
        (0..3).for_each(|_| _ = alerting.catch_up(std::time::Duration::from_millis(1)));
    };
    charge(&acme, 1, 4, 11).await;
    settled(4);
    assert_eq!(scene.meter.refused(acme.id()), 4);
    charge(&acme, 10, 4, 11).await;
    settled(8);
    until(|| names(&alerting, &acme) == ["refused"]);
    charge(&acme, 20, 4, 11).await;
    settled(12);
    acme.grant(vec![Tokens(1)]).await.expect("within bounds");
    until(|| names(&alerting, &acme).len() == 2);
    charge(&acme, 30, 5, 12).await;
    until(|| names(&alerting, &acme) == ["refused", "license.added", "refused"]);
    assert_eq!((scene.meter.refused(other.id()), names(&alerting, &other)), (0, Vec::new()));
}

/// Waits until what was refused up to now was counted: the thread looks at refusals whenever it looks at the journal.
async fn looked(
    scene: &Scene,
    alerting: &tokenweir::alerts::Alerting,
    acme: &Organization,
    before: usize,
) -> Vec<String> {
    // A frame that tells something of its own: what stands before it in the log was told before.
    acme.grant(vec![Tokens(1)]).await.expect("within bounds");
    until(|| names(alerting, acme).len() > before);
    scene.ahead(1_000);
    names(alerting, acme)
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_that_were_told_are_not_told_again_by_a_restart_nor_by_a_journal_that_is_read_anew() {
    let mut scene = Scene::new(1 << 30);
    let alerting = scene.follow();
    let acme = scene.organization("acme", 10).await;
    call(&acme, "w").await;
    acme.set_thresholds(vec![threshold("refused", Measure::Refusals, 5)]).await.expect("within bounds");
    assert_eq!(names(&alerting, &acme), [""; 0]);
    charge(&acme, 1, 6, 11).await;
    until(|| names(&alerting, &acme) == ["refused"]);
    drop(alerting);
    // Who follows is started again beside the meter that refused them.
    let alerting = scene.alerting();
    assert_eq!(looked(&scene, &alerting, &acme, 1).await, ["refused", "license.added"]);
    drop(alerting);
    // The server is started again.
    scene.restart().await;
    let acme = scene.meter.organization(HOST, &org("acme")).expect("it exists");
    let alerting = scene.alerting();
    assert_eq!(looked(&scene, &alerting, &acme, 2).await, ["refused", "license.added", "license.added"]);
    drop(alerting);
    // What was told is lost, and the whole journal is read anew.
    scene.restart().await;
    scene.forget();
    let acme = scene.meter.organization(HOST, &org("acme")).expect("it exists");
    let alerting = scene.alerting();
    assert_eq!(looked(&scene, &alerting, &acme, 0).await, ["license.added"]);
    charge(&acme, 50, 5, 1_000).await;
    until(|| names(&alerting, &acme) == ["license.added", "refused"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn debits_that_are_charged_or_came_before_are_not_refused() {
    let scene = Scene::new(0);
    let acme = scene.organization("acme", 1_000).await;
    charge(&acme, 1, 10, 1).await;
    charge(&acme, 1, 10, 1).await;
    assert_eq!(scene.meter.refused(acme.id()), 0);
    charge(&acme, 20, 3, 1_000).await;
    assert_eq!(scene.meter.refused(acme.id()), 3);
}

fn until(is_met: impl Fn() -> bool) {
    let begun = tokenweir::telemetry::clock::start();
    while !is_met() {
        assert!(begun.elapsed() < crate::support::PATIENCE, "it never comes");
        std::thread::yield_now();
    }
}
