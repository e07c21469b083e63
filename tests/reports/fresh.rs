//! A report holds what was acknowledged before it was asked for: nobody has to ask twice.

use tokenweir::meter::{DebitBatch, Tokens, UsageKind};

use crate::support::{Scene, camera, debit, read};

#[tokio::test(flavor = "multi_thread")]
async fn a_report_holds_an_organization_and_its_debits_as_soon_as_they_are_acknowledged() {
    let scene = Scene::new(0);
    let reports = scene.follow();
    for number in 0..12 {
        let organization = scene.organization(&format!("org-{number}")).await;
        assert_eq!(read(&reports, &organization).used().expect("read").charged, 0);
        organization.register_camera(camera("cam", "lobby")).await.expect("within bounds");
        organization.grant(vec![Tokens(1_000)]).await.expect("within bounds");
        for seq in 1..=3 {
            let mut batch = DebitBatch::default();
            batch.push(debit("cam", seq, 2, UsageKind::ContextualVideoAnalytics));
            organization.debit_batch(batch).await.expect("served");
            let reader = read(&reports, &organization);
            assert_eq!((reader.used().expect("read").charged, reader.lag_frames()), (2 * seq, 0));
        }
    }
}
