//! What is asked of a server, and what is made of the answers.
//!
//! Each reading asks for one page of organizations, so that a server with many is not asked for all of them every second; what the other
//! pages said is kept. Counters are told since the reading before, or since the server began when there is none. Deliberately absent: drawing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;

use super::super::client::{CallError, Client};
use super::super::output::rows;
use crate::edge::meters::{Meters, Traffic};
use crate::telemetry::clock;

/// Organizations of one page, each of which is asked for its summary.
const PAGE_ROWS: usize = 100;

/// What is known of a server.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Board {
    /// Its URL.
    pub(super) server: String,
    /// `ready`, `recovering` or `poisoned`, as it says.
    pub(super) status: String,
    /// What it was asked for.
    pub(super) traffic: Traffic,
    /// In the order of their numbers.
    pub(super) partitions: Vec<Partition>,
    /// In the order of their ids.
    pub(super) organizations: Vec<Organization>,
    /// Why this is not all, or not new.
    pub(super) problem: Option<String>,
}

/// One partition.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Partition {
    /// Its number.
    pub(super) partition: u64,
    /// Its last durable frame.
    pub(super) durable_lsn: u64,
    /// Durable frames that no snapshot holds: what a start would replay.
    pub(super) lag: u64,
    /// Syncs.
    pub(super) syncs: u64,
    /// Their mean time in microseconds; null without any.
    pub(super) sync_mean_us: Option<u64>,
    /// 99 of 100 took at most these microseconds; null without any, or when it was longer than what is told apart.
    pub(super) sync_p99_us: Option<u64>,
    /// Why it stopped.
    pub(super) failure: Option<String>,
}

/// One organization.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Organization {
    /// Its id.
    pub(super) organization: String,
    /// Tokens charged a minute, of late.
    pub(super) burn: u64,
    /// Tokens that may be charged.
    pub(super) available: u64,
    /// Tokens held by reservations.
    pub(super) held: u64,
    /// Tokens charged ever.
    pub(super) used: u64,
    /// How long the available ones last, in milliseconds; null when nothing burns.
    pub(super) left_ms: Option<u64>,
    /// The code with which its summary was refused.
    pub(super) refused: Option<String>,
}

/// Reads a server again and again.
#[derive(Debug)]
pub(super) struct Reader {
    client: Client,
    board: Board,
    organizations: BTreeMap<String, Organization>,
    /// The organization after which the next page begins.
    after: Option<String>,
    before: Option<(Instant, Meters)>,
}

impl Reader {
    /// Nothing is asked yet.
    pub(super) fn new(client: Client, server: &str) -> Self {
        let board = Board { server: server.to_owned(), status: "is asked".to_owned(), ..Board::default() };
        Self { client, board, organizations: BTreeMap::new(), after: None, before: None }
    }

    /// What is known.
    pub(super) fn board(&self) -> &Board {
        &self.board
    }

    /// Asks once, for one page. What could not be read is as it was, and the board says why.
    pub(super) fn read(&mut self) -> Board {
        self.board.problem = self.ask().err().map(|error| self.told(error));
        self.board.clone()
    }

    /// Asks once, for all pages.
    ///
    /// # Errors
    /// [`CallError`].
    pub(super) fn read_all(mut self) -> Result<Board, CallError> {
        self.ask()?;
        while self.after.is_some() {
            self.ask_organizations()?;
        }
        Ok(self.board)
    }

    fn ask(&mut self) -> Result<(), CallError> {
        self.ask_partitions()?;
        self.ask_organizations()
    }

    fn ask_partitions(&mut self) -> Result<(), CallError> {
        let health: Value = serde_json::from_str(&self.client.text("/readyz")?).unwrap_or_default();
        let now = Meters::read(&self.client.text("/metrics")?);
        let (span, since) = match &self.before {
            Some((at, before)) => (Some(at.elapsed()), now.since(before)),
            None => (None, now.clone()),
        };
        self.board.status = health["status"].as_str().unwrap_or("not a meter").to_owned();
        self.board.traffic = since.traffic(span);
        let partition = |row: &Value| partition(row, &since);
        self.board.partitions = rows(&health, "partitions").iter().map(partition).collect();
        self.before = Some((clock::start(), now));
        Ok(())
    }

    fn ask_organizations(&mut self) -> Result<(), CallError> {
        let after = self.after.take().map(|after| format!("&after={after}")).unwrap_or_default();
        let page = self.client.get(&format!("/v1/organizations?limit={PAGE_ROWS}{after}"))?;
        for id in rows(&page, "organizations").iter().filter_map(Value::as_str) {
            let organization = match self.client.get(&format!("/v1/organizations/{id}/summary")) {
                Ok(summary) => organization(id, &summary),
                Err(CallError::Problem(problem)) => Organization {
                    organization: id.to_owned(),
                    refused: Some(problem.code),
                    ..Organization::default()
                },
                Err(unanswered) => return Err(unanswered),
            };
            self.organizations.insert(id.to_owned(), organization);
        }
        self.after = page["next"].as_str().map(str::to_owned);
        self.board.organizations = self.organizations.values().cloned().collect();
        Ok(())
    }

    fn told(&mut self, error: CallError) -> String {
        match error {
            CallError::NoAnswer { cause, .. } => {
                "unreachable".clone_into(&mut self.board.status);
                format!("no answer: {cause}; what is shown is old, it is asked again every second")
            }
            problem @ CallError::Problem(_) => problem.to_string(),
        }
    }
}

fn partition(row: &Value, since: &Meters) -> Partition {
    let lsn = |name: &str| row[name].as_u64().unwrap_or_default();
    let number = lsn("partition");
    let commits = since.commits(number);
    Partition {
        partition: number,
        durable_lsn: lsn("durable_lsn"),
        lag: lsn("durable_lsn").saturating_sub(lsn("snapshot_lsn")),
        syncs: commits.count,
        sync_mean_us: commits.mean().map(micros),
        sync_p99_us: commits.at_most(99).map(micros),
        failure: row["failure"].as_str().map(str::to_owned),
    }
}

fn organization(id: &str, summary: &Value) -> Organization {
    let tokens = |name: &str| summary[name].as_u64().unwrap_or_default();
    let burn = &summary["burn_rate"];
    let burned = u128::from(burn["tokens"].as_u64().unwrap_or_default()) * 60_000;
    let a_minute = burned.checked_div(u128::from(burn["window_ms"].as_u64().unwrap_or_default()));
    Organization {
        organization: id.to_owned(),
        burn: u64::try_from(a_minute.unwrap_or_default()).unwrap_or(u64::MAX),
        available: tokens("available"),
        held: tokens("held"),
        used: tokens("used"),
        left_ms: summary["estimated_analytics_ms"].as_u64(),
        refused: None,
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
