//! Reports against the meter itself: what they add up to is what the pools count, whatever happens to them meanwhile.

mod fresh;
mod gaps;
mod random;
mod support;
