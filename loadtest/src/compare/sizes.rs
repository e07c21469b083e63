//! What size costs: memory for each camera and each remembered event id, and the plain loop's time for a debit as cameras and
//! organizations grow.

use std::time::Duration;

use super::{Effort, Measured, Probe};
use crate::allocation::{Weighed, weight};
use crate::floors::PlainLoop;

/// Cameras of each of many organizations.
const CAMERAS_OF_MANY: u64 = 16;

/// Memory, in processes of their own.
pub(super) fn weights(effort: Effort) -> Probe {
    Probe::once("memory", move |_| {
        Ok(vec![
            ("camera_bytes", weight(Weighed::Cameras, effort.cameras)?),
            ("event_id_bytes", weight(Weighed::EventIds, effort.event_ids)?),
            ("event_id_counted", weight(Weighed::EventIdsCounted, effort.event_ids)?),
        ])
    })
}

/// The plain loop at several sizes.
pub(super) fn costs(effort: Effort) -> Probe {
    Probe::once("cost against size", move |length| costs_of(effort, length))
}

fn costs_of(effort: Effort, length: Duration) -> Measured {
    let most_organizations = effort.cameras / 10;
    let cameras = [
        ("cost_cameras_1k", 1_000),
        ("cost_cameras_10k", 10_000),
        ("cost_cameras_100k", 100_000.min(effort.cameras)),
        ("cost_cameras_1m", effort.cameras),
    ];
    let organizations = [
        ("cost_organizations_1", 1),
        ("cost_organizations_1k", 1_000.min(most_organizations)),
        ("cost_organizations_100k", most_organizations),
    ];
    let nanos = |mut plain: PlainLoop| {
        plain.rate(length / 4);
        1e9 / plain.rate(length)
    };
    let mut costs = Vec::new();
    for (name, count) in cameras {
        costs.push((name, nanos(PlainLoop::of(1, count))));
    }
    for (name, count) in organizations {
        costs.push((name, nanos(PlainLoop::of(crate::number::usize_of(count), CAMERAS_OF_MANY))));
    }
    Ok(costs)
}
