//! When thresholds fire and are armed again, from events in the order of the journal.

use super::*;
use crate::domain::alerts::{Webhook, WebhookUrl};
use crate::domain::debit::{Charge, ChargeIdentity, UsageKind};
use crate::domain::event::Cargo;
use crate::domain::ids::{ActorId, KeyId, LicenseId, Slot, WebhookId};
use crate::domain::license::License;

const START_MS: u64 = 1_750_000_000_000;

fn at(ms: u64) -> Timestamp {
    Timestamp::from_ms(START_MS + ms).expect("in range")
}

fn by() -> ActorId {
    ActorId::new("key:1").expect("valid")
}

fn org(id: &str) -> OrgId {
    OrgId::new(id).expect("valid")
}

fn threshold(id: &str, measure: Measure, bound: u64) -> Threshold {
    let window_ms = (measure == Measure::Refusals).then_some(60_000);
    let (id, rearm) = (AlertId::new(id).expect("valid"), measure.rearm_default(bound));
    Threshold { id, measure, at: bound, rearm, window_ms }
}

/// An organization, and what was told of it.
struct Scene {
    account: Account,
    lsn: u64,
    now: u64,
    told: Vec<Notice>,
}

impl Scene {
    /// An organization with these thresholds, a webhook for everything, and so many tokens.
    fn new(tokens: u64, thresholds: Vec<Threshold>) -> Self {
        let account = Account::new(org("acme"), at(0));
        let mut scene = Self { account, lsn: 1, now: 0, told: Vec::new() };
        scene.set(thresholds);
        if tokens > 0 {
            scene.add(tokens);
        }
        scene.told.clear();
        scene
    }

    fn apply(&mut self, change: Change) {
        self.lsn += 1;
        let event = Event { at: at(self.now), change };
        self.account.apply(Lsn(self.lsn), &event, &mut self.told);
    }

    fn set(&mut self, thresholds: Vec<Threshold>) {
        let version = self.account.alerts.as_ref().map_or(0, |alerts| alerts.version) + 1;
        let (id, url) = (WebhookId::new("w").expect("valid"), WebhookUrl::new("https://a.example"));
        let (url, topics) = (url.expect("valid"), Vec::new());
        let webhook = Webhook { id, url, topics, set: 1, secret: 1, previous: None };
        let alerts = Alerts { version, at: at(self.now), by: by(), thresholds, webhooks: vec![webhook] };
        self.apply(Change::AlertsSet { alerts });
    }

    fn add(&mut self, tokens: u64) {
        let (key, granted) = (KeyId::new("K").expect("valid"), Tokens(tokens));
        let id = LicenseId::new("K.1").expect("valid");
        let licenses =
            vec![License { id, key: key.clone(), granted, remaining: granted, history: Vec::new() }];
        self.apply(Change::LicensesAdded { key, licenses });
    }

    fn charge(&mut self, tokens: u32) {
        self.charge_to(tokens, None);
    }

    fn charge_to(&mut self, tokens: u32, reservation: Option<&str>) {
        self.lsn += 1;
        let charge = |tokens, exempt| Charge {
            slot: Slot(0),
            identity: ChargeIdentity::Seq { epoch: 1, seq: self.lsn },
            time: None,
            tokens,
            print: 0,
            kind: UsageKind::default(),
            exempt,
            priced: None,
        };
        let charges = [charge(tokens, false), charge(1_000_000, true)];
        let reservation = reservation.map(reservation_id);
        let reservation = reservation.as_ref();
        let batch = Charges { at: at(self.now), charges: &charges, text: &[], reservation };
        self.account.charge(Lsn(self.lsn), batch, &mut self.told);
    }

    fn reserve(&mut self, id: &str, tokens: u64, until: u64) {
        let (reservation, tokens) = (reservation_id(id), Tokens(tokens));
        self.apply(Change::Reserved { reservation, tokens, until: at(until), by: by() });
    }

    fn release(&mut self, id: &str) {
        self.apply(Change::ReservationReleased { reservation: reservation_id(id) });
    }

    /// What was told since this was asked last: the thresholds that fired, and the names of the rest.
    fn told(&mut self) -> Vec<String> {
        let name = |notice: Notice| {
            notice.alert().map_or_else(|| notice.details.topic().name().to_owned(), ToString::to_string)
        };
        self.told.drain(..).map(name).collect()
    }
}

fn reservation_id(id: &str) -> ReservationId {
    ReservationId::new(id).expect("valid")
}

fn transfer(id: &str) -> TransferId {
    TransferId::new(id).expect("valid")
}

#[test]
fn a_threshold_of_tokens_fires_once_and_again_only_when_it_was_armed() {
    let mut scene = Scene::new(1_000, vec![threshold("low", Measure::TokensLeft, 100)]);
    scene.charge(899);
    assert_eq!(scene.told(), [""; 0], "101 are left");
    scene.charge(1);
    assert_eq!(scene.told(), ["low"], "100 are left");
    scene.charge(10);
    scene.charge(10);
    assert_eq!(scene.told(), [""; 0]);
    scene.add(100);
    assert_eq!(scene.told(), ["license.added"], "180 are left: armed");
    scene.charge(80);
    assert_eq!(scene.told(), ["low"]);
}

#[test]
fn tokens_that_do_not_lift_the_pool_above_a_threshold_do_not_arm_it() {
    let mut scene = Scene::new(1_000, vec![threshold("low", Measure::TokensLeft, 100)]);
    scene.charge(990);
    assert_eq!(scene.told(), ["low"]);
    scene.add(50);
    scene.charge(10);
    assert_eq!(scene.told(), ["license.added"]);
    scene.add(51);
    scene.charge(5);
    assert_eq!(scene.told(), ["license.added", "low"], "101 were left between");
}

#[test]
fn what_a_reservation_gives_back_arms_a_threshold_at_its_rearm_and_not_below() {
    let mut scene = Scene::new(1_000, vec![threshold("low", Measure::TokensLeft, 100)]);
    scene.charge(880);
    scene.reserve("eleven", 11, 60_000);
    scene.reserve("nine", 9, 60_000);
    assert_eq!(scene.told(), ["low"], "100 are left");
    scene.release("nine");
    scene.reserve("nine", 9, 60_000);
    assert_eq!(scene.told(), [""; 0], "109 were left between, and it is armed at 110");
    scene.release("eleven");
    scene.reserve("eleven", 11, 60_000);
    assert_eq!(scene.told(), ["low"], "111 were left between");
}

#[test]
fn a_threshold_is_armed_exactly_at_its_rearm() {
    let mut scene = Scene::new(1_000, vec![threshold("low", Measure::TokensLeft, 100)]);
    scene.charge(880);
    scene.reserve("kept", 10, 60_000);
    scene.reserve("lent", 10, 60_000);
    assert_eq!(scene.told(), ["low"], "100 are left");
    scene.release("lent");
    scene.reserve("lent", 10, 60_000);
    assert_eq!(scene.told(), ["low"], "110 were left between");
}

#[test]
fn hysteresis_keeps_a_threshold_from_firing_while_the_measure_goes_up_and_down_around_it() {
    let mut scene = Scene::new(1_000, vec![threshold("low", Measure::TokensLeft, 100)]);
    scene.charge(891);
    scene.reserve("lease", 9, 60_000);
    assert_eq!(scene.told(), ["low"], "100 are left");
    for _ in 0..5 {
        scene.release("lease");
        scene.reserve("lease", 9, 60_000);
    }
    assert_eq!(scene.told(), [""; 0], "109 and 100 in turn");
    scene.release("lease");
    scene.add(1);
    scene.told.clear();
    scene.reserve("lease", 10, 60_000);
    assert_eq!(scene.told(), ["low"], "tokens came: armed");
}

#[test]
fn several_thresholds_that_are_crossed_at_once_fire_once_each() {
    let mut scene = Scene::new(
        1_000,
        vec![
            threshold("a", Measure::TokensLeft, 500),
            threshold("b", Measure::TokensLeft, 100),
            threshold("c", Measure::PercentLeft, 10),
            threshold("d", Measure::Exhausted, 0),
        ],
    );
    scene.charge(1_000);
    assert_eq!(scene.told(), ["organization.exhausted", "a", "b", "c", "d"]);
    scene.set(scene.account.alerts.as_ref().expect("set").thresholds.clone());
    assert_eq!(scene.told(), [""; 0], "the same again is no reason");
}

#[test]
fn percent_is_of_what_came_and_was_not_moved_away() {
    let mut scene = Scene::new(1_000, vec![threshold("tenth", Measure::PercentLeft, 10)]);
    scene.charge(899);
    assert_eq!(scene.told(), [""; 0], "101 of 1,000");
    scene.charge(1);
    assert_eq!(scene.told.last().map(|notice| notice.available), Some(100));
    assert_eq!(scene.told(), ["tenth"]);
    scene.add(1_000);
    scene.charge(899);
    scene.told.clear();
    scene.charge(1);
    assert_eq!(scene.told(), ["tenth"], "200 of 2,000");
}

#[test]
fn an_estimate_fires_by_the_burn_and_an_idle_pool_arms_nothing() {
    let hour = 3_600_000;
    let mut scene = Scene::new(1_000, vec![threshold("soon", Measure::TimeLeft, hour)]);
    scene.charge(10);
    assert_eq!(scene.told(), [""; 0], "990 tokens at 10 a minute last 99 minutes");
    scene.charge(10);
    assert_eq!(scene.told(), ["soon"], "980 tokens at 20 a minute last 49 minutes");
    // A quarter of an hour without a charge: nothing burns, so nothing is known of the time that is left.
    scene.now += 20 * 60_000;
    scene.reserve("r", 1, 100_000_000);
    scene.charge(17);
    assert_eq!(scene.told(), [""; 0], "not armed by being idle, and fired already");
    scene.now += 20 * 60_000;
    scene.charge(1);
    scene.charge(40);
    assert_eq!(scene.told(), ["soon"], "one token a minute lasted long enough to arm it");
}

#[test]
fn an_exhausted_pool_is_told_once_until_tokens_come() {
    let mut scene = Scene::new(100, vec![threshold("empty", Measure::Exhausted, 0)]);
    scene.reserve("lease", 100, 60_000);
    assert_eq!(scene.told(), ["organization.exhausted", "empty"]);
    scene.release("lease");
    scene.reserve("lease", 100, 60_000);
    assert_eq!(scene.told(), [""; 0], "a lease that comes and goes is no news");
    scene.charge_to(100, Some("lease"));
    assert_eq!(scene.account.available(), 0);
    scene.add(1);
    scene.told.clear();
    scene.charge(1);
    assert_eq!(scene.told(), ["organization.exhausted", "empty"]);
}

#[test]
fn a_transfer_tells_both_sides_and_is_judged_when_it_ended() {
    let mut scene = Scene::new(1_000, vec![threshold("low", Measure::TokensLeft, 100)]);
    let out = |id: &str| Change::TransferOutPrepared { transfer: transfer(id), target: org("b"), by: by() };
    scene.apply(out("t1"));
    assert_eq!(scene.told(), [""; 0], "what is in transit may come back");
    scene.apply(Change::TransferAborted { transfer: transfer("t1") });
    assert_eq!(scene.told(), ["transfer.finished"]);
    scene.apply(out("t2"));
    scene.apply(Change::TransferOutClosed { transfer: transfer("t2") });
    assert_eq!(scene.told(), ["transfer.finished", "organization.exhausted", "low"]);
    let cargo = Cargo { source: org("b"), by: by(), tokens: Tokens(500), licenses: Vec::new() };
    scene.apply(Change::TransferInPrepared { transfer: transfer("t3"), cargo });
    scene.apply(Change::TransferInCredited { transfer: transfer("t3") });
    assert_eq!(scene.told(), ["transfer.finished"]);
    scene.charge(400);
    assert_eq!(scene.told(), ["low"], "the transfer armed it");
    scene.apply(Change::TransferAborted { transfer: transfer("unknown") });
    assert_eq!(scene.told(), [""; 0]);
}

#[test]
fn reservations_that_expire_are_told_with_what_they_still_held() {
    let mut scene = Scene::new(100, Vec::new());
    scene.reserve("a", 30, 5_000);
    scene.reserve("b", 20, 5_000);
    scene.reserve("c", 10, 9_000);
    scene.charge_to(25, Some("a"));
    scene.now = 5_000;
    scene.apply(Change::ReservationsExpired);
    let one = |id: &str, unused| Expired { id: reservation_id(id), unused };
    let told: Vec<_> = scene.told.drain(..).map(|notice| notice.details).collect();
    assert_eq!(told, [Details::Expired(vec![one("a", 5), one("b", 20)])]);
    assert_eq!(scene.account.available(), 100 - 25 - 10);
}

#[test]
fn a_pool_that_never_had_a_token_is_left_alone() {
    let mut scene = Scene::new(0, vec![threshold("low", Measure::TokensLeft, 100)]);
    scene.set(vec![threshold("empty", Measure::Exhausted, 0)]);
    assert_eq!(scene.told(), [""; 0]);
    scene.set(vec![threshold("low", Measure::TokensLeft, 100)]);
    scene.add(50);
    assert_eq!(scene.told(), ["license.added", "low"], "50 are fewer than 100");
}

#[test]
fn a_threshold_that_is_set_where_the_measure_is_already_fires_at_once_and_a_changed_one_is_armed() {
    let mut scene = Scene::new(100, Vec::new());
    scene.set(vec![threshold("low", Measure::TokensLeft, 200)]);
    assert_eq!(scene.told(), ["low"]);
    scene.set(vec![threshold("low", Measure::TokensLeft, 300)]);
    assert_eq!(scene.told(), ["low"], "another threshold of that name");
    scene.set(vec![threshold("low", Measure::TokensLeft, 50)]);
    assert_eq!(scene.told(), [""; 0]);
    scene.charge(50);
    assert_eq!(scene.told(), ["low"]);
    scene.set(Vec::new());
    assert!(scene.account.fired.is_empty());
}

#[test]
fn refusals_fire_at_their_count_and_are_armed_by_a_whole_window_with_few_or_by_tokens() {
    let refusals = threshold("refused", Measure::Refusals, 10);
    let mut scene = Scene::new(100, vec![refusals.clone()]);
    let judge = |scene: &mut Scene, counted, is_whole| {
        let now = (Lsn(9), at(77));
        scene.account.judge_refusals((&refusals, counted, is_whole), now, &mut scene.told)
    };
    assert!(!judge(&mut scene, 9, false));
    assert!(judge(&mut scene, 10, false));
    assert_eq!(scene.told(), ["refused"]);
    assert!(!judge(&mut scene, 50, true), "once");
    assert!(!judge(&mut scene, 5, false), "too little of the window was seen");
    assert!(!judge(&mut scene, 6, true), "not clear of it");
    assert!(judge(&mut scene, 5, true), "armed");
    assert!(judge(&mut scene, 10, true));
    scene.told.clear();
    scene.add(1);
    assert!(scene.account.fired.is_empty(), "tokens came");
}

#[test]
fn whoever_reads_the_same_frames_from_any_place_on_decides_the_same() {
    let thresholds = vec![
        threshold("a", Measure::TokensLeft, 300),
        threshold("b", Measure::PercentLeft, 20),
        threshold("c", Measure::TimeLeft, 120_000),
    ];
    let play = |stored_after: Option<u32>| {
        let mut scene = Scene::new(1_000, thresholds.clone());
        for step in 0..60 {
            scene.now += 7_000;
            match step % 10 {
                3 => scene.reserve(&format!("r{step}"), 40, scene.now + 20_000),
                7 => scene.apply(Change::ReservationsExpired),
                9 => scene.add(110),
                _ => scene.charge(17 + step),
            }
            if stored_after == Some(step) {
                let stored = rmp_serde::to_vec_named(&scene.account).expect("it packs");
                let alerts = scene.account.alerts.take();
                scene.account = rmp_serde::from_slice(&stored).expect("it is read");
                scene.account.alerts = alerts;
            }
        }
        (scene.account, scene.told)
    };
    let whole = play(None);
    assert!(whole.1.len() > 12, "{}", whole.1.len());
    for step in 0..60 {
        assert_eq!(play(Some(step)), whole, "stored after step {step}");
    }
}
