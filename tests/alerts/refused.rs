//! Refusals are counted by the running meter, for each organization, within a time.

use tokenweir::meter::{Measure, Tokens};

use crate::support::{Scene, call, charge, names, threshold};

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
