//! What operators see, and the one place that reads a clock.

pub mod clock;
pub mod cluster;
pub mod metric;
