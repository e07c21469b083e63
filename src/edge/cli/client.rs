//! The HTTP client of the command line: one request, one answer, problem documents as errors.
//!
//! Deliberately absent: proxies and retries. A request whose answer was lost is the caller's to repeat, under the same id.

use std::fmt;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use serde_json::Value;
use ureq::Agent;
use ureq::http::{Request, Response, Uri};

use crate::meter::OrgId;

use super::failure::Failure;
use super::output::Output;
use super::trust::TrustArgs;

const ANSWER_BYTES_MAX: u64 = 64 << 20;
const SCHEMES: [&str; 2] = ["http", "https"];

/// Where the server is, and with which key to ask it.
#[derive(Args, Clone, Debug)]
pub struct ServerArgs {
    /// URL of the server.
    #[arg(long, env = "WEIR_SERVER", value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub server: String,
    /// API key.
    #[arg(long, env = "WEIR_KEY", value_name = "KEY", hide_env_values = true)]
    pub key: Option<String>,
    /// Whom to trust.
    #[command(flatten)]
    pub trust: TrustArgs,
    /// How to print the answer.
    #[arg(long, value_enum, value_name = "FORM", default_value_t = Output::Table)]
    pub output: Output,
    /// The same as --output json.
    #[arg(long, conflicts_with = "output")]
    pub json: bool,
}

/// Of which organization, on which server.
#[derive(Args, Debug)]
pub struct OrganizationArgs {
    /// The organization.
    pub organization: OrgId,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
}

impl ServerArgs {
    /// How to print the answer.
    pub(super) fn output(&self) -> Output {
        if self.json { Output::Json } else { self.output }
    }

    /// A client for this server.
    ///
    /// # Errors
    /// When the URL is none that can be asked.
    pub(super) fn client(&self) -> Result<Client, Failure> {
        Client::new(&self.server, self.key.as_deref(), &self.trust)
    }
}

/// A client of one server with one key.
#[derive(Clone, Debug)]
pub(super) struct Client {
    agent: Agent,
    base: String,
    authorization: Option<String>,
}

/// Why a call gave no result.
#[derive(Debug)]
pub(super) enum CallError {
    /// No answer came: whether the request was carried out is unknown.
    NoAnswer {
        /// Whom it was sent to.
        server: String,
        /// What went wrong.
        cause: String,
    },
    /// The server refused.
    Problem(Problem),
}

/// A problem document (RFC 9457).
#[derive(Debug)]
pub(super) struct Problem {
    /// HTTP status.
    pub(super) status: u16,
    /// The stable code.
    pub(super) code: String,
    /// What happened, for people.
    pub(super) detail: String,
}

impl Client {
    /// A client for the server at `base`.
    ///
    /// # Errors
    /// When the URL has another scheme than `http` and `https`, or what is trusted cannot be read.
    pub(super) fn new(base: &str, key: Option<&str>, trust: &TrustArgs) -> Result<Self, Failure> {
        let base = base.trim_end_matches('/');
        if base.split_once("://").is_none_or(|(scheme, host)| !SCHEMES.contains(&scheme) || host.is_empty()) {
            let message = format!("`{base}` is no url of a server; it looks like http://127.0.0.1:8080");
            return Err(Failure::usage(message));
        }
        if Uri::try_from(format!("{base}/")).is_err() {
            let message = format!("`{base}` has characters that no url has; nothing was sent");
            return Err(Failure::usage(message));
        }
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .max_redirects(0)
            .timeout_global(Some(Duration::from_secs(60)))
            .timeout_connect(Some(Duration::from_secs(5)))
            .max_idle_connections_per_host(16);
        if base.starts_with("https:") {
            config = config.tls_config(trust.tls_config()?);
        }
        let key = key.map(str::trim);
        if key.is_some_and(|key| !key.bytes().all(|byte| byte.is_ascii_graphic())) {
            let message =
                "the api key has characters that no key has; nothing was sent, check --key or WEIR_KEY";
            return Err(Failure::usage(message));
        }
        let authorization = key.map(|key| format!("Bearer {key}"));
        Ok(Self { agent: Agent::new_with_config(config.build()), base: base.to_owned(), authorization })
    }

    /// A client for a server on this machine that does not encrypt.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub(super) fn plain(base: &str, key: Option<&str>) -> Result<Self, Failure> {
        Self::new(base, key, &TrustArgs::default())
    }

    /// Reads `path`.
    ///
    /// # Errors
    /// [`CallError`].
    pub(super) fn get(&self, path: &str) -> Result<Value, CallError> {
        let request = self.request("GET", path).body(()).expect("method, url and key are valid header text");
        self.finish(self.agent.run(request))
    }

    /// Reads `path` in this media type, as text.
    ///
    /// # Errors
    /// [`CallError`].
    pub(super) fn get_text(&self, path: &str, media: &str) -> Result<String, CallError> {
        let request = self.request("GET", path).header("accept", media);
        let request = request.body(()).expect("method, url and key are valid header text");
        let (status, body) = self.receive(self.agent.run(request))?;
        match status {
            200..=299 => String::from_utf8(body).map_err(|error| self.no_answer(&error)),
            _ => Err(refused(status, &body)),
        }
    }

    /// Reads `path` as text, whatever its status is.
    ///
    /// # Errors
    /// [`CallError::NoAnswer`].
    pub(super) fn text(&self, path: &str) -> Result<String, CallError> {
        let request = self.request("GET", path).body(()).expect("method, url and key are valid header text");
        let mut answer = self.agent.run(request).map_err(|error| self.no_answer(&error))?;
        let read = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string();
        read.map_err(|error| self.no_answer(&error))
    }

    /// Removes `path`.
    ///
    /// # Errors
    /// [`CallError`].
    pub(super) fn delete(&self, path: &str) -> Result<Value, CallError> {
        let request =
            self.request("DELETE", path).body(()).expect("method, url and key are valid header text");
        self.finish(self.agent.run(request))
    }

    /// Sends `body` to `path`, to make something new.
    ///
    /// # Errors
    /// [`CallError`].
    pub(super) fn post(&self, path: &str, body: &impl Serialize) -> Result<Value, CallError> {
        self.send("POST", path, body)
    }

    /// Sends `body` to `path`, to make it so.
    ///
    /// # Errors
    /// [`CallError`].
    pub(super) fn put(&self, path: &str, body: &impl Serialize) -> Result<Value, CallError> {
        self.send("PUT", path, body)
    }

    fn send(&self, method: &str, path: &str, body: &impl Serialize) -> Result<Value, CallError> {
        let body = serde_json::to_vec(body).expect("bodies of this program have text keys");
        let request = self.request(method, path).header("content-type", "application/json");
        self.finish(
            self.agent.run(request.body(&body[..]).expect("method, url and key are valid header text")),
        )
    }

    fn request(&self, method: &str, path: &str) -> ureq::http::request::Builder {
        let request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        match &self.authorization {
            Some(authorization) => request.header("authorization", authorization),
            None => request,
        }
    }

    fn finish(&self, answer: Result<Response<ureq::Body>, ureq::Error>) -> Result<Value, CallError> {
        let (status, body) = self.receive(answer)?;
        match status {
            204 => Ok(Value::Null),
            200..=299 => serde_json::from_slice(&body).map_err(|error| self.no_answer(&error)),
            _ => Err(refused(status, &body)),
        }
    }

    /// The status and the body of an answer.
    fn receive(
        &self,
        answer: Result<Response<ureq::Body>, ureq::Error>,
    ) -> Result<(u16, Vec<u8>), CallError> {
        let mut answer = answer.map_err(|error| self.no_answer(&error))?;
        let read = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        Ok((answer.status().as_u16(), read.map_err(|error| self.no_answer(&error))?))
    }

    fn no_answer(&self, cause: &dyn fmt::Display) -> CallError {
        CallError::NoAnswer { server: self.base.clone(), cause: cause.to_string() }
    }
}

fn refused(status: u16, body: &[u8]) -> CallError {
    CallError::Problem(Problem::new(status, &serde_json::from_slice(body).unwrap_or_default()))
}

impl Problem {
    fn new(status: u16, document: &Value) -> Self {
        let text = |name: &str| document[name].as_str().map(str::to_owned);
        Self {
            status,
            code: text("code").unwrap_or_else(|| "unknown".to_owned()),
            detail: text("detail").unwrap_or_else(|| "the server gave no reason".to_owned()),
        }
    }

    /// Whether the same request may succeed later.
    pub(super) fn is_retryable(&self) -> bool {
        matches!(self.status, 429 | 503)
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer { server, cause } => write!(
                f,
                "no answer from {server}: {cause}; what was sent may or may not have been carried out; \
                 check that the server runs, then run the same command again"
            ),
            Self::Problem(problem) => {
                write!(f, "{} ({}, status {})", problem.detail, problem.code, problem.status)?;
                match problem.status {
                    401 => f.write_str("; give a valid api key with --key or WEIR_KEY"),
                    403 => f.write_str("; use a key whose role and organizations allow it"),
                    429 | 503 => f.write_str("; run the same command again shortly"),
                    _ => Ok(()),
                }
            }
        }
    }
}

impl std::error::Error for CallError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_url_that_is_none_is_a_usage_error() {
        for url in ["", "127.0.0.1:8080", "ftp://host", "http://", "https://", "http://a b", "http://a\n"] {
            assert!(Client::plain(url, None).is_err(), "{url}");
        }
        assert_eq!(Client::plain("http://host:1/", None).expect("an url").base, "http://host:1");
    }

    #[test]
    fn a_problem_without_a_document_is_still_told() {
        let problem = CallError::Problem(Problem::new(502, &Value::Null));
        assert_eq!(problem.to_string(), "the server gave no reason (unknown, status 502)");
    }
}
