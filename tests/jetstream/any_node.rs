//! Three real nodes: each takes every request over HTTP, and the gRPC client of one finds the others and follows when they die.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tokenweir::client::{CameraRef, Client, Config, Debit, DebitStream, Identity, UsageKind, code};

use crate::servers::{Servers, Sync};
use crate::weir::{NODES, ORGANIZATIONS, Weirs, debit, organization, set_up, tokens};

/// Debits that each stream has on their way at a time.
const ROUND: u64 = 20;

#[test]
fn r10_r11_r12_any_node_answers_for_every_organization() {
    let Some(servers) = Servers::start(3, Sync::Always) else { return };
    let weirs = Weirs::start(servers);
    let (admin, gateway) = set_up(&weirs);
    for node in 0..NODES {
        let (admin, gateway) = (weirs.only(node, &admin), weirs.only(node, &gateway));
        let seq = u64::try_from(node).expect("small") + 1;
        for number in 0..ORGANIZATIONS {
            let path = format!("/v1/organizations/{}", organization(number));
            let charged = gateway.must("POST", &format!("{path}/debits"), &debit(seq));
            assert_eq!(charged["results"][0]["outcome"], "charged", "{charged}");
            let held = json!({ "id": format!("r{node}"), "tokens": 5, "ttl_ms": 60_000 });
            gateway.must("POST", &format!("{path}/reservations"), &held);
            let summary = admin.must("GET", &format!("{path}/summary"), &Value::Null);
            assert_eq!((&summary["used"], &summary["held"]), (&json!(tokens(seq)), &json!(5)), "{summary}");
            gateway.must("DELETE", &format!("{path}/reservations/r{node}"), &Value::Null);
            let licenses = admin.must("GET", &format!("{path}/licenses"), &Value::Null);
            assert_eq!(licenses["licenses"].as_array().map(Vec::len), Some(1), "{licenses}");
        }
    }
    for node in 0..NODES {
        let (source, target) = (organization(2 * node), organization(2 * node + 1));
        let order = json!({ "id": format!("t{node}"), "source": source, "target": target });
        let moved = weirs.only(node, &admin).must("POST", "/v1/transfers?wait=true", &order);
        assert_eq!(moved["state"], "finished", "{moved}");
        for asked in 0..NODES {
            let summary = format!("/v1/organizations/{source}/summary");
            assert_eq!(weirs.only(asked, &admin).must("GET", &summary, &Value::Null)["available"], 0);
        }
    }
}

#[test]
fn r13_r14_i3_i4_a_client_of_one_node_follows_the_owners_and_loses_nothing_when_one_is_killed() {
    let Some(servers) = Servers::start(3, Sync::Always) else { return };
    let mut weirs = Weirs::start(servers);
    let (admin, gateway) = set_up(&weirs);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let acknowledged = runtime.block_on(async {
        let client = Client::connect(Config::new(weirs.grpc(0), &gateway)).expect("a url");
        let streams: Vec<_> = (0..ORGANIZATIONS).map(|number| client.stream(&organization(number))).collect();
        let mut last = 0;
        for round in 0..6 {
            let sent = send(&streams, last).await;
            if round == 2 {
                weirs.kill(1);
            }
            if round == 4 {
                weirs.spawn(1);
                weirs.expect_ready(1);
            }
            for sent in sent {
                let answer = sent.await.expect("acknowledged");
                assert!(answer.is_admitted(), "{}", code(answer.outcome));
            }
            last += ROUND;
        }
        for stream in streams {
            stream.close().await.expect("acknowledged");
        }
        last
    });
    let administrator = weirs.only(0, &admin);
    for number in 0..ORGANIZATIONS {
        let path = format!("/v1/organizations/{}/summary", organization(number));
        let summary = administrator.must("GET", &path, &Value::Null);
        assert_eq!(
            (&summary["debits_charged"], &summary["used"]),
            (&json!(acknowledged), &json!(acknowledged))
        );
    }
}

#[test]
fn r11_any_node_shows_the_acts_of_all_nodes_and_names_the_one_that_is_gone() {
    let Some(servers) = Servers::start(3, Sync::Always) else { return };
    let mut weirs = Weirs::start(servers);
    let (admin, _) = set_up(&weirs);
    // Each act of each organization: the node that has it, the act, and when it was.
    let read = |weirs: &Weirs, node| {
        let (client, mut acts, mut gone) = (weirs.only(node, &admin), BTreeSet::new(), BTreeSet::new());
        for number in 0..ORGANIZATIONS {
            let path = format!("/v1/organizations/{}/audit", organization(number));
            let page = client.must("GET", &path, &Value::Null);
            gone.extend(page["incomplete"].as_array().expect("a list").iter().map(Value::to_string));
            let entries = page["entries"].as_array().expect("a list").iter();
            acts.extend(entries.map(|entry| ["node", "act", "at"].map(|name| entry[name].to_string())));
        }
        (acts, gone)
    };
    let (acts, gone) = read(&weirs, 0);
    let nodes: BTreeSet<_> = acts.iter().map(|[node, ..]| node.clone()).collect();
    assert!(
        nodes.len() == NODES && gone.is_empty(),
        "{nodes:?} have acts, {gone:?} did not answer: {acts:?}"
    );
    assert_eq!(
        (read(&weirs, 1), read(&weirs, 2)),
        ((acts.clone(), BTreeSet::new()), (acts.clone(), BTreeSet::new()))
    );
    weirs.stop(2);
    let left = acts.into_iter().filter(|[node, ..]| node != "\"n2\"").collect();
    let gone = BTreeSet::from(["\"n2\"".to_owned()]);
    assert_eq!((read(&weirs, 0), read(&weirs, 1)), ((left, gone.clone()), (read(&weirs, 0).0, gone)));
}

/// Sends a round of debits on each stream, behind the last one.
async fn send(streams: &[DebitStream], last: u64) -> Vec<tokenweir::client::Sent> {
    let mut all = Vec::new();
    for stream in streams {
        for seq in last + 1..=last + ROUND {
            let (identity, kind) = (Identity::Seq { epoch: 1, seq }, UsageKind::ContextualVideoAnalytics);
            let debit = Debit { camera: CameraRef::Id("cam"), identity, tokens: 1, kind, time: None };
            all.push(stream.send(&debit).await.expect("taken"));
        }
    }
    all
}
