//! The trail of administrative acts: what the host did, what nobody waited for, and a log that cannot be written.

use std::future::Future as _;
use std::pin::pin;
use std::task::{Context, Waker};

use tokenweir::meter::{AuditEntry, Edge, Meter, Origin, Role, Until};

use crate::support::{
    HOST, bearer, camera, camera_id, code, code_of, config, debit, handle, organization, transfer_id,
};

async fn trail(meter: &Meter, id: &str) -> Vec<AuditEntry> {
    let organization = handle(meter, &id.parse().expect("valid"));
    organization.audit(None, 100).await.expect("readable").entries
}

/// The trail of `north` when what its callers left has its outcome: that is recorded behind the first reading.
async fn settled(meter: &Meter) -> Vec<AuditEntry> {
    drop(trail(meter, "north").await);
    trail(meter, "north").await
}

fn acts(trail: &[AuditEntry]) -> Vec<(&str, &str)> {
    trail.iter().map(|entry| (&*entry.act, &*entry.outcome)).collect()
}

#[tokio::test]
async fn the_host_is_recorded_by_its_name_and_a_caller_of_an_edge_with_his_address() {
    let directory = tempfile::tempdir().expect("a directory");
    let meter = Meter::open(config(directory.path())).expect("new");
    organization(&meter, "north", 10).await;
    let admin = bearer(&meter, Role::Admin, &["north"]).await;
    let peer = Some("10.1.2.3".parse().expect("an address"));
    let north = "north".parse().expect("valid");
    let seen = meter.seen_from(Origin { edge: Edge::Grpc, peer });
    let remote = seen.organization(&admin, &north).expect("allowed");
    remote.remove_camera(camera_id("cam")).await.expect("it is there");
    let trail = trail(&meter, "north").await;
    let expected =
        ["remove_camera", "create_api_key", "add_licenses", "register_camera", "create_organization"];
    assert_eq!(acts(&trail), expected.map(|act| (act, "done")));
    let from = |entry: &AuditEntry| (entry.actor.to_string(), entry.edge.clone(), entry.peer.clone());
    assert_eq!(from(&trail[0]), (admin.actor().to_string(), "grpc".to_owned(), Some("10.1.2.3".to_owned())));
    assert_eq!(from(&trail[1]), ("host".to_owned(), "host".to_owned(), None));
}

#[tokio::test]
async fn an_act_that_its_caller_left_is_in_the_trail_and_the_log_outlives_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let meter = Meter::open(config(directory.path())).expect("new");
    let north = organization(&meter, "north", 10).await;
    {
        let mut left = pin!(north.register_camera(camera("left", true)));
        assert!(left.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    let before = settled(&meter).await;
    assert_eq!((&*before[0].act, &*before[0].outcome), ("register_camera", "unknown"));
    assert_eq!(before[0].target.as_deref(), Some("left"));
    drop(north);
    meter.close().await;
    let meter = Meter::open(config(directory.path())).expect("whole");
    assert_eq!(trail(&meter, "north").await, before);
    for number in 0..1_100 {
        // More than may be open at once: what was left is not open.
        let north = handle(&meter, &"north".parse().expect("valid"));
        let mut left = pin!(north.register_camera(camera(&format!("c{number}"), true)));
        assert!(left.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        if number % 100 == 0 {
            drop(settled(&meter).await);
        }
    }
    drop(settled(&meter).await);
    let north = handle(&meter, &"north".parse().expect("valid"));
    north.register_camera(camera("last", true)).await.expect("there is room");
}

#[tokio::test]
async fn r11_a_transfer_is_in_the_trail_of_both_sides_and_so_is_one_that_was_forbidden() {
    let directory = tempfile::tempdir().expect("a directory");
    let meter = Meter::open(config(directory.path())).expect("new");
    organization(&meter, "north", 10).await;
    organization(&meter, "south", 10).await;
    let sides = || ("north".parse().expect("valid"), "south".parse().expect("valid"));
    let half = bearer(&meter, Role::Admin, &["north"]).await;
    assert_eq!(code(meter.transfer(&half, transfer_id("t"), sides(), Until::Ended).await), "forbidden");
    meter.transfer(HOST, transfer_id("t"), sides(), Until::Ended).await.expect("it ends");
    for side in ["north", "south"] {
        let newest = trail(&meter, side).await;
        assert_eq!(
            acts(&newest)[..2],
            [("begin_transfer", "done"), ("begin_transfer", "forbidden")],
            "{side}"
        );
        let ids: Vec<_> = newest[0].organizations.iter().map(ToString::to_string).collect();
        assert_eq!(ids, ["north", "south"]);
    }
}

#[tokio::test]
async fn where_the_log_cannot_be_opened_no_act_is_carried_out_and_debits_go_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let meter = Meter::open(config(directory.path())).expect("new");
    organization(&meter, "north", 10).await;
    meter.close().await;
    let log = directory.path().join("audit");
    std::fs::rename(&log, directory.path().join("kept")).expect("moved");
    std::fs::write(&log, "no directory").expect("written");
    let meter = Meter::open(config(directory.path())).expect("the pools are whole");
    let north = handle(&meter, &"north".parse().expect("valid"));
    assert_eq!(code(north.register_camera(camera("new", true)).await), "unaudited");
    assert_eq!(code(north.audit(None, 10).await), "unaudited");
    assert_eq!(code(north.camera(camera_id("new")).await), "unknown_camera");
    assert_eq!(code_of(&north, debit(1)).await, "charged");
    drop(north);
    meter.close().await;
    std::fs::remove_file(&log).expect("removed");
    std::fs::rename(directory.path().join("kept"), &log).expect("moved");
    let meter = Meter::open(config(directory.path())).expect("whole");
    handle(&meter, &"north".parse().expect("valid"))
        .register_camera(camera("new", true))
        .await
        .expect("mended");
}
