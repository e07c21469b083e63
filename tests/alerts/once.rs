//! What was told is not told again: by a restart, by reading the journal again, by reports that are built anew.

use std::sync::atomic::AtomicBool;

use tokenweir::alerts::Watch;
use tokenweir::meter::{Lsn, Measure, Organization, Tokens};
use tokenweir::reports::{Projector, homes};
use tokenweir::storage::Followed;

use crate::support::{Scene, call, charge, names, org, threshold, told, webhook};

/// An organization whose pool went down past three thresholds, up again, and down past two: 8 are left.
async fn story(scene: &Scene) -> Organization {
    let acme = scene.organization("acme", 1_000).await;
    call(&acme, "w").await;
    let thresholds = vec![
        threshold("half", Measure::PercentLeft, 50),
        threshold("low", Measure::TokensLeft, 100),
        threshold("empty", Measure::Exhausted, 0),
    ];
    acme.set_thresholds(thresholds).await.expect("within bounds");
    for step in 0..20 {
        charge(&acme, 1 + step * 10, 10, 5).await;
        scene.ahead(10_000);
    }
    acme.grant(vec![Tokens(3_000)]).await.expect("within bounds");
    for step in 20..39 {
        charge(&acme, 1 + step * 10, 10, 16).await;
        scene.ahead(10_000);
    }
    acme
}

const STORY: [&str; 7] = ["half", "low", "empty", "organization.exhausted", "license.added", "half", "low"];

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

fn story_names() -> Vec<String> {
    sorted(STORY.map(str::to_owned).to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_threshold_fires_once_for_each_time_that_it_was_armed() {
    let scene = Scene::new(0);
    let alerting = scene.follow();
    let acme = story(&scene).await;
    assert_eq!(sorted(names(&alerting, &acme)), story_names());
    let reader = alerting.read(acme.id()).expect("known");
    assert_eq!(reader.pending(&webhook("w")).expect("read"), 7, "a delivery for each");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_and_reports_that_are_built_anew_fire_nothing_again() {
    let scene = Scene::new(0);
    let alerting = scene.follow();
    let acme = story(&scene).await;
    let before = told(&alerting, &acme);
    drop(alerting);
    for home in homes(scene.directory.path()).expect("a data directory") {
        let followed = Followed::from(&home);
        Projector::remove(&followed).expect("removed");
        let durable = scene.meter.durable(home.partition);
        let mut projector = Projector::open(&followed, durable, 10).expect("a journal");
        projector.step(durable, &AtomicBool::new(false)).expect("projected");
    }
    let again = scene.alerting();
    assert_eq!(told(&again, &acme), before);
    charge(&acme, 1_000, 1, 1).await;
    assert_eq!(told(&again, &acme), before, "still below");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_lost_is_made_again_quietly_and_knows_what_has_fired() {
    let scene = Scene::new(1 << 30);
    let alerting = scene.follow();
    let acme = story(&scene).await;
    assert_eq!(names(&alerting, &acme).len(), 7);
    drop(alerting);
    scene.forget();
    let again = scene.alerting();
    assert_eq!(names(&again, &acme), [""; 0], "nobody is told of what is long past");
    let fired = |id: &str| {
        let reader = again.read(acme.id()).expect("known");
        reader.fired(&threshold(id, Measure::Exhausted, 0).id).is_some()
    };
    assert_eq!([fired("half"), fired("low"), fired("empty")], [true, true, false]);
    charge(&acme, 1_000, 100, 1).await;
    assert_eq!(sorted(names(&again, &acme)), ["empty", "organization.exhausted"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_ended_after_any_frame_tells_the_same_as_who_never_was() {
    let scene = Scene::new(1 << 30);
    let acme = story(&scene).await;
    let homes = homes(scene.directory.path()).expect("a data directory");
    let (home, last, never) = (&Followed::from(&homes[0]), scene.meter.durable(0), AtomicBool::new(false));
    for lsn in 0..=last.0 {
        // What was not written down is decided again: a watch that is dropped has written everything up to here.
        let mut watch = Watch::open(home, Lsn(lsn), Lsn(0)).expect("a journal");
        watch.step(Lsn(lsn), &never).expect("decided");
        assert_eq!(watch.reached(), Lsn(lsn));
    }
    let alerting = scene.alerting();
    let piecewise = told(&alerting, &acme);
    drop(alerting);
    scene.forget();
    let mut whole = Watch::open(home, last, Lsn(0)).expect("a journal");
    while whole.reached() < last {
        whole.step(last, &never).expect("decided");
    }
    drop(whole);
    let at_once = told(&scene.alerting(), &acme);
    assert_eq!(piecewise, at_once, "the same ids, in the same order");
    assert_eq!(
        sorted(at_once.into_iter().map(|row| row.alert.unwrap_or(row.topic)).collect()),
        story_names()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_journal_was_pruned_what_is_now_is_held_against_what_was() {
    let scene = Scene::new(0);
    let alerting = scene.follow();
    let acme = scene.organization("acme", 1_000_000).await;
    call(&acme, "w").await;
    let thresholds =
        vec![threshold("low", Measure::TokensLeft, 900_000), threshold("last", Measure::TokensLeft, 1)];
    acme.set_thresholds(thresholds).await.expect("within bounds");
    charge(&acme, 1, 1, 1).await;
    assert_eq!(names(&alerting, &acme), [""; 0]);
    drop(alerting);
    let mut seq = 2;
    for _ in 0..4 {
        for _ in 0..12 {
            charge(&acme, seq, 2_000, 2).await;
            seq += 2_000;
        }
        assert!(scene.meter.snapshot().await);
    }
    let alerting = scene.alerting();
    assert_eq!(names(&alerting, &acme), ["low"]);
    let known = alerting.read(&org("acme")).expect("known");
    assert_eq!(known.lag_frames(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_after_the_start_is_told_though_the_first_process_ended_before_it_decided_anything() {
    let scene = Scene::new(1 << 30);
    let acme = scene.organization("acme", 1_000).await;
    acme.set_thresholds(vec![threshold("low", Measure::TokensLeft, 100)]).await.expect("within bounds");
    let first = scene.follow();
    let database = scene.directory.path().join("p000/alerts.sqlite");
    assert!(database.exists(), "it notes what was there before, and does not wait for its thread");
    drop(first);
    charge(&acme, 1, 10, 95).await;
    assert_eq!(names(&scene.alerting(), &acme), ["low"]);
}
