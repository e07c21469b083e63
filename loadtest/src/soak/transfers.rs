//! A pool that goes to and fro while debits go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};

use crate::failure::Outcome;
use crate::target::{Server, Wire};

const SIDES: [&str; 2] = ["soak-left", "soak-right"];
const TOKENS: u64 = 1_000;

/// A thread that moves a pool.
#[derive(Debug)]
pub(crate) struct Transfers {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Outcome<u64>>,
}

impl Transfers {
    /// Makes two organizations, and moves the pool of one to the other and back, once in each period, until the end.
    pub(crate) fn start(server: &Server, period: Duration) -> Outcome<Self> {
        let mut wire = Wire::connect(&server.address)?;
        for id in SIDES {
            wire.call("POST", "/v1/organizations", &server.key, &json!({ "id": id, "name": id }))?;
        }
        let new = json!({ "label": "soak", "role": "admin", "organizations": SIDES });
        let made = wire.call("POST", "/v1/keys", &server.key, &new)?;
        let key = made["key"].as_str().ok_or("a key without its text")?.to_owned();
        let grant = json!({ "key": server.license_key("soak", TOKENS)? });
        wire.call("POST", &format!("/v1/organizations/{}/licenses", SIDES[0]), &key, &grant)?;
        let is_over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&is_over);
        let address = server.address.clone();
        let thread = std::thread::spawn(move || move_to_and_fro(&address, &key, period, &told));
        Ok(Self { is_over, thread })
    }

    /// Ends them, and checks that all tokens are in one place; how many there were.
    pub(crate) fn end(self) -> Outcome<u64> {
        self.is_over.store(true, Ordering::Release);
        self.thread.thread().unpark();
        self.thread.join().expect("no panic")
    }
}

/// Each transfer has a connection of its own: the server closes those that rest.
fn move_to_and_fro(address: &str, key: &str, period: Duration, is_over: &AtomicBool) -> Outcome<u64> {
    let mut moved = 0;
    while !is_over.load(Ordering::Acquire) {
        let [source, target] = if moved % 2 == 0 { SIDES } else { [SIDES[1], SIDES[0]] };
        let body = json!({ "id": format!("soak-{moved}"), "source": source, "target": target });
        let ended = Wire::connect(address)?.call("POST", "/v1/transfers?wait=true", key, &body)?;
        if ended["state"] != "finished" {
            return Err(format!("a transfer did not finish: {ended}").into());
        }
        moved += 1;
        std::thread::park_timeout(period);
    }
    let (mut wire, mut held) = (Wire::connect(address)?, Vec::new());
    for side in SIDES {
        let path = format!("/v1/organizations/{side}/summary");
        held.push(wire.call("GET", &path, key, &Value::Null)?["available"].as_u64().unwrap_or_default());
    }
    held.sort_unstable();
    if held == [0, TOKENS] {
        Ok(moved)
    } else {
        Err(format!("{TOKENS} tokens went to and fro, and {held:?} are there").into())
    }
}
