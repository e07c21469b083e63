//! What the reports say of an organization on its summary: how the balance went, what was used, by whom, and the newest events.
//!
//! Where there are no reports the summary stands without them and says why.

use actix_web::HttpRequest;
use actix_web::http::header::COOKIE;
use jiff::tz::TimeZone;

use crate::edge::http::{Problem, read_reports};
use crate::meter::{OrgId, Timestamp};
use crate::reports::{By, EventQuery, EventRow, Interval, Reader, ReportsError, UsageQuery, UsageRow};

use super::chart::{Chart, Point};
use super::text::{self, Count, Data, Time};
use super::visit::Visit;

/// Networks and cameras that are told by name; the others are told together.
const TOP: usize = 8;
/// Events on the summary.
const EVENTS: usize = 10;
const HOUR_MS: u64 = 3_600_000;
/// The times that a report can be of: by which word, for whom, how long, and into what it is cut.
const WINDOWS: [(&str, &str, u64, Interval); 4] = [
    ("hour", "60 minutes", HOUR_MS, Interval::Minute),
    ("day", "24 hours", 24 * HOUR_MS, Interval::Hour),
    ("week", "7 days", 7 * 24 * HOUR_MS, Interval::Hour),
    ("month", "30 days", 30 * 24 * HOUR_MS, Interval::Day),
];

/// What the reports say.
pub(super) struct Report {
    pub(super) title: &'static str,
    pub(super) zone: String,
    pub(super) windows: Vec<Window>,
    pub(super) balance: Chart,
    pub(super) usage: Chart,
    pub(super) rows: Vec<Row>,
    pub(super) from: Time,
    pub(super) until: Time,
    pub(super) groups: [Groups; 2],
    pub(super) events: Vec<Event>,
    /// Durable frames that the reports do not hold yet.
    pub(super) lag_frames: Count,
    /// Why an amount may be missing; none when none is.
    pub(super) gaps: Option<Count>,
}

/// A time that can be chosen.
pub(super) struct Window {
    pub(super) word: &'static str,
    pub(super) label: &'static str,
    pub(super) is_chosen: bool,
}

/// An interval as a table tells it.
pub(super) struct Row {
    pub(super) from: Time,
    pub(super) charged: Data,
    pub(super) exempt: Data,
    pub(super) balance: Option<Data>,
}

/// What was used by what is called so.
pub(super) struct Groups {
    pub(super) heading: &'static str,
    pub(super) id: &'static str,
    pub(super) rows: Vec<Group>,
    pub(super) most: u64,
}

pub(super) struct Group {
    pub(super) name: Option<String>,
    pub(super) charged: Data,
    pub(super) exempt: Data,
}

/// An admitted debit.
pub(super) struct Event {
    pub(super) at: Time,
    pub(super) network: String,
    pub(super) camera: String,
    pub(super) kind: &'static str,
    pub(super) tokens: Data,
    pub(super) is_exempt: bool,
    pub(super) license: Option<String>,
    pub(super) balance: Data,
}

/// What is read in one go.
struct Found {
    points: Vec<Point>,
    networks: Vec<UsageRow>,
    cameras: Vec<UsageRow>,
    events: Vec<EventRow>,
    gaps: u64,
}

/// The report of the time that the query names.
///
/// # Errors
/// When no reports are kept, or they cannot be read now.
pub(super) async fn report(visit: &Visit, id: &OrgId) -> Result<Report, Problem> {
    let asked = visit.form.text("window");
    let place = WINDOWS.iter().position(|(word, ..)| *word == asked).unwrap_or(1);
    let (_, title, length_ms, interval) = WINDOWS[place];
    let zone = zone_of(&visit.request);
    let zone_name = zone.iana_name().unwrap_or("UTC").to_owned();
    let until = visit.visitor.meter.now().plus_ms(1);
    let from = until.minus_ms(length_ms);
    let find = move |reader: &Reader| find(reader, (from, until), interval, &zone);
    let (found, _, lag_frames) = read_reports(&visit.visitor.state, id, find).await?;
    let window = |(n, (word, label, ..)): (usize, (&'static str, &'static str, u64, Interval))| Window {
        word,
        label,
        is_chosen: n == place,
    };
    let Found { points, networks, cameras, events, gaps } = found;
    Ok(Report {
        title,
        zone: zone_name,
        windows: WINDOWS.into_iter().enumerate().map(window).collect(),
        balance: Chart::of_balance(&points),
        usage: Chart::of_usage(&points),
        from: Time(points.first().map_or(from, |first| first.from)),
        until: Time(until),
        rows: points.iter().map(Row::from).collect(),
        groups: [
            Groups::new("By network", "by-network", networks, |row| row.group.as_ref()?.network.clone()),
            Groups::new("By camera", "by-camera", cameras, |row| row.group.as_ref()?.camera.clone()),
        ],
        events: events.into_iter().map(Event::from).collect(),
        lag_frames: Count(lag_frames),
        gaps: Some(Count(gaps)).filter(|gaps| gaps.0 > 0),
    })
}

fn find(
    reader: &Reader,
    (from, until): (Timestamp, Timestamp),
    interval: Interval,
    zone: &TimeZone,
) -> Result<Found, ReportsError> {
    let history = reader.balance_history(from, until, interval, zone)?;
    let ask = |interval, by, top| UsageQuery {
        from,
        until,
        interval,
        zone: zone.clone(),
        by,
        network: None,
        camera: None,
        kind: None,
        top,
    };
    let usage = reader.usage(&ask(interval, By::default(), None))?;
    let exempt = |from| usage.rows.iter().find(|row| row.from == from).map_or(0, |row| row.used.exempt);
    let points = history.rows.iter().map(|row| Point {
        from: row.from,
        until: row.until,
        charged: row.charged,
        exempt: exempt(row.from),
        balance: row.balance,
    });
    let by_network = By { network: true, ..By::default() };
    let by_camera = By { camera: true, ..By::default() };
    let events = EventQuery { rows: EVENTS, ..EventQuery::default() };
    Ok(Found {
        points: points.collect(),
        networks: reader.usage(&ask(Interval::None, by_network, Some(TOP)))?.rows,
        cameras: reader.usage(&ask(Interval::None, by_camera, Some(TOP)))?.rows,
        events: reader.events(&events)?.rows,
        gaps: usage.gaps.iter().map(|gap| gap.used.charged.saturating_add(gap.used.exempt)).sum(),
    })
}

/// The zone of the viewer, which script leaves in a cookie; else UTC.
pub(super) fn zone_of(request: &HttpRequest) -> TimeZone {
    let headers = request.headers().get_all(COOKIE).filter_map(|header| header.to_str().ok());
    let mut pairs =
        headers.flat_map(|header| header.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let named = pairs.find(|(name, _)| *name == "weir-zone").map(|(_, zone)| zone);
    named.filter(|name| name.len() <= 64).and_then(|name| TimeZone::get(name).ok()).unwrap_or(TimeZone::UTC)
}

impl Groups {
    fn new(
        heading: &'static str,
        id: &'static str,
        rows: Vec<UsageRow>,
        name: impl Fn(&UsageRow) -> Option<String>,
    ) -> Self {
        let named = rows.iter().filter(|row| row.group.is_some());
        let most = named.map(|row| row.used.charged).max().unwrap_or(0).max(1);
        let group = |row: UsageRow| Group {
            name: name(&row),
            charged: Data(row.used.charged),
            exempt: Data(row.used.exempt),
        };
        Self { heading, id, rows: rows.into_iter().map(group).collect(), most }
    }
}

impl From<&Point> for Row {
    fn from(point: &Point) -> Self {
        Self {
            from: Time(point.from),
            charged: Data(point.charged),
            exempt: Data(point.exempt),
            balance: point.balance.map(Data),
        }
    }
}

impl From<EventRow> for Event {
    fn from(row: EventRow) -> Self {
        Self {
            at: Time(row.at),
            network: row.network,
            camera: row.camera,
            kind: text::kind(row.kind),
            tokens: Data(row.tokens),
            is_exempt: row.is_exempt,
            license: row.license,
            balance: Data(row.balance),
        }
    }
}
