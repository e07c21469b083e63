//! Debits under load: half of them named by sequence numbers, half by event ids, each of them known here by its numbers.

use std::sync::OnceLock;
use std::sync::mpsc::Sender;
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Client, Over};

pub(crate) const SENDERS: u64 = 4;
pub(crate) const CAMERAS_EACH: u64 = 4;
/// Debits of one camera in a batch, for each of the two kinds of identity.
const DEBITS_EACH: u64 = 24;
/// Before a batch is sent again.
const PAUSE: Duration = Duration::from_millis(20);

/// The batches of one sender in one round, numbered from 0. Their debits follow from these numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) sender: u64,
    pub(crate) round: u64,
    /// Those that were acknowledged. The one after these was sent perhaps.
    pub(crate) acknowledged: u64,
}

/// Sends batch after batch, each until it is acknowledged, and tells of every answer.
pub(crate) fn send(client: &Client, sender: u64, round: u64, over: &Over, answered: &Sender<()>) -> Sent {
    let mut sent = Sent { sender, round, acknowledged: 0 };
    loop {
        let debits = sent.lost();
        while !is_settled(client.outcomes(&debits)) {
            if over.comes_within(PAUSE) {
                return sent;
            }
        }
        sent.acknowledged += 1;
        _ = answered.send(());
        if over.comes_within(Duration::ZERO) {
            return sent;
        }
    }
}

impl Sent {
    /// The batch that was not acknowledged.
    pub(crate) fn lost(&self) -> Vec<Value> {
        batch(self.sender, self.round, self.acknowledged)
    }

    pub(crate) fn debits(&self) -> Vec<Value> {
        (0..self.acknowledged).flat_map(|number| batch(self.sender, self.round, number)).collect()
    }
}

/// Sends again what got no answer: each is charged now, or was before.
pub(crate) fn settle(client: &Client, sent: &mut Sent) {
    assert!(is_settled(client.outcomes(&sent.lost())), "{sent:?}");
    sent.acknowledged += 1;
}

/// Sends again what was acknowledged; answers with how many debits were not known any more.
pub(crate) fn forgotten(client: &Client, acknowledged: &[Value]) -> usize {
    let mut forgotten = 0;
    for debits in acknowledged.chunks(5_000) {
        let outcomes = client.outcomes(debits).expect("an answer");
        let is_known = |(debit, outcome): &(&Value, &Value)| {
            let is_duplicate = outcome["outcome"] == "duplicate" && outcome["first"] == "charged";
            is_duplicate || (outcome["code"] == "too_old" && debit["seq"].is_u64())
        };
        forgotten += debits.iter().zip(&outcomes).filter(|both| !is_known(both)).count();
    }
    forgotten
}

pub(crate) fn tokens(debits: &[Value]) -> u64 {
    debits.iter().filter_map(|debit| debit["tokens"].as_u64()).sum()
}

/// Whether all of a batch is charged, now or before. A refused one is sent again as a whole.
fn is_settled(outcomes: Option<Vec<Value>>) -> bool {
    let Some(outcomes) = outcomes else { return false };
    let is_charged = |outcome: &Value| outcome["outcome"] == "charged" || outcome["first"] == "charged";
    assert!(outcomes.iter().all(is_charged), "{outcomes:?}");
    true
}

fn batch(sender: u64, round: u64, number: u64) -> Vec<Value> {
    let mut debits = Vec::new();
    for camera in 0..CAMERAS_EACH {
        let camera = format!("cam-{}", sender * CAMERAS_EACH + camera);
        for at in 0..DEBITS_EACH {
            let (seq, tokens) = (number * DEBITS_EACH + at, 1 + (number + at) % 900);
            debits.push(json!({ "camera": camera, "epoch": round, "seq": seq, "tokens": tokens }));
            let id = format!("{round}-{seq}");
            let time = time_of(round);
            debits.push(json!({ "camera": camera, "event_id": id, "time": time, "tokens": tokens }));
        }
    }
    debits
}

/// A time within the retention, the same whenever a debit of the round is sent again.
fn time_of(round: u64) -> u64 {
    static START: OnceLock<u64> = OnceLock::new();
    START.get_or_init(|| tokenweir::meter::Clock::System.now().ms()) - 60_000 + round
}
