//! Usage: what was charged and exempt, by interval, network, camera, usage kind and outcome.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;

use crate::domain::debit::{FirstOutcome, UsageKind};
use crate::domain::ids::{CameraId, Name};
use crate::domain::time::Timestamp;

use super::error::ReportsError;
use super::interval::{self, Cover, Interval, Piece, Span};
use super::reader::{Gap, Reader, time_of, used_of};
use super::schema::Level;
use super::tally::Used;

type Result<T> = std::result::Result<T, ReportsError>;

/// Most rows of one answer.
pub const USAGE_ROWS_MAX: usize = 100_000;

/// By what usage is told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct By {
    /// By the network that the camera was in.
    pub network: bool,
    /// By camera.
    pub camera: bool,
    /// By usage kind.
    pub kind: bool,
    /// By what became of it: what was charged, and what was exempt. What was refused left no trace in the journal.
    pub outcome: bool,
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct UsageQuery {
    /// The first moment.
    pub from: Timestamp,
    /// The first moment after.
    pub until: Timestamp,
    /// Into what the time is cut.
    pub interval: Interval,
    /// The time zone of the intervals.
    pub zone: TimeZone,
    /// By what usage is told apart.
    pub by: By,
    /// Only this network.
    pub network: Option<Name>,
    /// Only this camera.
    pub camera: Option<CameraId>,
    /// Only this usage kind.
    pub kind: Option<UsageKind>,
    /// Only so many groups by name, those that were charged most; the others together.
    pub top: Option<usize>,
}

/// What was used in one interval by one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRow {
    /// The first moment that is counted.
    pub from: Timestamp,
    /// The first moment after.
    pub until: Timestamp,
    /// Whose; none for all that are beside the top ones.
    pub group: Option<Group>,
    /// What was used.
    pub used: Used,
}

/// A group by name; what usage was not told apart by is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// The network.
    pub network: Option<String>,
    /// The camera.
    pub camera: Option<String>,
    /// The usage kind.
    pub kind: Option<UsageKind>,
    /// What became of it.
    pub outcome: Option<FirstOutcome>,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The first moment of the first interval.
    pub from: Timestamp,
    /// The first moment after the last one.
    pub until: Timestamp,
    /// By interval, in it the groups that were charged most first. What is nothing is left out.
    pub rows: Vec<UsageRow>,
    /// The sum of all rows.
    pub total: Used,
    /// Whether every interval is counted from its first moment to its last. Where buckets are kept no finer, a row says which
    /// moments it counts.
    pub is_exact: bool,
    /// Times in this one of which less is known.
    pub gaps: Vec<Gap>,
}

/// A group by its numbers: network, camera, kind, and outcome, which no bucket is told apart by.
type Key = [Option<u32>; 4];

const CHARGED: u32 = 0;
const EXEMPT: u32 = 1;

impl Reader {
    /// Answers with what was used.
    ///
    /// # Errors
    /// When more is asked than one answer holds, or it cannot be read.
    pub fn usage(&self, query: &UsageQuery) -> Result<Usage> {
        let asked = Span { from: query.from.ms(), until: query.until.ms() };
        let spans = interval::cut(asked, query.interval, &query.zone)?;
        let (first, last) = (spans.first(), spans.last());
        let from = first.map_or(query.from, |first| time_of(first.from));
        let until = last.map_or(query.until, |last| time_of(last.until));
        let gaps = self.gaps(from, until)?;
        let mut usage = Usage { from, until, rows: Vec::new(), total: Used::default(), is_exact: true, gaps };
        let found = self.read_spans(query, &spans, &mut usage.is_exact)?;
        for (_, used) in found.iter().flat_map(|(_, groups)| groups) {
            usage.total.add(*used);
        }
        let top = query.top.map(|top| top_groups(&found, top));
        let mut names = BTreeMap::new();
        for (covers, groups) in found {
            self.add_rows(covers, groups, top.as_deref(), &mut names, &mut usage.rows)?;
        }
        Ok(usage)
    }

    fn read_spans(
        &self,
        query: &UsageQuery,
        spans: &[Span],
        is_exact: &mut bool,
    ) -> Result<Vec<(Span, BTreeMap<Key, Used>)>> {
        let Some(filter) = self.filter(query)? else { return Ok(Vec::new()) };
        let (minutes, quarters) = (self.kept_since_ms(Level::Minute), self.kept_since_ms(Level::Quarter));
        let (mut found, mut rows) = (Vec::new(), 0);
        for span in spans {
            let Cover { pieces, covers } = interval::cover(*span, minutes, quarters);
            *is_exact &= covers == *span;
            let mut groups = BTreeMap::new();
            for piece in pieces {
                self.read_piece(piece, query.by, filter, &mut groups)?;
            }
            rows += groups.len();
            if rows > USAGE_ROWS_MAX && query.top.is_none() || rows > 10 * USAGE_ROWS_MAX {
                return Err(ReportsError::TooMuch);
            }
            if !groups.is_empty() {
                found.push((covers, groups));
            }
        }
        Ok(found)
    }

    /// The numbers of what alone is asked for; none when there never was such a camera or network.
    fn filter(&self, query: &UsageQuery) -> Result<Option<Key>> {
        let network = query.network.as_ref().map(|name| self.network(name)).transpose()?;
        let camera = query.camera.as_ref().map(|id| self.camera(id)).transpose()?;
        let kind = query.kind.map(|kind| u32::from(kind.number()));
        let is_known = network != Some(None) && camera != Some(None);
        Ok(is_known.then(|| [network.flatten(), camera.flatten(), kind, None]))
    }

    fn read_piece(
        &self,
        piece: Piece,
        by: By,
        [network, camera, kind, _]: Key,
        groups: &mut BTreeMap<Key, Used>,
    ) -> Result<()> {
        let column = |is_asked: bool, name: &'static str| if is_asked { name } else { "NULL" };
        let sql = format!(
            "SELECT {}, {}, {}, SUM(charged), SUM(exempt), SUM(debits_charged), SUM(debits_exempt) FROM usage_{} \
             WHERE organization = ?1 AND bucket >= ?2 AND bucket < ?3 AND (?4 IS NULL OR network = ?4) \
             AND (?5 IS NULL OR camera = ?5) AND (?6 IS NULL OR kind = ?6) GROUP BY 1, 2, 3",
            column(by.network, "network"),
            column(by.camera, "camera"),
            column(by.kind, "kind"),
            piece.level.name()
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement
            .query((self.number, piece.from, piece.until, network, camera, kind))
            .map_err(too_long)?;
        while let Some(row) = rows.next().map_err(too_long)? {
            let used = match row.get::<_, Option<u64>>(3)? {
                Some(_) => used_of(row, 3)?,
                None => continue,
            };
            let [network, camera, kind] = [row.get(0)?, row.get(1)?, row.get(2)?];
            let mut add =
                |outcome, used| groups.entry([network, camera, kind, outcome]).or_default().add(used);
            if by.outcome {
                parts(used).into_iter().flatten().for_each(|(outcome, used)| add(Some(outcome), used));
            } else {
                add(None, used);
            }
        }
        Ok(())
    }

    fn add_rows(
        &self,
        covers: Span,
        groups: BTreeMap<Key, Used>,
        top: Option<&[Key]>,
        names: &mut BTreeMap<Key, Group>,
        rows: &mut Vec<UsageRow>,
    ) -> Result<()> {
        let (from, until) = (time_of(covers.from), time_of(covers.until));
        let (mut sorted, mut rest) = (Vec::new(), Used::default());
        for (key, used) in groups {
            if top.is_none_or(|top| top.contains(&key)) {
                sorted.push((key, used));
            } else {
                rest.add(used);
            }
        }
        sorted.sort_by_key(|(key, used)| (std::cmp::Reverse(used.charged), *key));
        for (key, used) in sorted {
            let group = match names.get(&key) {
                Some(group) => group.clone(),
                None => names.entry(key).or_insert(self.name(key)?).clone(),
            };
            rows.push(UsageRow { from, until, group: Some(group), used });
        }
        if rest.debits() > 0 {
            rows.push(UsageRow { from, until, group: None, used: rest });
        }
        Ok(())
    }

    fn name(&self, [network, camera, kind, outcome]: Key) -> Result<Group> {
        let outcome = outcome.map(|number| match number {
            CHARGED => FirstOutcome::Charged,
            _ => FirstOutcome::Exempt,
        });
        let kind = kind.and_then(|kind| UsageKind::from_number(u8::try_from(kind).ok()?).ok());
        let network = network.map(|place| self.network_name(place)).transpose()?;
        Ok(Group { network, camera: camera.map(|slot| self.camera_id(slot)).transpose()?, kind, outcome })
    }
}

/// What of it was charged and what was exempt, each where there was any.
fn parts(used: Used) -> [Option<(u32, Used)>; 2] {
    let Used { charged, exempt, debits_charged, debits_exempt } = used;
    let charged = Used { charged, debits_charged, ..Used::default() };
    let exempt = Used { exempt, debits_exempt, ..Used::default() };
    [(CHARGED, charged), (EXEMPT, exempt)].map(|part| Some(part).filter(|(_, used)| used.debits() > 0))
}

/// The groups that were charged most over all intervals, at most `top`.
fn top_groups(found: &[(Span, BTreeMap<Key, Used>)], top: usize) -> Vec<Key> {
    let mut sums: BTreeMap<Key, Used> = BTreeMap::new();
    for (key, used) in found.iter().flat_map(|(_, groups)| groups) {
        sums.entry(*key).or_default().add(*used);
    }
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_by_key(|(key, used)| (std::cmp::Reverse((used.charged, used.exempt)), *key));
    sums.truncate(top);
    sums.into_iter().map(|(key, _)| key).collect()
}

/// An answer that was given up because it took too long is one that asks for too much.
pub(super) fn too_long(error: rusqlite::Error) -> ReportsError {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::OperationInterrupted) => ReportsError::TooMuch,
        _ => error.into(),
    }
}
