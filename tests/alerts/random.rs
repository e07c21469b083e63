//! Random lives of two organizations: what fires is what a naive watcher says who reads the summary after every step, however often
//! who decides is stopped, and whatever becomes of the reports.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tokenweir::alerts::Alerting;
use tokenweir::meter::{
    CameraRef, Debit, DebitBatch, Identity, Measure, Organization, ReservationId, Summary, Threshold, Tokens,
    TransferId, UsageKind,
};

use crate::support::{HOST, Scene, call, names, threshold};

#[derive(Clone, Debug)]
enum Step {
    Charge { org: usize, tokens: Vec<u64> },
    Reserve { org: usize, tokens: u64, seconds: u64 },
    Settle { org: usize, pick: usize, tokens: u64 },
    Release { org: usize, pick: usize },
    Grant { org: usize, tokens: u64 },
    Transfer { from: usize },
    Wait { seconds: u64 },
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let org = || 0..2_usize;
    let step = prop_oneof![
        8 => (org(), prop::collection::vec(1..150_u64, 1..4)).prop_map(|(org, tokens)| Step::Charge { org, tokens }),
        4 => (org(), 1..400_u64, 1..300_u64)
            .prop_map(|(org, tokens, seconds)| Step::Reserve { org, tokens, seconds }),
        3 => (org(), 0..4_usize, 1..200_u64)
            .prop_map(|(org, pick, tokens)| Step::Settle { org, pick, tokens }),
        3 => (org(), 0..4_usize).prop_map(|(org, pick)| Step::Release { org, pick }),
        3 => (org(), 1..900_u64).prop_map(|(org, tokens)| Step::Grant { org, tokens }),
        1 => org().prop_map(|from| Step::Transfer { from }),
        4 => (1..200_u64).prop_map(|seconds| Step::Wait { seconds }),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 20..120)
}

fn thresholds() -> Vec<Threshold> {
    vec![
        threshold("a-low", Measure::TokensLeft, 300),
        threshold("b-fifth", Measure::PercentLeft, 20),
        threshold("c-empty", Measure::Exhausted, 0),
        threshold("d-soon", Measure::TimeLeft, 120_000),
        Threshold { rearm: None, ..threshold("e-once", Measure::TokensLeft, 150) },
    ]
}

/// Watches one organization by its summary alone.
#[derive(Default)]
struct Naive {
    fired: BTreeMap<String, bool>,
    came: u64,
    told: Vec<String>,
    last: Option<Summary>,
}

impl Naive {
    /// Looks, if anything was journaled: every frame of these lives changes a figure.
    fn look(&mut self, summary: Summary) {
        let figures = |of: &Summary| (of.available, of.held, of.reservations, of.totals);
        if self.last.as_ref().is_some_and(|last| figures(last) == figures(&summary)) {
            return;
        }
        self.judge(&summary);
        self.last = Some(summary);
    }

    fn judge(&mut self, summary: &Summary) {
        let totals = &summary.totals;
        let (came, available) = (totals.granted.0 + totals.transferred_in.0, summary.available.0);
        let more_came = came > self.came;
        self.came = came;
        let base = came - totals.transferred_out.0;
        for threshold in thresholds() {
            let fired = self.fired.entry(threshold.id.to_string()).or_default();
            let value = match threshold.measure {
                Measure::PercentLeft if base == 0 => None,
                Measure::PercentLeft => Some((available * 100, base)),
                Measure::TimeLeft => summary.estimated_analytics_ms.map(|ms| (ms, 1)),
                _ => Some((available, 1)),
            };
            let is_low = value.is_some_and(|(value, scale)| value <= threshold.at * scale);
            let is_clear =
                value.zip(threshold.rearm).is_some_and(|((value, scale), rearm)| value >= rearm * scale);
            if *fired && (is_clear || more_came && !is_low) {
                *fired = false;
            } else if !*fired && is_low {
                *fired = true;
                self.told.push(threshold.id.to_string());
            }
        }
    }
}

struct Life {
    scene: Scene,
    orgs: [Organization; 2],
    naive: [Naive; 2],
    seq: u64,
    open: [Vec<ReservationId>; 2],
}

impl Life {
    async fn new() -> Self {
        let scene = Scene::new(1 << 30);
        let orgs = [scene.organization("acme", 1_000).await, scene.organization("bolt", 1_000).await];
        for org in &orgs {
            org.set_thresholds(thresholds()).await.expect("within bounds");
            call(org, "w").await;
        }
        let mut life = Self { scene, orgs, naive: Default::default(), seq: 0, open: Default::default() };
        life.look().await;
        life
    }

    /// Has the naive watchers look. A summary ends what has expired first.
    async fn look(&mut self) {
        for (org, naive) in self.orgs.iter().zip(&mut self.naive) {
            naive.look(org.summary().await.expect("served"));
        }
    }

    async fn charge(&mut self, org: usize, tokens: &[u64], paid_by: Option<ReservationId>) {
        let mut batch = DebitBatch::default();
        batch.pay_by(paid_by);
        for tokens in tokens {
            self.seq += 1;
            let (camera, identity) = (CameraRef::Id("cam"), Identity::Seq { epoch: 1, seq: self.seq });
            let kind = UsageKind::ContextualVideoAnalytics;
            batch.push(Debit { camera, identity, tokens: *tokens, kind, time: None });
        }
        self.orgs[org].debit_batch(batch).await.expect("served");
    }

    async fn step(&mut self, number: usize, step: &Step) {
        match step {
            Step::Charge { org, tokens } => self.charge(*org, tokens, None).await,
            Step::Reserve { org, tokens, seconds } => {
                let id = ReservationId::new(&format!("r-{number}")).expect("valid");
                let held = self.orgs[*org].reserve(id.clone(), Tokens(*tokens), seconds * 1_000).await;
                self.open[*org].extend(held.is_ok().then_some(id));
            }
            Step::Settle { org, pick, tokens } => {
                let id = self.open[*org].iter().rev().nth(*pick).cloned();
                if let Some(id) = id {
                    self.charge(*org, &[*tokens], Some(id)).await;
                }
            }
            Step::Release { org, pick } => {
                if let Some(id) = self.open[*org].iter().rev().nth(*pick) {
                    drop(self.orgs[*org].release_reservation(id.clone()).await);
                }
            }
            Step::Grant { org, tokens } => {
                self.orgs[*org].grant(vec![Tokens(*tokens)]).await.expect("within bounds");
            }
            Step::Transfer { from } => {
                let is_free = self.orgs[*from].summary().await.expect("served").reservations == 0;
                if is_free {
                    let id = TransferId::new(&format!("t-{number}")).expect("valid");
                    let ends = (self.orgs[*from].id().clone(), self.orgs[1 - *from].id().clone());
                    let until = tokenweir::meter::Until::Ended;
                    drop(self.scene.meter.transfer(HOST, id, ends, until).await);
                }
            }
            Step::Wait { seconds } => self.scene.ahead(seconds * 1_000),
            Step::Restart => {}
        }
    }
}

async fn live(steps: &[Step]) {
    let mut life = Life::new().await;
    // What a new database finds is told to nobody: one that was stopped before it made its database would find the first steps.
    let mut alerting: Alerting = life.scene.alerting();
    for (number, step) in steps.iter().enumerate() {
        if matches!(step, Step::Restart) {
            drop(alerting);
            alerting = life.scene.follow();
        }
        life.look().await;
        life.step(number, step).await;
        life.look().await;
    }
    for (org, naive) in life.orgs.iter().zip(&life.naive) {
        let told = names(&alerting, org);
        let fired: Vec<_> = told.into_iter().filter(|name| !name.contains('.')).collect();
        assert_eq!(fired, naive.told, "{}", org.id());
        let reader = alerting.read(org.id()).expect("known");
        for threshold in thresholds() {
            let is_fired = naive.fired[threshold.id.as_str()];
            assert_eq!(reader.fired(&threshold.id).is_some(), is_fired, "{}", threshold.id);
        }
        let summary = org.summary().await.expect("served");
        assert_eq!(reader.available(), summary.available, "R10: one figure");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_fires_is_what_a_naive_watcher_of_the_summary_says(steps in steps()) {
        tokio::runtime::Runtime::new().expect("a runtime").block_on(live(&steps));
    }
}
