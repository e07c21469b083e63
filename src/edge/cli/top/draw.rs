//! The frame of `weir top`: what is known of a server, in lines.

use ratatui::Frame;
use ratatui::style::Style;

use super::super::output::number;
use super::super::summary::span;
use super::read::{Board, Organization, Partition};
use super::{Sort, View};

/// What the frame needs.
const COLUMNS_MIN: u16 = 80;
const LINES_MIN: u16 = 24;
/// Columns of a frame that goes to no terminal: ids have what the figures leave.
const COLUMNS_OF_TEXT: usize = 120;
/// What an organization's line takes beside its id.
const FIGURES: usize = 64;

type Line = (String, Style);

/// Draws the frame, or says that it needs more room.
pub(super) fn draw(view: &mut View, frame: &mut Frame<'_>) {
    let area = frame.area();
    let (columns, lines) = (area.width, area.height);
    let drawn = if columns < COLUMNS_MIN || lines < LINES_MIN {
        let small = format!("the terminal is {columns}x{lines}, and this needs {COLUMNS_MIN}x{LINES_MIN}:");
        vec![(small, Style::new()), ("enlarge it, or q and --once".to_owned(), Style::new())]
    } else {
        whole(view, columns.into(), lines.into())
    };
    for ((line, style), y) in drawn.into_iter().zip(area.y..area.bottom()) {
        let line = format!("{line:<width$}", width = usize::from(columns));
        frame.buffer_mut().set_stringn(area.x, y, line, columns.into(), style);
    }
}

/// The frame as text, with everything in it but the keys.
pub(super) fn text(view: &View) -> String {
    let board = &view.board;
    let mut lines = head(board, board.partitions.len());
    lines.push(names(view.sort, COLUMNS_OF_TEXT));
    lines.extend(organizations(view, COLUMNS_OF_TEXT));
    lines.iter().map(|(line, _)| line.trim_end()).collect::<Vec<_>>().join("\n")
}

/// All lines of a frame; what there is no room for is scrolled to.
fn whole(view: &mut View, columns: usize, lines: usize) -> Vec<Line> {
    let partitions_max = lines / 3;
    let mut drawn = head(&view.board, partitions_max);
    drawn.push(names(view.sort, columns));
    view.room = lines - drawn.len() - 1;
    view.first = view.first.min(view.board.organizations.len().saturating_sub(view.room));
    drawn.extend(organizations(view, columns).skip(view.first).take(view.room));
    drawn.resize(lines - 1, Line::default());
    drawn.push((keys(view, partitions_max), Style::new().dim()));
    drawn
}

/// What is said of the server and of at most so many partitions, those that stopped first.
fn head(board: &Board, partitions_max: usize) -> Vec<Line> {
    let [judged, refused] = traffic(board);
    let names = format!(
        "{:>9} {:>15} {:>12} {:>9} {:>10} {:>10}  {}",
        "partition", "durable lsn", "lag", "syncs", "mean", "99% within", "state"
    );
    let mut lines = vec![
        (format!("weir top  {}  {}", board.server, board.status), Style::new().bold()),
        (judged, Style::new()),
        (refused, Style::new()),
        (problem(board), Style::new().red()),
        (names, Style::new().reversed()),
    ];
    let mut partitions: Vec<_> = board.partitions.iter().collect();
    partitions.sort_by_key(|partition| partition.failure.is_none());
    lines.extend(partitions.into_iter().take(partitions_max).map(partition_line));
    lines
}

fn names(sort: Sort, columns: usize) -> Line {
    let marked = |of: Sort, name: &str| if sort == of { format!("{name}*") } else { name.to_owned() };
    let names = format!(
        "{:<id_width$} {:>11} {:>15} {:>10} {:>15} {:>8}",
        marked(Sort::Id, "organization"),
        marked(Sort::Burn, "burn/min"),
        marked(Sort::Available, "available"),
        "held",
        marked(Sort::Used, "used"),
        "lasts",
        id_width = columns - FIGURES,
    );
    (names, Style::new().reversed())
}

fn organizations(view: &View, columns: usize) -> impl Iterator<Item = Line> {
    let sorted = view.sort.sorted(&view.board.organizations).into_iter();
    sorted.map(move |row| (organization_line(row, columns - FIGURES), Style::new()))
}

fn keys(view: &View, partitions_max: usize) -> String {
    let all = view.board.organizations.len();
    let last = all.min(view.first + view.room);
    let more = match view.board.partitions.len().saturating_sub(partitions_max) {
        0 => String::new(),
        hidden => format!("; {hidden} more partitions"),
    };
    format!("q quits, s sorts, arrows and pages scroll: {} to {last} of {all}{more}", all.min(view.first + 1))
}

/// Why this is not all, or else why the first partition that stopped did.
fn problem(board: &Board) -> String {
    let stopped = |partition: &Partition| {
        let failure = partition.failure.as_ref()?;
        Some(format!("partition {} stopped: {failure}", partition.partition))
    };
    board.problem.clone().or_else(|| board.partitions.iter().find_map(stopped)).unwrap_or_default()
}

/// What was asked for, and what was not answered as wished.
fn traffic(board: &Board) -> [String; 2] {
    let traffic = &board.traffic;
    let shown = |count: u64| match traffic.span_ms {
        Some(ms) => format!("{}/s", fit(count.saturating_mul(1_000) / ms.max(1), 11)),
        None => fit(count, 11),
    };
    let debits = |outcome: &str| shown(traffic.debits.get(outcome).copied().unwrap_or_default());
    let [charged, exempt, duplicate, refused] = ["charged", "exempt", "duplicate", "refused"].map(debits);
    let (busy, unknown) = (shown(traffic.busy), shown(traffic.unauthenticated));
    let span = if traffic.span_ms.is_none() { " since its start" } else { "" };
    [
        format!("debits{span}: charged {charged}, exempt {exempt}, duplicate {duplicate}"),
        format!("refused {refused}; calls: busy {busy}, without a known key {unknown}"),
    ]
}

fn partition_line(partition: &Partition) -> Line {
    let time = |us: Option<u64>| us.map_or("-".to_owned(), time);
    let (state, style) = match &partition.failure {
        Some(_) => ("stopped", Style::new().red()),
        None => ("serves", Style::new()),
    };
    let line = format!(
        "{:>9} {:>15} {:>12} {:>9} {:>10} {:>10}  {state}",
        partition.partition,
        number(partition.durable_lsn),
        number(partition.lag),
        number(partition.syncs),
        time(partition.sync_mean_us),
        time(partition.sync_p99_us),
    );
    (line, style)
}

fn organization_line(row: &Organization, id_width: usize) -> String {
    let id = cut(&row.organization, id_width);
    match &row.refused {
        Some(code) => format!("{id:<id_width$} {code}"),
        None => format!(
            "{id:<id_width$} {:>11} {:>15} {:>10} {:>15} {:>8}",
            fit(row.burn, 11),
            fit(row.available, 15),
            fit(row.held, 10),
            fit(row.used, 15),
            row.left_ms.map_or("-".to_owned(), lasts)
        ),
    }
}

/// How long something lasts, in the larger unit of its span.
fn lasts(ms: u64) -> String {
    if ms >= 10_000 * 86_400_000 {
        "> 9999 d".to_owned()
    } else {
        span(ms).split(' ').take(2).collect::<Vec<_>>().join(" ")
    }
}

fn time(us: u64) -> String {
    if us < 10_000 { format!("{} us", number(us)) } else { format!("{} ms", number(us / 1_000)) }
}

/// A number that takes at most `width` columns, in thousands, millions and so on where it must.
fn fit(value: u64, width: usize) -> String {
    let mut units = ["", "k", "M", "G", "T", "P"].into_iter();
    let shown = std::iter::successors(Some(value), |value| Some(value / 1_000)).zip(&mut units);
    let mut texts = shown.map(|(value, unit)| format!("{}{unit}", number(value)));
    texts.find(|text| text.len() <= width).unwrap_or_default()
}

/// Ids have signs of one column.
fn cut(id: &str, width: usize) -> String {
    if id.len() <= width {
        id.to_owned()
    } else {
        id.chars().take(width.saturating_sub(1)).chain(['~']).collect()
    }
}
