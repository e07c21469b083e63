//! An HTTP client that can lose its server at any moment.

use serde_json::{Value, json};
use ureq::Agent;

use crate::process::PATIENCE;

pub(crate) struct Client {
    agent: Agent,
    url: String,
    key: String,
}

impl Client {
    pub(crate) fn new(url: &str, key: &str) -> Self {
        let config =
            Agent::config_builder().http_status_as_error(false).proxy(None).timeout_global(Some(PATIENCE));
        Self { agent: config.build().into(), url: url.to_owned(), key: key.to_owned() }
    }

    /// The answer; none when there is no whole one.
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
        assert!(answer.status().is_success() || answer.status().as_u16() == 503, "{body}");
        answer.status().is_success().then(|| serde_json::from_str(&body).unwrap_or_default())
    }

    pub(crate) fn must(&self, method: &str, path: &str, body: &Value) -> Value {
        self.call(method, path, body).unwrap_or_else(|| panic!("no answer to {method} {path}"))
    }

    /// What became of each debit; none when there is no whole answer.
    pub(crate) fn outcomes(&self, debits: &[&Value]) -> Option<Vec<Value>> {
        let answer = self.call("POST", "/v1/organizations/acme/debits", &json!(debits))?;
        Some(answer["results"].as_array().expect("results").clone())
    }
}
