//! Debits under load: half of them named by sequence numbers, half by event ids, each recorded here.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::mpsc::Sender;

use serde_json::{Value, json};

use crate::client::Client;

pub(crate) const SENDERS: u64 = 4;
pub(crate) const CAMERAS_EACH: u64 = 4;
/// Debits of one camera in a batch, for each of the two kinds of identity.
const DEBITS_EACH: u64 = 24;

/// Debits as they were sent, by what names them.
pub(crate) type Debits = BTreeMap<String, Value>;

/// What one sender did in one round.
pub(crate) struct Sent {
    pub(crate) acknowledged: Debits,
    /// The batch whose answer was lost.
    pub(crate) lost: Debits,
}

/// Sends batch after batch until the server is gone, and tells of every answer.
pub(crate) fn send_until_killed(client: &Client, sender: u64, round: u64, answered: &Sender<()>) -> Sent {
    let mut acknowledged = Debits::new();
    for number in 0.. {
        let debits = batch(sender, round, number);
        let Some(outcomes) = client.outcomes(&debits.values().collect::<Vec<_>>()) else {
            return Sent { acknowledged, lost: debits };
        };
        assert!(outcomes.iter().all(|outcome| outcome["outcome"] == "charged"), "{outcomes:?}");
        acknowledged.extend(debits);
        _ = answered.send(());
    }
    unreachable!("the numbers do not end before the server does")
}

/// Sends again what was acknowledged: nothing may be charged, and all of it must be known.
pub(crate) fn expect_known(client: &Client, acknowledged: &Debits) {
    for debits in acknowledged.values().collect::<Vec<_>>().chunks(5_000) {
        let outcomes = client.outcomes(debits).expect("an answer");
        for (debit, outcome) in debits.iter().zip(outcomes) {
            let is_duplicate = outcome["outcome"] == "duplicate" && outcome["first"] == "charged";
            let is_too_old = outcome["code"] == "too_old" && debit["seq"].is_u64();
            assert!(is_duplicate || is_too_old, "{debit}: {outcome}");
        }
    }
}

/// Sends again what got no answer: each is charged now, or was before.
pub(crate) fn settle(client: &Client, lost: &Debits) {
    let outcomes = client.outcomes(&lost.values().collect::<Vec<_>>()).expect("an answer");
    let is_settled = |outcome: &Value| outcome["outcome"] == "charged" || outcome["first"] == "charged";
    assert!(outcomes.iter().all(is_settled), "{outcomes:?}");
}

pub(crate) fn tokens(debits: &Debits) -> u64 {
    debits.values().filter_map(|debit| debit["tokens"].as_u64()).sum()
}

fn batch(sender: u64, round: u64, number: u64) -> Debits {
    let mut debits = Debits::new();
    for camera in 0..CAMERAS_EACH {
        let camera = format!("cam-{}", sender * CAMERAS_EACH + camera);
        for at in 0..DEBITS_EACH {
            let (seq, tokens) = (number * DEBITS_EACH + at, 1 + (number + at) % 900);
            let debit = json!({ "camera": camera, "epoch": round, "seq": seq, "tokens": tokens });
            debits.insert(format!("{camera}/{round}/{seq}"), debit);
            let id = format!("{round}-{seq}");
            let debit = json!({ "camera": camera, "event_id": id, "time": time_of(round), "tokens": tokens });
            debits.insert(format!("{camera}/{id}"), debit);
        }
    }
    debits
}

/// A time within the retention, the same whenever a debit of the round is sent again.
fn time_of(round: u64) -> u64 {
    static START: OnceLock<u64> = OnceLock::new();
    START.get_or_init(|| tokenweir::meter::Clock::System.now().ms()) - 60_000 + round
}
