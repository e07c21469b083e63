//! Frames, in a terminal of the tests.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent};

use super::super::client::Client;
use super::draw::draw;
use super::read::{Board, Organization, Partition, Reader};
use super::{KeyModifiers, Sort, View};

/// The lines of a frame of 80 by 24.
fn lines(view: &mut View) -> Vec<String> {
    sized(view, 80, 24)
}

fn sized(view: &mut View, columns: u16, lines: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(columns, lines)).expect("it needs no terminal");
    terminal.draw(|frame| draw(view, frame)).expect("it cannot fail");
    let text = terminal.backend().to_string();
    text.lines().map(|line| line.trim_matches('"').trim_end().to_owned()).collect()
}

fn viewed(board: Board) -> View {
    View {
        board: Board { server: "http://host:8080".into(), status: "ready".into(), ..board },
        ..View::default()
    }
}

fn organization(number: u64) -> Organization {
    Organization {
        organization: format!("org-{number:03}"),
        burn: number * 10,
        available: 1_000_000 - number,
        used: 7,
        ..Organization::default()
    }
}

fn many() -> View {
    viewed(Board { organizations: (0..300).map(organization).collect(), ..Board::default() })
}

fn press(view: &mut View, code: KeyCode) -> Vec<String> {
    assert!(view.press(KeyEvent::new(code, KeyModifiers::NONE)));
    lines(view)
}

#[test]
fn a_server_without_organizations_is_shown() {
    let frame = lines(&mut viewed(Board::default()));
    assert_eq!(frame[0], "weir top  http://host:8080  ready");
    assert!(frame[1].starts_with("debits since its start: charged 0, exempt 0"), "{frame:?}");
    assert!(frame[23].ends_with("0 to 0 of 0"), "{frame:?}");
}

#[test]
fn many_organizations_are_shown_by_burn_rate_and_scrolled() {
    let mut view = many();
    let frame = lines(&mut view);
    assert!(frame[6].starts_with("org-299") && frame[6].contains("2,990"), "{frame:?}");
    assert!(frame[22].starts_with("org-283") && frame[23].ends_with("1 to 17 of 300"), "{frame:?}");
    assert!(press(&mut view, KeyCode::Down)[6].starts_with("org-298"));
    assert!(press(&mut view, KeyCode::PageDown)[6].starts_with("org-281"));
    assert!(press(&mut view, KeyCode::PageUp)[6].starts_with("org-298"));
    (0..20).for_each(|_| drop(press(&mut view, KeyCode::PageDown)));
    let frame = press(&mut view, KeyCode::PageDown);
    assert!(frame[22].starts_with("org-000") && frame[23].ends_with("284 to 300 of 300"), "{frame:?}");
    assert!(
        press(&mut view, KeyCode::Up)[22].starts_with("org-001"),
        "what is beyond the end was not counted"
    );
}

#[test]
fn s_changes_the_order_and_q_ends() {
    let mut view = many();
    for (sort, first) in [
        (Sort::Available, "org-299"),
        (Sort::Used, "org-000"),
        (Sort::Id, "org-000"),
        (Sort::Burn, "org-299"),
    ] {
        let frame = press(&mut view, KeyCode::Char('s'));
        assert_eq!(view.sort, sort);
        assert!(frame[6].starts_with(first), "{sort:?}: {frame:?}");
    }
    assert!(!view.press(KeyEvent::new(KeyCode::Char('q'), KeyModifiers::NONE)));
    assert!(!view.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)));
}

#[test]
fn partitions_show_their_syncs_and_one_that_stopped_stands_first() {
    let serves = |partition| Partition {
        partition,
        durable_lsn: 12_345,
        lag: 45,
        syncs: 9,
        sync_mean_us: Some(180),
        sync_p99_us: Some(50_000),
        failure: None,
    };
    let mut partitions: Vec<_> = (0..20).map(serves).collect();
    partitions[17].failure = Some("could not sync".into());
    let frame = lines(&mut viewed(Board { partitions, ..Board::default() }));
    let words = |line: usize| frame[line].split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(words(5), "17 12,345 45 9 180 us 50 ms stopped");
    assert_eq!(frame[3], "partition 17 stopped: could not sync");
    assert_eq!(words(6), "0 12,345 45 9 180 us 50 ms serves");
    assert!(frame[13].starts_with("organization"), "{frame:?}");
    assert!(frame[23].ends_with("12 more partitions"), "{frame:?}");
}

#[test]
fn what_is_refused_says_its_code_and_stands_last() {
    let refused = Organization {
        organization: "a".into(),
        refused: Some("forbidden".into()),
        ..Organization::default()
    };
    let board = Board {
        organizations: vec![refused, organization(1)],
        problem: Some("no such key (unauthenticated, status 401)".into()),
        ..Board::default()
    };
    let frame = lines(&mut viewed(board));
    assert!(frame[3].starts_with("no such key"), "{frame:?}");
    assert!(
        frame[6].starts_with("org-001") && frame[7].starts_with("a ") && frame[7].ends_with("forbidden"),
        "{frame:?}"
    );
}

#[test]
fn a_server_that_does_not_answer_is_told_as_unreachable() {
    // A port that was free a moment ago, and that nobody listens on.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|free| free.local_addr())
        .expect("a free port")
        .port();
    let url = format!("http://127.0.0.1:{port}");
    let mut reader = Reader::new(Client::plain(&url, None).expect("an url"), &url);
    let mut view = View { board: reader.read(), ..View::default() };
    let frame = lines(&mut view);
    assert!(frame[0].ends_with("unreachable") && frame[3].starts_with("no answer: "), "{frame:?}");
}

#[test]
fn a_terminal_that_is_too_small_is_told_how_large_it_must_be() {
    for (columns, rows) in [(79, 24), (80, 23), (20, 2), (1, 1)] {
        let frame = sized(&mut many(), columns, rows);
        let said = format!("the terminal is {columns}x{rows}");
        assert!(frame[0].starts_with(&said[..said.len().min(columns.into())]), "{frame:?}");
    }
}

#[test]
fn figures_that_are_too_long_are_shown_in_larger_units() {
    let row = Organization {
        organization: "o".repeat(64),
        burn: u64::MAX,
        available: u64::MAX,
        held: u64::MAX,
        used: u64::MAX,
        left_ms: Some(u64::MAX),
        refused: None,
    };
    let frame = lines(&mut viewed(Board { organizations: vec![row], ..Board::default() }));
    let words: Vec<_> = frame[6].split_whitespace().collect();
    assert_eq!(
        words[1..],
        ["18,446,744T", "18,446,744,073G", "18,446P", "18,446,744,073G", ">", "9999", "d"]
    );
    assert!(frame[6].starts_with("ooooooooooooooo~ "), "{frame:?}");
}
