//! `weir top`: what a server does at present, for a terminal: its partitions and its organizations by burn rate.
//!
//! It asks as every client does and changes nothing. A thread reads, so that keys are answered while a server is not. However it ends, by
//! `q`, a signal or a panic, the terminal is as it was. Deliberately absent: history; that is what `docs/monitoring` is for.

mod draw;
mod read;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::io::IsTerminal as _;
use std::time::Duration;

use clap::Args;
use crossbeam::channel::{Receiver, Sender, TryRecvError, bounded};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use self::read::{Board, Organization, Reader};
use super::client::ServerArgs;
use super::failure::Failure;
use super::output::{Output, answer};
use super::signals::Signals;

/// How long after one reading the next begins.
const PERIOD: Duration = Duration::from_secs(1);
/// How soon a signal or a reading is seen.
const TICK: Duration = Duration::from_millis(100);

/// How to look.
#[derive(Args, Debug)]
pub struct TopArgs {
    /// Print one reading of everything as text, or as --output says, and end.
    #[arg(long)]
    pub once: bool,
    /// The server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Runs it.
pub(super) fn run(args: &TopArgs) -> Result<(), Failure> {
    let reader = Reader::new(args.server.client()?, &args.server.server);
    if args.once || args.server.output() != Output::Table {
        let view = View { board: reader.read_all()?, ..View::default() };
        let value = serde_json::to_value(&view.board).expect("its keys are text");
        answer(args.server.output(), &value, |_| draw::text(&view));
        return Ok(());
    }
    if !std::io::stdout().is_terminal() {
        return Err(Failure::usage(
            "standard output is no terminal; `weir top --once` prints a reading as text",
        ));
    }
    let stop = told_to_stop()?;
    let mut view = View { board: reader.board().clone(), ..View::default() };
    let (boards, _reading) = start(reader)?;
    // It restores the terminal on a panic too.
    let mut terminal = ratatui::try_init()?;
    let ended = show(&mut terminal, &mut view, &boards, &stop);
    ratatui::restore();
    ended
}

/// What is shown, and how.
#[derive(Debug, Default)]
struct View {
    board: Board,
    sort: Sort,
    /// The first line of organizations that is shown, counted from 0.
    first: usize,
    /// Lines that there were for organizations.
    room: usize,
}

/// What organizations are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Sort {
    /// The fastest first.
    #[default]
    Burn,
    /// The least first.
    Available,
    /// The most first.
    Used,
    Id,
}

impl View {
    /// Answers a key; false when it ends.
    fn press(&mut self, key: KeyEvent) -> bool {
        match key.code {
            KeyCode::Char('q') => return false,
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return false,
            KeyCode::Char('s') => (self.sort, self.first) = (self.sort.next(), 0),
            KeyCode::Down => self.first += 1,
            KeyCode::Up => self.first = self.first.saturating_sub(1),
            KeyCode::PageDown => self.first += self.room,
            KeyCode::PageUp => self.first = self.first.saturating_sub(self.room),
            _ => {}
        }
        true
    }
}

impl Sort {
    fn next(self) -> Self {
        match self {
            Self::Burn => Self::Available,
            Self::Available => Self::Used,
            Self::Used => Self::Id,
            Self::Id => Self::Burn,
        }
    }

    /// Those that were refused have no figures, and stand last.
    fn sorted(self, organizations: &[Organization]) -> Vec<&Organization> {
        let mut sorted: Vec<_> = organizations.iter().collect();
        match self {
            Self::Burn => sorted.sort_by_key(|row| (row.refused.is_some(), Reverse(row.burn))),
            Self::Available => sorted.sort_by_key(|row| (row.refused.is_some(), row.available)),
            Self::Used => sorted.sort_by_key(|row| (row.refused.is_some(), Reverse(row.used))),
            Self::Id => {}
        }
        sorted
    }
}

fn show(
    terminal: &mut DefaultTerminal,
    view: &mut View,
    boards: &Receiver<Board>,
    stop: &Receiver<()>,
) -> Result<(), Failure> {
    loop {
        terminal.draw(|frame| draw::draw(view, frame))?;
        if event::poll(TICK)? {
            match event::read()? {
                Event::Key(key) if key.kind != KeyEventKind::Release && !view.press(key) => return Ok(()),
                _ => {}
            }
        }
        match boards.try_recv() {
            Ok(board) => view.board = board,
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => {
                return Err(Failure::new("the reading thread ended; report it"));
            }
        }
        if stop.try_recv().is_ok() {
            return Ok(());
        }
    }
}

/// Reads on a thread of its own, until what is given back is dropped.
fn start(mut reader: Reader) -> Result<(Receiver<Board>, Sender<()>), Failure> {
    let (boards, shown) = bounded(1);
    let (reading, ended) = bounded::<()>(0);
    let read = move || {
        while boards.send(reader.read()).is_ok()
            && ended.recv_timeout(PERIOD).is_err_and(|error| error.is_timeout())
        {}
    };
    std::thread::Builder::new().name("weir-top".to_owned()).spawn(read)?;
    Ok((shown, reading))
}

/// Says when a signal asks to stop.
fn told_to_stop() -> Result<Receiver<()>, Failure> {
    let mut signals = Signals::catch()?;
    let (sender, told) = bounded(1);
    let wait = move || {
        signals.wait();
        // Nobody listens any more when it has ended by itself.
        _ = sender.send(());
    };
    std::thread::Builder::new().name("weir-signals".to_owned()).spawn(wait)?;
    Ok(told)
}
