//! R7 to R10 and R12: which debits are charged, and what the pool says.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokenweir::meter::{
    CameraRef, CameraSpec, Clock, Config, Debit, DebitBatch, Meter, Outcome, Tokens, UnlimitedLicense,
    UsageKind, status,
};
use tokenweir::storage::SimDisk;

use crate::support::{
    START_MS, at, available, camera, camera_id, code, code_of, config, debit, debit_of, key, open_on,
    organization, summary,
};

fn by<'a>(camera: &'a str, seq: u64) -> Debit<'a> {
    Debit { camera: CameraRef::Id(camera), ..debit(seq) }
}

#[tokio::test]
async fn r7_a_camera_consumes_with_or_without_a_pro_license() {
    let meter = open_on(SimDisk::new());
    let acme = organization(&meter, "acme", 10).await;
    acme.register_camera(CameraSpec { pro_license: true, ..camera("pro", true) })
        .await
        .expect("within bounds");
    assert_eq!(code_of(&acme, by("pro", 1)).await, "charged");
    assert_eq!(code_of(&acme, by("cam", 1)).await, "charged");
    let summary = summary(&acme).await;
    assert_eq!((summary.available, summary.cloud_ai_enabled, summary.cameras), (Tokens(8), 2, 2));
    meter.close().await;
}

#[tokio::test]
async fn r8_a_camera_that_is_off_or_unknown_or_removed_consumes_nothing() {
    let meter = open_on(SimDisk::new());
    let acme = organization(&meter, "acme", 10).await;
    acme.register_camera(camera("off", false)).await.expect("within bounds");
    acme.register_camera(camera("gone", true)).await.expect("within bounds");
    let slot = acme.camera_slot(camera_id("gone")).await.expect("registered");
    assert_eq!(code_of(&acme, Debit { camera: CameraRef::Slot(slot), ..debit(1) }).await, "charged");
    acme.remove_camera(camera_id("gone")).await.expect("registered");
    assert_eq!(code_of(&acme, by("off", 1)).await, "cloud_ai_disabled");
    assert_eq!(code_of(&acme, by("none", 1)).await, "unknown_camera");
    assert_eq!(code_of(&acme, by("gone", 2)).await, "unknown_camera");
    assert_eq!(code_of(&acme, Debit { camera: CameraRef::Slot(slot), ..debit(3) }).await, "unknown_camera");
    assert_eq!(code(acme.remove_camera(camera_id("none")).await), "unknown_camera");
    assert_eq!(available(&acme).await, 9);
    acme.register_camera(camera("off", true)).await.expect("within bounds");
    assert_eq!(code_of(&acme, by("off", 1)).await, "charged");
    meter.close().await;
}

#[tokio::test]
async fn r9_an_unlimited_license_exempts_its_kind_in_its_time_and_then_the_pool_pays() {
    let (clock, hand) = Clock::manual(at(START_MS));
    let config = Config { clock, ..config("d".as_ref()) };
    let meter = Meter::open_on(Arc::new(SimDisk::new()), config).expect("new");
    let acme = organization(&meter, "acme", 10).await;
    let (from, until) = (at(START_MS), at(START_MS + 60_000));
    let license = |id: &str| UnlimitedLicense {
        id: id.parse().expect("valid"),
        kind: UsageKind::ContextualVideoAnalytics,
        from,
        until,
    };
    acme.bind_unlimited(camera_id("cam"), license("u")).await.expect("registered");
    assert_eq!(code_of(&acme, debit(1)).await, "exempt");
    assert_eq!(code_of(&acme, Debit { kind: UsageKind::VideoSearch, ..debit(2) }).await, "charged");
    let late = Debit { time: Some(until), ..debit(3) };
    assert_eq!(code_of(&acme, late).await, "charged", "the event's time counts");
    hand.store(until.ms(), Ordering::Relaxed);
    assert_eq!(code_of(&acme, debit(4)).await, "charged", "it lapsed");
    assert_eq!(code_of(&acme, Debit { time: Some(from), ..debit(5) }).await, "exempt", "an event of before");
    acme.unbind_unlimited("u".parse().expect("valid")).await.expect("bound");
    assert_eq!(code_of(&acme, Debit { time: Some(from), ..debit(6) }).await, "charged");
    assert_eq!(code(acme.unbind_unlimited("u".parse().expect("valid")).await), "unknown_license");
    let totals = summary(&acme).await.totals;
    assert_eq!((totals.used, totals.exempt, totals.debits_exempt), (Tokens(4), Tokens(2), 2));
    meter.close().await;
}

#[tokio::test]
async fn r10_available_is_one_figure_wherever_it_is_shown() {
    let meter = open_on(SimDisk::new());
    let acme = organization(&meter, "acme", 10).await;
    acme.add_licenses(key("k", &[20, 30])).await.expect("allowed");
    for number in 1..=8 {
        let reply = acme.debit(debit_of(number, 6)).await.expect("served");
        let held: u64 =
            acme.licenses().await.expect("served").iter().map(|license| license.remaining.0).sum();
        let preview = acme.preview_licenses(key("other", &[1])).await.expect("allowed");
        let shown = [reply.available.0, held, available(&acme).await, preview.available_before.0];
        assert_eq!(shown, [60 - 6 * number; 4]);
    }
    meter.close().await;
}

#[tokio::test]
async fn r12_a_debit_that_the_pool_cannot_pay_whole_is_refused_and_judged_anew_after_a_top_up() {
    let meter = open_on(SimDisk::new());
    let acme = organization(&meter, "acme", 10).await;
    let mut batch = DebitBatch::default();
    for (seq, tokens) in [(1, 6), (2, 6), (3, 4), (4, 1), (5, 0)] {
        batch.push(debit_of(seq, tokens));
    }
    let reply = acme.debit_batch(batch).await.expect("served");
    let codes: Vec<_> = reply.batch.outcomes().iter().map(|outcome| status::code(*outcome)).collect();
    assert_eq!(codes, ["charged", "insufficient_tokens", "charged", "insufficient_tokens", "invalid"]);
    assert_eq!((reply.available, available(&acme).await), (Tokens(0), 0));
    acme.grant(vec![Tokens(6)]).await.expect("allowed");
    let reply = acme.debit(debit_of(2, 6)).await.expect("served");
    assert_eq!((reply.outcome, reply.available), (Outcome::Charged, Tokens(0)));
    meter.close().await;
}
