//! What operators see, and the one place that reads a clock.

pub mod clock;
pub mod metric;
