//! The audit log, as `weir verify` reads it: every frame is whole, and every outcome is that of an act that began before it.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::domain::ids::Lsn;
use crate::storage::audit::{self, End};
use crate::storage::{Fault, Home, reader};

use super::failure::Failure;
use super::output::number;
use super::verify::failure;

/// What was found.
#[derive(Debug, Default, Serialize)]
pub(super) struct AuditReport {
    /// Frames that are kept: one where an act begins, and one with its outcome.
    frames: u64,
    segments: usize,
    last_lsn: u64,
    /// Acts without an outcome: a crash took it, and the next start records that it is not known.
    open: usize,
    /// What is damaged.
    pub(super) damage: Option<String>,
}

/// Reads the log; none where there is none yet.
///
/// # Errors
/// When it cannot be read. Damage is in the report.
pub(super) fn read(home: &Home) -> Result<Option<AuditReport>, Failure> {
    if !audit::exists(home).map_err(failure)? {
        return Ok(None);
    }
    let segments = reader::list_segments(home).map_err(failure)?.len();
    let mut report = AuditReport { segments, ..AuditReport::default() };
    let (mut open, mut misfit) = (BTreeSet::new(), None);
    let scanned = audit::scan(home, &mut |lsn, entry| {
        report.frames += 1;
        report.last_lsn = lsn.0;
        match entry.end {
            None => drop(open.insert(lsn)),
            Some(End { begun: Some(begun), .. }) if !open.remove(&begun) => misfit = Some((lsn, begun)),
            Some(_) => {}
        }
    });
    report.open = open.len();
    report.damage = match scanned {
        Ok(_) => misfit.map(|(lsn, begun): (Lsn, Lsn)| {
            format!("the audit log does not fit: lsn {lsn} is the outcome of lsn {begun}, where no act began; nothing was changed")
        }),
        Err(fault @ (Fault::Corrupt { .. } | Fault::Missing { .. })) => Some(fault.to_string()),
        Err(fault) => return Err(failure(fault)),
    };
    Ok(Some(report))
}

/// A line for people.
pub(super) fn text(report: &AuditReport) -> String {
    let AuditReport { frames, segments, last_lsn, open, damage } = report;
    let state = damage.as_ref().map_or("whole", |_| "damaged");
    format!(
        "audit log: {state}, {} frames in {segments} segments up to lsn {last_lsn}, {open} acts without an outcome",
        number(*frames)
    )
}
