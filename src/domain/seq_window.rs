//! Tells a repeated sequence number from a new one (R13), for one camera, for ever, in a fixed space.
//!
//! The window keeps the highest (epoch, seq), a bitmap of the 64 numbers below it, whether each was exempt, and a
//! content print of the newest 8. A number below the window is too old; an earlier epoch is too old. A number inside
//! the window that was never charged is new, so that a refused debit may be sent again.

use serde::{Deserialize, Serialize};

use super::limits::{SEQ_CONTENT_WINDOW, SEQ_WINDOW};

/// What the window knows of a sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeqClass {
    /// Not charged before.
    New,
    /// It lies before the window, or in an earlier epoch.
    TooOld,
    /// Charged before.
    Seen {
        /// The first outcome was `exempt`.
        exempt: bool,
        /// The content print of the first debit, where it is still kept.
        print: Option<u16>,
    },
}

/// The highest sequence number of a camera and the 64 below it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeqWindow {
    /// The highest number charged in the epoch.
    pub highest: u64,
    /// Bit `i` is set when `highest - 1 - i` was charged.
    pub below: u64,
    /// Bit `i` is set when `highest - 1 - i` was exempt.
    pub below_exempt: u64,
    /// The content print of number `n` stands at `n % 8`, for the newest 8 numbers.
    pub prints: [u16; 8],
    /// The present epoch.
    pub epoch: u32,
    /// Whether any number was charged yet.
    pub started: bool,
    /// Whether `highest` was exempt.
    pub highest_exempt: bool,
}

impl SeqWindow {
    /// Tells what is known of (`epoch`, `seq`).
    #[inline]
    #[must_use]
    pub fn classify(&self, epoch: u32, seq: u64) -> SeqClass {
        if !self.started || epoch > self.epoch || (epoch == self.epoch && seq > self.highest) {
            return SeqClass::New;
        }
        if epoch < self.epoch {
            return SeqClass::TooOld;
        }
        match self.highest - seq {
            0 => SeqClass::Seen { exempt: self.highest_exempt, print: self.print(seq) },
            distance if distance > SEQ_WINDOW => SeqClass::TooOld,
            distance if self.below & bit(distance) == 0 => SeqClass::New,
            distance => {
                let exempt = self.below_exempt & bit(distance) != 0;
                SeqClass::Seen { exempt, print: self.print(seq) }
            }
        }
    }

    /// Remembers (`epoch`, `seq`) as charged. It must be new.
    #[inline]
    pub fn record(&mut self, epoch: u32, seq: u64, exempt: bool, print: u16) {
        if !self.started || epoch > self.epoch {
            *self = Self { epoch, highest: seq, started: true, highest_exempt: exempt, ..Self::default() };
        } else if seq > self.highest {
            self.advance(seq, exempt);
        } else {
            let bit = bit(self.highest - seq);
            self.below |= bit;
            self.below_exempt |= if exempt { bit } else { 0 };
        }
        if self.highest - seq < SEQ_CONTENT_WINDOW {
            self.prints[place(seq)] = print;
        }
    }

    /// The highest so far becomes the first of those below, then all move by what is between it and the new highest.
    #[inline]
    fn advance(&mut self, seq: u64, exempt: bool) {
        let between = seq - self.highest - 1;
        self.below = shift(self.below << 1 | 1, between);
        self.below_exempt = shift(self.below_exempt << 1 | u64::from(self.highest_exempt), between);
        self.highest = seq;
        self.highest_exempt = exempt;
    }

    fn print(&self, seq: u64) -> Option<u16> {
        (self.highest - seq < SEQ_CONTENT_WINDOW).then(|| self.prints[place(seq)])
    }
}

/// The bit of the number that lies `distance` (1 to 64) below the highest; none beyond.
#[inline]
fn bit(distance: u64) -> u64 {
    if distance > SEQ_WINDOW { 0 } else { 1 << (distance - 1) }
}

#[inline]
fn shift(bits: u64, step: u64) -> u64 {
    if step >= SEQ_WINDOW { 0 } else { bits << step }
}

#[inline]
fn place(seq: u64) -> usize {
    usize::try_from(seq % SEQ_CONTENT_WINDOW).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn r13_a_number_inside_the_window_is_told_exactly() {
        let mut window = SeqWindow::default();
        for seq in [0, 5, 64, 3] {
            assert_eq!(window.classify(1, seq), SeqClass::New, "{seq}");
            window.record(1, seq, seq == 5, 7);
        }
        assert_eq!(window.classify(1, 5), SeqClass::Seen { exempt: true, print: None });
        assert_eq!(window.classify(1, 64), SeqClass::Seen { exempt: false, print: Some(7) });
        assert_eq!(window.classify(1, 0), SeqClass::Seen { exempt: false, print: None });
        assert_eq!(window.classify(1, 4), SeqClass::New);
        window.record(1, 65, false, 1);
        assert_eq!(window.classify(1, 0), SeqClass::TooOld);
        assert_eq!(window.classify(0, 66), SeqClass::TooOld);
        assert_eq!(window.classify(2, 0), SeqClass::New);
    }

    proptest! {
        /// The window agrees with a model that remembers everything.
        #[test]
        fn r13_the_window_agrees_with_a_model_that_remembers_everything(
            steps in prop::collection::vec((0u32..3, 0u64..200, any::<bool>(), any::<u16>()), 1..300)
        ) {
            let mut window = SeqWindow::default();
            let mut charged = BTreeMap::new();
            for (epoch, seq, exempt, print) in steps {
                let top = charged.keys().next_back().copied();
                let expected = match (charged.get(&(epoch, seq)), top) {
                    (_, Some((highest, _))) if epoch < highest => SeqClass::TooOld,
                    (_, Some((highest, last))) if epoch == highest && last.saturating_sub(seq) > 64 => SeqClass::TooOld,
                    (Some(&(exempt, print)), Some((_, last))) => {
                        SeqClass::Seen { exempt, print: (last - seq < 8).then_some(print) }
                    }
                    _ => SeqClass::New,
                };
                prop_assert_eq!(window.classify(epoch, seq), expected);
                if expected == SeqClass::New {
                    window.record(epoch, seq, exempt, print);
                    charged.insert((epoch, seq), (exempt, print));
                }
            }
        }
    }
}
