//! License keys and whole pools, added and moved under load: each acknowledged one must be there afterwards.

use std::path::Path;
use std::sync::mpsc::Sender;
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Client, Over};
use crate::process::license_key;

/// Acts of one administrator: they are numbered, and asked for again under their ids until they are acknowledged.
#[derive(Debug, Default)]
pub(crate) struct Acts {
    /// The answers to all that were acknowledged. The one after these was asked for perhaps.
    pub(crate) answers: Vec<Value>,
}

/// Tokens of every license key.
const GRANT: u64 = 7;
/// Tokens that go to and fro.
pub(crate) const MOVED: u64 = 1_000;
const PAUSE: Duration = Duration::from_millis(20);
/// How many of the last transfers are looked at again.
const LOOKED_AT: usize = 3;

/// Adds license key after license key of the issuer of `folder` to `keys`, and tells of every answer.
pub(crate) fn add_licenses(
    client: &Client,
    folder: &Path,
    acts: &mut Acts,
    (over, answered): (&Over, &Sender<()>),
) {
    acts.go_on(over, answered, |number| add_license(client, folder, number));
}

/// Moves a pool to and fro between `left` and `right`, and tells of every answer.
pub(crate) fn transfer_pools(client: &Client, acts: &mut Acts, over: &Over, answered: &Sender<()>) {
    acts.go_on(over, answered, |number| transfer(client, number));
}

/// Afterwards: the lost act is asked for again under its id, and then everything is there exactly once.
pub(crate) fn expect_licenses(client: &Client, folder: &Path, acts: &mut Acts) {
    let (held, acknowledged) = (available(client, "keys"), acts.next());
    assert!(held == acknowledged * GRANT || held == (acknowledged + 1) * GRANT, "{held}, {acknowledged}");
    acts.answers.push(add_license(client, folder, acknowledged).expect("an answer"));
    assert_eq!(available(client, "keys"), acts.next() * GRANT);
}

/// Afterwards: every transfer ended as it was acknowledged, the lost one ends on both sides alike, and all tokens are in
/// one of the two places.
pub(crate) fn expect_transfers(client: &Client, acts: &mut Acts) {
    let looked_at = acts.answers.len().saturating_sub(LOOKED_AT);
    for (number, answer) in acts.answers.iter().enumerate().skip(looked_at) {
        let status = client.must("GET", &format!("/v1/transfers/T-{number}"), &Value::Null);
        let is_ended = status["state"] == "finished" || status["state"] == "aborted";
        let is_kept = answer["state"] == status["state"] || (is_ended && answer["ended_at"].is_null());
        assert!(is_ended && is_kept, "{answer}, then {status}");
    }
    let number = acts.next();
    let ended = transfer(client, number).expect("an answer");
    let [source, target] = sides(number);
    let held = [available(client, source), available(client, target)];
    assert_eq!(held.iter().sum::<u64>(), MOVED, "{ended}");
    match ended["state"].as_str() {
        Some("finished") => assert_eq!(held[0], 0, "{ended}"),
        Some("aborted") => assert!(held.contains(&0), "{ended}"),
        _ => panic!("it has not ended: {ended}"),
    }
    acts.answers.push(ended);
}

impl Acts {
    fn next(&self) -> u64 {
        u64::try_from(self.answers.len()).expect("a count")
    }

    fn go_on(&mut self, over: &Over, answered: &Sender<()>, act: impl Fn(u64) -> Option<Value>) {
        while !over.comes_within(Duration::ZERO) {
            match act(self.next()) {
                Some(answer) => {
                    self.answers.push(answer);
                    _ = answered.send(());
                }
                None if over.comes_within(PAUSE) => return,
                None => {}
            }
        }
    }
}

fn add_license(client: &Client, folder: &Path, number: u64) -> Option<Value> {
    let body = json!({ "key": license_key(folder, &format!("K-{number}"), &[GRANT]) });
    client.call("POST", "/v1/organizations/keys/licenses", &body)
}

fn transfer(client: &Client, number: u64) -> Option<Value> {
    let [source, target] = sides(number);
    let body = json!({ "id": format!("T-{number}"), "source": source, "target": target });
    client.call("POST", "/v1/transfers?wait=true", &body)
}

/// Source and target: numbers alternate the direction.
fn sides(number: u64) -> [&'static str; 2] {
    if number.is_multiple_of(2) { ["left", "right"] } else { ["right", "left"] }
}

fn available(client: &Client, organization: &str) -> u64 {
    let path = format!("/v1/organizations/{organization}/summary");
    client.must("GET", &path, &Value::Null)["available"].as_u64().expect("tokens")
}
