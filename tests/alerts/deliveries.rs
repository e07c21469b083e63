//! Deliveries from the first attempt to the last, with a clock that the test sets.

use tokenweir::alerts::{Alerting, Attempt, DeliveryQuery, DeliveryRow, Due, State};
use tokenweir::meter::{Measure, Organization, Tokens, WebhookUrl};

use crate::support::{Scene, call, charge, names, threshold, webhook};

fn due(alerting: &Alerting) -> Vec<Due> {
    alerting.due(&|_, _| false)
}

fn failed(alerting: &Alerting, status: Option<u16>) -> Attempt {
    Attempt { at: alerting.now(), took_ms: 7, status, error: Some("it does not answer".to_owned()) }
}

fn deliveries(alerting: &Alerting, organization: &Organization) -> Vec<DeliveryRow> {
    let query = DeliveryQuery { rows: 1_000, ..DeliveryQuery::default() };
    alerting.read(organization.id()).expect("known").deliveries(&query).expect("read").rows
}

/// An organization of which one thing is to be told to one webhook.
async fn one(scene: &Scene, alerting: &Alerting) -> Organization {
    let acme = scene.organization("acme", 100).await;
    call(&acme, "w").await;
    acme.set_thresholds(vec![threshold("low", Measure::TokensLeft, 50)]).await.expect("within bounds");
    charge(&acme, 1, 60, 1).await;
    assert_eq!(names(alerting, &acme), ["low"]);
    acme
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_fails_is_tried_eleven_times_over_a_day_and_then_given_up() {
    let scene = Scene::new(0);
    let alerting = scene.follow();
    let acme = one(&scene, &alerting).await;
    let begun = alerting.now();
    let mut waits = Vec::new();
    for attempt in 1..=11 {
        let due_now = due(&alerting);
        assert_eq!(due_now.len(), 1, "attempt {attempt}");
        assert_eq!(due_now[0].attempts + 1, attempt);
        let state = alerting.record(&due_now[0], &failed(&alerting, Some(500)), 0).expect("written");
        assert_eq!(state, if attempt < 11 { State::Pending } else { State::Failed });
        assert_eq!(due(&alerting), [], "not before its time");
        if let Some(next) = deliveries(&alerting, &acme)[0].due {
            let wait = next.ms() - alerting.now().ms();
            scene.ahead(wait - 1);
            assert_eq!(due(&alerting), [], "a millisecond early");
            scene.ahead(1);
            waits.push(wait);
        }
    }
    assert!(waits.windows(2).all(|two| two[0] < two[1]), "{waits:?}");
    let hours = (alerting.now().ms() - begun.ms()) / 3_600_000;
    assert!((20..=24).contains(&hours), "{hours} h");
    scene.ahead(48 * 3_600_000);
    assert_eq!(due(&alerting), []);
    let reader = alerting.read(acme.id()).expect("known");
    let number = deliveries(&alerting, &acme)[0].number;
    let (row, attempts, message) = reader.delivery(number).expect("read").expect("it is kept");
    assert_eq!((row.state, row.attempts, attempts.len(), row.due), (State::Failed, 11, 11, None));
    assert!(message.starts_with("{") && message.contains("\"alert.fired\""), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_is_done_when_it_is_taken_and_can_be_sent_again_by_hand_under_the_same_id() {
    let scene = Scene::new(0);
    let alerting = scene.follow();
    let acme = one(&scene, &alerting).await;
    let first = due(&alerting).remove(0);
    let taken = Attempt { at: alerting.now(), took_ms: 3, status: Some(204), error: None };
    assert_eq!(alerting.record(&first, &taken, 0).expect("written"), State::Delivered);
    assert_eq!(due(&alerting), []);
    let again = alerting.replay(acme.id(), first.number).expect("written").expect("it is kept");
    let second = due(&alerting).remove(0);
    assert_eq!((second.number, &second.id, &second.message), (again, &first.id, &first.message));
    let rows = deliveries(&alerting, &acme);
    assert_eq!(rows.iter().map(|row| row.replays).collect::<Vec<_>>(), [Some(first.number), None]);
    assert_eq!(alerting.replay(acme.id(), 77).expect("written"), None);
    let other = scene.organization("other", 0).await;
    assert_eq!(names(&alerting, &other), [""; 0]);
    assert_eq!(alerting.replay(other.id(), first.number).expect("written"), None, "it is another's");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_gone_is_called_no_more_until_it_is_set_anew() {
    let scene = Scene::new(0);
    let alerting = scene.follow();
    let acme = one(&scene, &alerting).await;
    let gone = due(&alerting).remove(0);
    assert_eq!(alerting.record(&gone, &failed(&alerting, Some(410)), 0).expect("written"), State::Off);
    acme.grant(vec![Tokens(100)]).await.expect("within bounds");
    assert_eq!(names(&alerting, &acme), ["low", "license.added"]);
    assert_eq!(due(&alerting), []);
    assert!(deliveries(&alerting, &acme).iter().all(|row| row.state == State::Off));
    let reader = alerting.read(acme.id()).expect("known");
    assert!(reader.off_since(&webhook("w"), gone.webhook.set).expect("read").is_some());
    drop(reader);
    let url = WebhookUrl::new("https://new.example/").expect("valid");
    acme.set_webhook(webhook("w"), url, Vec::new()).await.expect("within bounds");
    acme.grant(vec![Tokens(100)]).await.expect("within bounds");
    assert_eq!(names(&alerting, &acme).len(), 3);
    let next = due(&alerting).remove(0);
    assert_eq!(next.webhook.url.as_str(), "https://new.example/");
    alerting.record(&next, &failed(&alerting, Some(410)), 0).expect("written");
    assert!(alerting.switch_on(acme.id(), &webhook("w")).expect("written"));
    acme.grant(vec![Tokens(100)]).await.expect("within bounds");
    assert_eq!(names(&alerting, &acme).len(), 4);
    assert_eq!(due(&alerting).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_webhook_that_is_removed_is_cancelled() {
    let scene = Scene::new(0);
    let alerting = scene.follow();
    let acme = one(&scene, &alerting).await;
    acme.remove_webhook(webhook("w")).await.expect("it is there");
    assert_eq!(names(&alerting, &acme), ["low"]);
    assert_eq!(due(&alerting), []);
    assert_eq!(deliveries(&alerting, &acme)[0].state, State::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_each_organization_the_newest_thousand_deliveries_are_kept() {
    let scene = Scene::new(0);
    let alerting = scene.follow();
    let acme = one(&scene, &alerting).await;
    let first = deliveries(&alerting, &acme)[0].number;
    let mut newest = first;
    for _ in 0..1_100 {
        newest = alerting.replay(acme.id(), newest).expect("written").expect("it is kept");
    }
    let rows = deliveries(&alerting, &acme);
    assert_eq!((rows.len(), rows[0].number), (1_000, newest));
    let reader = alerting.read(acme.id()).expect("known");
    assert_eq!(reader.delivery(first).expect("read"), None);
    assert_eq!(due(&alerting).len(), 1, "one at a time of one webhook");
    assert_eq!(names(&alerting, &acme), ["low"], "what deliveries are of is kept with them");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_delivery_of_each_webhook_is_due_but_for_those_that_are_busy() {
    let scene = Scene::new(0);
    let alerting = scene.follow();
    let acme = one(&scene, &alerting).await;
    call(&acme, "v").await;
    for _ in 0..3 {
        acme.grant(vec![Tokens(10)]).await.expect("within bounds");
        scene.ahead(1_000);
    }
    assert_eq!(names(&alerting, &acme).len(), 4);
    let due_now = due(&alerting);
    assert_eq!(due_now.iter().map(|due| due.webhook.id.as_str()).collect::<Vec<_>>(), ["v", "w"]);
    let busy = alerting.due(&|organization, id| organization == acme.id() && *id == webhook("w"));
    assert_eq!(busy.iter().map(|due| due.webhook.id.as_str()).collect::<Vec<_>>(), ["v"]);
    let (pending, _) = alerting.pending();
    assert_eq!(pending, 7);
}
