//! Balance history: what a pool had left at the end of each interval, and what came and went in it. A chart of it burns down.
//!
//! The balance counts what open reservations hold, and not what is on its way to another organization. A transfer counts as sent when
//! it leaves the pool; one that is aborted comes back as received.

use jiff::tz::TimeZone;
use rusqlite::OptionalExtension as _;

use crate::domain::time::Timestamp;

use super::error::ReportsError;
use super::interval::{self, Cover, Interval, Piece, Span};
use super::reader::{Gap, Reader, time_of};
use super::schema::Level;
use super::tally::Flow;

type Result<T> = std::result::Result<T, ReportsError>;

/// What a pool had, and what came and went, in one interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BalanceRow {
    /// The first moment that is counted.
    pub from: Timestamp,
    /// The first moment after.
    pub until: Timestamp,
    /// Tokens at its end, or now when it has not ended; none where that is not known.
    pub balance: Option<u64>,
    /// Tokens of licenses that were added.
    pub granted: u64,
    /// Tokens that came from other organizations, or came back.
    pub received: u64,
    /// Tokens that left for other organizations.
    pub sent: u64,
    /// Tokens charged.
    pub charged: u64,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BalanceHistory {
    /// Every interval that has begun, in order.
    pub rows: Vec<BalanceRow>,
    /// Whether every interval is counted from its first moment to its last.
    pub is_exact: bool,
    /// Times of which less is known.
    pub gaps: Vec<Gap>,
}

impl Reader {
    /// Answers with the history of the balance from `from` until `until`, in intervals of `zone`.
    ///
    /// # Errors
    /// When more is asked than one answer holds, or it cannot be read.
    pub fn balance_history(
        &self,
        from: Timestamp,
        until: Timestamp,
        interval: Interval,
        zone: &TimeZone,
    ) -> Result<BalanceHistory> {
        let spans = interval::cut(Span { from: from.ms(), until: until.ms() }, interval, zone)?;
        let (minutes, quarters) = (self.kept_since_ms(Level::Minute), self.kept_since_ms(Level::Quarter));
        let now = self.reached().at.map_or(0, Timestamp::ms);
        let mut balance = match spans.first() {
            Some(first) => self.balance_before(first.from, minutes, quarters)?,
            None => None,
        };
        let (mut rows, mut is_exact) = (Vec::new(), true);
        for span in spans.into_iter().filter(|span| span.from <= now) {
            let Cover { pieces, covers } = interval::cover(span, minutes, quarters);
            is_exact &= covers == span;
            let mut flow = Flow::default();
            for piece in pieces {
                if let Some(left) = self.add_flows(piece, &mut flow)? {
                    balance = Some(left);
                }
            }
            let Flow { granted, received, sent, charged, .. } = flow;
            let (from, until) = (time_of(covers.from), time_of(covers.until));
            rows.push(BalanceRow { from, until, balance, granted, received, sent, charged });
        }
        Ok(BalanceHistory { rows, is_exact, gaps: self.gaps(from, until)? })
    }

    /// The balance at the end of the newest bucket before `ms` in which anything happened.
    fn balance_before(&self, ms: u64, minutes_since: u64, quarters_since: u64) -> Result<Option<u64>> {
        let Cover { pieces, .. } =
            interval::cover(Span { from: 0, until: ms }, minutes_since, quarters_since);
        for Piece { level, from, until } in pieces.into_iter().rev() {
            let sql = format!(
                "SELECT balance FROM flow_{} WHERE organization = ?1 AND bucket >= ?2 AND bucket < ?3 \
                 ORDER BY bucket DESC LIMIT 1",
                level.name()
            );
            let row = (self.number, from, until);
            if let Some(balance) = self.connection.query_row(&sql, row, |row| row.get(0)).optional()? {
                return Ok(Some(balance));
            }
        }
        Ok(None)
    }

    /// Adds what came and went in the buckets of a piece; answers with what was left after the last of them.
    fn add_flows(&self, piece: Piece, flow: &mut Flow) -> Result<Option<u64>> {
        let sql = format!(
            "SELECT balance, granted, received, sent, charged FROM flow_{} \
             WHERE organization = ?1 AND bucket >= ?2 AND bucket < ?3 ORDER BY bucket",
            piece.level.name()
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query((self.number, piece.from, piece.until))?;
        let mut left = None;
        while let Some(row) = rows.next()? {
            let (balance, granted) = (row.get(0)?, row.get(1)?);
            let (received, sent, charged) = (row.get(2)?, row.get(3)?, row.get(4)?);
            flow.then(Flow { balance, granted, received, sent, charged });
            left = Some(balance);
        }
        Ok(left)
    }
}
