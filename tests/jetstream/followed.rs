//! Reports and alerts of a cluster: any node shows them, whoever owns a partition goes on with them, and everything that was charged is told once,
//! whatever happens to nodes and servers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use serde_json::{Value, json};
use tokenweir::telemetry::clock;

use crate::client::Client;
use crate::endpoint::endpoint;
use crate::servers::{Servers, Sync};
use crate::weir::{ORGANIZATIONS, TOKENS, Weirs, debit, organization, set_up, tokens};

/// Debits between two thresholds.
const ROUND: u64 = 5;
/// In so long reports and alerts must have caught up after anything that is done here.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);

#[test]
fn any_node_reports_each_debit_once_and_tells_each_alert_once_whatever_is_killed() {
    let Some(servers) = Servers::start(3, Sync::Always) else { return };
    let mut weirs = Weirs::start(servers);
    let (admin, gateway) = set_up(&weirs);
    let (url, taken) = endpoint();
    let mut scene = Scene { admin, gateway, debits: 0, thresholds: 0, taken, ids: BTreeMap::new() };
    scene.set(&weirs, &url);
    scene.round(&weirs, "to begin with");
    weirs.kill(1);
    scene.round(&weirs, "a node was killed");
    weirs.spawn(1);
    weirs.expect_ready(1);
    weirs.settle();
    scene.round(&weirs, "it came back");
    weirs.servers.kill(0);
    scene.round(&weirs, "a server was killed");
    weirs.servers.restart(0);
    weirs.servers.settle();
    weirs.stop(2);
    scene.round(&weirs, "a node left");
    weirs.spawn(2);
    weirs.expect_ready(2);
    scene.round(&weirs, "it came back");
}

struct Scene {
    admin: String,
    gateway: String,
    /// Of each organization.
    debits: u64,
    thresholds: u64,
    taken: Receiver<(String, Value)>,
    /// The ids of the messages about each threshold of each organization.
    ids: BTreeMap<(String, String), BTreeSet<String>>,
}

impl Scene {
    /// Sets a webhook of each organization, and a threshold for each round.
    fn set(&self, weirs: &Weirs, url: &str) {
        let threshold = |round: u64| {
            let at = TOKENS - tokens(round * ROUND);
            json!({ "id": format!("t{round}"), "measure": "tokens_left", "at": at, "rearm": null })
        };
        let thresholds: Vec<_> = (1..=10).map(threshold).collect();
        let administrator = weirs.only(0, &self.admin);
        for number in 0..ORGANIZATIONS {
            let path = format!("/v1/organizations/{}", organization(number));
            administrator.must("PUT", &format!("{path}/alerts"), &json!({ "thresholds": thresholds }));
            let webhook = json!({ "url": url, "topics": ["alert.fired"] });
            administrator.must("PUT", &format!("{path}/webhooks/pager"), &webhook);
        }
    }

    /// Debits every organization until its next threshold, then checks what each node that runs reports, and what was told.
    fn round(&mut self, weirs: &Weirs, what: &str) {
        let begun = clock::start();
        let nodes: Vec<_> = weirs.nodes.keys().copied().collect();
        for seq in self.debits + 1..=self.debits + ROUND {
            for number in 0..ORGANIZATIONS {
                let path = format!("/v1/organizations/{}/debits", organization(number));
                let node = nodes[number % nodes.len()];
                until(what, || {
                    let answer = weirs.only(node, &self.gateway).call("POST", &path, &debit(seq))?;
                    let result = &answer["results"][0];
                    let is_charged = result["outcome"] == "charged" || result["first"] == "charged";
                    is_charged.then_some(())
                });
            }
        }
        (self.debits, self.thresholds) = (self.debits + ROUND, self.thresholds + 1);
        let served = begun.elapsed();
        for node in nodes {
            let administrator = weirs.only(node, &self.admin);
            for number in 0..ORGANIZATIONS {
                self.check(&administrator, &organization(number), &format!("{what}, asked of node {node}"));
            }
        }
        let reported = begun.elapsed();
        self.expect_told(what);
        println!(
            "{what:<24} charged after {served:.1?}, reported {reported:.1?}, told {:.1?}",
            begun.elapsed()
        );
    }

    /// What one node says of an organization.
    fn check(&self, administrator: &Client, id: &str, what: &str) {
        let path = format!("/v1/organizations/{id}");
        let usage = until(what, || {
            let usage = administrator.call("GET", &format!("{path}/usage"), &Value::Null)?;
            (usage["lag_frames"] == 0).then_some(usage)
        });
        let told = (&usage["total"]["debits_charged"], &usage["total"]["charged"], &usage["complete"]);
        assert_eq!(told, (&json!(self.debits), &json!(tokens(self.debits)), &json!(true)), "{what}: {usage}");
        let events =
            until(what, || administrator.call("GET", &format!("{path}/event-log?limit=1000"), &Value::Null));
        let events = events["events"].as_array().expect("rows");
        assert_eq!(u64::try_from(events.len()).expect("few"), self.debits, "{what}: {events:?}");
        let log = until(what, || {
            let log = administrator.call("GET", &format!("{path}/alerts/log"), &Value::Null)?;
            (log["lag_frames"] == 0).then_some(log)
        });
        let fired =
            log["notices"].as_array().expect("rows").iter().filter(|row| row["topic"] == "alert.fired");
        assert_eq!(u64::try_from(fired.count()).expect("few"), self.thresholds, "{what}: {log}");
    }

    /// Waits until each threshold that was passed was told, under one id.
    fn expect_told(&mut self, what: &str) {
        let begun = clock::start();
        let expected = usize::try_from(self.thresholds).expect("few") * ORGANIZATIONS;
        while self.ids.len() < expected {
            let left = PATIENCE.saturating_sub(begun.elapsed());
            let taken = self.taken.recv_timeout(left);
            let missing = || format!("{what}: {} of {expected} alerts were told", self.ids.len());
            let (id, message) = taken.unwrap_or_else(|_| panic!("{}", missing()));
            let text = |name: &str| message["data"][name].as_str().expect("a text").to_owned();
            self.ids.entry((text("organization"), text("alert"))).or_default().insert(id);
        }
        assert!(self.ids.values().all(|ids| ids.len() == 1), "{what}: {:?}", self.ids);
        assert_eq!(self.ids.len(), expected, "{what}");
    }
}

/// Tries again until there is an answer.
fn until<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let begun = clock::start();
    loop {
        if let Some(answer) = attempt() {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "{what}: no answer in time");
        std::thread::park_timeout(PAUSE);
    }
}
