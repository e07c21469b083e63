//! License keys and whole pools, added and moved under load: each acknowledged one must be there after the kill.

use serde_json::{Value, json};

use crate::client::Client;

/// What one administrator did: acts that were acknowledged, and the one whose answer was lost.
pub(crate) struct Acts {
    pub(crate) acknowledged: u64,
    pub(crate) lost: u64,
}

/// Tokens of every license key.
const GRANT: u64 = 7;
/// Tokens that go to and fro.
pub(crate) const MOVED: u64 = 1_000;

/// Adds license key after license key to `keys` until the server is gone; numbers go on from `first`.
pub(crate) fn add_licenses_until_killed(client: &Client, first: u64) -> Acts {
    until_killed(first, |number| add_license(client, number))
}

/// Moves a pool to and fro between `left` and `right` until the server is gone; numbers go on from `first`.
pub(crate) fn transfer_until_killed(client: &Client, first: u64) -> Acts {
    until_killed(first, |number| transfer(client, number))
}

/// After a kill: the lost act is asked for again under its id, and then everything is there exactly once.
pub(crate) fn expect_licenses(client: &Client, acts: &Acts) {
    let held = available(client, "keys");
    assert!(held == acts.acknowledged * GRANT || held == (acts.acknowledged + 1) * GRANT, "{held}");
    add_license(client, acts.lost).expect("an answer");
    assert_eq!(available(client, "keys"), (acts.acknowledged + 1) * GRANT);
}

/// After a kill: the lost transfer ends on both sides alike, and no token was lost on the way.
pub(crate) fn expect_transfers(client: &Client, acts: &Acts) {
    for number in acts.lost.saturating_sub(3)..acts.lost {
        let status = client.must("GET", &format!("/v1/transfers/T-{number}"), &Value::Null);
        assert_eq!(status["state"], "finished", "{status}");
    }
    let ended = transfer(client, acts.lost).expect("an answer");
    let sides = [available(client, "left"), available(client, "right")];
    let place = usize::try_from(acts.lost % 2).expect("0 or 1");
    match ended["state"].as_str() {
        // Numbers alternate the direction: an even one goes from left to right.
        Some("finished") => assert_eq!((sides[place], sides[1 - place]), (0, MOVED), "{ended}"),
        Some("aborted") => {
            assert_eq!((sides[place], sides[1 - place]), (MOVED, 0), "{ended}");
            let retried = move_pool(client, &format!("T-{}-again", acts.lost), acts.lost).expect("an answer");
            assert_eq!(retried["state"], "finished", "{retried}");
        }
        _ => panic!("it has not ended: {ended}"),
    }
}

fn until_killed(first: u64, act: impl Fn(u64) -> Option<Value>) -> Acts {
    for number in first.. {
        if act(number).is_none() {
            return Acts { acknowledged: number, lost: number };
        }
    }
    unreachable!("the numbers do not end before the server does")
}

fn add_license(client: &Client, number: u64) -> Option<Value> {
    let body = json!({ "key": format!("K-{number}"), "licenses": [GRANT] });
    client.call("POST", "/v1/organizations/keys/licenses", &body)
}

fn transfer(client: &Client, number: u64) -> Option<Value> {
    move_pool(client, &format!("T-{number}"), number)
}

fn move_pool(client: &Client, id: &str, number: u64) -> Option<Value> {
    let (source, target) = if number.is_multiple_of(2) { ("left", "right") } else { ("right", "left") };
    client.call("POST", "/v1/transfers?wait=true", &json!({ "id": id, "source": source, "target": target }))
}

fn available(client: &Client, organization: &str) -> u64 {
    let path = format!("/v1/organizations/{organization}/summary");
    client.must("GET", &path, &Value::Null)["available"].as_u64().expect("tokens")
}
