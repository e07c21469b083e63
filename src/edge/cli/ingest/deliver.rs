//! Sends debits until each of them has an answer that stays, and counts the answers.
//!
//! What may be answered otherwise later is sent again, under the same ids, and so is what got no answer at all.

use std::collections::BTreeMap;
use std::thread::park_timeout;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::domain::ids::OrgId;
use crate::edge::cli::client::{CallError, Client};
use crate::edge::cli::failure::Failure;
use crate::edge::cli::output::note;
use crate::telemetry::clock;

/// How long to wait before what had no answer is sent again.
const PAUSE: Duration = Duration::from_millis(500);
/// The codes of refusals that may be answered otherwise later.
const RETRYABLE: [&str; 2] = ["busy", "in_transfer"];

/// A debit as JSON, and where it comes from, for people.
pub(super) type Placed = (String, Map<String, Value>);

/// What became of debits.
#[derive(Debug, Default, Serialize)]
pub(super) struct Counts {
    /// Debits that were sent.
    pub(super) sent: u64,
    /// Charged now.
    pub(super) charged: u64,
    /// Exempt now.
    pub(super) exempt: u64,
    /// Charged or exempt before.
    pub(super) duplicate: u64,
    /// Refused, by code.
    pub(super) refused: BTreeMap<String, u64>,
}

/// Sends debits of one organization.
#[derive(Debug)]
pub(super) struct Delivery {
    client: Client,
    path: String,
    /// How long to go on without an answer; for ever where there is none.
    give_up_after: Option<Duration>,
    pub(super) counts: Counts,
}

impl Delivery {
    pub(super) fn new(client: Client, organization: &OrgId, give_up_after: Option<Duration>) -> Self {
        let path = format!("/v1/organizations/{organization}/debits");
        Self { client, path, give_up_after, counts: Counts::default() }
    }

    /// Sends these debits until each is charged or refused for good; what is refused is told on standard error.
    ///
    /// # Errors
    /// When no answer comes for too long, or the server refuses all of them.
    pub(super) fn deliver(&mut self, mut debits: Vec<Placed>) -> Result<(), Failure> {
        let begun = clock::start();
        self.counts.sent += u64::try_from(debits.len()).unwrap_or(u64::MAX);
        while !debits.is_empty() {
            let bodies: Vec<_> = debits.iter().map(|(_, debit)| debit).collect();
            let cause = match self.client.post(&self.path, &bodies) {
                Ok(answer) => {
                    debits = self.count(debits, &answer)?;
                    "the organization is busy or in transfer".to_owned()
                }
                Err(CallError::Problem(problem)) if !problem.is_retryable() => {
                    return Err(CallError::Problem(problem).into());
                }
                Err(error) => error.to_string(),
            };
            if debits.is_empty() {
                break;
            }
            if self.give_up_after.is_some_and(|most| begun.elapsed() >= most) {
                return Err(Failure::new(format!("{cause}; {} debits have no answer", debits.len())));
            }
            note(&format!("waiting: {cause}"));
            park_timeout(PAUSE);
        }
        Ok(())
    }

    /// Counts the answers; answers with the debits that are to be sent again.
    fn count(&mut self, debits: Vec<Placed>, answer: &Value) -> Result<Vec<Placed>, Failure> {
        let results = answer["results"].as_array().filter(|results| results.len() == debits.len());
        let results = results.ok_or_else(|| Failure::new("the server's answer is not one result a debit"))?;
        let mut again = Vec::new();
        for ((place, debit), result) in debits.into_iter().zip(results) {
            match result["outcome"].as_str().unwrap_or_default() {
                "charged" => self.counts.charged += 1,
                "exempt" => self.counts.exempt += 1,
                "duplicate" => self.counts.duplicate += 1,
                _ => {
                    let code = result["code"].as_str().unwrap_or("unknown");
                    if RETRYABLE.contains(&code) {
                        again.push((place, debit));
                        continue;
                    }
                    let detail = result["detail"].as_str().unwrap_or_default();
                    note(&format!("{place}: {code}: {detail}"));
                    *self.counts.refused.entry(code.to_owned()).or_default() += 1;
                }
            }
        }
        Ok(again)
    }
}

impl Counts {
    /// How many were refused.
    pub(super) fn refused(&self) -> u64 {
        self.refused.values().sum()
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let refused: Vec<_> = self.refused.iter().map(|(code, count)| format!("{count} {code}")).collect();
        let refused = if refused.is_empty() { String::new() } else { format!(" ({})", refused.join(", ")) };
        format!(
            "{} sent: {} charged, {} exempt, {} duplicate, {} refused{refused}",
            self.sent,
            self.charged,
            self.exempt,
            self.duplicate,
            self.refused()
        )
    }
}
