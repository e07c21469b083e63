//! The real server under load, killed with SIGKILL again and again on one directory.
//!
//! What was acknowledged is recorded here, outside the server. After every kill the directory must verify, and the server
//! must serve everything that was acknowledged and nothing that was not sent. Then everything ever sent is sent again,
//! under the same ids: nothing of what was acknowledged may be charged again, and all of it must be known. License keys
//! and transfers go on beside the debits.

mod client;
mod debits;
mod moves;
#[path = "../cli/process.rs"]
mod process;

use std::path::Path;
use std::sync::mpsc::channel;

use serde_json::{Value, json};

use client::Client;
use debits::{CAMERAS_EACH, Debits, SENDERS, expect_known, send_until_killed, settle, tokens};
use moves::{Acts, MOVED};
use process::{PATIENCE, Server, operator_key, text, weir};

const ROUNDS: u64 = 4;
const ORGANIZATIONS: [&str; 4] = ["acme", "keys", "left", "right"];
/// Small segments and snapshots, so that every round crosses many of them.
const SMALL: [&str; 6] =
    ["--segment-bytes-min", "65536", "--segment-bytes-max", "65536", "--snapshot-bytes", "65536"];

/// The keys of the organizations.
struct Keys {
    admin: String,
    gateway: String,
}

/// What was done in one round.
struct Round {
    acknowledged: Debits,
    lost: Debits,
    licenses: Acts,
    transfers: Acts,
}

/// Load, and SIGKILL after so many answers. License keys and transfers go on from the numbers `first`.
fn load_and_kill(server: Server, keys: &Keys, round: u64, first: (u64, u64)) -> Round {
    let (sender, answered) = channel();
    let client = |key: &str| Client::new(&server.url, key);
    std::thread::scope(|scope| {
        let (admin, other) = (client(&keys.admin), client(&keys.admin));
        let licenses = scope.spawn(move || moves::add_licenses_until_killed(&admin, first.0));
        let transfers = scope.spawn(move || moves::transfer_until_killed(&other, first.1));
        let start = |number| {
            let (client, answered) = (client(&keys.gateway), sender.clone());
            scope.spawn(move || send_until_killed(&client, number, round, &answered))
        };
        let senders: Vec<_> = (0..SENDERS).map(start).collect();
        for _ in 0..120 + 23 * round {
            answered.recv_timeout(PATIENCE).expect("the server answers");
        }
        server.running.kill();
        let (mut acknowledged, mut lost) = (Debits::new(), Debits::new());
        for sender in senders {
            let sent = sender.join().expect("no assertion failed");
            acknowledged.extend(sent.acknowledged);
            lost.extend(sent.lost);
        }
        let joined = "no assertion failed";
        Round {
            acknowledged,
            lost,
            licenses: licenses.join().expect(joined),
            transfers: transfers.join().expect(joined),
        }
    })
}

fn verified(directory: &Path) -> Value {
    let ended = weir(&["verify", text(directory), "--json"]);
    assert_eq!(ended.stderr, "");
    let report = ended.json();
    assert_eq!(report["clean"], true, "{report}");
    report
}

fn summary(server: &Server, key: &str) -> Value {
    server.weir(key, &["summary", "acme", "--json"]).json()
}

fn set_up(server: &Server, key_file: &Path) -> Keys {
    let operator = Client::new(&server.url, &operator_key(key_file));
    for id in ORGANIZATIONS {
        operator.must("POST", "/v1/organizations", &json!({ "id": id, "name": id }));
    }
    let key = |role: &str| {
        let body = json!({ "label": role, "role": role, "organizations": ORGANIZATIONS });
        operator.must("POST", "/v1/keys", &body)["key"].as_str().expect("shown once").to_owned()
    };
    let keys = Keys { admin: key("admin"), gateway: key("gateway") };
    let admin = Client::new(&server.url, &keys.admin);
    for camera in 0..SENDERS * CAMERAS_EACH {
        let path = format!("/v1/organizations/acme/cameras/cam-{camera}");
        admin.must("PUT", &path, &json!({ "network": "gate", "cloud_ai": true }));
    }
    for (organization, tokens) in [("acme", 1_000_000_000_000), ("left", MOVED)] {
        let grant = json!({ "key": format!("first-{organization}"), "licenses": [tokens] });
        admin.must("POST", &format!("/v1/organizations/{organization}/licenses"), &grant);
    }
    keys
}

#[test]
fn r14_i3_i4_i6_nothing_acknowledged_is_lost_or_done_twice_over_many_kills() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let (data, key_file) = (root.path().join("data"), root.path().join("operator.key"));
    let mut server = Server::start(&data, &key_file, &SMALL);
    let keys = set_up(&server, &key_file);
    let mut acknowledged = Debits::new();
    let mut first = (0, 0);
    for number in 1..=ROUNDS {
        let round = load_and_kill(server, &keys, number, first);
        acknowledged.extend(round.acknowledged);
        let at_least = tokens(&acknowledged);
        let report = verified(&data);

        server = Server::start(&data, &key_file, &SMALL);
        let served = summary(&server, &keys.gateway)["used"].as_u64().expect("tokens");
        assert_eq!(report["totals"]["used"], served, "round {number}: what is served is what is stored");
        assert!((at_least..=at_least + tokens(&round.lost)).contains(&served), "round {number}: {served}");
        let (gateway, admin) =
            (Client::new(&server.url, &keys.gateway), Client::new(&server.url, &keys.admin));
        settle(&gateway, &round.lost);
        acknowledged.extend(round.lost);
        expect_known(&gateway, &acknowledged);
        let summary = summary(&server, &keys.gateway);
        assert_eq!(summary["used"], tokens(&acknowledged), "round {number}");
        assert_eq!(summary["debits_charged"], acknowledged.len(), "round {number}");
        moves::expect_licenses(&admin, &round.licenses);
        moves::expect_transfers(&admin, &round.transfers);
        first = (round.licenses.lost + 1, round.transfers.lost + 1);
    }
    assert_eq!(server.running.stop(), Some(0));
    let report = verified(&data);
    assert_eq!(report["totals"]["used"], tokens(&acknowledged));
    let partitions = report["partitions"].as_array().expect("partitions");
    assert!(
        partitions.iter().any(|partition| partition["snapshot_lsn"].as_u64() > Some(0)),
        "no snapshot at all"
    );
}
