//! An HTTP client that can lose its server at any moment, and what tells the clients of a round that it is over.

use std::sync::{Condvar, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use ureq::Agent;

pub(crate) struct Client {
    agent: Agent,
    url: String,
    key: String,
}

/// Whether the round is over. Clients go on until then, whatever happens to their server.
#[derive(Debug, Default)]
pub(crate) struct Over {
    is_over: Mutex<bool>,
    bell: Condvar,
}

impl Client {
    /// A client that waits so long for an answer.
    pub(crate) fn new(url: &str, key: &str, patience: Duration) -> Self {
        let config =
            Agent::config_builder().http_status_as_error(false).proxy(None).timeout_global(Some(patience));
        Self { agent: config.build().into(), url: url.to_owned(), key: key.to_owned() }
    }

    /// The answer; none when there is no whole one, or it says that the call may be made again.
    pub(crate) fn call(&self, method: &str, path: &str, body: &Value) -> Option<Value> {
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url))
            .header("authorization", format!("Bearer {}", self.key))
            .header("content-type", "application/json")
            .body(body.to_string())
            .expect("a valid request");
        let mut answer = self.agent.run(request).ok()?;
        let body = answer.body_mut().read_to_string().ok()?;
        let status = answer.status();
        assert!(status.is_success() || matches!(status.as_u16(), 429 | 503), "{status}: {body}");
        status.is_success().then(|| serde_json::from_str(&body).unwrap_or_default())
    }

    pub(crate) fn must(&self, method: &str, path: &str, body: &Value) -> Value {
        self.call(method, path, body).unwrap_or_else(|| panic!("no answer to {method} {path}"))
    }

    /// What became of each debit; none when there is no whole answer.
    pub(crate) fn outcomes(&self, debits: &[Value]) -> Option<Vec<Value>> {
        let answer = self.call("POST", "/v1/organizations/acme/debits", &json!(debits))?;
        Some(answer["results"].as_array().expect("results").clone())
    }
}

impl Over {
    pub(crate) fn ring(&self) {
        *self.is_over.lock().expect("nothing panics with it") = true;
        self.bell.notify_all();
    }

    /// Waits a moment before the next attempt; true when there must be none.
    pub(crate) fn comes_within(&self, pause: Duration) -> bool {
        let is_over = self.is_over.lock().expect("nothing panics with it");
        *self.bell.wait_timeout_while(is_over, pause, |is_over| !*is_over).expect("nothing panics with it").0
    }
}
