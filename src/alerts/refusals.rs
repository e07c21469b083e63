//! Counts refused debits within a time.
//!
//! A refused debit leaves no trace in the journal (R13), so what is counted is what the running server refused: a number for each
//! organization that rises while it runs, and begins at 0 when it starts. It is looked at now and then; a window is as exact as that.

use std::collections::VecDeque;

use crate::domain::time::Timestamp;

/// Into how many parts a window is cut at most.
const PARTS: u64 = 60;

/// The refusals of one threshold, looked at over time.
#[derive(Debug)]
pub(super) struct Window {
    window_ms: u64,
    /// How many had been refused at what time; the first may lie before the window.
    seen: VecDeque<(Timestamp, u64)>,
    /// What had come in tokens: more of it begins the window anew.
    came: u64,
}

impl Window {
    /// A window that begins now, when so many had been refused.
    pub(super) fn new(window_ms: u64, now: Timestamp, refused: u64, came: u64) -> Self {
        Self { window_ms, seen: VecDeque::from([(now, refused)]), came }
    }

    /// Whether it is one of this length.
    pub(super) fn is_of(&self, window_ms: u64) -> bool {
        self.window_ms == window_ms
    }

    /// Looks again: how many were refused within the window, and whether all of it was looked at.
    pub(super) fn look(&mut self, now: Timestamp, refused: u64, came: u64) -> (u64, bool) {
        if came > self.came || self.seen.back().is_some_and(|(_, before)| *before > refused) {
            *self = Self::new(self.window_ms, now, refused, came);
        }
        let begins = now.minus_ms(self.window_ms);
        while self.seen.len() > 1 && self.seen[1].0 <= begins {
            self.seen.pop_front();
        }
        let (since, before) = self.seen.front().copied().unwrap_or((now, refused));
        let is_due = |(last, _): &(Timestamp, u64)| now >= last.plus_ms(self.window_ms / PARTS);
        if self.seen.back().is_none_or(is_due) {
            self.seen.push_back((now, refused));
        }
        (refused - before.min(refused), since <= begins)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_ms(1_750_000_000_000 + ms).expect("in range")
    }

    #[test]
    fn refusals_count_within_their_window_and_no_longer() {
        let mut window = Window::new(60_000, at(0), 0, 100);
        assert_eq!(window.look(at(10_000), 5, 100), (5, false));
        assert_eq!(window.look(at(59_000), 7, 100), (7, false));
        assert_eq!(window.look(at(60_000), 7, 100), (7, true));
        assert_eq!(window.look(at(70_000), 8, 100), (3, true));
        assert_eq!(window.look(at(119_000), 8, 100), (1, true));
        assert_eq!(window.look(at(200_000), 8, 100), (0, true));
    }

    #[test]
    fn a_window_begins_anew_when_tokens_come_or_the_count_does() {
        let mut window = Window::new(60_000, at(0), 0, 100);
        assert_eq!(window.look(at(61_000), 50, 100), (50, true));
        assert_eq!(window.look(at(62_000), 60, 101), (0, false));
        assert_eq!(window.look(at(63_000), 61, 101), (1, false));
        assert_eq!(window.look(at(64_000), 3, 101), (0, false));
    }

    #[test]
    fn a_window_keeps_few_looks_and_survives_a_clock_that_is_set_back() {
        let mut window = Window::new(60_000, at(100_000), 0, 0);
        for step in 0..10_000 {
            window.look(at(100_000 + step * 10), step, 0);
        }
        assert!(window.seen.len() <= 62, "{}", window.seen.len());
        assert!(!window.look(at(0), 10_000, 0).1);
    }
}
