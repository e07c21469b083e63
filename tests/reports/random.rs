//! Random lives of two organizations: the reports, stopped, killed in their middle and thrown away at random, add up to what the
//! pools count, however they are asked.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use proptest::prelude::*;
use tokenweir::meter::{
    DebitBatch, FirstOutcome, LicenseId, Organization, Tokens, TransferId, UnlimitedLicense, UsageKind,
};
use tokenweir::reports::{By, EventQuery, Interval, Reports};

use crate::support::{HOST, LOG_ROWS, Scene, at, camera, check_total, debit, everything, read};

const CAMERAS: [&str; 4] = ["a", "b", "c", "d"];
const ZONES: [&str; 5] = ["UTC", "Europe/Berlin", "Asia/Kolkata", "America/New_York", "Australia/Lord_Howe"];

#[derive(Clone, Debug)]
enum Step {
    Debits { organization: usize, rows: Vec<(usize, u64, usize)> },
    Move { organization: usize, camera: usize, network: usize },
    Bind { organization: usize, camera: usize, kind: usize },
    Grant { organization: usize, tokens: u64 },
    Transfer { from: usize },
    Wait { minutes: u64 },
    Report,
    Interrupt,
    Forget,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let organization = 0..2_usize;
    let rows = prop::collection::vec((0..4_usize, 1..1_000_u64, 0..4_usize), 1..40);
    let step = prop_oneof![
        8 => (organization.clone(), rows).prop_map(|(organization, rows)| Step::Debits { organization, rows }),
        2 => (organization.clone(), 0..4_usize, 0..3_usize)
            .prop_map(|(organization, camera, network)| Step::Move { organization, camera, network }),
        1 => (organization.clone(), 0..4_usize, 0..4_usize)
            .prop_map(|(organization, camera, kind)| Step::Bind { organization, camera, kind }),
        2 => (organization.clone(), 1..100_000_u64)
            .prop_map(|(organization, tokens)| Step::Grant { organization, tokens }),
        1 => organization.prop_map(|from| Step::Transfer { from }),
        4 => prop_oneof![1..90_u64, 600..200_000_u64].prop_map(|minutes| Step::Wait { minutes }),
        1 => Just(Step::Report),
        2 => Just(Step::Interrupt),
        1 => Just(Step::Forget),
    ];
    prop::collection::vec(step, 5..60)
}

async fn live(scene: &Scene, organizations: &[Organization; 2], steps: &[Step]) {
    let mut seq = 0;
    for (number, step) in steps.iter().enumerate() {
        match step {
            Step::Debits { organization, rows } => {
                let mut batch = DebitBatch::default();
                for (camera, tokens, kind) in rows {
                    seq += 1;
                    batch.push(debit(CAMERAS[*camera], seq, *tokens, UsageKind::ALL[*kind]));
                }
                organizations[*organization].debit_batch(batch).await.expect("served");
            }
            Step::Move { organization, camera: at, network } => {
                let spec = camera(CAMERAS[*at], ["lobby", "yard", "roof"][*network]);
                organizations[*organization].register_camera(spec).await.expect("within bounds");
            }
            Step::Bind { organization, camera, kind } => {
                bind(scene, &organizations[*organization], (*camera, *kind)).await;
            }
            Step::Grant { organization, tokens } => {
                organizations[*organization].grant(vec![Tokens(*tokens)]).await.expect("within bounds");
            }
            Step::Transfer { from } => {
                let id = TransferId::new(&format!("t-{number}")).expect("valid");
                let (source, target) = (organizations[*from].id(), organizations[1 - *from].id());
                let until = tokenweir::meter::Until::Ended;
                // An empty pool has nothing to move, and says so.
                drop(scene.meter.transfer(HOST, id, (source.clone(), target.clone()), until).await);
            }
            Step::Wait { minutes } => _ = scene.hand.fetch_add(minutes * 60_000, Ordering::Relaxed),
            Step::Report => drop(scene.reports()),
            Step::Interrupt => drop(scene.follow()),
            Step::Forget => scene.forget(),
        }
    }
}

async fn bind(scene: &Scene, organization: &Organization, (camera, kind): (usize, usize)) {
    let now = scene.hand.load(Ordering::Relaxed);
    let id = LicenseId::new(&format!("u-{}-{camera}-{kind}", organization.id())).expect("valid");
    let (from, until) = (at(now), at(now + 7_200_000));
    let license = UnlimitedLicense { id, kind: UsageKind::ALL[kind], from, until };
    let camera = tokenweir::meter::CameraId::new(CAMERAS[camera]).expect("valid");
    organization.bind_unlimited(camera, license).await.expect("registered");
}

/// Everything that reports say adds up to what the pool says.
async fn check(reports: &Reports, organization: &Organization) {
    let (reader, summary) = (read(reports, organization), organization.summary().await.expect("served"));
    let used = reader.used().expect("read");
    let totals = summary.totals;
    assert_eq!((used.charged, used.exempt), (totals.used.0, totals.exempt.0));
    assert_eq!((used.debits_charged, used.debits_exempt), (totals.debits_charged, totals.debits_exempt));
    for interval in [Interval::None, Interval::Day, Interval::Week, Interval::Month] {
        for (place, zone) in ZONES.into_iter().enumerate() {
            let by = By { network: place % 2 == 0, camera: place > 2, kind: place == 1, outcome: place > 1 };
            let usage = reader.usage(&everything(interval, zone, by)).expect("read");
            assert!(usage.gaps.is_empty(), "{usage:?}");
            check_total(&reader, &usage);
        }
    }
    let by_network = reader.usage(&everything(Interval::None, "UTC", By { network: true, ..By::default() }));
    let by_network: BTreeMap<_, _> = by_network
        .expect("read")
        .rows
        .into_iter()
        .map(|row| (row.group.and_then(|group| group.network).expect("by network"), row.used))
        .collect();
    for network in &summary.networks {
        let reported = by_network.get(network.name.as_str()).copied().unwrap_or_default();
        assert_eq!(
            (reported.charged, reported.exempt),
            (network.used.0, network.exempt.0),
            "{}",
            network.name
        );
    }
    let by_outcome = reader.usage(&everything(Interval::None, "UTC", By { outcome: true, ..By::default() }));
    let mut outcomes = [(0, 0); 2];
    for row in by_outcome.expect("read").rows {
        match row.group.as_ref().and_then(|group| group.outcome).expect("by outcome") {
            FirstOutcome::Charged => outcomes[0] = (row.used.charged, row.used.debits_charged),
            FirstOutcome::Exempt => outcomes[1] = (row.used.exempt, row.used.debits_exempt),
        }
        assert!(row.used.debits_charged == 0 || row.used.debits_exempt == 0, "{row:?}");
    }
    let counted = [(totals.used.0, totals.debits_charged), (totals.exempt.0, totals.debits_exempt)];
    assert_eq!(outcomes, counted, "by outcome, to the token, what the pool counts");
    let by_camera = reader.usage(&everything(Interval::None, "UTC", By { camera: true, ..By::default() }));
    for row in by_camera.expect("read").rows {
        let id = row.group.and_then(|group| group.camera).expect("by camera");
        let view = organization.camera(tokenweir::meter::CameraId::new(&id).expect("valid")).await;
        assert_eq!(row.used.charged, view.expect("registered").used.0, "{id}");
    }
    check_history(&reader, summary.available.0 + summary.held.0, used.charged);
}

fn check_history(reader: &tokenweir::reports::Reader, balance: u64, charged: u64) {
    let all = everything(Interval::Week, "Europe/Berlin", By::default());
    let history = reader.balance_history(all.from, all.until, all.interval, &all.zone).expect("read");
    assert_eq!(history.rows.last().and_then(|row| row.balance).unwrap_or(0), balance, "{history:?}");
    assert_eq!(history.rows.iter().map(|row| row.charged).sum::<u64>(), charged);
    let mut left = 0;
    for row in &history.rows {
        left = left + row.granted + row.received - row.sent - row.charged;
        assert_eq!(row.balance.unwrap_or(0), left, "{row:?}");
    }
    let log = reader.events(&EventQuery { rows: LOG_ROWS, ..EventQuery::default() }).expect("read");
    assert!(log.rows.windows(2).all(|pair| pair[0].number == pair[1].number + 1), "{log:?}");
    assert!(log.rows.first().is_none_or(|newest| newest.number == log.admitted));
    for pair in log.rows.windows(2).filter(|pair| pair[0].is_exempt) {
        assert!(pair[0].license.is_some() && pair[0].balance <= pair[1].balance + balance, "{pair:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn reports_add_up_to_the_counters_of_the_pools_however_they_are_stopped_and_asked(steps in steps()) {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let scene = Scene::new(1 << 30);
            let organizations = [scene.organization("acme").await, scene.organization("bolt").await];
            for organization in &organizations {
                for (place, id) in CAMERAS.into_iter().enumerate() {
                    let spec = camera(id, ["lobby", "yard"][place % 2]);
                    organization.register_camera(spec).await.expect("within bounds");
                }
                organization.grant(vec![Tokens(50_000)]).await.expect("within bounds");
            }
            live(&scene, &organizations, &steps).await;
            let reports = scene.reports();
            for organization in &organizations {
                check(&reports, organization).await;
            }
        });
    }
}
